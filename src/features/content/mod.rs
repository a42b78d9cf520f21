//! Content: uploads, and which bytes a project has (contract 03 §3).
//!
//! Bytes lie in the blob store once, whoever uploaded them; a project *has* them when a row of its own says so. An
//! upload is a plan (which objects, how they are cut), a PUT for each part to a signed URL, and a commit that checks
//! that everything arrived and gives the project its rows in one transaction.
//!
//! Where a part waits for the commit depends on its size. Small objects gather in a bounded buffer and are written
//! together, one durable write for hundreds of them ([`staging`]); larger ones stream into the blob store; the parts
//! of huge ones are files that the commit streams together. The answer to a PUT of a small object does not promise
//! that it survives a crash: what is missing then is named by the commit, and the client uploads it again.
//!
//! Invariants:
//! - Presence is per project: to have bytes a project must have sent them. Nobody learns what others stored.
//! - Bytes are durable in the blob store before a row names them.
//! - Whoever needs bytes holds them; what nobody holds, expects or asked for goes after a grace ([`sweep`]).
//! - `projects.blob_bytes` changes in the transaction that changes what counts.
//! - Memory is bounded: by the buffer, by the uploads received at a time, and by a chunk for each of them.

mod caller;
mod error;
mod receive;
mod routes;
mod service;
mod settings;
mod staging;
mod store;
mod sweep;
mod types;
mod uploads;
mod urls;

pub use caller::Caller;
pub use routes::{UPLOAD_ROUTE, router};
pub use service::{Content, Dependencies};
pub use settings::ContentSettings;

use crate::engines::blobs::Sha256Digest;

/// What needs bytes to stay: (kind, id), for instance ("release", "rel_…"), ("plan", "plan_…"), ("migration", id),
/// ("asset", …).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub kind: &'static str,
    pub id: String,
}

impl Holder {
    /// Kind of what keeps bytes for old immutable URLs only: they do not count as the project's storage (04 §6.7).
    pub const IMMUTABLE_REF: &'static str = "immutable_ref";

    fn is_counted(&self) -> bool {
        self.kind != Self::IMMUTABLE_REF
    }
}

/// Bytes somebody names: digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub sha256: Sha256Digest,
    pub size: u64,
}
