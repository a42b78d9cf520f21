//! What functions write (contract 05 §3.5): captured, redacted, bounded, readable within a second, forgotten after a
//! while.
//!
//! An invocation writes into its [`LogSink`]; entries gather in memory, which is bounded for all ([`LogQueue`]), and one
//! task writes them: what a project's functions wrote meanwhile becomes one row, a [`segment`]. A killed process loses
//! the last fraction of a second of them. Readers go through a project's segments from the newest back ([`find`]).

mod entry;
mod query;
mod queue;
mod redact;
mod said;
mod search;
mod segment;
mod sink;

pub use entry::{Level, Stream};
pub(super) use entry::{Origin, Tags};
pub(super) use query::{Filter, LogQuery, LogRequest, is_tail};
pub(super) use queue::{LogLimits, LogQueue};
pub(super) use redact::Redactor;
pub(super) use said::Said;
pub(super) use search::find;
pub(super) use segment::Segment;
pub use sink::LogSink;
