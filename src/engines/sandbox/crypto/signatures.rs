//! Signatures and RSA encryption.

use ed25519_dalek::{Signer, Verifier};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::{Oaep, Pkcs1v15Sign, Pss, rand_core::OsRng, sha2 as old_sha2};

use super::{Hash, Scheme, ServiceError, failed, keys::Key, symmetric::digest};

fn mismatch() -> ServiceError {
    ServiceError::named("InvalidAccessError", "The key is not of the kind the algorithm needs")
}

fn unsupported() -> ServiceError {
    ServiceError::named("NotSupportedError", "The hash is not supported for this algorithm")
}

/// The DER prefix of a digest in a PKCS#1 v1.5 signature (RFC 8017 §9.2).
fn pkcs1(hash: Hash) -> Pkcs1v15Sign {
    let (length, prefix): (usize, &[u8]) = match hash {
        Hash::Md5 => (
            16,
            &[
                0x30, 0x20, 0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05, 0x05, 0x00, 0x04,
                0x10,
            ],
        ),
        Hash::Sha1 => (20, &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14]),
        Hash::Sha224 => (
            28,
            &[
                0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04, 0x05, 0x00,
                0x04, 0x1c,
            ],
        ),
        Hash::Sha256 => (
            32,
            &[
                0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
                0x04, 0x20,
            ],
        ),
        Hash::Sha384 => (
            48,
            &[
                0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
                0x04, 0x30,
            ],
        ),
        Hash::Sha512 => (
            64,
            &[
                0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
                0x04, 0x40,
            ],
        ),
    };
    Pkcs1v15Sign { hash_len: Some(length), prefix: prefix.into() }
}

fn pss(hash: Hash, salt: Option<usize>) -> Result<Pss, ServiceError> {
    let salt = salt.unwrap_or_else(|| digest(hash, &[]).len());
    Ok(match hash {
        Hash::Sha256 => Pss::new_with_salt::<old_sha2::Sha256>(salt),
        Hash::Sha384 => Pss::new_with_salt::<old_sha2::Sha384>(salt),
        Hash::Sha512 => Pss::new_with_salt::<old_sha2::Sha512>(salt),
        _ => return Err(unsupported()),
    })
}

pub(super) fn sign(
    key: &Key,
    scheme: Scheme,
    hash: Hash,
    salt: Option<usize>,
    der: bool,
    data: &[u8],
) -> Result<Vec<u8>, ServiceError> {
    let hashed = || digest(hash, &[data]);
    let lost = |_| failed("The signature could not be made");
    match (scheme, key) {
        (Scheme::Ed25519, Key::EdPrivate(key)) => Ok(key.sign(data).to_bytes().to_vec()),
        (Scheme::Ecdsa, Key::P256Private(key)) => {
            let key = p256::ecdsa::SigningKey::from(key.as_ref());
            let signature: p256::ecdsa::Signature =
                key.sign_prehash(&hashed()).map_err(|_| failed("The digest is too short for the curve"))?;
            Ok(if der { signature.to_der().as_bytes().to_vec() } else { signature.to_bytes().to_vec() })
        }
        (Scheme::Ecdsa, Key::P384Private(key)) => {
            let key = p384::ecdsa::SigningKey::from(key.as_ref());
            let signature: p384::ecdsa::Signature =
                key.sign_prehash(&hashed()).map_err(|_| failed("The digest is too short for the curve"))?;
            Ok(if der { signature.to_der().as_bytes().to_vec() } else { signature.to_bytes().to_vec() })
        }
        (Scheme::RsaPkcs1, Key::RsaPrivate(key)) => key.sign_with_rng(&mut OsRng, pkcs1(hash), &hashed()).map_err(lost),
        (Scheme::RsaPss, Key::RsaPrivate(key)) => {
            key.sign_with_rng(&mut OsRng, pss(hash, salt)?, &hashed()).map_err(lost)
        }
        _ => Err(mismatch()),
    }
}

pub(super) fn verify(
    key: &Key,
    scheme: Scheme,
    hash: Hash,
    salt: Option<usize>,
    der: bool,
    signature: &[u8],
    data: &[u8],
) -> Result<bool, ServiceError> {
    let hashed = || digest(hash, &[data]);
    Ok(match (scheme, key) {
        (Scheme::Ed25519, Key::EdPublic(key)) => {
            ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| key.verify(data, &signature).is_ok())
        }
        (Scheme::Ecdsa, Key::P256Public(key)) => {
            let parsed = if der {
                p256::ecdsa::Signature::from_der(signature)
            } else {
                p256::ecdsa::Signature::from_slice(signature)
            };
            let key = p256::ecdsa::VerifyingKey::from(key.as_ref());
            parsed.is_ok_and(|signature| key.verify_prehash(&hashed(), &signature).is_ok())
        }
        (Scheme::Ecdsa, Key::P384Public(key)) => {
            let parsed = if der {
                p384::ecdsa::Signature::from_der(signature)
            } else {
                p384::ecdsa::Signature::from_slice(signature)
            };
            let key = p384::ecdsa::VerifyingKey::from(key.as_ref());
            parsed.is_ok_and(|signature| key.verify_prehash(&hashed(), &signature).is_ok())
        }
        (Scheme::RsaPkcs1, Key::RsaPublic(key)) => key.verify(pkcs1(hash), &hashed(), signature).is_ok(),
        (Scheme::RsaPss, Key::RsaPublic(key)) => key.verify(pss(hash, salt)?, &hashed(), signature).is_ok(),
        _ => return Err(mismatch()),
    })
}

pub(super) fn oaep(key: &Key, encrypt: bool, hash: Hash, data: &[u8], label: &[u8]) -> Result<Vec<u8>, ServiceError> {
    let mut padding = match hash {
        Hash::Sha256 => Oaep::new::<old_sha2::Sha256>(),
        Hash::Sha384 => Oaep::new::<old_sha2::Sha384>(),
        Hash::Sha512 => Oaep::new::<old_sha2::Sha512>(),
        _ => return Err(unsupported()),
    };
    if !label.is_empty() {
        padding.label = Some(
            String::from_utf8(label.to_vec())
                .map_err(|_| ServiceError::named("NotSupportedError", "OAEP labels are text here"))?,
        );
    }
    match (encrypt, key) {
        (true, Key::RsaPublic(key)) => {
            key.encrypt(&mut OsRng, padding, data).map_err(|error| failed(error.to_string()))
        }
        (false, Key::RsaPrivate(key)) => {
            key.decrypt_blinded(&mut OsRng, padding, data).map_err(|_| failed("bad decrypt"))
        }
        _ => Err(mismatch()),
    }
}
