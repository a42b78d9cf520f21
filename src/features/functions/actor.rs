//! The signed word of the gateway on who is signed in (contract 05 §8.5, 06 §9.3-9.4).
//!
//! The key is the project's own: a function can read it, and must not be able to make up users of other projects.

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::executor::Actor;
use crate::common::{
    ProjectId, Timestamp,
    sealing::{MasterKey, hmac_sha256, sha256_hex},
};

/// Longest life of an envelope, in seconds.
const LIFETIME: i64 = 60;
const KID: &str = "ac1";

/// `GET /internal/v1/actor-context-keys`
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorKeys {
    /// Key id → 32 bytes in base64.
    keys: BTreeMap<String, String>,
}

fn key(master: &MasterKey, project: &ProjectId) -> Zeroizing<[u8; 32]> {
    master.derive(&format!("actor context {project}"))
}

/// The keys that envelopes of this project verify with.
pub(super) fn keys(master: &MasterKey, project: &ProjectId) -> ActorKeys {
    ActorKeys { keys: BTreeMap::from([(KID.to_owned(), STANDARD.encode(*key(master, project)))]) }
}

/// The request that an envelope is bound to.
pub(super) struct Bound<'a> {
    pub project: &'a ProjectId,
    pub request_id: &'a str,
    pub method: &'a str,
    /// Public host, with its port when it is not the default.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
}

/// `x-run402-actor-context`
pub(super) fn envelope(master: &MasterKey, bound: &Bound<'_>, actor: &Actor, now: Timestamp) -> String {
    let host = bound.host.to_ascii_lowercase();
    let host = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(&host);
    let claims = json!({
        "v": 1,
        "kid": KID,
        "iss": "run402-gateway",
        "aud": "run402-functions-runtime",
        "project_id": bound.project,
        "request_id": bound.request_id,
        "method": bound.method.to_ascii_uppercase(),
        "host": host,
        "path_hash": sha256_hex(bound.path.as_bytes()),
        "iat": now.as_seconds(),
        "exp": now.as_seconds() + LIFETIME,
        "actor": view(actor),
    })
    .to_string();
    let signature = hmac_sha256(&*key(master, bound.project), claims.as_bytes());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(signature))
}

fn view(actor: &Actor) -> Value {
    let mut view = json!({
        "id": actor.id,
        "email": actor.email,
        "emailVerified": actor.email_verified,
        "authTime": actor.auth_time,
        "amr": actor.amr,
        "amrTimes": actor.amr_times,
        "authzVersion": actor.authz_version,
    });
    if actor.is_test {
        view["isTest"] = Value::Bool(true);
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_bound_to_its_request_and_signed_with_the_projects_own_key() {
        let master = MasterKey::from_bytes([7; 32]);
        let project: ProjectId = "prj_a".parse().unwrap();
        let bound =
            Bound { project: &project, request_id: "req_1", method: "get", host: "Alpha.localhost:4020", path: "/a" };
        let actor = Actor {
            id: "u".into(),
            session_id: "s".into(),
            email: "a@b.c".into(),
            email_verified: true,
            is_test: false,
            auth_time: 5,
            amr: vec!["pwd".into()],
            amr_times: json!({"pwd": 5}),
            authz_version: 1,
        };
        let made = envelope(&master, &bound, &actor, Timestamp::from_millis(9_000).unwrap());
        let (claims, signature) = made.split_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let published = keys(&master, &project);
        let key = STANDARD.decode(&published.keys[KID]).unwrap();
        assert!(key.len() >= 32);
        assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap(), hmac_sha256(&key, &claims));
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["host"], "alpha.localhost:4020");
        assert_eq!(claims["method"], "GET");
        assert_eq!(claims["path_hash"], sha256_hex(b"/a"));
        assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(9), Some(69)));
        assert_eq!(claims["actor"]["emailVerified"], true);
        let other = keys(&master, &"prj_b".parse().unwrap());
        assert_ne!(other.keys[KID], published.keys[KID]);
    }
}
