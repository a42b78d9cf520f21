//! Signed-in users of a project without the sign-up: a pair of the tests' own is published in the control database
//! behind the box's back. The box reads its keys when it starts, so [`Users::publish`] comes before a restart.

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Appliance, control};

/// A P-256 pair made for tests: PKCS #8 in base64, and the two coordinates.
const PRIVATE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCTkW3p0ShudNNcWRZ03IdcCXz06x/01/7/wMSB9I6UyhRANCAAT068ERypuB18QLD/vuUVpXt4w7IVbACeuJVLm6tne1+7XO1ttidj5lbTrcvc1d2PTOgI87Zq60QR5po2/NPPzz";
const X: &str = "9OvBEcqbgdfECw_77lFaV7eMOyFWwAnriVS5urZ3tfs";
const Y: &str = "tc7W22J2PmVtOty9zV3Y9M6AjztmrrRBHmmjb808_PM";

/// Signs tokens of one project's users.
#[derive(Clone)]
pub struct Users {
    project: String,
    kid: String,
}

impl Users {
    pub fn of(project: &str) -> Self {
        let letters: String = project.chars().filter(char::is_ascii_alphanumeric).collect();
        Self { project: project.to_owned(), kid: format!("uk_{letters:0>32}") }
    }

    /// The public key as verifiers read it.
    pub fn jwk(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": self.kid, "alg": "ES256", "use": "sig"})
    }

    /// In force from the next start of the box. The box cannot sign with it.
    pub async fn publish(&self, appliance: &Appliance) {
        control::control(appliance)
            .await
            .execute(
                "insert into user_keys (kid, project_id, public_jwk, private_key, created_at)
                 values ($1, $2, $3, '', now())",
                &[&self.kid, &self.project, &self.jwk()],
            )
            .await
            .expect("the key can be published");
    }

    /// A token of a signed-in user that lives for an hour.
    pub fn token(&self, user: &str) -> String {
        self.token_with(user, &json!({}))
    }

    /// The same with other claims.
    pub fn token_with(&self, user: &str, changes: &Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut claims = json!({
            "sub": user, "role": "authenticated", "email": "", "project_id": self.project, "iss": "agentdb",
            "iat": now, "exp": now + 3600, "auth_time": now, "amr": ["password"], "aal": "aal1",
            "session_id": "00000000-0000-4000-8000-00000000a001", "authz_version": 1,
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        let private = STANDARD.decode(PRIVATE).expect("base64");
        encode(&header, &claims, &EncodingKey::from_ec_der(&private)).expect("a token")
    }
}
