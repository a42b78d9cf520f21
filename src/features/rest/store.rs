//! The only room that touches a connection: runs a rendered statement in the request's transaction.
//!
//! Order (contract 02 §7.13): BEGIN and settings, main statement, checks, COMMIT. When nothing has to be
//! checked before COMMIT, everything goes out in one write and costs one round trip; the first use of a
//! statement on a connection adds one to prepare it, inside the transaction, so that names resolve under the
//! request's role and search path.
//!
//! A transaction is begun by hand, so whoever calls [`run`] must let it end: it is not cancel-safe.

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use futures_util::future::{Either, join, join3, ready};
use serde_json::Value;
use tokio_postgres::{
    Client, Error, Row, Statement,
    error::SqlState,
    types::{FromSql, ToSql, Type},
};

use super::{
    error::NativeError,
    query::{MainQuery, PlannedCount, columns, sql::Operand},
    response::{Outcome, openapi::Privileges},
    token::Caller,
};

/// Statements one connection keeps prepared. Each request shape is one; beyond this the connection starts anew.
const PREPARED_STATEMENTS: usize = 100;

/// Prepares on this connection, or finds what is prepared there.
async fn prepare(client: &ClientWrapper, sql: &str) -> Result<Statement, Error> {
    if client.statement_cache.size() >= PREPARED_STATEMENTS {
        client.statement_cache.clear();
    }
    client.prepare_cached(sql).await
}

/// The settings a request's transaction has (02 §3.3).
#[derive(Clone, Debug)]
pub struct TransactionSettings<'a> {
    pub caller: &'a Caller,
    pub read_only: bool,
    pub method: &'a str,
    /// After the API prefix: `/todos`.
    pub path: &'a str,
    /// JSON objects.
    pub headers: &'a str,
    pub cookies: &'a str,
    pub timezone: Option<&'a str>,
    pub statement_timeout_ms: u128,
}

/// Sent with the simple protocol, which takes several statements and no parameters: values are escaped here,
/// and only here.
pub fn begin(settings: &TransactionSettings) -> String {
    let caller = settings.caller;
    let mut sql = String::with_capacity(640 + settings.headers.len() + caller.claims.len());
    sql.push_str(if settings.read_only {
        "begin read only; set local role "
    } else {
        "begin read write; set local role "
    });
    sql.push_str(caller.role.name());
    sql.push_str("; select set_config('search_path','public, extensions, auth',true)");
    let timeout = settings.statement_timeout_ms.to_string();
    let values = [
        ("request.jwt.claims", caller.claims.as_str()),
        ("request.method", settings.method),
        ("request.path", settings.path),
        ("request.headers", settings.headers),
        ("request.cookies", settings.cookies),
        ("run402.user_id", &caller.user_id),
        ("run402.project_id", caller.project.as_str()),
        ("run402.session_id", &caller.session_id),
        ("run402.authz_version", &caller.authz_version),
        ("statement_timeout", &timeout),
    ];
    for (name, value) in values.into_iter().chain(settings.timezone.map(|zone| ("timezone", zone))) {
        sql.push_str(",set_config('");
        sql.push_str(name);
        sql.push_str("',");
        literal(&mut sql, value);
        sql.push_str(",true)");
    }
    sql
}

/// An `E''` literal means the same under every setting, even one that a tenant's function left behind.
fn literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for c in value.chars() {
        match c {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            '\0' => {}
            c => sql.push(c),
        }
    }
    sql.push('\'');
}

/// One main statement and how its transaction ends.
pub struct Job<'a> {
    pub begin: &'a str,
    pub query: &'a MainQuery,
    /// Role of the request. Plans over row level security are made for one role; keeping the roles' statements
    /// apart keeps Postgres from planning again whenever the role of a connection changes.
    pub role: &'static str,
    /// Nothing is looked at before the end of the transaction.
    pub ends_at_once: bool,
    pub rolls_back: bool,
    pub check: &'a (dyn Fn(&Outcome) -> Result<(), NativeError> + Sync),
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Postgres(#[from] Error),
    /// The result was not acceptable; the transaction was rolled back.
    #[error(transparent)]
    Refused(#[from] NativeError),
}

/// Runs the job, once more if a schema change invalidated its prepared statement.
pub async fn run(client: &ClientWrapper, job: &Job<'_>) -> Result<Outcome, Failure> {
    let first = attempt(client, job).await;
    match &first {
        Err(Failure::Postgres(error)) if is_stale_plan(error) => {
            client.statement_cache.clear();
            attempt(client, job).await
        }
        _ => first,
    }
}

/// Nothing was written: the transaction failed with the statement.
fn is_stale_plan(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.message() == "cached plan must not change result type"
    })
}

async fn attempt(client: &ClientWrapper, job: &Job<'_>) -> Result<Outcome, Failure> {
    // `join` polls in order: BEGIN is on its way before anything else is sent.
    let (begun, outcome) = join(client.batch_execute(job.begin), main(client, job)).await;
    if let Err(error) = begun {
        client.batch_execute("rollback").await?;
        return Err(error.into());
    }
    outcome
}

async fn main(client: &ClientWrapper, job: &Job<'_>) -> Result<Outcome, Failure> {
    let prepared = prepare(client, &tagged(job.role, &job.query.sql.text)).await;
    let prepared = match (prepared, job.query.planned_count.as_ref()) {
        (Ok(main), None) => Ok((main, None)),
        (Ok(main), Some(count)) => {
            prepare(client, &tagged(job.role, &count.sql.text)).await.map(|explain| (main, Some((explain, count))))
        }
        (Err(error), _) => Err(error),
    };
    let (statement, planned) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            client.batch_execute("rollback").await?;
            return Err(error.into());
        }
    };
    let operands = references(&job.query.sql.operands);
    let rows = client.query(&statement, &operands);
    // Of a bounded count only the result tells whether the planner has to be asked.
    let count_at_once = planned.as_ref().filter(|(_, count)| count.above.is_none());
    let counted = match count_at_once {
        Some((explain, count)) => Either::Left(estimate(client, explain, count)),
        None => Either::Right(ready(Ok(None))),
    };
    let end = if job.rolls_back { "rollback" } else { "commit" };
    if job.ends_at_once {
        let (rows, counted, ended) = join3(rows, counted, client.batch_execute(end)).await;
        let mut outcome = decode(&rows?, job.query)?;
        outcome.total = counted?.or(outcome.total);
        ended?;
        (job.check)(&outcome)?;
        return Ok(outcome);
    }
    let judged = async {
        let (rows, counted) = join(rows, counted).await;
        let mut outcome = decode(&rows?, job.query)?;
        outcome.total = counted?.or(outcome.total);
        if let Some((explain, count)) = &planned
            && let (Some(above), Some(total)) = (count.above, outcome.total)
            && total > above
        {
            outcome.total = estimate(client, explain, count).await?.map(|planned| planned.max(total));
        }
        (job.check)(&outcome)?;
        Ok(outcome)
    }
    .await;
    client.batch_execute(if judged.is_ok() { end } else { "rollback" }).await?;
    judged
}

fn tagged(role: &str, sql: &str) -> String {
    format!("/* {role} */ {sql}")
}

fn references(operands: &[Operand]) -> Vec<&(dyn ToSql + Sync)> {
    operands.iter().map(|operand| operand as &(dyn ToSql + Sync)).collect()
}

/// The planner's idea of how many rows there are.
async fn estimate(client: &Client, explain: &Statement, count: &PlannedCount) -> Result<Option<i64>, Error> {
    let row = client.query_one(explain, &references(&count.sql.operands)).await?;
    let plan: Value = row.try_get(0)?;
    Ok(plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64).map(|rows| rows as i64))
}

/// The bytes of a value whatever its type: text, bytea, json and xml are their own bytes.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // jsonb begins with the version of its format.
        Ok(Self(if *ty == Type::JSONB { raw.get(1..).unwrap_or(raw) } else { raw }))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn decode(rows: &[Row], query: &MainQuery) -> Result<Outcome, Error> {
    if query.is_explain {
        let lines = rows.iter().map(|row| Ok(row.try_get::<_, Raw>(0)?.0)).collect::<Result<Vec<_>, Error>>()?;
        return Ok(Outcome { body: Some(Bytes::from(lines.join(&b'\n'))), rows: 1, ..Outcome::default() });
    }
    let Some(row) = rows.first() else { return Ok(Outcome::default()) };
    let body: Option<Raw> = row.try_get(columns::BODY)?;
    let inserted: Option<&str> = if query.has_inserted { row.try_get(columns::INSERTED)? } else { None };
    Ok(Outcome {
        body: body.map(|raw| Bytes::copy_from_slice(raw.0)),
        rows: row.try_get(columns::ROWS)?,
        total: row.try_get(columns::TOTAL)?,
        headers: row.try_get(columns::HEADERS)?,
        status: row.try_get(columns::STATUS)?,
        location: if query.has_location { row.try_get(columns::LOCATION)? } else { None },
        inserted: inserted.and_then(|text| text.parse().ok()),
    })
}

/// What the role may do with the relations and functions of the schema.
const PRIVILEGES: &str = "
select json_build_object(
  'relations', coalesce((
    select json_object_agg(c.relname, json_build_object(
      'select', has_any_column_privilege(c.oid, 'select'),
      'insert', has_any_column_privilege(c.oid, 'insert'),
      'update', has_any_column_privilege(c.oid, 'update'),
      'delete', has_table_privilege(c.oid, 'delete')))
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r','v','m','f','p')), '{}'),
  'functions', coalesce((
    select json_agg(distinct p.proname) from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prokind = 'f' and has_function_privilege(p.oid, 'execute')
      and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)), '[]')
)";

/// Privileges of the role of a transaction begun with `begin`.
pub async fn privileges(client: &ClientWrapper, begin: &str) -> Result<Privileges, Failure> {
    let (begun, row, ended) =
        join3(client.batch_execute(begin), client.query_typed(PRIVILEGES, &[]), client.batch_execute("commit")).await;
    begun?;
    let rows = row?;
    ended?;
    let document: Value = rows.first().map_or(Ok(Value::Null), |row| row.try_get(0))?;
    serde_json::from_value(document).map_err(|error| NativeError::unexpected(&error.to_string()).into())
}

/// Names the server accepts as time zones, in lower case.
pub async fn timezones(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query_typed("select lower(name) from pg_catalog.pg_timezone_names", &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_left() {
        for (value, expected) in [
            ("a", "E'a'"),
            ("it's", "E'it''s'"),
            ("\\'; drop table x; --", "E'\\\\''; drop table x; --'"),
            ("nul\0", "E'nul'"),
            ("{\"k\":\"v\"}", "E'{\"k\":\"v\"}'"),
        ] {
            let mut sql = String::new();
            literal(&mut sql, value);
            assert_eq!(sql, expected);
        }
    }
}
