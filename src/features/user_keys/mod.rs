//! The keys that sign app users' tokens: ES256, one pair in use per project (contract 06 §3.1, §9.2).
//!
//! A project gets its first pair when its first token is minted or its keys are first asked for. Rotation
//! retires the pair in use and makes another; a retired key signs nothing more but is published as long as a
//! token it signed may live.
//!
//! Invariants:
//! - A key belongs to one project: a token that is signed with another project's key is refused.
//! - Private halves are sealed at rest and opened only to sign.
//! - A pair is committed before a token signed with it is handed out, and published from that moment on:
//!   reading goes to a snapshot in memory that follows each commit.
//! - Project keys never verify here: they are HS256 under another secret (06 §3.2).

mod keys;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use keys::signed_claims;
pub use service::{TOKEN_SECONDS, UserKeys};
pub use types::{Claims, Jwk, Jwks, VerifyingKey};
