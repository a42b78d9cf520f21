//! Who calls a machine route: from the two headers to a project and what the caller may do in it (contract 06 §1.1).
//!
//! The Bearer decides the privilege, the apikey the project. A credential that is neither a project key nor a token
//! of a published key is no credential: `alg` `none`, a token signed with a public key as if it were a secret, and an
//! expired one are all the same here.

use std::sync::Arc;

use axum::http::HeaderMap;
use uuid::Uuid;

use super::{
    development,
    error::AuthError,
    service::Auth,
    store,
    types::{Session, User},
};
use crate::{
    common::{ApiResult, ProjectId, Timestamp},
    features::{
        identity::{KeyRole, bearer_token},
        projects::Project,
        user_keys::Claims,
    },
};

/// What a header proves.
enum Proven {
    Anon,
    Service,
    User(Box<Claims>),
}

/// One header.
enum Presented {
    Absent,
    Invalid,
    Valid(ProjectId, Proven),
}

/// A caller of a public route.
pub(super) struct Caller {
    pub project: Arc<Project>,
    /// The service key was presented.
    pub is_service: bool,
    /// The user whose token was presented, not looked up yet.
    pub claims: Option<Box<Claims>>,
}

/// A signed-in user with the session that says so.
pub(super) struct UserCaller {
    pub project: Arc<Project>,
    pub user: User,
    pub session: Session,
}

impl Auth {
    /// `anon` routes: any valid credential of a live project. A Bearer that is not valid is ignored beside a valid
    /// apikey, because apps send a stale access token along when they refresh it.
    ///
    /// # Errors
    /// 401 without a valid credential, 403 when the two name different projects, 403 `QUOTA_EXCEEDED`, 429.
    pub(super) fn public_caller(&self, headers: &HeaderMap, grows: bool) -> ApiResult<Caller> {
        let (project, proven) = match self.presented(headers) {
            (Presented::Absent | Presented::Invalid, Presented::Valid(project, proven)) => (project, proven),
            (Presented::Valid(bearer, proven), Presented::Valid(apikey, _)) => {
                same_project(&bearer, &apikey)?;
                (bearer, proven)
            }
            (Presented::Valid(project, proven), Presented::Absent) => (project, proven),
            (Presented::Absent, Presented::Absent) => return Err(AuthError::NoProject.into()),
            _ => return Err(AuthError::BadCredential.into()),
        };
        let project = self.admitted(&project, grows)?;
        let is_service = matches!(proven, Proven::Service);
        let claims = if let Proven::User(claims) = proven { Some(claims) } else { None };
        Ok(Caller { project, is_service, claims })
    }

    /// `service` routes.
    ///
    /// # Errors
    /// 401 without a valid credential, 403 for any other than the service key.
    pub(super) fn service_caller(&self, headers: &HeaderMap, grows: bool) -> ApiResult<Arc<Project>> {
        let (project, proven) = self.privileged(headers)?;
        let project = self.admitted(&project, grows)?;
        if matches!(proven, Proven::Service) { Ok(project) } else { Err(AuthError::ServiceKeyRequired.into()) }
    }

    /// `/internal/v1` routes of function workers: the service key, and 401 for everything else (06 §9.2). Not counted
    /// as a call.
    ///
    /// # Errors
    /// 401, 403 `PROJECT_ARCHIVED`.
    pub(super) fn worker_caller(&self, headers: &HeaderMap) -> ApiResult<Arc<Project>> {
        let key = self.identity.project_key(headers)?.filter(|key| key.role == KeyRole::Service);
        self.projects.serving(&key.ok_or(AuthError::BadCredential)?)
    }

    /// `user` routes (06 §3.3).
    ///
    /// # Errors
    /// 401 without a user's valid token, or when its user or session is gone; 403 for two projects.
    pub(super) async fn user_caller(&self, headers: &HeaderMap) -> ApiResult<UserCaller> {
        let (project, proven) = self.privileged(headers)?;
        let Proven::User(claims) = proven else { return Err(AuthError::UserRequired.into()) };
        let project = self.admitted(&project, false)?;
        self.user_of(project, &claims).await
    }

    /// The user and session behind verified claims.
    ///
    /// # Errors
    /// 401 when either is gone.
    pub(super) async fn user_of(&self, project: Arc<Project>, claims: &Claims) -> ApiResult<UserCaller> {
        let session = claims.session_id.as_deref().and_then(|id| Uuid::try_parse(id).ok());
        let Some(session) = session else { return Err(AuthError::BadCredential.into()) };
        let connection = self.connection().await?;
        let found = store::sessions::with_user(&**connection, &project.id, session).await?;
        let Some((session, user)) = found else { return Err(AuthError::BadCredential.into()) };
        if user.id.to_string() != claims.sub {
            return Err(AuthError::BadCredential.into());
        }
        if claims.authz_version.unwrap_or(0) < user.authz_version {
            return Err(AuthError::SessionInvalid.into());
        }
        live(&session, self.clock.now())?;
        Ok(UserCaller { project, user, session })
    }

    /// Whether the session of verified claims still stands: a Bearer outlives a sign-out, but passes no gate after it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_signed_in(&self, claims: &Claims) -> ApiResult<bool> {
        if self.development && claims.amr == [development::METHOD] {
            return Ok(true);
        }
        let session = claims.session_id.as_deref().and_then(|id| Uuid::try_parse(id).ok());
        let (Some(session), Ok(user)) = (session, Uuid::try_parse(&claims.sub)) else { return Ok(false) };
        let connection = self.connection().await?;
        Ok(store::sessions::stands(&connection, &claims.project_id, session, user, self.clock.now()).await?)
    }

    /// The project of a host-bound or key-bound request: live, within its quota, counted.
    pub(super) fn admitted(&self, id: &ProjectId, grows: bool) -> ApiResult<Arc<Project>> {
        let project = self.projects.live(id).ok_or(AuthError::BadCredential)?;
        self.projects.meter(&project, grows)?;
        Ok(project)
    }

    /// The credential that decides the privilege, the other one checked against it.
    fn privileged(&self, headers: &HeaderMap) -> ApiResult<(ProjectId, Proven)> {
        match self.presented(headers) {
            (Presented::Valid(bearer, proven), Presented::Valid(apikey, _)) => {
                same_project(&bearer, &apikey)?;
                Ok((bearer, proven))
            }
            (Presented::Valid(project, proven), Presented::Absent)
            | (Presented::Absent, Presented::Valid(project, proven)) => Ok((project, proven)),
            (Presented::Absent, Presented::Absent) => Err(AuthError::NoProject.into()),
            _ => Err(AuthError::BadCredential.into()),
        }
    }

    /// Bearer and apikey.
    fn presented(&self, headers: &HeaderMap) -> (Presented, Presented) {
        let bearer = self.read(bearer_token(headers));
        let apikey = headers.get("apikey").map(|value| value.to_str().unwrap_or("?").trim());
        (bearer, self.read(apikey))
    }

    fn read(&self, token: Option<&str>) -> Presented {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Presented::Absent };
        if let Some(key) = self.identity.verify_project_key(token) {
            let proven = match key.role {
                KeyRole::Anon => Proven::Anon,
                KeyRole::Service => Proven::Service,
            };
            return Presented::Valid(key.project, proven);
        }
        match self.verified_claims(token) {
            Some(claims) => Presented::Valid(claims.project_id.clone(), Proven::User(Box::new(claims))),
            None => Presented::Invalid,
        }
    }

    /// The claims of a user's token of any project, if a published key signed it and it is current.
    pub(super) fn verified_claims(&self, token: &str) -> Option<Claims> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let project = self.keys.find(&kid)?.project;
        let claims = self.keys.verify(token, &project)?;
        matches!(claims.role.as_str(), "authenticated" | "project_admin").then_some(claims)
    }
}

/// # Errors
/// 401 `R402_AUTH_SESSION_INVALID` or `R402_AUTH_SESSION_EXPIRED`.
pub(super) fn live(session: &Session, now: Timestamp) -> Result<(), AuthError> {
    if session.revoked_at.is_some() {
        return Err(AuthError::SessionInvalid);
    }
    if session.expires_at <= now {
        return Err(AuthError::SessionExpired);
    }
    Ok(())
}

fn same_project(bearer: &ProjectId, apikey: &ProjectId) -> Result<(), AuthError> {
    if bearer == apikey { Ok(()) } else { Err(AuthError::TwoProjects) }
}
