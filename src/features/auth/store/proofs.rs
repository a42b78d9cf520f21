//! Proofs of identity that were used up.

use tokio_postgres::GenericClient;

use crate::{common::Timestamp, engines::postgres::DatabaseError};

/// False when it was used before. Of two transactions with the same proof one waits for the other.
pub async fn use_up(client: &impl GenericClient, digest: &[u8], expires_at: Timestamp) -> Result<bool, DatabaseError> {
    let made = client
        .execute(
            "insert into app_used_proofs (digest, expires_at) values ($1, $2) on conflict (digest) do nothing",
            &[&digest, &expires_at],
        )
        .await?;
    Ok(made == 1)
}

pub async fn sweep(client: &impl GenericClient, now: Timestamp) -> Result<(), DatabaseError> {
    client.execute("delete from app_used_proofs where expires_at < $1", &[&now]).await?;
    Ok(())
}
