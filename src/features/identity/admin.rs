//! The owner of the box (contract 01 §2.6).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::common::WalletAddress;

/// How the platform admin proved himself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// By the admin key of this box.
    Key,
    /// By an admin wallet together with `X-Admin-Mode: 1`.
    Wallet(WalletAddress),
}

impl std::fmt::Display for Admin {
    /// For audit entries: `admin key`, or the wallet's address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => f.write_str("admin key"),
            Self::Wallet(wallet) => wallet.fmt(f),
        }
    }
}

/// A new admin key: `r402_admin_` and 256 random bits.
pub fn generate_key() -> String {
    format!("r402_admin_{}", hex::encode(rand::random::<[u8; 32]>()))
}

/// SHA-256 of an admin key, hexadecimal: the form the configuration may hold.
pub fn hash_key(key: &str) -> String {
    crate::common::sealing::sha256_hex(key.as_bytes())
}

/// Compares in constant time. An unreadable configured hash matches nothing.
pub(super) fn key_matches(presented: &[u8], expected_hash: &str) -> bool {
    let mut expected = [0; 32];
    hex::decode_to_slice(expected_hash, &mut expected).is_ok()
        && bool::from(Sha256::digest(presented).as_slice().ct_eq(&expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_matches() {
        let key = generate_key();
        assert!(key_matches(key.as_bytes(), &hash_key(&key)));
        assert!(!key_matches(b"", &hash_key(&key)));
        assert!(!key_matches(generate_key().as_bytes(), &hash_key(&key)));
        assert!(!key_matches(key.as_bytes(), ""));
        assert!(!key_matches(key.as_bytes(), "not hex"));
    }
}
