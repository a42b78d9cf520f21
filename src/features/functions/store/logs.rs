//! Segments of log entries.

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::functions::logs::Segment,
};

/// Keeps segments; those of projects that are not there are left out.
pub async fn insert(connection: &Connection, segments: &[Segment]) -> Result<(), DatabaseError> {
    fn column<'a, T>(segments: &'a [Segment], value: impl Fn(&'a Segment) -> T) -> Vec<T> {
        segments.iter().map(value).collect()
    }
    // An array of arrays cannot be ragged. Names of functions have no blanks.
    let functions = |segment: &Segment| segment.functions.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let statement = connection
        .prepare_cached(
            "insert into function_log_segments (project_id, last_at, functions, size, entries)
             select s.project, s.last_at, string_to_array(s.functions, ' '), s.size, s.entries
               from unnest($1::text[], $2::timestamptz[], $3::text[], $4::bigint[], $5::bytea[]) with ordinality
                    as s (project, last_at, functions, size, entries, n)
               join projects p on p.id = s.project
              order by s.n",
        )
        .await?;
    connection
        .execute(
            &statement,
            &[
                &column(segments, |segment| segment.project.as_str()),
                &column(segments, |segment| segment.last_at),
                &column(segments, functions),
                &column(segments, |segment| segment.size),
                &column(segments, |segment| segment.packed.as_slice()),
            ],
        )
        .await?;
    Ok(())
}

/// A segment as it is kept.
#[derive(Debug)]
pub struct Kept {
    pub id: i64,
    /// Of its newest entry.
    pub last_at: Timestamp,
    /// Bytes its entries count for.
    pub size: i64,
    pub packed: Vec<u8>,
}

/// How much is fetched at a time: at most so many segments, and not another one after so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub segments: usize,
    pub bytes: i64,
}

/// The newest segments of a project, the newest first: that may have entries of the function and from `since` on, and
/// that come after `before` (the end and id of another) in this order.
pub async fn before(
    connection: &Connection,
    project: &ProjectId,
    function: Option<&str>,
    since: Option<Timestamp>,
    before: Option<(Timestamp, i64)>,
    bounds: Bounds,
) -> Result<Vec<Kept>, DatabaseError> {
    // 1970 and 9999: Postgres knows these moments, and all between.
    let (first, last) = (Timestamp::from_millis(0), Timestamp::from_millis(253_370_764_800_000));
    let since = since.max(first);
    let (last_at, id) = before.map_or((last, i64::MAX), |(last_at, id)| (Some(last_at), id));
    let segments = i64::try_from(bounds.segments).unwrap_or(i64::MAX);
    let statement = connection
        .prepare_cached(
            "with newest as (
                 select id, last_at, size, entries from function_log_segments
                  where project_id = $1 and last_at >= $2 and (last_at, id) < ($3, $4)
                    and ($5::text is null or $5 = any (functions))
                  order by last_at desc, id desc limit $6),
             summed as (
                 select id, last_at, size, entries,
                        sum(size) over (order by last_at desc, id desc rows unbounded preceding) - size as newer
                   from newest)
             select id, last_at, size, entries from summed where newer < $7::bigint order by last_at desc, id desc",
        )
        .await?;
    let rows = connection
        .query(&statement, &[&project.as_str(), &since, &last_at, &id, &function, &segments, &bounds.bytes])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Kept {
                id: row.try_get("id")?,
                last_at: row.try_get("last_at")?,
                size: row.try_get("size")?,
                packed: row.try_get("entries")?,
            })
        })
        .collect()
}

/// Forgets what is too old, and what belongs to projects that are gone.
pub async fn sweep(connection: &Connection, before: Timestamp) -> Result<(), DatabaseError> {
    // By project, because the index begins with it.
    let old = "delete from function_log_segments s using projects p where s.project_id = p.id and s.last_at < $1";
    connection.execute(old, &[&before]).await?;
    let gone =
        "delete from function_log_segments s using projects p where s.project_id = p.id and p.status <> 'active'";
    connection.execute(gone, &[]).await?;
    Ok(())
}

/// Forgets the oldest segments of a project until at most so many bytes of entries are left.
pub async fn cut(connection: &Connection, project: &ProjectId, bytes: i64) -> Result<u64, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "with summed as (
                 select last_at, id,
                        sum(size) over (order by last_at desc, id desc rows unbounded preceding) as total
                   from function_log_segments where project_id = $1),
             cut as (select last_at, id from summed where total > $2::bigint order by last_at desc, id desc limit 1)
             delete from function_log_segments s using cut
              where s.project_id = $1 and (s.last_at, s.id) <= (cut.last_at, cut.id)",
        )
        .await?;
    Ok(connection.execute(&statement, &[&project.as_str(), &bytes]).await?)
}

/// Whether the function has entries, although it may be gone.
pub async fn has_any(connection: &Connection, project: &ProjectId, function: &str) -> Result<bool, DatabaseError> {
    let row = connection
        .query_one(
            "select exists (select from function_log_segments where project_id = $1 and $2 = any (functions))",
            &[&project.as_str(), &function],
        )
        .await?;
    Ok(row.try_get(0)?)
}
