//! Recovering who signed: secp256k1 over a digest, strictly.
//!
//! Every signature has a malleable twin (`n - s`, other parity) that recovers to the same address. Only the
//! low-s form (EIP-2) is accepted here, so a signature cannot be altered and still count.

use alloy_primitives::{Address, B256, Signature, U256, b256, eip191_hash_message};
use k256::ecdsa::SigningKey;

/// Half the order of secp256k1, rounded down: the largest `s` that is not the malleable twin (EIP-2).
const HALF_ORDER: B256 = b256!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// The address whose key signed `digest`. The signature is r (32 bytes), s (32 bytes), v.
///
/// `None` when v is not 0, 1, 27 or 28, when s is in the upper half, when r or s is zero or beyond the
/// order, or when no point fits.
pub fn recover(digest: B256, signature: &[u8; 65]) -> Option<Address> {
    let (scalars, [v]) = signature.split_last_chunk::<1>()?;
    let parity = match *v {
        0 | 27 => false,
        1 | 28 => true,
        _ => return None,
    };
    let s = U256::from_be_slice(&scalars[32..]);
    if s > U256::from_be_bytes(HALF_ORDER.0) {
        return None;
    }
    Signature::from_bytes_and_parity(scalars, parity).recover_address_from_prehash(&digest).ok()
}

/// The address that signed `text` with `personal_sign` (EIP-191 version 0x45). The signature is hexadecimal
/// with `0x`, as in a SIWX header (contract 01 §2.2).
///
/// `None` when the signature is not 65 bytes of hexadecimal or is refused by [`recover`].
pub fn recover_personal_sign(text: &str, signature: &str) -> Option<Address> {
    recover(eip191_hash_message(text), &parse(signature)?)
}

/// The 65 bytes of a signature written as `0x` and 130 hexadecimal digits.
pub fn parse(text: &str) -> Option<[u8; 65]> {
    let mut bytes = [0; 65];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(bytes)
}

/// The address of a private key; `None` when the bytes are no valid key (zero, or beyond the curve's order).
pub fn address_of_key(private_key: &[u8; 32]) -> Option<Address> {
    SigningKey::from_slice(private_key).ok().map(|key| Address::from_private_key(&key))
}

#[cfg(test)]
pub(crate) mod testing {
    //! A signer for tests of everything that verifies.

    use alloy_primitives::{Address, B256, Signature};
    use k256::ecdsa::SigningKey;

    /// The key of contract 01 §2.2, a publicly known development key.
    pub const KEY: [u8; 32] = *b"\xac\x09\x74\xbe\xc3\x9a\x17\xe3\x6b\xa4\xa6\xb4\xd2\x38\xff\x94\x4b\xac\xb4\x78\xcb\xed\x5e\xfc\xae\x78\x4d\x7b\xf4\xf2\xff\x80";

    pub fn address() -> Address {
        super::address_of_key(&KEY).unwrap()
    }

    /// Signs a digest; v is 27 or 28.
    pub fn sign(key: &[u8; 32], digest: B256) -> [u8; 65] {
        let (signature, id) = SigningKey::from_slice(key).unwrap().sign_prehash_recoverable(digest.as_slice()).unwrap();
        Signature::from_signature_and_parity(signature, id.is_y_odd()).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, uint};
    use proptest::prelude::*;

    use super::*;

    const SIGNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    const TEXT: &str = "localhost wants you to sign in with your Ethereum account:\n\
        0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nSign in to Run402\n\n\
        URI: http://localhost:4020/tiers/v1/status\nVersion: 1\nChain ID: 84532\n\
        Nonce: 00112233445566778899aabbccddeeff\nIssued At: 2026-06-19T10:00:00.000Z\n\
        Expiration Time: 2026-06-19T10:05:00.000Z";
    const SIGNATURE: &str = "0xa679ffdc93ac4bf05b42968eccfcc9596c38c824301230875767db215a8cbcc1\
        74c6024261d495533bcc6e5525a63754c5a99fb3a64f2f4b7609f9e6dab3a6081c";
    const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

    #[test]
    fn the_siwx_vector_recovers_its_signer() {
        assert_eq!(TEXT.len(), 309);
        assert_eq!(
            eip191_hash_message(TEXT),
            b256!("630487a63c5994d6a87d4dc09ad2f8a19d7bdb1b4fb8455f709016466a94e291")
        );
        assert_eq!(recover_personal_sign(TEXT, SIGNATURE), Some(SIGNER));
        assert_eq!(testing::address(), SIGNER);
    }

    #[test]
    fn v_is_0_1_27_or_28() {
        let digest = eip191_hash_message(TEXT);
        let mut signature = parse(SIGNATURE).unwrap();
        for v in 0..=u8::MAX {
            signature[64] = v;
            let recovered = recover(digest, &signature);
            match v {
                1 | 28 => assert_eq!(recovered, Some(SIGNER)),
                0 | 27 => assert_ne!(recovered, Some(SIGNER)),
                _ => assert_eq!(recovered, None, "{v}"),
            }
        }
    }

    #[test]
    fn the_high_s_twin_is_refused() {
        let digest = eip191_hash_message(TEXT);
        let mut twin = parse(SIGNATURE).unwrap();
        let s = U256::from_be_slice(&twin[32..64]);
        twin[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
        twin[64] = 27;
        let lenient = Signature::from_raw_array(&twin).unwrap().recover_address_from_prehash(&digest).unwrap();
        assert_eq!(lenient, SIGNER, "the twin is a valid signature elsewhere");
        assert_eq!(recover(digest, &twin), None);
        assert_eq!(U256::from_be_bytes(HALF_ORDER.0), ORDER / U256::from(2));
    }

    #[test]
    fn degenerate_scalars_are_refused() {
        for (r, s) in [(U256::ZERO, U256::ONE), (U256::ONE, U256::ZERO), (ORDER, U256::ONE), (U256::MAX, U256::ONE)] {
            let mut signature = [27; 65];
            signature[..32].copy_from_slice(&r.to_be_bytes::<32>());
            signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
            assert_eq!(recover(B256::repeat_byte(1), &signature), None);
        }
    }

    #[test]
    fn only_65_bytes_of_prefixed_hexadecimal_are_a_signature() {
        let digits = &SIGNATURE[2..];
        for text in [String::new(), "0x".into(), digits.into(), format!("0x{digits}00"), format!("0x{}", &digits[2..])]
        {
            assert_eq!(recover_personal_sign(TEXT, &text), None, "{text}");
        }
        assert_eq!(recover_personal_sign(TEXT, &SIGNATURE.replace('f', "g")), None);
    }

    #[test]
    fn keys_outside_the_curve_have_no_address() {
        assert_eq!(address_of_key(&[0; 32]), None);
        assert_eq!(address_of_key(&[0xff; 32]), None);
    }

    proptest! {
        #[test]
        fn what_was_signed_recovers_and_hostile_bytes_never_panic(
            digest: [u8; 32], noise in proptest::collection::vec(any::<u8>(), 65)
        ) {
            let digest = B256::from(digest);
            prop_assert_eq!(recover(digest, &testing::sign(&testing::KEY, digest)), Some(SIGNER));
            let noise: [u8; 65] = noise.try_into().unwrap();
            prop_assert_ne!(recover(digest, &noise), Some(SIGNER));
        }
    }
}
