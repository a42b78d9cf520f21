//! What a routed function is told of its visitor (contract 06 §9.3-9.4, 05 §8.5): the signed envelope and a short-lived
//! user token.
//!
//! The envelope's key is an HMAC key that the function's own runtime knows, so every project has its own: who holds one
//! cannot speak for another project. Keys are derived from the master key and stored nowhere.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

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

    /// `x-run402-actor-token`: good for the function's own calls, a little longer than it may run. The requests of a
    /// few seconds share one, because a signature costs more than all the rest of telling who visits.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub(super) async fn actor_token(&self, visit: &Visit, function_seconds: i64) -> ApiResult<String> {
        let seconds = function_seconds.saturating_add(30).max(ENVELOPE_SECONDS);
        let now = self.clock.now().as_seconds();
        let facts = Facts::of(visit, seconds, self.keys.signing_kid(&visit.user.project));
        if let Some(token) = self.actor_tokens.find(visit.session.id, &facts, now) {
            return Ok(token);
        }
        let token = self.access_token(&visit.user, &visit.session, visit.role, seconds + SHARED_SECONDS).await?;
        self.actor_tokens.keep(visit.session.id, Kept { facts, token: token.clone(), until: now + SHARED_SECONDS });
        Ok(token)
    }
}

/// How long requests of a session share a token, in seconds. It lives that much longer.
const SHARED_SECONDS: i64 = 10;
/// Sessions whose tokens are kept at most: about 4 MB.
const MAX_KEPT: usize = 4096;

/// All that a token says or depends on, besides its times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    user: uuid::Uuid,
    role: &'static str,
    email: Option<String>,
    amr: Vec<String>,
    auth_time: i64,
    authz_version: i64,
    seconds: i64,
    kid: Option<String>,
}

impl Facts {
    fn of(visit: &Visit, seconds: i64, kid: Option<String>) -> Self {
        let Visit { user, session, role } = visit;
        Self {
            user: user.id,
            role,
            email: user.email.clone(),
            amr: session.amr.clone(),
            auth_time: session.auth_time.as_seconds(),
            authz_version: user.authz_version,
            seconds,
            kid,
        }
    }
}

struct Kept {
    facts: Facts,
    token: String,
    /// Seconds since 1970.
    until: i64,
}

/// Tokens made a moment ago, by session. Whether the session lives is asked before, each time.
#[derive(Default)]
pub(super) struct ActorTokens(Mutex<HashMap<uuid::Uuid, Kept>>);

impl ActorTokens {
    fn find(&self, session: uuid::Uuid, facts: &Facts, now: i64) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&session).filter(|kept| kept.until > now && kept.facts == *facts)?;
        Some(kept.token.clone())
    }

    fn keep(&self, session: uuid::Uuid, token: Kept) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            let now = token.until - SHARED_SECONDS;
            kept.retain(|_, one| one.until > now);
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
        }
        kept.insert(session, token);
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

    #[test]
    fn a_token_is_shared_for_a_moment_and_by_the_same_facts_only() {
        let facts = Facts {
            user: uuid::Uuid::new_v4(),
            role: "authenticated",
            email: None,
            amr: vec!["password".into()],
            auth_time: 1,
            authz_version: 1,
            seconds: 60,
            kid: Some("uk_a".into()),
        };
        let (tokens, session) = (ActorTokens::default(), uuid::Uuid::new_v4());
        tokens.keep(session, Kept { facts: facts.clone(), token: "t".into(), until: 10 });
        assert_eq!(tokens.find(session, &facts, 9), Some("t".into()));
        assert_eq!(tokens.find(session, &facts, 10), None);
        assert_eq!(tokens.find(uuid::Uuid::new_v4(), &facts, 9), None);
        for other in [
            Facts { role: "project_admin", ..facts.clone() },
            Facts { authz_version: 2, ..facts.clone() },
            Facts { auth_time: 2, ..facts.clone() },
            Facts { seconds: 90, ..facts.clone() },
            Facts { kid: Some("uk_b".into()), ..facts.clone() },
        ] {
            assert_eq!(tokens.find(session, &other, 9), None, "{other:?}");
        }
        for _ in 0..MAX_KEPT + 10 {
            tokens.keep(uuid::Uuid::new_v4(), Kept { facts: facts.clone(), token: "t".into(), until: 10 });
        }
        assert!(tokens.0.lock().unwrap().len() <= MAX_KEPT);
    }
}
