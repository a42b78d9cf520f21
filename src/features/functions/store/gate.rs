//! The role of a user, read from the project's own table (contract 05 §9).

use std::iter;

use crate::{
    engines::postgres::{Pipeline, PipelineError, quote_identifier},
    features::releases::RoleGate,
};

/// What the table may call runs with no more than `service_role`'s rights, which row security does not apply to.
const SETTINGS: &str = "select set_config('role', 'service_role', true), \
     set_config('transaction_read_only', 'on', true), set_config('statement_timeout', '4000', true)";

/// The role, on a session of the data API. The id is compared as whatever type its column has. None: no row, or an
/// id that the column cannot hold.
pub async fn role(session: &mut Pipeline, gate: &RoleGate, user: &str) -> Result<Option<String>, PipelineError> {
    if user.contains('\0') {
        return Ok(None);
    }
    let sql = format!(
        "select {role}::text from public.{table} where {id} = $1 limit 1",
        role = quote_identifier(&gate.role_column),
        table = quote_identifier(&gate.table),
        id = quote_identifier(&gate.id_column),
    );
    session.add(SETTINGS, iter::empty());
    session.add(&sql, iter::once(Some(user)));
    session.sync();
    session.send().await?;
    let answer = match session.rows().await {
        Ok(_) => session.rows().await,
        Err(error) => Err(error),
    };
    let ended = session.ready().await;
    // A view may have left something in the session; the next user of it must not find that.
    session.retire();
    match answer {
        Ok(rows) => {
            ended?;
            Ok(rows.rows.first().and_then(|row| row.text(0)).map(str::to_owned))
        }
        // 22: the id is no value of the column's type.
        Err(error) if error.report().is_some_and(|report| report.sqlstate.starts_with("22")) => Ok(None),
        Err(error) => Err(error),
    }
}
