//! The role of a user, read from the project's own table (contract 05 §9).

use std::error::Error;

use tokio_postgres::{
    Client,
    types::{Format, IsNull, ToSql, Type, private::BytesMut},
};

use crate::{
    engines::postgres::{Connection, DatabaseError, quote_identifier},
    features::releases::RoleGate,
};

/// A value in its text form, whatever the type it is compared with: an id column may be uuid, text or a number.
#[derive(Debug)]
struct AsText<'a>(&'a str);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// The role, as `service_role` on a session of the data API: row security does not apply, and what the table may call
/// runs with no more than that role's rights. None: no row, or an id that the column cannot hold.
pub async fn role(session: &mut Connection, gate: &RoleGate, user: &str) -> Result<Option<String>, DatabaseError> {
    let client: &mut Client = session;
    let tx = client.build_transaction().read_only(true).start().await?;
    tx.batch_execute("set local role service_role; set local statement_timeout = '4s'").await?;
    let sql = format!(
        "select {role}::text from public.{table} where {id} = $1 limit 1",
        role = quote_identifier(&gate.role_column),
        table = quote_identifier(&gate.table),
        id = quote_identifier(&gate.id_column),
    );
    let found = tx.query_opt(&sql, &[&AsText(user)]).await;
    match found {
        Ok(row) => Ok(row.map(|row| row.try_get::<_, Option<String>>(0)).transpose()?.flatten()),
        // 22: the id is no value of the column's type.
        Err(error) if error.code().is_some_and(|code| code.code().starts_with("22")) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
