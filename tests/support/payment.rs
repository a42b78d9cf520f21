//! The paying side of x402 v2 `exact` (contract 01 §3.3-3.5): an EIP-3009 authorisation over testnet USDC.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Wallet, wallet::encode};

pub const BASE_SEPOLIA: &str = "eip155:84532";
pub const TESTNET_USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub const MAINNET_USDC: &str = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

sol! {
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
}

/// The decoded `PAYMENT-REQUIRED` header of a 402.
#[derive(Clone, Debug)]
pub struct Challenge(pub Value);

impl Challenge {
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 402, "{answer}");
        let header = answer.header("payment-required").expect("a 402 carries PAYMENT-REQUIRED");
        assert!(header.len() < 8192, "the header must stay under 8 KiB");
        let bytes = STANDARD.decode(header).expect("standard base64 with padding");
        Self(serde_json::from_slice(&bytes).expect("JSON in PAYMENT-REQUIRED"))
    }

    pub fn accepts(&self) -> &[Value] {
        self.0["accepts"].as_array().expect("accepts is an array")
    }

    /// An honest payment of the first offer, open to changes before it is signed.
    pub fn pay(&self, payer: &Wallet) -> Payment {
        let offer = self.accepts().first().expect("something to pay").clone();
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let now = Timestamp::now().as_second();
        Payment {
            payer: payer.clone(),
            version: 2,
            from: payer.address(),
            to: text(&offer["payTo"]).parse().expect("an address"),
            value: text(&offer["amount"]).parse().expect("an amount"),
            valid_after: now - 600,
            valid_before: now + offer["maxTimeoutSeconds"].as_i64().expect("seconds"),
            nonce: B256::from(rand::random::<[u8; 32]>()),
            domain: Domain {
                name: text(&offer["extra"]["name"]),
                version: text(&offer["extra"]["version"]),
                chain_id: text(&offer["network"])
                    .strip_prefix("eip155:")
                    .and_then(|id| id.parse().ok())
                    .expect("a CAIP-2 id"),
                asset: text(&offer["asset"]).parse().expect("an address"),
            },
            accepted: offer,
            resource: self.0["resource"].clone(),
            extensions: self.0["extensions"].clone(),
        }
    }
}

/// The EIP-712 domain that is signed over.
#[derive(Clone, Debug)]
pub struct Domain {
    pub name: String,
    pub version: String,
    pub chain_id: u64,
    pub asset: Address,
}

/// A payment. Fields are public so that a test can lie in any of them before or after signing.
#[derive(Clone)]
pub struct Payment {
    payer: Wallet,
    pub version: i64,
    pub from: Address,
    pub to: Address,
    pub value: u64,
    pub valid_after: i64,
    pub valid_before: i64,
    pub nonce: B256,
    pub domain: Domain,
    pub accepted: Value,
    pub resource: Value,
    pub extensions: Value,
}

impl Payment {
    pub fn signature(&self) -> [u8; 65] {
        let number = |value: i64| U256::from(u64::try_from(value).expect("a time after 1970"));
        let authorization = TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: U256::from(self.value),
            validAfter: number(self.valid_after),
            validBefore: number(self.valid_before),
            nonce: self.nonce,
        };
        let domain = Eip712Domain::new(
            Some(self.domain.name.clone().into()),
            Some(self.domain.version.clone().into()),
            Some(U256::from(self.domain.chain_id)),
            Some(self.domain.asset),
            None,
        );
        self.payer.sign(authorization.eip712_signing_hash(&domain))
    }

    /// The JSON of the payment header with the given signature.
    pub fn payload_signed(&self, signature: &[u8]) -> Value {
        json!({
            "x402Version": self.version,
            "payload": {
                "authorization": {
                    "from": self.from.to_checksum(None),
                    "to": self.to.to_checksum(None),
                    "value": self.value.to_string(),
                    "validAfter": self.valid_after.to_string(),
                    "validBefore": self.valid_before.to_string(),
                    "nonce": self.nonce.to_string(),
                },
                "signature": format!("0x{}", hex::encode(signature)),
            },
            "accepted": self.accepted,
            "resource": self.resource,
            "extensions": self.extensions,
        })
    }

    pub fn payload(&self) -> Value {
        self.payload_signed(&self.signature())
    }

    pub fn header(&self) -> String {
        encode(&self.payload())
    }
}

/// The decoded receipt of a paid answer; both header spellings carry the same.
#[track_caller]
pub fn receipt(answer: &Answer) -> Value {
    let header = answer.header("payment-response").expect("a paid answer carries PAYMENT-RESPONSE");
    assert_eq!(answer.header("x-payment-response"), Some(header));
    let bytes = STANDARD.decode(header).expect("standard base64");
    serde_json::from_slice(&bytes).expect("JSON in PAYMENT-RESPONSE")
}
