//! Who calls: from the two headers a REST request may carry to a role and its claims (contract 02 §3.5, §7.1).
//!
//! Two kinds of token, told apart by their algorithm and never confused: project keys are HS256 under the
//! box's own secret and carry a static role; user tokens are ES256 under a published key, named by `kid`, and
//! carry `authenticated` or `project_admin`. Any other combination is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::{NativeError, RestError};
use crate::{
    common::{ApiError, Category, Clock, ProjectId, Timestamp},
    features::{
        identity::{Identity, KeyRole},
        user_keys::{self, VerifyingKey},
    },
};

/// Verified tokens remembered, so that a signature is checked once and not with every request.
const REMEMBERED_TOKENS: usize = 10_000;

/// The published keys of app users' tokens (ES256).
pub trait KeySource: Send + Sync {
    /// The key of this id, if it is published now.
    fn find(&self, kid: &str) -> Option<VerifyingKey>;
}

impl KeySource for user_keys::UserKeys {
    fn find(&self, kid: &str) -> Option<VerifyingKey> {
        Self::find(self, kid)
    }
}

/// The database role a request runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerRole {
    Anon,
    Authenticated,
    ProjectAdmin,
    Service,
}

impl CallerRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::ProjectAdmin => "project_admin",
            Self::Service => "service_role",
        }
    }

    /// Roles a user token may carry.
    fn of_user(name: &str) -> Option<Self> {
        match name {
            "authenticated" => Some(Self::Authenticated),
            "project_admin" => Some(Self::ProjectAdmin),
            _ => None,
        }
    }
}

/// What a verified token proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    pub project: ProjectId,
    pub role: CallerRole,
    /// The claims as compact JSON text.
    pub claims: String,
    pub user_id: String,
    pub session_id: String,
    pub authz_version: String,
}

/// Which of the two doors was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/rest/v1`
    Public,
    /// `/admin/v1/rest`
    Admin,
}

/// Verifies the tokens of REST requests.
pub struct Tokens {
    identity: Arc<Identity>,
    keys: Arc<dyn KeySource>,
    clock: Clock,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Clone)]
struct Remembered {
    caller: Arc<Caller>,
    /// The key of a user's token; None for a project key.
    kid: Option<String>,
    times: Times,
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Times {
    fn check(self, now: Timestamp) -> Result<(), NativeError> {
        let now = now.as_seconds() as f64;
        if self.exp.is_some_and(|exp| exp <= now) {
            return Err(NativeError::invalid_claims("JWT expired"));
        }
        if self.nbf.is_some_and(|nbf| nbf > now) {
            return Err(NativeError::invalid_claims("JWT not yet valid"));
        }
        Ok(())
    }
}

impl Tokens {
    pub fn new(identity: Arc<Identity>, keys: Arc<dyn KeySource>, clock: Clock) -> Self {
        Self { identity, keys, clock, remembered: Mutex::default() }
    }

    /// The caller of a request, by the rules of its door.
    ///
    /// # Errors
    /// 401 `AUTHENTICATION_REQUIRED`, 401 PGRST301 or PGRST303, 401 `UNAUTHORIZED` for a role that tokens
    /// cannot have, 403 `FORBIDDEN` for two projects, 403 `ADMIN_REQUIRED` for the wrong kind of key.
    pub fn caller(&self, headers: &HeaderMap, surface: Surface) -> Result<Arc<Caller>, RestError> {
        let bearer = bearer(headers, surface)?.map(|token| self.verify(token)).transpose()?;
        let apikey = headers.get("apikey").map(|value| self.verify(value.to_str().unwrap_or("").trim())).transpose()?;
        if let (Some(bearer), Some(apikey)) = (&bearer, &apikey)
            && bearer.project != apikey.project
        {
            let message = "Authorization and apikey name different projects.";
            return Err(ApiError::forbidden("FORBIDDEN", message).into());
        }
        let is_service =
            |caller: &Option<Arc<Caller>>| caller.as_ref().is_some_and(|one| one.role == CallerRole::Service);
        if surface == Surface::Public && (is_service(&bearer) || is_service(&apikey)) {
            return Err(service_key_on_public_path().into());
        }
        let caller = bearer.or(apikey).ok_or_else(|| {
            ApiError::authentication_required(
                "Send a project key in the apikey header, or a token as Authorization: Bearer.",
            )
        })?;
        if surface == Surface::Admin && caller.role != CallerRole::Service {
            let message = "This path is for the project's service key.";
            return Err(ApiError::forbidden("ADMIN_REQUIRED", message).into());
        }
        Ok(caller)
    }

    fn verify(&self, token: &str) -> Result<Arc<Caller>, RestError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some(known) = known {
            // Looked up every time: a key that is no longer published ends its tokens at once.
            if known.kid.as_ref().is_some_and(|kid| self.keys.find(kid).is_none()) {
                return Err(no_such_key().into());
            }
            known.times.check(self.clock.now())?;
            return Ok(known.caller);
        }
        let parts = token.split('.').count();
        if parts != 3 {
            return Err(NativeError::invalid_token(&format!("Expected 3 parts in JWT; got {parts}")).into());
        }
        let verified = match Header::read(token) {
            Some(Header { alg, .. }) if alg == "HS256" => self.verify_project_key(token)?,
            Some(Header { alg, kid: Some(kid) }) if alg == "ES256" => self.verify_user_token(token, kid)?,
            _ => return Err(no_such_key().into()),
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgetting all at once is rare and costs each caller one verification.
        if remembered.len() >= REMEMBERED_TOKENS {
            remembered.clear();
        }
        let caller = Arc::clone(&verified.caller);
        remembered.insert(digest, verified);
        Ok(caller)
    }

    fn verify_project_key(&self, token: &str) -> Result<Remembered, RestError> {
        let key = self
            .identity
            .verify_project_key(token)
            .ok_or_else(|| NativeError::invalid_token("JWT cryptographic operation failed"))?;
        let role = match key.role {
            KeyRole::Anon => CallerRole::Anon,
            KeyRole::Service => CallerRole::Service,
        };
        let caller = Caller {
            claims: json!({"role": role.name(), "project_id": key.project}).to_string(),
            project: key.project,
            role,
            user_id: String::new(),
            session_id: String::new(),
            authz_version: String::new(),
        };
        Ok(Remembered { caller: Arc::new(caller), kid: None, times: Times::default() })
    }

    fn verify_user_token(&self, token: &str, kid: String) -> Result<Remembered, RestError> {
        let key = self.keys.find(&kid).ok_or_else(no_such_key)?;
        let claims = user_keys::signed_claims(token, &key.key)
            .ok_or_else(|| NativeError::invalid_token("JWT cryptographic operation failed"))?;
        let times = Times { exp: number(&claims, "exp"), nbf: number(&claims, "nbf") };
        times.check(self.clock.now())?;
        Ok(Remembered { caller: Arc::new(user(&claims, &key.project)?), kid: Some(kid), times })
    }
}

fn no_such_key() -> NativeError {
    NativeError::invalid_token("No suitable key or wrong key type")
}

/// The token of `Authorization`. Another scheme is ignored at the public door and refused at the other.
fn bearer(headers: &HeaderMap, surface: Surface) -> Result<Option<&str>, RestError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().unwrap_or("");
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(token.trim()));
    }
    match surface {
        Surface::Public => Ok(None),
        Surface::Admin => Err(ApiError::unauthorized("Send the service key as Authorization: Bearer <key>.").into()),
    }
}

fn service_key_on_public_path() -> ApiError {
    ApiError::forbidden("ADMIN_REQUIRED", "service_role is not permitted on /rest/v1/*")
        .category(Category::Auth)
        .hint("Use /admin/v1/rest/* with Bearer <service_key>")
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

impl Header {
    fn read(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn number(claims: &Map<String, Value>, name: &str) -> Option<f64> {
    claims.get(name).and_then(Value::as_f64)
}

fn user(claims: &Map<String, Value>, key_project: &ProjectId) -> Result<Caller, RestError> {
    let text = |name: &str| match claims.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let refused = |message: &'static str| RestError::from(ApiError::unauthorized(message));
    let role = CallerRole::of_user(&text("role")).ok_or_else(|| refused("The token's role is not one users have."))?;
    let project: ProjectId =
        text("project_id").parse().map_err(|_| refused("The token does not say which project it is for."))?;
    if *key_project != project {
        return Err(refused("The token is signed with another project's key."));
    }
    Ok(Caller {
        project,
        role,
        user_id: text("sub"),
        session_id: text("session_id"),
        authz_version: text("authz_version"),
        claims: Value::Object(claims.clone()).to_string(),
    })
}

impl RestError {
    /// The status the caller will see.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Gateway(error) => error.status(),
            Self::Native(error) => error.status,
        }
    }

    pub fn code(&self) -> &str {
        match self {
            Self::Gateway(error) => error.code(),
            Self::Native(error) => &error.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use base64::engine::general_purpose::STANDARD;
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header as JwtHeader, encode};
    use url::Url;

    use super::*;
    use crate::{common::sealing::MasterKey, features::identity::IdentitySettings};

    /// A P-256 key pair made for these tests: PKCS #8 in base64, and the two coordinates.
    const PRIVATE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCTkW3p0ShudNNcWRZ03IdcCXz06x/01/7/wMSB9I6UyhRANCAAT068ERypuB18QLD/vuUVpXt4w7IVbACeuJVLm6tne1+7XO1ttidj5lbTrcvc1d2PTOgI87Zq60QR5po2/NPPzz";
    const X: &str = "9OvBEcqbgdfECw_77lFaV7eMOyFWwAnriVS5urZ3tfs";
    const Y: &str = "tc7W22J2PmVtOty9zV3Y9M6AjztmrrRBHmmjb808_PM";

    struct OneKey;

    impl KeySource for OneKey {
        fn find(&self, kid: &str) -> Option<VerifyingKey> {
            let key = Arc::new(DecodingKey::from_ec_components(X, Y).unwrap());
            (kid == "k1").then(|| VerifyingKey { key, project: PROJECT.parse().unwrap() })
        }
    }

    const PROJECT: &str = "prj_1_a";
    const NOW: i64 = 1_800_000_000;

    fn tokens() -> Tokens {
        let settings = IdentitySettings {
            public_url: Url::parse("http://localhost:4020").unwrap(),
            accept_domains: Vec::new(),
            loopback: true,
            admin_wallets: Vec::new(),
            admin_key_hash: String::new(),
            rate_limits: false,
        };
        let clock = Clock::fixed(Timestamp::from_millis(NOW * 1000).unwrap());
        let identity = Identity::new(settings, &MasterKey::from_bytes([7; 32]), clock.clone());
        Tokens::new(Arc::new(identity), Arc::new(OneKey), clock)
    }

    fn project_key(tokens: &Tokens, project: &str, role: KeyRole) -> String {
        tokens.identity.mint_project_key(&project.parse().unwrap(), role)
    }

    fn user_token(kid: Option<&str>, changes: &Value) -> String {
        let mut claims = json!({
            "sub": "6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b", "role": "authenticated", "project_id": PROJECT,
            "iss": "agentdb", "exp": NOW + 60, "session_id": "s1", "authz_version": 3,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = JwtHeader { kid: kid.map(str::to_owned), ..JwtHeader::new(Algorithm::ES256) };
        encode(&header, &claims, &EncodingKey::from_ec_der(&STANDARD.decode(PRIVATE).unwrap())).unwrap()
    }

    fn ask(tokens: &Tokens, surface: Surface, headers: &[(&str, &str)]) -> Result<CallerRole, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        tokens
            .caller(&map, surface)
            .map(|caller| caller.role)
            .map_err(|error| format!("{} {}", error.status().as_u16(), error.code()))
    }

    #[test]
    fn the_bearer_wins_and_project_keys_open_their_own_door() {
        let tokens = tokens();
        let anon = project_key(&tokens, PROJECT, KeyRole::Anon);
        let service = project_key(&tokens, PROJECT, KeyRole::Service);
        let foreign = project_key(&tokens, "prj_2_b", KeyRole::Anon);
        let user = user_token(Some("k1"), &json!({}));
        let bearer = |token: &str| format!("Bearer {token}");
        let admin_only = Err("403 ADMIN_REQUIRED".to_owned());
        use Surface::{Admin, Public};
        for (surface, apikey, authorization, expected) in [
            (Public, Some(&anon), None, Ok(CallerRole::Anon)),
            (Public, None, Some(bearer(&anon)), Ok(CallerRole::Anon)),
            (Public, Some(&anon), Some(bearer(&user)), Ok(CallerRole::Authenticated)),
            (Public, Some(&user), None, Ok(CallerRole::Authenticated)),
            (Public, Some(&user), Some(bearer(&anon)), Ok(CallerRole::Anon)),
            (Public, Some(&anon), Some("Basic eDp5".into()), Ok(CallerRole::Anon)),
            (Public, None, Some("Basic eDp5".into()), Err("401 AUTHENTICATION_REQUIRED".into())),
            (Public, None, None, Err("401 AUTHENTICATION_REQUIRED".into())),
            (Public, Some(&service), None, admin_only.clone()),
            (Public, Some(&anon), Some(bearer(&service)), admin_only.clone()),
            (Public, Some(&service), Some(bearer(&user)), admin_only.clone()),
            (Public, Some(&foreign), Some(bearer(&anon)), Err("403 FORBIDDEN".into())),
            (Public, Some(&foreign), Some(bearer(&user)), Err("403 FORBIDDEN".into())),
            (Admin, None, Some(bearer(&service)), Ok(CallerRole::Service)),
            (Admin, Some(&service), None, Ok(CallerRole::Service)),
            (Admin, Some(&anon), None, admin_only.clone()),
            (Admin, None, Some(bearer(&user)), admin_only),
            (Admin, Some(&service), Some("Basic eDp5".into()), Err("401 UNAUTHORIZED".into())),
            (Admin, None, None, Err("401 AUTHENTICATION_REQUIRED".into())),
        ] {
            let mut headers: Vec<(&str, &str)> = Vec::new();
            headers.extend(apikey.map(|key| ("apikey", key.as_str())));
            headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
            assert_eq!(ask(&tokens, surface, &headers), expected, "{surface:?} {headers:?}");
        }
    }

    #[test]
    fn tokens_that_prove_nothing_are_refused() {
        let tokens = tokens();
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"role":"service_role"}"#)
        );
        let mut forged = user_token(Some("k1"), &json!({}));
        forged.replace_range(forged.rfind('.').unwrap() + 1.., &"A".repeat(86));
        let hs256_with_public_key = encode(
            &JwtHeader { kid: Some("k1".into()), ..JwtHeader::new(Algorithm::HS256) },
            &json!({"role": "authenticated", "project_id": PROJECT}),
            &EncodingKey::from_secret(X.as_bytes()),
        )
        .unwrap();
        for (token, expected) in [
            (String::new(), "401 PGRST301"),
            ("garbage".into(), "401 PGRST301"),
            ("a.b.c".into(), "401 PGRST301"),
            (none, "401 PGRST301"),
            (forged, "401 PGRST301"),
            (hs256_with_public_key, "401 PGRST301"),
            (user_token(None, &json!({})), "401 PGRST301"),
            (user_token(Some("k2"), &json!({})), "401 PGRST301"),
            (user_token(Some("k1"), &json!({"exp": NOW - 1})), "401 PGRST303"),
            (user_token(Some("k1"), &json!({"nbf": NOW + 100})), "401 PGRST303"),
            (user_token(Some("k1"), &json!({"role": "anon"})), "401 UNAUTHORIZED"),
            (user_token(Some("k1"), &json!({"role": "service_role"})), "401 UNAUTHORIZED"),
            (user_token(Some("k1"), &json!({"role": "postgres"})), "401 UNAUTHORIZED"),
            (user_token(Some("k1"), &json!({"project_id": null})), "401 UNAUTHORIZED"),
            (user_token(Some("k1"), &json!({"project_id": "prj_2_b"})), "401 UNAUTHORIZED"),
        ] {
            let header = format!("Bearer {token}");
            assert_eq!(
                ask(&tokens, Surface::Public, &[("authorization", &header)]),
                Err(expected.to_owned()),
                "{token}"
            );
        }
    }

    #[test]
    fn a_remembered_token_still_expires() {
        let tokens = tokens();
        let header = format!("Bearer {}", user_token(Some("k1"), &json!({"role": "project_admin"})));
        let now = || ask(&tokens, Surface::Public, &[("authorization", &header)]);
        assert_eq!((now(), now()), (Ok(CallerRole::ProjectAdmin), Ok(CallerRole::ProjectAdmin)));
        tokens.clock.advance(jiff::SignedDuration::from_secs(61));
        assert_eq!(now(), Err("401 PGRST303".to_owned()));
    }

    #[test]
    fn claims_become_settings() {
        let tokens = tokens();
        let mut headers = HeaderMap::new();
        let token = format!("Bearer {}", user_token(Some("k1"), &json!({})));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&token).unwrap());
        let caller = tokens.caller(&headers, Surface::Public).unwrap();
        assert_eq!((caller.session_id.as_str(), caller.authz_version.as_str()), ("s1", "3"));
        assert!(caller.claims.contains(&format!("\"sub\":\"{}\"", caller.user_id)), "compact JSON: {}", caller.claims);
    }
}
