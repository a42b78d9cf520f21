//! Every SQL text of this feature that is not the caller's.

use serde_json::json;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::common::ProjectId;

/// The name under which a statement with parameters and a result is prepared.
pub const PREPARED_NAME: &str = "r402_stmt";

/// What stands before such a statement.
pub const EXECUTED_BY_NAME: &str = "PREPARE r402_stmt AS ";

/// How long a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Transaction,
    Session,
}

/// Settings of a raw SQL call (contract 02 §3.3).
///
/// The output formats are fixed because values are converted from their text; a role may have changed its own
/// defaults (`ALTER ROLE … SET` in dynamic SQL). Notices are not sent to us: nobody reads them, and they may hold
/// the project's data. `SET` and not `set_config`, so that no snapshot is taken and the caller may still choose an
/// isolation level.
fn settings(project: &ProjectId, timeout_seconds: u64, scope: Scope) -> String {
    let set = match scope {
        Scope::Transaction => "SET LOCAL",
        Scope::Session => "SET",
    };
    let claims = json!({ "role": "service_role", "project_id": project.as_str(), "sub": "service" });
    let milliseconds = timeout_seconds.saturating_mul(1000).min(i32::MAX.unsigned_abs().into());
    // A project id is made of `[a-z0-9_]`, so none of these literals needs escaping.
    format!(
        "{set} standard_conforming_strings = on; {set} search_path = public, extensions, auth; \
         {set} statement_timeout = {milliseconds}; {set} client_min_messages = error; \
         {set} DateStyle = 'ISO, MDY'; {set} TimeZone = 'UTC'; {set} IntervalStyle = 'postgres'; \
         {set} extra_float_digits = 1; {set} bytea_output = 'hex'; {set} xmlbinary = 'base64'; \
         {set} request.jwt.claims = '{claims}'; {set} run402.project_id = '{project}'; \
         {set} run402.user_id = ''; {set} run402.session_id = ''; {set} run402.authz_version = ''"
    )
}

/// Opens the transaction of a call. `modes`: words and commas of a `BEGIN` in the caller's text.
///
/// # Errors
/// The driver's.
pub async fn begin(client: &Client, modes: &str, project: &ProjectId, timeout_seconds: u64) -> Result<(), Error> {
    client.batch_execute(&format!("BEGIN {modes}; {}", settings(project, timeout_seconds, Scope::Transaction))).await
}

/// Prepares the session for a statement outside a transaction.
///
/// # Errors
/// The driver's.
pub async fn configure_session(client: &Client, project: &ProjectId, timeout_seconds: u64) -> Result<(), Error> {
    client.batch_execute(&settings(project, timeout_seconds, Scope::Session)).await
}

/// Ends the transaction. Tells whether it wrote anything.
///
/// # Errors
/// The driver's; a deferred constraint fails here.
pub async fn commit(client: &Client) -> Result<bool, Error> {
    let messages =
        client.simple_query("SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL; COMMIT").await?;
    Ok(messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t"))))
}

/// Gives the transaction up.
///
/// # Errors
/// The driver's.
pub async fn roll_back(client: &Client) -> Result<(), Error> {
    client.batch_execute("ROLLBACK").await
}

/// Removes what a call may leave in its session, for the next one. What this does not reach (prepared statements)
/// makes the caller discard the session instead.
///
/// # Errors
/// The driver's; the session must then be discarded.
pub async fn clean_session(client: &Client) -> Result<(), Error> {
    client.clear_type_cache();
    client
        .batch_execute(
            "RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; \
             DISCARD SEQUENCES",
        )
        .await
}

/// Makes a statement with parameters executable by name.
///
/// # Errors
/// The driver's. A position counts in [`EXECUTED_BY_NAME`] and the statement.
pub async fn prepare_by_name(client: &Client, statement: &str) -> Result<(), Error> {
    client.batch_execute(&format!("{EXECUTED_BY_NAME}{statement}")).await
}

/// Forgets what [`prepare_by_name`] made.
///
/// # Errors
/// The driver's.
pub async fn forget_by_name(client: &Client) -> Result<(), Error> {
    client.batch_execute(&format!("DEALLOCATE {PREPARED_NAME}")).await
}

/// Names of the extensions of this database, sorted.
///
/// # Errors
/// The driver's.
pub async fn installed_extensions(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query("SELECT extname::text FROM pg_catalog.pg_extension ORDER BY 1", &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The server process of this session.
///
/// # Errors
/// The driver's.
pub async fn backend_process(client: &Client) -> Result<i32, Error> {
    client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)
}

/// Ends another session. Needs a platform session.
///
/// # Errors
/// The driver's.
pub async fn terminate(platform: &Client, process: i32) -> Result<(), Error> {
    platform.query_one("SELECT pg_catalog.pg_terminate_backend($1)", &[&process]).await.map(drop)
}

/// The tables of schema public as one JSON array (contract 02 §5).
///
/// Expressions print unqualified names only for what the search path sees, and `auth` must stay spelled out. With
/// the project's schema on the path its own operators and functions can stand in for the system's, so this needs a
/// session of the owner role and must never run as the platform.
///
/// # Errors
/// The driver's.
pub async fn schema_tables(owner: &mut Client) -> Result<String, Error> {
    let transaction = owner.build_transaction().read_only(true).start().await?;
    transaction
        .batch_execute("SET LOCAL search_path = public, extensions; SET LOCAL statement_timeout = '30s'")
        .await?;
    let tables = transaction.query_one(SCHEMA_TABLES, &[]).await?.try_get(0)?;
    transaction.commit().await?;
    Ok(tables)
}

const SCHEMA_TABLES: &str = r#"
SELECT coalesce(json_agg(json_build_object(
    'name', c.relname,
    'columns', (
        SELECT coalesce(json_agg(json_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'nullable', NOT a.attnotnull,
            'default_value', CASE a.attidentity
                WHEN 'a' THEN 'generated always as identity'
                WHEN 'd' THEN 'generated by default as identity'
                ELSE pg_get_expr(d.adbin, d.adrelid)
            END) ORDER BY a.attnum), '[]')
        FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'constraints', (
        SELECT coalesce(json_agg(json_build_object(
            'name', k.conname,
            'type', CASE k.contype
                WHEN 'p' THEN 'PRIMARY KEY' WHEN 'f' THEN 'FOREIGN KEY' WHEN 'u' THEN 'UNIQUE'
                WHEN 'c' THEN 'CHECK' ELSE 'EXCLUDE' END,
            'definition', pg_get_constraintdef(k.oid)) ORDER BY k.contype <> 'p', k.conname), '[]')
        FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype IN ('p', 'f', 'u', 'c', 'x')),
    'rls_enabled', c.relrowsecurity,
    'row_estimate', CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END,
    'policies', (
        SELECT coalesce(json_agg(json_build_object(
            'name', p.polname,
            'command', CASE p.polcmd
                WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            'using_expression', pg_get_expr(p.polqual, p.polrelid),
            'check_expression', pg_get_expr(p.polwithcheck, p.polrelid),
            'roles', (
                SELECT json_agg(coalesce(r.rolname, 'public') ORDER BY r.rolname)
                FROM unnest(p.polroles) AS granted(id)
                LEFT JOIN pg_roles r ON r.oid = granted.id),
            'permissive', p.polpermissive) ORDER BY p.polname), '[]')
        FROM pg_policy p
        WHERE p.polrelid = c.oid)
    ) ORDER BY c.relname COLLATE "C"), '[]')::text
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (
      SELECT FROM pg_depend e
      WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
"#;
