//! Raw SQL and schema introspection (contract 02 §4, §5).
pub mod blocklist;
pub mod lexer;
pub mod statements;
