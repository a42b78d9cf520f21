//! Deploys: plan, commit, activate; operations, releases, promote (contract 03 §5-9).
//!
//! # How a deploy runs
//! [`plan`] reads a spec, holds it against the live release and keeps what it would do. [`commit`] waits for the
//! project's turn, checks once more and starts the work, which goes on without its caller. [`execute`] stages the
//! release, runs migrations behind the project's gate and makes everything visible at once. [`recovery`] settles what
//! a crash interrupted. [`live`] keeps the releases that are served in memory; [`store`] has the SQL.
//!
//! # Invariants
//! - What becomes visible does so in one transaction of the control database, followed by one swap in memory. A
//!   request takes one release and keeps it to its end.
//! - A deploy that changes the project's database leaves a marker in the transaction that does: if the process dies
//!   between that commit and the one of the control database, the marker decides that the rest follows.
//! - One thing at a time changes the live release of a project, deploys, promotes and amendments alike; the live
//!   pointer must still be where the plan saw it.
//! - A phase is durable in the operation's row before it begins. A terminal status never changes.
//! - A plan runs at most once, and its answer stays the same.
//! - User SQL runs as the project's owner role, one statement a message; the ledger, the grants and the marker are
//!   written by the platform step after all user text of their transaction.
//! - Secret values never come near: a release knows names only.

mod amend;
mod commit;
mod error;
mod execute;
mod faults;
mod functions;
mod inventory;
mod live;
mod operations;
mod plan;
mod promote;
mod recovery;
mod routes;
mod service;
mod settings;
mod store;
mod types;

pub use amend::Amended;
pub use functions::FunctionBuilder;
pub use routes::router;
pub use service::{Apply, Dependencies};
pub use settings::{ApplySettings, TestingSettings};
pub use types::{Committed, EventList, Kind, OperationList, PromoteRequest, Snapshot, Status};
