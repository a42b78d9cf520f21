//! Digests, MACs, key derivation and AES.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::{
    AesGcm,
    aead::{Aead, Payload, consts::U12},
};
use cbc::cipher::{
    BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher,
    block_padding::{NoPadding, Pkcs7},
};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

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

/// AES-GCM with a 96-bit nonce and a whole tag; anything else is rare and refused by name.
pub(super) fn gcm(
    encrypt: bool,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
    aad: &[u8],
    tag_bits: usize,
) -> Result<Vec<u8>, ServiceError> {
    fn go<C: Aead + aes_gcm::KeyInit>(
        encrypt: bool,
        key: &[u8],
        nonce: &aes_gcm::aead::Nonce<C>,
        data: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, ServiceError> {
        let cipher = C::new_from_slice(key).map_err(|_| key_error())?;
        let payload = Payload { msg: data, aad };
        let result = if encrypt { cipher.encrypt(nonce, payload) } else { cipher.decrypt(nonce, payload) };
        result.map_err(|_| failed("The operation failed for an operation-specific reason"))
    }
    if tag_bits != 0 && tag_bits != 128 {
        return Err(ServiceError::named("NotSupportedError", "AES-GCM tags are 128 bits here"));
    }
    let nonce: [u8; 12] = iv.try_into().map_err(|_| {
        ServiceError::named("NotSupportedError", "The initialization vector of AES-GCM must be 12 bytes")
    })?;
    let nonce = nonce.into();
    match key.len() {
        16 => go::<AesGcm<Aes128, U12>>(encrypt, key, &nonce, data, aad),
        24 => go::<AesGcm<Aes192, U12>>(encrypt, key, &nonce, data, aad),
        32 => go::<AesGcm<Aes256, U12>>(encrypt, key, &nonce, data, aad),
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
