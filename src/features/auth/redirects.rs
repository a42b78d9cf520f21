//! Which URLs an app may be sent back to (contract 06 §13).
//!
//! Evaluated when a link is asked for and again when it is used, because a name can change hands in between.

use url::{Host, Url};

use super::{error::AuthError, service::Auth};
use crate::{common::ProjectId, features::hosts::Bound};

/// Longest URL or `returnTo`.
pub(super) const MAX_LENGTH: usize = 2048;

impl Auth {
    /// The URL, if this project may use it.
    ///
    /// # Errors
    /// 400 `REDIRECT_NOT_ALLOWED`.
    pub(super) fn allowed_redirect(&self, project: &ProjectId, text: &str) -> Result<Url, AuthError> {
        let url = plain_url(text).ok_or(AuthError::RedirectNotAllowed)?;
        let allowed = match url.host() {
            Some(Host::Ipv4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
            Some(Host::Ipv6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
            Some(Host::Domain(name)) => self.allowed_name(project, &url, name),
            None => false,
        };
        if allowed { Ok(url) } else { Err(AuthError::RedirectNotAllowed) }
    }

    fn allowed_name(&self, project: &ProjectId, url: &Url, name: &str) -> bool {
        let is_loopback = name == "localhost" || name.ends_with(".localhost");
        let Ok(bound) = self.hosts.resolve(name) else { return false };
        if let Some(owner) = bound.owner() {
            return owner == project && (is_loopback || self.is_served_origin(url));
        }
        match bound {
            // Names of this machine are the developer's own, except those that belong to somebody here.
            Bound::Project(owner) => is_loopback && owner == *project,
            Bound::Deployment(_) => false,
            _ => is_loopback,
        }
    }

    /// Whether a site of this box is served under the scheme and port of the URL.
    fn is_served_origin(&self, url: &Url) -> bool {
        url.scheme() == self.public_url.scheme()
            && url.port_or_known_default() == self.public_url.port_or_known_default()
    }
}

/// An http(s) URL without credentials and without anything that parsers read differently.
pub(super) fn plain_url(text: &str) -> Option<Url> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.len() > MAX_LENGTH || text.chars().any(odd) {
        return None;
    }
    let rest = text.get(..8).filter(|start| start.eq_ignore_ascii_case("https://")).map(|_| &text[8..]);
    let rest = rest.or_else(|| text.get(..7).filter(|start| start.eq_ignore_ascii_case("http://")).map(|_| &text[7..]));
    if rest?.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (url.username().is_empty() && url.password().is_none() && url.host().is_some()).then_some(url)
}

/// Adds a parameter to the query, keeping what is there (06 §6.5).
pub(super) fn with_query(mut url: Url, name: &str, value: &str) -> Url {
    url.query_pairs_mut().append_pair(name, value);
    url
}

/// Where a page of this site sends its visitor afterwards (06 §10.4): a path, or a URL of exactly this origin.
///
/// # Errors
/// 400 `R402_AUTH_RETURN_TO_INVALID`.
pub(super) fn return_to(text: Option<&str>, origin: &str) -> Result<String, AuthError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok("/".to_owned()) };
    let refused = Err(AuthError::ReturnToInvalid);
    if text.len() > MAX_LENGTH || text.chars().any(|c| c.is_control() || c == '\\' || is_line_separator(c)) {
        return refused;
    }
    if text.starts_with('/') {
        if text.starts_with("//") {
            return refused;
        }
        // The browser resolves it against the page: it must stay on this origin in its eyes too.
        let Ok(base) = Url::parse(origin) else { return refused };
        return match base.join(text) {
            Ok(url) if url.origin() == base.origin() => Ok(relative(&url)),
            _ => refused,
        };
    }
    match (plain_url(text), Url::parse(origin)) {
        (Some(url), Ok(base)) if url.origin() == base.origin() => Ok(relative(&url)),
        _ => refused,
    }
}

fn is_line_separator(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Path, query and fragment; ASCII, as a `Location` header needs it.
fn relative(url: &Url) -> String {
    let text = &url[url::Position::BeforePath..];
    // A path such as `/.//evil.example` is normalised to two slashes, which a browser would read as another host.
    if text.starts_with("//") { "/".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://shop.example.com";

    #[test]
    fn a_return_path_stays_on_its_origin() {
        for (given, expected) in [
            (None, "/"),
            (Some(""), "/"),
            (Some("/a?b=c#d"), "/a?b=c#d"),
            (Some("/a//b"), "/a//b"),
            (Some("https://shop.example.com/x"), "/x"),
            (Some("https://shop.example.com:443/x"), "/x"),
            (Some("/%2f%2fevil.example"), "/%2f%2fevil.example"),
            (Some("/@evil.example"), "/@evil.example"),
            (Some("/ä"), "/%C3%A4"),
        ] {
            assert_eq!(return_to(given, ORIGIN).unwrap(), expected, "{given:?}");
        }
    }

    #[test]
    fn everything_that_could_leave_the_origin_is_refused() {
        let long = format!("/{}", "a".repeat(2048));
        for text in [
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            " /a",
            "https://evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "http://shop.example.com/",
            "https://shop.example.com.evil.example/",
            "https://shop.example.com@evil.example/",
            "https://user@shop.example.com/",
            "https://shop.example.com:8443/",
            "javascript:alert(1)",
            "data:text/html,x",
            "a",
            "..//evil.example",
            "/a\u{2028}b",
            "/a\0b",
            &long,
        ] {
            assert_eq!(return_to(Some(text), ORIGIN), Err(AuthError::ReturnToInvalid), "{text:?}");
        }
        for text in ["/.//evil.example", "/x/..//evil.example", "/./..//evil.example/"] {
            let path = return_to(Some(text), ORIGIN).unwrap();
            assert!(!path.starts_with("//"), "{text} became {path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_leads_a_browser_elsewhere(text in ".{0,60}") {
            if let Ok(path) = return_to(Some(&text), ORIGIN) {
                let base = Url::parse(ORIGIN).unwrap();
                let landed = base.join(&path).unwrap();
                proptest::prop_assert_eq!(landed.origin(), base.origin());
                proptest::prop_assert!(path.starts_with('/') && !path.starts_with("//") && path.is_ascii());
            }
        }
    }

    #[test]
    fn the_token_joins_the_query() {
        for (given, expected) in
            [("https://a.b/c", "https://a.b/c?token=t"), ("https://a.b/c?x=1#y", "https://a.b/c?x=1&token=t#y")]
        {
            assert_eq!(with_query(plain_url(given).unwrap(), "token", "t").as_str(), expected);
        }
    }
}
