//! Warnings about migrations. What the SQL does is guessed from its tokens; comments and texts do not count.

use super::{Planned, Severity, Warning};
use crate::features::sql::{Lexer, Token, TokenKind, split};

/// A hint found in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    Shrinks,
    Locks,
    DisablesRowSecurity,
    RemovesPolicy,
    GrantsToPublic,
    SecurityDefiner,
}

const HINTS: [(Hint, &str, Severity, &str); 6] = [
    (
        Hint::Shrinks,
        "MIGRATION_SCHEMA_SHRINKING",
        Severity::High,
        "Migrations drop or empty tables, columns or other objects: the live release may still use them.",
    ),
    (
        Hint::Locks,
        "MIGRATION_LOCK_RISK",
        Severity::Warn,
        "Migrations may hold locks that make requests wait, such as building an index without CONCURRENTLY.",
    ),
    (
        Hint::DisablesRowSecurity,
        "MIGRATION_RLS_DISABLED",
        Severity::High,
        "Migrations switch row-level security off: rows may become visible to everybody who reaches the table.",
    ),
    (Hint::RemovesPolicy, "MIGRATION_POLICY_REMOVAL", Severity::Warn, "Migrations drop row-level security policies."),
    (
        Hint::GrantsToPublic,
        "MIGRATION_PUBLIC_GRANT",
        Severity::Warn,
        "Migrations grant rights to PUBLIC, anon or authenticated: the expose manifest is the place for that.",
    ),
    (
        Hint::SecurityDefiner,
        "MIGRATION_SECURITY_DEFINER",
        Severity::Warn,
        "Migrations make functions that run with their owner's rights: check what callers can make them do.",
    ),
];

pub(super) fn warn(planned: &Planned<'_>, warnings: &mut Vec<Warning>) {
    let outside: Vec<&str> = planned
        .migrations
        .new
        .iter()
        .filter(|migration| !migration.transactional)
        .map(|migration| migration.id.as_str())
        .collect();
    if !outside.is_empty() {
        warnings.push(
            Warning::warn(
                "MIGRATION_NON_TRANSACTIONAL",
                "Migrations run outside a transaction: if one fails half-way, its first statements stay.",
            )
            .confirmed()
            .affecting(outside),
        );
    }
    let found: Vec<(&str, Vec<Hint>)> = planned
        .migrations
        .new
        .iter()
        .filter_map(|migration| Some((migration.id.as_str(), hints(planned.sql.get(&migration.id)?))))
        .collect();
    for (hint, code, severity, message) in HINTS {
        let ids: Vec<&str> = found.iter().filter(|(_, hints)| hints.contains(&hint)).map(|(id, _)| *id).collect();
        if !ids.is_empty() {
            let mut warning = Warning::new(code, severity, message).affecting(ids);
            warning.confidence = Some("heuristic");
            warnings.push(warning);
        }
    }
}

fn hints(sql: &str) -> Vec<Hint> {
    let mut found: Vec<Hint> =
        split(sql).flat_map(|statement| of_statement(sql.get(statement.range).unwrap_or(""))).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The words of a statement in lower case; other tokens as they are.
fn words(statement: &str) -> Vec<String> {
    Lexer::new(statement)
        .filter(|token: &Token| !token.is_text())
        .map(|token| match token.kind {
            TokenKind::Word => token.text(statement).to_ascii_lowercase(),
            _ => token.text(statement).to_owned(),
        })
        .collect()
}

fn of_statement(statement: &str) -> Vec<Hint> {
    let words = words(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let has = |sequence: &[&str]| words.windows(sequence.len()).any(|window| window == sequence);
    let mut hints = Vec::new();
    let mut hint = |hint: Hint, when: bool| {
        if when {
            hints.push(hint);
        }
    };
    let alters = words.starts_with(&["alter", "table"]);
    hint(Hint::RemovesPolicy, words.starts_with(&["drop", "policy"]));
    hint(
        Hint::Shrinks,
        match words.first() {
            Some(&"drop") => !matches!(words.get(1), Some(&("policy" | "index" | "trigger" | "rule"))),
            Some(&"truncate") => true,
            _ => alters && (has(&["drop", "column"]) || drops_unnamed_column(&words)),
        },
    );
    let index = words.starts_with(&["create", "index"]) || words.starts_with(&["create", "unique", "index"]);
    hint(
        Hint::Locks,
        (index && !words.contains(&"concurrently"))
            || words.starts_with(&["lock"])
            || words.starts_with(&["cluster"])
            || words.starts_with(&["reindex"])
            || (words.starts_with(&["vacuum"]) && words.contains(&"full"))
            || (alters
                && (has(&["set", "not", "null"])
                    || words.contains(&"type")
                    || (has(&["add", "constraint"]) && !has(&["not", "valid"])))),
    );
    hint(
        Hint::DisablesRowSecurity,
        has(&["disable", "row", "level", "security"]) || has(&["no", "force", "row", "level", "security"]),
    );
    hint(
        Hint::GrantsToPublic,
        words.contains(&"grant") && ["public", "anon", "authenticated"].iter().any(|role| granted_to(&words, role)),
    );
    hint(Hint::SecurityDefiner, has(&["security", "definer"]));
    hints
}

/// `ALTER TABLE … DROP <name>`: COLUMN is optional, but `DROP CONSTRAINT`, `DROP DEFAULT`, … are something else.
fn drops_unnamed_column(words: &[&str]) -> bool {
    const OTHER: [&str; 6] = ["constraint", "default", "not", "identity", "expression", "column"];
    words.windows(2).any(|pair| pair[0] == "drop" && !OTHER.contains(&pair[1]))
}

/// Whether the role stands in the list after the last TO.
fn granted_to(words: &[&str], role: &str) -> bool {
    words.iter().rposition(|word| *word == "to").is_some_and(|at| words[at..].contains(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_read_for_what_may_hurt() {
        use Hint::{DisablesRowSecurity, GrantsToPublic, Locks, RemovesPolicy, SecurityDefiner, Shrinks};
        let cases: &[(&str, &[Hint])] = &[
            ("create table t (id int primary key)", &[]),
            ("create table t (drop_at date); select 'drop table t'; -- drop table t", &[]),
            ("drop table t", &[Shrinks]),
            ("DROP TYPE mood; truncate t", &[Shrinks]),
            ("drop index i; drop trigger x on t", &[]),
            ("alter table t drop column a", &[Shrinks]),
            ("alter table t drop a", &[Shrinks]),
            ("alter table t drop constraint c", &[]),
            ("alter table t alter a drop default, alter b drop not null", &[]),
            ("create index i on t (a)", &[Locks]),
            ("create unique index concurrently i on t (a)", &[]),
            ("alter table t alter a type bigint", &[Locks]),
            ("alter table t add constraint c check (a > 0) not valid", &[]),
            ("alter table t add constraint c check (a > 0)", &[Locks]),
            ("alter table t alter a set not null", &[Locks]),
            ("alter table t disable row level security", &[DisablesRowSecurity]),
            ("alter table t enable row level security", &[]),
            ("drop policy p on t", &[RemovesPolicy]),
            ("grant select on t to anon", &[GrantsToPublic]),
            ("GRANT ALL ON t TO someone, PUBLIC", &[GrantsToPublic]),
            ("grant select on public.t to someone", &[]),
            ("create function f() returns int language sql security definer as $$ select 1 $$", &[SecurityDefiner]),
            ("create function f() returns int language sql as $$ drop table t $$", &[]),
        ];
        for (sql, expected) in cases {
            assert_eq!(hints(sql), *expected, "{sql}");
        }
    }
}
