//! Signed URLs (contract 04 §6.7): they let one version of one asset be read until they expire.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::AssetError;
use crate::{
    common::{
        ProjectId, Timestamp,
        sealing::{MasterKey, hmac_sha256},
    },
    engines::blobs::Sha256Digest,
};

pub(super) const DEFAULT_TTL: i64 = 3600;
const TTL: std::ops::RangeInclusive<i64> = 60..=604_800;

pub(super) struct Signer(Zeroizing<[u8; 32]>);

impl Signer {
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("asset urls"))
    }

    /// The query of a URL that works for `ttl` seconds, and when it ends.
    ///
    /// # Errors
    /// [`AssetError::InvalidTtl`].
    pub fn sign(
        &self,
        project: &ProjectId,
        key: &str,
        digest: &Sha256Digest,
        ttl: i64,
        now: Timestamp,
    ) -> Result<(String, Timestamp), AssetError> {
        if !TTL.contains(&ttl) {
            return Err(AssetError::InvalidTtl);
        }
        let expires = now.plus(SignedDuration::from_secs(ttl));
        let seconds = expires.as_seconds();
        let signature = URL_SAFE_NO_PAD.encode(self.mac(project, key, digest, seconds));
        Ok((format!("expires={seconds}&signature={signature}"), expires))
    }

    pub fn check(
        &self,
        project: &ProjectId,
        key: &str,
        digest: &Sha256Digest,
        expires: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), AssetError> {
        let seconds: i64 = expires.parse().map_err(|_| AssetError::SignatureInvalid)?;
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AssetError::SignatureInvalid)?;
        if !bool::from(given.ct_eq(&self.mac(project, key, digest, seconds)[..])) {
            return Err(AssetError::SignatureInvalid);
        }
        if now.as_seconds() >= seconds { Err(AssetError::SignatureExpired) } else { Ok(()) }
    }

    /// Keys have no line breaks, so the lines cannot be confused.
    fn mac(&self, project: &ProjectId, key: &str, digest: &Sha256Digest, expires: i64) -> [u8; 32] {
        hmac_sha256(&self.0[..], format!("GET\n{project}\n{key}\n{digest}\n{expires}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_project_key_version_and_time() {
        let signer = Signer::new(&MasterKey::from_bytes([3; 32]));
        let (project, other): (ProjectId, ProjectId) = ("prj_a".parse().unwrap(), "prj_b".parse().unwrap());
        let (old, new) = (Sha256Digest::of(b"old"), Sha256Digest::of(b"new"));
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let (query, expires) = signer.sign(&project, "k", &old, 60, at(1000)).unwrap();
        assert_eq!(expires, at(1060));
        let signature = query.strip_prefix("expires=1060&signature=").unwrap();
        assert!(signer.check(&project, "k", &old, "1060", signature, at(1059)).is_ok());
        assert!(matches!(
            signer.check(&project, "k", &old, "1060", signature, at(1060)),
            Err(AssetError::SignatureExpired)
        ));
        for result in [
            signer.check(&other, "k", &old, "1060", signature, at(1)),
            signer.check(&project, "l", &old, "1060", signature, at(1)),
            signer.check(&project, "k", &new, "1060", signature, at(1)),
            signer.check(&project, "k", &old, "1061", signature, at(1)),
            signer.check(&project, "k", &old, "x", signature, at(1)),
            signer.check(&project, "k", &old, "1060", "", at(1)),
        ] {
            assert!(matches!(result, Err(AssetError::SignatureInvalid)));
        }
        for ttl in [59, 604_801, -1, i64::MAX] {
            assert!(matches!(signer.sign(&project, "k", &old, ttl, at(1)), Err(AssetError::InvalidTtl)), "{ttl}");
        }
    }
}
