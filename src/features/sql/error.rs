//! Errors of raw SQL and what the caller sees of them (contract 02 §4.5).

use axum::http::StatusCode;
use serde_json::Value;
use tokio_postgres::error::{DbError, ErrorPosition};

use crate::common::{ApiError, Category, MutationState, NextAction};

use super::{
    script::{Place, Refusal},
    store::EXECUTED_BY_NAME,
};

/// Which limit a result went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultLimit {
    Rows(u64),
    Bytes(usize),
}

/// Why a call failed after it reached the server.
#[derive(Debug)]
pub enum Failure {
    /// The server refused. `place`: which statement, unless it was the commit. `sent`: what the position counts in.
    Database { error: Box<DbError>, place: Option<Place>, sent: Sent },
    /// Found here, in the words of Postgres.
    Refused { sqlstate: &'static str, message: String, place: Option<Place> },
    /// 400 `RESULT_TOO_LARGE`.
    TooLarge(ResultLimit),
    /// 400 `VALIDATION_ERROR`: a parameter cannot be sent.
    Parameter { index: usize },
    /// The call was told to stop between two statements.
    Stopped,
    /// The connection broke. `committing`: nobody knows whether the commit was carried out.
    Lost { cause: tokio_postgres::Error, committing: bool },
}

/// The text that an error position of the server counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The statement itself.
    Statement,
    /// `PREPARE … AS` and the statement behind its `EXPLAIN` prefix of so many characters.
    Prepared { explain_characters: usize },
    /// A text of ours; the position says nothing about the caller's.
    Ours,
}

/// How a failed call stood to its deadline and its transaction.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The wall clock ran out, here or as `statement_timeout`; in seconds.
    pub timed_out: Option<u64>,
    /// Statements ran outside a transaction, so a failure may leave something behind.
    pub outside_transaction: bool,
}

impl Failure {
    /// A driver error of a statement.
    pub fn of_statement(error: tokio_postgres::Error, place: Place, sent: Sent) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Database { error: Box::new(refused.clone()), place: Some(place), sent },
            None => Self::Lost { cause: error, committing: false },
        }
    }

    /// A driver error around the statements: opening the transaction, or `committing`.
    pub fn around(error: tokio_postgres::Error, committing: bool) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Database { error: Box::new(refused.clone()), place: None, sent: Sent::Ours },
            None => Self::Lost { cause: error, committing },
        }
    }

    /// Is this how a cancelled or ended session answers?
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Database { error, .. } => matches!(error.code().code(), "57014" | "57P01"),
            Self::Stopped | Self::Lost { .. } => true,
            Self::Refused { .. } | Self::TooLarge(_) | Self::Parameter { .. } => false,
        }
    }

    /// The envelope. `text` is the submitted one.
    pub fn into_api_error(self, text: &str, circumstances: Circumstances) -> ApiError {
        let mutation = match &self {
            Self::Lost { committing: true, .. } => MutationState::Unknown,
            _ if circumstances.outside_transaction => MutationState::Unknown,
            _ => MutationState::RolledBack,
        };
        let error = match circumstances.timed_out {
            Some(seconds) if self.is_interruption() => timeout(seconds),
            _ => self.into_plain_error(text),
        };
        let safe = mutation == MutationState::RolledBack;
        error.mutation_state(mutation).safe_to_retry(safe)
    }

    fn into_plain_error(self, text: &str) -> ApiError {
        match self {
            Self::Database { error, place, sent } => of_server(&error, place, sent, text),
            Self::Refused { sqlstate, message, place } => sql_error(sqlstate, &message, None, place, text),
            Self::TooLarge(limit) => too_large(limit),
            Self::Parameter { index } => {
                ApiError::validation("params", format!("Parameter ${} holds a NUL character.", index + 1))
            }
            Self::Stopped => unavailable(),
            Self::Lost { cause, .. } => unavailable().caused_by(cause),
        }
    }
}

impl Refusal {
    /// The envelope. `text` is the submitted one.
    pub fn into_api_error(self, text: &str) -> ApiError {
        match self {
            Self::Blocked(blocked) => {
                ApiError::forbidden("FORBIDDEN", format!("Blocked SQL pattern: {}", blocked.pattern))
                    .category(Category::Auth)
                    .mutation_state(MutationState::NotStarted)
                    .hint(blocked.hint)
            }
            Self::Sql { sqlstate, message, hint, place } => {
                sql_error(sqlstate, &message, hint, place, text).mutation_state(MutationState::RolledBack)
            }
            Self::TooManyStatements => ApiError::validation(
                "sql",
                format!("The text has more than {} statements; split it.", super::script::MAX_STATEMENTS),
            )
            .mutation_state(MutationState::NotStarted),
        }
    }
}

fn timeout(seconds: u64) -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "SQL_TIMEOUT",
        format!("The SQL ran longer than {seconds} s and was stopped."),
    )
    .category(Category::Database)
    .retryable(false)
    .detail("timeout_seconds", seconds)
    .hint("Make the statement cheaper (an index, a smaller range) or split the work into several calls.")
}

fn unavailable() -> ApiError {
    ApiError::unavailable("The database was lost during the call. Try again shortly.").category(Category::Database)
}

fn too_large(limit: ResultLimit) -> ApiError {
    let error = |what: String| {
        ApiError::bad_request("RESULT_TOO_LARGE", format!("The result is larger than {what}."))
            .category(Category::Database)
            .retryable(false)
            .hint("Ask for less: LIMIT and OFFSET, fewer columns, or an aggregate.")
    };
    match limit {
        ResultLimit::Rows(rows) => error(format!("{rows} rows")).detail("max_rows", rows),
        ResultLimit::Bytes(bytes) => error(format!("{bytes} bytes")).detail("max_result_bytes", bytes),
    }
}

/// An error in the form of the server's, for what is found here.
fn sql_error(sqlstate: &str, message: &str, hint: Option<&str>, place: Option<Place>, text: &str) -> ApiError {
    let position = place.map(|place| place.characters_before + 1);
    let error = ApiError::bad_request("SQL_ERROR", format!("SQL error: {message}"))
        .category(Category::Database)
        .extra("error", "sql_error")
        .extra("hint", hint)
        .next_action(NextAction::new("edit_request", "Correct the SQL and send it again."))
        .detail("sqlstate", sqlstate)
        .detail("severity", "ERROR")
        .detail("position", position)
        .detail("line", position.map(|position| line_of(text, position)))
        .detail("hint", hint)
        .detail("statement_index", place.map(|place| place.index));
    ["detail", "context", "schema", "table", "column", "constraint", "data_type"]
        .into_iter()
        .fold(error, |error, key| error.detail(key, Value::Null))
}

fn of_server(error: &DbError, place: Option<Place>, sent: Sent, text: &str) -> ApiError {
    let sqlstate = error.code().code();
    let position = place.and_then(|place| position(error, place, sent));
    let (status, code, retryable) = match sqlstate {
        "40001" | "40P01" | "55P03" => (StatusCode::CONFLICT, "SQL_CONFLICT", true),
        // The session's memory or temporary files are used up: by this statement, so repeating it does not help
        // (a deviation from the table of 02 §4.5, which has 503 for the whole class 53).
        "53200" | "53400" => (StatusCode::BAD_REQUEST, "SQL_ERROR", false),
        _ if ["53", "08", "57P0"].iter().any(|class| sqlstate.starts_with(class)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", true)
        }
        _ => (StatusCode::BAD_REQUEST, "SQL_ERROR", false),
    };
    let action = if retryable {
        NextAction::new("retry", "The same call may well succeed a moment later.")
    } else {
        NextAction::new("edit_request", "Correct the SQL and send it again.")
    };
    ApiError::new(status, code, format!("SQL error: {}", error.message()))
        .category(Category::Database)
        .retryable(retryable)
        .extra("error", "sql_error")
        .extra("hint", error.hint())
        .next_action(action)
        .detail("sqlstate", sqlstate)
        .detail("severity", error.severity())
        .detail("position", position)
        .detail("line", position.map(|position| line_of(text, position)))
        .detail("detail", error.detail())
        .detail("hint", error.hint())
        .detail("context", error.where_())
        .detail("schema", error.schema())
        .detail("table", error.table())
        .detail("column", error.column())
        .detail("constraint", error.constraint())
        .detail("data_type", error.datatype())
        .detail("statement_index", place.map(|place| place.index))
}

/// The server counts characters from 1 in what it was sent; the caller wants them in what he submitted.
fn position(error: &DbError, place: Place, sent: Sent) -> Option<usize> {
    let Some(ErrorPosition::Original(position)) = error.position() else { return None };
    let position = usize::try_from(*position).ok()?;
    let in_statement = match sent {
        Sent::Statement => position,
        Sent::Prepared { explain_characters } => {
            position.checked_sub(EXECUTED_BY_NAME.len())?.checked_add(explain_characters)?
        }
        Sent::Ours => return None,
    };
    (in_statement > 0).then(|| place.characters_before + in_statement)
}

/// The line, from 1, of a character position, from 1.
fn line_of(text: &str, position: usize) -> usize {
    1 + text.chars().take(position.saturating_sub(1)).filter(|&c| c == '\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::sql::script::read;

    fn body(error: &ApiError) -> Value {
        error.body("trc_1", false)
    }

    #[test]
    fn blocked_sql_is_a_403_that_names_the_pattern() {
        let text = "select 1; grant select on t to anon";
        let error = read(text, false).script.unwrap_err().into_api_error(text);
        assert_eq!(error.status(), 403);
        let body = body(&error);
        assert_eq!(body["message"], "Blocked SQL pattern: GRANT");
        assert_eq!(body["error"], body["message"]);
        assert_eq!(body["code"], "FORBIDDEN");
        assert_eq!(body["category"], "auth");
        assert_eq!(body["mutation_state"], "not_started");
        assert!(body["hint"].as_str().unwrap().contains("manifest"));
    }

    #[test]
    fn transaction_control_is_a_400_in_the_form_of_a_database_error() {
        let text = "select 'é';\n commit";
        let error = read(text, false).script.unwrap_err().into_api_error(text);
        assert_eq!(error.status(), 400);
        let body = body(&error);
        assert_eq!(body["error"], "sql_error");
        assert_eq!(body["code"], "SQL_ERROR");
        assert_eq!(body["details"]["sqlstate"], "2D000");
        assert_eq!(body["details"]["position"], 14);
        assert_eq!(body["details"]["line"], 2);
        assert_eq!(body["details"]["statement_index"], 1);
        assert_eq!(body["details"]["table"], Value::Null);
        assert!(body["hint"].as_str().unwrap().contains("SAVEPOINT"));
    }

    #[test]
    fn a_timeout_is_a_408_that_is_not_retried() {
        let circumstances = Circumstances { timed_out: Some(60), outside_transaction: false };
        let error = Failure::Stopped.into_api_error("", circumstances);
        assert_eq!((error.status().as_u16(), error.code()), (408, "SQL_TIMEOUT"));
        let body = body(&error);
        assert_eq!(body["retryable"], false);
        assert_eq!(body["mutation_state"], "rolled_back");
    }

    #[test]
    fn a_result_too_large_is_a_400_that_was_rolled_back() {
        let circumstances = Circumstances { timed_out: None, outside_transaction: false };
        let error = Failure::TooLarge(ResultLimit::Rows(10_000)).into_api_error("", circumstances);
        assert_eq!((error.status().as_u16(), error.code()), (400, "RESULT_TOO_LARGE"));
        let body = body(&error);
        assert_eq!(body["mutation_state"], "rolled_back");
        assert_eq!(body["category"], "database");
    }
}
