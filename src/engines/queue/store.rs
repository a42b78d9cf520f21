//! The SQL of the queue.

use std::time::Duration;

use jiff::SignedDuration;
use tokio_postgres::{GenericClient, types::Json};
use uuid::Uuid;

use super::job::{Count, Job, NewJob, State};
use crate::{
    common::Timestamp,
    engines::postgres::{Connection, DatabaseError},
};

/// Longest error that is kept, in characters.
const KEPT_ERROR: usize = 1_000;

pub(super) async fn insert<C: GenericClient>(
    client: &C,
    job: &NewJob<'_>,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let added = client
        .execute(
            "insert into queue_jobs (kind, key, payload, run_at, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $5)
             on conflict (kind, key) where state in ('waiting', 'running') do nothing",
            &[&job.kind, &job.key, &Json(&job.payload), &job.run_at, &now],
        )
        .await?;
    Ok(added == 1)
}

pub(super) async fn remove_waiting<C: GenericClient>(client: &C, kind: &str, key: &str) -> Result<bool, DatabaseError> {
    let removed = client
        .execute("delete from queue_jobs where kind = $1 and key = $2 and state = 'waiting'", &[&kind, &key])
        .await?;
    Ok(removed > 0)
}

/// When the first waiting job of each kind is due.
pub(super) async fn next_due(connection: &Connection) -> Result<Vec<(String, Timestamp)>, DatabaseError> {
    let statement = connection
        .prepare_cached("select kind, min(run_at) from queue_jobs where state = 'waiting' group by kind")
        .await?;
    let rows = connection.query(&statement, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

pub(super) struct Claim<'a> {
    pub kind: &'a str,
    pub limit: usize,
    pub worker: Uuid,
    pub now: Timestamp,
    pub lease: Duration,
}

/// Takes due jobs, the longest due first.
pub(super) async fn claim(connection: &Connection, claim: &Claim<'_>) -> Result<Vec<Job>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "with due as (
                 select id from queue_jobs where kind = $1 and state = 'waiting' and run_at <= $2
                  order by run_at, id limit $3 for update skip locked)
             update queue_jobs j
                set state = 'running', worker = $4, lease_until = $5, attempts = attempts + 1, updated_at = $2
               from due where j.id = due.id
             returning j.id, j.key, j.payload, j.attempts, j.run_at",
        )
        .await?;
    let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX);
    let until = lease_end(claim.now, claim.lease);
    let rows = connection.query(&statement, &[&claim.kind, &claim.now, &limit, &claim.worker, &until]).await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        let Json(payload) = row.try_get("payload")?;
        let attempt: i32 = row.try_get("attempts")?;
        let run_at: Timestamp = row.try_get("run_at")?;
        let attempt = u32::try_from(attempt).unwrap_or(1);
        jobs.push((run_at, Job { id: row.try_get("id")?, key: row.try_get("key")?, payload, attempt }));
    }
    jobs.sort_by_key(|(run_at, job)| (*run_at, job.id));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// False when the lease is no longer ours.
pub(super) async fn renew(
    connection: &Connection,
    id: i64,
    worker: Uuid,
    attempt: u32,
    now: Timestamp,
    lease: Duration,
) -> Result<bool, DatabaseError> {
    let renewed = connection
        .execute(
            "update queue_jobs set lease_until = $4
              where id = $1 and worker = $2 and attempts = $3",
            &[&id, &worker, &attempts(attempt), &lease_end(now, lease)],
        )
        .await?;
    Ok(renewed == 1)
}

pub(super) async fn finish(
    connection: &Connection,
    id: i64,
    worker: Uuid,
    attempt: u32,
) -> Result<bool, DatabaseError> {
    let finished = connection
        .execute(
            "delete from queue_jobs where id = $1 and worker = $2 and attempts = $3",
            &[&id, &worker, &attempts(attempt)],
        )
        .await?;
    Ok(finished == 1)
}

/// Back to waiting until `run_at`; `None` gives the job up. `fresh`: the attempts begin anew.
pub(super) async fn put_back(
    connection: &Connection,
    id: i64,
    (worker, attempt): (Uuid, u32),
    run_at: Option<Timestamp>,
    fresh: bool,
    error: Option<&str>,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let error: Option<String> = error.map(|error| error.chars().take(KEPT_ERROR).collect());
    let changed = connection
        .execute(
            "update queue_jobs
                set state = case when $4::timestamptz is null then 'failed' else 'waiting' end,
                    run_at = coalesce($4, run_at), attempts = case when $5 then 0 else attempts end,
                    last_error = $6, worker = null, lease_until = null, updated_at = $7
              where id = $1 and worker = $2 and attempts = $3",
            &[&id, &worker, &attempts(attempt), &run_at, &fresh, &error, &now],
        )
        .await?;
    Ok(changed == 1)
}

/// Ends leases: those of other processes (`not_of`), or those that ran out. A job that was begun as often as its kind
/// allows is given up.
pub(super) async fn release(
    connection: &Connection,
    kind: &str,
    max_attempts: u32,
    not_of: Option<Uuid>,
    now: Timestamp,
) -> Result<u64, DatabaseError> {
    Ok(connection
        .execute(
            "update queue_jobs
                set state = case when attempts >= $2 then 'failed' else 'waiting' end,
                    last_error = 'The process ended, or lost its lease, while the job ran.',
                    worker = null, lease_until = null, updated_at = $4
              where kind = $1 and state = 'running'
                and (($3::uuid is not null and worker <> $3) or ($3::uuid is null and lease_until < $4))",
            &[&kind, &attempts(max_attempts), &not_of, &now],
        )
        .await?)
}

pub(super) async fn forget_failed(connection: &Connection, before: Timestamp) -> Result<u64, DatabaseError> {
    Ok(connection.execute("delete from queue_jobs where state = 'failed' and updated_at < $1", &[&before]).await?)
}

pub(super) async fn counts(connection: &Connection) -> Result<Vec<Count>, DatabaseError> {
    let rows = connection
        .query(
            "select kind, state, count(*), min(run_at) from queue_jobs group by kind, state order by kind, state",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let state = match row.try_get::<_, &str>(1)? {
                "waiting" => State::Waiting,
                "running" => State::Running,
                _ => State::Failed,
            };
            Ok(Count { kind: row.try_get(0)?, state, jobs: row.try_get(2)?, earliest: row.try_get(3)? })
        })
        .collect()
}

fn lease_end(now: Timestamp, lease: Duration) -> Timestamp {
    now.plus(SignedDuration::try_from(lease).unwrap_or(SignedDuration::MAX))
}

fn attempts(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}
