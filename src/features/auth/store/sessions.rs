//! Sessions of both kinds, and refresh tokens.

use std::collections::BTreeMap;

use serde_json::json;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::users::{user_columns, user_row};
use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
    features::auth::types::{Session, SessionKind, User},
};

/// The columns [`session_row`] reads, of `s`. Renamed, because they are read beside those of a user.
macro_rules! session_columns {
    () => {
        "s.id as session_id, s.kind, s.user_id, s.auth_time, s.amr, s.amr_times, s.aal, \
         s.authz_version as session_authz_version, s.created_at as session_created_at, s.last_seen_at, s.expires_at, \
         s.revoked_at, s.user_agent"
    };
}

fn session_row(row: &Row) -> Result<Session, DatabaseError> {
    let kind: &str = row.try_get("kind")?;
    let amr_times: serde_json::Value = row.try_get("amr_times")?;
    Ok(Session {
        id: row.try_get("session_id")?,
        kind: if kind == "browser" { SessionKind::Browser } else { SessionKind::Tokens },
        user: row.try_get("user_id")?,
        auth_time: row.try_get("auth_time")?,
        amr: row.try_get("amr")?,
        amr_times: serde_json::from_value::<BTreeMap<String, i64>>(amr_times).unwrap_or_default(),
        aal: row.try_get("aal")?,
        authz_version: row.try_get("session_authz_version")?,
        created_at: row.try_get("session_created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        user_agent: row.try_get("user_agent")?,
    })
}

/// The cookie side of a new browser session.
pub struct BrowserFacts<'a> {
    pub host: &'a str,
    pub secret_hash: &'a [u8],
}

pub async fn insert(
    client: &impl GenericClient,
    project: &ProjectId,
    session: &Session,
    ip_hash: &[u8],
    browser: Option<&BrowserFacts<'_>>,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into app_sessions (id, project_id, user_id, kind, auth_time, amr, amr_times, aal, authz_version,
                 created_at, last_seen_at, expires_at, user_agent, ip_hash, host, secret_hash)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $14, $15)",
            &[
                &session.id,
                &project.as_str(),
                &session.user,
                &session.kind.as_str(),
                &session.auth_time,
                &session.amr,
                &json!(session.amr_times),
                &session.aal,
                &session.authz_version,
                &session.created_at,
                &session.expires_at,
                &session.user_agent,
                &ip_hash,
                &browser.map(|browser| browser.host),
                &browser.map(|browser| browser.secret_hash),
            ],
        )
        .await?;
    Ok(())
}

/// A session with its user, whatever its state; the caller judges.
pub async fn with_user(
    client: &impl GenericClient,
    project: &ProjectId,
    session: Uuid,
) -> Result<Option<(Session, User)>, DatabaseError> {
    let row = client
        .query_opt(
            concat!(
                "select ",
                session_columns!(),
                ", ",
                user_columns!(),
                " from app_sessions s join app_users u on u.id = s.user_id
                  where s.id = $1 and s.project_id = $2"
            ),
            &[&session, &project.as_str()],
        )
        .await?;
    row.map(|row| Ok((session_row(&row)?, user_row(&row)?))).transpose()
}

/// Whether a session of this user lasts and was not revoked. Asked for by every call of a gate with a Bearer, so its
/// statement is prepared once per connection.
pub async fn stands(
    connection: &Connection,
    project: &ProjectId,
    session: Uuid,
    user: Uuid,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select from app_sessions
             where id = $1 and project_id = $2 and user_id = $3 and revoked_at is null and expires_at > $4",
        )
        .await?;
    Ok(connection.query_opt(&statement, &[&session, &project.as_str(), &user, &now]).await?.is_some())
}

pub async fn insert_refresh_token(
    client: &impl GenericClient,
    hash: &[u8],
    session: Uuid,
    expires_at: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into app_refresh_tokens (token_hash, session_id, expires_at) values ($1, $2, $3)",
            &[&hash, &session, &expires_at],
        )
        .await?;
    Ok(())
}

/// A refresh token as it is found.
pub struct RefreshToken {
    pub expires_at: Timestamp,
    pub consumed_at: Option<Timestamp>,
    pub consumed_by: Option<Vec<u8>>,
    pub session: Session,
    pub user: User,
}

/// Locks the token and its family, so that of two requests with the same token one comes second.
pub async fn refresh_token(
    client: &impl GenericClient,
    project: &ProjectId,
    hash: &[u8],
) -> Result<Option<RefreshToken>, DatabaseError> {
    let row = client
        .query_opt(
            concat!(
                "select t.expires_at as token_expires_at, t.consumed_at, t.consumed_by, ",
                session_columns!(),
                ", ",
                user_columns!(),
                " from app_refresh_tokens t
                  join app_sessions s on s.id = t.session_id
                  join app_users u on u.id = s.user_id
                  where t.token_hash = $1 and s.project_id = $2
                  for update of t, s"
            ),
            &[&hash, &project.as_str()],
        )
        .await?;
    row.map(|row| {
        Ok(RefreshToken {
            expires_at: row.try_get("token_expires_at")?,
            consumed_at: row.try_get("consumed_at")?,
            consumed_by: row.try_get("consumed_by")?,
            session: session_row(&row)?,
            user: user_row(&row)?,
        })
    })
    .transpose()
}

pub async fn consume_refresh_token(
    client: &impl GenericClient,
    hash: &[u8],
    by: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_refresh_tokens set consumed_at = $2, consumed_by = $3 where token_hash = $1",
            &[&hash, &now, &by],
        )
        .await?;
    Ok(())
}

/// The session was used: how long it now lasts, and the counter it now carries.
pub async fn touch(
    client: &impl GenericClient,
    session: Uuid,
    authz_version: i64,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_sessions set last_seen_at = $2, expires_at = $3, authz_version = $4 where id = $1",
            &[&session, &now, &expires_at, &authz_version],
        )
        .await?;
    Ok(())
}

pub async fn revoke(client: &impl GenericClient, session: Uuid, now: Timestamp) -> Result<bool, DatabaseError> {
    let revoked = client
        .execute("update app_sessions set revoked_at = $2 where id = $1 and revoked_at is null", &[&session, &now])
        .await?;
    Ok(revoked == 1)
}

/// Ends every session of a user but one; answers how many were live.
pub async fn revoke_others(
    client: &impl GenericClient,
    user: Uuid,
    except: Option<Uuid>,
    now: Timestamp,
) -> Result<u64, DatabaseError> {
    Ok(client
        .execute(
            "update app_sessions set revoked_at = $3
             where user_id = $1 and revoked_at is null and expires_at > $3 and id is distinct from $2::uuid",
            &[&user, &except, &now],
        )
        .await?)
}

/// Live sessions of a user, newest first.
pub async fn of_user(client: &impl GenericClient, user: Uuid, now: Timestamp) -> Result<Vec<Session>, DatabaseError> {
    let rows = client
        .query(
            concat!(
                "select ",
                session_columns!(),
                " from app_sessions s where s.user_id = $1 and s.revoked_at is null and s.expires_at > $2
                  order by s.created_at desc, s.id limit 200"
            ),
            &[&user, &now],
        )
        .await?;
    rows.iter().map(session_row).collect()
}

/// A browser session as its cookie finds it.
pub struct BrowserSession {
    pub session: Session,
    pub user: User,
    pub host: String,
    pub secret_hash: Vec<u8>,
    /// The project wants a passkey of its admins.
    pub admin_needs_passkey: bool,
}

/// Asked for by every request with a cookie, so its statement is prepared once per connection.
pub async fn browser(
    connection: &Connection,
    project: &ProjectId,
    session: Uuid,
) -> Result<Option<BrowserSession>, DatabaseError> {
    let statement = connection
        .prepare_cached(concat!(
            "select s.host, s.secret_hash,
                    coalesce(p.require_passkey_for_project_admin, false) as admin_needs_passkey, ",
            session_columns!(),
            ", ",
            user_columns!(),
            " from app_sessions s join app_users u on u.id = s.user_id
              left join app_auth_settings p on p.project_id = s.project_id
              where s.id = $1 and s.project_id = $2 and s.kind = 'browser'"
        ))
        .await?;
    let row = connection.query_opt(&statement, &[&session, &project.as_str()]).await?;
    row.map(|row| {
        Ok(BrowserSession {
            host: row.try_get("host")?,
            secret_hash: row.try_get("secret_hash")?,
            admin_needs_passkey: row.try_get("admin_needs_passkey")?,
            session: session_row(&row)?,
            user: user_row(&row)?,
        })
    })
    .transpose()
}

pub async fn seen(client: &impl GenericClient, session: Uuid, now: Timestamp) -> Result<(), DatabaseError> {
    client.execute("update app_sessions set last_seen_at = $2 where id = $1", &[&session, &now]).await?;
    Ok(())
}

/// Ends the session of a cookie that is replaced; its secret must match.
pub async fn revoke_browser(
    client: &impl GenericClient,
    project: &ProjectId,
    session: Uuid,
    secret_hash: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_sessions set revoked_at = $4
             where id = $1 and project_id = $2 and secret_hash = $3 and revoked_at is null",
            &[&session, &project.as_str(), &secret_hash, &now],
        )
        .await?;
    Ok(())
}

/// A fresh proof of the same user, under a new secret.
pub async fn renew(
    client: &impl GenericClient,
    session: &Session,
    secret_hash: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_sessions
             set auth_time = $2, amr = $3, amr_times = $4, secret_hash = $5, last_seen_at = $6
             where id = $1 and revoked_at is null",
            &[&session.id, &session.auth_time, &session.amr, &json!(session.amr_times), &secret_hash, &now],
        )
        .await?;
    Ok(())
}

/// Ends one session of a user.
pub async fn revoke_of(
    client: &impl GenericClient,
    user: Uuid,
    session: Uuid,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let revoked = client
        .execute(
            "update app_sessions set revoked_at = $3
             where id = $2 and user_id = $1 and revoked_at is null and expires_at > $3",
            &[&user, &session, &now],
        )
        .await?;
    Ok(revoked == 1)
}

/// Tenants that vouched for a user, with what they said last.
pub async fn tenant_assertions(
    client: &impl GenericClient,
    user: Uuid,
) -> Result<Vec<(String, Vec<String>)>, DatabaseError> {
    let rows = client
        .query(
            "select provider, last_amr from app_identities
             where user_id = $1 and provider like 'tenant:%' order by provider",
            &[&user],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Forgets what ended long ago.
pub async fn sweep(client: &impl GenericClient, before: Timestamp) -> Result<u64, DatabaseError> {
    client.execute("delete from app_refresh_tokens where expires_at < $1", &[&before]).await?;
    Ok(client.execute("delete from app_sessions where expires_at < $1 or revoked_at < $1", &[&before]).await?)
}
