//! What a browser sees on a tenant host (contract 04): lookup, headers, ranges, compression, `/_blob/`, resolve.
//!
//! # How a request runs
//! The edge finds what its host is bound to and hands it over. [`Sites::now`] answers from memory alone, without
//! waiting: that is most requests. Whatever it cannot answer goes through [`Sites::answer`], which reads the release
//! and the bytes, runs functions and says what is wrong. Both ask [`crate::features::releases::lookup`] what the path
//! means, and so does [`resolve`], which only explains.
//!
//! # Invariants
//! - A request takes one release at its start and answers from it alone.
//! - Stored bytes are never rewritten; what is compressed on the way has a weak tag and no `Content-Digest`.
//! - A matched dynamic route fails closed: an error, never a static file.
//! - Only the bytes that the release or an asset row of the host's own project names are read.

mod accept;
mod blob;
mod cache;
mod compress;
mod conditional;
mod error;
mod head;
mod page;
mod resolve;
mod routed;
mod routes;
mod serve;
mod settings;

pub use accept::prefers_html;
pub use page::error_page;
pub use routed::{FunctionRunner, Invocation, NoFunctions, note_spoofing};
pub use routes::router;
pub use serve::{Dependencies, NoReleases, Sites, Visit};
pub use settings::SiteSettings;
