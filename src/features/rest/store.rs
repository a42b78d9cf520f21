//! The only room that touches a connection: runs a rendered statement in the request's transaction.
//!
//! Order (contract 02 §7.13): settings, main statement, checks, COMMIT. When nothing has to be checked before
//! COMMIT, everything goes out in one write and is one implicit transaction; otherwise a transaction is begun and
//! ended explicitly. A statement is prepared behind the settings, so that names resolve under the request's role and
//! search path.
//!
//! Not cancel-safe: whoever stops [`run`] leaves a connection that its pool will close.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio_postgres::types::{FromSql, Type};

use super::{
    error::NativeError,
    query::{MainQuery, PlannedCount, columns, sql::Operand},
    response::{Outcome, openapi::Privileges},
    token::Caller,
};
use crate::engines::postgres::{Pipeline, PipelineError, Rows};

/// The settings a request's transaction has (02 §3.3).
#[derive(Clone, Copy, Debug)]
pub struct TransactionSettings<'a> {
    pub caller: &'a Arc<Caller>,
    pub read_only: bool,
    pub method: &'a str,
    /// After the API prefix: `/todos`.
    pub path: &'a str,
    /// JSON objects.
    pub headers: &'a str,
    pub cookies: &'a str,
    pub timezone: Option<&'a str>,
    /// Milliseconds.
    pub statement_timeout: &'a str,
}

/// Everything as parameters of one prepared statement, which costs a third of what parsing them anew does. Setting
/// never yields NULL, so every one is made and no row comes back. They are made in order: the role first, so that
/// nothing after it runs with the login's rights.
macro_rules! settings {
    ($more:literal) => {
        concat!(
            "select where set_config('role',$1,true) is null",
            " or set_config('transaction_read_only',$2,true) is null",
            " or set_config('search_path','public, extensions, auth',true) is null",
            " or set_config('request.jwt.claims',$3,true) is null",
            " or set_config('request.method',$4,true) is null",
            " or set_config('request.path',$5,true) is null",
            " or set_config('request.headers',$6,true) is null",
            " or set_config('request.cookies',$7,true) is null",
            " or set_config('run402.user_id',$8,true) is null",
            " or set_config('run402.project_id',$9,true) is null",
            " or set_config('run402.session_id',$10,true) is null",
            " or set_config('run402.authz_version',$11,true) is null",
            " or set_config('statement_timeout',$12,true) is null",
            $more
        )
    };
}
const SETTINGS: &str = settings!("");
const SETTINGS_WITH_TIMEZONE: &str = settings!(" or set_config('timezone',$13,true) is null");

/// What every transaction needs, for the session: it stays for the next request of the same role.
const STANCE: &str = concat!(
    "select where set_config('role',$1,false) is null",
    " or set_config('search_path','public, extensions, auth',false) is null",
    " or set_config('statement_timeout',$2,false) is null",
);

/// What the platform's functions tell of the caller, for the session as well.
const CALLER: &str = concat!(
    "select where set_config('request.jwt.claims',$1,false) is null",
    " or set_config('run402.user_id',$2,false) is null",
    " or set_config('run402.project_id',$3,false) is null",
    " or set_config('run402.session_id',$4,false) is null",
    " or set_config('run402.authz_version',$5,false) is null",
);

/// How requests leave a session, on purpose: what they set stays, so that the next one of the same caller has nothing
/// to set. A session in which functions of the project ran has lost it ([`reset`]); nobody knows how it stands then, as
/// after login. No session is ever used while it tells of somebody else than the caller.
#[derive(Debug)]
struct Stance(Arc<Caller>);

/// What a session has to be told of a caller.
struct Unsaid {
    role: bool,
    caller: bool,
}

impl Unsaid {
    fn of(pipeline: &Pipeline, caller: &Arc<Caller>) -> Self {
        match pipeline.stance() {
            None => Self { role: true, caller: true },
            Some(Stance(known)) => {
                Self { role: known.role != caller.role, caller: !Arc::ptr_eq(known, caller) && known != caller }
            }
        }
    }
}

/// What follows a NUL in a text is cut; the protocol would take it and Postgres refuse it.
fn until_nul(value: &str) -> Option<&str> {
    value.split('\0').next()
}

/// The settings of a job, in as many statements as it answers. Reads that run no code of the project need not be told
/// to be read only.
fn add_job_settings(pipeline: &mut Pipeline, job: &Job) -> usize {
    let settings = &job.settings;
    if job.is_told_all {
        add_settings(pipeline, settings);
        return 1;
    }
    let caller = settings.caller;
    let unsaid = Unsaid::of(pipeline, caller);
    if unsaid.role {
        pipeline.add(STANCE, [caller.role.name(), settings.statement_timeout].into_iter().map(Some));
    }
    if unsaid.caller {
        let values =
            [&caller.claims, &caller.user_id, caller.project.as_str(), &caller.session_id, &caller.authz_version];
        pipeline.add(CALLER, values.into_iter().map(until_nul));
    }
    usize::from(unsaid.role) + usize::from(unsaid.caller)
}

/// Notes how the session stands after a transaction that kept the settings of `job`, or lost them.
fn note_stance(pipeline: &mut Pipeline, job: &Job, kept: bool) {
    let caller = job.settings.caller;
    if job.leaves_traces {
        pipeline.forget_stance();
    } else if !job.is_told_all && Unsaid::of(pipeline, caller).caller {
        if kept {
            pipeline.set_stance(Stance(Arc::clone(caller)));
        } else {
            pipeline.forget_stance();
        }
    }
}

fn add_settings(pipeline: &mut Pipeline, settings: &TransactionSettings) {
    let caller = settings.caller;
    let values = [
        caller.role.name(),
        if settings.read_only { "on" } else { "off" },
        caller.claims.as_str(),
        settings.method,
        settings.path,
        settings.headers,
        settings.cookies,
        &caller.user_id,
        caller.project.as_str(),
        &caller.session_id,
        &caller.authz_version,
        settings.statement_timeout,
        settings.timezone.unwrap_or(""),
    ];
    let values = values.map(until_nul);
    match settings.timezone {
        Some(_) => pipeline.add(SETTINGS_WITH_TIMEZONE, values.into_iter()),
        None => pipeline.add(SETTINGS, values[..12].iter().copied()),
    }
}

fn add(pipeline: &mut Pipeline, text: &str, operands: &[Operand]) {
    pipeline.add(text, operands.iter().map(|operand| Some(operand.as_str())));
}

fn add_plain(pipeline: &mut Pipeline, text: &str) {
    add(pipeline, text, &[]);
}

/// One main statement and how its transaction ends.
pub struct Job<'a> {
    pub settings: TransactionSettings<'a>,
    pub query: &'a MainQuery,
    /// Nothing is looked at before the end of the transaction.
    pub ends_at_once: bool,
    pub rolls_back: bool,
    /// Functions of the project may run, and leave something in the session.
    pub leaves_traces: bool,
    /// Every setting is made, for this transaction alone; otherwise only what tells of the caller.
    pub is_told_all: bool,
    pub check: &'a (dyn Fn(&Outcome) -> Result<(), NativeError> + Sync),
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Database(#[from] PipelineError),
    /// The result was not acceptable; the transaction was rolled back.
    #[error(transparent)]
    Refused(#[from] NativeError),
}

/// Runs the job, once more if a schema change or user code invalidated a prepared statement.
pub async fn run(pipeline: &mut Pipeline, job: &Job<'_>) -> Result<Outcome, Failure> {
    let first = attempt(pipeline, job).await;
    match &first {
        Err(Failure::Database(error)) if is_stale(error) => {
            pipeline.forget_statements();
            attempt(pipeline, job).await
        }
        _ => first,
    }
}

/// Nothing was written: the transaction failed with the statement.
fn is_stale(error: &PipelineError) -> bool {
    error.report().is_some_and(|report| match report.sqlstate.as_str() {
        "0A000" => report.message == "cached plan must not change result type",
        // A function of the project ran DEALLOCATE.
        "26000" => true,
        _ => false,
    })
}

/// Takes a session back to how it was after login: settings, advisory locks, temporary tables, cursors, channels,
/// sequences. What `DISCARD ALL` does but for prepared statements, which are ours. The role is set by each request.
const RESET: [&str; 6] = [
    "reset all",
    "select from pg_catalog.pg_advisory_unlock_all()",
    "discard temp",
    "close all",
    "unlisten *",
    "discard sequences",
];

/// In the same write as the end of the transaction: it costs no round trip.
fn add_reset(pipeline: &mut Pipeline, job: &Job) {
    if job.leaves_traces {
        for statement in RESET {
            add_plain(pipeline, statement);
        }
        pipeline.sync();
    }
}

/// A session that cannot be reset is not used again.
async fn reset(pipeline: &mut Pipeline, job: &Job<'_>) {
    if !job.leaves_traces || pipeline.is_broken() {
        return;
    }
    let done = async {
        for _ in RESET {
            pipeline.rows().await?;
        }
        Ok(())
    }
    .await;
    if let Err(error) = in_step(pipeline, done).await {
        tracing::debug!(%error, "a session of the data API cannot be reset and is closed");
        pipeline.retire();
    }
}

async fn attempt(pipeline: &mut Pipeline, job: &Job<'_>) -> Result<Outcome, Failure> {
    if job.ends_at_once && !job.rolls_back { at_once(pipeline, job).await } else { judged(pipeline, job).await }
}

/// The main statement, and the planner's count where it is wanted in any case.
struct Texts {
    main: String,
    count: Option<String>,
}

impl Texts {
    /// Plans over row level security are made for one role; keeping the roles' statements apart keeps Postgres from
    /// planning again whenever the role of a connection changes.
    fn of(job: &Job) -> Self {
        let role = job.settings.caller.role.name();
        let tagged = |sql: &str| format!("/* {role} */ {sql}");
        Self {
            main: tagged(&job.query.sql.text),
            count: job.query.planned_count.as_ref().map(|count| tagged(&count.sql.text)),
        }
    }

    fn add(&self, pipeline: &mut Pipeline, query: &MainQuery) {
        add(pipeline, &self.main, &query.sql.operands);
        // Of a bounded count only the result tells whether the planner has to be asked.
        if let Some(count) = query.planned_count.as_ref().filter(|count| count.above.is_none()) {
            self.add_count(pipeline, count);
        }
    }

    fn add_count(&self, pipeline: &mut Pipeline, count: &PlannedCount) {
        add(pipeline, self.count.as_deref().unwrap_or_default(), &count.sql.operands);
    }

    async fn outcome(&self, pipeline: &mut Pipeline, query: &MainQuery) -> Result<Outcome, PipelineError> {
        let mut outcome = decode(&pipeline.rows().await?, query);
        if query.planned_count.as_ref().is_some_and(|count| count.above.is_none()) {
            outcome.total = estimate(&pipeline.rows().await?).or(outcome.total);
        }
        Ok(outcome)
    }
}

/// One write, one implicit transaction.
async fn at_once(pipeline: &mut Pipeline, job: &Job<'_>) -> Result<Outcome, Failure> {
    let texts = Texts::of(job);
    let settings = add_job_settings(pipeline, job);
    texts.add(pipeline, job.query);
    pipeline.sync();
    add_reset(pipeline, job);
    pipeline.send().await?;
    let outcome = async {
        for _ in 0..settings {
            pipeline.rows().await?;
        }
        texts.outcome(pipeline, job.query).await
    }
    .await;
    let outcome = in_step(pipeline, outcome).await;
    note_stance(pipeline, job, outcome.is_ok());
    reset(pipeline, job).await;
    let outcome = outcome?;
    (job.check)(&outcome)?;
    Ok(outcome)
}

/// With a look at the result before the end of the transaction.
async fn judged(pipeline: &mut Pipeline, job: &Job<'_>) -> Result<Outcome, Failure> {
    let texts = Texts::of(job);
    add_plain(pipeline, "begin");
    let settings = add_job_settings(pipeline, job);
    texts.add(pipeline, job.query);
    pipeline.sync();
    pipeline.send().await?;
    let outcome = async {
        for _ in 0..=settings {
            pipeline.rows().await?;
        }
        texts.outcome(pipeline, job.query).await
    }
    .await;
    let outcome = in_step(pipeline, outcome).await;
    let judged = async {
        let mut outcome = outcome?;
        if let Some(count) = &job.query.planned_count
            && let (Some(above), Some(total)) = (count.above, outcome.total)
            && total > above
        {
            texts.add_count(pipeline, count);
            pipeline.sync();
            pipeline.send().await?;
            let rows = pipeline.rows().await;
            let planned = estimate(&in_step(pipeline, rows).await?);
            outcome.total = planned.map(|planned| planned.max(total));
        }
        (job.check)(&outcome)?;
        Ok(outcome)
    }
    .await;
    if let Err(Failure::Database(PipelineError::Broken(_))) = &judged {
        return judged;
    }
    let commits = judged.is_ok() && !job.rolls_back;
    add_plain(pipeline, if commits { "commit" } else { "rollback" });
    pipeline.sync();
    add_reset(pipeline, job);
    pipeline.send().await?;
    let ended = pipeline.rows().await;
    let ended = in_step(pipeline, ended).await;
    note_stance(pipeline, job, commits && ended.is_ok());
    reset(pipeline, job).await;
    ended?;
    judged
}

/// Listens to the answer of the sync, also after a statement that failed; not after a broken connection.
async fn in_step<T>(pipeline: &mut Pipeline, result: Result<T, PipelineError>) -> Result<T, PipelineError> {
    if let Err(PipelineError::Broken(_)) = &result {
        return result;
    }
    let ended = pipeline.ready().await;
    let value = result?;
    ended?;
    Ok(value)
}

/// The planner's idea of how many rows there are.
fn estimate(rows: &Rows) -> Option<i64> {
    let plan: Value = serde_json::from_slice(rows.rows.first()?.get(0)?).ok()?;
    plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64).map(|rows| rows as i64)
}

fn decode(answer: &Rows, query: &MainQuery) -> Outcome {
    if query.is_explain {
        let lines: Vec<&[u8]> = answer.rows.iter().filter_map(|row| row.get(0)).collect();
        return Outcome { body: Some(Bytes::from(lines.join(&b'\n'))), rows: 1, ..Outcome::default() };
    }
    let Some(row) = answer.rows.first() else { return Outcome::default() };
    let text = |column: usize| row.text(column).map(str::to_owned);
    let is_jsonb = answer.types.get(columns::BODY) == Some(&Type::JSONB.oid());
    let location = row.get(columns::LOCATION).filter(|_| query.has_location);
    Outcome {
        // text, bytea, json and xml are their own bytes; jsonb begins with the version of its format.
        body: row.bytes(columns::BODY).map(|bytes| bytes.slice(usize::from(is_jsonb && !bytes.is_empty())..)),
        rows: row.bigint(columns::ROWS).unwrap_or_default(),
        total: row.bigint(columns::TOTAL),
        headers: text(columns::HEADERS),
        status: text(columns::STATUS),
        location: location.and_then(|raw| Vec::from_sql(&Type::TEXT_ARRAY, raw).ok()),
        inserted: row.text(columns::INSERTED).filter(|_| query.has_inserted).and_then(|text| text.parse().ok()),
    }
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

/// Privileges of the role of these settings.
pub async fn privileges(pipeline: &mut Pipeline, settings: &TransactionSettings<'_>) -> Result<Privileges, Failure> {
    add_settings(pipeline, settings);
    add_plain(pipeline, PRIVILEGES);
    pipeline.sync();
    pipeline.send().await?;
    let rows = async {
        pipeline.rows().await?;
        pipeline.rows().await
    }
    .await;
    let rows = in_step(pipeline, rows).await?;
    let document = rows.rows.first().and_then(|row| row.get(0)).unwrap_or(b"null");
    serde_json::from_slice(document).map_err(|error| NativeError::unexpected(&error.to_string()).into())
}

/// Ends the server's side of another connection. Needs a platform session.
pub async fn terminate(platform: &tokio_postgres::Client, pid: i32) -> Result<(), tokio_postgres::Error> {
    platform.query_typed("select pg_terminate_backend($1)", &[(&pid, Type::INT4)]).await.map(drop)
}

/// Names the server accepts as time zones, in lower case.
pub async fn timezones(pipeline: &mut Pipeline) -> Result<Vec<String>, PipelineError> {
    // Readable in whatever role the session was left.
    add_plain(pipeline, "select lower(name) from pg_catalog.pg_timezone_names");
    pipeline.sync();
    pipeline.send().await?;
    let rows = pipeline.rows().await;
    let rows = in_step(pipeline, rows).await?;
    Ok(rows.rows.iter().filter_map(|row| row.text(0)).map(str::to_owned).collect())
}
