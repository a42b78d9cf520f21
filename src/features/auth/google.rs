//! Sign-in with Google (contract 06 §7): the authorization code flow with PKCE on both legs.
//!
//! Between us and Google: a state of one use, from which nonce and PKCE verifier are derived. Between us and the app:
//! a code of one use and sixty seconds, bound to the app's PKCE challenge; it travels in the fragment, which no server
//! sees.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_postgres::Transaction as DbTransaction;
use url::Url;
use uuid::Uuid;

use super::{
    email::EmailAddress,
    error::AuthError,
    oidc::{Person, Provider, ProviderError},
    secret,
    service::Auth,
    store::{
        self,
        oauth::{Code, Delivery, Transaction, Vouched},
        users::NewUser,
    },
    tokens::Occasion,
    types::{Client, PoolSettings, Proof, PublicSignup, SessionResult, User, method},
};
use crate::{
    common::{ApiError, ApiResult, ProjectId, sealing::hmac_sha256},
    features::projects::Project,
};

/// `auth.google.*`
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleSettings {
    /// Client id and secret of the operator's own client at Google. Without both, sign-in with Google is off.
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    /// Issuer to use instead of Google: its discovery document names the other URLs.
    pub issuer: Option<Url>,
}

impl GoogleSettings {
    /// `None` without a client.
    pub(super) fn provider(&self) -> Option<Provider> {
        let (id, secret) = (self.client_id.clone()?, self.client_secret.clone()?);
        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => Url::parse("https://accounts.google.com").ok()?,
        };
        Some(Provider::new(issuer, id, secret))
    }
}

impl std::fmt::Debug for GoogleSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoogleSettings").field("client_id", &self.client_id).field("issuer", &self.issuer).finish()
    }
}

pub(super) const PROVIDER: &str = "google";
const CALLBACK: &str = "/auth/v1/oauth/google/callback";
/// Life of a sign-in under way, and of the code that ends it.
pub(super) const EXPIRES_IN: i64 = 600;
const CODE_SECONDS: i64 = 60;

/// Why a sign-in failed, in the word the app gets (06 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("domain_not_allowed")]
    DomainNotAllowed,
    #[error("account_exists_requires_link")]
    AccountExistsRequiresLink,
    #[error("identity_already_linked")]
    IdentityAlreadyLinked,
    #[error("signup_not_allowed")]
    SignupNotAllowed,
    #[error("access_denied")]
    AccessDenied,
    #[error("token_exchange_failed")]
    TokenExchangeFailed,
    #[error("invalid_id_token")]
    InvalidIdToken,
}

/// The account of a person, and the row if it was made just now.
struct Account {
    user: Uuid,
    made: Option<User>,
}

/// What comes of a callback.
pub(super) struct Outcome {
    pub transaction: Transaction,
    /// The code for the app, or the reason.
    pub result: Result<String, Failure>,
}

impl Auth {
    /// # Errors
    /// 503 `OAUTH_PROVIDER_NOT_CONFIGURED`.
    pub(super) fn google(&self) -> Result<&Provider, AuthError> {
        self.google.as_ref().ok_or(AuthError::OauthNotConfigured)
    }

    /// Begins a sign-in; answers where the browser goes.
    ///
    /// # Errors
    /// 503 when Google is not configured or does not answer.
    pub(super) async fn begin_google(&self, transaction: &Transaction, login_hint: Option<&str>) -> ApiResult<String> {
        let provider = self.google()?;
        let state = secret::generate();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(self.derived("verifier", &state)));
        let (nonce, callback) = (self.derived("nonce", &state), self.callback_url());
        let mut parameters = vec![
            ("redirect_uri", callback.as_str()),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        parameters.extend(login_hint.map(|hint| ("login_hint", hint)));
        let url = provider.authorization_url(&parameters).await.map_err(|error| {
            ApiError::unavailable("The sign-in provider does not answer. Try again shortly.").caused_by(error)
        })?;
        let expires_at = self.clock.now().plus(SignedDuration::from_secs(EXPIRES_IN));
        store::oauth::begin(&**self.connection().await?, &secret::digest(&state), transaction, expires_at).await?;
        Ok(url.into())
    }

    /// Ends Google's leg. `None`: the state is unknown, used or expired, so nobody can be told.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn finish_google(&self, state: &str, code: Option<&str>) -> ApiResult<Option<Outcome>> {
        let now = self.clock.now();
        let taken = store::oauth::take(&**self.connection().await?, &secret::digest(state), now).await?;
        let Some(transaction) = taken else { return Ok(None) };
        let result = match (code, self.google()) {
            (Some(code), Ok(provider)) => {
                let (verifier, nonce) = (self.derived("verifier", state), self.derived("nonce", state));
                match provider.person(code, &verifier, &self.callback_url(), &nonce).await {
                    Ok(person) => self.welcome(&transaction, &person).await?,
                    Err(error) => {
                        tracing::warn!(%error, "sign-in with Google failed");
                        Err(match error {
                            ProviderError::IdToken(_) => Failure::InvalidIdToken,
                            _ => Failure::TokenExchangeFailed,
                        })
                    }
                }
            }
            _ => Err(Failure::AccessDenied),
        };
        Ok(Some(Outcome { transaction, result }))
    }

    /// Finds or makes the person's account and a code for it, in one transaction.
    async fn welcome(&self, transaction: &Transaction, person: &Person) -> ApiResult<Result<String, Failure>> {
        let now = self.clock.now();
        let code = secret::generate();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let Account { user, made } = match self.account_of(&tx, transaction, person).await? {
            Ok(account) => account,
            Err(failure) => return Ok(Err(failure)),
        };
        let (origin, cookie_hash) = match &transaction.delivery {
            Delivery::Hosted { origin, cookie_hash, .. } => (Some(origin.clone()), Some(cookie_hash.clone())),
            Delivery::Redirect | Delivery::Popup => (None, None),
        };
        let row = Code {
            user,
            code_challenge: transaction.code_challenge.clone(),
            return_to: origin.is_some().then(|| transaction.redirect_url.clone()),
            origin,
            cookie_hash,
        };
        let expires_at = now.plus(SignedDuration::from_secs(CODE_SECONDS));
        store::oauth::insert_code(&*tx, &transaction.project, &secret::digest(&code), &row, expires_at).await?;
        tx.commit().await?;
        if let Some(made) = made {
            self.announce(&made);
        }
        Ok(Ok(code))
    }

    /// Account resolution in the order of 06 §7.2.
    async fn account_of(
        &self,
        tx: &DbTransaction<'_>,
        transaction: &Transaction,
        person: &Person,
    ) -> ApiResult<Result<Account, Failure>> {
        let (project, now) = (&transaction.project, self.clock.now());
        let settings = store::settings::read(tx, project).await?;
        let email = person.email.as_deref().and_then(|email| EmailAddress::parse(email).ok());
        if !domain_allowed(&settings, email.as_ref(), person.email_verified) {
            return Ok(Err(Failure::DomainNotAllowed));
        }
        let amr = [method::GOOGLE.to_owned()];
        let vouched = Vouched {
            provider: PROVIDER,
            subject: &person.sub,
            email: email.as_ref().map(EmailAddress::as_str),
            email_verified: person.email_verified,
            amr: &amr,
        };
        let known = store::oauth::identity_user(tx, project, &vouched, now).await?;
        let account = match (known, transaction.linking_user) {
            (Some(user), Some(linking)) if user != linking => return Ok(Err(Failure::IdentityAlreadyLinked)),
            (Some(user), _) => Account { user, made: None },
            (None, Some(linking)) => {
                if !store::oauth::link_identity(tx, project, linking, &vouched, now).await? {
                    return Ok(Err(Failure::IdentityAlreadyLinked));
                }
                let details = serde_json::json!({"provider": PROVIDER});
                store::users::audit(tx, project, Some(linking), "identity_linked", &details, now).await?;
                Account { user: linking, made: None }
            }
            (None, None) => match self.newcomer(tx, project, &settings, &vouched, person).await? {
                Ok(account) => account,
                Err(failure) => return Ok(Err(failure)),
            },
        };
        self.learn(tx, project, account.user, &vouched, person).await?;
        Ok(Ok(account))
    }

    /// The account of a person whose identity is new here.
    async fn newcomer(
        &self,
        tx: &DbTransaction<'_>,
        project: &ProjectId,
        settings: &PoolSettings,
        vouched: &Vouched<'_>,
        person: &Person,
    ) -> ApiResult<Result<Account, Failure>> {
        let now = self.clock.now();
        let same_email = match vouched.email {
            Some(email) => store::users::by_email(tx, project, email).await?,
            None => None,
        };
        let account = match (same_email, settings.public_signup) {
            // A row made ahead for this very address; nobody has ever signed in with it.
            (Some(user), PublicSignup::KnownEmail)
                if vouched.email_verified && user.password_hash.is_none() && user.email_verified_at.is_none() =>
            {
                Account { user: user.id, made: None }
            }
            (Some(_), _) => return Ok(Err(Failure::AccountExistsRequiresLink)),
            (None, PublicSignup::KnownEmail | PublicSignup::InviteOnly) => return Ok(Err(Failure::SignupNotAllowed)),
            (None, PublicSignup::Open) => {
                let new = NewUser {
                    project,
                    email: vouched.email,
                    password_hash: None,
                    verified: vouched.email_verified,
                    is_admin: false,
                    display_name: person.name.as_deref(),
                    avatar_url: person.picture.as_deref(),
                };
                match store::users::insert(tx, &new, now).await? {
                    Some(user) => Account { user: user.id, made: Some(user) },
                    None => return Ok(Err(Failure::AccountExistsRequiresLink)),
                }
            }
        };
        if !store::oauth::link_identity(tx, project, account.user, vouched, now).await? {
            return Ok(Err(Failure::IdentityAlreadyLinked));
        }
        Ok(Ok(account))
    }

    /// Fills in what the account lacks and the provider knows.
    async fn learn(
        &self,
        tx: &DbTransaction<'_>,
        project: &ProjectId,
        user: Uuid,
        vouched: &Vouched<'_>,
        person: &Person,
    ) -> ApiResult<()> {
        let Some(found) = store::users::by_id(tx, project, user).await? else { return Ok(()) };
        let is_same = found.email.is_some() && found.email.as_deref() == vouched.email && vouched.email_verified;
        let (name, picture) = (person.name.as_deref(), person.picture.as_deref());
        store::users::fill_in(tx, user, is_same, name, picture, self.clock.now()).await?;
        Ok(())
    }

    /// The user of a code of an app.
    ///
    /// # Errors
    /// 401 `R402_AUTH_OAUTH_HANDOFF_INVALID`, 403 `R402_AUTH_DOMAIN_NOT_ALLOWED`.
    pub(super) async fn code_grant(
        &self,
        project: &Project,
        code: &str,
        verifier: Option<&str>,
        client: &Client,
    ) -> ApiResult<SessionResult> {
        self.prepare_keys(&project.id).await?;
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let taken =
            store::oauth::take_code(&**connection, &project.id, &secret::digest(code), self.clock.now()).await?;
        let row = taken.filter(|row| row.origin.is_none() && pkce_matches(row.code_challenge.as_deref(), verifier));
        let row = row.ok_or(AuthError::OauthHandoffInvalid)?;
        let tx = connection.transaction().await?;
        let user = store::users::for_session(&*tx, &project.id, row.user).await?;
        let user: User = user.ok_or(AuthError::OauthHandoffInvalid)?;
        self.still_allowed(&tx, &settings, &user).await?;
        let occasion = Occasion { provider: Some(PROVIDER), magic_link: None };
        let result = self.sign_in(&tx, &user, &Proof::by(method::GOOGLE), &settings, client, occasion).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// The allow-list may have changed since the callback; it also holds for the address Google vouched for then.
    pub(super) async fn still_allowed(
        &self,
        tx: &DbTransaction<'_>,
        settings: &PoolSettings,
        user: &User,
    ) -> ApiResult<()> {
        if settings.allowed_email_domains.is_empty() {
            return Ok(());
        }
        let identities = store::users::identities(tx, user.id).await?;
        let google = identities.iter().filter(|one| one.provider == PROVIDER);
        let allowed = google.filter_map(|one| EmailAddress::parse(one.provider_email.as_deref()?).ok());
        if allowed.into_iter().any(|email| domain_allowed(settings, Some(&email), true)) {
            Ok(())
        } else {
            Err(AuthError::DomainNotAllowed.into())
        }
    }

    /// The URL to register at Google.
    fn callback_url(&self) -> String {
        format!("{}{CALLBACK}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// A secret of one sign-in, known to nobody who has only the state.
    fn derived(&self, purpose: &str, state: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac_sha256(&self.pepper, format!("oauth {purpose} {state}").as_bytes()))
    }
}

fn domain_allowed(settings: &PoolSettings, email: Option<&EmailAddress>, verified: bool) -> bool {
    settings.allowed_email_domains.is_empty()
        || (verified && email.is_some_and(|email| settings.allowed_email_domains.iter().any(|d| d == email.domain())))
}

/// RFC 7636 §4.6, method S256. Without a challenge no verifier is asked for.
fn pkce_matches(challenge: Option<&str>, verifier: Option<&str>) -> bool {
    match (challenge, verifier) {
        (None, _) => true,
        (Some(challenge), Some(verifier)) => {
            let computed = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
            computed.as_bytes().ct_eq(challenge.as_bytes()).into()
        }
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_wants_its_verifier() {
        // RFC 7636 appendix B.
        let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(pkce_matches(challenge, Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")));
        assert!(!pkce_matches(challenge, Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")));
        assert!(!pkce_matches(challenge, None));
        assert!(pkce_matches(None, None) && pkce_matches(None, Some("x")));
    }

    #[test]
    fn allowed_domains_want_a_verified_address() {
        let email = |text| EmailAddress::parse(text).ok();
        let limited = PoolSettings { allowed_email_domains: vec!["example.com".into()], ..PoolSettings::default() };
        assert!(domain_allowed(&limited, email("a@example.com").as_ref(), true));
        for (address, verified) in
            [("a@example.com", false), ("a@sub.example.com", true), ("a@example.com.evil.example", true)]
        {
            assert!(!domain_allowed(&limited, email(address).as_ref(), verified), "{address} {verified}");
        }
        assert!(!domain_allowed(&limited, None, true));
        assert!(domain_allowed(&PoolSettings::default(), None, false));
    }
}
