//! What can go wrong, for the operator at start ([`StartError`]) and for a request ([`DatabaseError`]).

use std::{io, path::PathBuf, time::Duration};

use tokio_postgres::error::SqlState;

use super::PipelineError;
use crate::common::{ApiError, MutationState};

/// Why the server could not be started: one sentence for the operator. Not an API error, because there is no
/// API yet.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database settings are wrong: {0}")]
    Settings(&'static str),
    /// What the process that unpacks the server complained about.
    #[error("{0}")]
    Unpacking(String),
    #[error("the database server cannot run as root: start run402 as an ordinary user, or let it drop to one")]
    Root,
    #[error("{what} {} failed: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the data directory {} holds a database of Postgres {found}, but this run402 brings Postgres {ours}: \
         use the run402 that wrote it, or restore a backup",
        path.display()
    )]
    WrongVersion { path: PathBuf, found: String, ours: &'static str },
    #[error(
        "another database server (process {pid}) still uses {} and did not stop: stop it and start again",
        path.display()
    )]
    Occupied { pid: i32, path: PathBuf },
    #[error("the database server did not start: {reason}{}", last_words(log))]
    Exited { reason: String, log: Vec<String> },
    #[error("the database server was not ready after {} s{}", waited.as_secs(), last_words(log))]
    Timeout { waited: Duration, log: Vec<String> },
    #[error("the database server stopped answering while it started: {0}")]
    Interrupted(&'static str),
}

impl StartError {
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

fn last_words(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; it last said: {}", log.join(" | ")) }
}

/// Why a request got no answer from the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server is down or restarting. Nothing was sent. 503 `SERVICE_UNAVAILABLE`.
    #[error("the database is not reachable: {0}")]
    Unavailable(String),
    /// The server refused the statement, or the connection broke under it. 503 `SERVICE_UNAVAILABLE` if the
    /// server was lost or short of resources, else 500 `INTERNAL_ERROR`, unless the feature maps it to
    /// something better.
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
    /// As [`DatabaseError::Query`], of a [`Pipeline`](super::Pipeline).
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Every connection stayed busy for as long as a request waits. Nothing was sent. 503 `SERVICE_UNAVAILABLE`.
    #[error("no database connection became free in time")]
    Exhausted,
}

impl DatabaseError {
    /// A row that breaks a rule its table enforces: only a damaged database has one.
    pub fn damaged(what: &str) -> Self {
        Self::Unavailable(format!("the control database holds a bad {what}"))
    }

    /// The five-character code of the server's answer, if it was one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Query(error) => error.code(),
            Self::Unavailable(_) | Self::Pipeline(_) | Self::Exhausted => None,
        }
    }

    /// Whether the same request may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Exhausted | Self::Pipeline(PipelineError::Broken(_)) => true,
            Self::Pipeline(PipelineError::Server(report)) => lost_server(&report.sqlstate),
            Self::Query(error) => {
                error.is_closed() || error.code().is_some_and(|state| lost_server(state.code())) || broken_pipe(error)
            }
        }
    }
}

/// Classes 08 (connection) and 53 (resources), and the 57P0x codes of a server going down or coming up.
fn lost_server(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("53") || code.starts_with("57P0")
}

/// A connection that breaks while a statement is in flight surfaces as an I/O error.
fn broken_pipe(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        match &error {
            DatabaseError::Unavailable(_) | DatabaseError::Exhausted => {
                Self::unavailable("The database of this box is not reachable right now. Try again shortly.")
                    .caused_by(error)
            }
            DatabaseError::Query(_) | DatabaseError::Pipeline(_) if error.is_transient() => Self::unavailable(
                "The database of this box went away during the request. It may have been carried out.",
            )
            .safe_to_retry(false)
            .mutation_state(MutationState::Unknown)
            .caused_by(error),
            DatabaseError::Query(_) | DatabaseError::Pipeline(_) => Self::internal(error),
        }
    }
}

/// So that `?` works on tokio_postgres errors in handlers and services that return `ApiError`.
impl From<tokio_postgres::Error> for ApiError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_server_is_told_from_a_refused_statement() {
        for (code, lost) in [
            ("57P01", true),
            ("57P03", true),
            ("08006", true),
            ("53300", true),
            ("53100", true),
            ("57014", false),
            ("23505", false),
            ("42P01", false),
        ] {
            assert_eq!(lost_server(code), lost, "{code}");
        }
    }

    #[test]
    fn unavailable_is_a_retryable_503_that_changed_nothing() {
        let error = ApiError::from(DatabaseError::Unavailable("the server is restarting".into()));
        assert_eq!(error.status(), 503);
        let body = error.body("trc_1", false);
        assert_eq!(body["code"], "SERVICE_UNAVAILABLE");
        assert_eq!(body["retryable"], true);
        assert_eq!(body["mutation_state"], "not_started");
        assert!(!body.to_string().contains("restarting"));
    }
}
