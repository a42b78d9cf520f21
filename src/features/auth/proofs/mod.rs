//! Browser sessions from a proof that the box verifies itself (contract 06 §10.5): a wallet's message, or an id token
//! of an issuer that the operator configured for the project. A proof signs in once.

mod wallet;

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    email::EmailAddress,
    error::{AuthError, bad_field},
    hosted::{Site, Visitor},
    routed::Minted,
    service::Auth,
    store::{self, oauth::Vouched},
    tenants::Newcomer,
    types::{Client, Proof, PublicSignup},
};
use crate::common::{ApiResult, ProjectId, Timestamp, WalletAddress};

const MAX_SUBJECT: usize = 512;

/// Who vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wallet,
    Oidc,
    /// A verifier of the project's own; there is none to register here.
    Custom,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Oidc => "oidc",
            Self::Custom => "custom",
        }
    }

    /// `kind` of its proof.
    fn proof(self) -> &'static str {
        match self {
            Self::Wallet => "siwx",
            Self::Oidc => "oidc_jwt",
            Self::Custom => "custom",
        }
    }
}

/// What a client says he is.
#[derive(Debug)]
pub(super) struct Claimed {
    kind: Kind,
    subject: String,
    proof: Option<Map<String, Value>>,
    amr: Vec<String>,
    create: bool,
}

impl Claimed {
    /// Reads the body of `from-identity`.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST` naming the field.
    pub fn parse(body: &Map<String, Value>) -> ApiResult<Self> {
        let kind = match body.get("provider").and_then(Value::as_str) {
            Some("wallet") => Kind::Wallet,
            Some("oidc") => Kind::Oidc,
            Some("custom") => Kind::Custom,
            _ => return Err(bad_field("provider", "provider must be wallet, oidc or custom.")),
        };
        let subject = body.get("subject").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(bad_field("subject", "subject must have 1 to 512 bytes."));
        }
        let amr = match body.get("amr") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => {
                serde_json::from_value(value.clone()).map_err(|_| bad_field("amr", "amr must be a list of strings."))?
            }
        };
        let create = match body.get("createUser") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(create)) => *create,
            Some(_) => return Err(bad_field("createUser", "createUser must be true or false.")),
        };
        let proof = match body.get("proof") {
            None | Some(Value::Null) => None,
            Some(Value::Object(proof)) => Some(proof.clone()),
            Some(_) => return Err(bad_field("proof", "proof must be an object.")),
        };
        Ok(Self { kind, subject: subject.to_owned(), proof, amr, create })
    }

    /// A text of the proof.
    fn text(&self, name: &str) -> Option<&str> {
        self.proof.as_ref()?.get(name)?.as_str()
    }

    /// What the proof proves of the methods that were claimed.
    fn proved(&self) -> Vec<String> {
        let own = self.kind.as_str();
        let claimed = self.amr.iter().filter(|one| *one == own).take(1).cloned().collect::<Vec<_>>();
        if claimed.is_empty() { vec![own.to_owned()] } else { claimed }
    }
}

/// A proof that holds.
struct Proved {
    subject: String,
    email: Option<EmailAddress>,
    email_verified: bool,
    name: Option<String>,
    picture: Option<String>,
    /// Marks the proof as used up until then.
    digest: [u8; 32],
    expires_at: Timestamp,
}

impl Auth {
    /// Signs a browser in by a proof of identity.
    ///
    /// # Errors
    /// 401 `R402_AUTH_SESSION_BRIDGE_UNVERIFIED`, 401 `R402_AUTH_UNKNOWN_IDENTITY`, 403 `SIGNUP_DISABLED`, 409
    /// `R402_AUTH_IDENTITY_LINK_CONFLICT`, 400 `R402_AUTH_RESERVED_EMAIL_DOMAIN`.
    pub(super) async fn sign_in_by_identity(
        &self,
        site: &Site,
        headers: &HeaderMap,
        claimed: &Claimed,
        client: &Client,
    ) -> ApiResult<Minted> {
        let proved = self.proved(site, claimed).await?;
        let visitor = self.visitor(site, headers).await?;
        let amr = claimed.proved();
        let newcomer = Newcomer {
            vouched: Vouched {
                provider: claimed.kind.as_str(),
                subject: &proved.subject,
                email: proved.email.as_ref().map(EmailAddress::as_str),
                email_verified: proved.email_verified,
                amr: &amr,
            },
            display_name: proved.name.as_deref(),
            avatar_url: proved.picture.as_deref(),
        };
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        if !store::proofs::use_up(&*tx, &proved.digest, proved.expires_at).await? {
            return Err(AuthError::SessionBridgeUnverified.into());
        }
        let (user, is_new) = match self.known_user(&tx, &site.project, &newcomer.vouched).await? {
            Some(user) => (user, false),
            None if !claimed.create => return Err(AuthError::UnknownIdentity.into()),
            None if store::settings::read(&*tx, &site.project).await?.public_signup != PublicSignup::Open => {
                return Err(AuthError::SignupDisabled.into());
            }
            None => (self.make_user(&tx, &site.project, &newcomer).await?, true),
        };
        if let Visitor::SignedIn(visit) = &visitor
            && visit.user.id != user.id
        {
            return Err(AuthError::IdentityLinkConflict.into());
        }
        let cookie = self.sign_in_browser(&tx, site, headers, &user, &Proof { amr: amr.clone() }, client).await?;
        tx.commit().await?;
        if is_new {
            self.announce(&user);
        }
        Ok(Minted { body: json!({"ok": true, "user": {"id": user.id, "email": user.email}}), cookie })
    }

    /// Whether the proof holds for this site.
    async fn proved(&self, site: &Site, claimed: &Claimed) -> Result<Proved, AuthError> {
        if claimed.text("kind") != Some(claimed.kind.proof()) {
            return Err(AuthError::SessionBridgeUnverified);
        }
        let proved = match claimed.kind {
            Kind::Wallet => self.proved_wallet(site, claimed),
            Kind::Oidc => self.proved_token(site, claimed).await,
            Kind::Custom => None,
        };
        proved.ok_or(AuthError::SessionBridgeUnverified)
    }

    fn proved_wallet(&self, site: &Site, claimed: &Claimed) -> Option<Proved> {
        let now = self.clock.now();
        let (message, signature) = (claimed.text("message")?, claimed.text("signature")?);
        let (wallet, nonce) = wallet::verify(message, signature, &site.origin, now)?;
        let asserted: WalletAddress = claimed.subject.parse().ok()?;
        if asserted != wallet || claimed.text("nonce").is_some_and(|given| given != nonce) {
            return None;
        }
        Some(Proved {
            subject: claimed.subject.to_ascii_lowercase(),
            email: None,
            email_verified: false,
            name: None,
            picture: None,
            digest: digest(&site.project, claimed.kind, &format!("{} {nonce}", claimed.subject.to_ascii_lowercase())),
            // Its clock may run a minute ahead; twice its life covers that.
            expires_at: now.plus(wallet::LIFE * 2),
        })
    }

    async fn proved_token(&self, site: &Site, claimed: &Claimed) -> Option<Proved> {
        let token = claimed.text("token")?;
        let provider = self.issuers.of(&site.project)?;
        let person = provider.verify(token, claimed.text("nonce")).await;
        let person = person.inspect_err(|error| tracing::info!(%error, "an id token was refused")).ok()?;
        if person.sub != claimed.subject {
            return None;
        }
        Some(Proved {
            subject: person.sub.clone(),
            email: person.email.as_deref().and_then(|email| EmailAddress::parse(email).ok()),
            email_verified: person.email_verified,
            name: person.name.clone(),
            picture: person.picture.clone(),
            digest: digest(&site.project, claimed.kind, token),
            // The token's own end and what clocks may differ.
            expires_at: Timestamp::from_millis(person.exp.saturating_add(120).saturating_mul(1000))?,
        })
    }
}

/// Names a proof among those that were used up.
fn digest(project: &ProjectId, kind: Kind, proof: &str) -> [u8; 32] {
    Sha256::digest(format!("{project} {} {proof}", kind.as_str()).as_bytes()).into()
}
