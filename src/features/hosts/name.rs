//! Host names and subdomains as text (contract 04 §1.1, §1.3, §8). Pure.

use std::{borrow::Cow, net::Ipv4Addr};

use crate::common::DeploymentId;

/// RFC 1035 §2.3.4, in bytes.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
/// Ruling 4 of contract 00.
const MIN_NAME: usize = 3;

/// Names that can never be claimed, besides those that begin with `pr-` or `dpl-`.
const RESERVED: [&str; 11] =
    ["admin", "api", "auth", "cdn", "domains", "ftp", "localhost", "mail", "sites", "static", "www"];

/// The host of a request is missing, given twice, or not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The Host of this request is not one valid host name.")]
pub struct BadHost;

/// A host, normalised: lower case, without port, without a trailing dot, in A-labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hostname<'a> {
    Name(Cow<'a, str>),
    /// IPv4, or IPv6 without its brackets.
    Address(&'a str),
}

impl<'a> Hostname<'a> {
    /// Reads a `Host` header or an authority.
    ///
    /// # Errors
    /// [`BadHost`] when it is not a host name or address with an optional port.
    pub fn parse(text: &'a str) -> Result<Self, BadHost> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(BadHost)?;
            let port_ok = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            return if port_ok && address.parse::<std::net::Ipv6Addr>().is_ok() {
                Ok(Self::Address(address))
            } else {
                Err(BadHost)
            };
        }
        let host = match text.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return Err(BadHost),
            None => text,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() || host.len() > MAX_HOST {
            return Err(BadHost);
        }
        if is_normal_name(host) {
            return if host.ends_with(|last: char| last.is_ascii_digit()) && looks_numeric(host) {
                host.parse::<Ipv4Addr>().map(|_| Self::Address(host)).map_err(|_| BadHost)
            } else {
                Ok(Self::Name(Cow::Borrowed(host)))
            };
        }
        let lower = if host.is_ascii() { host.to_ascii_lowercase() } else { a_labels(host)? };
        if lower.len() <= MAX_HOST && is_normal_name(&lower) { Ok(Self::Name(Cow::Owned(lower))) } else { Err(BadHost) }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Address(address) => address,
        }
    }
}

/// A number no larger than 65535, or nothing (RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

/// Labels of lower-case letters, digits and inner hyphens.
fn is_normal_name(host: &str) -> bool {
    host.split('.').all(|label| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    })
}

/// A name whose last label is a number can only be an IPv4 address (WHATWG URL §3.5).
fn looks_numeric(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// International names are compared in their ASCII form.
fn a_labels(host: &str) -> Result<String, BadHost> {
    match url::Host::parse(host) {
        Ok(url::Host::Domain(name)) => Ok(name),
        _ => Err(BadHost),
    }
}

/// Syntax of a subdomain (ruling 4 of contract 00): the message of what is wrong.
///
/// # Errors
/// A sentence for the caller.
pub fn validate_name(name: &str) -> Result<(), &'static str> {
    let well_formed = (MIN_NAME..=MAX_LABEL).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if well_formed {
        Ok(())
    } else {
        Err(
            "A subdomain has 3-63 characters of a-z, 0-9 and single hyphens, and begins and ends with a letter or digit.",
        )
    }
}

/// Whether the platform keeps this name to itself.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with("pr-") || name.starts_with("dpl-") || RESERVED.contains(&name)
}

/// `dpl-<a>-<b>` for `dpl_<a>_<b>`.
pub(super) fn deployment_label(deployment: &DeploymentId) -> String {
    deployment.as_str().replace('_', "-")
}

/// The deployment a label stands for.
pub(super) fn deployment_of_label(label: &str) -> Option<DeploymentId> {
    let rest = label.strip_prefix("dpl-")?;
    let (first, second) = rest.split_once('-')?;
    format!("dpl_{first}_{second}").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_normalised() {
        let cases = [
            ("alpha.localhost", "alpha.localhost"),
            ("ALPHA.localhost.:9999", "alpha.localhost"),
            ("alpha.localhost:", "alpha.localhost"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example:80", "xn--bcher-kva.example"),
            ("127.0.0.1:4020", "127.0.0.1"),
            ("[::1]:4020", "::1"),
            ("a1", "a1"),
            ("1a.2b", "1a.2b"),
        ];
        for (text, expected) in cases {
            assert_eq!(Hostname::parse(text).as_ref().map(Hostname::as_str), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = format!("{}.localhost", "a.".repeat(130));
        let label = format!("{}.localhost", "a".repeat(64));
        let cases = [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a.:b",
            "bad host",
            "a_b.localhost",
            "-a.localhost",
            "a-.localhost",
            "a.localhost:99999",
            "a.localhost:-1",
            "a.localhost:80:80",
            "a.localhost:80.",
            "user@a.localhost",
            "a.localhost/x",
            "a.localhost?x",
            "a\0.localhost",
            "[::1",
            "[::1]x",
            "[zz]",
            "::1",
            "1.2.3",
            "1.2.3.256",
            "1.2.3.4.5",
            "a.localhost,b.localhost",
            "a.localhost..",
            "*.localhost",
            "%61.localhost",
            &long,
            &label,
        ];
        for text in cases {
            assert_eq!(Hostname::parse(text), Err(BadHost), "{text:?}");
        }
    }

    #[test]
    fn subdomains_have_their_grammar() {
        for name in ["abc", "a-b", "a1b", "x".repeat(63).as_str(), "123", "app"] {
            assert!(validate_name(name).is_ok(), "{name}");
        }
        for name in ["", "ab", "-ab", "ab-", "a--b", "API", "a_b", "a.b", "é12", &"x".repeat(64)] {
            assert!(validate_name(name).is_err_and(|message| message.contains("3-63")), "{name}");
        }
        for name in ["api", "www", "pr-x", "dpl-1-2", "localhost"] {
            assert!(is_reserved(name), "{name}");
        }
        assert!(!is_reserved("app") && !is_reserved("prx"));
    }

    #[test]
    fn deployment_labels_map_back() {
        let id: DeploymentId = "dpl_molnjnty_089d0e".parse().unwrap();
        assert_eq!(deployment_label(&id), "dpl-molnjnty-089d0e");
        assert_eq!(deployment_of_label("dpl-molnjnty-089d0e"), Some(id));
        for label in ["dpl-a", "dpl-", "dpl--", "dpl-a-b-c", "dpl-a-", "pr-a-b"] {
            assert_eq!(deployment_of_label(label), None, "{label}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_host_or_refused(text in "\\PC{0,80}") {
            if let Ok(host) = Hostname::parse(&text) {
                let again = Hostname::parse(host.as_str());
                let is_v6 = matches!(&host, Hostname::Address(address) if address.contains(':'));
                prop_assert!(is_v6 || again.as_ref().map(Hostname::as_str) == Ok(host.as_str()));
            }
        }
    }
}
