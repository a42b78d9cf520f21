//! Requests that other sites make a browser send (contract 06 §10.3).

use std::{
    collections::{HashMap, VecDeque},
    fmt::Display,
    sync::{Mutex, PoisonError},
};

use axum::http::{
    HeaderMap,
    header::{ORIGIN, REFERER},
};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;
use uuid::Uuid;

use crate::{common::Timestamp, features::auth::error::AuthError};

/// Whether an unsafe request comes from a page of its own site: `Origin`, else `Referer`, must be exactly the
/// site's origin. Neither is a refusal, and so is `Origin: null`.
///
/// # Errors
/// 403 `R402_AUTH_CSRF_ORIGIN_MISMATCH`
pub fn check_origin(headers: &HeaderMap, origin: &str) -> Result<(), AuthError> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let same = match (origins.next(), origins.next()) {
        (Some(given), None) => given.to_str().is_ok_and(|given| given == origin),
        (Some(_), Some(_)) => false,
        (None, _) => headers
            .get(REFERER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| Url::parse(text).ok())
            .is_some_and(|url| url.origin().ascii_serialization() == origin),
    };
    if same { Ok(()) } else { Err(AuthError::CsrfOriginMismatch) }
}

/// The token of a session's forms: 32 hexadecimal digits of `sha256("<id>:<auth_time>:csrf")`. `id` is the session's,
/// or that of a request whose page was rendered by code that knew no other (06 §10.3).
pub fn token(id: impl Display, auth_time: Timestamp) -> String {
    let digest = Sha256::digest(format!("{id}:{}:csrf", auth_time.as_seconds()).as_bytes());
    hex::encode(&digest[..16])
}

/// Compared in constant time.
pub fn is_token(given: &str, session: Uuid, auth_time: Timestamp) -> bool {
    given.as_bytes().ct_eq(token(session, auth_time).as_bytes()).into()
}

/// How long a token made of a request's id is good, and how many of them a session has.
const RING_LIFE: SignedDuration = SignedDuration::from_hours(24);
const RING_SIZE: usize = 64;
/// Sessions remembered at most: about 12 MB.
const MAX_RINGS: usize = 2048;

/// Tokens made of request ids, by session. In memory alone: after a restart such a page has to be loaded again.
#[derive(Default)]
pub struct Forms(Mutex<HashMap<Uuid, VecDeque<(Timestamp, String)>>>);

impl Forms {
    pub fn remember(&self, session: Uuid, token: String, now: Timestamp) {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rings.len() >= MAX_RINGS && !rings.contains_key(&session) {
            forget_the_idle(&mut rings, now);
        }
        let ring = rings.entry(session).or_default();
        if ring.len() >= RING_SIZE {
            ring.pop_front();
        }
        ring.push_back((now, token));
    }

    /// Compared in constant time.
    pub fn knows(&self, session: Uuid, given: &str, now: Timestamp) -> bool {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = rings.get(&session).into_iter().flatten().filter(|(at, _)| now.since(*at) <= RING_LIFE);
        tokens.fold(false, |known, (_, token)| known | bool::from(token.as_bytes().ct_eq(given.as_bytes())))
    }
}

/// Makes room: what is too old goes, else the half that was used longest ago.
fn forget_the_idle(rings: &mut HashMap<Uuid, VecDeque<(Timestamp, String)>>, now: Timestamp) {
    rings.retain(|_, ring| ring.back().is_some_and(|(at, _)| now.since(*at) <= RING_LIFE));
    if rings.len() >= MAX_RINGS {
        let mut ages: Vec<Timestamp> = rings.values().filter_map(|ring| ring.back()).map(|(at, _)| *at).collect();
        ages.sort_unstable();
        let middle = ages[ages.len() / 2];
        rings.retain(|_, ring| ring.back().is_some_and(|(at, _)| *at > middle));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const SITE: &str = "https://shop.example.com";

    fn allowed(pairs: &[(HeaderName, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        check_origin(&headers, SITE).is_ok()
    }

    #[test]
    fn only_pages_of_the_site_itself_may_post() {
        assert!(allowed(&[(ORIGIN, SITE)]));
        assert!(allowed(&[(REFERER, "https://shop.example.com/a?b")]));
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://shop.example.com",
            "https://shop.example.com:8443",
            "https://shop.example.com.evil.example",
            "https://shop.example.com/",
            "HTTPS://shop.example.com",
        ] {
            assert!(!allowed(&[(ORIGIN, origin)]), "{origin}");
            assert!(!allowed(&[(ORIGIN, origin), (REFERER, "https://shop.example.com/")]), "{origin}");
        }
        assert!(!allowed(&[]));
        assert!(!allowed(&[(ORIGIN, SITE), (ORIGIN, SITE)]));
        assert!(!allowed(&[(REFERER, "https://shop.example.com.evil.example/")]));
        assert!(!allowed(&[(REFERER, "about:blank")]));
    }

    #[test]
    fn the_token_is_the_runtimes() {
        let session: Uuid = "6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b".parse().unwrap();
        let at = Timestamp::from_millis(1_800_000_000_123).unwrap();
        let expected = hex::encode(Sha256::digest(b"6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b:1800000000:csrf"));
        assert_eq!(token(session, at), expected[..32]);
        assert!(is_token(&token(session, at), session, at));
        assert!(!is_token("", session, at));
        assert!(!is_token(&token(Uuid::new_v4(), at), session, at));
    }

    #[test]
    fn a_session_knows_the_last_64_tokens_of_its_own_pages_for_a_day() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let (forms, session) = (Forms::default(), Uuid::new_v4());
        let day = 24 * 3600;
        for number in 0..=RING_SIZE {
            forms.remember(session, token(format!("req_{number}"), at(0)), at(0));
        }
        let knows = |id: &str, now| forms.knows(session, &token(id, at(0)), at(now));
        assert!(knows("req_1", day) && knows("req_64", 1));
        assert!(!knows("req_0", 1), "pushed out");
        assert!(!knows("req_1", day + 1), "too old");
        assert!(!forms.knows(Uuid::new_v4(), &token("req_1", at(0)), at(1)), "another session's");
        assert!(!forms.knows(session, "", at(1)));
    }

    #[test]
    fn many_sessions_do_not_fill_memory() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let forms = Forms::default();
        for number in 0..MAX_RINGS as i64 + 10 {
            forms.remember(Uuid::new_v4(), "t".into(), at(number / 10));
        }
        let newest = Uuid::new_v4();
        forms.remember(newest, "t".into(), at(MAX_RINGS as i64));
        assert!(forms.0.lock().unwrap().len() <= MAX_RINGS);
        assert!(forms.knows(newest, "t", at(MAX_RINGS as i64)));
    }
}
