//! Functions (contract 05): who may call what, with which words and within which limits. Code runs behind
//! [`Executor`], which is the sandbox ([`engine`]).
//!
//! | room | what is there |
//! |---|---|
//! | [`service`] | the one way a function is called: place, environment, log, engine |
//! | [`direct`], [`routed`] | calls with a key at the API, and on paths of tenant hosts |
//! | [`build`] | from source to what an engine links |
//! | [`gate`] | who is asking |
//! | [`slots`] | how many calls run at a time, and who waits |
//! | [`manage`] | list, change, delete, rebuild |
//! | [`logs`] | what functions write |
//! | [`schedule`], [`cron`] | runs by the clock |
//! | [`runs`] | durable runs, on the queue |
//! | [`engine`] | code built, compiled and run in the sandbox |
//! | [`doors`] | what this feature needs of others |
//! | [`store`] | all SQL |
//!
//! Invariants:
//! - The live release says which functions there are. The tables hold what a release does not know: when a function
//!   came, its schedule's runs, logs, durable runs. They follow the release ([`Functions::sync`]).
//! - Nobody but the platform sets an `x-run402-*` header of a request; none of a function's reaches a client.
//! - What a function threw goes to its log, never to a caller; secrets and keys are struck out of logs.
//! - A gate is passed before a place is taken and before code runs. Role tables are read as `service_role`, never
//!   as the platform.
//! - A call of a function by a function waits for deeper calls only, so places cannot lock up.
//! - A tick of a schedule comes at most once, a durable run at least once.

pub mod build;
mod cron;
mod direct;
mod doors;
mod engine;
mod error;
mod executor;
mod gate;
mod headers;
mod logs;
mod manage;
mod routed;
mod routes;
mod runs;
mod schedule;
mod service;
mod settings;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use doors::{BrowserSessions, Builder, Deployed, Edit, Releases, SecretValues, Signups};
pub use engine::{Figures, FrontDoor, OwnHosts, Parts, SandboxExecutor};
pub use error::FunctionError;
pub use executor::{
    Actor, AuthThrown, BuildFailure, CheckFailure, Environment, Executor, FunctionFailure, FunctionResponse,
    FunctionVersion, Invocation, InvocationKind, RouteContext, Thrown,
};
pub use logs::{Level, LogSink, Stream};
pub use routed::Routed;
pub use routes::router;
pub use service::{Dependencies, Functions};
pub use settings::FunctionSettings;
pub use slots::LEVELS;

use std::sync::Arc;

use crate::engines::queue::Queue;

/// Adds to a queue what carries durable runs.
#[must_use]
pub fn handle_runs(queue: Queue, functions: &Arc<Functions>) -> Queue {
    queue.handle(runs::KIND, runs::POLICY, Arc::new(runs::Carrier(Arc::clone(functions))))
}
