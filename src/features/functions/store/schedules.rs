//! Schedules: what is due, and what came of it.

use std::collections::BTreeMap;

use tokio_postgres::{GenericClient, Row, Transaction};

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::functions::types::ScheduleMeta,
};

/// A schedule (empty trigger) or a trigger of a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub project: ProjectId,
    pub function: String,
    pub trigger: String,
}

#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Key,
    pub cron: String,
    pub timezone: String,
    pub next_run_at: Timestamp,
}

/// By function and trigger.
pub async fn of_project<C: GenericClient>(
    client: &C,
    project: &ProjectId,
) -> Result<BTreeMap<(String, String), (String, ScheduleMeta)>, DatabaseError> {
    let rows = client
        .query(
            "select function, trigger_id, cron, next_run_at, last_run_at, last_status, last_error, run_count
               from function_schedules where project_id = $1",
            &[&project.as_str()],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let meta = ScheduleMeta {
                last_run_at: row.try_get("last_run_at")?,
                last_status: row.try_get("last_status")?,
                next_run_at: Some(row.try_get("next_run_at")?),
                run_count: row.try_get("run_count")?,
                last_error: row.try_get("last_error")?,
            };
            Ok(((row.try_get("function")?, row.try_get("trigger_id")?), (row.try_get("cron")?, meta)))
        })
        .collect()
}

/// A schedule that is new or has another cron; what is known of its runs stays.
pub async fn put(tx: &Transaction<'_>, schedule: &Stored) -> Result<(), DatabaseError> {
    let key = &schedule.key;
    tx.execute(
        "insert into function_schedules (project_id, function, trigger_id, cron, timezone, next_run_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (project_id, function, trigger_id) do update
            set cron = excluded.cron, timezone = excluded.timezone, next_run_at = excluded.next_run_at",
        &[
            &key.project.as_str(),
            &key.function,
            &key.trigger,
            &schedule.cron,
            &schedule.timezone,
            &schedule.next_run_at,
        ],
    )
    .await?;
    Ok(())
}

pub async fn remove(tx: &Transaction<'_>, key: &Key) -> Result<(), DatabaseError> {
    tx.execute(
        "delete from function_schedules where project_id = $1 and function = $2 and trigger_id = $3",
        &[&key.project.as_str(), &key.function, &key.trigger],
    )
    .await?;
    Ok(())
}

/// When the next one is due.
pub async fn next_due(connection: &Connection) -> Result<Option<Timestamp>, DatabaseError> {
    let statement = connection.prepare_cached("select min(next_run_at) from function_schedules").await?;
    Ok(connection.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Those due, locked; of projects that are live.
pub async fn due(tx: &Transaction<'_>, now: Timestamp, limit: i64) -> Result<Vec<Stored>, DatabaseError> {
    let rows = tx
        .query(
            "select s.project_id, s.function, s.trigger_id, s.cron, s.timezone, s.next_run_at
               from function_schedules s where s.next_run_at <= $1
              order by s.next_run_at limit $2 for update skip locked",
            &[&now, &limit],
        )
        .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<Stored, DatabaseError> {
    let project: &str = row.try_get("project_id")?;
    let project = project
        .parse()
        .map_err(|_| DatabaseError::Unavailable(format!("the control database holds a bad id: {project}")))?;
    Ok(Stored {
        key: Key { project, function: row.try_get("function")?, trigger: row.try_get("trigger_id")? },
        cron: row.try_get("cron")?,
        timezone: row.try_get("timezone")?,
        next_run_at: row.try_get("next_run_at")?,
    })
}

/// The tick is taken: whatever happens now, it does not come again.
pub async fn advance(tx: &Transaction<'_>, key: &Key, next: Timestamp) -> Result<(), DatabaseError> {
    tx.execute(
        "update function_schedules set next_run_at = $4
          where project_id = $1 and function = $2 and trigger_id = $3",
        &[&key.project.as_str(), &key.function, &key.trigger, &next],
    )
    .await?;
    Ok(())
}

/// What came of a run. `status` 0: not run, which does not count.
pub async fn record(
    connection: &Connection,
    key: &Key,
    at: Timestamp,
    status: i32,
    error: Option<&str>,
) -> Result<(), DatabaseError> {
    connection
        .execute(
            "update function_schedules
                set last_run_at = case when $5 = 0 then last_run_at else $4 end, last_status = $5, last_error = $6,
                    run_count = run_count + case when $5 = 0 then 0 else 1 end
              where project_id = $1 and function = $2 and trigger_id = $3",
            &[&key.project.as_str(), &key.function, &key.trigger, &at, &status, &error],
        )
        .await?;
    Ok(())
}
