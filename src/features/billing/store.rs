//! All SQL on balances and the ledger.

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::types::{Balances, Entry, HistoryEntry};
use crate::{
    common::{OrganisationId, UsdMicros},
    engines::postgres::{Connection, DatabaseError},
};

pub(super) async fn lock_balances(
    tx: &Transaction<'_>,
    organisation: OrganisationId,
) -> Result<Balances, tokio_postgres::Error> {
    let row = tx
        .query_one(
            "select available_usd_micros, held_usd_micros from organisations where id = $1 for update",
            &[&organisation.0],
        )
        .await?;
    Ok(Balances { available: UsdMicros(row.try_get(0)?), held: UsdMicros(row.try_get(1)?) })
}

pub(super) async fn is_posted(
    tx: &Transaction<'_>,
    kind: &str,
    reference_type: &str,
    reference_id: &str,
) -> Result<bool, tokio_postgres::Error> {
    let row = tx
        .query_one(
            "select exists (select from ledger_entries
                            where kind = $1 and reference_type = $2 and reference_id = $3)",
            &[&kind, &reference_type, &reference_id],
        )
        .await?;
    row.try_get(0)
}

/// False when the same kind and reference were posted meanwhile, for another organisation: the row lock excludes
/// this one's. The transaction goes on.
pub(super) async fn insert_entry(
    tx: &Transaction<'_>,
    entry: &Entry<'_>,
    after: Balances,
) -> Result<bool, tokio_postgres::Error> {
    let (reference_type, reference_id) = entry.reference.unzip();
    let inserted = tx
        .execute(
            "insert into ledger_entries (id, organisation_id, direction, kind, amount_usd_micros,
                 balance_after_available, balance_after_held, reference_type, reference_id, metadata)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             on conflict (kind, reference_type, reference_id) do nothing",
            &[
                &Uuid::now_v7(),
                &entry.organisation.0,
                &entry.direction.as_str(),
                &entry.kind,
                &entry.amount.0,
                &after.available.0,
                &after.held.0,
                &reference_type,
                &reference_id,
                &entry.metadata,
            ],
        )
        .await?;
    Ok(inserted == 1)
}

pub(super) async fn write_balances(
    tx: &Transaction<'_>,
    organisation: OrganisationId,
    after: Balances,
) -> Result<(), tokio_postgres::Error> {
    tx.execute(
        "update organisations set available_usd_micros = $2, held_usd_micros = $3 where id = $1",
        &[&organisation.0, &after.available.0, &after.held.0],
    )
    .await?;
    Ok(())
}

/// Up to `count` entries older than the one at `before`, newest first.
pub(super) async fn history(
    connection: &Connection,
    organisation: OrganisationId,
    before: Option<i64>,
    count: i64,
) -> Result<Vec<HistoryEntry>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select sequence, id, direction, kind, amount_usd_micros, balance_after_available, balance_after_held,
                    reference_type, reference_id, metadata, created_at
             from ledger_entries
             where organisation_id = $1 and ($2::bigint is null or sequence < $2)
             order by sequence desc
             limit $3",
        )
        .await?;
    let rows = connection.query(&statement, &[&organisation.0, &before, &count]).await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        entries.push(HistoryEntry {
            sequence: row.try_get("sequence")?,
            id: row.try_get("id")?,
            direction: row.try_get("direction")?,
            kind: row.try_get("kind")?,
            amount_usd_micros: row.try_get("amount_usd_micros")?,
            balance_after_available: row.try_get("balance_after_available")?,
            balance_after_held: row.try_get("balance_after_held")?,
            reference_type: row.try_get("reference_type")?,
            reference_id: row.try_get("reference_id")?,
            metadata: row.try_get("metadata")?,
            created_at: row.try_get("created_at")?,
        });
    }
    Ok(entries)
}
