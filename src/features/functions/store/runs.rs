//! Runs and their attempts.

use tokio_postgres::{
    GenericClient, Row, Transaction,
    types::{Json, ToSql},
};

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::functions::runs::{Attempt, Run, Selection, Status},
};

const RUN: &str = "r.id, r.project_id, r.function, r.idempotency_key, r.intent, r.event_type, r.payload, r.source, \
     r.retry, r.status, r.generation, r.run_at, r.expires_at, r.attempts, r.attempts_total, r.next_attempt_at, \
     r.last_error, r.created_at, r.updated_at, r.completed_at, a.id as attempt_id, a.number as attempt_number, \
     a.started_at as attempt_started_at, a.completed_at as attempt_completed_at, \
     a.response_status as attempt_status, a.error as attempt_error";
const LAST_ATTEMPT: &str = "left join lateral (
     select * from function_run_attempts where run_id = r.id order by started_at desc, number desc limit 1) a on true";

fn run(row: &Row) -> Result<Run, DatabaseError> {
    let damaged = |what: &str| DatabaseError::Unavailable(format!("the control database holds a bad {what}"));
    let project: &str = row.try_get("project_id")?;
    let status: &str = row.try_get("status")?;
    let Json(retry) = row.try_get("retry")?;
    let attempt_id: Option<String> = row.try_get("attempt_id")?;
    let last_attempt = match attempt_id {
        None => None,
        Some(id) => Some(Attempt {
            id,
            number: number(row.try_get("attempt_number")?),
            started_at: row.try_get("attempt_started_at")?,
            completed_at: row.try_get("attempt_completed_at")?,
            response_status: row.try_get("attempt_status")?,
            error: row.try_get("attempt_error")?,
        }),
    };
    Ok(Run {
        id: row.try_get("id")?,
        project: project.parse().map_err(|_| damaged("project id"))?,
        function: row.try_get("function")?,
        idempotency_key: row.try_get("idempotency_key")?,
        intent: row.try_get("intent")?,
        event_type: row.try_get("event_type")?,
        payload: row.try_get("payload")?,
        source: row.try_get("source")?,
        retry,
        status: Status::parse(status).ok_or_else(|| damaged("status"))?,
        generation: number(row.try_get("generation")?),
        run_at: row.try_get("run_at")?,
        expires_at: row.try_get("expires_at")?,
        attempts: number(row.try_get("attempts")?),
        attempts_total: number(row.try_get("attempts_total")?),
        next_attempt_at: row.try_get("next_attempt_at")?,
        last_error: row.try_get("last_error")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        completed_at: row.try_get("completed_at")?,
        last_attempt,
    })
}

fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn whole(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// False: the key is taken.
pub async fn insert(tx: &Transaction<'_>, run: &Run) -> Result<bool, DatabaseError> {
    let added = tx
        .execute(
            "insert into function_runs
                    (id, project_id, function, idempotency_key, intent, event_type, payload, source, retry, status,
                     run_at, expires_at, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
             on conflict (project_id, function, idempotency_key) do nothing",
            &[
                &run.id,
                &run.project.as_str(),
                &run.function,
                &run.idempotency_key,
                &run.intent,
                &run.event_type,
                &run.payload,
                &run.source,
                &Json(run.retry),
                &run.status.as_str(),
                &run.run_at,
                &run.expires_at,
                &run.created_at,
            ],
        )
        .await?;
    Ok(added == 1)
}

pub async fn by_key<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    function: &str,
    key: &str,
) -> Result<Option<Run>, DatabaseError> {
    let sql = format!(
        "select {RUN} from function_runs r {LAST_ATTEMPT}
          where r.project_id = $1 and r.function = $2 and r.idempotency_key = $3"
    );
    let row = client.query_opt(&sql, &[&project.as_str(), &function, &key]).await?;
    row.as_ref().map(run).transpose()
}

pub async fn find<C: GenericClient>(client: &C, id: &str) -> Result<Option<Run>, DatabaseError> {
    let sql = format!("select {RUN} from function_runs r {LAST_ATTEMPT} where r.id = $1");
    client.query_opt(&sql, &[&id]).await?.as_ref().map(run).transpose()
}

/// Locked until the transaction ends.
pub async fn lock(tx: &Transaction<'_>, id: &str) -> Result<Option<Run>, DatabaseError> {
    let sql = format!("select {RUN} from function_runs r {LAST_ATTEMPT} where r.id = $1 for update of r");
    tx.query_opt(&sql, &[&id]).await?.as_ref().map(run).transpose()
}

/// Up to one more than the limit, newest first.
pub async fn list(
    connection: &Connection,
    project: &ProjectId,
    function: &str,
    wanted: &Selection,
    now: Timestamp,
) -> Result<Vec<Run>, DatabaseError> {
    let mut sql =
        format!("select {RUN} from function_runs r {LAST_ATTEMPT} where r.project_id = $1 and r.function = $2");
    let (project, limit) = (project.as_str(), wanted.limit + 1);
    let status = wanted.status.map(Status::as_str);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&project, &function];
    if let Some(status) = &status {
        parameters.push(&now);
        parameters.push(status);
        sql += &format!(
            " and case when r.status = 'queued' and r.run_at > ${} then 'scheduled' else r.status end = ${}",
            parameters.len() - 1,
            parameters.len()
        );
    }
    if let Some(event_type) = &wanted.event_type {
        parameters.push(event_type);
        sql += &format!(" and r.event_type = ${}", parameters.len());
    }
    if let Some(since) = &wanted.since {
        parameters.push(since);
        sql += &format!(" and r.created_at >= ${}", parameters.len());
    }
    if let Some(until) = &wanted.until {
        parameters.push(until);
        sql += &format!(" and r.created_at < ${}", parameters.len());
    }
    if let Some((at, id)) = &wanted.after {
        parameters.push(at);
        parameters.push(id);
        sql += &format!(" and (r.created_at, r.id) < (${}, ${})", parameters.len() - 1, parameters.len());
    }
    parameters.push(&limit);
    sql += &format!(" order by r.created_at desc, r.id desc limit ${}", parameters.len());
    let statement = connection.prepare_cached(&sql).await?;
    connection.query(&statement, &parameters).await?.iter().map(run).collect()
}

/// Everything about a run that changes.
pub async fn update(tx: &Transaction<'_>, run: &Run, now: Timestamp) -> Result<(), DatabaseError> {
    tx.execute(
        "update function_runs
            set status = $2, generation = $3, run_at = $4, expires_at = $5, attempts = $6, attempts_total = $7,
                next_attempt_at = $8, last_error = $9, completed_at = $10, retry = $11, updated_at = $12
          where id = $1",
        &[
            &run.id,
            &run.status.as_str(),
            &whole(run.generation),
            &run.run_at,
            &run.expires_at,
            &whole(run.attempts),
            &whole(run.attempts_total),
            &run.next_attempt_at,
            &run.last_error,
            &run.completed_at,
            &Json(run.retry),
            &now,
        ],
    )
    .await?;
    Ok(())
}

pub async fn begin_attempt(
    tx: &Transaction<'_>,
    run: &str,
    generation: u32,
    attempt: &Attempt,
) -> Result<(), DatabaseError> {
    tx.execute(
        "insert into function_run_attempts (id, run_id, generation, number, started_at) values ($1, $2, $3, $4, $5)",
        &[&attempt.id, &run, &whole(generation), &whole(attempt.number), &attempt.started_at],
    )
    .await?;
    Ok(())
}

/// Closes an attempt unless it is closed.
pub async fn end_attempt(tx: &Transaction<'_>, attempt: &Attempt) -> Result<(), DatabaseError> {
    tx.execute(
        "update function_run_attempts set completed_at = $2, response_status = $3, error = $4
          where id = $1 and completed_at is null",
        &[&attempt.id, &attempt.completed_at, &attempt.response_status, &attempt.error],
    )
    .await?;
    Ok(())
}

/// Runs of a function that did not end.
pub async fn unfinished<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    function: &str,
) -> Result<Vec<String>, DatabaseError> {
    let rows = client
        .query(
            "select id from function_runs where project_id = $1 and function = $2 and completed_at is null",
            &[&project.as_str(), &function],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
