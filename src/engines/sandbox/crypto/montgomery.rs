//! X25519 (RFC 7748), with its two DER forms (RFC 8410): a fixed head and the thirty-two bytes.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rsa::rand_core::{OsRng, RngCore};

const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20];
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0];

pub(super) fn generate() -> [u8; 32] {
    let mut key = [0; 32];
    OsRng.fill_bytes(&mut key);
    key
}

pub(super) fn public(private: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

/// The shared secret; none when the other side's point is of small order, which would make it the same for everyone.
pub(super) fn agree(private: &[u8; 32], public: &[u8; 32]) -> Option<[u8; 32]> {
    let secret = MontgomeryPoint(*public).mul_clamped(*private).to_bytes();
    (secret != [0; 32]).then_some(secret)
}

pub(super) fn from_pkcs8(der: &[u8]) -> Option<[u8; 32]> {
    der.strip_prefix(&PKCS8_HEAD)?.try_into().ok()
}

pub(super) fn from_spki(der: &[u8]) -> Option<[u8; 32]> {
    der.strip_prefix(&SPKI_HEAD)?.try_into().ok()
}

pub(super) fn to_pkcs8(private: &[u8; 32]) -> Vec<u8> {
    [&PKCS8_HEAD[..], private].concat()
}

pub(super) fn to_spki(public: &[u8; 32]) -> Vec<u8> {
    [&SPKI_HEAD[..], public].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 7748 §6.1.
    #[test]
    fn two_sides_agree_as_the_standard_shows() {
        let alice = key("77076d0a7318a57d3c16c17251b26645de4613f26e7e1c7a7a1b6a6d2e5f9a37");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let bob_public = key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(public(&bob), bob_public);
        assert_eq!(agree(&alice, &bob_public), agree(&bob, &public(&alice)));
        assert_eq!(agree(&alice, &[0; 32]), None);
        assert_eq!(from_pkcs8(&to_pkcs8(&bob)), Some(bob));
        assert_eq!(from_spki(&to_spki(&bob_public)), Some(bob_public));
        assert_eq!(from_spki(&to_spki(&bob_public)[1..]), None);
    }
}
