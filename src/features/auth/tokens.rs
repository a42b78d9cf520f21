//! Sessions and the tokens that stand for them (contract 06 §3).

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    error::AuthError,
    limits::{Rule, network},
    secret,
    service::Auth,
    store::{self, sessions::BrowserFacts},
    types::{
        Client, Elevation, MagicLinkView, PoolSettings, Proof, Session, SessionKind, SessionResult, User, UserView,
    },
};
use crate::{
    common::{ApiResult, ProjectId, Timestamp, sealing::hmac_sha256},
    features::{projects::Project, user_keys::TOKEN_SECONDS},
};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Life of a refresh token, and of a family from its sign-in (06 §3.4).
const REFRESH_DAYS: i32 = 30;
const FAMILY_DAYS: i32 = 90;
/// How long the same client may send a consumed token again without it counting as theft.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// Longest user agent that is kept.
const MAX_USER_AGENT: usize = 256;

/// Details of a sign-in that its answer repeats.
#[derive(Default)]
pub(super) struct Occasion {
    pub provider: Option<&'static str>,
    pub magic_link: Option<MagicLinkView>,
}

impl Auth {
    /// A session that begins now, in the transaction of the sign-in.
    pub(super) async fn begin_session(
        &self,
        tx: &Transaction<'_>,
        user: &User,
        proof: &Proof,
        client: &Client,
        browser: Option<&BrowserFacts<'_>>,
    ) -> ApiResult<Session> {
        let now = self.clock.now();
        let lasting = DAY * REFRESH_DAYS;
        let session = Session {
            id: Uuid::new_v4(),
            kind: if browser.is_some() { SessionKind::Browser } else { SessionKind::Tokens },
            user: user.id,
            auth_time: now,
            amr_times: proof.amr.iter().map(|method| (method.clone(), now.as_seconds())).collect::<BTreeMap<_, _>>(),
            amr: proof.amr.clone(),
            aal: proof.aal().to_owned(),
            authz_version: user.authz_version,
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(lasting),
            revoked_at: None,
            user_agent: client.user_agent.as_deref().map(|text| text.chars().take(MAX_USER_AGENT).collect()),
        };
        let ip_hash = self.ip_hash(client);
        store::sessions::insert(tx, &user.project, &session, &ip_hash, browser).await?;
        Ok(session)
    }

    /// Signs in an app: a new refresh family and its first pair of tokens. Call [`Auth::prepare_keys`] before taking
    /// the connection.
    pub(super) async fn sign_in(
        &self,
        tx: &Transaction<'_>,
        user: &User,
        proof: &Proof,
        settings: &PoolSettings,
        client: &Client,
        occasion: Occasion,
    ) -> ApiResult<SessionResult> {
        let session = self.begin_session(tx, user, proof, client, None).await?;
        self.issue(tx, user, &session, settings, occasion).await
    }

    async fn issue(
        &self,
        tx: &Transaction<'_>,
        user: &User,
        session: &Session,
        settings: &PoolSettings,
        occasion: Occasion,
    ) -> ApiResult<SessionResult> {
        let refresh_token = secret::generate();
        let expires_at = self.refresh_expiry(session.auth_time);
        store::sessions::insert_refresh_token(tx, &secret::digest(&refresh_token), session.id, expires_at).await?;
        let (role, downgraded) = settings.role(user, &session.amr);
        let access_token = self.access_token(user, session, role, TOKEN_SECONDS).await?;
        Ok(SessionResult {
            access_token,
            token_type: "bearer",
            expires_in: TOKEN_SECONDS,
            refresh_token,
            user: UserView::from(user),
            provider: occasion.provider,
            magic_link: occasion.magic_link,
            elevation: downgraded.then(Elevation::by_passkey),
        })
    }

    /// An access token.
    pub(super) async fn access_token(
        &self,
        user: &User,
        session: &Session,
        role: &str,
        seconds: i64,
    ) -> ApiResult<String> {
        let now = self.clock.now().as_seconds();
        let mut claims = Map::from_iter([
            ("sub".to_owned(), json!(user.id)),
            ("role".to_owned(), json!(role)),
            ("email".to_owned(), json!(user.email_text())),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now + seconds)),
            ("auth_time".to_owned(), json!(session.auth_time.as_seconds())),
            ("amr".to_owned(), json!(session.amr)),
            ("aal".to_owned(), json!(session.aal)),
            ("session_id".to_owned(), json!(session.id)),
            ("authz_version".to_owned(), json!(user.authz_version)),
        ]);
        if user.is_test {
            claims.insert("is_test".to_owned(), Value::Bool(true));
        }
        self.keys.mint(&user.project, claims).await
    }

    /// Makes sure that the project has a signing key, so that minting inside a transaction needs no second
    /// connection.
    pub(super) async fn prepare_keys(&self, project: &ProjectId) -> ApiResult<()> {
        self.keys.jwks(project).await.map(|_| ())
    }

    /// `grant_type=refresh_token`: one use, rotation, detection of reuse.
    ///
    /// # Errors
    /// 401 `R402_AUTH_SESSION_INVALID`, 401 `R402_AUTH_SESSION_EXPIRED`, 429.
    pub(super) async fn refresh(&self, project: &Project, token: &str, client: &Client) -> ApiResult<SessionResult> {
        self.prepare_keys(&project.id).await?;
        let hash = secret::digest(token);
        let settings = self.pool_settings(&project.id).await?;
        let by = self.client_digest(client);
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let Some(found) = store::sessions::refresh_token(&*tx, &project.id, &hash).await? else {
            return Err(AuthError::SessionInvalid.into());
        };
        let session = found.session;
        if session.revoked_at.is_some() {
            return Err(AuthError::SessionInvalid.into());
        }
        if let Some(consumed_at) = found.consumed_at {
            let is_double_submit = now.since(consumed_at) <= GRACE && found.consumed_by.as_deref() == Some(&by[..]);
            if !is_double_submit {
                store::sessions::revoke(&*tx, session.id, now).await?;
                let details = json!({"session_id": session.id});
                store::users::audit(&*tx, &project.id, Some(found.user.id), "refresh_token_reused", &details, now)
                    .await?;
                tx.commit().await?;
                tracing::warn!(project = %project.id, session = %session.id, "a refresh token was used twice; its family ends");
            }
            return Err(AuthError::SessionInvalid.into());
        }
        if found.expires_at <= now || session.expires_at <= now {
            return Err(AuthError::SessionExpired.into());
        }
        self.limits.take(Rule::Refresh, &[&session.id.to_string()])?;
        store::sessions::consume_refresh_token(&*tx, &hash, &by, now).await?;
        let expires_at = self.refresh_expiry(session.auth_time);
        store::sessions::touch(&*tx, session.id, found.user.authz_version, expires_at, now).await?;
        let result = self.issue(&tx, &found.user, &session, &settings, Occasion::default()).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// Ends the family of a refresh token; unknown ones are none of the caller's business.
    pub(super) async fn sign_out(&self, project: &Project, token: &str) -> ApiResult<()> {
        let now = self.clock.now();
        let hash = secret::digest(token);
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        if let Some(found) = store::sessions::refresh_token(&*tx, &project.id, &hash).await? {
            store::sessions::revoke(&*tx, found.session.id, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    fn refresh_expiry(&self, auth_time: Timestamp) -> Timestamp {
        self.clock.now().plus(DAY * REFRESH_DAYS).min(auth_time.plus(DAY * FAMILY_DAYS))
    }

    pub(super) fn ip_hash(&self, client: &Client) -> [u8; 32] {
        hmac_sha256(&self.pepper, network(client.ip).as_bytes())
    }

    /// Stands for "the same client" of the grace period.
    fn client_digest(&self, client: &Client) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(self.ip_hash(client));
        hasher.update(client.user_agent.as_deref().unwrap_or_default());
        hasher.finalize().to_vec()
    }
}
