//! Project keys: stateless HS256 tokens under a secret of the box (contract 01 §2.5).
//!
//! They carry no time, so the key of a project is a pure function of its id and role: nothing has to be
//! stored, and rotation means deleting the project.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::common::ProjectId;

const ISSUER: &str = "run402";

/// Role of a project key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRole {
    #[serde(rename = "anon")]
    Anon,
    #[serde(rename = "service_role")]
    Service,
}

/// What a project key proves. Whether the project still exists is for the projects feature to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectKey {
    pub project: ProjectId,
    pub role: KeyRole,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    project_id: ProjectId,
    role: KeyRole,
}

/// Makes and verifies project keys.
pub(super) struct KeyMint {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl KeyMint {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret), validation }
    }

    pub(super) fn mint(&self, project: &ProjectId, role: KeyRole) -> String {
        let claims = Claims { iss: ISSUER.into(), project_id: project.clone(), role };
        // HS256 over a plain struct cannot fail; an empty key would simply never verify.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default()
    }

    /// The algorithm is pinned and the signature compared in constant time.
    pub(super) fn verify(&self, token: &str) -> Option<ProjectKey> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims;
        Some(ProjectKey { project: claims.project_id, role: claims.role })
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    fn project() -> ProjectId {
        "prj_1777563179844_1095".parse().unwrap()
    }

    fn part(token: &str, index: usize) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
    }

    fn forge(header: &Value, claims: &Value, signature: &str) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", encode(header), encode(claims))
    }

    #[test]
    fn keys_are_derivable_and_carry_exactly_the_three_claims() {
        let mint = KeyMint::new(b"secret");
        let key = mint.mint(&project(), KeyRole::Service);
        assert_eq!(key, mint.mint(&project(), KeyRole::Service));
        assert_eq!(part(&key, 0), json!({"alg": "HS256", "typ": "JWT"}));
        assert_eq!(part(&key, 1), json!({"iss": "run402", "project_id": project(), "role": "service_role"}));
        assert_eq!(mint.verify(&key), Some(ProjectKey { project: project(), role: KeyRole::Service }));
    }

    #[test]
    fn refuses_forgeries() {
        let mint = KeyMint::new(b"secret");
        let key = mint.mint(&project(), KeyRole::Anon);
        let signature = key.rsplit('.').next().unwrap();
        let service = json!({"iss": "run402", "project_id": project(), "role": "service_role"});
        let hs256 = json!({"alg": "HS256", "typ": "JWT"});
        let cases = [
            String::new(),
            "a.b.c".into(),
            KeyMint::new(b"other").mint(&project(), KeyRole::Anon),
            forge(&hs256, &service, signature),
            forge(&json!({"alg": "none"}), &service, ""),
            forge(&json!({"alg": "HS512"}), &service, signature),
            key[..key.len() - 2].to_owned(),
            format!("{key}."),
        ];
        for token in cases {
            assert_eq!(mint.verify(&token), None, "{token}");
        }
    }
}
