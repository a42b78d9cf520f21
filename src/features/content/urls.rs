//! Upload URLs: the signature is the whole credential (contract 03 §3.2).
//!
//! An upload id names a session of a stored plan, and so project, object and size; signing id, part and expiry binds
//! them all.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;
use url::Url;
use zeroize::Zeroizing;

use super::error::ContentError;
use crate::common::{
    Timestamp,
    sealing::{MasterKey, hmac_sha256},
};

pub(super) struct UploadUrls {
    key: Zeroizing<[u8; 32]>,
    /// Without a trailing slash.
    base: String,
}

impl UploadUrls {
    pub fn new(master: &MasterKey, public_url: &Url) -> Self {
        Self { key: master.derive("content upload urls"), base: public_url.as_str().trim_end_matches('/').to_owned() }
    }

    pub fn part(&self, upload_id: &str, part: u32, expires: Timestamp) -> String {
        let expires = expires.as_seconds();
        let signature = URL_SAFE_NO_PAD.encode(self.sign(upload_id, part, expires));
        format!("{}/content/v1/uploads/{upload_id}/parts/{part}?exp={expires}&sig={signature}", self.base)
    }

    pub fn verify(
        &self,
        upload_id: &str,
        part: u32,
        expires: i64,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), ContentError> {
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ContentError::UrlInvalid)?;
        if !bool::from(given.ct_eq(&self.sign(upload_id, part, expires)[..])) {
            return Err(ContentError::UrlInvalid);
        }
        if now.as_seconds() >= expires { Err(ContentError::UrlExpired) } else { Ok(()) }
    }

    fn sign(&self, upload_id: &str, part: u32, expires: i64) -> [u8; 32] {
        hmac_sha256(&self.key[..], format!("PUT\n{upload_id}\n{part}\n{expires}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signed_url_works_and_only_until_it_expires() {
        let urls = UploadUrls::new(&MasterKey::from_bytes([1; 32]), &"http://localhost:4020/".parse().unwrap());
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let url: Url = urls.part("upl_a_1", 2, at(100)).parse().unwrap();
        assert_eq!(url.path(), "/content/v1/uploads/upl_a_1/parts/2");
        let signature = url.query_pairs().find(|(name, _)| name == "sig").unwrap().1.into_owned();
        assert!(urls.verify("upl_a_1", 2, 100, &signature, at(99)).is_ok());
        assert!(matches!(urls.verify("upl_a_1", 2, 100, &signature, at(100)), Err(ContentError::UrlExpired)));
        let other = UploadUrls::new(&MasterKey::from_bytes([2; 32]), &"http://localhost/".parse().unwrap());
        let forged = [
            urls.verify("upl_a_2", 2, 100, &signature, at(1)),
            urls.verify("upl_a_1", 1, 100, &signature, at(1)),
            urls.verify("upl_a_1", 2, 101, &signature, at(1)),
            urls.verify("upl_a_1", 2, 100, &signature[1..], at(1)),
            urls.verify("upl_a_1", 2, 100, "", at(1)),
            other.verify("upl_a_1", 2, 100, &signature, at(1)),
        ];
        assert!(forged.iter().all(|result| matches!(result, Err(ContentError::UrlInvalid))));
    }
}
