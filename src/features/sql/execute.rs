//! Runs a script on one session. Knows the driver, not the project's pools.
//!
//! Every statement is first prepared alone through the extended protocol. That tells the types of its columns and
//! parameters, and the server refuses there what it would split into several statements. A statement without
//! columns is then executed as prepared. One with columns is sent again through the simple protocol, because only
//! that gives every value in its text form, including types that have no binary form; with parameters it is
//! prepared under a name in SQL and executed with literals.
//!
//! Rows are written into the answer as they arrive and the driver reads no further than we do, so memory is bound
//! by the limits (and by the size of one row).

use std::pin::pin;

use futures_util::StreamExt;
use serde_json::Value;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow, Statement};
use tokio_util::sync::CancellationToken;

use crate::common::ProjectId;

use super::{
    error::{Failure, ResultLimit, Sent},
    parameters::{BoundText, literal, text_form},
    script::{Mode, Place, Script, Step},
    statements::{Count, Effect},
    store,
    types::{Field, SqlSettings},
    values::{write_string, write_value},
};

/// One call, ready to run.
#[derive(Debug)]
pub struct Call<'a> {
    /// As submitted; the script's ranges count in it.
    pub text: &'a str,
    pub script: &'a Script,
    pub params: &'a [Value],
    pub project: &'a ProjectId,
    pub settings: &'a SqlSettings,
    /// Once cancelled, no further statement is started and nothing is committed.
    pub stop: &'a CancellationToken,
}

/// What a call gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A JSON array of objects: the rows of the last statement.
    pub rows: String,
    pub row_count: Option<u64>,
    pub fields: Vec<Field>,
    /// The project's schema may have changed.
    pub schema_changed: bool,
}

/// Result of one statement.
#[derive(Default)]
struct StepResult {
    rows: Vec<u8>,
    count: Option<u64>,
    fields: Vec<Field>,
}

impl Call<'_> {
    /// Runs the script on a fresh session: in one transaction, which is rolled back on any failure.
    ///
    /// # Errors
    /// [`Failure`]. The session must be discarded then.
    pub async fn run(&self, client: &Client) -> Result<Outcome, Failure> {
        let timeout = self.settings.timeout_seconds;
        match &self.script.mode {
            Mode::Alone => {
                let configured = store::configure_session(client, self.project, timeout).await;
                configured.map_err(|error| Failure::around(error, false))?;
                self.statements(client).await
            }
            Mode::Transaction { modes } => {
                let begun = store::begin(client, modes, self.project, timeout).await;
                begun.map_err(|error| Failure::around(error, false))?;
                match self.statements(client).await {
                    Ok(outcome) => self.commit(client, outcome).await,
                    Err(failure) => {
                        // If this fails too, the session is lost or about to be discarded, which rolls back as well.
                        let _ = store::roll_back(client).await;
                        Err(failure)
                    }
                }
            }
        }
    }

    async fn commit(&self, client: &Client, mut outcome: Outcome) -> Result<Outcome, Failure> {
        if self.stop.is_cancelled() {
            let _ = store::roll_back(client).await;
            return Err(Failure::Stopped);
        }
        let wrote = store::commit(client).await.map_err(|error| Failure::around(error, true))?;
        // A query that wrote did so through a function, which may have changed the schema as well.
        let reads = self.script.steps.iter().any(|step| step.shape.effect == Effect::Read);
        outcome.schema_changed |= wrote && reads;
        Ok(outcome)
    }

    async fn statements(&self, client: &Client) -> Result<Outcome, Failure> {
        let mut total = None;
        let mut last = StepResult::default();
        if self.script.steps.is_empty() && !self.params.is_empty() {
            return Err(self.wrong_parameter_count(0, None));
        }
        for (number, step) in self.script.steps.iter().enumerate() {
            if self.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            last = self.statement(client, step, number + 1 == self.script.steps.len()).await?;
            if let Some(count) = last.count {
                *total.get_or_insert(0) += count;
            }
        }
        // Only JSON text and the caller's own text, both UTF-8, were written.
        let rows = String::from_utf8(last.rows).unwrap_or_default();
        Ok(Outcome {
            rows: format!("[{rows}]"),
            row_count: total,
            fields: last.fields,
            schema_changed: self.script.effect() == Effect::Schema,
        })
    }

    async fn statement(&self, client: &Client, step: &Step, last: bool) -> Result<StepResult, Failure> {
        let text = self.text.get(step.statement.range.clone()).unwrap_or_default();
        let of_statement = |error| Failure::of_statement(error, step.place(), Sent::Statement);
        let prepared = client.prepare(text).await.map_err(of_statement)?;
        if self.params.is_empty() && !prepared.params().is_empty() {
            // The server's own refusal of `$1` without a value, with its position.
            return match client.batch_execute(text).await {
                Err(error) => Err(of_statement(error)),
                Ok(()) => Err(self.wrong_parameter_count(prepared.params().len(), Some(step.place()))),
            };
        }
        if self.params.len() != prepared.params().len() {
            return Err(self.wrong_parameter_count(prepared.params().len(), Some(step.place())));
        }
        let params = self.text_forms(&prepared)?;
        if prepared.columns().is_empty() {
            let params = params.into_iter().map(BoundText);
            let affected = client.execute_raw(&prepared, params).await.map_err(of_statement)?;
            return self.without_columns(step.shape.count, affected, last);
        }
        if params.is_empty() {
            return self.rows(client, text, &prepared, last).await.map_err(|error| error.or(of_statement));
        }
        self.rows_by_name(client, step, text, &prepared, &params).await
    }

    fn text_forms(&self, prepared: &Statement) -> Result<Vec<Option<String>>, Failure> {
        let pairs = self.params.iter().zip(prepared.params());
        pairs
            .enumerate()
            .map(|(index, (value, kind))| text_form(value, kind).map_err(|_| Failure::Parameter { index }))
            .collect()
    }

    fn wrong_parameter_count(&self, needed: usize, place: Option<Place>) -> Failure {
        Failure::Refused {
            sqlstate: "08P01",
            message: format!(
                "bind message supplies {} parameters, but prepared statement requires {needed}",
                self.params.len()
            ),
            place,
        }
    }

    fn without_columns(&self, count: Count, affected: u64, last: bool) -> Result<StepResult, Failure> {
        match count {
            Count::None => Ok(StepResult::default()),
            Count::Affected => Ok(StepResult { count: Some(affected), ..StepResult::default() }),
            Count::Rows if affected > self.settings.max_rows => {
                Err(Failure::TooLarge(ResultLimit::Rows(self.settings.max_rows)))
            }
            Count::Rows => {
                let empty_rows = if last { affected } else { 0 };
                let rows = (0..empty_rows).map(|_| "{}").collect::<Vec<_>>().join(",").into_bytes();
                Ok(StepResult { rows, count: Some(affected), fields: Vec::new() })
            }
        }
    }

    /// A statement with parameters and a result, through `PREPARE` and `EXECUTE`.
    async fn rows_by_name(
        &self,
        client: &Client,
        step: &Step,
        text: &str,
        prepared: &Statement,
        params: &[Option<String>],
    ) -> Result<StepResult, Failure> {
        let (explain, inner) = text.split_at_checked(step.shape.explain_prefix).unwrap_or(("", text));
        let sent = Sent::Prepared { explain_characters: explain.chars().count() };
        store::prepare_by_name(client, inner)
            .await
            .map_err(|error| Failure::of_statement(error, step.place(), sent))?;
        let literals: Vec<String> = params.iter().map(|param| literal(param.as_deref())).collect();
        let execute = format!("{explain} EXECUTE {}({})", store::PREPARED_NAME, literals.join(", "));
        let ours = |error| Failure::of_statement(error, step.place(), Sent::Ours);
        let result = self.rows(client, &execute, prepared, true).await.map_err(|error| error.or(ours))?;
        store::forget_by_name(client).await.map_err(ours)?;
        Ok(result)
    }

    /// Sends a statement with a result and writes the rows down, if they are wanted.
    async fn rows(
        &self,
        client: &Client,
        text: &str,
        prepared: &Statement,
        wanted: bool,
    ) -> Result<StepResult, RowsError> {
        let columns = Columns::of(prepared);
        let mut result = StepResult::default();
        let mut count = 0;
        let mut exceeded = None;
        let mut messages = pin!(client.simple_query_raw(text).await?);
        while let Some(message) = messages.next().await {
            let row = match message {
                Ok(SimpleQueryMessage::Row(row)) => row,
                Ok(_) => continue,
                // The cancelled query ends with an error of its own.
                Err(_) if exceeded.is_some() => break,
                Err(error) => return Err(error.into()),
            };
            count += 1;
            if !wanted || exceeded.is_some() {
                continue;
            }
            if count > self.settings.max_rows {
                exceeded = Some(ResultLimit::Rows(self.settings.max_rows));
            } else if !columns.write_row(&mut result.rows, &row, self.settings.max_result_bytes) {
                exceeded = Some(ResultLimit::Bytes(self.settings.max_result_bytes));
            }
            if exceeded.is_some() {
                result.rows = Vec::new();
                // If it does not arrive, the query ends by itself or at the deadline.
                let _ = client.cancel_token().cancel_query(NoTls).await;
            }
        }
        if let Some(limit) = exceeded {
            return Err(RowsError::TooLarge(limit));
        }
        Ok(StepResult { rows: result.rows, count: Some(count), fields: columns.fields })
    }
}

/// A failure while rows arrive, before it is known what to call it.
enum RowsError {
    Driver(tokio_postgres::Error),
    TooLarge(ResultLimit),
}

impl RowsError {
    fn or(self, of_driver: impl FnOnce(tokio_postgres::Error) -> Failure) -> Failure {
        match self {
            Self::Driver(error) => of_driver(error),
            Self::TooLarge(limit) => Failure::TooLarge(limit),
        }
    }
}

impl From<tokio_postgres::Error> for RowsError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// The columns of a result and how each is written.
struct Columns<'a> {
    statement: &'a Statement,
    fields: Vec<Field>,
    /// `"name":` as JSON text; `None` for a name that comes again later, because the last one wins.
    keys: Vec<Option<Vec<u8>>>,
}

impl<'a> Columns<'a> {
    fn of(statement: &'a Statement) -> Self {
        let columns = statement.columns();
        let fields = columns
            .iter()
            .map(|column| Field { name: column.name().into(), kind: column.type_().name().into() })
            .collect();
        let mut later = std::collections::HashSet::new();
        let mut keys: Vec<_> = columns
            .iter()
            .rev()
            .map(|column| {
                later.insert(column.name()).then(|| {
                    let mut key = Vec::new();
                    write_string(&mut key, column.name());
                    key.push(b':');
                    key
                })
            })
            .collect();
        keys.reverse();
        Self { statement, fields, keys }
    }

    /// Appends one object, with a comma unless it is the first. `false`: that goes over the limit. A value that alone
    /// is too long is not even converted.
    fn write_row(&self, out: &mut Vec<u8>, row: &SimpleQueryRow, limit: usize) -> bool {
        if !out.is_empty() {
            out.push(b',');
        }
        out.push(b'{');
        let mut first = true;
        for (index, (column, key)) in self.statement.columns().iter().zip(&self.keys).enumerate() {
            let Some(key) = key else { continue };
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(key);
            match row.try_get(index) {
                Ok(Some(text)) if out.len() + text.len() > limit => return false,
                Ok(Some(text)) => write_value(out, column.type_(), text),
                Ok(None) | Err(_) => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
        out.len() <= limit
    }
}
