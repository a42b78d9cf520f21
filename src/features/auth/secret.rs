//! One-time secrets: what the client gets, and what is stored of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// 32 random bytes in base64url: refresh tokens, magic links, handoff codes (06 §3.4, §6.5, §7.2).
pub(super) fn generate() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// What the database holds: SHA-256. A random secret of 256 bits needs no salt.
pub(super) fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}
