//! What functions write (contract 05 §3.5): captured, redacted, bounded, readable within a second, forgotten after a
//! while.
//!
//! An invocation writes into its [`LogSink`]; entries gather in memory, which is bounded for all, and one task writes
//! them in batches. A killed process loses the last fraction of a second of them.

mod query;
mod redact;
mod sink;

pub(super) use query::{Filter, LogQuery, LogRequest, is_tail};
pub(super) use redact::Redactor;
pub(super) use sink::{Entry, LogLimits, LogQueue, Tags};
pub use sink::{Level, LogSink, Stream};
