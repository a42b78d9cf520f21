//! Log entries.

use tokio_postgres::{Row, types::ToSql};

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::functions::{
        logs::{Entry, Filter, LogQuery},
        types::LogEntry,
    },
};

pub async fn insert(connection: &Connection, entries: &[Entry]) -> Result<(), DatabaseError> {
    fn column<'a, T>(entries: &'a [Entry], value: impl Fn(&'a Entry) -> T) -> Vec<T> {
        entries.iter().map(value).collect()
    }
    let statement = connection
        .prepare_cached(
            "insert into function_logs
                    (project_id, function, at, stream, level, message, redacted, request_id, run_id, attempt_id,
                     release_id)
             select e.project, e.function, e.at, e.stream, e.level, e.message, e.redacted, e.request, e.run, e.attempt,
                    e.release
               from unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::bool[],
                           $8::text[], $9::text[], $10::text[], $11::text[]) with ordinality
                    as e (project, function, at, stream, level, message, redacted, request, run, attempt, release, n)
               join projects p on p.id = e.project
              order by e.n",
        )
        .await?;
    connection
        .execute(
            &statement,
            &[
                &column(entries, |entry| entry.tags.project.as_str()),
                &column(entries, |entry| entry.tags.function.as_str()),
                &column(entries, |entry| entry.at),
                &column(entries, |entry| entry.stream.as_str()),
                &column(entries, |entry| entry.level.as_str()),
                &column(entries, |entry| entry.message.as_str()),
                &column(entries, |entry| entry.redacted),
                &column(entries, |entry| entry.tags.request_id.as_str()),
                &column(entries, |entry| entry.tags.run_id.as_deref()),
                &column(entries, |entry| entry.tags.attempt_id.as_deref()),
                &column(entries, |entry| entry.tags.release.as_str()),
            ],
        )
        .await?;
    Ok(())
}

/// The newest matching entries, oldest first. Without a function: those of a run, whatever its name is now.
pub async fn find(
    connection: &Connection,
    project: &ProjectId,
    function: Option<&str>,
    query: &LogQuery,
) -> Result<Vec<LogEntry>, DatabaseError> {
    let (column, wanted) = match &query.filter {
        None => ("request_id", None),
        Some(Filter::Request(id)) => ("request_id", Some(id)),
        Some(Filter::Run(id)) => ("run_id", Some(id)),
        Some(Filter::Attempt(id)) => ("attempt_id", Some(id)),
    };
    let mut sql = "select id, function, at, stream, level, message, redacted, request_id, release_id
                     from function_logs where project_id = $1"
        .to_owned();
    let project = project.as_str();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&project];
    if let Some(function) = &function {
        parameters.push(function);
        sql += &format!(" and function = ${}", parameters.len());
    }
    if let Some(since) = &query.since {
        parameters.push(since);
        sql += &format!(" and at >= ${}", parameters.len());
    }
    if let Some(wanted) = &wanted {
        parameters.push(wanted);
        sql += &format!(" and {column} = ${}", parameters.len());
    }
    parameters.push(&query.tail);
    sql += &format!(" order by at desc, id desc limit ${}", parameters.len());
    let statement = connection.prepare_cached(&sql).await?;
    let rows = connection.query(&statement, &parameters).await?;
    rows.iter().rev().map(entry).collect()
}

fn entry(row: &Row) -> Result<LogEntry, DatabaseError> {
    let id: i64 = row.try_get("id")?;
    let at: Timestamp = row.try_get("at")?;
    let redacted: bool = row.try_get("redacted")?;
    Ok(LogEntry {
        timestamp: at.to_string(),
        message: row.try_get("message")?,
        event_id: format!("log_{id}"),
        request_id: row.try_get("request_id")?,
        stream: row.try_get("stream")?,
        level: row.try_get("level")?,
        redacted: redacted.then_some(true),
        function_name: row.try_get("function")?,
        release_id: row.try_get("release_id")?,
    })
}

/// Forgets what is too old, and what belongs to projects that are gone.
pub async fn sweep(connection: &Connection, before: Timestamp) -> Result<(), DatabaseError> {
    connection.execute("delete from function_logs where at < $1", &[&before]).await?;
    connection
        .execute(
            "delete from function_logs where project_id in (
                 select p.id from projects p where p.status <> 'active'
                    and exists (select from function_logs l where l.project_id = p.id))",
            &[],
        )
        .await?;
    Ok(())
}

/// What an entry counts for beside its text, in bytes.
pub const OVERHEAD: usize = 100;

/// Forgets the oldest entries of a project that has more than so many bytes of them.
pub async fn cut(connection: &Connection, project: &ProjectId, bytes: i64) -> Result<u64, DatabaseError> {
    let overhead = i64::try_from(OVERHEAD).unwrap_or(0);
    Ok(connection
        .execute(
            "with sized as (
                 select at, id, sum(octet_length(message) + $3::bigint) over (order by at desc, id desc) as total
                   from function_logs where project_id = $1),
             cut as (select at, id from sized where total > $2::bigint order by at desc, id desc limit 1)
             delete from function_logs l using cut
              where l.project_id = $1 and (l.at, l.id) <= (cut.at, cut.id)",
            &[&project.as_str(), &bytes, &overhead],
        )
        .await?)
}

/// Whether the function has entries, although it may be gone.
pub async fn has_any(connection: &Connection, project: &ProjectId, function: &str) -> Result<bool, DatabaseError> {
    let row = connection
        .query_one(
            "select exists (select from function_logs where project_id = $1 and function = $2)",
            &[&project.as_str(), &function],
        )
        .await?;
    Ok(row.try_get(0)?)
}
