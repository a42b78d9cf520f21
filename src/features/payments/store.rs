//! SQL of payments and of the faucet's cooldown. Token balances are the chain ledger's.

use alloy_primitives::B256;
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::{in_flight::PaymentKey, types::Rail};
use crate::{
    common::{OrganisationId, Timestamp, UsdMicros, WalletAddress},
    engines::{chain::assets::Chain, postgres::DatabaseError},
};

/// A payment that was seen before.
pub(super) struct Known {
    pub id: Uuid,
    pub route: String,
    pub digest: String,
    /// Present once the payment is applied.
    pub outcome: Option<Outcome>,
}

pub(super) struct Outcome {
    pub transaction_hash: String,
    pub status: i32,
    /// Sealed.
    pub body: Vec<u8>,
}

/// A payment about to be carried out.
pub(super) struct Reservation<'a> {
    pub id: Uuid,
    pub rail: Rail,
    pub key: PaymentKey,
    pub route: &'a str,
    pub digest: &'a str,
    pub amount: UsdMicros,
    pub now: Timestamp,
}

/// What an applied payment did and answered.
pub(super) struct Application<'a> {
    pub id: Uuid,
    pub organisation: OrganisationId,
    pub transaction_hash: B256,
    pub status: u16,
    pub sealed_body: &'a [u8],
    pub now: Timestamp,
}

/// The payment made with this authorisation, if any was committed.
pub(super) async fn find(client: &impl GenericClient, key: &PaymentKey) -> Result<Option<Known>, DatabaseError> {
    let row = client
        .query_opt(
            "select id, route, request_digest, state = 'applied' as applied,
                    transaction_hash, response_status, response_body
             from payments where network = $1 and asset = $2 and payer = $3 and nonce = $4",
            &[&key.network.caip2(), &asset(key), &payer(key), &key.nonce.to_string()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let outcome = if row.try_get("applied")? {
        Some(Outcome {
            transaction_hash: row.try_get("transaction_hash")?,
            status: row.try_get("response_status")?,
            body: row.try_get("response_body")?,
        })
    } else {
        None
    };
    Ok(Some(Known {
        id: row.try_get("id")?,
        route: row.try_get("route")?,
        digest: row.try_get("request_digest")?,
        outcome,
    }))
}

/// Claims the authorisation; false when a payment with it exists. Waits for a transaction that is just
/// claiming it: when that one commits this answers false, when it rolls back true.
///
/// The organisation is written by [`apply`], not here: its foreign key takes a shared lock on the
/// organisation's row, and two payments that hold it and then want the row for update would deadlock.
pub(super) async fn reserve(tx: &Transaction<'_>, reservation: &Reservation<'_>) -> Result<bool, DatabaseError> {
    let key = &reservation.key;
    let inserted = tx
        .execute(
            "insert into payments (id, rail, network, asset, payer, nonce, route, request_digest, amount, state,
                                   created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'reserved', $10, $10)
             on conflict (network, asset, payer, nonce) do nothing",
            &[
                &reservation.id,
                &reservation.rail.as_str(),
                &key.network.caip2(),
                &asset(key),
                &payer(key),
                &key.nonce.to_string(),
                &reservation.route,
                &reservation.digest,
                &reservation.amount.0,
                &reservation.now,
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Stores what a reserved payment bought; false when it was not reserved in this transaction.
pub(super) async fn apply(tx: &Transaction<'_>, application: &Application<'_>) -> Result<bool, DatabaseError> {
    let updated = tx
        .execute(
            "update payments set state = 'applied', organisation_id = $2, transaction_hash = $3,
                                 response_status = $4, response_body = $5, updated_at = $6
             where id = $1 and state = 'reserved'",
            &[
                &application.id,
                &application.organisation.0,
                &application.transaction_hash.to_string(),
                &i32::from(application.status),
                &application.sealed_body,
                &application.now,
            ],
        )
        .await?;
    Ok(updated == 1)
}

/// Records a drip at `now` unless one came after `not_since`; then answers when that was. `None` for
/// `not_since` means no cooldown. A concurrent drip is waited for and counts.
pub(super) async fn drip(
    tx: &Transaction<'_>,
    chain: Chain,
    address: WalletAddress,
    now: Timestamp,
    not_since: Option<Timestamp>,
) -> Result<Option<Timestamp>, DatabaseError> {
    let address = address.to_string();
    let recorded = tx
        .execute(
            "insert into faucet_drips (chain, address, dripped_at) values ($1, $2, $3)
             on conflict (chain, address) do update set dripped_at = excluded.dripped_at
             where $4::timestamptz is null or faucet_drips.dripped_at <= $4",
            &[&chain.caip2(), &address, &now, &not_since],
        )
        .await?;
    if recorded == 1 {
        return Ok(None);
    }
    let row = tx
        .query_one("select dripped_at from faucet_drips where chain = $1 and address = $2", &[&chain.caip2(), &address])
        .await?;
    Ok(Some(row.try_get(0)?))
}

fn asset(key: &PaymentKey) -> String {
    WalletAddress(key.network.token().address).to_string()
}

fn payer(key: &PaymentKey) -> String {
    WalletAddress(key.payer).to_string()
}
