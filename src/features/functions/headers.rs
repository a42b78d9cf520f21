//! Headers on their way in and out of functions called at the API (contract 05 §4.1, §8.3, §8.6). Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one connection only (RFC 9110 §7.6.1), besides those `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Credentials for the platform alone.
const PLATFORM_CREDENTIALS: [&str; 7] = [
    "sign-in-with-x",
    "payment",
    "x-payment",
    "payment-signature",
    "x-admin-key",
    "x-admin-mode",
    "x-run402-write-auth",
];
const PLATFORM_PREFIX: &str = "x-run402-";
/// A session the function wants made (05 §10.7).
pub(super) const MINT_DIRECTIVE: &str = "x-run402-mint-directive";
/// What the platform tells a function about its request (05 §8.3).
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Vec<(&'static str, String)>);

impl Told {
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// Replaces what the headers had under these names.
    pub fn write(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            // A pattern may hold characters beyond ASCII, which a header carries as bytes.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The client's headers as a function may see them. `apikey` and `authorization` stay.
pub(super) fn inbound(received: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(received);
    let mut headers = HeaderMap::with_capacity(received.len() + 8);
    for (name, value) in received {
        let text = name.as_str();
        let dropped = HOP_BY_HOP.contains(&text)
            || PLATFORM_CREDENTIALS.contains(&text)
            || text.starts_with(PLATFORM_PREFIX)
            || named.contains(name);
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// The function's headers as a client may see them.
pub(super) fn outbound(answered: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(answered);
    let mut headers = HeaderMap::with_capacity(answered.len() + 2);
    for (name, value) in answered {
        let text = name.as_str();
        if !HOP_BY_HOP.contains(&text) && !text.starts_with(PLATFORM_PREFIX) && !named.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_function_sees_the_keys_of_its_caller_but_no_platform_credential_and_no_false_platform_word() {
        let seen = inbound(&headers(&[
            ("apikey", "k"),
            ("authorization", "Bearer x"),
            ("content-type", "text/plain"),
            ("idempotency-key", "i"),
            ("sign-in-with-x", "abc"),
            ("x-payment", "p"),
            ("payment", "p"),
            ("x-admin-key", "a"),
            ("x-run402-user-id", "evil"),
            ("x-run402-write-auth", "w"),
            ("X-Run402-Anything", "e"),
            ("connection", "close, x-custom-hop"),
            ("x-custom-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]));
        let expected = ["apikey", "authorization", "content-type", "cookie", "cookie", "idempotency-key"];
        assert_eq!(names(&seen), expected);
    }

    #[test]
    fn what_the_platform_says_replaces_what_was_said() {
        let mut seen = headers(&[("x-run402-host", "evil")]);
        Told::default().with("x-run402-host", "api.localhost").with("x-run402-route-pattern", "/ü/*").write(&mut seen);
        assert_eq!(seen["x-run402-host"], "api.localhost");
        assert_eq!(seen["x-run402-route-pattern"].as_bytes(), "/ü/*".as_bytes());
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn an_answer_keeps_its_cookies_and_loses_what_is_for_the_platform() {
        let sent = outbound(&headers(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-run402-mint-directive", "d"),
            ("x-run402-request-id", "r"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("content-type", "text/html"),
        ]));
        assert_eq!(names(&sent), ["content-type", "set-cookie", "set-cookie"]);
    }
}
