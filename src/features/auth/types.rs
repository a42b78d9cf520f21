//! Domain and wire types of this feature.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::common::{ProjectId, Timestamp};

/// How somebody proved who he is: the `amr` values of 06 §3.1.
pub(super) mod method {
    pub const PASSWORD: &str = "password";
    pub const MAGIC_LINK: &str = "magic_link";
    pub const GOOGLE: &str = "oauth_google";
    pub const PASSKEY: &str = "passkey";
}

/// An account.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub id: Uuid,
    pub project: ProjectId,
    pub email: Option<String>,
    pub password_hash: Option<String>,
    pub email_verified_at: Option<Timestamp>,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub is_admin: bool,
    pub is_test: bool,
    pub authz_version: i64,
    pub created_at: Timestamp,
}

impl User {
    /// Empty when there is none, as tokens and pages want it.
    pub fn email_text(&self) -> String {
        self.email.clone().unwrap_or_default()
    }
}

/// Which kind of session a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    Tokens,
    Browser,
}

impl SessionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Browser => "browser",
        }
    }
}

/// A session: a refresh family or a browser's cookie.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub id: Uuid,
    pub kind: SessionKind,
    pub user: Uuid,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    pub amr_times: BTreeMap<String, i64>,
    pub aal: String,
    pub authz_version: i64,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub user_agent: Option<String>,
}

impl Session {
    pub fn has(&self, method: &str) -> bool {
        self.amr.iter().any(|one| one == method)
    }
}

/// A proof of identity given just now.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub amr: Vec<String>,
}

impl Proof {
    pub fn by(method: &str) -> Self {
        Self { amr: vec![method.to_owned()] }
    }

    pub fn aal(&self) -> &'static str {
        if self.amr.iter().any(|one| one == method::PASSKEY) { "aal2" } else { "aal1" }
    }
}

/// What a request tells of its client.
#[derive(Clone, Debug)]
pub struct Client {
    pub ip: IpAddr,
    pub user_agent: Option<String>,
}

/// The user as the token answers have it (06 §6.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserView {
    id: Uuid,
    email: Option<String>,
    #[schema(value_type = Option<String>)]
    email_verified_at: Option<Timestamp>,
    display_name: Option<String>,
    avatar_url: Option<String>,
    is_admin: bool,
    #[schema(value_type = String)]
    created_at: Timestamp,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            email: user.email.clone(),
            email_verified_at: user.email_verified_at,
            display_name: user.display_name.clone(),
            avatar_url: user.avatar_url.clone(),
            is_admin: user.is_admin,
            created_at: user.created_at,
        }
    }
}

/// What a verified magic link carried (06 §6.2).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct MagicLinkView {
    pub intent: String,
    pub client_state: Option<String>,
    pub state_source: String,
    pub state_trusted: bool,
}

/// The answer of every sign-in (06 §6.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionResult {
    pub access_token: String,
    /// `bearer`
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    pub refresh_token: String,
    pub user: UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magic_link: Option<MagicLinkView>,
    #[serde(flatten)]
    pub elevation: Option<Elevation>,
}

/// Present when an admin still has to prove a passkey (06 §6.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Elevation {
    elevation_required: bool,
    required_method: &'static str,
    effective_role: &'static str,
    intended_role: &'static str,
}

impl Elevation {
    pub fn by_passkey() -> Self {
        Self {
            elevation_required: true,
            required_method: method::PASSKEY,
            effective_role: "authenticated",
            intended_role: "project_admin",
        }
    }
}

/// An identity as its user sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct IdentityView {
    pub provider: String,
    pub provider_sub: String,
    pub provider_email: Option<String>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// Who may make an account (06 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PublicSignup {
    Open,
    KnownEmail,
    InviteOnly,
}

impl PublicSignup {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::KnownEmail, Self::InviteOnly].into_iter().find(|one| one.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::KnownEmail => "known_email",
            Self::InviteOnly => "invite_only",
        }
    }
}

/// Settings of a project's user pool (06 §6.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct PoolSettings {
    pub allow_password_set: bool,
    pub preferred_sign_in_method: Option<String>,
    pub public_signup: PublicSignup,
    pub require_passkey_for_project_admin: bool,
    pub allowed_email_domains: Vec<String>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            allow_password_set: false,
            preferred_sign_in_method: None,
            public_signup: PublicSignup::Open,
            require_passkey_for_project_admin: false,
            allowed_email_domains: Vec::new(),
        }
    }
}

impl PoolSettings {
    /// The role in a token of `user` whose session was proved by `amr`, and whether it is less than intended.
    pub fn role(&self, user: &User, amr: &[String]) -> (&'static str, bool) {
        role_of(user, amr, self.require_passkey_for_project_admin)
    }
}

/// As [`PoolSettings::role`], where only the setting that matters was read.
pub(super) fn role_of(user: &User, amr: &[String], admin_needs_passkey: bool) -> (&'static str, bool) {
    let downgraded = user.is_admin && admin_needs_passkey && !amr.iter().any(|method| method == method::PASSKEY);
    if user.is_admin && !downgraded { ("project_admin", false) } else { ("authenticated", downgraded) }
}

/// A stored passkey.
#[derive(Clone, Debug)]
pub(super) struct Passkey {
    pub id: Uuid,
    pub user: Uuid,
    pub credential_id: Vec<u8>,
    pub rp_id: String,
    pub created_origin: String,
    pub last_used_origin: Option<String>,
    pub transports: Vec<String>,
    pub label: Option<String>,
    pub static_state: Vec<u8>,
    pub dynamic_state: Vec<u8>,
    pub device_type: Option<String>,
    pub backed_up: Option<bool>,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

/// A passkey as its user sees it (06 §8.3).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasskeyView {
    id: Uuid,
    rp_id: String,
    created_origin: String,
    last_used_origin: Option<String>,
    transports: Vec<String>,
    label: Option<String>,
    credential_device_type: Option<String>,
    credential_backed_up: Option<bool>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Timestamp>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        Self {
            id: passkey.id,
            rp_id: passkey.rp_id,
            created_origin: passkey.created_origin,
            last_used_origin: passkey.last_used_origin,
            transports: passkey.transports,
            label: passkey.label,
            credential_device_type: passkey.device_type,
            credential_backed_up: passkey.backed_up,
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
        }
    }
}
