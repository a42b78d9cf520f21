//! Migrations: read into statements before anything runs, and run one statement at a time.
//!
//! The server takes one statement a message, so it refuses what it would split differently than we do; a `COMMIT`
//! cannot hide from the check below.

use std::ops::Range;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::{GenericClient, error::DbError, error::ErrorPosition};

use super::Stop;
use crate::{
    common::{ApiError, Category, MutationState, NextAction, ProjectId},
    engines::{blobs::Sha256Digest, postgres::DatabaseError},
    features::{
        releases::{ChecksumMismatch, Migration},
        sql::{Shape, Statement, Verdict, judge, split},
    },
};

/// Most statements of one migration.
const MOST_STATEMENTS: usize = 100_000;

/// A migration that is ready to run.
#[derive(Debug)]
pub struct Loaded {
    pub id: String,
    pub checksum: Sha256Digest,
    pub transactional: bool,
    /// What its SQL is stored under, when it came as content.
    pub stored: Option<Sha256Digest>,
    text: String,
    statements: Vec<Statement>,
}

impl Loaded {
    /// Reads the SQL of a migration.
    ///
    /// # Errors
    /// 400 `INVALID_SPEC` for what is not text or blank; 400 `MIGRATION_FAILED` for what a migration may not contain.
    pub fn read(migration: &Migration, bytes: &[u8]) -> Result<Self, ApiError> {
        let resource = format!("database.migrations.{}", migration.id);
        let text = std::str::from_utf8(bytes)
            .map_err(|_| super::super::error::invalid_spec(&resource, "The SQL is not valid UTF-8."))?;
        if text.contains('\0') {
            return Err(super::super::error::invalid_spec(&resource, "The SQL holds a NUL character."));
        }
        let statements: Vec<Statement> = split(text).take(MOST_STATEMENTS + 1).collect();
        if statements.is_empty() || statements.len() > MOST_STATEMENTS {
            let message = format!("A migration has 1 to {MOST_STATEMENTS} statements.");
            return Err(super::super::error::invalid_spec(&resource, message));
        }
        let loaded = Self {
            id: migration.id.clone(),
            checksum: migration.checksum,
            transactional: migration.transactional,
            stored: super::super::plan::sql_digest(migration),
            text: text.to_owned(),
            statements,
        };
        for (index, statement) in loaded.statements.iter().enumerate() {
            loaded.check(index, statement.range.clone())?;
        }
        Ok(loaded)
    }

    /// What a migration may not contain, told in words; the roles of the database are what enforces it.
    fn check(&self, index: usize, range: Range<usize>) -> Result<(), ApiError> {
        let statement = self.text.get(range).unwrap_or_default();
        let refuse = |message: String, hint: &str| {
            Err(self
                .refusal(StatusCode::BAD_REQUEST, "MIGRATION_FAILED", message, MutationState::NotStarted)
                .hint(hint)
                .detail("statement_index", index))
        };
        if let Verdict::Blocked(blocked) = judge(statement) {
            let folded = statement.to_ascii_lowercase();
            if folded.contains("authz_version") && folded.contains("internal") {
                return Err(self
                    .refusal(
                        StatusCode::BAD_REQUEST,
                        "R402_AUTH_AUTHZ_VERSION_PROHIBITED",
                        "A migration may not touch the platform's sessions.".into(),
                        MutationState::NotStarted,
                    )
                    .hint(blocked.hint));
            }
            return refuse(format!("A migration may not contain {}.", blocked.pattern), blocked.hint);
        }
        let shape = Shape::of(statement);
        if shape.control.is_some() {
            return refuse(
                "A migration may not begin or end transactions.".into(),
                "All migrations of a deploy run in one transaction; give the migration \"transaction\": \"none\" if it \
                 cannot run in one.",
            );
        }
        if let (Some(name), true) = (shape.outside_transaction, self.transactional) {
            return refuse(
                format!("{name} cannot run inside a transaction."),
                "Put it into a migration of its own with \"transaction\": \"none\".",
            );
        }
        Ok(())
    }

    pub fn mismatch(&self, applied: Sha256Digest) -> ApiError {
        let mismatch = ChecksumMismatch { id: self.id.clone(), applied, requested: self.checksum };
        super::super::error::checksum_mismatch(mismatch, "migrate")
    }

    pub fn resource(&self) -> String {
        format!("database.migrations.{}", self.id)
    }

    fn refusal(&self, status: StatusCode, code: &'static str, message: String, state: MutationState) -> ApiError {
        ApiError::new(status, code, format!("Migration {}: {message}", self.id))
            .category(Category::Deploy)
            .retryable(false)
            .safe_to_retry(true)
            .mutation_state(state)
            .extra("phase", "migrate")
            .extra("resource", self.resource())
            .detail("migration_id", self.id.as_str())
            .next_action(NextAction::new("edit_migration", "Correct the SQL and deploy again."))
    }

    /// Runs every statement. A failed one ends it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn run<C: GenericClient + Sync>(&self, client: &C) -> Result<(), Failure> {
        for (index, statement) in self.statements.iter().enumerate() {
            let text = self.text.get(statement.range.clone()).unwrap_or_default();
            client.execute_typed(text, &[]).await.map_err(|error| Failure {
                index: Some(index),
                characters_before: statement.characters_before,
                error,
            })?;
        }
        Ok(())
    }

    /// The error of a statement that the server refused. `state`: what is left behind.
    pub fn failed(&self, failure: &Failure, refused: &DbError, state: MutationState) -> ApiError {
        let position = match refused.position() {
            Some(ErrorPosition::Original(position)) => {
                usize::try_from(*position).ok().map(|position| position + failure.characters_before)
            }
            _ => None,
        };
        let line = position.map(|position| self.text.chars().take(position).filter(|c| *c == '\n').count() + 1);
        let mut logs = vec![format!("{}: {}", refused.severity(), refused.message())];
        logs.extend(position.zip(line).map(|(position, line)| format!("at character {position}, line {line}")));
        logs.extend(refused.detail().map(|detail| format!("DETAIL: {detail}")));
        logs.extend(refused.hint().map(|hint| format!("HINT: {hint}")));
        logs.extend(refused.where_().map(|context| format!("CONTEXT: {context}")));
        let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        self.refusal(StatusCode::UNPROCESSABLE_ENTITY, "MIGRATION_FAILED", refused.message().to_owned(), state)
            .extra("rolled_back", state == MutationState::RolledBack)
            .extra("logs", json!(logs))
            .detail("sqlstate", refused.code().code())
            .detail("statement_index", failure.index)
            .detail("position", position)
            .detail("line", line)
            .detail("detail", text(refused.detail()))
            .detail("hint", text(refused.hint()))
    }

    /// It ran out of time.
    pub fn timed_out(&self, seconds: u64, state: MutationState) -> ApiError {
        let message = format!("the migrations of this deploy ran longer than {seconds} s and were stopped");
        self.refusal(StatusCode::UNPROCESSABLE_ENTITY, "MIGRATION_FAILED", message.clone(), state)
            .extra("rolled_back", state == MutationState::RolledBack)
            .extra("logs", json!([message]))
            .detail("timeout_seconds", seconds)
    }
}

/// A statement that failed.
#[derive(Debug)]
pub struct Failure {
    /// None: at the end of the migration, where deferred constraints are checked.
    pub index: Option<usize>,
    pub characters_before: usize,
    pub error: tokio_postgres::Error,
}

impl Failure {
    /// What becomes of the operation: tried again when something was in the way, else the migration's fault.
    pub fn into_stop(self, migration: &Loaded, state: MutationState) -> Stop {
        match self.error.as_db_error().cloned() {
            Some(refused) if may_pass(refused.code().code()) => {
                Stop::of(ApiError::unavailable("Something was in the way of a migration.").caused_by(self.error))
            }
            Some(refused) => Stop::failed(migration.failed(&self, &refused, state)),
            None => Stop::of(DatabaseError::from(self.error).into()),
        }
    }
}

/// Whether the server's refusal says nothing about the SQL: serialisation, a deadlock, a lock, a server going down.
pub(super) fn may_pass(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "55P03" | "53300") || code.starts_with("57P0")
}

/// Settings under which migrations run (contract 02 §3.3, 03 §8).
pub(super) fn settings(project: &ProjectId, statement_seconds: u64, lock_seconds: u64, local: bool) -> String {
    let set = if local { "SET LOCAL" } else { "SET" };
    let claims = json!({ "role": "service_role", "project_id": project.as_str(), "sub": "service" });
    let milliseconds = |seconds: u64| seconds.saturating_mul(1000).min(i32::MAX.unsigned_abs().into());
    // A project id is made of `[a-z0-9_]`, so none of these literals needs escaping.
    format!(
        "{set} standard_conforming_strings = on; {set} search_path = public, extensions, auth; \
         {set} statement_timeout = {}; {set} lock_timeout = {}; {set} client_min_messages = error; \
         {set} idle_in_transaction_session_timeout = 0; {set} check_function_bodies = on; \
         {set} request.jwt.claims = '{claims}'; {set} run402.project_id = '{project}'",
        milliseconds(statement_seconds),
        milliseconds(lock_seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::releases::MigrationSql;

    fn read(sql: &str, transactional: bool) -> Result<Loaded, String> {
        let migration = Migration {
            id: "m".into(),
            checksum: Sha256Digest::of(sql.as_bytes()),
            sql: MigrationSql::Inline(sql.into()),
            transactional,
        };
        Loaded::read(&migration, sql.as_bytes()).map_err(|error| error.code().to_owned())
    }

    #[test]
    fn a_migration_is_read_into_statements_before_it_runs() {
        assert_eq!(read("create table a(); -- x\n create table b()", true).unwrap().statements.len(), 2);
        assert!(read("savepoint a; rollback to a", true).is_ok());
        assert!(read("create index concurrently i on t(a)", false).is_ok());
        assert!(read("create extension if not exists pgcrypto; select 1", true).is_ok());
        for (sql, transactional, code) in [
            (" -- nothing\n", true, "INVALID_SPEC"),
            ("select '\0'", true, "INVALID_SPEC"),
            ("begin; create table a(); commit", true, "MIGRATION_FAILED"),
            ("select 1; COMMIT", false, "MIGRATION_FAILED"),
            ("vacuum", true, "MIGRATION_FAILED"),
            ("grant select on t to anon", true, "MIGRATION_FAILED"),
            ("copy t from program 'id'", true, "MIGRATION_FAILED"),
            ("update internal.sessions set authz_version = 0", true, "R402_AUTH_AUTHZ_VERSION_PROHIBITED"),
        ] {
            assert_eq!(read(sql, transactional).err().as_deref(), Some(code), "{sql}");
        }
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let migration = Migration {
            id: "m".into(),
            checksum: Sha256Digest::of(b"\xff"),
            sql: MigrationSql::Inline(String::new()),
            transactional: true,
        };
        assert_eq!(Loaded::read(&migration, b"\xff").unwrap_err().code(), "INVALID_SPEC");
    }
}
