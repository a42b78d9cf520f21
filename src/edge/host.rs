//! Which host a request is for (contract 04 §1.3). Pure.

use axum::http::{HeaderMap, HeaderName, Uri, header::HOST};

use crate::features::hosts::{BadHost, Hostname};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host of a request: what a trusted proxy says it was, else the target's authority, else `Host`. A request that
/// names two different hosts is refused, because a proxy before us may have believed the other one.
///
/// # Errors
/// [`BadHost`] when there is none, more than one, or not a host.
pub(super) fn of<'a>(uri: &'a Uri, headers: &'a HeaderMap, trusted_peer: bool) -> Result<Hostname<'a>, BadHost> {
    let header = single(headers, &HOST)?.map(Hostname::parse).transpose()?;
    let authority = uri.authority().map(|authority| Hostname::parse(authority.as_str())).transpose()?;
    let named = match (authority, header) {
        (Some(authority), Some(header)) if authority != header => return Err(BadHost),
        (Some(named), _) | (None, Some(named)) => Some(named),
        (None, None) => None,
    };
    if trusted_peer && let Some(forwarded) = single(headers, &FORWARDED_HOST)? {
        return Hostname::parse(forwarded);
    }
    named.ok_or(BadHost)
}

/// The scheme a trusted proxy says the browser uses.
pub(super) fn forwarded_scheme(headers: &HeaderMap) -> Option<&'static str> {
    match single(headers, &FORWARDED_PROTO) {
        Ok(Some("https")) => Some("https"),
        Ok(Some("http")) => Some("http"),
        _ => None,
    }
}

/// The one value of a header, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, BadHost> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadHost);
    }
    std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| BadHost)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn host(uri: &str, pairs: &[(&'static str, &str)], trusted: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of(&uri.parse().unwrap(), &headers, trusted).ok().map(|host| host.as_str().to_owned())
    }

    #[test]
    fn there_is_exactly_one_host() {
        let alpha = Some("alpha.localhost".to_owned());
        assert_eq!(host("/", &[("host", "alpha.localhost:4020")], false), alpha);
        assert_eq!(host("http://alpha.localhost/x", &[], false), alpha, "the authority of HTTP/2");
        assert_eq!(host("http://alpha.localhost/x", &[("host", "ALPHA.localhost:1")], false), alpha);
        assert_eq!(host("http://beta.localhost/x", &[("host", "alpha.localhost")], false), None);
        assert_eq!(host("http://user@alpha.localhost/", &[], false), None);
        assert_eq!(host("/", &[], false), None);
        assert_eq!(host("/", &[("host", "")], false), None);
        assert_eq!(host("/", &[("host", "alpha.localhost"), ("host", "alpha.localhost")], false), None);
        assert_eq!(host("/", &[("host", "alpha.localhost, beta.localhost")], false), None);
        assert_eq!(host("/", &[("host", "bücher.example")], false), Some("xn--bcher-kva.example".into()));
    }

    #[test]
    fn forwarded_hosts_are_believed_from_trusted_proxies_only() {
        let forwarded = [("host", "inner"), ("x-forwarded-host", "alpha.localhost")];
        assert_eq!(host("/", &forwarded, false), Some("inner".into()));
        assert_eq!(host("/", &forwarded, true), Some("alpha.localhost".into()));
        let twice = [("host", "inner"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")];
        assert_eq!(host("/", &twice, true), None);
        assert_eq!(host("/", &[("host", "inner"), ("x-forwarded-host", "a, b")], true), None);
        assert_eq!(host("/", &[("host", "inner")], true), Some("inner".into()));
    }
}
