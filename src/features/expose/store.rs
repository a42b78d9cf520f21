//! Every SQL text of this feature that is not made from a manifest.

use serde_json::Value;
use tokio_postgres::{Client, Error, Transaction};

use crate::engines::postgres::quote_identifier;

use super::{
    types::{Catalog, Recorded},
    words::type_name,
};

/// How long a statement of an apply may take, and how long it may wait for a lock.
const STATEMENT_TIMEOUT: &str = "300s";
const LOCK_TIMEOUT: &str = "5s";

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error("the catalog query gave an unexpected document: {0}")]
    Document(#[from] serde_json::Error),
}

/// The manifest in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    pub manifest: Value,
    pub sha256_hex: String,
    pub objects: Recorded,
}

/// Limits and formats of an apply's transaction, which a role may have changed for itself.
///
/// # Errors
/// The driver's.
pub async fn configure(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.batch_execute(&format!(
        "SET LOCAL standard_conforming_strings = on; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'; \
         SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL client_min_messages = error; \
         SET LOCAL check_function_bodies = on; SET LOCAL default_tablespace = ''"
    ))
    .await
}

/// Waits until no other apply runs in this database.
///
/// # Errors
/// The driver's; 55P03 after five seconds.
pub async fn take_turn(tx: &Transaction<'_>) -> Result<(), Error> {
    // Any number will do; it is seen in this database only.
    tx.batch_execute("SELECT pg_catalog.pg_advisory_xact_lock(402, 6)").await
}

/// Keeps tables as they are until the end of the transaction, with the lock of a reader.
///
/// # Errors
/// The driver's; 55P03 after five seconds, 42P01 for a table that was dropped meanwhile.
pub async fn hold(tx: &Transaction<'_>, tables: &[&str]) -> Result<(), Error> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|name| format!("public.{}", quote_identifier(name))).collect();
    tx.batch_execute(&format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY "))).await
}

/// The search path for what a caller wrote (contract 02 §3.2).
///
/// # Errors
/// The driver's.
pub async fn search_as_project(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.batch_execute("SET LOCAL search_path = public, extensions, auth").await
}

/// Runs one statement of a plan. The extended protocol takes exactly one.
///
/// # Errors
/// The driver's.
pub async fn run(tx: &Transaction<'_>, statement: &str) -> Result<(), Error> {
    tx.execute(statement, &[]).await.map(drop)
}

/// What schema public holds of the role that is logged in, printed with nothing but the system on the search path.
///
/// # Errors
/// [`SnapshotError`].
pub async fn snapshot(tx: &Transaction<'_>) -> Result<Catalog, SnapshotError> {
    tx.batch_execute("SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL quote_all_identifiers = off").await?;
    let text: String = tx.query_one(SNAPSHOT, &[]).await?.try_get(0)?;
    let mut catalog: Catalog = serde_json::from_str(&text)?;
    let one_spelling = |kind: &mut String| {
        if let Some(known) = type_name(kind) {
            *kind = known;
        }
    };
    catalog.functions.iter_mut().flat_map(|function| function.arguments.iter_mut()).for_each(one_spelling);
    let tables = catalog.tables.iter_mut().map(|table| &mut table.columns);
    tables
        .chain(catalog.views.iter_mut().map(|view| &mut view.columns))
        .flatten()
        .for_each(|c| one_spelling(&mut c.kind));
    Ok(catalog)
}

/// The manifest in force. Needs a platform session.
///
/// # Errors
/// [`SnapshotError`].
pub async fn stored(platform: &Client) -> Result<Option<Stored>, SnapshotError> {
    let row = platform.query_opt("SELECT manifest, sha256_hex, objects FROM internal.project_manifest", &[]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Stored {
        manifest: row.try_get(0)?,
        sha256_hex: row.try_get(1)?,
        objects: serde_json::from_value(row.try_get(2)?)?,
    }))
}

const SNAPSHOT: &str = r#"
WITH me AS (SELECT oid FROM pg_roles WHERE rolname = current_user),
mine AS (
    SELECT c.* FROM pg_class c, me
    WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = me.oid AND c.relpersistence <> 't'),
granted AS (
    SELECT object, json_agg(json_build_array(r.rolname, privilege) ORDER BY r.rolname, privilege) AS grants
    FROM (
        SELECT c.oid AS object, a.grantee, a.privilege_type AS privilege FROM mine c, aclexplode(c.relacl) a
        UNION ALL
        SELECT p.oid, a.grantee, a.privilege_type FROM pg_proc p, me, aclexplode(p.proacl) a
        WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = me.oid) acl
    JOIN pg_roles r ON r.oid = acl.grantee AND r.rolname IN ('anon', 'authenticated', 'project_admin')
    GROUP BY object),
listed AS (
    SELECT a.attrelid AS object,
           json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, NULL)) ORDER BY a.attnum) AS columns
    FROM pg_attribute a JOIN mine c ON c.oid = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm')
    GROUP BY a.attrelid)
SELECT json_build_object(
    'taken', (SELECT coalesce(json_agg(relname), '[]') FROM pg_class WHERE relnamespace = 'public'::regnamespace),
    'tables', (SELECT coalesce(json_agg(json_build_object(
        'oid', c.oid::int8, 'name', c.relname, 'rls', c.relrowsecurity, 'forced', c.relforcerowsecurity,
        'columns', coalesce(l.columns, '[]'),
        'grants', coalesce(g.grants, '[]'),
        'policies', (
            SELECT coalesce(json_agg(json_build_object(
                'oid', p.oid::int8, 'name', p.polname, 'permissive', p.polpermissive,
                'command', CASE p.polcmd
                    WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                    WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                'roles', (
                    SELECT json_agg(coalesce(r.rolname, 'public') ORDER BY r.rolname)
                    FROM unnest(p.polroles) AS named(id) LEFT JOIN pg_roles r ON r.oid = named.id),
                'using', pg_get_expr(p.polqual, p.polrelid),
                'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname), '[]')
            FROM pg_policy p WHERE p.polrelid = c.oid),
        'triggers', (
            SELECT coalesce(json_agg(json_build_object(
                'oid', t.oid::int8, 'name', t.tgname, 'enabled', t.tgenabled,
                'definition', pg_get_triggerdef(t.oid)) ORDER BY t.tgname), '[]')
            FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
        'leading', (
            SELECT coalesce(json_agg(DISTINCT a.attname), '[]')
            FROM pg_index i
            JOIN pg_class x ON x.oid = i.indexrelid
            JOIN pg_am m ON m.oid = x.relam AND m.amname = 'btree'
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL),
        'sequences', (
            SELECT coalesce(json_agg(json_build_object('oid', s.oid::int8, 'grants', coalesce(sg.grants, '[]'))), '[]')
            FROM pg_depend d
            JOIN mine s ON s.oid = d.objid AND s.relkind = 'S'
            LEFT JOIN granted sg ON sg.object = s.oid
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = c.oid AND d.deptype IN ('a', 'i'))
        ) ORDER BY c.relname), '[]')
        FROM mine c LEFT JOIN listed l ON l.object = c.oid LEFT JOIN granted g ON g.object = c.oid
        WHERE c.relkind IN ('r', 'p')),
    'views', (SELECT coalesce(json_agg(json_build_object(
        'oid', c.oid::int8, 'name', c.relname,
        'columns', coalesce(l.columns, '[]'),
        'definition', pg_get_viewdef(c.oid),
        'options', (SELECT coalesce(json_agg(o ORDER BY o), '[]') FROM unnest(c.reloptions) AS o),
        'grants', coalesce(g.grants, '[]')) ORDER BY c.relname), '[]')
        FROM mine c LEFT JOIN listed l ON l.object = c.oid LEFT JOIN granted g ON g.object = c.oid
        WHERE c.relkind IN ('v', 'm')),
    'functions', (SELECT coalesce(json_agg(json_build_object(
        'oid', p.oid::int8, 'name', p.proname,
        'arguments', (
            SELECT coalesce(json_agg(format_type(a.type, NULL) ORDER BY a.place), '[]')
            FROM unnest(p.proargtypes) WITH ORDINALITY AS a(type, place)),
        'signature', pg_get_function_identity_arguments(p.oid),
        'digest', md5(pg_get_functiondef(p.oid)),
        'grants', coalesce(g.grants, '[]')) ORDER BY p.proname, p.oid), '[]')
        FROM me, pg_proc p LEFT JOIN granted g ON g.object = p.oid
        WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = me.oid AND p.prokind = 'f')
)::text
"#;
