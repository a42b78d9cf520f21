//! Assets: project-level files under `/_blob/` (contract 04 §6).
//!
//! An asset is a row (project, key) that names content; writing one also binds immutable URLs and image variants,
//! which stay bound when the key is overwritten or deleted. Writes come as the `assets` slice of an apply
//! ([`Assets::plan`], [`Assets::stage`], [`Assets::activate`]) or one at a time from functions.
//!
//! Invariants:
//! - A bound path names the same bytes for good; what may change is whether it is public.
//! - Bytes that a key or a bound path names are held (`content::Holder`). Those of current assets and their variants
//!   count as the project's storage, those of old URLs do not.
//! - Stored bytes are never changed, images included: the client's hash stays true. What `exif_policy: strip` strips is
//!   the index; variants carry no metadata in either case.
//! - Images are looked into before anything is written, once for each source.

mod access;
mod error;
mod images;
mod keys;
mod list;
mod routes;
mod service;
mod settings;
mod storage;
mod store;
mod sync;
mod types;
mod wire;

pub use keys::{validate_key, validate_metadata};
pub use routes::router;
pub use service::{Assets, Dependencies};
pub use settings::AssetSettings;
pub use types::{AssetPlan, AssetPut, AssetSlice, AssetSync, ExifPolicy, ServedAsset, SyncConfirm, Visibility};
