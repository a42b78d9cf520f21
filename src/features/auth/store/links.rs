//! Magic links.

use tokio_postgres::GenericClient;

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::DatabaseError,
};

/// A link as it is stored.
#[derive(Clone, Debug)]
pub struct MagicLink {
    pub email: String,
    pub intent: String,
    pub client_state: Option<String>,
    pub state_source: String,
    pub redirect_url: String,
    pub host: Option<String>,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    pub superseded_at: Option<Timestamp>,
}

impl MagicLink {
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.superseded_at.is_none() && self.expires_at > now
    }
}

/// Requests of the last hour: of this address, and of the whole project. Taken under a lock on the address, so that
/// requests at the same time are counted one after the other.
pub async fn count_recent(
    client: &impl GenericClient,
    project: &ProjectId,
    email: &str,
    since: Timestamp,
) -> Result<(i64, i64, Option<Timestamp>), DatabaseError> {
    client
        .execute("select pg_advisory_xact_lock(hashtextextended('magic links of ' || $1, 0))", &[&project.as_str()])
        .await?;
    let row = client
        .query_one(
            "select count(*) filter (where email = $2), count(*),
                    min(created_at) filter (where email = $2)
             from app_magic_links where project_id = $1 and created_at > $3",
            &[&project.as_str(), &email, &since],
        )
        .await?;
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

/// Stores a link and replaces the older unused ones of the address.
pub async fn insert(
    client: &impl GenericClient,
    project: &ProjectId,
    hash: &[u8],
    link: &MagicLink,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_magic_links set superseded_at = $3
             where project_id = $1 and email = $2 and used_at is null and superseded_at is null",
            &[&project.as_str(), &link.email, &now],
        )
        .await?;
    client
        .execute(
            "insert into app_magic_links (token_hash, project_id, email, intent, client_state, state_source,
                 redirect_url, host, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &[
                &hash,
                &project.as_str(),
                &link.email,
                &link.intent,
                &link.client_state,
                &link.state_source,
                &link.redirect_url,
                &link.host,
                &now,
                &link.expires_at,
            ],
        )
        .await?;
    Ok(())
}

/// The link of a token; `lock` makes of two requests with the same token one come second.
pub async fn find(
    client: &impl GenericClient,
    project: &ProjectId,
    hash: &[u8],
    lock: bool,
) -> Result<Option<MagicLink>, DatabaseError> {
    let text = "select email, intent, client_state, state_source, redirect_url, host, expires_at, used_at,
                       superseded_at
                from app_magic_links where token_hash = $1 and project_id = $2";
    let row = if lock {
        client.query_opt(&format!("{text} for update"), &[&hash, &project.as_str()]).await?
    } else {
        client.query_opt(text, &[&hash, &project.as_str()]).await?
    };
    row.map(|row| {
        Ok(MagicLink {
            email: row.try_get(0)?,
            intent: row.try_get(1)?,
            client_state: row.try_get(2)?,
            state_source: row.try_get(3)?,
            redirect_url: row.try_get(4)?,
            host: row.try_get(5)?,
            expires_at: row.try_get(6)?,
            used_at: row.try_get(7)?,
            superseded_at: row.try_get(8)?,
        })
    })
    .transpose()
}

pub async fn consume(client: &impl GenericClient, hash: &[u8], now: Timestamp) -> Result<(), DatabaseError> {
    client.execute("update app_magic_links set used_at = $2 where token_hash = $1", &[&hash, &now]).await?;
    Ok(())
}

pub async fn sweep(client: &impl GenericClient, before: Timestamp) -> Result<u64, DatabaseError> {
    Ok(client.execute("delete from app_magic_links where created_at < $1", &[&before]).await?)
}
