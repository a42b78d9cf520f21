//! Raw SQL and schema introspection (contract 02 §4, §5).
//!
//! # How a call runs
//! [`script`] reads the text: [`lexer`] finds the tokens, [`statements`] the statements and their kinds, and
//! [`blocklist`] refuses what a project may not run. Nothing of that touches a connection. [`service`] meters the
//! call, takes a session of the project's owner role and watches the clock and the client; [`execute`] runs the
//! statements in one transaction and writes rows as JSON text through [`values`]. [`error`] turns failures into the
//! envelope.
//!
//! # Invariants
//! - The database's roles are the boundary. What is read from the text only explains, counts and chooses.
//! - One call is one transaction: an answer that is not 200 left nothing behind, except where it says
//!   `mutation_state: unknown`.
//! - A session that saw an error or may hold leftovers never returns to the pool.
//! - The schema version is bumped before the answer to a call that may have changed the schema.
//! - A caller's value never becomes SQL text except as one string literal.

mod blocklist;
mod error;
mod execute;
mod introspect;
mod lexer;
mod parameters;
mod request;
mod routes;
mod script;
mod service;
mod statements;
mod store;
mod supervise;
#[cfg(test)]
mod tests;
mod types;
mod values;

pub use blocklist::{Blocked, Verdict, judge};
pub use lexer::{Lexer, Token, TokenKind};
pub use routes::router;
pub use service::Sql;
pub use statements::{Effect, Shape, Statement, split};
pub use types::{
    Column, Constraint, Field, Policy, SchemaDocument, SqlAnswer, SqlRequest, SqlResponse, SqlSettings, Table,
};
