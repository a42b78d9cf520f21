//! SKELETON of the map; `types.rs` is binding. The model of a release, without any service: the ReleaseSpec and its
//! rules, the materialised state, the static manifest, the route table, differences and warnings (contract 03 §4-5,
//! 04 §2-3). Everything here is pure: bytes and rows come in as arguments.

pub mod types;

pub use types::*;
