//! Secrets at rest, and keys derived from the box's one master key.
//!
//! The master key is 32 random bytes in a file only the service user can read (or a systemd credential).
//! Everything else that must stay secret on disk is sealed with a key derived from it, and every signing key
//! is derived from it by purpose, so a backup of the database alone gives nothing away.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;

/// The root of every secret on this box. Never logged: `Debug` prints nothing of it.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// The sealed bytes were damaged, or sealed for another purpose or by another box.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value could not be opened: it is damaged or belongs to another box")]
pub struct OpenError;

impl MasterKey {
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A 32-byte key for one purpose: HMAC-SHA256(master, purpose). Different purposes are independent.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(&self.0[..], purpose.as_bytes()))
    }

    /// Encrypts with XChaCha20-Poly1305 under a random nonce. `purpose` is bound in: a value sealed for one
    /// purpose does not open for another. Layout: nonce (24 bytes), ciphertext, tag.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let mut sealed = nonce.to_vec();
        let cipher = XChaCha20Poly1305::new(&(*self.derive("seal")).into());
        // The cipher fails only for messages beyond 256 GiB; an empty box is then refused by `open`.
        if let Ok(ciphertext) = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: purpose.as_bytes() }) {
            sealed.extend(ciphertext);
        }
        sealed
    }

    /// Reverses [`MasterKey::seal`].
    ///
    /// # Errors
    /// [`OpenError`] when the bytes were not sealed by this key for this purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        XChaCha20Poly1305::new(&(*self.derive("seal")).into())
            .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: purpose.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| OpenError)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// HMAC-SHA256 (RFC 2104).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so the constructor cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = MasterKey::generate();
        let sealed = key.seal("a", b"secret");
        assert_eq!(&key.open("a", &sealed).unwrap()[..], b"secret");
        assert!(key.open("b", &sealed).is_err());
        assert!(MasterKey::generate().open("a", &sealed).is_err());
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(key.open("a", &damaged).is_err());
        assert!(key.open("a", &sealed[..10]).is_err());
        assert_ne!(sealed, key.seal("a", b"secret"), "nonces differ");
    }

    #[test]
    fn derived_keys_differ_by_purpose() {
        let key = MasterKey::from_bytes([7; 32]);
        assert_eq!(*key.derive("a"), *key.derive("a"));
        assert_ne!(*key.derive("a"), *key.derive("b"));
    }
}
