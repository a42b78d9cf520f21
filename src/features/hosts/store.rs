//! All SQL of hosts, in the control database.

use tokio_postgres::{GenericClient, Row, Transaction};

use super::Claim;
use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
};

/// Ids are checked when they are written, so this fails only on a damaged database.
fn stored<T: std::str::FromStr>(text: &str) -> Result<T, DatabaseError> {
    text.parse().map_err(|_| DatabaseError::damaged(&format!("id: {text}")))
}

fn claim(row: &Row) -> Result<Claim, DatabaseError> {
    let pin: Option<&str> = row.try_get("pin")?;
    Ok(Claim {
        name: row.try_get("name")?,
        project: stored(row.try_get("project_id")?)?,
        pin: pin.map(stored).transpose()?,
        claimed_at: row.try_get("claimed_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Ids and public ids of the live projects.
pub(super) async fn projects(connection: &Connection) -> Result<Vec<(ProjectId, String)>, DatabaseError> {
    let rows = connection.query("select id, public_id from projects where status = 'active'", &[]).await?;
    rows.iter().map(|row| Ok((stored(row.try_get(0)?)?, row.try_get(1)?))).collect()
}

/// Claims of live projects, oldest first.
pub(super) async fn claims(connection: &Connection) -> Result<Vec<Claim>, DatabaseError> {
    let rows = connection
        .query(
            "select s.name, s.project_id, s.pin, s.claimed_at, s.updated_at
             from subdomains s join projects p on p.id = s.project_id
             where p.status = 'active'
             order by s.claimed_at, s.name",
            &[],
        )
        .await?;
    rows.iter().map(claim).collect()
}

/// Claims of one project, oldest first.
pub(super) async fn claims_of(connection: &Connection, project: &ProjectId) -> Result<Vec<Claim>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select name, project_id, pin, claimed_at, updated_at from subdomains
             where project_id = $1 order by claimed_at, name",
        )
        .await?;
    connection.query(&statement, &[&project.as_str()]).await?.iter().map(claim).collect()
}

/// A name somebody else has: whether it is only held for the organisation of a purged project.
pub(super) struct Obstacle {
    pub name: String,
    pub held: bool,
}

/// Of these names, those the project may not claim now.
pub(super) async fn obstacles(
    client: &impl GenericClient,
    project: &ProjectId,
    names: &[String],
    hold_days: i32,
    now: Timestamp,
) -> Result<Vec<Obstacle>, DatabaseError> {
    let rows = client
        .query(
            "select s.name, owner.status <> 'active'
             from subdomains s
             join projects owner on owner.id = s.project_id
             left join projects claimant on claimant.id = $1
             where s.name = any($2) and s.project_id <> $1
               and (owner.status = 'active'
                    or (owner.deleted_at + $3 * interval '1 day' > $4
                        and owner.organisation_id is distinct from claimant.organisation_id))
             order by s.name",
            &[&project.as_str(), &names, &f64::from(hold_days), &now],
        )
        .await?;
    rows.iter().map(|row| Ok(Obstacle { name: row.try_get(0)?, held: row.try_get(1)? })).collect()
}

/// Gives up every name of the project but these.
pub(super) async fn release_others(
    tx: &Transaction<'_>,
    project: &ProjectId,
    names: &[String],
) -> Result<(), DatabaseError> {
    tx.execute("delete from subdomains where project_id = $1 and name <> all ($2)", &[&project.as_str(), &names])
        .await?;
    Ok(())
}

/// Takes these names, or renews the project's claim on them, and points them at `pin`, else at the live release.
/// Answers how many it has now: a name another project has is left alone. Names that two transactions want are taken
/// in one order, so that neither waits for the other for ever.
pub(super) async fn take(
    tx: &Transaction<'_>,
    project: &ProjectId,
    names: &[String],
    pin: Option<&str>,
    hold_days: i32,
    now: Timestamp,
) -> Result<usize, DatabaseError> {
    let rows = tx
        .query(
            "insert into subdomains as s (name, project_id, pin, claimed_at, updated_at)
             select name, $1, $3, $5, $5 from unnest($2::text[]) as name order by name
             on conflict (name) do update
                set project_id = excluded.project_id, pin = excluded.pin, updated_at = excluded.updated_at,
                    claimed_at = case when s.project_id = excluded.project_id then s.claimed_at
                                      else excluded.claimed_at end
                where s.project_id = excluded.project_id
                   or exists (
                       select from projects owner, projects claimant
                       where owner.id = s.project_id and claimant.id = excluded.project_id
                         and owner.status <> 'active'
                         and (owner.deleted_at + $4 * interval '1 day' <= excluded.updated_at
                              or owner.organisation_id = claimant.organisation_id))
             returning s.name",
            &[&project.as_str(), &names, &pin, &f64::from(hold_days), &now],
        )
        .await?;
    Ok(rows.len())
}
