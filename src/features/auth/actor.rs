//! What a routed function is told of its visitor (contract 06 §9.3-9.4, 05 §8.5): the signed envelope and a short-lived
//! user token.
//!
//! The envelope's key is an HMAC key that the function's own runtime knows, so every project has its own: who holds one
//! cannot speak for another project. Keys are derived from the master key and stored nowhere.

use axum::http::Method;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};

use super::{hosted::Visit, service::Auth};
use crate::{
    common::{
        ApiResult, ProjectId,
        sealing::{hmac_sha256, sha256_hex},
    },
    features::projects::Project,
};

/// Life of an envelope, in seconds; the runtime takes no longer one.
const ENVELOPE_SECONDS: i64 = 60;

/// The request an envelope is bound to.
#[derive(Clone, Copy, Debug)]
pub struct ActorRequest<'a> {
    /// As in `x-run402-request-id`.
    pub request_id: &'a str,
    pub method: &'a Method,
    /// Host with its port, as in the URL the function sees.
    pub host: &'a str,
    /// The URL's path, as the function sees it.
    pub path: &'a str,
}

impl Auth {
    /// Id and key of a project's envelopes.
    fn actor_key(&self, project: &ProjectId) -> (String, [u8; 32]) {
        let kid = format!("ack_{}", &sha256_hex(project.as_str().as_bytes())[..16]);
        (kid, hmac_sha256(&self.pepper, format!("actor context {project}").as_bytes()))
    }

    /// The keys a function of the project verifies envelopes with.
    pub(super) fn actor_keys(&self, project: &Project) -> Value {
        let (kid, key) = self.actor_key(&project.id);
        json!({"keys": Map::from_iter([(kid, Value::from(STANDARD.encode(key)))])})
    }

    /// `x-run402-actor-context`
    pub fn actor_context(&self, visit: &Visit, request: ActorRequest<'_>) -> String {
        let (user, session) = (&visit.user, &visit.session);
        let (kid, key) = self.actor_key(&user.project);
        let now = self.clock.now().as_seconds();
        let mut actor = json!({
            "id": user.id, "email": user.email_text(), "emailVerified": user.email_verified_at.is_some(),
            "authTime": session.auth_time.as_seconds(), "amr": session.amr, "amrTimes": session.amr_times,
            "authzVersion": user.authz_version,
        });
        if user.is_test {
            actor["isTest"] = true.into();
        }
        let envelope = json!({
            "v": 1, "kid": kid, "iss": "run402-gateway", "aud": "run402-functions-runtime",
            "project_id": user.project, "request_id": request.request_id, "method": request.method.as_str(),
            "host": plain_host(request.host), "path_hash": sha256_hex(request.path.as_bytes()),
            "iat": now, "exp": now + ENVELOPE_SECONDS, "actor": actor,
        })
        .to_string();
        let signature = hmac_sha256(&key, envelope.as_bytes());
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&envelope), URL_SAFE_NO_PAD.encode(signature))
    }

    /// `x-run402-actor-token`: good for the function's own calls, a little longer than it may run.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub async fn actor_token(&self, visit: &Visit, function_seconds: i64) -> ApiResult<String> {
        let settings = self.pool_settings(&visit.user.project).await?;
        let seconds = (function_seconds + 30).max(ENVELOPE_SECONDS);
        Ok(self.access_token(&visit.user, &visit.session, &settings, seconds).await?.0)
    }
}

/// Lower case, without the ports that URLs leave out.
fn plain_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).map(str::to_owned).unwrap_or(host)
}

impl Visit {
    /// The user's id.
    pub fn user_id(&self) -> uuid::Uuid {
        self.user.id
    }

    /// What the runtime's actor is made of, with the real session (06 §9.5).
    pub fn actor(&self) -> Value {
        let mut actor = json!({
            "id": self.user.id, "projectId": self.user.project, "sessionId": self.session.id,
            "email": self.user.email_text(), "emailVerified": self.user.email_verified_at.is_some(),
            "authTime": self.session.auth_time.as_seconds(), "amr": self.session.amr,
            "amrTimes": self.session.amr_times,
        });
        if self.user.is_test {
            actor["is_test"] = true.into();
        }
        actor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_urls_leave_out_are_left_out() {
        for (host, expected) in
            [("Shop.Example.com:443", "shop.example.com"), ("a.b:80", "a.b"), ("a.localhost:4020", "a.localhost:4020")]
        {
            assert_eq!(plain_host(host), expected);
        }
    }
}
