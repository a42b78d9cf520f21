//! What a routed function is told of its visitor (contract 06 §9.3-9.4, 05 §8.5): the signed envelope and a short-lived
//! user token.
//!
//! The envelope's key is an HMAC key that the function's own runtime knows, so every project has its own: who holds one
//! cannot speak for another project. Keys are derived from the master key and stored nowhere.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use url::Url;

use super::{hosted::Visit, routed::RoutedRequest, service::Auth};
use crate::{
    common::{
        ApiResult, ProjectId,
        sealing::{hmac_sha256, sha256_hex},
    },
    features::projects::Project,
};

/// Life of an envelope, in seconds; the runtime takes no longer one.
const ENVELOPE_SECONDS: i64 = 60;

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
    pub(super) fn actor_context(&self, visit: &Visit, request: &RoutedRequest<'_>) -> String {
        let (user, session) = (&visit.user, &visit.session);
        let (kid, key) = self.actor_key(&user.project);
        let now = self.clock.now().as_seconds();
        let (host, path) = host_and_path(request.url);
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
            "host": host, "path_hash": sha256_hex(path.as_bytes()),
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
    pub(super) async fn actor_token(&self, visit: &Visit, function_seconds: i64) -> ApiResult<String> {
        let settings = self.pool_settings(&visit.user.project).await?;
        let seconds = (function_seconds + 30).max(ENVELOPE_SECONDS);
        Ok(self.access_token(&visit.user, &visit.session, &settings, seconds).await?.0)
    }
}

/// Host and path of an absolute URL as the runtime's `URL` has them: without the port its scheme implies, the path
/// normalised. The contract leaves `:80` and `:443` out under either scheme.
fn host_and_path(url: &str) -> (String, String) {
    let Ok(url) = Url::parse(url) else { return (String::new(), "/".to_owned()) };
    let port = url.port().filter(|port| !matches!(port, 80 | 443)).map(|port| format!(":{port}")).unwrap_or_default();
    (format!("{}{port}", url.host_str().unwrap_or_default()), url.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_path_are_those_of_the_runtimes_url() {
        for (url, host, path) in [
            ("https://Shop.Example.com:443/a/B?c=/d", "shop.example.com", "/a/B"),
            ("http://a.b:80", "a.b", "/"),
            ("http://a.b:443/", "a.b", "/"),
            ("http://a.localhost:4020/?x", "a.localhost:4020", "/"),
            ("https://a.b/x/../y z", "a.b", "/y%20z"),
        ] {
            assert_eq!(host_and_path(url), (host.to_owned(), path.to_owned()), "{url}");
        }
    }
}
