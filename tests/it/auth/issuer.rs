//! A provider that stands in for Google: OpenID Connect discovery, keys, and a token endpoint that says what a test
//! tells it to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::{ecdsa::SigningKey, elliptic_curve::sec1::ToEncodedPoint, pkcs8::EncodePrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const CLIENT_ID: &str = "client-1";
pub const CLIENT_SECRET: &str = "client-secret";

struct Inner {
    base: String,
    key: SigningKey,
    /// Code → what its id token claims, and the PKCE challenge of its sign-in.
    codes: Mutex<HashMap<String, (Value, String)>>,
}

#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

impl Issuer {
    /// Listens as long as the process lives: the box under test outlives the test that started it.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let key = loop {
            if let Ok(key) = SigningKey::from_slice(&rand::random::<[u8; 32]>()) {
                break key;
            }
        };
        let issuer = Self(Arc::new(Inner { base, key, codes: Mutex::default() }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        issuer
    }

    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// An id token for `audience`, with these claims over the usual ones.
    pub fn id_token(&self, audience: &str, claims: &Value) -> String {
        let mut all = json!({"iss": self.base(), "aud": audience, "exp": 4_102_444_800_i64, "iat": 0});
        for (name, value) in claims.as_object().expect("an object") {
            all[name] = value.clone();
        }
        self.signed(&all)
    }

    fn signed(&self, claims: &Value) -> String {
        let der = self.0.key.to_pkcs8_der().expect("DER");
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &EncodingKey::from_ec_der(der.as_bytes())).expect("a token")
    }

    /// What a person who signs in comes back with: a code, for the browser to take to the callback.
    pub fn signs_in(&self, authorization_url: &str, claims: &Value) -> (String, String) {
        let url = url::Url::parse(authorization_url).expect("a URL");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT_ID);
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["scope"], "openid email profile");
        assert_eq!(query["code_challenge_method"], "S256");
        let mut all = json!({
            "iss": self.base(), "aud": CLIENT_ID, "exp": 4_102_444_800_i64, "iat": 0, "nonce": query["nonce"],
        });
        for (name, value) in claims.as_object().expect("an object") {
            all[name] = value.clone();
        }
        let code = format!("code-{}", hex::encode(rand::random::<[u8; 8]>()));
        self.0.codes.lock().expect("unpoisoned").insert(code.clone(), (all, query["code_challenge"].clone()));
        (code, query["state"].clone())
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Json<Value> {
    let base = issuer.base();
    Json(json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"),
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let point = issuer.0.key.verifying_key().as_affine().to_encoded_point(false);
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    Json(json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
        "x": encode(point.x().expect("a point")), "y": encode(point.y().expect("a point")),
    }]}))
}

async fn token(
    State(issuer): State<Issuer>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    let known = issuer.0.codes.lock().expect("unpoisoned").remove(&form["code"]);
    let (claims, challenge) = known.ok_or(StatusCode::BAD_REQUEST)?;
    let computed = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if form["client_id"] != CLIENT_ID || form["client_secret"] != CLIENT_SECRET || computed != challenge {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let id_token = issuer.signed(&claims);
    Ok(Json(json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token})))
}
