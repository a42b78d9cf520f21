//! All SQL on content in the control database.
//!
//! Locks are taken in one order: the project's row, then its content in the order of digests. Whoever changes what
//! counts locks the project's row, so `projects.blob_bytes` is always the sum of what is counted.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Transaction;

use super::{
    Holder, Reference,
    types::{ContentPlanId, Plan},
};
use crate::{
    common::{PlanId, ProjectId, Timestamp},
    engines::{
        blobs::Sha256Digest,
        postgres::{Connection, DatabaseError},
    },
};

/// Digests as Postgres takes them, in one order for everybody.
fn sorted(digests: &[Sha256Digest]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

fn digest(bytes: &[u8]) -> Result<Sha256Digest, DatabaseError> {
    bytes.try_into().map(Sha256Digest::from_bytes).map_err(|_| DatabaseError::damaged("content's digest"))
}

fn size(bytes: i64) -> Result<u64, DatabaseError> {
    u64::try_from(bytes).map_err(|_| DatabaseError::damaged("content's size"))
}

/// Sizes come from `Reference`s within `content.max_object_bytes`; a setting beyond 8 EiB is cut.
fn stored_size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Which of these the project has, each with whether nobody asked for it since `renew_before`.
pub(super) async fn present(
    connection: &Connection,
    project: &ProjectId,
    digests: &[Sha256Digest],
    renew_before: Timestamp,
) -> Result<Vec<(Reference, bool)>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select sha256, size, wanted_at < $3 from project_content where project_id = $1 and sha256 = any($2)",
        )
        .await?;
    let rows = connection.query(&statement, &[&project.as_str(), &sorted(digests), &renew_before]).await?;
    rows.iter()
        .map(|row| Ok((Reference { sha256: digest(row.try_get(0)?)?, size: size(row.try_get(1)?)? }, row.try_get(2)?)))
        .collect()
}

/// Marks content as wanted now; answers what was still there.
pub(super) async fn renew(
    connection: &Connection,
    project: &ProjectId,
    digests: &[Sha256Digest],
    now: Timestamp,
) -> Result<HashMap<Sha256Digest, u64>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "with due as (
                 select id from project_content where project_id = $1 and sha256 = any($2)
                 order by sha256 for no key update
             )
             update project_content c set wanted_at = $3 from due where c.id = due.id
             returning c.sha256, c.size",
        )
        .await?;
    let rows = connection.query(&statement, &[&project.as_str(), &sorted(digests), &now]).await?;
    rows.iter().map(|row| Ok((digest(row.try_get(0)?)?, size(row.try_get(1)?)?))).collect()
}

/// The size of one object of the project.
pub(super) async fn size_of(
    connection: &Connection,
    project: &ProjectId,
    digest: Sha256Digest,
) -> Result<Option<u64>, DatabaseError> {
    let statement =
        connection.prepare_cached("select size from project_content where project_id = $1 and sha256 = $2").await?;
    let row = connection.query_opt(&statement, &[&project.as_str(), &&digest.as_bytes()[..]]).await?;
    row.map(|row| size(row.try_get(0)?)).transpose()
}

/// Locks the row of a live project. False when it is being purged or gone.
pub(super) async fn lock_project(tx: &Transaction<'_>, project: &ProjectId) -> Result<bool, DatabaseError> {
    let row = tx
        .query_opt("select from projects where id = $1 and status = 'active' for no key update", &[&project.as_str()])
        .await?;
    Ok(row.is_some())
}

async fn add_bytes(tx: &Transaction<'_>, project: &ProjectId, change: i64) -> Result<(), DatabaseError> {
    if change != 0 {
        tx.execute("update projects set blob_bytes = blob_bytes + $2 where id = $1", &[&project.as_str(), &change])
            .await?;
    }
    Ok(())
}

/// The project has these now. Answers by how many bytes its storage grew. Its row is locked.
pub(super) async fn add(
    tx: &Transaction<'_>,
    project: &ProjectId,
    content: &[Reference],
    now: Timestamp,
) -> Result<i64, DatabaseError> {
    let mut content = content.to_vec();
    content.sort_unstable_by_key(|object| object.sha256);
    content.dedup();
    let digests: Vec<&[u8]> = content.iter().map(|object| &object.sha256.as_bytes()[..]).collect();
    let sizes: Vec<i64> = content.iter().map(|object| stored_size(object.size)).collect();
    let row = tx
        .query_one(
            "with added as (
                 insert into project_content as c (project_id, sha256, size, wanted_at)
                 select $1, d.sha256, d.size, $4 from unnest($2::bytea[], $3::bigint[]) as d (sha256, size)
                 on conflict (project_id, sha256) do update set wanted_at = $4, counted = true
                 returning case when old.counted then 0 else new.size end as bytes
             )
             select coalesce(sum(bytes), 0)::bigint from added",
            &[&project.as_str(), &digests, &sizes, &now],
        )
        .await?;
    let grown: i64 = row.try_get(0)?;
    add_bytes(tx, project, grown).await?;
    Ok(grown)
}

/// `holder` needs these, besides what it already holds. Content the project does not have fails the transaction.
pub(super) async fn hold(
    tx: &Transaction<'_>,
    project: &ProjectId,
    holder: &Holder,
    digests: &[Sha256Digest],
) -> Result<(), DatabaseError> {
    if digests.is_empty() {
        return Ok(());
    }
    lock_project(tx, project).await?;
    let counted = holder.is_counted();
    let row = tx
        .query_one(
            "insert into content_holders (project_id, kind, holder, counted) values ($1, $2, $3, $4)
             on conflict (project_id, kind, holder) do update set counted = excluded.counted
             returning id",
            &[&project.as_str(), &holder.kind, &holder.id, &counted],
        )
        .await?;
    let id: i64 = row.try_get(0)?;
    let digests = sorted(digests);
    // What is not there becomes null, which the column refuses.
    tx.execute(
        "insert into content_holds (holder_id, content_id)
         select $1, c.id
         from unnest($3::bytea[]) as d (sha256)
         left join project_content c on c.project_id = $2 and c.sha256 = d.sha256
         on conflict do nothing",
        &[&id, &project.as_str(), &digests],
    )
    .await?;
    if counted {
        let row = tx
            .query_one(
                "with counted as (
                     update project_content set counted = true
                     where project_id = $1 and sha256 = any($2) and not counted
                     returning size
                 )
                 select coalesce(sum(size), 0)::bigint from counted",
                &[&project.as_str(), &digests],
            )
            .await?;
        add_bytes(tx, project, row.try_get(0)?).await?;
    }
    Ok(())
}

/// `holder` does not need these any more, or anything at all without `digests`. What no counted holder needs stops
/// counting, and the sweep may take what no holder needs after its grace.
pub(super) async fn let_go(
    tx: &Transaction<'_>,
    project: &ProjectId,
    holder: &Holder,
    digests: Option<&[Sha256Digest]>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    lock_project(tx, project).await?;
    let some = digests.map(sorted);
    let released: Vec<i64> = tx
        .query(
            "delete from content_holds s using content_holders h, project_content c
             where s.holder_id = h.id and h.project_id = $1 and h.kind = $2 and h.holder = $3
               and c.id = s.content_id and ($4::bytea[] is null or c.sha256 = any($4))
             returning s.content_id",
            &[&project.as_str(), &holder.kind, &holder.id, &some],
        )
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    if digests.is_none() {
        tx.execute(
            "delete from content_holders where project_id = $1 and kind = $2 and holder = $3",
            &[&project.as_str(), &holder.kind, &holder.id],
        )
        .await?;
    }
    let row = tx
        .query_one(
            "with uncounted as (
                 update project_content c
                 set counted = false, wanted_at = $2
                 where c.id = any($1) and c.counted
                   and not exists (select from content_holds s join content_holders h on h.id = s.holder_id
                                   where s.content_id = c.id and h.counted)
                 returning c.size
             )
             select coalesce(sum(size), 0)::bigint from uncounted",
            &[&released, &now],
        )
        .await?;
    let freed: i64 = row.try_get(0)?;
    add_bytes(tx, project, -freed).await
}

pub(super) async fn expect(
    tx: &Transaction<'_>,
    project: &ProjectId,
    plan: &PlanId,
    content: &[Reference],
    until: Timestamp,
) -> Result<(), DatabaseError> {
    let digests: Vec<_> = content.iter().map(|object| object.sha256).collect();
    tx.execute(
        "insert into expected_content (plan_id, project_id, digests, expires_at) values ($1, $2, $3, $4)
         on conflict (plan_id) do update set digests = excluded.digests, expires_at = excluded.expires_at",
        &[&plan.as_str(), &project.as_str(), &sorted(&digests), &until],
    )
    .await?;
    Ok(())
}

pub(super) async fn forget_plan(tx: &Transaction<'_>, plan: &PlanId) -> Result<(), DatabaseError> {
    tx.execute("delete from expected_content where plan_id = $1", &[&plan.as_str()]).await?;
    Ok(())
}

/// The first of these that no live apply plan of the project names.
pub(super) async fn first_unexpected(
    connection: &Connection,
    project: &ProjectId,
    digests: &[Sha256Digest],
    now: Timestamp,
) -> Result<Option<Sha256Digest>, DatabaseError> {
    let row = connection
        .query_opt(
            "select d from unnest($2::bytea[]) d
             except
             select e from expected_content p, unnest(p.digests) e where p.project_id = $1 and p.expires_at > $3
             limit 1",
            &[&project.as_str(), &sorted(digests), &now],
        )
        .await?;
    row.map(|row| digest(row.try_get(0)?)).transpose()
}

pub(super) async fn insert_plan(connection: &Connection, plan: &Plan, now: Timestamp) -> Result<(), DatabaseError> {
    let digests: Vec<&[u8]> = plan.sessions.iter().map(|object| &object.sha256.as_bytes()[..]).collect();
    let sizes: Vec<i64> = plan.sessions.iter().map(|object| stored_size(object.size)).collect();
    connection
        .execute(
            "insert into content_plans
                 (id, project_id, digests, sizes, single_bytes, part_bytes, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &plan.id.as_str(),
                &plan.project.as_str(),
                &digests,
                &sizes,
                &stored_size(plan.single_bytes),
                &stored_size(plan.part_bytes),
                &now,
                &plan.expires_at,
            ],
        )
        .await?;
    Ok(())
}

/// An unexpired plan.
pub(super) async fn find_plan(
    connection: &Connection,
    id: &ContentPlanId,
    now: Timestamp,
) -> Result<Option<Plan>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select project_id, digests, sizes, single_bytes, part_bytes, expires_at, committed_at is not null
             from content_plans where id = $1 and expires_at > $2",
        )
        .await?;
    let Some(row) = connection.query_opt(&statement, &[&id.as_str(), &now]).await? else { return Ok(None) };
    let (digests, sizes): (Vec<&[u8]>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let sessions = digests
        .into_iter()
        .zip(sizes)
        .map(|(sha256, bytes)| Ok(Reference { sha256: digest(sha256)?, size: size(bytes)? }))
        .collect::<Result<_, DatabaseError>>()?;
    Ok(Some(Plan {
        id: id.clone(),
        project: row.try_get::<_, &str>(0)?.parse().map_err(|_| DatabaseError::damaged("content's project id"))?,
        sessions,
        single_bytes: size(row.try_get(3)?)?,
        part_bytes: size(row.try_get(4)?)?,
        expires_at: row.try_get(5)?,
        committed: row.try_get(6)?,
    }))
}

/// How many plans of the project are open, and how many bytes they announce besides these, once part of them arrived.
pub(super) async fn open_plans_of(
    connection: &Connection,
    project: &ProjectId,
    besides: &[Sha256Digest],
    now: Timestamp,
) -> Result<(i64, u64), DatabaseError> {
    let row = connection
        .query_one(
            "with open as (
                 select id, digests, sizes from content_plans
                 where project_id = $1 and expires_at > $2 and committed_at is null
             ), announced as (
                 select distinct s.sha256, s.size
                 from open p, unnest(p.digests, p.sizes) as s (sha256, size)
                 where exists (select from content_parts a where a.plan_id = p.id) and s.sha256 <> all($3)
             )
             select (select count(*) from open), (select coalesce(sum(size), 0)::bigint from announced)",
            &[&project.as_str(), &now, &sorted(besides)],
        )
        .await?;
    Ok((row.try_get(0)?, size(row.try_get(1)?)?))
}

/// Where a part lies that arrived.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub plan: ContentPlanId,
    pub session: u32,
    pub part: u32,
    pub sha256: Sha256Digest,
    pub in_store: bool,
}

/// Notes parts whose bytes are on disk; those of plans that are gone or committed are left out.
pub(super) async fn record_parts(connection: &Connection, parts: &[Part]) -> Result<(), DatabaseError> {
    let plans: Vec<&str> = parts.iter().map(|part| part.plan.as_str()).collect();
    let sessions: Vec<i32> = parts.iter().map(|part| i32::try_from(part.session).unwrap_or(i32::MAX)).collect();
    let numbers: Vec<i32> = parts.iter().map(|part| i32::try_from(part.part).unwrap_or(i32::MAX)).collect();
    let digests: Vec<&[u8]> = parts.iter().map(|part| &part.sha256.as_bytes()[..]).collect();
    let in_store: Vec<bool> = parts.iter().map(|part| part.in_store).collect();
    let statement = connection
        .prepare_cached(
            "insert into content_parts as c (plan_id, session, part, sha256, in_store)
             select distinct on (d.plan_id, d.session, d.part) d.plan_id, d.session, d.part, d.sha256, d.in_store
             from unnest($1::text[], $2::int[], $3::int[], $4::bytea[], $5::bool[])
                      as d (plan_id, session, part, sha256, in_store)
             join content_plans p on p.id = d.plan_id and p.committed_at is null
             on conflict (plan_id, session, part) do update
                 set sha256 = excluded.sha256, in_store = excluded.in_store
                 where c.sha256 <> excluded.sha256",
        )
        .await?;
    connection.execute(&statement, &[&plans, &sessions, &numbers, &digests, &in_store]).await?;
    Ok(())
}

/// The parts of a plan that arrived: (session, part) → digest.
pub(super) async fn arrived(
    connection: &Connection,
    plan: &ContentPlanId,
) -> Result<HashMap<(u32, u32), Sha256Digest>, DatabaseError> {
    let rows = connection
        .query("select session, part, sha256 from content_parts where plan_id = $1", &[&plan.as_str()])
        .await?;
    rows.iter()
        .map(|row| {
            let number = |at| -> Result<u32, DatabaseError> {
                u32::try_from(row.try_get::<_, i32>(at)?).map_err(|_| DatabaseError::damaged("content's part"))
            };
            Ok(((number(0)?, number(1)?), digest(row.try_get(2)?)?))
        })
        .collect()
}

/// What was uploaded for these sessions is void.
pub(super) async fn forget_parts(
    connection: &Connection,
    plan: &ContentPlanId,
    sessions: &[u32],
) -> Result<(), DatabaseError> {
    let sessions: Vec<i32> = sessions.iter().filter_map(|session| i32::try_from(*session).ok()).collect();
    connection
        .execute("delete from content_parts where plan_id = $1 and session = any($2)", &[&plan.as_str(), &sessions])
        .await?;
    Ok(())
}

pub(super) async fn finish_plan(
    tx: &Transaction<'_>,
    plan: &ContentPlanId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    tx.execute(
        "update content_plans set committed_at = $2 where id = $1 and committed_at is null",
        &[&plan.as_str(), &now],
    )
    .await?;
    Ok(())
}

/// Forgets plans of both kinds that have expired.
pub(super) async fn forget_expired(connection: &Connection, now: Timestamp) -> Result<(), DatabaseError> {
    connection.execute("delete from content_plans where expires_at <= $1", &[&now]).await?;
    connection.execute("delete from expected_content where expires_at <= $1", &[&now]).await?;
    Ok(())
}

/// Which of these plans may still be committed.
pub(super) async fn open_plans(connection: &Connection, ids: &[String]) -> Result<HashSet<String>, DatabaseError> {
    let rows =
        connection.query("select id from content_plans where id = any($1) and committed_at is null", &[&ids]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Projects that have content nobody asked for since `cutoff`.
pub(super) async fn projects_with_old_content(
    connection: &Connection,
    cutoff: Timestamp,
) -> Result<Vec<ProjectId>, DatabaseError> {
    let rows = connection
        .query(
            "select distinct c.project_id from project_content c
             where c.wanted_at < $1 and not exists (select from content_holds s where s.content_id = c.id)",
            &[&cutoff],
        )
        .await?;
    rows.iter()
        .map(|row| row.try_get::<_, &str>(0)?.parse().map_err(|_| DatabaseError::damaged("content's project id")))
        .collect()
}

/// The project no longer has what nobody holds, expects or asked for since `cutoff`: up to `limit` objects. Its row
/// is locked. Answers how many went.
pub(super) async fn remove_unwanted(
    tx: &Transaction<'_>,
    project: &ProjectId,
    cutoff: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<i64, DatabaseError> {
    let row = tx
        .query_one(
            "with unwanted as (
                 select id from project_content c
                 where project_id = $1 and wanted_at < $2
                   and not exists (select from content_holds s where s.content_id = c.id)
                   and not exists (select from expected_content p
                                   where p.project_id = $1 and p.expires_at > $3 and c.sha256 = any(p.digests))
                 order by sha256 limit $4 for update
             ), gone as (
                 delete from project_content c using unwanted where c.id = unwanted.id
                 returning c.size, c.counted
             )
             select count(*), coalesce(sum(size) filter (where counted), 0)::bigint from gone",
            &[&project.as_str(), &cutoff, &now, &limit],
        )
        .await?;
    let freed: i64 = row.try_get(1)?;
    add_bytes(tx, project, -freed).await?;
    Ok(row.try_get(0)?)
}

/// Which of these some project has or is uploading.
pub(super) async fn referenced(
    connection: &Connection,
    digests: &[Sha256Digest],
) -> Result<HashSet<Sha256Digest>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select sha256 from project_content where sha256 = any($1)
             union
             select sha256 from content_parts where in_store and sha256 = any($1)",
        )
        .await?;
    let rows = connection.query(&statement, &[&sorted(digests)]).await?;
    rows.iter().map(|row| digest(row.try_get(0)?)).collect()
}
