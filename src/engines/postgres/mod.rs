//! SKELETON: replaced by the Postgres helper; only signatures are binding.
use crate::common::ApiError;
use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

/// Which database to log into, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    pub database: String,
    pub role: String,
}

/// A running server and its connection pools. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {}

/// One login of one database; hands out pooled connections. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    cluster: Cluster,
    login: Login,
}

/// A pooled connection: derefs to deadpool's client wrapper, so `prepare_cached`, `transaction`, `query` … work.
pub struct Connection(deadpool_postgres::ClientWrapper);

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server is down or restarting, or no connection became free in time. 503 `SERVICE_UNAVAILABLE`.
    #[error("the database is not reachable: {0}")]
    Unavailable(String),
    /// The server refused the statement; 500 unless the feature maps it to something better.
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        ApiError::internal(error)
    }
}
/// So that `?` works on tokio_postgres errors in handlers and services that return ApiError.
impl From<tokio_postgres::Error> for ApiError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Cluster {
    pub fn database(&self, login: Login) -> Database {
        Database { cluster: self.clone(), login }
    }
    pub fn socket_dir(&self) -> &Path {
        todo!()
    }
    /// Closes every pooled connection to a database, before it is dropped.
    pub async fn forget(&self, _database: &str) {
        todo!()
    }
    /// A connection outside every pool but inside the global cap, for sessions that must not be reused.
    pub async fn connect(&self, _login: &Login) -> Result<Connection, DatabaseError> {
        todo!()
    }
}
impl Database {
    pub async fn get(&self) -> Result<Connection, DatabaseError> {
        let _ = &self.cluster;
        let _ = &self.login;
        todo!()
    }
}
impl Deref for Connection {
    type Target = deadpool_postgres::ClientWrapper;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Double-quotes an identifier. The only place where SQL text is built from a name.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
