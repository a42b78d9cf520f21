//! Browser sessions on the projects' own hosts (contract 06 §10).
//!
//! A session is a row and a cookie of that one host. The row holds the keyed hash of the cookie's secret; every
//! request asks for the row, so an ended session is dead at once.

pub mod cookie;
pub mod forgery;
pub mod pages;

use axum::http::{HeaderMap, HeaderValue, header::HOST};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use subtle::ConstantTimeEq;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    error::AuthError,
    service::Auth,
    store::{self, sessions::BrowserFacts},
    types::{Client, Proof, Session, User, role_of},
};
use crate::{
    common::{ApiResult, ProjectId, Timestamp, sealing::hmac_sha256},
    features::{
        hosts::{Bound, TenantHost},
        identity::bearer_token,
    },
};
use cookie::{Kind, SessionCookie};

/// Longest life of a browser session, and without being used (06 §10.1).
const LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
const IDLE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How often being used is written down.
const SEEN_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Paths that belong to the box on every project host, before routes and files of the project (06 §11).
const PATHS: [&str; 21] = [
    "/auth/sign-in",
    "/auth/sign-up",
    "/auth/sign-out",
    "/auth/re-auth",
    "/auth/magic-link",
    "/auth/magic-link/send",
    "/auth/magic-link/confirm",
    "/auth/sign-in/oauth/google/start",
    "/auth/oauth/complete",
    "/auth/passkeys/login",
    "/auth/passkeys/register",
    "/auth/passkeys/login/options",
    "/auth/passkeys/login/verify",
    "/auth/passkeys/register/options",
    "/auth/passkeys/register/verify",
    "/auth/account",
    "/auth/account/password",
    "/auth/account/passkeys/remove",
    "/auth/account/sessions/revoke",
    "/auth/account/sign-out-everywhere",
    "/auth/account/identities/unlink",
];
/// Machine paths that live by the cookie.
const COOKIE_PATHS: [&str; 3] = ["/auth/v1/session", "/auth/v1/sessions/end", "/auth/v1/sessions/from-identity"];

/// Whether a path of a project host is one of ours.
pub fn is_hosted_path(path: &str) -> bool {
    PATHS.contains(&path)
}

/// Whether a path lives by the session cookie, so that no other origin may read its answers (06 §1.2).
pub fn is_cookie_path(path: &str) -> bool {
    is_hosted_path(path) || COOKIE_PATHS.contains(&path)
}

/// A project host that may have sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub project: ProjectId,
    /// Lower case, no port: whom cookies belong to.
    pub host: String,
    /// Scheme, host and port as the browser has them.
    pub origin: String,
    pub secure: bool,
}

/// Who looks at a page.
#[derive(Debug)]
pub enum Visitor {
    Anonymous,
    /// A cookie came that is good no more: take it away.
    Stale(AuthError),
    SignedIn(Box<Visit>),
}

/// A signed-in visit.
#[derive(Debug)]
pub struct Visit {
    pub(super) user: User,
    pub(super) session: Session,
    /// In tokens made for this visit: `authenticated` or `project_admin`.
    pub(super) role: &'static str,
}

impl Auth {
    /// The site of a request.
    ///
    /// # Errors
    /// 403 `R402_AUTH_TENANT_SUFFIX_REQUIRED` on the box's own host and on hosts of previews; 403 `HTTPS_REQUIRED` on
    /// plain HTTP elsewhere than on loopback names.
    pub fn site(
        &self,
        tenant: Option<&TenantHost>,
        scheme: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Site, AuthError> {
        let tenant = tenant.ok_or(AuthError::TenantSuffixRequired)?;
        let is_loopback = tenant.host == "localhost" || tenant.host.ends_with(".localhost");
        let project = match (tenant.bound.owner(), &*tenant.bound) {
            (Some(project), _) => project,
            // A developer's machine has no other host until a name is claimed.
            (None, Bound::Project(project)) if is_loopback => project,
            _ => return Err(AuthError::TenantSuffixRequired),
        };
        let secure = scheme.unwrap_or(self.public_url.scheme()) == "https";
        if !secure && !is_loopback && !self.settings.insecure_cookies {
            return Err(AuthError::HttpsRequired);
        }
        let scheme = if secure { "https" } else { "http" };
        let port = port_of(headers, &tenant.host).filter(|port| *port != if secure { 443 } else { 80 });
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Site {
            project: project.clone(),
            origin: format!("{scheme}://{}{port}", tenant.host),
            host: tenant.host.clone(),
            secure,
        })
    }

    /// Who visits, by cookie and Bearer (06 §10.2).
    ///
    /// # Errors
    /// 400 `R402_AUTH_BEARER_COOKIE_MISMATCH`, 401 `R402_AUTH_INVALID_BEARER`.
    pub async fn visitor(&self, site: &Site, headers: &HeaderMap) -> ApiResult<Visitor> {
        let Some(value) = cookie::find(headers, Kind::Session, site.secure) else { return Ok(Visitor::Anonymous) };
        let visitor = match SessionCookie::parse(value) {
            Some(cookie) => self.session_of(site, &cookie).await?,
            None => Visitor::Stale(AuthError::SessionInvalid),
        };
        if let (Visitor::SignedIn(visit), Some(token)) = (&visitor, bearer_token(headers)) {
            let claims = self.verified_claims(token).filter(|claims| claims.project_id == site.project);
            let claims = claims.ok_or(AuthError::InvalidBearer)?;
            if claims.sub != visit.user.id.to_string() {
                return Err(AuthError::BearerCookieMismatch.into());
            }
        }
        Ok(visitor)
    }

    async fn session_of(&self, site: &Site, cookie: &SessionCookie) -> ApiResult<Visitor> {
        let connection = self.connection().await?;
        let found = store::sessions::browser(&connection, &site.project, cookie.session).await?;
        let Some(found) = found else { return Ok(Visitor::Stale(AuthError::SessionInvalid)) };
        let (session, user) = (found.session, found.user);
        let (role, _) = role_of(&user, &session.amr, found.admin_needs_passkey);
        let secret = self.cookie_hash(&cookie.secret);
        if !bool::from(found.secret_hash.as_slice().ct_eq(&secret))
            || found.host != site.host
            || session.revoked_at.is_some()
            || session.authz_version < user.authz_version
        {
            return Ok(Visitor::Stale(AuthError::SessionInvalid));
        }
        let now = self.clock.now();
        if session.expires_at <= now || now.since(session.last_seen_at) > IDLE {
            return Ok(Visitor::Stale(AuthError::SessionExpired));
        }
        if now.since(session.last_seen_at) > SEEN_EVERY {
            store::sessions::seen(&**connection, session.id, now).await?;
        }
        Ok(Visitor::SignedIn(Box::new(Visit { user, session, role })))
    }

    /// Signs a browser in: always a new session; the one it came with ends.
    pub(super) async fn sign_in_browser(
        &self,
        tx: &Transaction<'_>,
        site: &Site,
        headers: &HeaderMap,
        user: &User,
        proof: &Proof,
        client: &Client,
    ) -> ApiResult<HeaderValue> {
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let secret_hash = self.cookie_hash(&secret);
        let facts = BrowserFacts { host: &site.host, secret_hash: &secret_hash };
        let session = self.begin_session(tx, user, proof, client, Some(&facts)).await?;
        if let Some(old) = cookie::find(headers, Kind::Session, site.secure).and_then(SessionCookie::parse) {
            let old_hash = self.cookie_hash(&old.secret);
            store::sessions::revoke_browser(tx, &site.project, old.session, &old_hash, self.clock.now()).await?;
        }
        let value = SessionCookie { session: session.id, secret }.value();
        Ok(cookie::set(Kind::Session, site.secure, Some(&value), LIFE.as_secs())?)
    }

    /// The same user proved himself again: the session is as fresh as new, under a new secret (06 §10.1).
    pub(super) async fn renew_session(&self, site: &Site, session: &Session, method: &str) -> ApiResult<HeaderValue> {
        let now = self.clock.now();
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut renewed = session.clone();
        renewed.auth_time = now;
        renewed.amr_times.insert(method.to_owned(), now.as_seconds());
        if !renewed.has(method) {
            renewed.amr.push(method.to_owned());
        }
        let connection = self.connection().await?;
        store::sessions::renew(&**connection, &renewed, &self.cookie_hash(&secret), now).await?;
        let value = SessionCookie { session: session.id, secret }.value();
        Ok(cookie::set(Kind::Session, site.secure, Some(&value), LIFE.as_secs())?)
    }

    /// A header that takes the session cookie away.
    pub(super) fn cleared(site: &Site) -> Result<HeaderValue, AuthError> {
        cookie::set(Kind::Session, site.secure, None, 0)
    }

    pub(super) async fn end_session(&self, session: Uuid) -> ApiResult<()> {
        store::sessions::revoke(&**self.connection().await?, session, self.clock.now()).await?;
        Ok(())
    }

    fn cookie_hash(&self, secret: &str) -> [u8; 32] {
        hmac_sha256(&self.pepper, format!("cookie {secret}").as_bytes())
    }
}

impl Auth {
    /// The token in a form of this visit: the session's own, or one of a page that only knew its request's id.
    ///
    /// # Errors
    /// 403 `R402_AUTH_CSRF_TOKEN_MISMATCH`
    pub(super) fn check_form(&self, visit: &Visit, given: Option<&str>) -> Result<(), AuthError> {
        let given = given.ok_or(AuthError::CsrfTokenMismatch)?;
        let session = &visit.session;
        let known = forgery::is_token(given, session.id, session.auth_time)
            || self.forms.knows(session.id, given, self.clock.now());
        if known { Ok(()) } else { Err(AuthError::CsrfTokenMismatch) }
    }
}

impl Visit {
    pub(super) fn csrf_token(&self) -> String {
        forgery::token(self.session.id, self.session.auth_time)
    }

    pub(super) fn is_fresh(&self, minutes: u8, now: Timestamp) -> bool {
        super::accounts::is_fresh(&self.session, minutes, now)
    }
}

/// The port in `Host`, when the header is about this very host; a proxy may have changed it otherwise.
fn port_of(headers: &HeaderMap, host: &str) -> Option<u16> {
    let given = headers.get(HOST)?.to_str().ok()?.to_ascii_lowercase();
    let (name, port) = given.rsplit_once(':')?;
    (name.trim_end_matches('.') == host).then(|| port.parse().ok())?
}
