//! The service: what its parts share.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::{
    actor::ActorTokens,
    google::GoogleSettings,
    hosted::forgery::Forms,
    limits::Limits,
    mail::Mailer,
    oidc::{Issuers, OidcIssuer, Provider},
    passwords::{PasswordSettings, Passwords},
    store,
    types::{PoolSettings, User},
};
use crate::{
    common::{ApiResult, Clock, ProjectId, sealing::MasterKey},
    engines::postgres::{Connection, Database, DatabaseError},
    features::{hosts::Hosts, identity::Identity, projects::Projects, user_keys::UserKeys},
};

/// `auth.*`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    pub google: GoogleSettings,
    /// Issuers whose id tokens sign in to a project's site.
    pub oidc: Vec<OidcIssuer>,
    pub passwords: PasswordSettings,
    /// Serves `/auth/v1/dev-tokens` while the box listens on loopback: anybody there gets in as anybody.
    pub development: bool,
    /// Session cookies also over plain HTTP on other names than `localhost`. Whoever is on the way can read them.
    pub insecure_cookies: bool,
    /// Multiplies every rate limit of this feature, for development.
    pub limit_factor: u32,
    /// Magic links one project may send in an hour; `None`: what its tier says (50, 200 or 1000).
    pub magic_links_per_hour: Option<u32>,
    /// Address that mail of this feature comes from. Default: `noreply@mail.<domain>`.
    pub mail_sender: Option<String>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            google: GoogleSettings::default(),
            oidc: Vec::new(),
            passwords: PasswordSettings::default(),
            development: false,
            insecure_cookies: false,
            limit_factor: 1,
            magic_links_per_hour: None,
            mail_sender: None,
        }
    }
}

/// Learns of users who signed up themselves (contract 05 §7.4). It returns at once: nobody waits for what it does.
pub trait SignupHook: Send + Sync + 'static {
    /// `user`: `{id, email, created_at}`.
    fn signed_up(&self, project: &ProjectId, user: Value);
}

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub master_key: MasterKey,
    pub identity: Arc<Identity>,
    pub projects: Arc<Projects>,
    pub user_keys: Arc<UserKeys>,
    pub hosts: Arc<Hosts>,
    pub mailer: Arc<dyn Mailer>,
    pub public_url: Url,
    /// Base domain of the box.
    pub domain: String,
    pub settings: AuthSettings,
    pub rate_limits: bool,
    /// Whether the box listens on loopback only.
    pub loopback: bool,
}

/// The users of the projects' apps.
pub struct Auth {
    pub(super) control: Database,
    pub(super) clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) projects: Arc<Projects>,
    pub(super) keys: Arc<UserKeys>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) mailer: Arc<dyn Mailer>,
    pub(super) public_url: Url,
    pub(super) domain: String,
    pub(super) settings: AuthSettings,
    pub(super) development: bool,
    pub(super) passwords: Passwords,
    pub(super) limits: Limits,
    pub(super) google: Option<Provider>,
    pub(super) issuers: Issuers,
    pub(super) forms: Forms,
    pub(super) actor_tokens: ActorTokens,
    /// Set once functions exist, which need this service.
    signup_hook: OnceLock<Arc<dyn SignupHook>>,
    /// Keys digests of addresses and cookie secrets: a dump of the database alone proves nothing.
    pub(super) pepper: [u8; 32],
}

impl Auth {
    /// # Errors
    /// A sentence for the operator when a setting is impossible.
    pub fn new(parts: Dependencies) -> Result<Self, String> {
        Ok(Self {
            passwords: Passwords::new(&parts.settings.passwords)?,
            limits: Limits::new(parts.rate_limits, parts.settings.limit_factor, parts.clock.clone()),
            google: parts.settings.google.provider(),
            issuers: Issuers::new(&parts.settings.oidc),
            forms: Forms::default(),
            actor_tokens: ActorTokens::default(),
            signup_hook: OnceLock::new(),
            pepper: *parts.master_key.derive("app-user sessions"),
            control: parts.control,
            clock: parts.clock,
            identity: parts.identity,
            projects: parts.projects,
            keys: parts.user_keys,
            hosts: parts.hosts,
            mailer: parts.mailer,
            public_url: parts.public_url,
            domain: parts.domain,
            development: parts.settings.development && parts.loopback,
            settings: parts.settings,
        })
    }

    /// Whom to tell of sign-ups from now on; the first one told of stays.
    pub fn set_signup_hook(&self, hook: Arc<dyn SignupHook>) {
        let _ = self.signup_hook.set(hook);
    }

    /// Tells of a sign-up, after its transaction.
    pub(super) fn announce(&self, user: &User) {
        if let Some(hook) = self.signup_hook.get() {
            hook.signed_up(&user.project, json!({"id": user.id, "email": user.email, "created_at": user.created_at}));
        }
    }

    pub(super) async fn connection(&self) -> Result<Connection, DatabaseError> {
        self.control.get().await
    }

    /// The settings of a pool.
    pub(super) async fn pool_settings(&self, project: &ProjectId) -> ApiResult<PoolSettings> {
        Ok(store::settings::read(&**self.connection().await?, project).await?)
    }

    /// Forgets what ended 30 days ago. Run now and then.
    ///
    /// # Errors
    /// When the database is not reachable; the next run does it.
    pub async fn sweep(&self) -> Result<(), DatabaseError> {
        let before = self.clock.now().minus(jiff::SignedDuration::from_hours(30 * 24));
        let connection = self.connection().await?;
        store::sessions::sweep(&**connection, before).await?;
        store::links::sweep(&**connection, before).await?;
        store::mail::sweep(&**connection, before).await?;
        store::oauth::sweep(&**connection, self.clock.now()).await?;
        store::passkeys::sweep(&**connection, self.clock.now()).await?;
        store::proofs::sweep(&**connection, self.clock.now()).await?;
        Ok(())
    }
}
