//! Making and removing whole databases.

use super::{Cluster, DatabaseError, Login, quote_identifier};

impl Cluster {
    /// Copies a database, schema, data and grants. Nobody may be connected to the template meanwhile
    /// (SQLSTATE 55006): [`forget`](Self::forget) it first. An existing name is SQLSTATE 42P04.
    ///
    /// The copy goes through the WAL, so it needs no checkpoint: about 40 ms for an empty database.
    pub async fn create_database_from(&self, template: &str, name: &str) -> Result<(), DatabaseError> {
        let (template, name) = (quote_identifier(template), quote_identifier(name));
        self.maintain(&format!("create database {name} template {template} strategy wal_log")).await
    }

    /// Renames a database nobody is connected to.
    pub async fn rename_database(&self, name: &str, new_name: &str) -> Result<(), DatabaseError> {
        self.forget(name).await;
        let (name, new_name) = (quote_identifier(name), quote_identifier(new_name));
        self.maintain(&format!("alter database {name} rename to {new_name}")).await
    }

    /// Removes a database and ends every session in it. A missing one is fine.
    pub async fn drop_database(&self, name: &str) -> Result<(), DatabaseError> {
        self.forget(name).await;
        self.maintain(&format!("drop database if exists {} with (force)", quote_identifier(name))).await
    }

    pub async fn database_exists(&self, name: &str) -> Result<bool, DatabaseError> {
        let connection = self.database(Login::maintenance()).get().await?;
        let query = connection.prepare_cached("select exists (select from pg_database where datname = $1)").await?;
        Ok(connection.query_one(&query, &[&name]).await?.get(0))
    }

    /// Statements about databases run outside transactions and outside the database they are about. They go through
    /// much of the page cache, which then counts for the process that served them, so that one ends with them.
    async fn maintain(&self, statement: &str) -> Result<(), DatabaseError> {
        Ok(self.connect(&Login::maintenance()).await?.batch_execute(statement).await?)
    }
}
