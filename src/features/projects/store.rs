//! All SQL on projects and spare databases in the control database.

use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::types::ProjectRow;
use crate::{
    common::{OrganisationId, PrincipalId, ProjectId, Slot, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::orgs::Tier,
};

/// The columns [`project_row`] reads, of `p` (projects) and `o` (organisations).
macro_rules! columns {
    () => {
        "p.id, p.public_id, p.organisation_id, p.name, p.created_by, p.created_at, p.deleted_at, p.archived_at, \
         case when p.usage_period_start = o.usage_period_start then p.api_calls else 0 end as api_calls, \
         p.database_bytes + p.blob_bytes as storage_bytes"
    };
}

fn project_row(row: &Row) -> Result<ProjectRow, DatabaseError> {
    let created_by: Option<&str> = row.try_get("created_by")?;
    Ok(ProjectRow {
        id: stored_id(row.try_get("id")?)?,
        public_id: row.try_get("public_id")?,
        organisation: OrganisationId(row.try_get("organisation_id")?),
        name: row.try_get("name")?,
        created_by: created_by.and_then(|id| id.parse::<PrincipalId>().ok()),
        created_at: row.try_get("created_at")?,
        deleted_at: row.try_get("deleted_at")?,
        archived_at: row.try_get("archived_at")?,
        api_calls: row.try_get("api_calls")?,
        storage_bytes: row.try_get("storage_bytes")?,
    })
}

/// Ids are checked by the table, so this fails only on a damaged database.
fn stored_id<T: std::str::FromStr>(text: &str) -> Result<T, DatabaseError> {
    text.parse().map_err(|_| DatabaseError::Unavailable(format!("the control database holds a bad id: {text}")))
}

/// A live project as the registry takes it, with what its organisation has and uses.
pub(super) struct LoadedProject {
    pub id: ProjectId,
    pub organisation: OrganisationId,
    pub slot: Slot,
    pub archived: bool,
    pub bootstrap_version: i32,
}

pub(super) async fn live_projects(connection: &Connection) -> Result<Vec<LoadedProject>, DatabaseError> {
    let rows = connection
        .query(
            "select id, organisation_id, slot, archived_at is not null, bootstrap_version
             from projects where status = 'active'",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(LoadedProject {
                id: stored_id(row.try_get(0)?)?,
                organisation: OrganisationId(row.try_get(1)?),
                slot: stored_id(row.try_get(2)?)?,
                archived: row.try_get(3)?,
                bootstrap_version: row.try_get(4)?,
            })
        })
        .collect()
}

/// What the quota decision needs to know of an organisation.
pub(super) struct OrganisationFacts {
    pub organisation: OrganisationId,
    pub tier: Option<Tier>,
    pub api_calls: i64,
    pub storage_bytes: i64,
}

pub(super) async fn organisation_facts(
    connection: &Connection,
    organisations: &[Uuid],
) -> Result<Vec<OrganisationFacts>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select o.id, o.tier, o.api_calls,
                    coalesce((select sum(p.database_bytes + p.blob_bytes) from projects p
                              where p.organisation_id = o.id and p.status = 'active'), 0)::bigint
             from organisations o where o.id = any($1)",
        )
        .await?;
    let rows = connection.query(&statement, &[&organisations]).await?;
    rows.iter()
        .map(|row| {
            let tier: Option<&str> = row.try_get(1)?;
            Ok(OrganisationFacts {
                organisation: OrganisationId(row.try_get(0)?),
                tier: tier.and_then(|name| name.parse().ok()),
                api_calls: row.try_get(2)?,
                storage_bytes: row.try_get(3)?,
            })
        })
        .collect()
}

/// Where no unexpired lease sets the period of counted calls, it is the calendar month (02 §2.3).
pub(super) async fn start_monthly_period(
    connection: &Connection,
    organisations: &[Uuid],
    month: Timestamp,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let statement = connection
        .prepare_cached(
            "update organisations set api_calls = 0, usage_period_start = $2
             where id = any($1) and usage_period_start < $2
               and (tier is null or lease_perpetual or lease_expires_at <= $3)",
        )
        .await?;
    connection.execute(&statement, &[&organisations, &month, &now]).await?;
    Ok(())
}

/// Adds counted calls to projects and organisations; answers the organisations' new totals. Organisations first,
/// as everywhere else, so that row locks are taken in one order.
pub(super) async fn add_calls(
    tx: &Transaction<'_>,
    projects: &[(String, i64)],
    organisations: &[(Uuid, i64)],
) -> Result<Vec<(OrganisationId, i64)>, DatabaseError> {
    let (ids, calls): (Vec<Uuid>, Vec<i64>) = organisations.iter().copied().unzip();
    let rows = tx
        .query(
            "update organisations o set api_calls = o.api_calls + d.calls
             from unnest($1::uuid[], $2::bigint[]) as d (id, calls)
             where o.id = d.id
             returning o.id, o.api_calls",
            &[&ids, &calls],
        )
        .await?;
    let (ids, calls): (Vec<&str>, Vec<i64>) = projects.iter().map(|(id, calls)| (id.as_str(), *calls)).unzip();
    tx.execute(
        "update projects p
         set api_calls = d.calls + case when p.usage_period_start = o.usage_period_start then p.api_calls else 0 end,
             usage_period_start = o.usage_period_start
         from unnest($1::text[], $2::bigint[]) as d (id, calls), organisations o
         where p.id = d.id and o.id = p.organisation_id",
        &[&ids, &calls],
    )
    .await?;
    rows.iter().map(|row| Ok((OrganisationId(row.try_get(0)?), row.try_get(1)?))).collect()
}

pub(super) async fn set_database_bytes(
    connection: &Connection,
    sizes: &[(ProjectId, i64)],
) -> Result<(), DatabaseError> {
    let (ids, bytes): (Vec<&str>, Vec<i64>) = sizes.iter().map(|(id, bytes)| (id.as_str(), *bytes)).unzip();
    let statement = connection
        .prepare_cached(
            "update projects p set database_bytes = d.bytes
             from unnest($1::text[], $2::bigint[]) as d (id, bytes)
             where p.id = d.id and p.database_bytes <> d.bytes",
        )
        .await?;
    connection.execute(&statement, &[&ids, &bytes]).await?;
    Ok(())
}

pub(super) async fn next_slot(connection: &Connection) -> Result<Slot, DatabaseError> {
    let row = connection.query_one("select nextval('project_slots')", &[]).await?;
    Ok(Slot::from_sequence(row.try_get(0)?))
}

/// The newest slot ever drawn, if any was.
pub(super) async fn last_slot(connection: &Connection) -> Result<Option<Slot>, DatabaseError> {
    let row = connection.query_one("select last_value, is_called from project_slots", &[]).await?;
    let (number, drawn): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(drawn.then(|| Slot::from_sequence(number)))
}

/// A database ready to be given to a project.
pub(super) struct Spare {
    pub slot: Slot,
    pub sealed_secret: Vec<u8>,
    pub bootstrap_version: i32,
    pub database_bytes: i64,
}

pub(super) async fn add_spare(connection: &Connection, spare: &Spare) -> Result<(), DatabaseError> {
    connection
        .execute(
            "insert into spare_databases (slot, platform_secret, bootstrap_version, database_bytes)
             values ($1, $2, $3, $4)",
            &[&spare.slot.as_str(), &spare.sealed_secret, &spare.bootstrap_version, &spare.database_bytes],
        )
        .await?;
    Ok(())
}

pub(super) async fn count_spares(connection: &Connection) -> Result<usize, DatabaseError> {
    let statement = connection.prepare_cached("select count(*) from spare_databases").await?;
    let count: i64 = connection.query_one(&statement, &[]).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Inside the provisioning transaction: a spare nobody else takes, if there is one. A rollback puts it back.
pub(super) async fn take_spare(tx: &Transaction<'_>) -> Result<Option<Spare>, DatabaseError> {
    let row = tx
        .query_opt(
            "delete from spare_databases
             where slot = (select slot from spare_databases order by created_at, slot limit 1 for update skip locked)
             returning slot, platform_secret, bootstrap_version, database_bytes",
            &[],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Spare {
        slot: stored_id(row.try_get(0)?)?,
        sealed_secret: row.try_get(1)?,
        bootstrap_version: row.try_get(2)?,
        database_bytes: row.try_get(3)?,
    }))
}

pub(super) async fn drop_spares(connection: &Connection) -> Result<(), DatabaseError> {
    connection.execute("delete from spare_databases", &[]).await?;
    Ok(())
}

/// Slots whose databases are to be kept: those of projects that are not purged, and spares.
pub(super) async fn kept_slots(connection: &Connection) -> Result<Vec<Slot>, DatabaseError> {
    let rows = connection
        .query("select slot from projects where status <> 'purged' union all select slot from spare_databases", &[])
        .await?;
    rows.iter().map(|row| stored_id(row.try_get(0)?)).collect()
}

pub(super) struct InsertProject<'a> {
    pub id: &'a ProjectId,
    pub public_id: &'a str,
    pub organisation: OrganisationId,
    pub name: &'a str,
    pub spare: &'a Spare,
    pub created_by: &'a PrincipalId,
    pub created_at: Timestamp,
    pub usage_period_start: Timestamp,
}

pub(super) async fn insert_project(tx: &Transaction<'_>, project: &InsertProject<'_>) -> Result<(), DatabaseError> {
    tx.execute(
        "insert into projects (id, public_id, organisation_id, name, slot, platform_secret, bootstrap_version,
                               database_bytes, created_by, created_at, usage_period_start)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        &[
            &project.id.as_str(),
            &project.public_id,
            &project.organisation.0,
            &project.name,
            &project.spare.slot.as_str(),
            &project.spare.sealed_secret,
            &project.spare.bootstrap_version,
            &project.spare.database_bytes,
            &project.created_by.as_str(),
            &project.created_at,
            &project.usage_period_start,
        ],
    )
    .await?;
    Ok(())
}

/// Live projects of one organisation, under its row lock.
pub(super) async fn count_of_organisation(
    tx: &Transaction<'_>,
    organisation: OrganisationId,
) -> Result<i64, DatabaseError> {
    let row = tx
        .query_one("select count(*) from projects where organisation_id = $1 and status = 'active'", &[&organisation.0])
        .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn find(connection: &Connection, id: &ProjectId) -> Result<Option<ProjectRow>, DatabaseError> {
    let statement = connection
        .prepare_cached(concat!(
            "select ",
            columns!(),
            " from projects p join organisations o on o.id = p.organisation_id where p.id = $1 and p.status = 'active'"
        ))
        .await?;
    connection.query_opt(&statement, &[&id.as_str()]).await?.as_ref().map(project_row).transpose()
}

/// Where a page of a list goes on: after this row.
pub(super) type ListKey = (i64, String);

pub(super) fn list_key(row: &ProjectRow) -> ListKey {
    (row.created_at.0.as_microsecond(), row.id.as_str().to_owned())
}

/// Live projects of some organisations, newest first. `limit` none: all of them.
pub(super) async fn list(
    connection: &Connection,
    organisations: &[Uuid],
    after: Option<&ListKey>,
    limit: Option<i64>,
) -> Result<Vec<ProjectRow>, DatabaseError> {
    let statement = connection
        .prepare_cached(concat!(
            "select ",
            columns!(),
            " from projects p join organisations o on o.id = p.organisation_id
             where p.organisation_id = any($1) and p.status = 'active'
               and ($2::bigint is null
                    or (p.created_at, p.id) < (timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3))
             order by p.created_at desc, p.id desc
             limit $4"
        ))
        .await?;
    let (micros, id) = (after.map(|key| key.0), after.map(|key| key.1.as_str()));
    let rows = connection.query(&statement, &[&organisations, &micros, &id, &limit]).await?;
    rows.iter().map(project_row).collect()
}

pub(super) async fn rename(connection: &Connection, id: &ProjectId, name: &str) -> Result<bool, DatabaseError> {
    let changed = connection
        .execute("update projects set name = $2 where id = $1 and status = 'active'", &[&id.as_str(), &name])
        .await?;
    Ok(changed == 1)
}

/// Sets or clears the archive mark. Answers whether the project changed; none when there is no such project.
pub(super) async fn set_archived(
    connection: &Connection,
    id: &ProjectId,
    archived: Option<(Timestamp, Option<&str>)>,
) -> Result<Option<bool>, DatabaseError> {
    let (at, reason) = (archived.map(|(at, _)| at), archived.and_then(|(_, reason)| reason));
    let row = connection
        .query_opt(
            "with found as (select id, archived_at from projects where id = $1 and status = 'active' for update),
                  changed as (
                      update projects p set archived_at = $2, archive_reason = $3
                      from found
                      where p.id = found.id and (found.archived_at is null) <> ($2::timestamptz is null)
                      returning p.id
                  )
             select exists (select from changed) from found",
            &[&id.as_str(), &at, &reason],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Marks a live project for removal. False when it was not live any more.
pub(super) async fn begin_purge(
    connection: &Connection,
    id: &ProjectId,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let changed = connection
        .execute(
            "update projects set status = 'purging', deleted_at = $2 where id = $1 and status = 'active'",
            &[&id.as_str(), &now],
        )
        .await?;
    Ok(changed == 1)
}

/// Marks every live project of an organisation, under its row lock.
pub(super) async fn begin_purge_of_organisation(
    tx: &Transaction<'_>,
    organisation: OrganisationId,
    now: Timestamp,
) -> Result<Vec<ProjectId>, DatabaseError> {
    let rows = tx
        .query(
            "update projects set status = 'purging', deleted_at = $2
             where organisation_id = $1 and status = 'active' returning id",
            &[&organisation.0, &now],
        )
        .await?;
    rows.iter().map(|row| stored_id(row.try_get(0)?)).collect()
}

pub(super) async fn purging(connection: &Connection) -> Result<Vec<(ProjectId, Slot)>, DatabaseError> {
    let rows = connection.query("select id, slot from projects where status = 'purging'", &[]).await?;
    rows.iter().map(|row| Ok((stored_id(row.try_get(0)?)?, stored_id(row.try_get(1)?)?))).collect()
}

/// The row stays as the record of what was: names, dates, owner. The secret of a database that is gone does not.
pub(super) async fn finish_purge(connection: &Connection, id: &ProjectId) -> Result<(), DatabaseError> {
    connection
        .execute(
            "update projects set status = 'purged', platform_secret = '', database_bytes = 0
             where id = $1 and status = 'purging'",
            &[&id.as_str()],
        )
        .await?;
    Ok(())
}

pub(super) async fn set_bootstrap_version(
    connection: &Connection,
    id: &ProjectId,
    version: i32,
) -> Result<(), DatabaseError> {
    connection.execute("update projects set bootstrap_version = $2 where id = $1", &[&id.as_str(), &version]).await?;
    Ok(())
}

pub(super) async fn sealed_secret(connection: &Connection, id: &ProjectId) -> Result<Option<Vec<u8>>, DatabaseError> {
    let statement =
        connection.prepare_cached("select platform_secret from projects where id = $1 and status = 'active'").await?;
    Ok(connection.query_opt(&statement, &[&id.as_str()]).await?.map(|row| row.try_get(0)).transpose()?)
}
