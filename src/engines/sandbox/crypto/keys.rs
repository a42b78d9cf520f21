//! Asymmetric keys: made, read and written in the encodings of Web Crypto and Node.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, VerifyingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey, EncodeRsaPrivateKey, EncodeRsaPublicKey},
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey},
    rand_core::OsRng,
    traits::{PrivateKeyParts, PublicKeyParts},
};
use serde::{Deserialize, Serialize};

use super::{Curve, KeyKind, ServiceError, failed, montgomery};

/// Sizes of RSA keys that are made or taken. Larger ones only burn time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;

pub(super) enum Key {
    RsaPrivate(Box<RsaPrivateKey>),
    RsaPublic(Box<RsaPublicKey>),
    P256Private(Box<p256::SecretKey>),
    P256Public(Box<p256::PublicKey>),
    P384Private(Box<p384::SecretKey>),
    P384Public(Box<p384::PublicKey>),
    EdPrivate(Box<SigningKey>),
    EdPublic(Box<VerifyingKey>),
    XPrivate([u8; 32]),
    XPublic([u8; 32]),
}

#[derive(Serialize)]
pub(super) struct Described {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<&'static str>,
    private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<usize>,
}

pub(super) fn invalid() -> ServiceError {
    ServiceError::named("DataError", "The key data is invalid or of another kind")
}

/// JSON Web Key, RFC 7517 and 7518 §6, RFC 8037.
#[derive(Default, Serialize, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    q: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dq: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qi: Option<String>,
}

fn b64(bytes: &[u8]) -> Option<String> {
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn unb64(text: Option<&String>) -> Result<Vec<u8>, ServiceError> {
    BASE64_URL_SAFE_NO_PAD.decode(text.ok_or_else(invalid)?.trim_end_matches('=')).map_err(|_| invalid())
}

pub(super) fn generate(
    kind: KeyKind,
    curve: Option<Curve>,
    bits: Option<usize>,
) -> Result<(Vec<u8>, Vec<u8>), ServiceError> {
    let private = match (kind, curve) {
        (KeyKind::X25519, _) => Key::XPrivate(montgomery::generate()),
        (KeyKind::Ed25519, _) => Key::EdPrivate(Box::new(SigningKey::generate(&mut OsRng))),
        (KeyKind::Ec, Some(Curve::P384)) => Key::P384Private(Box::new(p384::SecretKey::random(&mut OsRng))),
        (KeyKind::Ec, _) => Key::P256Private(Box::new(p256::SecretKey::random(&mut OsRng))),
        (KeyKind::Rsa, _) => {
            let bits = bits
                .filter(|bits| RSA_BITS.contains(bits) && *bits <= 4096)
                .ok_or_else(|| failed("The modulus length is out of range"))?;
            Key::RsaPrivate(Box::new(RsaPrivateKey::new(&mut OsRng, bits).map_err(|error| failed(error.to_string()))?))
        }
    };
    Ok((private.der()?, private.public()?.der()?))
}

impl Key {
    /// Reads PKCS#8 or SPKI.
    pub(super) fn parse(der: &[u8], private: bool) -> Result<Self, ServiceError> {
        if private {
            if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
                return Ok(Self::P256Private(Box::new(key)));
            }
            if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
                return Ok(Self::P384Private(Box::new(key)));
            }
            if let Ok(key) = SigningKey::from_pkcs8_der(der) {
                return Ok(Self::EdPrivate(Box::new(key)));
            }
            if let Some(key) = montgomery::from_pkcs8(der) {
                return Ok(Self::XPrivate(key));
            }
            let key = RsaPrivateKey::from_pkcs8_der(der).map_err(|_| invalid())?;
            return Self::sized(key.size() * 8).map(|()| Self::RsaPrivate(Box::new(key)));
        }
        if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            return Ok(Self::P256Public(Box::new(key)));
        }
        if let Ok(key) = p384::PublicKey::from_public_key_der(der) {
            return Ok(Self::P384Public(Box::new(key)));
        }
        if let Ok(key) = VerifyingKey::from_public_key_der(der) {
            return Ok(Self::EdPublic(Box::new(key)));
        }
        if let Some(key) = montgomery::from_spki(der) {
            return Ok(Self::XPublic(key));
        }
        let key = RsaPublicKey::from_public_key_der(der).map_err(|_| invalid())?;
        Self::sized(key.size() * 8).map(|()| Self::RsaPublic(Box::new(key)))
    }

    fn sized(bits: usize) -> Result<(), ServiceError> {
        if RSA_BITS.contains(&bits) { Ok(()) } else { Err(invalid()) }
    }

    pub(super) fn der(&self) -> Result<Vec<u8>, ServiceError> {
        let private = |document: rsa::pkcs8::SecretDocument| document.as_bytes().to_vec();
        let public = |document: rsa::pkcs8::Document| document.as_bytes().to_vec();
        match self {
            Self::RsaPrivate(key) => key.to_pkcs8_der().map(private).map_err(|_| invalid()),
            Self::P256Private(key) => key.to_pkcs8_der().map(private).map_err(|_| invalid()),
            Self::P384Private(key) => key.to_pkcs8_der().map(private).map_err(|_| invalid()),
            Self::EdPrivate(key) => key.to_pkcs8_der().map(private).map_err(|_| invalid()),
            Self::RsaPublic(key) => key.to_public_key_der().map(public).map_err(|_| invalid()),
            Self::P256Public(key) => key.to_public_key_der().map(public).map_err(|_| invalid()),
            Self::P384Public(key) => key.to_public_key_der().map(public).map_err(|_| invalid()),
            Self::EdPublic(key) => key.to_public_key_der().map(public).map_err(|_| invalid()),
            Self::XPrivate(key) => Ok(montgomery::to_pkcs8(key)),
            Self::XPublic(key) => Ok(montgomery::to_spki(key)),
        }
    }

    pub(super) fn public(&self) -> Result<Self, ServiceError> {
        Ok(match self {
            Self::RsaPrivate(key) => Self::RsaPublic(Box::new(key.to_public_key())),
            Self::P256Private(key) => Self::P256Public(Box::new(key.public_key())),
            Self::P384Private(key) => Self::P384Public(Box::new(key.public_key())),
            Self::EdPrivate(key) => Self::EdPublic(Box::new(key.verifying_key())),
            Self::XPrivate(key) => Self::XPublic(montgomery::public(key)),
            _ => return Err(invalid()),
        })
    }

    fn is_private(&self) -> bool {
        matches!(
            self,
            Self::RsaPrivate(_) | Self::P256Private(_) | Self::P384Private(_) | Self::EdPrivate(_) | Self::XPrivate(_)
        )
    }

    pub(super) fn describe(&self) -> Described {
        let private = self.is_private();
        let (kind, curve, bits) = match self {
            Self::RsaPrivate(key) => ("rsa", None, Some(key.size() * 8)),
            Self::RsaPublic(key) => ("rsa", None, Some(key.size() * 8)),
            Self::P256Private(_) | Self::P256Public(_) => ("ec", Some("P-256"), None),
            Self::P384Private(_) | Self::P384Public(_) => ("ec", Some("P-384"), None),
            Self::EdPrivate(_) | Self::EdPublic(_) => ("ed25519", None, None),
            Self::XPrivate(_) | Self::XPublic(_) => ("x25519", None, None),
        };
        Described { kind, curve, private, bits }
    }
}

/// Reads a key in a named encoding: `pkcs8`, `spki`, `pkcs1-private`, `pkcs1-public`, `sec1`, `raw` (public), `jwk`,
/// or `any` private or public DER.
pub(super) fn import(
    format: &str,
    kind: Option<KeyKind>,
    curve: Option<Curve>,
    data: &[u8],
) -> Result<Key, ServiceError> {
    match format {
        "pkcs8" => Key::parse(data, true),
        "spki" => Key::parse(data, false),
        "pkcs1-private" => {
            RsaPrivateKey::from_pkcs1_der(data).map(|key| Key::RsaPrivate(Box::new(key))).map_err(|_| invalid())
        }
        "pkcs1-public" => {
            RsaPublicKey::from_pkcs1_der(data).map(|key| Key::RsaPublic(Box::new(key))).map_err(|_| invalid())
        }
        "sec1" => p256::SecretKey::from_sec1_der(data)
            .map(|key| Key::P256Private(Box::new(key)))
            .or_else(|_| p384::SecretKey::from_sec1_der(data).map(|key| Key::P384Private(Box::new(key))))
            .map_err(|_| invalid()),
        "raw" => match (kind, curve) {
            (Some(KeyKind::Ed25519), _) => edwards(data),
            (Some(KeyKind::X25519), _) => data.try_into().map(Key::XPublic).map_err(|_| invalid()),
            (_, Some(Curve::P384)) => {
                p384::PublicKey::from_sec1_bytes(data).map(|key| Key::P384Public(Box::new(key))).map_err(|_| invalid())
            }
            _ => {
                p256::PublicKey::from_sec1_bytes(data).map(|key| Key::P256Public(Box::new(key))).map_err(|_| invalid())
            }
        },
        "jwk" => from_jwk(&serde_json::from_slice(data).map_err(|_| invalid())?),
        "any" => ["pkcs8", "spki", "pkcs1-private", "pkcs1-public", "sec1"]
            .iter()
            .find_map(|format| import(format, kind, curve, data).ok())
            .ok_or_else(invalid),
        _ => Err(ServiceError::named("NotSupportedError", "unknown key format")),
    }
}

fn edwards(data: &[u8]) -> Result<Key, ServiceError> {
    let bytes: [u8; 32] = data.try_into().map_err(|_| invalid())?;
    VerifyingKey::from_bytes(&bytes).map(|key| Key::EdPublic(Box::new(key))).map_err(|_| invalid())
}

fn from_jwk(jwk: &Jwk) -> Result<Key, ServiceError> {
    let point = || -> Result<Vec<u8>, ServiceError> {
        Ok([&[4][..], &unb64(jwk.x.as_ref())?, &unb64(jwk.y.as_ref())?].concat())
    };
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("EC", Some("P-256")) if jwk.d.is_some() => {
            let key = p256::SecretKey::from_slice(&unb64(jwk.d.as_ref())?).map_err(|_| invalid())?;
            // A private key that contradicts its public half is refused, not repaired.
            if jwk.x.is_some() && key.public_key().to_encoded_point(false).as_bytes() != point()?.as_slice() {
                return Err(invalid());
            }
            Ok(Key::P256Private(Box::new(key)))
        }
        ("EC", Some("P-384")) if jwk.d.is_some() => {
            let key = p384::SecretKey::from_slice(&unb64(jwk.d.as_ref())?).map_err(|_| invalid())?;
            if jwk.x.is_some() && key.public_key().to_encoded_point(false).as_bytes() != point()?.as_slice() {
                return Err(invalid());
            }
            Ok(Key::P384Private(Box::new(key)))
        }
        ("EC", Some("P-256")) => import("raw", Some(KeyKind::Ec), Some(Curve::P256), &point()?),
        ("EC", Some("P-384")) => import("raw", Some(KeyKind::Ec), Some(Curve::P384), &point()?),
        ("OKP", Some("Ed25519")) => match &jwk.d {
            Some(_) => {
                let bytes: [u8; 32] = unb64(jwk.d.as_ref())?.try_into().map_err(|_| invalid())?;
                Ok(Key::EdPrivate(Box::new(SigningKey::from_bytes(&bytes))))
            }
            None => edwards(&unb64(jwk.x.as_ref())?),
        },
        ("OKP", Some("X25519")) => {
            let key = |text: &Option<String>| -> Result<[u8; 32], ServiceError> {
                unb64(text.as_ref())?.try_into().map_err(|_| invalid())
            };
            let public = key(&jwk.x)?;
            if jwk.d.is_none() {
                return Ok(Key::XPublic(public));
            }
            let private = key(&jwk.d)?;
            if montgomery::public(&private) == public { Ok(Key::XPrivate(private)) } else { Err(invalid()) }
        }
        ("RSA", _) => {
            let number = |text: &Option<String>| unb64(text.as_ref()).map(|bytes| BigUint::from_bytes_be(&bytes));
            let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
            Key::sized(n.bits().div_ceil(8) * 8)?;
            if jwk.d.is_none() {
                return RsaPublicKey::new_with_max_size(n, e, 8192)
                    .map(|key| Key::RsaPublic(Box::new(key)))
                    .map_err(|_| invalid());
            }
            let primes = vec![number(&jwk.p)?, number(&jwk.q)?];
            let key = RsaPrivateKey::from_components(n, e, number(&jwk.d)?, primes).map_err(|_| invalid())?;
            Ok(Key::RsaPrivate(Box::new(key)))
        }
        _ => Err(ServiceError::named("NotSupportedError", "unsupported key type or curve")),
    }
}

/// Writes a key as `pkcs8`, `spki`, `pkcs1`, `sec1`, `raw` or `jwk` (JSON).
pub(super) fn export(key: &Key, format: &str) -> Result<Vec<u8>, ServiceError> {
    match (format, key) {
        ("pkcs8", key) if key.is_private() => key.der(),
        ("spki", key) if !key.is_private() => key.der(),
        ("pkcs1", Key::RsaPrivate(key)) => key.to_pkcs1_der().map(|der| der.as_bytes().to_vec()).map_err(|_| invalid()),
        ("pkcs1", Key::RsaPublic(key)) => key.to_pkcs1_der().map(|der| der.as_bytes().to_vec()).map_err(|_| invalid()),
        ("sec1", Key::P256Private(key)) => key.to_sec1_der().map(|der| der.to_vec()).map_err(|_| invalid()),
        ("sec1", Key::P384Private(key)) => key.to_sec1_der().map(|der| der.to_vec()).map_err(|_| invalid()),
        ("raw", Key::P256Public(key)) => Ok(key.to_encoded_point(false).as_bytes().to_vec()),
        ("raw", Key::P384Public(key)) => Ok(key.to_encoded_point(false).as_bytes().to_vec()),
        ("raw", Key::EdPublic(key)) => Ok(key.as_bytes().to_vec()),
        ("raw", Key::XPublic(key)) => Ok(key.to_vec()),
        ("jwk", key) => serde_json::to_vec(&to_jwk(key)?).map_err(|_| invalid()),
        _ => Err(ServiceError::named("InvalidAccessError", "The key cannot be exported in this format")),
    }
}

fn to_jwk(key: &Key) -> Result<Jwk, ServiceError> {
    let curve = |name: &str, kty: &str, x: Option<String>, y: Option<String>, d: Option<String>| Jwk {
        kty: kty.to_owned(),
        crv: Some(name.to_owned()),
        x,
        y,
        d,
        ..Jwk::default()
    };
    let coordinates = |bytes: &[u8]| {
        let half = bytes.len() / 2;
        (b64(&bytes[1..=half]), b64(&bytes[half + 1..]))
    };
    Ok(match key {
        Key::P256Public(key) => {
            let (x, y) = coordinates(key.to_encoded_point(false).as_bytes());
            curve("P-256", "EC", x, y, None)
        }
        Key::P384Public(key) => {
            let (x, y) = coordinates(key.to_encoded_point(false).as_bytes());
            curve("P-384", "EC", x, y, None)
        }
        Key::P256Private(key) => {
            let (x, y) = coordinates(key.public_key().to_encoded_point(false).as_bytes());
            curve("P-256", "EC", x, y, b64(&key.to_bytes()))
        }
        Key::P384Private(key) => {
            let (x, y) = coordinates(key.public_key().to_encoded_point(false).as_bytes());
            curve("P-384", "EC", x, y, b64(&key.to_bytes()))
        }
        Key::EdPublic(key) => curve("Ed25519", "OKP", b64(key.as_bytes()), None, None),
        Key::EdPrivate(key) => curve("Ed25519", "OKP", b64(key.verifying_key().as_bytes()), None, b64(key.as_bytes())),
        Key::XPublic(key) => curve("X25519", "OKP", b64(key), None, None),
        Key::XPrivate(key) => curve("X25519", "OKP", b64(&montgomery::public(key)), None, b64(key)),
        Key::RsaPublic(key) => Jwk {
            kty: "RSA".to_owned(),
            n: b64(&key.n().to_bytes_be()),
            e: b64(&key.e().to_bytes_be()),
            ..Jwk::default()
        },
        Key::RsaPrivate(key) => {
            let mut key = key.clone();
            key.precompute().map_err(|_| invalid())?;
            let [p, q] = key.primes() else { return Err(invalid()) };
            let number = |number: Option<&BigUint>| number.and_then(|number| b64(&number.to_bytes_be()));
            Jwk {
                kty: "RSA".to_owned(),
                n: b64(&key.n().to_bytes_be()),
                e: b64(&key.e().to_bytes_be()),
                d: b64(&key.d().to_bytes_be()),
                p: b64(&p.to_bytes_be()),
                q: b64(&q.to_bytes_be()),
                dp: number(key.dp()),
                dq: number(key.dq()),
                qi: key.crt_coefficient().and_then(|number| b64(&number.to_bytes_be())),
                ..Jwk::default()
            }
        }
    })
}

/// The shared secret of ECDH: the x coordinate.
pub(super) fn agree(private: &Key, public: &Key) -> Result<Vec<u8>, ServiceError> {
    match (private, public) {
        (Key::P256Private(mine), Key::P256Public(theirs)) => {
            Ok(p256::ecdh::diffie_hellman(mine.to_nonzero_scalar(), theirs.as_affine()).raw_secret_bytes().to_vec())
        }
        (Key::P384Private(mine), Key::P384Public(theirs)) => {
            Ok(p384::ecdh::diffie_hellman(mine.to_nonzero_scalar(), theirs.as_affine()).raw_secret_bytes().to_vec())
        }
        (Key::XPrivate(mine), Key::XPublic(theirs)) => montgomery::agree(mine, theirs)
            .map(|secret| secret.to_vec())
            .ok_or_else(|| failed("The other key agrees to nothing")),
        _ => Err(ServiceError::named("InvalidAccessError", "The keys are of different curves")),
    }
}
