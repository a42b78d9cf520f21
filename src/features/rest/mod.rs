//! The data API: PostgREST's dialect over a project's database (contract 02 §7).
//!
//! A request passes through stages, each with types of its own and each ignorant of the next:
//!
//! | stage | turns | into | fails with |
//! |---|---|---|---|
//! | [`request`] | method, path, query string, headers, body | `ApiRequest` | 400, 405, 406, 416: not in the language |
//! | [`plan`] | `ApiRequest` + [`schema_cache`] | `Plan` | 300, 400, 404, 406: names that mean nothing, or several things |
//! | [`query`] | `StatementPlan` | SQL text and operands | cannot fail |
//! | [`store`] | SQL | `Outcome` | what Postgres says |
//! | [`response`] | `Outcome` | status, headers, body | 416, 500: a range behind the end, unusable settings |
//!
//! All but [`store`] are pure. [`exchange`] carries one request through them, [`service`] adds projects,
//! connections and deadlines, [`token`] says who calls, [`routes`] is HTTP.
//!
//! Invariants:
//! - Privileges are Postgres' business alone: every statement runs under the role of the token, so a table is
//!   dark because nobody was granted it, not because this code looked.
//! - No text of a request becomes SQL text. Names are quoted, operands are parameters, casts come from an
//!   alphabet without quotes and brackets.
//! - One request is one transaction; what fails a check after the statement is rolled back.
//! - A request sees every schema change that was answered before it arrived.

pub mod error;
pub mod exchange;
pub mod plan;
pub mod query;
pub mod request;
pub mod response;
mod routes;
pub mod schema_cache;
mod service;
pub mod store;
#[cfg(test)]
mod tests;
pub mod token;

pub use routes::{is_public, public, router};
pub use service::{Dependencies, Rest, RestSettings};
pub use token::KeySource;
