//! A wallet's proof: an EIP-4361 message for this very site, signed with `personal_sign` (CAIP-122). Pure.
//!
//! What was signed is the text itself, so it is taken apart and never put together again: there is one reading of it,
//! or it is refused.

use jiff::SignedDuration;
use url::Url;

use crate::{
    common::{Timestamp, WalletAddress},
    engines::chain::signature,
};

/// A message is good for this long after it was issued; how far ahead of ours its clock may run.
pub(super) const LIFE: SignedDuration = SignedDuration::from_mins(5);
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
const MAX_TEXT: usize = 8 * 1024;
const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";
const MIN_NONCE: usize = 8;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    /// Host with its port, without a scheme.
    domain: &'a str,
    address: &'a str,
    uri: &'a str,
    nonce: &'a str,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

/// The wallet that signed a message for the site of this origin, and the message's nonce. None for any flaw.
pub(super) fn verify<'a>(
    text: &'a str,
    signed: &str,
    origin: &str,
    now: Timestamp,
) -> Option<(WalletAddress, &'a str)> {
    let message = parse(text)?;
    let site = Url::parse(origin).ok()?;
    let (_, host) = origin.split_once("://")?;
    let uri = Url::parse(message.uri).ok()?;
    let for_us = message.domain.eq_ignore_ascii_case(host) && uri.origin() == site.origin();
    let in_time = message.issued_at <= now.plus(LEEWAY)
        && message.issued_at >= now.minus(LIFE)
        && message.expires_at.is_none_or(|at| at > now)
        && message.not_before.is_none_or(|at| at <= now);
    if !for_us || !in_time {
        return None;
    }
    let claimed: WalletAddress = message.address.parse().ok()?;
    let signer = signature::recover_personal_sign(text, signed)?;
    (signer == claimed.0).then_some((claimed, message.nonce))
}

fn parse(text: &str) -> Option<Message<'_>> {
    if text.len() > MAX_TEXT || text.chars().any(|c| c.is_control() && c != '\n') {
        return None;
    }
    let mut lines = text.split('\n');
    let domain = lines.next()?.strip_suffix(PREAMBLE)?;
    let domain = domain.split_once("://").map_or(domain, |(_, domain)| domain);
    let address = lines.next()?;
    let mut lines = lines.skip_while(|line| !line.starts_with("URI: "));
    let uri = lines.next()?.strip_prefix("URI: ")?;
    let mut lines = lines.peekable();
    let mut field = |name: &str| {
        let value = lines.peek()?.strip_prefix(name)?.strip_prefix(": ")?;
        lines.next();
        Some(value)
    };
    let time = |text: &str| text.parse().map(Timestamp).ok();
    let (version, chain, nonce) = (field("Version")?, field("Chain ID")?, field("Nonce")?);
    let issued_at = time(field("Issued At")?)?;
    let expires_at = field("Expiration Time").map(|text| time(text).ok_or(())).transpose().ok()?;
    let not_before = field("Not Before").map(|text| time(text).ok_or(())).transpose().ok()?;
    let _request = field("Request ID");
    let resources_follow = lines.next_if_eq(&"Resources:").is_some();
    let is_rest_known = lines.all(|line| resources_follow && line.starts_with("- "));
    let well_formed = version == "1"
        && !chain.is_empty()
        && chain.bytes().all(|b| b.is_ascii_digit())
        && nonce.len() >= MIN_NONCE
        && nonce.bytes().all(|b| b.is_ascii_alphanumeric())
        && is_rest_known;
    well_formed.then_some(Message { domain, address, uri, nonce, issued_at, expires_at, not_before })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, eip191_hash_message};
    use k256::ecdsa::SigningKey;

    use super::*;

    const ORIGIN: &str = "http://shop.localhost:4020";

    fn now() -> Timestamp {
        "2026-06-19T10:00:00Z".parse().map(Timestamp).unwrap()
    }

    fn wallet() -> (SigningKey, String) {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let address = Address::from_private_key(&key).to_checksum(None);
        (key, address)
    }

    fn sign(key: &SigningKey, text: &str) -> String {
        let (signature, recovery) = key.sign_prehash_recoverable(eip191_hash_message(text).as_slice()).unwrap();
        format!("0x{}{:02x}", hex::encode(signature.to_bytes()), 27 + recovery.to_byte())
    }

    fn text(changes: &[(&str, &str)]) -> String {
        let mut text = format!(
            "shop.localhost:4020{PREAMBLE}\n{}\n\nSign in.\n\nURI: {ORIGIN}/login\nVersion: 1\nChain ID: 1\n\
             Nonce: abcdefgh1\nIssued At: 2026-06-19T09:58:00Z",
            wallet().1
        );
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        text
    }

    #[test]
    fn a_message_for_this_site_proves_its_wallet() {
        let (key, address) = wallet();
        for changes in [
            &[][..],
            &[("Sign in.\n\n", "")],
            &[("Sign in.\n\n", "\n")],
            &[("shop.localhost:4020 wants", "http://shop.localhost:4020 wants")],
            &[("09:58:00Z", "09:58:00Z\nExpiration Time: 2026-06-19T10:01:00Z\nNot Before: 2026-06-19T09:00:00Z")],
            &[("09:58:00Z", "09:58:00Z\nRequest ID: r-1\nResources:\n- https://a.b/c\n- ipfs://d")],
        ] {
            let text = text(changes);
            let (proved, nonce) = verify(&text, &sign(&key, &text), ORIGIN, now()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(proved, address.parse().unwrap());
            assert_eq!(nonce, "abcdefgh1");
        }
    }

    #[test]
    fn anything_else_proves_nothing() {
        let (key, _) = wallet();
        for changes in [
            &[("shop.localhost:4020 wants", "evil.example wants")][..],
            &[("shop.localhost:4020 wants", "shop.localhost wants")],
            &[("URI: http://shop.localhost:4020", "URI: http://evil.example")],
            &[("URI: http://", "URI: https://")],
            &[("URI: http://shop.localhost:4020/login", "URI: not a url")],
            &[("Version: 1", "Version: 2")],
            &[("Chain ID: 1", "Chain ID: one")],
            &[("abcdefgh1", "short")],
            &[("abcdefgh1", "abcdefgh_1")],
            &[("09:58:00Z", "09:54:59Z")],
            &[("09:58:00Z", "10:01:01Z")],
            &[("09:58:00Z", "yesterday")],
            &[("09:58:00Z", "09:58:00Z\nExpiration Time: 2026-06-19T10:00:00Z")],
            &[("09:58:00Z", "09:58:00Z\nExpiration Time: soon")],
            &[("09:58:00Z", "09:58:00Z\nNot Before: 2026-06-19T10:00:01Z")],
            &[("09:58:00Z", "09:58:00Z\nMore: text")],
            &[("09:58:00Z", "09:58:00Z\n- https://a.b")],
            &[("Nonce: abcdefgh1\n", "")],
            &[("Sign in.", "Sign\rin.")],
            &[("\n0x", "\n0y")],
        ] {
            let text = text(changes);
            assert_eq!(verify(&text, &sign(&key, &text), ORIGIN, now()), None, "{text}");
        }
        let good = text(&[]);
        let signed = sign(&key, &good);
        let other = sign(&SigningKey::from_slice(&[8; 32]).unwrap(), &good);
        for signature in [&other, "", "0x", &signed[2..], &signed[..130], &signed.replace("0x", "0x00")] {
            assert_eq!(verify(&good, signature, ORIGIN, now()), None, "{signature}");
        }
        assert_eq!(verify(&good, &signed, "http://other.localhost:4020", now()), None);
        assert_eq!(verify(&"x".repeat(MAX_TEXT + 1), &signed, ORIGIN, now()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(?s).{0,300}") {
            let _ = parse(&text);
            let _ = parse(&format!("a{PREAMBLE}\n{text}\nURI: {text}"));
        }
    }
}
