//! Passkeys and open ceremonies.

use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::DatabaseError,
    features::auth::types::Passkey,
};

/// A ceremony that waits for its response.
pub struct Challenge {
    pub id: Uuid,
    pub user: Option<Uuid>,
    pub rp_id: String,
    pub origin: String,
    pub state: Vec<u8>,
    pub expires_at: Timestamp,
}

pub async fn insert_challenge(
    client: &impl GenericClient,
    project: &ProjectId,
    kind: &str,
    challenge: &Challenge,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into app_webauthn_challenges (id, project_id, kind, user_id, rp_id, origin, state, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &challenge.id,
                &project.as_str(),
                &kind,
                &challenge.user,
                &challenge.rp_id,
                &challenge.origin,
                &challenge.state,
                &challenge.expires_at,
            ],
        )
        .await?;
    Ok(())
}

/// Uses a challenge up, whatever comes of it.
pub async fn take_challenge(
    client: &impl GenericClient,
    project: &ProjectId,
    kind: &str,
    id: Uuid,
    now: Timestamp,
) -> Result<Option<Challenge>, DatabaseError> {
    let row = client
        .query_opt(
            "delete from app_webauthn_challenges where id = $1 and project_id = $2 and kind = $3
             returning user_id, rp_id, origin, state, expires_at",
            &[&id, &project.as_str(), &kind],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let challenge = Challenge {
        id,
        user: row.try_get(0)?,
        rp_id: row.try_get(1)?,
        origin: row.try_get(2)?,
        state: row.try_get(3)?,
        expires_at: row.try_get(4)?,
    };
    Ok(Some(challenge).filter(|challenge| challenge.expires_at > now))
}

fn passkey(row: &Row) -> Result<Passkey, DatabaseError> {
    Ok(Passkey {
        id: row.try_get("id")?,
        user: row.try_get("user_id")?,
        credential_id: row.try_get("credential_id")?,
        rp_id: row.try_get("rp_id")?,
        created_origin: row.try_get("created_origin")?,
        last_used_origin: row.try_get("last_used_origin")?,
        transports: row.try_get("transports")?,
        label: row.try_get("label")?,
        static_state: row.try_get("static_state")?,
        dynamic_state: row.try_get("dynamic_state")?,
        device_type: row.try_get("device_type")?,
        backed_up: row.try_get("backed_up")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

/// False when the credential is stored already.
pub async fn insert(
    client: &impl GenericClient,
    project: &ProjectId,
    passkey: &Passkey,
) -> Result<bool, DatabaseError> {
    let made = client
        .execute(
            "insert into app_passkeys (id, project_id, user_id, credential_id, rp_id, created_origin, transports, label,
                 static_state, dynamic_state, device_type, backed_up, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             on conflict (project_id, credential_id) do nothing",
            &[
                &passkey.id,
                &project.as_str(),
                &passkey.user,
                &passkey.credential_id,
                &passkey.rp_id,
                &passkey.created_origin,
                &passkey.transports,
                &passkey.label,
                &passkey.static_state,
                &passkey.dynamic_state,
                &passkey.device_type,
                &passkey.backed_up,
                &passkey.created_at,
            ],
        )
        .await?;
    Ok(made == 1)
}

/// Newest first.
pub async fn of_user(client: &impl GenericClient, user: Uuid) -> Result<Vec<Passkey>, DatabaseError> {
    let rows = client
        .query("select * from app_passkeys where user_id = $1 order by created_at desc, id limit 200", &[&user])
        .await?;
    rows.iter().map(passkey).collect()
}

/// Held until the transaction ends, so that the counter of one response cannot be counted twice.
pub async fn by_credential(
    client: &impl GenericClient,
    project: &ProjectId,
    credential_id: &[u8],
) -> Result<Option<Passkey>, DatabaseError> {
    let row = client
        .query_opt(
            "select * from app_passkeys where project_id = $1 and credential_id = $2 for update",
            &[&project.as_str(), &credential_id],
        )
        .await?;
    row.as_ref().map(passkey).transpose()
}

pub async fn used(
    client: &impl GenericClient,
    id: Uuid,
    dynamic_state: &[u8],
    backed_up: bool,
    origin: &str,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_passkeys set dynamic_state = $2, backed_up = $3, last_used_origin = $4, last_used_at = $5
             where id = $1",
            &[&id, &dynamic_state, &backed_up, &origin, &now],
        )
        .await?;
    Ok(())
}

pub async fn delete(client: &impl GenericClient, user: Uuid, id: Uuid) -> Result<bool, DatabaseError> {
    Ok(client.execute("delete from app_passkeys where user_id = $1 and id = $2", &[&user, &id]).await? == 1)
}

pub async fn sweep(client: &impl GenericClient, now: Timestamp) -> Result<u64, DatabaseError> {
    Ok(client.execute("delete from app_webauthn_challenges where expires_at < $1", &[&now]).await?)
}
