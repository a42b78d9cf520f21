//! Sign-ins through another provider that are under way, and the identities they prove.

use tokio_postgres::GenericClient;
use uuid::Uuid;

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::DatabaseError,
    features::auth::store::stored_project,
};

/// How the outcome reaches the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Redirect,
    Popup,
    Hosted { origin: String, error_return_to: String, cookie_hash: Vec<u8> },
}

pub struct Transaction {
    pub project: ProjectId,
    pub delivery: Delivery,
    pub redirect_url: String,
    pub client_state: Option<String>,
    pub code_challenge: Option<String>,
    pub linking_user: Option<Uuid>,
}

pub async fn begin(
    client: &impl GenericClient,
    state_hash: &[u8],
    transaction: &Transaction,
    expires_at: Timestamp,
) -> Result<(), DatabaseError> {
    let (mode, origin, error_return_to, cookie_hash) = match &transaction.delivery {
        Delivery::Redirect => ("redirect", None, None, None),
        Delivery::Popup => ("popup", None, None, None),
        Delivery::Hosted { origin, error_return_to, cookie_hash } => {
            ("hosted", Some(origin), Some(error_return_to), Some(cookie_hash))
        }
    };
    client
        .execute(
            "insert into app_oauth_transactions (state_hash, project_id, mode, redirect_url, client_state,
                 code_challenge, linking_user, origin, error_return_to, cookie_hash, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                &state_hash,
                &transaction.project.as_str(),
                &mode,
                &transaction.redirect_url,
                &transaction.client_state,
                &transaction.code_challenge,
                &transaction.linking_user,
                &origin,
                &error_return_to,
                &cookie_hash,
                &expires_at,
            ],
        )
        .await?;
    Ok(())
}

/// Uses a state up.
pub async fn take(
    client: &impl GenericClient,
    state_hash: &[u8],
    now: Timestamp,
) -> Result<Option<Transaction>, DatabaseError> {
    let row = client
        .query_opt(
            "delete from app_oauth_transactions where state_hash = $1
             returning project_id, mode, redirect_url, client_state, code_challenge, linking_user, origin,
                 error_return_to, cookie_hash, expires_at",
            &[&state_hash],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let expires_at: Timestamp = row.try_get("expires_at")?;
    if expires_at <= now {
        return Ok(None);
    }
    let mode: &str = row.try_get("mode")?;
    let delivery = match mode {
        "hosted" => Delivery::Hosted {
            origin: row.try_get("origin")?,
            error_return_to: row.try_get("error_return_to")?,
            cookie_hash: row.try_get("cookie_hash")?,
        },
        "popup" => Delivery::Popup,
        _ => Delivery::Redirect,
    };
    Ok(Some(Transaction {
        project: stored_project(row.try_get("project_id")?)?,
        delivery,
        redirect_url: row.try_get("redirect_url")?,
        client_state: row.try_get("client_state")?,
        code_challenge: row.try_get("code_challenge")?,
        linking_user: row.try_get("linking_user")?,
    }))
}

/// A code that ends a sign-in.
pub struct Code {
    pub user: Uuid,
    pub code_challenge: Option<String>,
    pub origin: Option<String>,
    pub return_to: Option<String>,
    pub cookie_hash: Option<Vec<u8>>,
}

pub async fn insert_code(
    client: &impl GenericClient,
    project: &ProjectId,
    hash: &[u8],
    code: &Code,
    expires_at: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into app_oauth_codes (code_hash, project_id, user_id, code_challenge, origin, return_to, cookie_hash,
                 expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &hash,
                &project.as_str(),
                &code.user,
                &code.code_challenge,
                &code.origin,
                &code.return_to,
                &code.cookie_hash,
                &expires_at,
            ],
        )
        .await?;
    Ok(())
}

/// Uses a code up, whatever comes of it.
pub async fn take_code(
    client: &impl GenericClient,
    project: &ProjectId,
    hash: &[u8],
    now: Timestamp,
) -> Result<Option<Code>, DatabaseError> {
    let row = client
        .query_opt(
            "delete from app_oauth_codes where code_hash = $1 and project_id = $2
             returning user_id, code_challenge, origin, return_to, cookie_hash, expires_at",
            &[&hash, &project.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let expires_at: Timestamp = row.try_get("expires_at")?;
    let code = Code {
        user: row.try_get("user_id")?,
        code_challenge: row.try_get("code_challenge")?,
        origin: row.try_get("origin")?,
        return_to: row.try_get("return_to")?,
        cookie_hash: row.try_get("cookie_hash")?,
    };
    Ok(Some(code).filter(|_| expires_at > now))
}

/// An identity that somebody vouched for just now.
pub struct Vouched<'a> {
    pub provider: &'a str,
    pub subject: &'a str,
    pub email: Option<&'a str>,
    pub email_verified: bool,
    pub amr: &'a [String],
}

/// The user of an identity; the identity counts as used.
pub async fn identity_user(
    client: &impl GenericClient,
    project: &ProjectId,
    identity: &Vouched<'_>,
    now: Timestamp,
) -> Result<Option<Uuid>, DatabaseError> {
    let row = client
        .query_opt(
            "update app_identities
             set last_used_at = $4, last_amr = $5, provider_email = coalesce($6, provider_email), email_verified = $7
             where project_id = $1 and provider = $2 and subject = $3 returning user_id",
            &[
                &project.as_str(),
                &identity.provider,
                &identity.subject,
                &now,
                &identity.amr,
                &identity.email,
                &identity.email_verified,
            ],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// False when the identity is somebody's already.
pub async fn link_identity(
    client: &impl GenericClient,
    project: &ProjectId,
    user: Uuid,
    identity: &Vouched<'_>,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let made = client
        .execute(
            "insert into app_identities (project_id, provider, subject, user_id, provider_email, email_verified,
                 created_at, last_used_at, last_amr)
             values ($1, $2, $3, $4, $5, $6, $7, $7, $8)
             on conflict (project_id, provider, subject) do nothing",
            &[
                &project.as_str(),
                &identity.provider,
                &identity.subject,
                &user,
                &identity.email,
                &identity.email_verified,
                &now,
                &identity.amr,
            ],
        )
        .await?;
    Ok(made == 1)
}

pub async fn unlink_identity(
    client: &impl GenericClient,
    user: Uuid,
    provider: &str,
    subject: &str,
) -> Result<bool, DatabaseError> {
    let deleted = client
        .execute(
            "delete from app_identities where user_id = $1 and provider = $2 and subject = $3",
            &[&user, &provider, &subject],
        )
        .await?;
    Ok(deleted == 1)
}

pub async fn sweep(client: &impl GenericClient, now: Timestamp) -> Result<(), DatabaseError> {
    client.execute("delete from app_oauth_transactions where expires_at < $1", &[&now]).await?;
    client.execute("delete from app_oauth_codes where expires_at < $1", &[&now]).await?;
    Ok(())
}
