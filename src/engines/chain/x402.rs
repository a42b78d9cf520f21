//! The wire format of x402 (contract 01 §3.3, §3.4, §3.6): what a 402 offers, what a client pays with, what a
//! receipt says, and the strict codec of the three headers.

use alloy_primitives::{Address, B256, U256};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use super::{assets::Token, eip3009::Authorization};

/// Longest payment header accepted, in bytes of base64.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How long an authorisation made for an offer stays valid, in seconds.
pub const MAX_TIMEOUT_SECONDS: u64 = 300;

/// One way to pay: an entry of `accepts`, and the entry a client echoes back as `accepted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    pub asset: String,
    /// Token units, decimal.
    pub amount: String,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    #[serde(default)]
    pub extra: Value,
}

impl Requirements {
    /// An offer of the `exact` scheme: `amount` units of `token` to `pay_to`.
    pub fn exact(token: &Token, amount: i64, pay_to: Address) -> Self {
        Self {
            scheme: "exact".into(),
            network: token.chain.caip2().into(),
            asset: token.address.to_string(),
            amount: amount.to_string(),
            pay_to: format!("{pay_to:#x}"),
            max_timeout_seconds: MAX_TIMEOUT_SECONDS,
            extra: serde_json::json!({ "name": token.name, "version": token.version }),
        }
    }

    /// Whether the two say the same: addresses in any letter case, everything else exactly.
    pub fn matches(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.network == other.network
            && self.amount == other.amount
            && self.max_timeout_seconds == other.max_timeout_seconds
            && self.extra == other.extra
            && self.asset.eq_ignore_ascii_case(&other.asset)
            && self.pay_to.eq_ignore_ascii_case(&other.pay_to)
    }
}

/// The resource that is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    pub url: String,
    pub description: String,
    pub mime_type: String,
}

/// The decoded `PAYMENT-REQUIRED` header of a 402.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    #[serde(rename = "x402Version")]
    pub version: u8,
    /// "Payment required", or why a payment was refused.
    pub error: String,
    pub resource: Resource,
    pub accepts: Vec<Requirements>,
    pub extensions: Map<String, Value>,
}

/// The decoded `PAYMENT-RESPONSE` header of a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    pub success: bool,
    pub payer: String,
    pub transaction: String,
    pub network: String,
}

/// A signed authorisation as sent: the signature is still text, because a malformed one is a bad signature
/// and not a bad payload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExactPayload {
    #[serde(deserialize_with = "authorization")]
    pub authorization: Authorization,
    pub signature: String,
}

/// Which offer a payment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// v2 echoes the whole offer.
    Echoed(Requirements),
    /// v1 names scheme and network (`base-sepolia`).
    Named { scheme: String, network: String },
}

/// A decoded payment header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub chosen: Chosen,
    pub payload: ExactPayload,
}

/// Why a payment header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too long, no standard base64, no JSON, or a field missing or of the wrong form.
    #[error("the payment header is malformed")]
    Malformed,
    #[error("the x402 version is not supported")]
    Version,
}

/// The header a payment came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentHeader {
    /// `PAYMENT-SIGNATURE`: version 2 only.
    Signature,
    /// `X-PAYMENT`: version 1; version 2 is understood too.
    Legacy,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "x402Version")]
    version: u64,
}

#[derive(Deserialize)]
struct PaymentV2 {
    accepted: Requirements,
    payload: ExactPayload,
}

#[derive(Deserialize)]
struct PaymentV1 {
    scheme: String,
    network: String,
    payload: ExactPayload,
}

impl Payment {
    /// Reads a payment header: standard padded base64 of JSON, at most [`MAX_HEADER_BYTES`].
    ///
    /// # Errors
    /// [`DecodeError`], rows 1 and 2 of contract 01 §3.5.
    pub fn decode(header: PaymentHeader, value: &[u8]) -> Result<Self, DecodeError> {
        if value.len() > MAX_HEADER_BYTES {
            return Err(DecodeError::Malformed);
        }
        let json = STANDARD.decode(value).map_err(|_| DecodeError::Malformed)?;
        Self::parse(&json, header == PaymentHeader::Legacy)
    }

    /// Reads the JSON of a payment, as the facilitator endpoints receive it.
    ///
    /// # Errors
    /// [`DecodeError`], rows 1 and 2 of contract 01 §3.5.
    pub fn parse(json: &[u8], allow_v1: bool) -> Result<Self, DecodeError> {
        match read::<Version>(json)?.version {
            2 => read::<PaymentV2>(json)
                .map(|payment| Self { chosen: Chosen::Echoed(payment.accepted), payload: payment.payload }),
            1 if allow_v1 => read::<PaymentV1>(json).map(|payment| Self {
                chosen: Chosen::Named { scheme: payment.scheme, network: payment.network },
                payload: payment.payload,
            }),
            _ => Err(DecodeError::Version),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(json).map_err(|_| DecodeError::Malformed)
}

/// A header value: standard base64 with padding of the compact JSON. Clients refuse base64url.
pub fn encode<T: Serialize>(value: &T) -> String {
    // These types have string keys and no failing serialisers, so there is nothing to report.
    STANDARD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// An unsigned integer in canonical decimal: `^(0|[1-9][0-9]{0,77})$`, at most 2^256 - 1.
pub fn parse_integer(text: &str) -> Option<U256> {
    let canonical = text == "0" || (!text.starts_with('0') && (1..=78).contains(&text.len()));
    if !canonical || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    U256::from_str_radix(text, 10).ok()
}

/// `0x` and exactly `N` bytes of hexadecimal, in any letter case.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(bytes)
}

fn authorization<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Authorization, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        from: String,
        to: String,
        value: String,
        valid_after: String,
        valid_before: String,
        nonce: String,
    }
    let wire = Wire::deserialize(deserializer)?;
    let address = |text: &str| parse_hex(text).map(Address::from).ok_or_else(|| D::Error::custom("not an address"));
    let integer = |text: &str| parse_integer(text).ok_or_else(|| D::Error::custom("not a decimal integer"));
    Ok(Authorization {
        from: address(&wire.from)?,
        to: address(&wire.to)?,
        value: integer(&wire.value)?,
        valid_after: integer(&wire.valid_after)?,
        valid_before: integer(&wire.valid_before)?,
        nonce: parse_hex(&wire.nonce).map(B256::from).ok_or_else(|| D::Error::custom("not a 32-byte nonce"))?,
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::engines::chain::assets::Chain;

    fn payment() -> Value {
        json!({
            "x402Version": 2,
            "payload": {
                "authorization": {
                    "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                    "to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                    "value": "100000", "validAfter": "0", "validBefore": "1781864100",
                    "nonce": format!("0x{}", "aB".repeat(32)),
                },
                "signature": format!("0x{}", "11".repeat(65)),
            },
            "accepted": Requirements::exact(Chain::BaseSepolia.token(), 100_000, Address::ZERO),
            "resource": {"url": "http://localhost"}, "extensions": {},
        })
    }

    fn decode(value: &Value) -> Result<Payment, DecodeError> {
        Payment::decode(PaymentHeader::Signature, encode(value).as_bytes())
    }

    #[test]
    fn a_payment_is_read() {
        let payment = decode(&payment()).unwrap();
        assert_eq!(payment.payload.authorization.value, U256::from(100_000));
        assert_eq!(payment.payload.authorization.nonce, B256::repeat_byte(0xab));
        assert!(matches!(payment.chosen, Chosen::Echoed(offer) if offer.network == "eip155:84532"));
    }

    #[test]
    fn only_padded_standard_base64_of_bounded_size_is_read() {
        let mut value = payment();
        // Bytes whose base64 has both a padding and a character that base64url spells differently.
        value["resource"] = json!({"url": "???>>>~~~"});
        let mut json = serde_json::to_vec(&value).unwrap();
        while json.len() % 3 != 1 {
            json.push(b' ');
        }
        let read = |text: String| Payment::decode(PaymentHeader::Signature, text.as_bytes());
        assert!(read(STANDARD.encode(&json)).is_ok());
        assert_ne!(STANDARD.encode(&json), URL_SAFE.encode(&json));
        for text in [
            URL_SAFE.encode(&json),
            STANDARD_NO_PAD.encode(&json),
            format!(" {}", STANDARD.encode(&json)),
            String::new(),
            "!!!!".into(),
        ] {
            assert_eq!(read(text), Err(DecodeError::Malformed));
        }
        let mut long = json.clone();
        long.resize(MAX_HEADER_BYTES / 4 * 3, b' ');
        assert!(read(STANDARD.encode(&long)).is_ok(), "exactly the limit");
        long.push(b' ');
        assert_eq!(read(STANDARD.encode(&long)), Err(DecodeError::Malformed));
    }

    #[test]
    fn every_field_has_its_type() {
        let cases = [
            ("/payload/authorization/value", json!(100_000)),
            ("/payload/authorization/value", json!("0100000")),
            ("/payload/authorization/value", json!("+1")),
            ("/payload/authorization/value", json!("1e5")),
            ("/payload/authorization/value", json!("0x10")),
            ("/payload/authorization/validBefore", json!("")),
            ("/payload/authorization/validAfter", json!("-1")),
            ("/payload/authorization/validAfter", json!(null)),
            ("/payload/authorization/from", json!("0x12")),
            ("/payload/authorization/to", json!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
            ("/payload/authorization/nonce", json!("0x11")),
            ("/payload/authorization/nonce", json!("11".repeat(32))),
            ("/payload/signature", json!(7)),
            ("/payload", json!([])),
            ("/accepted", json!("exact")),
            ("/accepted/maxTimeoutSeconds", json!("300")),
            ("/accepted/maxTimeoutSeconds", json!(-1)),
            ("/x402Version", json!("2")),
        ];
        for (pointer, wrong) in cases {
            let mut value = payment();
            *value.pointer_mut(pointer).unwrap() = wrong.clone();
            assert_eq!(decode(&value), Err(DecodeError::Malformed), "{pointer} = {wrong}");
        }
        for value in [json!([]), json!(null), json!("x"), json!({})] {
            assert_eq!(decode(&value), Err(DecodeError::Malformed), "{value}");
        }
    }

    #[test]
    fn a_field_given_twice_is_refused() {
        let text = payment().to_string().replacen("\"value\":", "\"value\":\"1\",\"value\":", 1);
        assert_eq!(Payment::parse(text.as_bytes(), false), Err(DecodeError::Malformed));
    }

    #[test]
    fn versions() {
        for version in [0, 1, 3] {
            let mut value = payment();
            value["x402Version"] = json!(version);
            assert_eq!(decode(&value), Err(DecodeError::Version), "{version}");
        }
        let v1 = json!({
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payment()["payload"],
        });
        assert_eq!(decode(&v1), Err(DecodeError::Version));
        let read = Payment::decode(PaymentHeader::Legacy, encode(&v1).as_bytes()).unwrap();
        assert_eq!(read.chosen, Chosen::Named { scheme: "exact".into(), network: "base-sepolia".into() });
    }

    #[test]
    fn integers_are_canonical_and_fit_256_bits() {
        let max = U256::MAX.to_string();
        for (text, expected) in
            [("0", U256::ZERO), ("1", U256::ONE), ("100000", U256::from(100_000)), (max.as_str(), U256::MAX)]
        {
            assert_eq!(parse_integer(text), Some(expected));
        }
        let beyond = format!("{}6", &max[..77]);
        for text in ["", "00", "01", "-1", "+1", " 1", "1 ", "1.0", "1_000", "0x1", "٣", &beyond, &"9".repeat(79)] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
    }

    #[test]
    fn offers_match_addresses_in_any_case_and_the_rest_exactly() {
        let offer = Requirements::exact(Chain::BaseSepolia.token(), 100_000, Address::repeat_byte(0xab));
        let mut echo = offer.clone();
        echo.asset = echo.asset.to_lowercase();
        echo.pay_to = echo.pay_to.to_uppercase().replace("0X", "0x");
        assert!(offer.matches(&echo));
        let changes: [fn(&mut Requirements); 7] = [
            |o| o.scheme = "upto".into(),
            |o| o.network = "eip155:8453".into(),
            |o| o.amount = "99999".into(),
            |o| o.max_timeout_seconds = 301,
            |o| o.extra["version"] = json!("1"),
            |o| o.extra["more"] = json!(true),
            |o| o.pay_to = format!("{:#x}", Address::ZERO),
        ];
        for change in changes {
            let mut changed = offer.clone();
            change(&mut changed);
            assert!(!offer.matches(&changed), "{changed:?}");
        }
    }

    #[test]
    fn offers_look_as_clients_expect() {
        let offer = Requirements::exact(Chain::BaseSepolia.token(), 100_000, Address::repeat_byte(0xab));
        assert_eq!(
            serde_json::to_value(offer).unwrap(),
            json!({
                "scheme": "exact", "network": "eip155:84532",
                "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "amount": "100000",
                "payTo": format!("0x{}", "ab".repeat(20)), "maxTimeoutSeconds": 300,
                "extra": {"name": "USDC", "version": "2"},
            })
        );
    }

    proptest! {
        #[test]
        fn hostile_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Payment::decode(PaymentHeader::Legacy, &bytes);
            let _ = Payment::decode(PaymentHeader::Signature, STANDARD.encode(&bytes).as_bytes());
        }
    }
}
