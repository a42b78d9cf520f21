//! All SQL on principals, wallets, organisations and memberships.

use std::time::Duration;

use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::{
    lifecycle,
    roles::Role,
    types::{Lease, LeaseSettings, LifecycleState, Organisation, Tier},
};
use crate::{
    common::{OrganisationId, PrincipalId, Timestamp, UsdMicros, WalletAddress},
    engines::postgres::{Connection, DatabaseError},
};

/// The columns [`organisation`] reads, of the alias `o`.
macro_rules! columns {
    () => {
        "o.id, o.display_name, o.tier, o.lease_started_at, o.lease_expires_at, o.lease_paid_usd_micros, \
         o.lease_perpetual, o.api_calls, o.usage_period_start, o.available_usd_micros, o.held_usd_micros, \
         o.email_credits, o.created_at"
    };
}

/// $1 address, $2 derived principal. The stored principal wins over the derived one: a wallet may have been
/// given to another principal. The organisation it was linked to comes first, then the oldest it owns (01 §2.4);
/// both need an active membership, so that whoever was removed stays out.
const OF_WALLET: &str = concat!(
    "with caller as (
        select coalesce((select principal_id from wallets where address = $1), $2) as principal_id,
               (select organisation_id from wallets where address = $1) as linked
     )
     select ",
    columns!(),
    " from caller
     join memberships m on m.principal_id = caller.principal_id and m.status = 'active'
     join organisations o on o.id = m.organisation_id
     where m.role = 'owner' or o.id = caller.linked
     order by (o.id = caller.linked) desc nulls last, o.created_at, o.id
     limit 1"
);

/// $1 organisation, $2 address, $3 derived principal.
const ROLE: &str = "
    select m.role, p.disabled_at is not null
    from memberships m
    join principals p on p.id = m.principal_id
    where m.organisation_id = $1 and m.status = 'active'
      and m.principal_id = coalesce((select principal_id from wallets where address = $2), $3)";

/// $1 address, $2 derived principal.
const MEMBERSHIPS: &str = "
    select m.organisation_id, m.role
    from memberships m
    join organisations o on o.id = m.organisation_id
    where m.status = 'active'
      and m.principal_id = coalesce((select principal_id from wallets where address = $1), $2)
    order by o.created_at, o.id";

/// A wallet and the principal id derived from it, as the queries take them.
pub(super) struct Caller {
    pub address: String,
    pub principal: PrincipalId,
}

impl Caller {
    pub fn new(wallet: WalletAddress, principal: PrincipalId) -> Self {
        Self { address: wallet.to_string(), principal }
    }
}

/// For which moment and under which rules a row's lifecycle is computed.
pub(super) struct Reading<'a> {
    pub now: Timestamp,
    pub settings: &'a LeaseSettings,
}

fn organisation(row: &Row, reading: &Reading<'_>) -> Result<Organisation, tokio_postgres::Error> {
    let lease = lease(
        row.try_get("tier")?,
        row.try_get("lease_started_at")?,
        row.try_get("lease_expires_at")?,
        row.try_get("lease_paid_usd_micros")?,
    );
    let lease_perpetual = row.try_get("lease_perpetual")?;
    Ok(Organisation {
        id: OrganisationId(row.try_get("id")?),
        display_name: row.try_get("display_name")?,
        lease,
        lease_perpetual,
        lifecycle: lifecycle::at(lease.as_ref(), lease_perpetual, reading.now, reading.settings),
        api_calls: row.try_get("api_calls")?,
        usage_period_start: row.try_get("usage_period_start")?,
        available: UsdMicros(row.try_get("available_usd_micros")?),
        held: UsdMicros(row.try_get("held_usd_micros")?),
        email_credits: row.try_get("email_credits")?,
        created_at: row.try_get("created_at")?,
    })
}

/// The table's checks keep the three nullable columns together and the tier a known word.
fn lease(tier: Option<&str>, started_at: Option<Timestamp>, expires_at: Option<Timestamp>, paid: i64) -> Option<Lease> {
    let tier: Tier = tier?.parse().ok()?;
    Some(Lease { tier, started_at: started_at?, expires_at: expires_at?, paid: UsdMicros(paid) })
}

pub(super) async fn of_wallet(
    connection: &Connection,
    caller: &Caller,
    reading: &Reading<'_>,
) -> Result<Option<Organisation>, DatabaseError> {
    let statement = connection.prepare_cached(OF_WALLET).await?;
    let row = connection.query_opt(&statement, &[&caller.address, &caller.principal.as_str()]).await?;
    Ok(row.map(|row| organisation(&row, reading)).transpose()?)
}

pub(super) async fn of_wallet_in(
    tx: &Transaction<'_>,
    caller: &Caller,
    reading: &Reading<'_>,
) -> Result<Option<Organisation>, DatabaseError> {
    let row = tx.query_opt(OF_WALLET, &[&caller.address, &caller.principal.as_str()]).await?;
    Ok(row.map(|row| organisation(&row, reading)).transpose()?)
}

pub(super) async fn find(
    connection: &Connection,
    id: OrganisationId,
    reading: &Reading<'_>,
) -> Result<Option<Organisation>, DatabaseError> {
    let statement =
        connection.prepare_cached(concat!("select ", columns!(), " from organisations o where o.id = $1")).await?;
    let row = connection.query_opt(&statement, &[&id.0]).await?;
    Ok(row.map(|row| organisation(&row, reading)).transpose()?)
}

pub(super) async fn lock(
    tx: &Transaction<'_>,
    id: OrganisationId,
    reading: &Reading<'_>,
) -> Result<Option<Organisation>, DatabaseError> {
    let row = tx
        .query_opt(concat!("select ", columns!(), " from organisations o where o.id = $1 for update"), &[&id.0])
        .await?;
    Ok(row.map(|row| organisation(&row, reading)).transpose()?)
}

/// A caller's standing in one organisation.
pub(super) struct Standing {
    pub role: Option<Role>,
    pub disabled: bool,
}

pub(super) async fn standing(
    connection: &Connection,
    organisation: OrganisationId,
    caller: &Caller,
) -> Result<Standing, DatabaseError> {
    let statement = connection.prepare_cached(ROLE).await?;
    let row = connection.query_opt(&statement, &[&organisation.0, &caller.address, &caller.principal.as_str()]).await?;
    Ok(match row {
        None => Standing { role: None, disabled: false },
        Some(row) => Standing { role: Role::from_stored(row.try_get(0)?), disabled: row.try_get(1)? },
    })
}

pub(super) async fn memberships(
    connection: &Connection,
    caller: &Caller,
) -> Result<Vec<(OrganisationId, Role)>, DatabaseError> {
    let statement = connection.prepare_cached(MEMBERSHIPS).await?;
    let rows = connection.query(&statement, &[&caller.address, &caller.principal.as_str()]).await?;
    let mut memberships = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(role) = Role::from_stored(row.try_get(1)?) {
            memberships.push((OrganisationId(row.try_get(0)?), role));
        }
    }
    Ok(memberships)
}

/// Principal and wallet rows exist afterwards, and the wallet's row is locked until the transaction ends: two
/// first requests of one wallet take turns. Answers the wallet's principal.
pub(super) async fn ensure_principal(
    tx: &Transaction<'_>,
    caller: &Caller,
    now: Timestamp,
) -> Result<Option<PrincipalId>, DatabaseError> {
    tx.execute(
        "insert into principals (id, type, display_name, created_at)
         select $1::text, 'agent', $2::text, $3::timestamptz
         where not exists (select from wallets where address = $2::text)
         on conflict (id) do nothing",
        &[&caller.principal.as_str(), &caller.address, &now],
    )
    .await?;
    tx.execute(
        "insert into wallets (address, principal_id, created_at) values ($1, $2, $3)
         on conflict (address) do nothing",
        &[&caller.address, &caller.principal.as_str(), &now],
    )
    .await?;
    let row =
        tx.query_one("select principal_id from wallets where address = $1 for update", &[&caller.address]).await?;
    Ok(row.try_get::<_, String>(0)?.parse().ok())
}

/// A new organisation owned by the principal and linked to the wallet.
pub(super) async fn create(
    tx: &Transaction<'_>,
    id: OrganisationId,
    caller: &Caller,
    perpetual: bool,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    tx.execute(
        "with owner as (select principal_id from wallets where address = $2),
              organisation as (
                  insert into organisations (id, created_by, created_at, usage_period_start, lease_perpetual)
                  select $1::uuid, principal_id, $3::timestamptz, $3::timestamptz, $4::boolean from owner
              )
         update wallets set organisation_id = $1::uuid where address = $2",
        &[&id.0, &caller.address, &now, &perpetual],
    )
    .await?;
    tx.execute(
        "insert into memberships (organisation_id, principal_id, role, status, created_at)
         select $1::uuid, principal_id, 'owner', 'active', $3::timestamptz from wallets where address = $2",
        &[&id.0, &caller.address, &now],
    )
    .await?;
    Ok(())
}

pub(super) async fn set_lease(
    tx: &Transaction<'_>,
    id: OrganisationId,
    lease: &Lease,
    reset_usage: bool,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    tx.execute(
        "update organisations set
             tier = $2, lease_started_at = $3, lease_expires_at = $4, lease_paid_usd_micros = $5,
             lifecycle_entered_at = case when lifecycle_state = 'active' then lifecycle_entered_at else $7 end,
             lifecycle_state = 'active', dormant_running_seconds = 0,
             api_calls = case when $6 then 0 else api_calls end,
             usage_period_start = case when $6 then $7 else usage_period_start end
         where id = $1",
        &[&id.0, &lease.tier.as_str(), &lease.started_at, &lease.expires_at, &lease.paid.0, &reset_usage, &now],
    )
    .await?;
    Ok(())
}

/// Switching off restarts the clock from now when the lease expired meanwhile (01 §7.6).
pub(super) async fn set_perpetual(
    tx: &Transaction<'_>,
    id: OrganisationId,
    perpetual: bool,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    tx.execute(
        "update organisations set
             lease_expires_at = case when lease_perpetual and not $2 and lease_expires_at < $3 then $3
                                     else lease_expires_at end,
             lifecycle_entered_at = case when $2 and lifecycle_state <> 'active' then $3 else lifecycle_entered_at end,
             lifecycle_state = case when $2 then 'active' else lifecycle_state end,
             dormant_running_seconds = case when $2 then 0 else dormant_running_seconds end,
             lease_perpetual = $2
         where id = $1",
        &[&id.0, &perpetual, &now],
    )
    .await?;
    Ok(())
}

/// An organisation as the sweeper sees it.
pub(super) struct Candidate {
    pub id: OrganisationId,
    pub announced: LifecycleState,
    pub by_clock: LifecycleState,
    pub dormant_for: Duration,
    lease: Lease,
}

/// Every organisation that has left `active` or should have by `now`.
pub(super) async fn sweep_candidates(
    connection: &Connection,
    reading: &Reading<'_>,
) -> Result<Vec<Candidate>, DatabaseError> {
    let rows = connection
        .query(
            concat!(
                "select ",
                columns!(),
                ", o.lifecycle_state, o.dormant_running_seconds from organisations o
                 where o.tier is not null
                   and (o.lifecycle_state <> 'active' or (o.lease_expires_at <= $1 and not o.lease_perpetual))"
            ),
            &[&reading.now],
        )
        .await?;
    let mut candidates = Vec::with_capacity(rows.len());
    for row in &rows {
        let organisation = organisation(row, reading)?;
        let announced = LifecycleState::from_stored(row.try_get("lifecycle_state")?);
        if let (Some(lease), Some(announced)) = (organisation.lease, announced) {
            let seconds: i64 = row.try_get("dormant_running_seconds")?;
            candidates.push(Candidate {
                id: organisation.id,
                announced,
                by_clock: organisation.lifecycle.state,
                dormant_for: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
                lease,
            });
        }
    }
    Ok(candidates)
}

/// Records an announced state, unless the organisation changed since it was read (a new lease wins). Answers
/// whether it was recorded.
pub(super) async fn record_announcement(
    connection: &Connection,
    candidate: &Candidate,
    next: LifecycleState,
    dormant_for: Duration,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let seconds = i64::try_from(dormant_for.as_secs()).unwrap_or(i64::MAX);
    let updated = connection
        .execute(
            "update organisations set
                 lifecycle_entered_at = case when lifecycle_state = $2 then lifecycle_entered_at else $3 end,
                 lifecycle_state = $2, dormant_running_seconds = $4
             where id = $1 and lifecycle_state = $5 and lease_expires_at = $6",
            &[
                &candidate.id.0,
                &next.as_str(),
                &now,
                &seconds,
                &candidate.announced.as_str(),
                &candidate.lease.expires_at,
            ],
        )
        .await?;
    Ok(updated == 1)
}

/// The announced state of an organisation.
pub(super) async fn announced_state<C: GenericClient>(
    client: &C,
    id: OrganisationId,
) -> Result<Option<LifecycleState>, DatabaseError> {
    let id: &Uuid = &id.0;
    let row = client.query_opt("select lifecycle_state from organisations where id = $1", &[id]).await?;
    Ok(match row {
        None => None,
        Some(row) => LifecycleState::from_stored(row.try_get(0)?),
    })
}
