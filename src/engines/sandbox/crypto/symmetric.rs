//! Digests, MACs, key derivation and AES.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser},
};
use aes_gcm::{
    AesGcm,
    aead::{
        Aead, Payload,
        consts::{U8, U12, U16, U32},
    },
};
use cbc::cipher::{
    BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher,
    block_padding::{NoPadding, Pkcs7},
};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::{Hash, ServiceError, failed};

macro_rules! with_hash {
    ($hash:expr, $kind:ident => $body:expr) => {
        match $hash {
            Hash::Md5 => {
                type $kind = Md5;
                $body
            }
            Hash::Sha1 => {
                type $kind = Sha1;
                $body
            }
            Hash::Sha224 => {
                type $kind = Sha224;
                $body
            }
            Hash::Sha256 => {
                type $kind = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $kind = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $kind = Sha512;
                $body
            }
        }
    };
}

pub(super) fn digest(hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
    with_hash!(hash, H => {
        let mut hasher = H::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().to_vec()
    })
}

fn mac<H: EagerHash>(key: &[u8], data: &[u8]) -> Vec<u8>
where
    Hmac<H>: KeyInit + Mac,
{
    // A key of any length is a key of HMAC.
    <Hmac<H> as KeyInit>::new_from_slice(key)
        .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

pub(super) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    with_hash!(hash, H => mac::<H>(key, data))
}

/// RFC 5869, on HMAC: the digest decides the types, so the two steps are written out.
pub(super) fn hkdf(hash: Hash, key: &[u8], salt: &[u8], info: &[u8], length: usize) -> Result<Vec<u8>, ServiceError> {
    let size = digest(hash, &[]).len();
    if length > 255 * size {
        return Err(failed("The length is out of range for HKDF"));
    }
    let zeros = vec![0; size];
    let secret = hmac(hash, if salt.is_empty() { &zeros } else { salt }, key);
    let (mut out, mut block) = (Vec::with_capacity(length + size), Vec::new());
    for counter in 1..=u8::MAX {
        if out.len() >= length {
            break;
        }
        let input = [&block, info, &[counter]].concat();
        block = hmac(hash, &secret, &input);
        out.extend_from_slice(&block);
    }
    out.truncate(length);
    Ok(out)
}

pub(super) fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Result<Vec<u8>, ServiceError> {
    let mut out = vec![0; length];
    with_hash!(hash, H => pbkdf2::pbkdf2_hmac::<H>(password, salt, iterations, &mut out));
    Ok(out)
}

pub(super) fn scrypt(
    password: &[u8],
    salt: &[u8],
    log_n: u8,
    r: u32,
    p: u32,
    length: usize,
) -> Result<Vec<u8>, ServiceError> {
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| failed("Invalid scrypt params"))?;
    let mut out = vec![0; length];
    scrypt::scrypt(password, salt, &params, &mut out).map_err(|_| failed("Invalid scrypt params"))?;
    Ok(out)
}

fn key_error() -> ServiceError {
    ServiceError::named("RangeError", "Invalid key length").with_code("ERR_CRYPTO_INVALID_KEYLEN")
}

fn iv_error() -> ServiceError {
    ServiceError::named("OperationError", "Invalid initialization vector").with_code("ERR_CRYPTO_INVALID_IV")
}

/// Lengths of AES-GCM tags in bits, after NIST SP 800-38D.
const TAG_BITS: [usize; 7] = [32, 64, 96, 104, 112, 120, 128];
const TAG_BYTES: usize = 16;

/// AES-GCM. Nonces are of the lengths in use: 96 bits, and 64, 128 and 256 for what Node code does.
pub(super) fn gcm(
    encrypt: bool,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
    aad: &[u8],
    tag_bits: usize,
) -> Result<Vec<u8>, ServiceError> {
    let refused = || failed("The operation failed for an operation-specific reason");
    let tag = if tag_bits == 0 { TAG_BYTES } else { tag_bits / 8 };
    if tag_bits != 0 && !TAG_BITS.contains(&tag_bits) {
        return Err(failed("AES-GCM has no tags of this length"));
    }
    if encrypt {
        let mut out = sealed(key, iv, data, aad)?;
        out.truncate(out.len() - TAG_BYTES + tag);
        return Ok(out);
    }
    // The keystream is its own inverse: sealing the ciphertext uncovers the text, sealing that makes the tag anew.
    let length = data.len().checked_sub(tag).ok_or_else(refused)?;
    let mut text = sealed(key, iv, &data[..length], &[])?;
    text.truncate(length);
    let again = sealed(key, iv, &text, aad)?;
    let genuine: bool = again[length..length + tag].ct_eq(&data[length..]).into();
    if genuine { Ok(text) } else { Err(refused()) }
}

/// The ciphertext with its whole tag.
fn sealed(key: &[u8], iv: &[u8], data: &[u8], aad: &[u8]) -> Result<Vec<u8>, ServiceError> {
    fn go<C: Aead + aes_gcm::KeyInit>(key: &[u8], iv: &[u8], data: &[u8], aad: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let nonce = aes_gcm::aead::Nonce::<C>::try_from(iv).map_err(|_| iv_error())?;
        let cipher = C::new_from_slice(key).map_err(|_| key_error())?;
        cipher.encrypt(&nonce, Payload { msg: data, aad }).map_err(|_| failed("The data is too long for AES-GCM"))
    }
    match (key.len(), iv.len()) {
        (16, 8) => go::<AesGcm<Aes128, U8>>(key, iv, data, aad),
        (24, 8) => go::<AesGcm<Aes192, U8>>(key, iv, data, aad),
        (32, 8) => go::<AesGcm<Aes256, U8>>(key, iv, data, aad),
        (16, 12) => go::<AesGcm<Aes128, U12>>(key, iv, data, aad),
        (24, 12) => go::<AesGcm<Aes192, U12>>(key, iv, data, aad),
        (32, 12) => go::<AesGcm<Aes256, U12>>(key, iv, data, aad),
        (16, 16) => go::<AesGcm<Aes128, U16>>(key, iv, data, aad),
        (24, 16) => go::<AesGcm<Aes192, U16>>(key, iv, data, aad),
        (32, 16) => go::<AesGcm<Aes256, U16>>(key, iv, data, aad),
        (16, 32) => go::<AesGcm<Aes128, U32>>(key, iv, data, aad),
        (24, 32) => go::<AesGcm<Aes192, U32>>(key, iv, data, aad),
        (32, 32) => go::<AesGcm<Aes256, U32>>(key, iv, data, aad),
        (16 | 24 | 32, _) => Err(ServiceError::named(
            "NotSupportedError",
            "The initialization vector of AES-GCM must be 8, 12, 16 or 32 bytes",
        )),
        _ => Err(key_error()),
    }
}

/// The first register of a wrapped key (RFC 3394 §2.2.3.1).
const WRAP_IV: [u8; 8] = [0xa6; 8];

/// AES key wrap, RFC 3394.
pub(super) fn key_wrap(encrypt: bool, key: &[u8], data: &[u8]) -> Result<Vec<u8>, ServiceError> {
    fn go<C: aes::cipher::KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>>(
        encrypt: bool,
        key: &[u8],
        data: &[u8],
    ) -> Result<Vec<u8>, ServiceError> {
        let cipher = C::new_from_slice(key).map_err(|_| key_error())?;
        let blocks = if encrypt { data.len() / 8 } else { data.len() / 8 - 1 };
        let mut out = if encrypt { [&WRAP_IV, data].concat() } else { data.to_vec() };
        for step in 0..6 * blocks {
            let step = if encrypt { step } else { 6 * blocks - 1 - step };
            let (at, count) = (8 * (1 + step % blocks), (step as u64 + 1).to_be_bytes());
            let mut block = [0; 16];
            block[..8].copy_from_slice(&out[..8]);
            block[8..].copy_from_slice(&out[at..at + 8]);
            if !encrypt {
                block.iter_mut().zip(count).for_each(|(byte, mask)| *byte ^= mask);
            }
            let mut block = block.into();
            if encrypt {
                cipher.encrypt_block(&mut block)
            } else {
                cipher.decrypt_block(&mut block)
            };
            let mut block: [u8; 16] = block.into();
            if encrypt {
                block.iter_mut().zip(count).for_each(|(byte, mask)| *byte ^= mask);
            }
            out[..8].copy_from_slice(&block[..8]);
            out[at..at + 8].copy_from_slice(&block[8..]);
        }
        if encrypt {
            return Ok(out);
        }
        let genuine: bool = out[..8].ct_eq(&WRAP_IV).into();
        if genuine { Ok(out.split_off(8)) } else { Err(failed("The wrapped key is not genuine")) }
    }
    if !data.len().is_multiple_of(8) || data.len() < if encrypt { 16 } else { 24 } {
        return Err(failed("AES-KW wraps whole blocks of 8 bytes, at least two"));
    }
    match key.len() {
        16 => go::<Aes128>(encrypt, key, data),
        24 => go::<Aes192>(encrypt, key, data),
        32 => go::<Aes256>(encrypt, key, data),
        _ => Err(key_error()),
    }
}

pub(super) fn cbc(encrypt: bool, key: &[u8], iv: &[u8], data: &[u8], padding: bool) -> Result<Vec<u8>, ServiceError> {
    macro_rules! go {
        ($cipher:ty) => {
            match (encrypt, padding) {
                (true, true) => cbc::Encryptor::<$cipher>::new_from_slices(key, iv)
                    .map_err(|_| iv_error())?
                    .encrypt_padded_vec::<Pkcs7>(data),
                (true, false) if data.len() % 16 == 0 => cbc::Encryptor::<$cipher>::new_from_slices(key, iv)
                    .map_err(|_| iv_error())?
                    .encrypt_padded_vec::<NoPadding>(data),
                (true, false) => return Err(failed("wrong final block length")),
                (false, true) => cbc::Decryptor::<$cipher>::new_from_slices(key, iv)
                    .map_err(|_| iv_error())?
                    .decrypt_padded_vec::<Pkcs7>(data)
                    .map_err(|_| failed("bad decrypt"))?,
                (false, false) => cbc::Decryptor::<$cipher>::new_from_slices(key, iv)
                    .map_err(|_| iv_error())?
                    .decrypt_padded_vec::<NoPadding>(data)
                    .map_err(|_| failed("wrong final block length"))?,
            }
        };
    }
    Ok(match key.len() {
        16 => go!(Aes128),
        24 => go!(Aes192),
        32 => go!(Aes256),
        _ => return Err(key_error()),
    })
}

/// Counter mode. Only counters as long as the block, and the 64- and 32-bit ones, exist here.
pub(super) fn ctr(key: &[u8], counter: &[u8], data: &[u8], bits: u32) -> Result<Vec<u8>, ServiceError> {
    let mut out = data.to_vec();
    macro_rules! go {
        ($mode:ident, $cipher:ty) => {
            ctr::$mode::<$cipher>::new_from_slices(key, counter).map_err(|_| iv_error())?.apply_keystream(&mut out)
        };
    }
    match (key.len(), bits) {
        (16, 128) => go!(Ctr128BE, Aes128),
        (24, 128) => go!(Ctr128BE, Aes192),
        (32, 128) => go!(Ctr128BE, Aes256),
        (16, 64) => go!(Ctr64BE, Aes128),
        (24, 64) => go!(Ctr64BE, Aes192),
        (32, 64) => go!(Ctr64BE, Aes256),
        (16, 32) => go!(Ctr32BE, Aes128),
        (24, 32) => go!(Ctr32BE, Aes192),
        (32, 32) => go!(Ctr32BE, Aes256),
        (16 | 24 | 32, _) => {
            return Err(ServiceError::named("NotSupportedError", "AES-CTR counters are 32, 64 or 128 bits here"));
        }
        _ => return Err(key_error()),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3394 §4.6.
    #[test]
    fn keys_are_wrapped_as_the_standard_shows() {
        let key = hex::decode("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F").unwrap();
        let data = hex::decode("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F").unwrap();
        let expected = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";
        let mut wrapped = key_wrap(true, &key, &data).unwrap();
        assert_eq!(hex::encode(&wrapped), expected);
        assert_eq!(key_wrap(false, &key, &wrapped).unwrap(), data);
        wrapped[9] ^= 1;
        assert!(key_wrap(false, &key, &wrapped).is_err());
        for (encrypt, length) in [(true, 8), (true, 17), (false, 16), (false, 23), (false, 0)] {
            assert!(key_wrap(encrypt, &key, &vec![0; length]).is_err());
        }
    }

    #[test]
    fn short_tags_and_long_nonces_of_gcm_are_genuine_or_refused() {
        let key = [7; 32];
        for (nonce, tag) in [(8, 128), (12, 96), (16, 128), (16, 32), (32, 120)] {
            let iv = vec![3; nonce];
            let mut made = gcm(true, &key, &iv, b"some text", b"more", tag).unwrap();
            assert_eq!(made.len(), 9 + tag / 8);
            assert_eq!(gcm(false, &key, &iv, &made, b"more", tag).unwrap(), b"some text");
            assert!(gcm(false, &key, &iv, &made, b"other", tag).is_err());
            made[0] ^= 1;
            assert!(gcm(false, &key, &iv, &made, b"more", tag).is_err());
        }
        assert!(gcm(false, &key, &[0; 12], b"short", b"", 128).is_err());
        assert!(gcm(true, &key, &[0; 12], b"", b"", 127).is_err());
        assert!(gcm(true, &key, &[0; 5], b"", b"", 128).is_err());
    }
}
