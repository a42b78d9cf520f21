//! A wallet: one secp256k1 key that signs people in (contract 01 §2.2).

use alloy_primitives::{Address, B256, eip191_hash_message};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use k256::ecdsa::SigningKey;
use serde_json::{Map, Value};

#[derive(Clone)]
pub struct Wallet {
    key: SigningKey,
    address: Address,
}

impl Wallet {
    pub fn random() -> Self {
        loop {
            let bytes: [u8; 32] = rand::random();
            if let Ok(key) = SigningKey::from_slice(&bytes) {
                return Self::of(key);
            }
        }
    }

    /// The wallet the shared boxes know as their administrator.
    pub fn admin() -> Self {
        Self::from_key(&[0xad; 32])
    }

    /// From the 32 bytes of a private key.
    pub fn from_key(bytes: &[u8]) -> Self {
        Self::of(SigningKey::from_slice(bytes).expect("a scalar below the order"))
    }

    fn of(key: SigningKey) -> Self {
        let address = Address::from_private_key(&key);
        Self { key, address }
    }

    pub fn address(&self) -> Address {
        self.address
    }

    /// As clients write it: EIP-55 checksum.
    pub fn checksummed(&self) -> String {
        self.address.to_checksum(None)
    }

    /// As the API answers it.
    pub fn lower(&self) -> String {
        self.checksummed().to_ascii_lowercase()
    }

    /// r ‖ s ‖ v with v 27 or 28 and a low s.
    pub fn sign(&self, digest: B256) -> [u8; 65] {
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_slice()).expect("a digest of 32 bytes");
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + recovery.to_byte();
        bytes
    }

    /// `personal_sign`, as a wallet answers it.
    pub fn personal_sign(&self, text: &str) -> String {
        format!("0x{}", hex::encode(self.sign(eip191_hash_message(text))))
    }

    /// What the SDK would sign for a request to `url`, open to changes before it is signed.
    pub fn sign_in(&self, domain: &str, url: &str) -> SignIn {
        let now = Timestamp::now();
        SignIn {
            wallet: self.clone(),
            domain: domain.to_owned(),
            address: self.checksummed(),
            statement: Some("Sign in to Run402".to_owned()),
            uri: url.to_owned(),
            version: "1".to_owned(),
            chain_id: Value::from("eip155:84532"),
            kind: "eip191".to_owned(),
            nonce: hex::encode(rand::random::<[u8; 16]>()),
            issued_at: milliseconds(now),
            expiration_time: Some(milliseconds(now + SignedDuration::from_mins(5))),
            not_before: None,
        }
    }
}

/// ISO-8601 with exactly three decimals, as JavaScript prints it.
pub fn milliseconds(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A sign-in message. Fields are public so that a test can lie in any of them.
#[derive(Clone)]
pub struct SignIn {
    wallet: Wallet,
    pub domain: String,
    pub address: String,
    pub statement: Option<String>,
    pub uri: String,
    pub version: String,
    pub chain_id: Value,
    pub kind: String,
    pub nonce: String,
    pub issued_at: String,
    pub expiration_time: Option<String>,
    pub not_before: Option<String>,
}

impl SignIn {
    /// The signed text of contract 01 §2.2.
    pub fn text(&self) -> String {
        let chain = self.chain_id.as_str().map_or_else(|| self.chain_id.to_string(), str::to_owned);
        let chain = chain.trim_start_matches("eip155:");
        let mut text =
            format!("{} wants you to sign in with your Ethereum account:\n{}\n\n", self.domain, self.address);
        if let Some(statement) = &self.statement {
            text += &format!("{statement}\n");
        }
        text += &format!(
            "\nURI: {}\nVersion: {}\nChain ID: {chain}\nNonce: {}\nIssued At: {}",
            self.uri, self.version, self.nonce, self.issued_at
        );
        if let Some(at) = &self.expiration_time {
            text += &format!("\nExpiration Time: {at}");
        }
        if let Some(at) = &self.not_before {
            text += &format!("\nNot Before: {at}");
        }
        text
    }

    pub fn signature(&self) -> [u8; 65] {
        self.wallet.sign(eip191_hash_message(self.text()))
    }

    /// The members of the header with the signature, in the order the SDK writes them.
    pub fn members(&self) -> Vec<(&'static str, Value)> {
        let mut members =
            vec![("domain", Value::from(self.domain.as_str())), ("address", self.address.as_str().into())];
        if let Some(statement) = &self.statement {
            members.push(("statement", statement.as_str().into()));
        }
        members.extend([
            ("uri", self.uri.as_str().into()),
            ("version", self.version.as_str().into()),
            ("chainId", self.chain_id.clone()),
            ("type", self.kind.as_str().into()),
            ("nonce", self.nonce.as_str().into()),
            ("issuedAt", self.issued_at.as_str().into()),
        ]);
        if let Some(at) = &self.expiration_time {
            members.push(("expirationTime", at.as_str().into()));
        }
        if let Some(at) = &self.not_before {
            members.push(("notBefore", at.as_str().into()));
        }
        members.push(("signature", format!("0x{}", hex::encode(self.signature())).into()));
        members
    }

    /// The header's object, for a test to spoil after it was signed.
    pub fn payload(&self) -> Map<String, Value> {
        self.members().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub fn header(&self) -> String {
        let members: Vec<String> =
            self.members().iter().map(|(key, value)| format!("{}:{value}", Value::from(*key))).collect();
        STANDARD.encode(format!("{{{}}}", members.join(",")))
    }
}

/// Standard base64, padded, of compact JSON: how every credential of this API travels.
pub fn encode(value: &Value) -> String {
    STANDARD.encode(serde_json::to_vec(value).expect("JSON"))
}
