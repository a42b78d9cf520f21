//! Pruning: what it would delete, and proof that the client saw it (contract 03 §6). Pure.

use std::collections::HashSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{AssetSlice, AssetSync, error::AssetError};
use crate::engines::blobs::Sha256Digest;

/// Keys shown to the user.
const SAMPLE: usize = 50;

/// What a prune would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prune {
    prefix: String,
    /// Names the live assets below the prefix: keys and bytes.
    base_revision: String,
    delete_set_digest: String,
    pub deletes: Vec<String>,
}

impl Prune {
    /// `live`: the assets below the prefix, in byte order. Everything goes that the slice does not put.
    pub fn new(sync: &AssetSync, slice: &AssetSlice, live: &[(String, Sha256Digest)]) -> Self {
        let put: HashSet<&str> = slice.put.iter().map(|put| put.key.as_str()).collect();
        let deletes: Vec<String> =
            live.iter().filter(|(key, _)| !put.contains(key.as_str())).map(|(key, _)| key.clone()).collect();
        let mut revision = Sha256::new();
        for (key, digest) in live {
            field(&mut revision, key.as_bytes());
            field(&mut revision, digest.as_bytes());
        }
        let mut set = Sha256::new();
        for key in &deletes {
            field(&mut set, key.as_bytes());
        }
        Self {
            prefix: sync.prefix.clone(),
            base_revision: hex::encode(revision.finalize()),
            delete_set_digest: hex::encode(set.finalize()),
            deletes,
        }
    }

    /// The `asset_sync` block of a plan.
    pub fn block(&self) -> Value {
        json!({
            "prefix": self.prefix,
            "prune": true,
            "base_revision": self.base_revision,
            "delete_set_digest": self.delete_set_digest,
            "expected_delete_count": self.deletes.len(),
            "sample_keys": self.deletes.iter().take(SAMPLE).collect::<Vec<_>>(),
            "over_inline_threshold": self.deletes.len() > SAMPLE,
        })
    }

    /// # Errors
    /// 409 `PRUNE_CONFIRMATION_REQUIRED` without a confirmation, `ASSET_SYNC_DRIFT` for one of something else.
    pub fn check(&self, sync: &AssetSync) -> Result<(), AssetError> {
        let Some(confirm) = &sync.confirm else { return Err(AssetError::PruneConfirmation(self.block())) };
        let same = confirm.base_revision == self.base_revision
            && confirm.delete_set_digest == self.delete_set_digest
            && confirm.expected_delete_count == self.deletes.len() as u64;
        if same { Ok(()) } else { Err(AssetError::SyncDrift(self.block())) }
    }
}

/// With its length, so that no two lists look alike.
fn field(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::assets::SyncConfirm;

    #[test]
    fn only_what_was_seen_can_be_confirmed() {
        let digest = Sha256Digest::of;
        let live = [("p/a".to_owned(), digest(b"a")), ("p/b".to_owned(), digest(b"b"))];
        let mut sync = AssetSync { prefix: "p/".into(), confirm: None };
        let slice = AssetSlice::default();
        let prune = Prune::new(&sync, &slice, &live);
        assert_eq!(prune.deletes, ["p/a", "p/b"]);
        assert!(matches!(prune.check(&sync), Err(AssetError::PruneConfirmation(_))));
        let block = prune.block();
        sync.confirm = Some(SyncConfirm {
            base_revision: block["base_revision"].as_str().unwrap().into(),
            delete_set_digest: block["delete_set_digest"].as_str().unwrap().into(),
            expected_delete_count: 2,
        });
        assert!(prune.check(&sync).is_ok());
        let changed = [live[0].clone(), ("p/b".to_owned(), digest(b"other"))];
        assert!(matches!(Prune::new(&sync, &slice, &changed).check(&sync), Err(AssetError::SyncDrift(_))));
        assert!(matches!(Prune::new(&sync, &slice, &live[..1]).check(&sync), Err(AssetError::SyncDrift(_))));
    }
}
