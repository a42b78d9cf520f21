//! Syntax of e-mail addresses (contract 06 §1.2), strict enough that an address can stand in a mail header.

use std::fmt;

use crate::common::{ApiError, ApiResult};

/// Longest address, in characters.
const MAX_CHARACTERS: usize = 320;

/// A trimmed, lower-case address of plausible shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EmailAddress(String);

impl EmailAddress {
    /// # Errors
    /// 400 `BAD_REQUEST` naming the field `email`.
    pub fn parse(text: &str) -> ApiResult<Self> {
        let email = text.trim().to_lowercase();
        if is_address(&email) {
            Ok(Self(email))
        } else {
            Err(ApiError::bad_request("BAD_REQUEST", "email must be an e-mail address such as name@example.com.")
                .detail("field", "email"))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_address(email: &str) -> bool {
    let Some((local, domain)) = email.split_once('@') else { return false };
    email.chars().count() <= MAX_CHARACTERS
        && !local.is_empty()
        && is_plain(local, "<>()[],;:\\\"")
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty())
        && is_plain(domain, "<>()[],;:\\\"@/?#%")
}

/// No space, no control or invisible character, and nothing that has a meaning in a header or URL.
fn is_plain(text: &str, forbidden: &str) -> bool {
    !text.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c) || forbidden.contains(c))
}

/// Zero-width characters and those that turn the direction of text, which make two addresses look alike.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A domain as `allowed_email_domains` keeps it: trimmed, lower case, without a leading `@`, in ASCII form; `None`
/// when it is not a domain (06 §6.6).
pub(super) fn normalised_domain(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let bare = trimmed.strip_prefix('@').unwrap_or(trimmed);
    if !bare.contains('.') || !is_plain(bare, "<>()[],;:\\\"@/?#%*") {
        return None;
    }
    match url::Host::parse(bare).ok()? {
        url::Host::Domain(domain)
            if domain.len() <= 253 && domain.split('.').all(|label| !label.is_empty() && label.len() <= 63) =>
        {
            Some(domain)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_trimmed_and_lower_case() {
        for (given, expected) in
            [(" Ann@Example.COM ", "ann@example.com"), ("a+b@c.de", "a+b@c.de"), ("Ž@ä.example", "ž@ä.example")]
        {
            assert_eq!(EmailAddress::parse(given).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(320));
        for text in [
            "",
            "a",
            "a@b",
            "@b.c",
            "a@",
            "a@b@c.d",
            "a b@c.de",
            "a@b..c",
            "a@.c",
            "a@c.",
            "a@b.c\r\nBcc: x@y.z",
            "a\0@b.c",
            "a@b.c\u{202e}",
            "\u{200b}a@b.c",
            "<a@b.c>",
            "\"x\"@b.c",
            "a,b@c.d",
            &long,
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn domains_are_normalised() {
        for (given, expected) in [
            ("@Example.COM", Some("example.com")),
            (" example.com ", Some("example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("", None),
            ("@", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("a b.c", None),
            ("*.example.com", None),
            ("a@b.c", None),
            ("https://a.b", None),
            ("a..b", None),
        ] {
            assert_eq!(normalised_domain(given).as_deref(), expected, "{given}");
        }
    }
}
