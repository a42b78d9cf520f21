//! Cryptography for Web Crypto and node:crypto. Keys travel as PKCS#8 (private) and SPKI (public) DER; the prelude
//! keeps them as bytes and names the kind.

mod keys;
mod montgomery;
mod signatures;
mod symmetric;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    frame::{pack, unpack},
    services::ServiceError,
};

/// Digests of Web Crypto and the old ones Node still knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Elliptic curves of the Digital Signature Standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Curve {
    #[serde(rename = "P-256")]
    P256,
    #[serde(rename = "P-384")]
    P384,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Cipher {
    #[serde(rename = "aes-gcm")]
    Gcm,
    #[serde(rename = "aes-cbc")]
    Cbc,
    #[serde(rename = "aes-ctr")]
    Ctr,
    #[serde(rename = "aes-kw")]
    KeyWrap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scheme {
    Ecdsa,
    Ed25519,
    RsaPkcs1,
    RsaPss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyKind {
    Rsa,
    Ec,
    Ed25519,
    X25519,
}

/// What the prelude asks for; byte arguments are the parts of the frame, in the order of the comments.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Call {
    /// data
    Digest {
        hash: Hash,
    },
    /// key, data
    Hmac {
        hash: Hash,
    },
    /// key, salt, info
    Hkdf {
        hash: Hash,
        length: usize,
    },
    /// password, salt
    Pbkdf2 {
        hash: Hash,
        iterations: u32,
        length: usize,
    },
    /// password, salt
    Scrypt {
        log_n: u8,
        r: u32,
        p: u32,
        length: usize,
    },
    /// key, iv, data, additional data
    Cipher {
        cipher: Cipher,
        encrypt: bool,
        #[serde(default)]
        tag_bits: usize,
        #[serde(default)]
        counter_bits: u32,
        #[serde(default)]
        padding: bool,
    },
    Generate {
        kind: KeyKind,
        curve: Option<Curve>,
        bits: Option<usize>,
    },
    /// key data: any of the encodings
    Import {
        format: String,
        kind: Option<KeyKind>,
        curve: Option<Curve>,
    },
    /// key
    Export {
        format: String,
        private: bool,
    },
    /// private key
    Public {},
    /// private key, data
    Sign {
        scheme: Scheme,
        hash: Hash,
        salt: Option<usize>,
        #[serde(default)]
        der: bool,
    },
    /// public key, signature, data
    Verify {
        scheme: Scheme,
        hash: Hash,
        salt: Option<usize>,
        #[serde(default)]
        der: bool,
    },
    /// key, data, label
    RsaOaep {
        encrypt: bool,
        hash: Hash,
    },
    /// private key, public key
    Ecdh {},
}

/// Longest output of a key derivation.
const MAX_DERIVED: usize = 1 << 20;
/// Most rounds of PBKDF2: seconds of work.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Most memory of scrypt.
const MAX_SCRYPT_BYTES: u128 = 128 << 20;

pub(super) fn failed(message: impl Into<String>) -> ServiceError {
    ServiceError::named("OperationError", message)
}

/// Whether an operation is worth a thread of its own.
pub(super) fn is_heavy(payload: &[u8]) -> bool {
    let head = payload.get(4..payload.len().min(64)).unwrap_or_default();
    ["pbkdf2", "scrypt", "generate", "rsa"].iter().any(|word| head.windows(word.len()).any(|at| at == word.as_bytes()))
}

pub(super) fn run(payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (call, parts) = unpack::<Call>(payload)?;
    let part = |index: usize| parts.get(index).map_or(&[][..], Bytes::as_ref);
    let (first, second, third) = (part(0), part(1), part(2));
    match call {
        Call::Digest { hash } => Ok(symmetric::digest(hash, &[first])),
        Call::Hmac { hash } => Ok(symmetric::hmac(hash, first, second)),
        Call::Hkdf { hash, length } => symmetric::hkdf(hash, first, second, third, length.min(MAX_DERIVED)),
        Call::Pbkdf2 { hash, iterations, length } => {
            if iterations == 0 || iterations > MAX_ITERATIONS || length > MAX_DERIVED {
                return Err(failed("The parameters of PBKDF2 are out of range"));
            }
            symmetric::pbkdf2(hash, first, second, iterations, length)
        }
        Call::Scrypt { log_n, r, p, length } => {
            let memory = 128_u128.checked_shl(log_n.into()).unwrap_or(u128::MAX).saturating_mul(r.into());
            if log_n > 30 || memory > MAX_SCRYPT_BYTES || p > 1024 || length > MAX_DERIVED {
                return Err(ServiceError::named("RangeError", "Invalid scrypt params: memory limit exceeded")
                    .with_code("ERR_CRYPTO_INVALID_SCRYPT_PARAMS"));
            }
            symmetric::scrypt(first, second, log_n, r, p, length)
        }
        Call::Cipher { cipher: Cipher::Gcm, encrypt, tag_bits, .. } => {
            symmetric::gcm(encrypt, first, second, third, part(3), tag_bits)
        }
        Call::Cipher { cipher: Cipher::Cbc, encrypt, padding, .. } => {
            symmetric::cbc(encrypt, first, second, third, padding)
        }
        Call::Cipher { cipher: Cipher::KeyWrap, encrypt, .. } => symmetric::key_wrap(encrypt, first, third),
        Call::Cipher { cipher: Cipher::Ctr, counter_bits, .. } => symmetric::ctr(first, second, third, counter_bits),
        Call::Generate { kind, curve, bits } => {
            let (private, public) = keys::generate(kind, curve, bits)?;
            Ok(pack(&(), &[&private, &public]))
        }
        Call::Import { format, kind, curve } => {
            let key = keys::import(&format, kind, curve, first)?;
            let described = key.describe();
            Ok(pack(&described, &[&key.der()?]))
        }
        Call::Export { format, private } => keys::export(&keys::Key::parse(first, private)?, &format),
        Call::Public {} => keys::Key::parse(first, true)?.public()?.der(),
        Call::Sign { scheme, hash, salt, der } => {
            signatures::sign(&keys::Key::parse(first, true)?, scheme, hash, salt, der, second)
        }
        Call::Verify { scheme, hash, salt, der } => {
            let key = keys::Key::parse(first, false)?;
            Ok(vec![u8::from(signatures::verify(&key, scheme, hash, salt, der, second, third)?)])
        }
        Call::RsaOaep { encrypt, hash } => {
            signatures::oaep(&keys::Key::parse(first, !encrypt)?, encrypt, hash, second, third)
        }
        Call::Ecdh {} => keys::agree(&keys::Key::parse(first, true)?, &keys::Key::parse(second, false)?),
    }
}
