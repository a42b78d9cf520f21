//! A software authenticator: what a browser and a security key do together (WebAuthn Level 3 §6-7).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

pub struct Authenticator {
    key: SigningKey,
    pub credential_id: Vec<u8>,
    pub counter: u32,
    /// Spoils the flags of an answer.
    pub flags: u8,
}

impl Authenticator {
    pub fn new() -> Self {
        let key = loop {
            if let Ok(key) = SigningKey::from_slice(&rand::random::<[u8; 32]>()) {
                break key;
            }
        };
        Self {
            key,
            credential_id: rand::random::<[u8; 32]>().to_vec(),
            counter: 1,
            flags: USER_PRESENT | USER_VERIFIED,
        }
    }

    /// The answer to registration options given on a page of `origin`.
    pub fn register(&self, options: &Value, origin: &str) -> Value {
        let client_data = client_data("webauthn.create", options, origin);
        let rp_id = options["rp"]["id"].as_str().expect("an rp id");
        let mut data = self.authenticator_data(rp_id, self.flags | ATTESTED);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.credential_id.len()).expect("short").to_be_bytes());
        data.extend(&self.credential_id);
        data.extend(self.cose_key());
        let mut attestation = vec![0xa3];
        attestation.extend(text("fmt"));
        attestation.extend(text("none"));
        attestation.extend(text("attStmt"));
        attestation.push(0xa0);
        attestation.extend(text("authData"));
        attestation.extend(bytes(&data));
        json!({
            "id": URL_SAFE_NO_PAD.encode(&self.credential_id),
            "rawId": URL_SAFE_NO_PAD.encode(&self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(attestation),
                "transports": ["internal", "hybrid", "made-up"],
            },
        })
    }

    /// The answer to login options given on a page of `origin`.
    pub fn log_in(&mut self, options: &Value, origin: &str) -> Value {
        let rp_id = options["rpId"].as_str().expect("an rp id").to_owned();
        self.log_in_at(options, origin, &rp_id)
    }

    /// The same, hashing another relying party.
    pub fn log_in_at(&mut self, options: &Value, origin: &str, rp_id: &str) -> Value {
        self.counter += 1;
        let client_data = client_data("webauthn.get", options, origin);
        let data = self.authenticator_data(rp_id, self.flags);
        let mut signed = data.clone();
        signed.extend(Sha256::digest(&client_data));
        let signature: Signature = self.key.sign(&signed);
        json!({
            "id": URL_SAFE_NO_PAD.encode(&self.credential_id),
            "rawId": URL_SAFE_NO_PAD.encode(&self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(data),
                "signature": URL_SAFE_NO_PAD.encode(signature.to_der().as_bytes()),
                "userHandle": null,
            },
        })
    }

    fn authenticator_data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(rp_id.as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    fn cose_key(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_encoded_point(false);
        let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21];
        key.extend(bytes(point.x().expect("a point")));
        key.push(0x22);
        key.extend(bytes(point.y().expect("a point")));
        key
    }
}

fn client_data(kind: &str, options: &Value, origin: &str) -> Vec<u8> {
    let challenge = options["challenge"].as_str().expect("a challenge");
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#).into_bytes()
}

fn text(value: &str) -> Vec<u8> {
    let mut encoded = vec![0x60 | u8::try_from(value.len()).expect("short")];
    encoded.extend(value.as_bytes());
    encoded
}

fn bytes(value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short");
    let mut encoded =
        if length < 256 { vec![0x58, length as u8] } else { [vec![0x59], length.to_be_bytes().to_vec()].concat() };
    encoded.extend(value);
    encoded
}
