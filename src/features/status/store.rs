//! SQL of the availability probes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    common::Timestamp,
    engines::postgres::{Database, DatabaseError},
};

/// How many probes of a window were healthy, in total and for each capability.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub first: Option<Timestamp>,
    pub healthy: i64,
    pub capabilities: BTreeMap<String, i64>,
}

/// Stores one probe and forgets those older than 31 days.
pub(super) async fn record(database: &Database, at: Timestamp, capabilities: &Value) -> Result<(), DatabaseError> {
    let connection = database.get().await?;
    connection
        .execute(
            "insert into availability_probes (probed_at, capabilities) values ($1, $2) on conflict do nothing",
            &[&at, capabilities],
        )
        .await?;
    connection
        .execute("delete from availability_probes where probed_at < $1::timestamptz - interval '31 days'", &[&at])
        .await?;
    Ok(())
}

/// Counts the probes since a moment.
pub(super) async fn counts(database: &Database, since: Timestamp) -> Result<Counts, DatabaseError> {
    let connection = database.get().await?;
    let total = connection
        .query_one(
            "select min(probed_at),
                    count(*) filter (where not exists (
                        select from jsonb_each(capabilities) as c where c.value <> 'true'))
             from availability_probes where probed_at >= $1",
            &[&since],
        )
        .await?;
    let capabilities = connection
        .query(
            "select c.key, count(*) filter (where c.value = 'true')
             from availability_probes, jsonb_each(capabilities) as c
             where probed_at >= $1 group by c.key",
            &[&since],
        )
        .await?;
    Ok(Counts {
        first: total.get(0),
        healthy: total.get(1),
        capabilities: capabilities.iter().map(|row| (row.get(0), row.get(1))).collect(),
    })
}
