//! Sign-In-With-X: a wallet's signature over a message for this box (contract 01 §2.2-2.3, EIP-4361, EIP-191).
//!
//! The header is base64 of a JSON object with the fields of an EIP-4361 message and the signature over its
//! text. The client sends the same header again on a paid retry, so a nonce may be seen twice while it is
//! valid; what limits replay is the five-minute window and the domain.

use std::fmt::{self, Write as _};

use alloy_primitives::eip191_hash_message;
use axum::http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    common::{ApiError, Timestamp, WalletAddress},
    engines::chain::signature,
};

const MAX_HEADER_BYTES: usize = 8 * 1024;
/// A message is good for this long after it was issued, whatever expiry it names itself.
const LIFETIME: SignedDuration = SignedDuration::from_secs(300);
/// How far ahead of ours a client's clock may run.
const CLOCK_LEEWAY: SignedDuration = SignedDuration::from_secs(60);
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why a header was refused; the word goes into `details.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Malformed,
    MissingField,
    DomainMismatch,
    UriMismatch,
    NotYetValid,
    Expired,
    BadSignature,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::DomainMismatch => "domain_mismatch",
            Self::UriMismatch => "uri_mismatch",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::BadSignature => "bad_signature",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "it is not base64 of a well-formed message",
            Self::MissingField => "a required field is missing",
            Self::DomainMismatch => "it was signed for another domain",
            Self::UriMismatch => "its uri is not on the domain it was signed for",
            Self::NotYetValid => "it is dated in the future; check the clock",
            Self::Expired => "it has expired; sign a new one",
            Self::BadSignature => "the signature is not of the address it names",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a message is checked against.
pub(super) struct Rules<'a> {
    pub public_url: &'a Url,
    pub accept_domains: &'a [String],
    pub loopback: bool,
    pub now: Timestamp,
}

/// The header's JSON, in any key order. Optional fields a client may leave out stay `None`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    domain: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    statement: String,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    chain_id: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    issued_at: String,
    #[serde(default)]
    signature: String,
    expiration_time: Option<String>,
    not_before: Option<String>,
    request_id: Option<String>,
    resources: Option<Vec<String>>,
}

impl Message {
    fn required(&self) -> [&str; 10] {
        [
            &self.domain,
            &self.address,
            &self.statement,
            &self.uri,
            &self.version,
            &self.chain_id,
            &self.kind,
            &self.nonce,
            &self.issued_at,
            &self.signature,
        ]
    }

    fn strings(&self) -> impl Iterator<Item = &str> {
        let optional = [&self.expiration_time, &self.not_before, &self.request_id];
        self.required()
            .into_iter()
            .chain(optional.into_iter().flatten().map(String::as_str))
            .chain(self.resources.iter().flatten().map(String::as_str))
    }

    /// The digits of `eip155:<digits>`.
    fn chain_number(&self) -> Option<&str> {
        let digits = self.chain_id.strip_prefix("eip155:")?;
        ((1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
    }

    /// The signed text, byte for byte (01 §2.2).
    fn text(&self, chain_number: &str) -> String {
        let mut text = format!(
            "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: {}\nChain ID: {}\nNonce: {}\nIssued At: {}",
            self.domain, self.address, self.statement, self.uri, self.version, chain_number, self.nonce, self.issued_at
        );
        let optional = [
            ("Expiration Time", &self.expiration_time),
            ("Not Before", &self.not_before),
            ("Request ID", &self.request_id),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                let _ = write!(text, "\n{name}: {value}");
            }
        }
        if let Some(resources) = &self.resources {
            text.push_str("\nResources:");
            for resource in resources {
                let _ = write!(text, "\n- {resource}");
            }
        }
        text
    }
}

/// Runs the checks of 01 §2.3 in order and returns the wallet.
pub(super) fn verify(header: &[u8], rules: &Rules<'_>) -> Result<WalletAddress, Reason> {
    let message = decode(header)?;
    if message.required().iter().any(|field| field.is_empty()) {
        return Err(Reason::MissingField);
    }
    let chain_number = message.chain_number().ok_or(Reason::Malformed)?;
    let nonce_ok = message.nonce.len() >= 8 && message.nonce.bytes().all(|b| b.is_ascii_alphanumeric());
    if message.kind != "eip191"
        || message.version != "1"
        || !nonce_ok
        || message.strings().any(|text| text.contains(['\r', '\n']))
    {
        return Err(Reason::Malformed);
    }
    let host = check_domain(&message.domain, rules)?;
    check_uri(&message.uri, &host)?;
    check_times(&message, rules.now)?;
    check_signature(&message, chain_number)
}

fn decode(header: &[u8]) -> Result<Message, Reason> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(Reason::Malformed);
    }
    let json = STANDARD.decode(header).map_err(|_| Reason::Malformed)?;
    // An object and nothing else, and field types are part of the form: a numeric chainId is refused, as the cloud does.
    let object: serde_json::Map<String, Value> = serde_json::from_slice(&json).map_err(|_| Reason::Malformed)?;
    serde_json::from_value(Value::Object(object)).map_err(|_| Reason::Malformed)
}

/// The domain must be this box's; the request's own `Host` header is never trusted. Returns it without its port.
fn check_domain(domain: &str, rules: &Rules<'_>) -> Result<String, Reason> {
    let domain = domain.to_ascii_lowercase();
    let host = match rules.public_url.port_or_known_default() {
        Some(port) => domain.strip_suffix(&format!(":{port}")).unwrap_or(&domain),
        None => &domain,
    };
    let ours = rules.public_url.host_str() == Some(host)
        || rules.accept_domains.iter().any(|accepted| accepted.eq_ignore_ascii_case(host))
        || (rules.loopback && LOOPBACK_NAMES.contains(&host));
    ours.then(|| host.to_owned()).ok_or(Reason::DomainMismatch)
}

/// The uri's host must be the domain. Port and path are free: proxies change them and clients double slashes.
fn check_uri(uri: &str, host: &str) -> Result<(), Reason> {
    let uri = Url::parse(uri).map_err(|_| Reason::UriMismatch)?;
    let http = matches!(uri.scheme(), "http" | "https");
    if http && uri.host_str() == Some(host) { Ok(()) } else { Err(Reason::UriMismatch) }
}

fn check_times(message: &Message, now: Timestamp) -> Result<(), Reason> {
    let parse = |text: &str| text.parse().map(Timestamp).map_err(|_| Reason::Malformed);
    let issued_at = parse(&message.issued_at)?;
    let not_before = message.not_before.as_deref().map(parse).transpose()?;
    let expiration = message.expiration_time.as_deref().map(parse).transpose()?;
    if issued_at > now.plus(CLOCK_LEEWAY) || not_before.is_some_and(|at| at > now) {
        return Err(Reason::NotYetValid);
    }
    if issued_at < now.minus(LIFETIME) || expiration.is_some_and(|at| at <= now) {
        return Err(Reason::Expired);
    }
    Ok(())
}

fn check_signature(message: &Message, chain_number: &str) -> Result<WalletAddress, Reason> {
    let claimed: WalletAddress = message.address.parse().map_err(|_| Reason::BadSignature)?;
    let mut bytes = [0; 65];
    let digits = message.signature.strip_prefix("0x").ok_or(Reason::BadSignature)?;
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| Reason::BadSignature)?;
    let digest = eip191_hash_message(message.text(chain_number));
    match signature::recover(digest, &bytes) {
        Some(signer) if signer == claimed.0 => Ok(claimed),
        _ => Err(Reason::BadSignature),
    }
}

/// 402 `SIWX_INVALID`: a challenge with nothing to pay and the sign-in extension, so that a paying client
/// signs again instead of paying (01 §2.3).
pub(super) fn invalid(reason: Reason, resource_url: &str, extension: Value) -> ApiError {
    let sentence = format!("The wallet signature was refused: {}.", reason.advice());
    let challenge = json!({
        "x402Version": 2,
        "error": sentence,
        "resource": {"url": resource_url, "description": "Sign in to Run402", "mimeType": "application/json"},
        "accepts": [],
        "extensions": {"sign-in-with-x": extension},
    });
    let header = STANDARD.encode(challenge.to_string());
    let error = ApiError::new(StatusCode::PAYMENT_REQUIRED, "SIWX_INVALID", sentence)
        .category(crate::common::Category::Auth)
        .retryable(false)
        .detail("reason", reason.word())
        .extra("x402", challenge)
        .header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .next_action(crate::common::NextAction::new("authenticate", "Sign a fresh message for this box."));
    match HeaderValue::from_str(&header) {
        Ok(value) => error.header(HeaderName::from_static("payment-required"), value),
        Err(_) => error,
    }
}

/// The extension object that tells a client what to sign (01 §3.3).
pub(super) fn sign_in_extension(resource_url: &str, domain: &str, now: Timestamp) -> Value {
    let string = json!({"type": "string"});
    json!({
        "info": {
            "domain": domain,
            "uri": resource_url,
            "version": "1",
            "nonce": hex::encode(rand::random::<[u8; 16]>()),
            "issuedAt": now,
            "resources": [resource_url],
            "statement": "Sign in to Run402",
        },
        "supportedChains": [{"chainId": "eip155:84532", "type": "eip191"}],
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "domain": string, "address": string, "statement": string, "uri": string, "version": string,
                "chainId": string, "type": string, "nonce": string, "issuedAt": string,
                "expirationTime": string, "notBefore": string, "requestId": string,
                "resources": {"type": "array", "items": string}, "signature": string,
            },
            "required": ["domain", "address", "statement", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vector of contract 01 §2.2.
    const VECTOR: &str = "eyJkb21haW4iOiJsb2NhbGhvc3QiLCJhZGRyZXNzIjoiMHhmMzlGZDZlNTFhYWQ4OEY2RjRjZTZhQjg4MjcyNzljZmZGYjkyMjY2Iiwic3RhdGVtZW50IjoiU2lnbiBpbiB0byBSdW40MDIiLCJ1cmkiOiJodHRwOi8vbG9jYWxob3N0OjQwMjAvdGllcnMvdjEvc3RhdHVzIiwidmVyc2lvbiI6IjEiLCJjaGFpbklkIjoiZWlwMTU1Ojg0NTMyIiwidHlwZSI6ImVpcDE5MSIsIm5vbmNlIjoiMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYiLCJpc3N1ZWRBdCI6IjIwMjYtMDYtMTlUMTA6MDA6MDAuMDAwWiIsImV4cGlyYXRpb25UaW1lIjoiMjAyNi0wNi0xOVQxMDowNTowMC4wMDBaIiwic2lnbmF0dXJlIjoiMHhhNjc5ZmZkYzkzYWM0YmYwNWI0Mjk2OGVjY2ZjYzk1OTZjMzhjODI0MzAxMjMwODc1NzY3ZGIyMTVhOGNiY2MxNzRjNjAyNDI2MWQ0OTU1MzNiY2M2ZTU1MjVhNjM3NTRjNWE5OWZiM2E2NGYyZjRiNzYwOWY5ZTZkYWIzYTYwODFjIn0=";

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse().unwrap())
    }

    fn verify_at(header: &str, public_url: &str, now: &str) -> Result<String, Reason> {
        let public_url = Url::parse(public_url).unwrap();
        let rules = Rules { public_url: &public_url, accept_domains: &[], loopback: true, now: at(now) };
        verify(header.as_bytes(), &rules).map(|wallet| wallet.to_string())
    }

    fn verify_now(header: &str) -> Result<String, Reason> {
        verify_at(header, "http://localhost:4020", "2026-06-19T10:01:00Z")
    }

    fn vector() -> Value {
        serde_json::from_slice(&STANDARD.decode(VECTOR).unwrap()).unwrap()
    }

    fn changed(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
        let mut value = vector();
        change(value.as_object_mut().unwrap());
        STANDARD.encode(value.to_string())
    }

    #[test]
    fn vector_verifies_inside_its_window_only() {
        let wallet = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
        assert_eq!(verify_now(VECTOR).as_deref(), Ok(wallet));
        assert_eq!(verify_at(VECTOR, "http://localhost:4020", "2026-06-19T10:04:59.999Z").as_deref(), Ok(wallet));
        assert_eq!(verify_at(VECTOR, "http://localhost:4020", "2026-06-19T10:05:01Z"), Err(Reason::Expired));
        assert_eq!(verify_at(VECTOR, "http://localhost:4020", "2026-06-19T09:58:59Z"), Err(Reason::NotYetValid));
    }

    #[test]
    fn signed_text_is_309_bytes() {
        let message: Message = serde_json::from_value(vector()).unwrap();
        let text = message.text("84532");
        assert_eq!(text.len(), 309);
        assert_eq!(
            eip191_hash_message(text).to_string(),
            "0x630487a63c5994d6a87d4dc09ad2f8a19d7bdb1b4fb8455f709016466a94e291"
        );
    }

    #[test]
    fn each_broken_message_has_its_reason() {
        let flip = |text: &str| text.replacen("a679", "b679", 1);
        let cases: Vec<(String, Reason)> = vec![
            (STANDARD.encode("{}"), Reason::MissingField),
            (STANDARD.encode("[]"), Reason::Malformed),
            ("not base64!".into(), Reason::Malformed),
            (VECTOR.replace('=', ""), Reason::Malformed),
            ("A".repeat(MAX_HEADER_BYTES + 4), Reason::Malformed),
            (changed(|m| drop(m.remove("statement"))), Reason::MissingField),
            (changed(|m| drop(m.insert("chainId".into(), json!(84532)))), Reason::Malformed),
            (changed(|m| drop(m.insert("chainId".into(), json!("eip155:")))), Reason::Malformed),
            (changed(|m| drop(m.insert("type".into(), json!("eip1271")))), Reason::Malformed),
            (changed(|m| drop(m.insert("version".into(), json!("2")))), Reason::Malformed),
            (changed(|m| drop(m.insert("nonce".into(), json!("short")))), Reason::Malformed),
            (changed(|m| drop(m.insert("statement".into(), json!("a\nb")))), Reason::Malformed),
            (changed(|m| drop(m.insert("issuedAt".into(), json!("yesterday")))), Reason::Malformed),
            (changed(|m| drop(m.insert("domain".into(), json!("evil.example")))), Reason::DomainMismatch),
            (changed(|m| drop(m.insert("uri".into(), json!("http://evil.example/")))), Reason::UriMismatch),
            (changed(|m| drop(m.insert("uri".into(), json!("ftp://localhost/")))), Reason::UriMismatch),
            (changed(|m| drop(m.insert("statement".into(), json!("Something else")))), Reason::BadSignature),
            (
                changed(|m| {
                    let signature = flip(m["signature"].as_str().unwrap());
                    m.insert("signature".into(), json!(signature));
                }),
                Reason::BadSignature,
            ),
            (
                changed(|m| drop(m.insert("address".into(), json!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")))),
                Reason::BadSignature,
            ),
            (changed(|m| drop(m.insert("signature".into(), json!("0x00")))), Reason::BadSignature),
        ];
        for (header, reason) in cases {
            assert_eq!(verify_now(&header), Err(reason), "{header}");
        }
    }

    #[test]
    fn other_hosts_are_refused_unless_configured() {
        let now = "2026-06-19T10:01:00Z";
        let public_url = Url::parse("https://api.example.com").unwrap();
        let rules = |accept: &'static [String], loopback| Rules {
            public_url: &public_url,
            accept_domains: accept,
            loopback,
            now: at(now),
        };
        assert_eq!(verify(VECTOR.as_bytes(), &rules(&[], false)), Err(Reason::DomainMismatch));
        let accepted: &'static [String] = Box::leak(Box::new([String::from("LOCALHOST")]));
        assert!(verify(VECTOR.as_bytes(), &rules(accepted, false)).is_ok());
        assert!(verify(VECTOR.as_bytes(), &rules(&[], true)).is_ok());
    }

    #[test]
    fn refusal_offers_nothing_to_pay() {
        let error = invalid(Reason::Expired, "http://localhost:4020/x", json!({}));
        let header = error.headers().iter().find(|(name, _)| name == "payment-required").unwrap();
        let challenge: Value = serde_json::from_slice(&STANDARD.decode(header.1.as_bytes()).unwrap()).unwrap();
        assert_eq!(challenge["accepts"], json!([]));
        assert_eq!(error.status(), StatusCode::PAYMENT_REQUIRED);
    }

    proptest! {
        #[test]
        fn never_panics_on_hostile_headers(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = verify_now(&STANDARD.encode(&bytes));
            let _ = verify_now(&String::from_utf8_lossy(&bytes));
        }
    }
}
