//! Sessions of users whom somebody else vouches for: a function that owns its users' credentials (contract 06 §10.6),
//! or a proof that the box verifies itself ([`super::proofs`], 06 §10.5).
//!
//! Such a user is found by provider and subject alone, never by his address: whoever vouches for an address has not
//! proved it.

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use tokio_postgres::Transaction;

use super::{
    email::EmailAddress,
    error::AuthError,
    hosted::Site,
    routed::Minted,
    service::Auth,
    store::{self, oauth::Vouched, users::NewUser},
    types::{Client, Proof, User, method},
};
use crate::common::{ApiError, ApiResult, ProjectId};

/// What the provider of an asserted identity begins with.
pub(super) const TENANT_PREFIX: &str = "tenant:";
/// Longest directive, tenant and subject, in bytes; the last two also fit their columns.
const MAX_DIRECTIVE: usize = 8 * 1024;
const MAX_TENANT: usize = 128;
const MAX_SUBJECT: usize = 512;
const MAX_NAME: usize = 200;
const MAX_URL: usize = 2048;
const MAX_METHODS: usize = 8;
const MAX_METHOD: usize = 64;
/// Ways of signing in that only this box verifies.
const OWN_METHODS: [&str; 7] =
    [method::PASSWORD, method::MAGIC_LINK, method::GOOGLE, method::PASSKEY, "wallet", "oidc", "custom"];
/// Domain of the cloud, whose addresses are no app user's.
const CLOUD_DOMAIN: &str = "run402.com";

/// A user as a function vouches for him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assertion {
    tenant: String,
    subject: String,
    email: Option<EmailAddress>,
    email_verified: bool,
    display_name: Option<String>,
    avatar_url: Option<String>,
    amr: Vec<String>,
}

/// The directive's JSON.
#[derive(Deserialize)]
struct Directive {
    v: u8,
    tenant: String,
    user: DirectiveUser,
    method: String,
    advanced: Option<Advanced>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectiveUser {
    id: String,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    display_name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Advanced {
    amr: Option<Vec<String>>,
}

impl Assertion {
    /// Reads `x-run402-mint-directive`.
    ///
    /// # Errors
    /// 400 `R402_AUTH_TENANT_SUBJECT_INVALID`.
    pub fn parse(directive: &[u8]) -> Result<Self, AuthError> {
        let invalid = AuthError::TenantSubjectInvalid;
        if directive.len() > MAX_DIRECTIVE {
            return Err(invalid);
        }
        let text: Vec<u8> = directive.iter().copied().filter(|byte| *byte != b'=').collect();
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid)?;
        let directive: Directive = serde_json::from_slice(&json).map_err(|_| invalid)?;
        let Directive { v, tenant, user, method, advanced } = directive;
        let tenant = tenant.trim().to_owned();
        let email = match user.email.as_deref().map(str::trim).filter(|email| !email.is_empty()) {
            Some(email) => Some(EmailAddress::parse(email).map_err(|_| invalid)?),
            None => None,
        };
        let is_address = email.as_ref().is_some_and(|email| user.id.trim().to_lowercase() == email.as_str());
        let method = match method.as_str() {
            "password" => "tenant_password",
            "sso" => "tenant_sso",
            _ => return Err(invalid),
        };
        if v != 1
            || !is_word(&tenant, MAX_TENANT)
            || !is_word(&user.id, MAX_SUBJECT)
            || user.id.trim().is_empty()
            || is_address
        {
            return Err(invalid);
        }
        let amr = match advanced.and_then(|advanced| advanced.amr).filter(|amr| !amr.is_empty()) {
            Some(amr) if amr.len() <= MAX_METHODS && amr.iter().all(|one| is_word(one, MAX_METHOD)) => amr,
            Some(_) => return Err(invalid),
            None => vec![method.to_owned()],
        };
        let is_url = |text: &String| text.len() <= MAX_URL && super::redirects::plain_url(text).is_some();
        Ok(Self {
            tenant,
            subject: user.id,
            email,
            email_verified: user.email_verified,
            display_name: user.display_name.map(|name| name.replace('\0', "").chars().take(MAX_NAME).collect()),
            avatar_url: user.avatar_url.filter(is_url),
            amr,
        })
    }

    /// Methods it claims that are not the function's to claim.
    fn claims_own_method(&self) -> bool {
        self.amr.iter().any(|one| OWN_METHODS.contains(&one.as_str()))
    }
}

/// Text without control characters, not empty, within so many bytes.
fn is_word(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

/// A user to find, or to make, by what was vouched for.
pub(super) struct Newcomer<'a> {
    pub vouched: Vouched<'a>,
    pub display_name: Option<&'a str>,
    pub avatar_url: Option<&'a str>,
}

impl Auth {
    /// Signs the asserted user in on this browser.
    ///
    /// # Errors
    /// 400 `R402_AUTH_RESERVED_EMAIL_DOMAIN`, 403 `R402_AUTH_UNTRUSTED_CONTEXT`.
    pub(super) async fn assert_user(
        &self,
        site: &Site,
        headers: &HeaderMap,
        assertion: &Assertion,
        client: &Client,
    ) -> ApiResult<Minted> {
        let now = self.clock.now();
        let provider = format!("{TENANT_PREFIX}{}", assertion.tenant);
        let newcomer = Newcomer {
            vouched: Vouched {
                provider: &provider,
                subject: &assertion.subject,
                email: assertion.email.as_ref().map(EmailAddress::as_str),
                email_verified: assertion.email_verified,
                amr: &assertion.amr,
            },
            display_name: assertion.display_name.as_deref(),
            avatar_url: assertion.avatar_url.as_deref(),
        };
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let user = match self.known_user(&tx, &site.project, &newcomer.vouched).await? {
            Some(user) => user,
            None => self.make_user(&tx, &site.project, &newcomer).await?,
        };
        if assertion.claims_own_method() && !user.is_test {
            return Err(AuthError::UntrustedMethod.into());
        }
        let proof = Proof { amr: assertion.amr.clone() };
        let cookie = self.sign_in_browser(&tx, site, headers, &user, &proof, client).await?;
        let details = json!({"tenant": assertion.tenant, "amr": assertion.amr});
        store::users::audit(&*tx, &site.project, Some(user.id), "session_minted", &details, now).await?;
        tx.commit().await?;
        let email = user.email.as_deref().or(newcomer.vouched.email);
        Ok(Minted { body: json!({"ok": true, "user": {"id": user.id, "email": email}}), cookie })
    }

    /// The user of an identity, held until the transaction ends.
    pub(super) async fn known_user(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        vouched: &Vouched<'_>,
    ) -> ApiResult<Option<User>> {
        let Some(id) = store::oauth::identity_user(tx, project, vouched, self.clock.now()).await? else {
            return Ok(None);
        };
        Ok(store::users::for_session(tx, project, id).await?)
    }

    /// A user with this identity. An address that has an account stays that account's: the new one has none.
    ///
    /// # Errors
    /// 400 `R402_AUTH_RESERVED_EMAIL_DOMAIN`; 409 when the same identity was made at the same moment.
    pub(super) async fn make_user(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        newcomer: &Newcomer<'_>,
    ) -> ApiResult<User> {
        let now = self.clock.now();
        let Newcomer { vouched, display_name, avatar_url } = newcomer;
        if vouched.email.is_some_and(|email| self.is_reserved(email)) {
            return Err(AuthError::ReservedEmailDomain.into());
        }
        let new = NewUser {
            project,
            email: vouched.email,
            password_hash: None,
            verified: vouched.email.is_some() && vouched.email_verified,
            is_admin: false,
            display_name: *display_name,
            avatar_url: *avatar_url,
        };
        let user = match store::users::insert(tx, &new, now).await? {
            Some(user) => user,
            None => {
                let nameless = NewUser { email: None, verified: false, ..new };
                store::users::insert(tx, &nameless, now)
                    .await?
                    .ok_or_else(|| ApiError::internal("a user without an address met a conflict"))?
            }
        };
        if !store::oauth::link_identity(tx, project, user.id, vouched, now).await? {
            return Err(ApiError::conflict("CONFLICT", "This user was made just now. Send the request again."));
        }
        Ok(user)
    }

    /// Whether an address is of a domain that is not for app users: below the box's own, where its mailboxes and
    /// sites are, or the cloud's.
    fn is_reserved(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        let below = |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
        below(&self.domain) || below(CLOUD_DOMAIN) || domain == CLOUD_DOMAIN
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(changes: Value) -> Result<Assertion, AuthError> {
        let mut directive = json!({
            "v": 1, "tenant": "t", "user": {"id": "42", "email": "A@B.co", "emailVerified": true}, "method": "password",
        });
        for (path, value) in changes.as_object().unwrap() {
            *directive.pointer_mut(path).unwrap_or(&mut Value::Null) = value.clone();
            if let Some(name) = path.strip_prefix("/+") {
                directive[name] = value.clone();
            }
        }
        Assertion::parse(URL_SAFE_NO_PAD.encode(directive.to_string()).as_bytes())
    }

    #[test]
    fn a_directive_names_tenant_user_and_method() {
        let assertion = parse(json!({})).unwrap();
        assert_eq!((assertion.tenant.as_str(), assertion.subject.as_str()), ("t", "42"));
        assert_eq!(assertion.email.as_ref().map(EmailAddress::as_str), Some("a@b.co"));
        assert_eq!(assertion.amr, ["tenant_password"]);
        assert_eq!(parse(json!({"/method": "sso"})).unwrap().amr, ["tenant_sso"]);
        let told = parse(json!({"/+advanced": {"amr": ["passkey"]}})).unwrap();
        assert!(told.amr == ["passkey"] && told.claims_own_method());
        assert!(!parse(json!({"/+advanced": {"amr": ["acme_otp"]}})).unwrap().claims_own_method());
        assert_eq!(parse(json!({"/user/email": null})).unwrap().email, None);
    }

    #[test]
    fn a_directive_that_is_not_clear_about_its_user_is_refused() {
        let long = "x".repeat(MAX_SUBJECT + 1);
        for changes in [
            json!({"/v": 2}),
            json!({"/tenant": ""}),
            json!({"/tenant": "  "}),
            json!({"/tenant": "x".repeat(MAX_TENANT + 1)}),
            json!({"/tenant": "a\u{0}b"}),
            json!({"/tenant": null}),
            json!({"/user": null}),
            json!({"/user/id": ""}),
            json!({"/user/id": " "}),
            json!({"/user/id": 42}),
            json!({"/user/id": "a@b.co"}),
            json!({"/user/id": " A@B.CO "}),
            json!({"/user/id": long}),
            json!({"/user/email": "no address"}),
            json!({"/method": "passkey"}),
            json!({"/method": null}),
            json!({"/+advanced": {"amr": [""]}}),
            json!({"/+advanced": {"amr": vec!["x"; MAX_METHODS + 1]}}),
            json!({"/+advanced": {"amr": "x"}}),
        ] {
            assert_eq!(parse(changes.clone()), Err(AuthError::TenantSubjectInvalid), "{changes}");
        }
        for bytes in [&b""[..], b"{}", b"!!!!", &[0xff; 9], &[b'A'; MAX_DIRECTIVE + 4]] {
            assert_eq!(Assertion::parse(bytes), Err(AuthError::TenantSubjectInvalid));
        }
    }
}
