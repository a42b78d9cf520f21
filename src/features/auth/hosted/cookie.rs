//! Cookies of hosted pages (contract 06 §10.1). Pure.
//!
//! Over HTTPS the name's prefix makes browsers insist on `Secure`, `Path=/` and no `Domain`. Over plain HTTP on
//! loopback names there is a variant without prefix, for development.

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};
use uuid::Uuid;

use crate::features::auth::error::AuthError;

const SESSION: &str = "r402_session";
const SECURE_SESSION: &str = "__Host-Http-r402_session";
const OAUTH: &str = "r402_oauth";
const SECURE_OAUTH: &str = "__Host-Http-r402_oauth";
const VERSION: &str = "v1";

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Session,
    /// Ties the end of a sign-in with Google to the browser that began it.
    Oauth,
}

impl Kind {
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, true) => SECURE_SESSION,
            (Self::Session, false) => SESSION,
            (Self::Oauth, true) => SECURE_OAUTH,
            (Self::Oauth, false) => OAUTH,
        }
    }
}

/// The value of a session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    pub session: Uuid,
    pub secret: String,
}

impl SessionCookie {
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let (version, session, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let well_formed = version == VERSION && parts.next().is_none() && (43..=128).contains(&secret.len());
        well_formed.then(|| Some(Self { session: Uuid::try_parse(session).ok()?, secret: secret.to_owned() }))?
    }

    pub fn value(&self) -> String {
        format!("{VERSION}.{}.{}", self.session, self.secret)
    }
}

/// The value of a cookie in a request. Two of the same name: neither is believed.
pub fn find(headers: &HeaderMap, kind: Kind, secure: bool) -> Option<&str> {
    let name = kind.name(secure);
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(given, _)| *given == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A `Set-Cookie` header; without a value it takes the cookie away.
///
/// # Errors
/// 500 `R402_AUTH_COOKIE_ATTRIBUTES_INVALID` should it come out unsafe.
pub fn set(kind: Kind, secure: bool, value: Option<&str>, max_age: i64) -> Result<HeaderValue, AuthError> {
    let (value, max_age) = value.map_or(("", 0), |value| (value, max_age));
    let name = kind.name(secure);
    let suffix = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{suffix}");
    if !is_safe(&text, secure) {
        return Err(AuthError::CookieAttributesInvalid);
    }
    HeaderValue::from_str(&text).map_err(|_| AuthError::CookieAttributesInvalid)
}

/// Whether a `Set-Cookie` header takes this cookie away: it has no value, or no time to live.
pub fn is_cleared(header: &HeaderValue, kind: Kind, secure: bool) -> bool {
    let Ok(text) = header.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return false };
    let ends = |part: &str| {
        let age = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"));
        age.is_some_and(|(_, age)| age.trim().parse::<i64>().is_ok_and(|age| age <= 0))
    };
    name.trim() == kind.name(secure) && (value.trim().is_empty() || parts.any(ends))
}

/// The last look before a cookie leaves.
fn is_safe(text: &str, secure: bool) -> bool {
    let mut attributes = text.split("; ");
    let pair = attributes.next().and_then(|pair| pair.split_once('='));
    let Some((name, value)) = pair else { return false };
    let attributes: Vec<&str> = attributes.collect();
    let has = |wanted: &str| attributes.contains(&wanted);
    value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && has("Path=/")
        && has("HttpOnly")
        && has("SameSite=Lax")
        && has("Secure") == secure
        && name.starts_with("__Host-") == secure
        && !attributes.iter().any(|attribute| attribute.to_ascii_lowercase().starts_with("domain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_host_only_and_hidden_from_scripts() {
        let secure = set(Kind::Session, true, Some("v1.a.b"), 60).unwrap();
        assert_eq!(secure, "__Host-Http-r402_session=v1.a.b; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        let plain = set(Kind::Session, false, None, 60).unwrap();
        assert_eq!(plain, "r402_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        for value in ["a;b", "a b", "a\r\nSet-Cookie: x=y", "a,b", "é"] {
            assert_eq!(set(Kind::Session, true, Some(value), 1), Err(AuthError::CookieAttributesInvalid), "{value}");
        }
        for text in ["x=1; Path=/; HttpOnly; SameSite=Lax; Secure; Domain=example.com", "x=1; Path=/; Secure"] {
            assert!(!is_safe(text, true), "{text}");
        }
    }

    #[test]
    fn a_cookie_taken_away_is_told_from_one_that_is_set() {
        let cleared = set(Kind::Session, true, None, 0).unwrap();
        assert!(is_cleared(&cleared, Kind::Session, true) && !is_cleared(&cleared, Kind::Session, false));
        let cases = [
            ("r402_session=; Path=/", true),
            ("r402_session=x; max-age=0", true),
            ("r402_session=x; Max-Age=-1", true),
            ("r402_session=x; Max-Age=60", false),
            ("r402_session=x", false),
            ("xr402_session=; Max-Age=0", false),
            ("r402_session", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_cleared(&HeaderValue::from_static(text), Kind::Session, false), expected, "{text}");
        }
    }

    #[test]
    fn values_are_parsed_strictly() {
        let cookie = SessionCookie { session: Uuid::new_v4(), secret: "s".repeat(43) };
        assert_eq!(SessionCookie::parse(&cookie.value()), Some(cookie.clone()));
        for value in
            ["", "v1", "v2.a.b", "v1.x.y", &format!("{}.x", cookie.value()), &format!("v1.{}.short", cookie.session)]
        {
            assert_eq!(SessionCookie::parse(value), None, "{value}");
        }
    }

    #[test]
    fn a_cookie_sent_twice_is_not_believed() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(COOKIE, HeaderValue::from_str(value).unwrap());
            }
            find(&headers, Kind::Session, false).map(str::to_owned)
        };
        assert_eq!(with(&["a=1; r402_session=x; b=2"]), Some("x".into()));
        assert_eq!(with(&["r402_session=x; r402_session=y"]), None);
        assert_eq!(with(&["r402_session=x", "r402_session=y"]), None);
        assert_eq!(with(&["xr402_session=x"]), None);
        assert_eq!(with(&["__Host-Http-r402_session=x"]), None);
    }
}
