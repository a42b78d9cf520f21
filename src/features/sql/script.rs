//! Reads a submitted text as a whole: what it does, whether it may run, and how.

use super::{
    blocklist::{self, Blocked, Verdict},
    statements::{Control, Effect, Shape, Statement, split},
};

/// More statements than this in one text are refused, so that ten megabytes of `;` cannot fill the memory.
pub const MAX_STATEMENTS: usize = 100_000;

/// A statement with its place among the submitted ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From 0, in the submitted text.
    pub index: usize,
    pub statement: Statement,
    pub shape: Shape,
}

impl Step {
    pub fn place(&self) -> Place {
        Place { index: self.index, characters_before: self.statement.characters_before }
    }
}

/// Where a statement stands in the submitted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub index: usize,
    pub characters_before: usize,
}

/// How the call is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In one transaction. `modes` come from a `BEGIN …` of the text: words and commas only.
    Transaction { modes: String },
    /// One statement that refuses transaction blocks, in autocommit.
    Alone,
}

/// A text that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub steps: Vec<Step>,
    pub mode: Mode,
    /// Extensions that `CREATE EXTENSION IF NOT EXISTS` names; all must be installed.
    pub extensions: Vec<String>,
}

impl Script {
    /// What the text as a whole may leave behind.
    pub fn effect(&self) -> Effect {
        self.steps.iter().map(|step| step.shape.effect).max().unwrap_or(Effect::Read)
    }

    /// Does a statement leave things in the session that the usual clean-up does not remove?
    pub fn soils_session(&self) -> bool {
        self.steps.iter().any(|step| step.shape.soils_session)
    }
}

/// Why a text does not run. Nothing was sent to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403 `FORBIDDEN`.
    Blocked(Blocked),
    /// 400 `SQL_ERROR` with the SQLSTATE that Postgres has for the situation.
    Sql { sqlstate: &'static str, message: String, hint: Option<&'static str>, place: Option<Place> },
    /// 400 `VALIDATION_ERROR`.
    TooManyStatements,
}

/// What is known of a text before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// May it store more data? Also told of a text that is refused.
    pub grows: bool,
    pub script: Result<Script, Refusal>,
}

const HINT_ATOMIC: &str =
    "One call is one transaction already: leave out transaction control, or use SAVEPOINT within the call.";
const HINT_ALONE: &str = "Send this statement in a call of its own, without parameters.";

/// Reads a text. `with_parameters`: the call carries at least one.
pub fn read(text: &str, with_parameters: bool) -> Reading {
    let mut steps = Vec::new();
    for (index, statement) in split(text).enumerate() {
        if index == MAX_STATEMENTS {
            return Reading { grows: true, script: Err(Refusal::TooManyStatements) };
        }
        let shape = Shape::of(text.get(statement.range.clone()).unwrap_or_default());
        steps.push(Step { index, statement, shape });
    }
    Reading { grows: steps.iter().any(|step| step.shape.grows), script: check(text, steps, with_parameters) }
}

fn check(text: &str, mut steps: Vec<Step>, with_parameters: bool) -> Result<Script, Refusal> {
    let mut extensions = Vec::new();
    for step in &steps {
        match blocklist::judge(text.get(step.statement.range.clone()).unwrap_or_default()) {
            Verdict::Pass => {}
            Verdict::Blocked(blocked) => return Err(Refusal::Blocked(blocked)),
            Verdict::IfInstalled(name) => extensions.push(name),
        }
    }
    let modes = take_outer_pair(&mut steps);
    if let Some(step) = steps.iter().find(|step| step.shape.control.is_some()) {
        return Err(transaction_control(step));
    }
    if with_parameters && steps.len() > 1 {
        return Err(Refusal::Sql {
            sqlstate: "42601",
            message: "cannot insert multiple commands into a prepared statement".into(),
            hint: Some("Send one statement per call when there are parameters."),
            place: steps.get(1).map(Step::place),
        });
    }
    let alone = steps.len() == 1 && modes.is_none() && !with_parameters;
    let mode = match steps.iter().find_map(|step| step.shape.outside_transaction.map(|name| (step, name))) {
        None => Mode::Transaction { modes: modes.unwrap_or_default() },
        Some(_) if alone => Mode::Alone,
        Some((step, name)) => {
            return Err(Refusal::Sql {
                sqlstate: "25001",
                message: format!("{name} cannot run inside a transaction block"),
                hint: Some(HINT_ALONE),
                place: Some(step.place()),
            });
        }
    };
    Ok(Script { steps, mode, extensions })
}

/// Drops `BEGIN; … COMMIT;` around all other statements and returns the modes of the `BEGIN`.
fn take_outer_pair(steps: &mut Vec<Step>) -> Option<String> {
    let [first, .., last] = steps.as_slice() else { return None };
    let (Some(Control::Begin { modes }), Some(Control::Commit)) = (&first.shape.control, &last.shape.control) else {
        return None;
    };
    let modes = modes.clone();
    steps.pop();
    steps.remove(0);
    Some(modes)
}

fn transaction_control(step: &Step) -> Refusal {
    let (sqlstate, name) = match &step.shape.control {
        Some(Control::Begin { .. }) => ("25001", "BEGIN"),
        Some(Control::Other(name)) => ("2D000", *name),
        Some(Control::Commit) | None => ("2D000", "COMMIT"),
    };
    Refusal::Sql {
        sqlstate,
        message: format!("{name} is not allowed here"),
        hint: Some(HINT_ATOMIC),
        place: Some(step.place()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlstate(text: &str, with_parameters: bool) -> Option<&'static str> {
        match read(text, with_parameters).script {
            Err(Refusal::Sql { sqlstate, .. }) => Some(sqlstate),
            _ => None,
        }
    }

    #[test]
    fn an_outer_transaction_pair_is_dropped_and_keeps_its_modes() {
        let script = read("begin isolation level serializable; select 1; select 2; commit;", false).script.unwrap();
        assert_eq!(script.mode, Mode::Transaction { modes: "isolation level serializable".into() });
        assert_eq!(script.steps.iter().map(|step| step.index).collect::<Vec<_>>(), [1, 2]);
        assert!(read("begin; commit", false).script.unwrap().steps.is_empty());
        assert!(read("-- nothing", false).script.unwrap().steps.is_empty());
    }

    #[test]
    fn other_transaction_control_is_an_sql_error() {
        for (text, expected) in [
            ("begin", "25001"),
            ("begin; select 1", "25001"),
            ("select 1; commit", "2D000"),
            ("begin; select 1; rollback", "25001"),
            ("begin; select 1; commit; select 2", "25001"),
            ("begin; commit; begin; commit", "2D000"),
            ("rollback", "2D000"),
            ("prepare transaction 'x'", "2D000"),
        ] {
            assert_eq!(sqlstate(text, false), Some(expected), "{text}");
        }
        assert_eq!(sqlstate("savepoint a; rollback to a; release a", false), None);
    }

    #[test]
    fn statements_that_refuse_transactions_run_alone_or_not_at_all() {
        assert_eq!(read("vacuum t;", false).script.unwrap().mode, Mode::Alone);
        for text in ["vacuum; select 1", "begin; vacuum; commit"] {
            assert_eq!(sqlstate(text, false), Some("25001"), "{text}");
        }
        assert_eq!(sqlstate("vacuum", true), Some("25001"));
    }

    #[test]
    fn parameters_allow_one_statement() {
        assert_eq!(sqlstate("select 1; select 2", true), Some("42601"));
        assert_eq!(sqlstate("select 1; -- x", true), None);
    }

    #[test]
    fn the_whole_text_is_judged_before_anything_runs() {
        let reading = read("select 1; insert into t values (1); set role x", false);
        assert!(reading.grows);
        assert!(matches!(reading.script, Err(Refusal::Blocked(_))));
        let script = read("create extension if not exists citext", false).script.unwrap();
        assert_eq!(script.extensions, ["citext"]);
    }

    #[test]
    fn endless_statements_are_refused() {
        assert_eq!(read(&"x;".repeat(MAX_STATEMENTS + 1), false).script, Err(Refusal::TooManyStatements));
    }
}
