//! Reads a migration that has not run and lays what it makes and drops over a schema (contract 02 §6.3).
//!
//! Only what a manifest can name is followed. A statement that may make such a thing but is not understood leaves
//! the overlay open: what seems to be missing may then exist.

use crate::features::sql::{Effect, Shape, TokenKind, split};

use super::{
    types::{Catalog, Issue, IssueKind, LiveColumn, LiveFunction, LiveTable, LiveView},
    words::{Cursor, argument_types, type_name},
};

/// A schema with a migration laid over it.
pub struct Overlay {
    pub catalog: Catalog,
    /// Something was not understood.
    pub open: bool,
    /// One warning for each such statement.
    pub issues: Vec<Issue>,
}

/// More statements than this are not looked at.
const MAX_STATEMENTS: usize = 10_000;
/// Words that end a column's type.
const AFTER_TYPE: [&str; 14] = [
    "collate",
    "constraint",
    "default",
    "not",
    "null",
    "check",
    "generated",
    "unique",
    "primary",
    "references",
    "storage",
    "compression",
    "using",
    "deferrable",
];
/// Words that start a table constraint instead of a column.
const CONSTRAINTS: [&str; 6] = ["constraint", "primary", "unique", "check", "foreign", "exclude"];
/// Kinds of objects that a manifest cannot name.
const UNNAMED: [&str; 20] = [
    "index",
    "unique",
    "sequence",
    "type",
    "domain",
    "trigger",
    "constraint",
    "policy",
    "extension",
    "rule",
    "aggregate",
    "operator",
    "cast",
    "statistics",
    "collation",
    "procedure",
    "role",
    "event",
    "text",
    "schema",
];

/// Lays a migration over a schema.
pub fn overlay(catalog: Catalog, sql: &str) -> Overlay {
    let mut result = Overlay { catalog, open: false, issues: Vec::new() };
    for (index, statement) in split(sql).enumerate() {
        let text = sql.get(statement.range).unwrap_or_default();
        if index < MAX_STATEMENTS && (!text.contains('\0')) && result.catalog.follow(text).is_some() {
            continue;
        }
        result.open = true;
        let start: String = text.chars().take(60).collect();
        let detail = format!("Statement {} of migration_sql is not understood here: {start}", index + 1);
        result.issues.push(Issue::warning(IssueKind::ValidationInconclusive, "migration_sql", detail));
        if index >= MAX_STATEMENTS {
            break;
        }
    }
    result
}

impl Catalog {
    /// `None` when the statement is not understood.
    fn follow(&mut self, text: &str) -> Option<()> {
        let mut cursor = Cursor::new(text);
        if cursor.take("create") {
            self.create(cursor)
        } else if cursor.take_all(&["alter", "table"]) {
            self.alter_table(cursor)
        } else if cursor.take("alter") {
            let kind = cursor.take_name()?;
            UNNAMED.contains(&kind.as_str()).then_some(())
        } else if cursor.take("drop") {
            self.drop(cursor)
        } else if cursor.take("comment") {
            Some(())
        } else if cursor.take("do") || cursor.take("call") {
            None
        } else {
            (Shape::of(text).effect != Effect::Schema).then_some(())
        }
    }

    fn create(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        cursor.take_all(&["or", "replace"]);
        let _ = cursor.take("global") || cursor.take("local");
        let temporary = cursor.take("temp") || cursor.take("temporary");
        cursor.take("unlogged");
        cursor.take("recursive");
        if temporary {
            return Some(());
        }
        if cursor.take("table") {
            return self.create_table(cursor);
        }
        if cursor.take("view") || cursor.take_all(&["materialized", "view"]) {
            return self.create_view(cursor);
        }
        if cursor.take("function") {
            return self.create_function(cursor);
        }
        UNNAMED.contains(&cursor.take_name()?.as_str()).then_some(())
    }

    fn create_table(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        let only_if_new = cursor.take_all(&["if", "not", "exists"]);
        let name = cursor.take_public_name()?;
        if self.taken.contains(&name) {
            return only_if_new.then_some(());
        }
        let mut table = LiveTable { name: name.clone(), ..LiveTable::default() };
        let understood = match cursor.take_list() {
            Some(parts) => {
                for part in parts {
                    table.open |= !add_column_definition(&mut table, part);
                }
                // INHERITS, AS: columns come from elsewhere.
                table.open |= cursor.take("inherits") || cursor.take("as");
                true
            }
            None => {
                table.open = true;
                cursor.take("as") || cursor.take_all(&["partition", "of"])
            }
        };
        self.taken.push(name);
        self.tables.push(table);
        understood.then_some(())
    }

    fn create_view(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        cursor.take_all(&["if", "not", "exists"]);
        let name = cursor.take_public_name()?;
        let parts = cursor.take_list();
        let names =
            parts.map(|parts| parts.iter().filter_map(|part| Cursor::new(part).take_name()).collect::<Vec<_>>());
        self.views.retain(|view| view.name != name);
        self.taken.push(name.clone());
        let open = names.is_none();
        let column = |name| LiveColumn { name, kind: String::new() };
        let columns = names.unwrap_or_default().into_iter().map(column).collect();
        self.views.push(LiveView { name, columns, open, ..LiveView::default() });
        Some(())
    }

    fn create_function(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        let name = cursor.take_public_name()?;
        let signature = format!("({})", cursor.take_list()?.join(", "));
        let arguments = argument_types(&signature)?.into_iter().map(defined_type).collect::<Option<Vec<_>>>()?;
        self.functions.retain(|function| function.name != name || function.arguments != arguments);
        let signature = arguments.join(", ");
        self.functions.push(LiveFunction { name, arguments, signature, ..LiveFunction::default() });
        Some(())
    }

    fn drop(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        let function = cursor.take("function");
        let relation =
            !function && (cursor.take("table") || cursor.take("view") || cursor.take_all(&["materialized", "view"]));
        if !function && !relation {
            return UNNAMED.contains(&cursor.take_name()?.as_str()).then_some(());
        }
        cursor.take_all(&["if", "exists"]);
        loop {
            let name = cursor.take_public_name()?;
            if relation {
                self.tables.retain(|table| table.name != name);
                self.views.retain(|view| view.name != name);
                self.taken.retain(|taken| *taken != name);
            } else {
                let types = match cursor.take_list() {
                    Some(parts) => Some(argument_types(&format!("({})", parts.join(", ")))?),
                    None => None,
                };
                self.functions.retain(|function| {
                    let fits = types.as_ref().is_none_or(|types| {
                        types.len() == function.arguments.len()
                            && types.iter().zip(&function.arguments).all(|(types, argument)| types.contains(argument))
                    });
                    function.name != name || !fits
                });
            }
            if !cursor.take_symbol(',') {
                break;
            }
        }
        Some(())
    }

    fn alter_table(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        cursor.take_all(&["if", "exists"]);
        cursor.take("only");
        let name = cursor.take_public_name()?;
        if cursor.take_all(&["rename", "to"]) {
            let new = cursor.take_name()?;
            for table in self.tables.iter_mut().filter(|table| table.name == name) {
                table.name.clone_from(&new);
            }
            self.taken.retain(|taken| *taken != name);
            self.taken.push(new);
            return Some(());
        }
        // The actions in parentheses are a list, which the cursor can split.
        let rest = cursor.rest();
        let wrapped = format!("({rest}\n)");
        let mut cursor = Cursor::new(&wrapped);
        let actions = cursor.take_list()?;
        let table = self.tables.iter_mut().find(|table| table.name == name)?;
        for action in actions {
            if alter(table, action).is_none() {
                table.open = true;
                return None;
            }
        }
        Some(())
    }
}

fn alter(table: &mut LiveTable, action: &str) -> Option<()> {
    let mut cursor = Cursor::new(action);
    if cursor.take("add") {
        if starts_constraint(cursor) {
            return Some(());
        }
        cursor.take("column");
        let only_if_new = cursor.take_all(&["if", "not", "exists"]);
        let column = column_definition(cursor)?;
        match table.column(&column.name) {
            Some(_) => return only_if_new.then_some(()),
            None => table.columns.push(column),
        }
    } else if cursor.take("drop") {
        if cursor.take("constraint") {
            return Some(());
        }
        cursor.take("column");
        cursor.take_all(&["if", "exists"]);
        let name = cursor.take_name()?;
        table.columns.retain(|column| column.name != name);
    } else if cursor.take("rename") {
        if cursor.take("constraint") {
            return Some(());
        }
        cursor.take("column");
        let old = cursor.take_name()?;
        if !cursor.take("to") {
            return None;
        }
        let new = cursor.take_name()?;
        table.columns.iter_mut().find(|column| column.name == old)?.name = new;
    } else if cursor.take("alter") {
        if cursor.take("constraint") {
            return Some(());
        }
        cursor.take("column");
        let name = cursor.take_name()?;
        if cursor.take("type") || cursor.take_all(&["set", "data", "type"]) {
            let kind = column_type(cursor).unwrap_or_default();
            table.columns.iter_mut().find(|column| column.name == name)?.kind = kind;
        }
    } else if cursor.take_all(&["set", "schema"]) {
        return None;
    } else {
        // Nothing else an ALTER TABLE does touches a name.
        let known = [
            "enable", "disable", "force", "no", "owner", "set", "reset", "validate", "cluster", "replica", "attach",
            "detach",
        ];
        return known.contains(&cursor.take_name()?.as_str()).then_some(());
    }
    Some(())
}

/// Is there a constraint here, and not a column? A quoted word is always a name.
fn starts_constraint(mut cursor: Cursor<'_>) -> bool {
    cursor.peek().is_some_and(|token| token.kind == TokenKind::Word)
        && cursor.take_name().is_some_and(|word| CONSTRAINTS.contains(&word.as_str()))
}

/// One element of `CREATE TABLE (…)`. `false` when it leaves the columns unknown.
fn add_column_definition(table: &mut LiveTable, part: &str) -> bool {
    let mut cursor = Cursor::new(part);
    if starts_constraint(cursor) {
        return true;
    }
    if cursor.take("like") {
        return false;
    }
    match column_definition(Cursor::new(part)) {
        Some(column) => {
            table.columns.push(column);
            true
        }
        None => false,
    }
}

fn column_definition(mut cursor: Cursor<'_>) -> Option<LiveColumn> {
    let name = cursor.take_name()?;
    Some(LiveColumn { name, kind: column_type(cursor).unwrap_or_default() })
}

/// The type up to the first word that cannot belong to it.
fn column_type(mut cursor: Cursor<'_>) -> Option<String> {
    let rest = cursor.rest();
    let start = cursor.peek()?.start;
    let mut end = start;
    while let Some(token) = cursor.next() {
        if AFTER_TYPE.iter().any(|word| cursor.text(token).eq_ignore_ascii_case(word)) {
            break;
        }
        end = token.end;
    }
    type_name(rest.get(..end - start)?)
}

/// The type of an argument in a definition, where a first word is a name unless the words are one type.
fn defined_type(candidates: Vec<String>) -> Option<String> {
    const SEVERAL_WORDS: [&str; 5] =
        ["double precision", "character varying", "bit varying", "timestamp with", "time with"];
    match candidates.first() {
        Some(whole) if SEVERAL_WORDS.iter().any(|known| whole.starts_with(known)) => candidates.into_iter().next(),
        _ => candidates.into_iter().next_back(),
    }
}
