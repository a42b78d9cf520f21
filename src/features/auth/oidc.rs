//! An OpenID provider's side: discovery, the exchange of its code, and the verification of its id tokens (OpenID
//! Connect Core 1.0 §3.1.3). It serves sign-in with Google and the issuers that the operator configured for a project.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::{Request, StatusCode, header::CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::{Url, form_urlencoded};

use crate::common::ProjectId;

/// One call to the provider.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer of the provider, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// How long its documents are believed, and how often an unknown key may make us look again.
const FRESH: Duration = Duration::from_secs(3600);
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Tolerance for clocks, in seconds.
const LEEWAY: u64 = 30;

/// One of `auth.oidc`: an issuer whose id tokens sign in to the site of a project (06 §10.5).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OidcIssuer {
    /// None: every project that has no issuer of its own.
    #[serde(default)]
    pub project: Option<ProjectId>,
    /// Its discovery document is below it.
    pub issuer: Url,
    /// `aud` of its tokens for the site.
    pub audience: String,
}

/// The configured issuers.
pub(super) struct Issuers(HashMap<Option<ProjectId>, Provider>);

impl Issuers {
    pub fn new(configured: &[OidcIssuer]) -> Self {
        let provider = |one: &OidcIssuer| Provider::new(one.issuer.clone(), one.audience.clone(), String::new());
        Self(configured.iter().map(|one| (one.project.clone(), provider(one))).collect())
    }

    /// The issuer of a project, if it has one.
    pub fn of(&self, project: &ProjectId) -> Option<&Provider> {
        self.0.get(&Some(project.clone())).or_else(|| self.0.get(&None))
    }
}

/// Why the provider's word could not be had or believed. For the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("the provider did not answer: {0}")]
    Unreachable(String),
    #[error("the provider answered {0}")]
    Refused(StatusCode),
    #[error("the provider's answer is not what it should be: {0}")]
    Answer(serde_json::Error),
    #[error("the id token is not valid: {0}")]
    IdToken(String),
}

/// What the provider says of the person.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Person {
    pub sub: String,
    pub email: Option<String>,
    #[serde(default)]
    pub email_verified: bool,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Seconds since 1970.
    pub exp: i64,
    nonce: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// A document and when it was read.
type Cached<T> = Mutex<Option<(Instant, T)>>;

/// A configured provider.
pub(super) struct Provider {
    client_id: String,
    client_secret: String,
    issuer: Url,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    discovery: Cached<Discovery>,
    keys: Cached<JwkSet>,
}

impl Provider {
    pub fn new(issuer: Url, client_id: String, client_secret: String) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            // Only an issuer that the operator configured himself can be plain.
            .https_or_http()
            .enable_all_versions()
            .build();
        Self {
            client_id,
            client_secret,
            issuer,
            http: Client::builder(TokioExecutor::new()).build(connector),
            discovery: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    /// Where the browser goes.
    pub async fn authorization_url(&self, parameters: &[(&str, &str)]) -> Result<Url, ProviderError> {
        let mut url = self.discovery().await?.authorization_endpoint;
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id)
            .append_pair("response_type", "code")
            .append_pair("scope", "openid email profile")
            .extend_pairs(parameters);
        Ok(url)
    }

    /// Exchanges the provider's code and verifies the id token it gives.
    pub async fn person(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
        nonce: &str,
    ) -> Result<Person, ProviderError> {
        let discovery = self.discovery().await?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", &self.client_secret)
            .append_pair("code_verifier", verifier)
            .finish();
        let answer: TokenAnswer = self.fetch(&discovery.token_endpoint, Some(body)).await?;
        self.verified(&discovery, &answer.id_token, Some(nonce)).await
    }

    /// What an id token proves that the client brought himself.
    pub async fn verify(&self, token: &str, nonce: Option<&str>) -> Result<Person, ProviderError> {
        self.verified(&self.discovery().await?, token, nonce).await
    }

    /// A nonce that was asked for must be in the token.
    async fn verified(&self, discovery: &Discovery, token: &str, nonce: Option<&str>) -> Result<Person, ProviderError> {
        let bad = |error: &dyn std::fmt::Display| ProviderError::IdToken(error.to_string());
        let header = decode_header(token).map_err(|error| bad(&error))?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(bad(&"its algorithm is not RS256 or ES256"));
        }
        let key = self.key(discovery, header.kid.as_deref()).await?;
        let key = DecodingKey::from_jwk(&key).map_err(|error| bad(&error))?;
        let mut rules = Validation::new(header.alg);
        rules.leeway = LEEWAY;
        rules.set_audience(&[&self.client_id]);
        // Google has signed with its bare host name as well.
        let issuer = discovery.issuer.as_str();
        rules.set_issuer(&[issuer, issuer.trim_start_matches("https://")]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let person = decode::<Person>(token, &key, &rules).map_err(|error| bad(&error))?.claims;
        if (nonce.is_some() && person.nonce.as_deref() != nonce) || person.sub.is_empty() || person.sub.len() > 512 {
            return Err(bad(&"its nonce or subject is wrong"));
        }
        Ok(person)
    }

    /// The key of a token; keys are read again when it is not among those known.
    async fn key(&self, discovery: &Discovery, kid: Option<&str>) -> Result<Jwk, ProviderError> {
        let pick = |keys: &JwkSet| match kid {
            Some(kid) => keys.find(kid).cloned(),
            None => keys.keys.first().filter(|_| keys.keys.len() == 1).cloned(),
        };
        let known = cached(&self.keys, FRESH);
        if let Some(key) = known.as_ref().and_then(pick) {
            return Ok(key);
        }
        if known.is_some() && cached(&self.keys, LOOK_AGAIN).is_some() {
            return Err(ProviderError::IdToken("its key is unknown".into()));
        }
        let keys: JwkSet = self.fetch(&discovery.jwks_uri, None).await?;
        let key = pick(&keys);
        remember(&self.keys, keys);
        key.ok_or_else(|| ProviderError::IdToken("its key is unknown".into()))
    }

    async fn discovery(&self) -> Result<Discovery, ProviderError> {
        if let Some(known) = cached(&self.discovery, FRESH) {
            return Ok(known);
        }
        let mut url = self.issuer.clone();
        url.set_path(&format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/')));
        let read: Discovery = self.fetch(&url, None).await?;
        remember(&self.discovery, read.clone());
        Ok(read)
    }

    /// One request, a form when there is a body.
    async fn fetch<T: DeserializeOwned>(&self, url: &Url, form: Option<String>) -> Result<T, ProviderError> {
        let unreachable = |error: &dyn std::fmt::Display| ProviderError::Unreachable(error.to_string());
        let mut request = Request::builder().method(if form.is_some() { "POST" } else { "GET" }).uri(url.as_str());
        if form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        let request = request.body(body).map_err(|error| unreachable(&error))?;
        let work = async {
            let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| unreachable(&error))?.to_bytes();
            if !status.is_success() {
                return Err(ProviderError::Refused(status));
            }
            serde_json::from_slice(&body).map_err(ProviderError::Answer)
        };
        tokio::time::timeout(TIMEOUT, work).await.map_err(|error| unreachable(&error))?
    }
}

fn cached<T: Clone>(cache: &Cached<T>, within: Duration) -> Option<T> {
    let cache = cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    cache.as_ref().filter(|(read, _)| read.elapsed() < within).map(|(_, value)| value.clone())
}

fn remember<T>(cache: &Cached<T>, value: T) {
    *cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), value));
}
