//! Passkeys (contract 06 §8): WebAuthn ceremonies through the library `webauthn_rp`, stored between their two halves
//! so that a restart loses none and each is used once.
//!
//! The relying party is the exact host of the app's origin: no parent domain, no other project's host. The library's
//! challenges have 16 random bytes.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use serde_json::{Value, json};
use url::Host;
use uuid::Uuid;
use webauthn_rp::{
    AuthenticatedCredential, DiscoverableAuthenticationServerState, DiscoverableCredentialRequestOptions,
    PublicKeyCredentialCreationOptions, RegistrationServerState,
    bin::{Decode, Encode},
    request::{
        AsciiDomain, BackupReq, PublicKeyCredentialDescriptor, RpId,
        auth::AuthenticationVerificationOptions,
        register::{
            CoseAlgorithmIdentifier, CredProtect, Extension, Nickname, PublicKeyCredentialUserEntity,
            RegistrationVerificationOptions, UserHandle, Username,
        },
    },
    response::{
        AuthTransports, Backup, CredentialId,
        auth::ser_relaxed::AuthenticationRelaxed,
        register::{CompressedPubKey, DynamicState, StaticState, ser_relaxed::RegistrationRelaxed},
    },
};

use super::{
    error::{AuthError, bad_field},
    limits::{Rule, network},
    redirects::plain_url,
    service::Auth,
    store::{self, passkeys::Challenge},
    tokens::Occasion,
    types::{Client, Passkey, Proof, SessionResult, User, method},
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{hosts::Bound, projects::Project},
};

/// Life of a challenge.
const LIFE: SignedDuration = SignedDuration::from_mins(5);
/// What the browser is told, in milliseconds.
const TIMEOUT: u32 = 60_000;
const MAX_LABEL: usize = 100;
/// Passkeys one user may have.
const MAX_PASSKEYS: usize = 100;
const TRANSPORTS: [&str; 6] = ["ble", "hybrid", "internal", "nfc", "smart-card", "usb"];

type Handle = UserHandle<16>;
type PublicKey = CompressedPubKey<[u8; 32], [u8; 32], [u8; 48], Vec<u8>>;

/// Where a ceremony takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelyingParty {
    pub origin: String,
    /// The host, without port.
    pub id: String,
}

impl RelyingParty {
    /// The origin in an `app_origin`, whoever may use it.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST` when it is not an origin that can have passkeys.
    pub fn parse(text: &str) -> ApiResult<Self> {
        let refused = || bad_field("app_origin", "app_origin must be an origin such as https://app.example.com.");
        let url = plain_url(text).ok_or_else(refused)?;
        let Some(Host::Domain(host)) = url.host() else { return Err(refused()) };
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !text.ends_with('/');
        if !is_bare || host.ends_with('.') || (url.scheme() == "http" && !is_loopback(host)) {
            return Err(refused());
        }
        Ok(Self { origin: url.origin().ascii_serialization(), id: host.to_owned() })
    }

    fn rp_id(&self) -> Result<RpId, ApiError> {
        AsciiDomain::try_from(self.id.clone()).map(RpId::Domain).map_err(ApiError::internal)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

impl Auth {
    /// The relying party of a machine call.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST` for an origin that is not this project's, or not the one the browser names.
    pub(super) fn relying_party(
        &self,
        project: &ProjectId,
        app_origin: &str,
        origin: Option<&str>,
    ) -> ApiResult<RelyingParty> {
        let party = RelyingParty::parse(app_origin)?;
        if origin.is_some_and(|origin| origin != party.origin) {
            return Err(bad_field("app_origin", "app_origin must be the origin the request comes from."));
        }
        let allowed = self.hosts.resolve(&party.id).is_ok_and(|bound| match (bound.owner(), &bound) {
            (Some(owner), _) => owner == project,
            (None, Bound::Project(_) | Bound::Deployment(_)) => false,
            // The machine of a developer; the bare name is his, also where it is this box's base domain.
            (None, _) => is_loopback(&party.id),
        });
        if allowed {
            Ok(party)
        } else {
            Err(bad_field("app_origin", "app_origin must be a host of this project or localhost."))
        }
    }

    /// Begins a registration.
    ///
    /// # Errors
    /// 429; 400 when the user has too many.
    pub(super) async fn begin_passkey_registration(
        &self,
        user: &User,
        party: &RelyingParty,
        client: &Client,
    ) -> ApiResult<Value> {
        self.limits.take(Rule::PasskeyOptions, &[&network(client.ip)])?;
        let connection = self.connection().await?;
        let known = store::passkeys::of_user(&**connection, user.id).await?;
        if known.len() >= MAX_PASSKEYS {
            return Err(bad_field("challenge_id", "This account has too many passkeys. Remove one first."));
        }
        let id = user.id.to_string();
        let name = user.email.as_deref().and_then(|email| Username::try_from(email).ok());
        let name = name.or_else(|| Username::try_from(id.as_str()).ok());
        let name = name.ok_or_else(|| ApiError::internal("a user id is no user name"))?;
        let display_name = user.display_name.as_deref().and_then(|name| Nickname::try_from(name).ok());
        let exclude = known.iter().filter(|passkey| passkey.rp_id == party.id).filter_map(descriptor).collect();
        let rp_id = party.rp_id()?;
        let handle = handle_of(user.id)?;
        let entity = PublicKeyCredentialUserEntity { name, id: &handle, display_name };
        let mut options = PublicKeyCredentialCreationOptions::passkey(&rp_id, entity, exclude);
        options.timeout = ceremony_timeout();
        options.pub_key_cred_params = options.pub_key_cred_params.remove(CoseAlgorithmIdentifier::Es384);
        options.extensions =
            Extension { cred_props: None, cred_protect: CredProtect::None, min_pin_length: None, prf: None };
        let (server, shown) = options.start_ceremony().map_err(ApiError::internal)?;
        let mut shown = serde_json::to_value(&shown).map_err(ApiError::internal)?;
        let name = user.display_name.clone().unwrap_or_else(|| user.email_text());
        let mut options = public_key(&mut shown);
        options["timeout"] = json!(TIMEOUT);
        options["attestation"] = json!("none");
        options["rp"] = json!({"id": party.id, "name": party.id});
        options["user"]["displayName"] = json!(name);
        let state = server.encode().map_err(ApiError::internal)?;
        let id = self.keep_challenge(&connection, user, Some(user.id), "register", party, state).await?;
        Ok(json!({"challenge_id": id, "options": options}))
    }

    /// Ends a registration.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST`, 400 `R402_AUTH_PASSKEY_CHALLENGE_INVALID`, 409 `PASSKEY_ALREADY_REGISTERED`.
    pub(super) async fn finish_passkey_registration(
        &self,
        user: &User,
        challenge_id: &str,
        response: &Value,
        label: Option<&str>,
    ) -> ApiResult<Passkey> {
        let label = label.map(str::trim).filter(|label| !label.is_empty());
        if label.is_some_and(|label| label.chars().count() > MAX_LABEL || label.contains('\0')) {
            return Err(bad_field("label", "label must have at most 100 characters."));
        }
        let challenge = self.take_challenge(&user.project, "register", challenge_id).await?;
        if challenge.user != Some(user.id) {
            return Err(AuthError::PasskeyChallengeInvalid.into());
        }
        let transports = transports_in(response);
        let mut response = response.clone();
        // Newer browsers name transports that the library does not know yet; they are hints only.
        if let Some(attestation) = response.get_mut("response").filter(|part| part.is_object()) {
            attestation["transports"] = json!(transports);
        }
        let text = serde_json::to_vec(&response).map_err(ApiError::internal)?;
        let registration: RegistrationRelaxed = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
        let party = RelyingParty { origin: challenge.origin, id: challenge.rp_id };
        let server = RegistrationServerState::<16>::decode(&challenge.state).map_err(ApiError::internal)?;
        let origins = [party.origin.as_str()];
        let rules = RegistrationVerificationOptions::<&str, &str> {
            allowed_origins: &origins,
            allowed_top_origins: None,
            backup_requirement: BackupReq::None,
            error_on_unsolicited_extensions: false,
            require_authenticator_attachment: false,
            client_data_json_relaxed: true,
        };
        let credential = server.verify(&party.rp_id()?, &registration.0, &rules).map_err(|error| refused(&error))?;
        let dynamic = credential.dynamic_state();
        let passkey = Passkey {
            id: Uuid::new_v4(),
            user: user.id,
            credential_id: credential.id().as_ref().to_vec(),
            rp_id: party.id,
            created_origin: party.origin,
            last_used_origin: None,
            transports,
            label: label.map(str::to_owned),
            static_state: credential.static_state().encode().map_err(ApiError::internal)?,
            dynamic_state: encoded(dynamic)?,
            device_type: Some(device_type(dynamic.backup).to_owned()),
            backed_up: Some(matches!(dynamic.backup, Backup::Exists)),
            created_at: self.clock.now(),
            last_used_at: None,
        };
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        if !store::passkeys::insert(&*tx, &user.project, &passkey).await? {
            return Err(AuthError::PasskeyAlreadyRegistered.into());
        }
        let details = json!({"passkey_id": passkey.id});
        store::users::audit(&*tx, &user.project, Some(user.id), "passkey_added", &details, passkey.created_at).await?;
        tx.commit().await?;
        Ok(passkey)
    }

    /// Begins a login. An unknown address gets what a user without passkeys gets.
    ///
    /// # Errors
    /// 429
    pub(super) async fn begin_passkey_login(
        &self,
        project: &Project,
        party: &RelyingParty,
        email: Option<&str>,
        client: &Client,
    ) -> ApiResult<Value> {
        self.limits.take(Rule::PasskeyOptions, &[&network(client.ip)])?;
        let connection = self.connection().await?;
        let email = email.map(|email| email.trim().to_lowercase()).filter(|email| !email.contains('\0'));
        let user = match &email {
            Some(email) => store::users::by_email(&**connection, &project.id, email).await?,
            None => None,
        };
        // Looked up for nobody as well: it takes its time either way.
        let of = user.map_or(Uuid::nil(), |user| user.id);
        let known = if email.is_some() { store::passkeys::of_user(&**connection, of).await? } else { Vec::new() };
        let allowed: Vec<Value> = known
            .iter()
            .filter(|passkey| passkey.rp_id == party.id)
            .map(|passkey| {
                let id = URL_SAFE_NO_PAD.encode(&passkey.credential_id);
                json!({"id": id, "type": "public-key", "transports": passkey.transports})
            })
            .collect();
        let rp_id = party.rp_id()?;
        let mut options = DiscoverableCredentialRequestOptions::passkey(&rp_id);
        options.0.timeout = ceremony_timeout();
        let (server, shown) = options.start_ceremony().map_err(ApiError::internal)?;
        let mut shown = serde_json::to_value(&shown).map_err(ApiError::internal)?;
        let mut options = public_key(&mut shown);
        options["timeout"] = json!(TIMEOUT);
        options["allowCredentials"] = Value::Array(allowed);
        let state = server.encode().map_err(ApiError::internal)?;
        let challenge = Challenge {
            id: Uuid::new_v4(),
            user: None,
            rp_id: party.id.clone(),
            origin: party.origin.clone(),
            state,
            expires_at: self.clock.now().plus(LIFE),
        };
        store::passkeys::insert_challenge(&**connection, &project.id, "login", &challenge).await?;
        Ok(json!({"challenge_id": challenge.id, "options": options}))
    }

    /// The user whose passkey answered a challenge.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST`, 400 `R402_AUTH_PASSKEY_CHALLENGE_INVALID`, 401 `R402_AUTH_INVALID_CREDENTIALS`.
    pub(super) async fn check_passkey(
        &self,
        project: &Project,
        challenge_id: &str,
        response: &Value,
        at: Option<&RelyingParty>,
    ) -> ApiResult<User> {
        let challenge = self.take_challenge(&project.id, "login", challenge_id).await?;
        if at.is_some_and(|at| at.id != challenge.rp_id) {
            return Err(AuthError::PasskeyChallengeInvalid.into());
        }
        let credential_id = ["rawId", "id"].iter().find_map(|name| response.get(name)?.as_str());
        let credential_id = credential_id.and_then(|id| URL_SAFE_NO_PAD.decode(id).ok()).ok_or_else(malformed)?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let found = store::passkeys::by_credential(&*tx, &project.id, &credential_id).await?;
        let passkey = found.ok_or(AuthError::UnknownPasskey)?;
        if passkey.rp_id != challenge.rp_id {
            return Err(AuthError::PasskeyChallengeInvalid.into());
        }
        let mut response = response.clone();
        // Some clients leave the user out; the credential id has told him already.
        if let Some(assertion) = response.get_mut("response").filter(|part| part.is_object())
            && assertion.get("userHandle").is_none_or(Value::is_null)
        {
            assertion["userHandle"] = json!(URL_SAFE_NO_PAD.encode(passkey.user.as_bytes()));
        }
        let text = serde_json::to_vec(&response).map_err(ApiError::internal)?;
        let authentication: AuthenticationRelaxed<16, true> =
            serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
        let party = RelyingParty { origin: challenge.origin, id: challenge.rp_id };
        let dynamic = verified_assertion(&passkey, &party, &challenge.state, &authentication)?;
        let backed_up = matches!(dynamic.backup, Backup::Exists);
        let now = self.clock.now();
        store::passkeys::used(&*tx, passkey.id, &encoded(dynamic)?, backed_up, &party.origin, now).await?;
        let user = store::users::by_id(&*tx, &project.id, passkey.user).await?.ok_or(AuthError::UnknownPasskey)?;
        tx.commit().await?;
        Ok(user)
    }

    /// `POST /auth/v1/passkeys/login/verify`
    ///
    /// # Errors
    /// As [`Auth::check_passkey`].
    pub(super) async fn passkey_grant(
        &self,
        project: &Project,
        challenge_id: &str,
        response: &Value,
        client: &Client,
    ) -> ApiResult<SessionResult> {
        let user = self.check_passkey(project, challenge_id, response, None).await?;
        self.prepare_keys(&project.id).await?;
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let found = store::users::for_session(&*tx, &project.id, user.id).await?;
        let user = found.ok_or(AuthError::UnknownPasskey)?;
        let proof = Proof::by(method::PASSKEY);
        let result = self.sign_in(&tx, &user, &proof, &settings, client, Occasion::default()).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// # Errors
    /// 404 for a foreign or missing one.
    pub(super) async fn delete_passkey(&self, user: &User, id: Uuid) -> ApiResult<()> {
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        if !store::passkeys::delete(&*tx, user.id, id).await? {
            return Err(AuthError::NotFound.into());
        }
        let details = json!({"passkey_id": id});
        store::users::audit(&*tx, &user.project, Some(user.id), "passkey_removed", &details, self.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn keep_challenge(
        &self,
        connection: &crate::engines::postgres::Connection,
        of: &User,
        user: Option<Uuid>,
        kind: &str,
        party: &RelyingParty,
        state: Vec<u8>,
    ) -> ApiResult<Uuid> {
        let challenge = Challenge {
            id: Uuid::new_v4(),
            user,
            rp_id: party.id.clone(),
            origin: party.origin.clone(),
            state,
            expires_at: self.clock.now().plus(LIFE),
        };
        store::passkeys::insert_challenge(&***connection, &of.project, kind, &challenge).await?;
        Ok(challenge.id)
    }

    async fn take_challenge(&self, project: &ProjectId, kind: &str, id: &str) -> ApiResult<Challenge> {
        let id = Uuid::try_parse(id).map_err(|_| AuthError::PasskeyChallengeInvalid)?;
        let connection = self.connection().await?;
        let taken = store::passkeys::take_challenge(&**connection, project, kind, id, self.clock.now()).await?;
        taken.ok_or_else(|| AuthError::PasskeyChallengeInvalid.into())
    }
}

/// The state of the passkey after a good assertion.
fn verified_assertion(
    passkey: &Passkey,
    party: &RelyingParty,
    state: &[u8],
    authentication: &AuthenticationRelaxed<16, true>,
) -> ApiResult<DynamicState> {
    let handle = handle_of(passkey.user)?;
    let static_state = StaticState::<PublicKey>::decode(&passkey.static_state).map_err(ApiError::internal)?;
    let bytes: [u8; 7] = passkey.dynamic_state.as_slice().try_into().map_err(ApiError::internal)?;
    let dynamic_state = DynamicState::decode(bytes).map_err(ApiError::internal)?;
    let id = CredentialId::<&[u8]>::decode(&passkey.credential_id).map_err(ApiError::internal)?;
    let mut credential =
        AuthenticatedCredential::new(id, &handle, static_state, dynamic_state).map_err(ApiError::internal)?;
    let server = DiscoverableAuthenticationServerState::decode(state).map_err(ApiError::internal)?;
    let origins = [party.origin.as_str()];
    let rules = AuthenticationVerificationOptions::<&str, &str> {
        allowed_origins: &origins,
        error_on_unsolicited_extensions: false,
        client_data_json_relaxed: true,
        ..AuthenticationVerificationOptions::default()
    };
    server.verify(&party.rp_id()?, &authentication.0, &mut credential, &rules).map_err(|error| refused(&error))?;
    Ok(credential.dynamic_state())
}

/// The raw bytes of the user's id: what the authenticator stores as the user handle.
fn handle_of(user: Uuid) -> ApiResult<Handle> {
    Handle::decode(user.into_bytes()).map_err(ApiError::internal)
}

fn encoded(state: DynamicState) -> ApiResult<Vec<u8>> {
    state.encode().map(|bytes| bytes.to_vec()).map_err(ApiError::internal)
}

fn ceremony_timeout() -> NonZeroU32 {
    // The library ends a ceremony after what it tells the browser, so it is told ours.
    NonZeroU32::MIN.saturating_add(5 * 60 * 1000 - 1)
}

/// The options as `navigator.credentials` takes them; the library may wrap them.
fn public_key(shown: &mut Value) -> Value {
    match shown.get_mut("publicKey") {
        Some(inner) => inner.take(),
        None => shown.take(),
    }
}

fn descriptor(passkey: &Passkey) -> Option<PublicKeyCredentialDescriptor<Vec<u8>>> {
    let id = CredentialId::<Vec<u8>>::decode(passkey.credential_id.clone()).ok()?;
    // Encoded, no transport is 0: the browser asks all it has.
    let transports = AuthTransports::decode(0).ok()?;
    Some(PublicKeyCredentialDescriptor { id, transports })
}

/// The transports the browser names, of those that exist.
fn transports_in(response: &Value) -> Vec<String> {
    let named = response["response"]["transports"].as_array().cloned().unwrap_or_default();
    let named = |known: &&str| named.iter().any(|one| one.as_str() == Some(known));
    TRANSPORTS.iter().filter(|known| named(known)).map(ToString::to_string).collect()
}

fn device_type(backup: Backup) -> &'static str {
    if matches!(backup, Backup::NotEligible) { "singleDevice" } else { "multiDevice" }
}

fn malformed() -> ApiError {
    bad_field("response", "response must be the credential as the browser gives it.")
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    tracing::debug!(%error, "a passkey response could not be read");
    malformed()
}

/// Why a response failed is for the log: it tells an attacker how far he got.
fn refused(error: &dyn std::fmt::Display) -> ApiError {
    tracing::debug!(%error, "a passkey response was refused");
    AuthError::PasskeyChallengeInvalid.into()
}

/// The relying party of an origin, if it can be one: for questions that have no wrong answer.
pub(super) fn usable_party(origin: Option<&str>) -> Option<RelyingParty> {
    RelyingParty::parse(origin?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_origin_is_an_origin_with_a_name() {
        for (text, id) in [
            ("https://app.example.com", "app.example.com"),
            ("https://App.Example.com:8443", "app.example.com"),
            ("http://localhost:4321", "localhost"),
            ("http://shop.localhost:4020", "shop.localhost"),
        ] {
            assert_eq!(RelyingParty::parse(text).unwrap().id, id);
        }
        for text in [
            "",
            "localhost",
            "http://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://app.example.com?x",
            "https://app.example.com#x",
            "https://u@app.example.com",
            "https://app.example.com.",
            "http://10.0.0.5:4321",
            "https://[::1]",
            "http://127.0.0.1",
            "null",
            "ftp://localhost",
        ] {
            assert!(RelyingParty::parse(text).is_err(), "{text}");
        }
    }
}
