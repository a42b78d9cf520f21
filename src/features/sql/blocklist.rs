//! Statements that a project may not run (contract 02 §4.4), decided on tokens.
//!
//! This list explains, it does not enforce. What enforces is the owner role: a member of nothing, without CREATE on
//! the database, not a superuser, and an event trigger against GRANT. So the list may err towards letting a text
//! through (the server then answers 42501), and never errs on strings, comments or quoted names.
//!
//! Function bodies are looked at "as far as they are text": a body of `DO` or `CREATE FUNCTION` is split at the
//! places where PL/pgSQL starts a statement, and a statement there that *begins* with a blocked form is refused.
//! Strings inside a body (`EXECUTE 'grant …'`) stay strings, variables may be called `role` or `load`, calls such
//! as `PERFORM set_config(…)` are calls, and a name that the body itself introduces (`DECLARE internal record`)
//! does not count as a schema.

use std::collections::BTreeSet;

use super::{
    lexer::{Lexer, Token, TokenKind},
    statements::explain_prefix,
};

/// A blocked statement: the name of the pattern and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub pattern: String,
    pub hint: &'static str,
}

/// What the list says about one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Blocked(Blocked),
    /// `CREATE EXTENSION IF NOT EXISTS` of this name: passes if it is installed (the server then does nothing).
    IfInstalled(String),
}

const HINT_EXTENSION: &str = "Extensions cannot be added or removed; those installed are usable at once.";
const HINT_COPY: &str = "There is no stream and no file to copy from or to; use INSERT and SELECT.";
const HINT_UNAVAILABLE: &str = "This is managed by the platform and not available to projects.";
const HINT_FIXED: &str =
    "The role and the search path are fixed: statements run as the owner of the project's schema public.";
const HINT_SCHEMA: &str = "A project has one schema, public; create the objects there.";
const HINT_GRANT: &str =
    "Grants are automatic; expose tables, views and functions through the expose manifest (POST …/expose).";
const HINT_ROLE: &str = "Database roles are fixed; users come from the auth API.";
const HINT_INTERNAL: &str = "Platform schemas are not reachable; the project's objects live in schema public.";

impl Blocked {
    fn new(pattern: impl Into<String>, hint: &'static str) -> Self {
        Self { pattern: pattern.into(), hint }
    }

    /// The refusal of an extension that is not installed.
    pub fn extension(verb: &str) -> Self {
        Self::new(format!("{verb} EXTENSION"), HINT_EXTENSION)
    }
}

/// Judges one statement.
pub fn judge(statement: &str) -> Verdict {
    let lexer = leading(statement);
    if let Some(name) = create_extension_if_not_exists(lexer) {
        return Verdict::IfInstalled(name);
    }
    blocked_form(lexer, usize::MAX)
        .or_else(|| reserved_name(statement, false))
        .or_else(|| bodies(statement).find_map(|body| blocked_body(&body)))
        .map_or(Verdict::Pass, Verdict::Blocked)
}

/// Stands before the words that decide: behind `EXPLAIN …` and `PREPARE name (types) AS`.
fn leading(statement: &str) -> Lexer<'_> {
    let mut text = statement;
    loop {
        let mut lexer = Lexer::new(text);
        let Some(first) = lexer.next() else { return Lexer::new(text) };
        let skipped = if first.is_word(text, "explain") {
            explain_prefix(text).1
        } else if first.is_word(text, "prepare") {
            match lexer.find(|token| token.is_word(text, "as")) {
                Some(token) => token.end,
                None => return Lexer::new(text),
            }
        } else {
            return Lexer::new(text);
        };
        text = text.get(skipped..).unwrap_or_default();
    }
}

/// Does a blocked form start here?
fn blocked_form(mut lexer: Lexer<'_>, longest: usize) -> Option<Blocked> {
    let verb = keyword(&mut lexer)?;
    match verb.as_str() {
        "create" | "alter" | "drop" => object(&verb, lexer),
        "grant" | "revoke" => match lexer.next()?.kind {
            TokenKind::Word | TokenKind::QuotedName | TokenKind::UnicodeName => {
                Some(Blocked::new(verb.to_ascii_uppercase(), HINT_GRANT))
            }
            _ => None,
        },
        "reassign" if keyword(&mut lexer)? == "owned" => Some(Blocked::new("REASSIGN OWNED", HINT_GRANT)),
        "copy" => copy(lexer, longest),
        "load" if lexer.next()?.is_text() => Some(Blocked::new("LOAD", HINT_UNAVAILABLE)),
        "import" if keyword(&mut lexer)? == "foreign" => Some(Blocked::new("IMPORT FOREIGN SCHEMA", HINT_UNAVAILABLE)),
        "discard" if keyword(&mut lexer)? == "all" => Some(Blocked::new("DISCARD ALL", HINT_FIXED)),
        "set" | "reset" => setting(&verb, lexer),
        _ => None,
    }
}

/// `CREATE`, `ALTER`, `DROP` and the kind of object.
fn object(verb: &str, mut lexer: Lexer<'_>) -> Option<Blocked> {
    let mut kind = keyword(&mut lexer)?;
    while matches!(kind.as_str(), "or" | "replace" | "trusted" | "procedural") {
        kind = keyword(&mut lexer)?;
    }
    let verb = verb.to_ascii_uppercase();
    let second = keyword(&mut lexer).unwrap_or_default();
    let named = |kind: &str, hint| Some(Blocked::new(format!("{verb} {kind}"), hint));
    match (kind.as_str(), second.as_str()) {
        ("extension", _) => named("EXTENSION", HINT_EXTENSION),
        ("schema", _) => named("SCHEMA", HINT_SCHEMA),
        ("role" | "user" | "group", _) => named(&kind.to_ascii_uppercase(), HINT_ROLE),
        ("database" | "tablespace" | "subscription" | "publication" | "server" | "language" | "system", _) => {
            named(&kind.to_ascii_uppercase(), HINT_UNAVAILABLE)
        }
        ("foreign", "data") => named("FOREIGN DATA WRAPPER", HINT_UNAVAILABLE),
        ("event", "trigger") => named("EVENT TRIGGER", HINT_UNAVAILABLE),
        ("default", "privileges") => named("DEFAULT PRIVILEGES", HINT_GRANT),
        ("owned", _) if verb == "DROP" => named("OWNED", HINT_GRANT),
        _ => None,
    }
}

/// Every form of COPY needs a file, a program or a stream; the first of them names the pattern. `longest` bounds
/// the search where many statements may start in one text.
fn copy(lexer: Lexer<'_>, longest: usize) -> Option<Blocked> {
    let source = lexer.source();
    let mut direction = false;
    for token in lexer.take(longest) {
        if direction {
            let target = ["program", "stdin", "stdout"].into_iter().find(|word| token.is_word(source, word));
            match target {
                Some(word) => return Some(Blocked::new(format!("COPY {}", word.to_ascii_uppercase()), HINT_COPY)),
                None if token.is_text() => return Some(Blocked::new("COPY file", HINT_COPY)),
                None => {}
            }
        } else if token.is_symbol(source, ';') {
            return None;
        }
        direction = token.is_word(source, "from") || token.is_word(source, "to");
    }
    None
}

/// `SET` and `RESET`. The names of settings may be quoted and fold to lower case either way.
fn setting(verb: &str, mut lexer: Lexer<'_>) -> Option<Blocked> {
    let verb = verb.to_ascii_uppercase();
    let mut first = name(&mut lexer)?;
    let mut behind = lexer;
    let mut second = name(&mut behind).unwrap_or_default();
    if first == "local" || (first == "session" && second != "authorization") {
        first = second;
        lexer = behind;
        second = name(&mut behind).unwrap_or_default();
    }
    let blocked = |what: &str| Some(Blocked::new(format!("{verb} {what}"), HINT_FIXED));
    match (first.as_str(), second.as_str()) {
        ("role", _) => blocked("ROLE"),
        ("session_authorization", _) | ("session", "authorization") => blocked("SESSION AUTHORIZATION"),
        ("search_path", _) => blocked("search_path"),
        // `SET SCHEMA 'x'` is another spelling of the search path.
        ("schema", _) if lexer.next().is_some_and(Token::is_text) => blocked("search_path"),
        ("all", _) if verb == "RESET" => blocked("ALL"),
        _ => None,
    }
}

fn create_extension_if_not_exists(mut lexer: Lexer<'_>) -> Option<String> {
    for word in ["create", "extension", "if", "not", "exists"] {
        if keyword(&mut lexer)? != word {
            return None;
        }
    }
    let token = lexer.next()?;
    lexer.name_of(token).map(std::borrow::Cow::into_owned)
}

/// A name qualified with `internal` or the form of a slot (`p0001`). With `lenient`, not if the text also uses the
/// name unqualified, which is how a variable or alias is introduced.
fn reserved_name(text: &str, lenient: bool) -> Option<Blocked> {
    let mut found: Option<String> = None;
    let mut unqualified = BTreeSet::new();
    let mut lexer = Lexer::new(text);
    // The tokens before, to tell `public.internal.c` (a column) from `database.internal.t`.
    let mut before = Before::Other;
    while let Some(token) = lexer.next() {
        let is_name = matches!(token.kind, TokenKind::Word | TokenKind::QuotedName | TokenKind::UnicodeName);
        let Some(name) = lexer.name_of(token).filter(|_| is_name) else {
            before = match before {
                Before::Name { database } if token.is_symbol(text, '.') => Before::Dot { database },
                _ => Before::Other,
            };
            continue;
        };
        if is_reserved_schema(&name) {
            let mut ahead = lexer;
            if token.kind == TokenKind::UnicodeName {
                skip_uescape(&mut ahead);
            }
            let qualifies = ahead.next().is_some_and(|next| next.is_symbol(text, '.'));
            match before {
                Before::Dot { database: false } => {}
                _ if qualifies && !lenient => return Some(reserved(&name)),
                _ if qualifies => _ = found.get_or_insert_with(|| name.to_string()),
                _ => _ = unqualified.insert(name.to_string()),
            }
        }
        before = Before::Name { database: name.starts_with("r402_") };
    }
    found.filter(|name| !unqualified.contains(name)).map(|name| reserved(&name))
}

/// What stands before a name; `database`: it looks like the name of a project's database.
#[derive(Clone, Copy)]
enum Before {
    Other,
    Name { database: bool },
    Dot { database: bool },
}

fn reserved(schema: &str) -> Blocked {
    Blocked::new(format!("schema {schema}"), HINT_INTERNAL)
}

fn is_reserved_schema(name: &str) -> bool {
    let slot = || name.strip_prefix('p').is_some_and(|n| n.len() >= 4 && n.bytes().all(|b| b.is_ascii_digit()));
    name == "internal" || slot()
}

fn skip_uescape(lexer: &mut Lexer<'_>) {
    let mut ahead = *lexer;
    if ahead.next().is_some_and(|token| token.is_word(ahead.source(), "uescape")) {
        ahead.next();
        *lexer = ahead;
    }
}

/// The texts of function bodies: the literals of `DO`, and those behind `AS` of `CREATE FUNCTION|PROCEDURE`.
fn bodies(statement: &str) -> impl Iterator<Item = String> {
    let mut lexer = leading(statement);
    let mut head = lexer;
    let source = lexer.source();
    let first = keyword(&mut head).unwrap_or_default();
    let block = first == "do";
    let is_routine = |token: Token| token.is_word(source, "function") || token.is_word(source, "procedure");
    let routine = first == "create" && head.take(3).any(is_routine);
    let mut behind_as = false;
    std::iter::from_fn(move || {
        if !(block || routine) {
            return None;
        }
        loop {
            let token = lexer.next()?;
            if token.is_text() && (block || behind_as) {
                return lexer.text_of(token).map(std::borrow::Cow::into_owned);
            }
            behind_as = token.is_word(source, "as");
        }
    })
}

/// Tokens of a body's `COPY` that are looked at, so that a hostile body costs linear time.
const LONGEST_IN_BODY: usize = 256;

/// Looks at every place of a body where a statement may start.
fn blocked_body(body: &str) -> Option<Blocked> {
    let starters = ["begin", "then", "else", "loop"];
    let mut lexer = Lexer::new(body);
    let mut starts = true;
    loop {
        if starts && let Some(blocked) = blocked_form(lexer, LONGEST_IN_BODY) {
            return Some(blocked);
        }
        let Some(token) = lexer.next() else { break };
        starts = token.is_symbol(body, ';')
            || token.text(body) == ">>"
            || starters.iter().any(|word| token.is_word(body, word));
    }
    reserved_name(body, true)
}

/// The next token as a keyword in lower case, if it is a word.
fn keyword(lexer: &mut Lexer<'_>) -> Option<String> {
    let token = lexer.next()?;
    (token.kind == TokenKind::Word).then(|| token.text(lexer.source()).to_ascii_lowercase())
}

/// The next token as a name in lower case.
fn name(lexer: &mut Lexer<'_>) -> Option<String> {
    let token = lexer.next()?;
    let name = lexer.name_of(token)?.to_ascii_lowercase();
    if token.kind == TokenKind::UnicodeName {
        skip_uescape(lexer);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(statement: &str) -> Option<String> {
        match judge(statement) {
            Verdict::Blocked(blocked) => Some(blocked.pattern),
            Verdict::Pass => None,
            Verdict::IfInstalled(name) => Some(format!("if installed: {name}")),
        }
    }

    #[test]
    fn blocked_statements_are_named() {
        let cases = [
            ("create extension dblink", "CREATE EXTENSION"),
            ("alter extension citext update", "ALTER EXTENSION"),
            ("drop extension if exists citext", "DROP EXTENSION"),
            ("create extension if not exists \"uuid-ossp\"", "if installed: uuid-ossp"),
            ("copy t to program 'id'", "COPY PROGRAM"),
            ("copy t(a, b) from '/etc/passwd'", "COPY file"),
            ("copy t from $$/etc/passwd$$", "COPY file"),
            ("copy t from stdin", "COPY STDIN"),
            ("COPY (select 1 from t) TO STDOUT with (format csv)", "COPY STDOUT"),
            ("copy binary t to E'\\x2f'", "COPY file"),
            ("alter system set fsync = off", "ALTER SYSTEM"),
            ("load 'x'", "LOAD"),
            ("create database x", "CREATE DATABASE"),
            ("alter database r402_p0001 set search_path = x", "ALTER DATABASE"),
            ("drop database x", "DROP DATABASE"),
            ("create tablespace x location '/x'", "CREATE TABLESPACE"),
            ("create subscription s connection '' publication p", "CREATE SUBSCRIPTION"),
            ("create publication p for all tables", "CREATE PUBLICATION"),
            ("create server s foreign data wrapper f", "CREATE SERVER"),
            ("create foreign data wrapper f", "CREATE FOREIGN DATA WRAPPER"),
            ("import foreign schema x from server s into public", "IMPORT FOREIGN SCHEMA"),
            ("create event trigger e on ddl_command_end execute function f()", "CREATE EVENT TRIGGER"),
            ("create or replace trusted procedural language x", "CREATE LANGUAGE"),
            ("drop language plpgsql", "DROP LANGUAGE"),
            ("set role x", "SET ROLE"),
            ("set local role x", "SET ROLE"),
            ("set session role x", "SET ROLE"),
            ("/* */ set/**/role x", "SET ROLE"),
            ("SET -- c\n ROLE = 'x'", "SET ROLE"),
            ("set \"role\" = x", "SET ROLE"),
            ("set U&\"!0072ole\" uescape '!' = x", "SET ROLE"),
            ("reset role", "RESET ROLE"),
            ("set session authorization x", "SET SESSION AUTHORIZATION"),
            ("set local session authorization x", "SET SESSION AUTHORIZATION"),
            ("set session session authorization x", "SET SESSION AUTHORIZATION"),
            ("set session_authorization = x", "SET SESSION AUTHORIZATION"),
            ("reset session authorization", "RESET SESSION AUTHORIZATION"),
            ("set search_path = public", "SET search_path"),
            ("set local \"Search_Path\" to x", "SET search_path"),
            ("set schema 'x'", "SET search_path"),
            ("reset search_path", "RESET search_path"),
            ("reset all", "RESET ALL"),
            ("discard all", "DISCARD ALL"),
            ("create schema x", "CREATE SCHEMA"),
            ("create schema if not exists x", "CREATE SCHEMA"),
            ("alter schema public rename to x", "ALTER SCHEMA"),
            ("drop schema public cascade", "DROP SCHEMA"),
            ("grant select on t to anon", "GRANT"),
            ("grant \"r\" to x", "GRANT"),
            ("revoke all on t from public", "REVOKE"),
            ("alter default privileges grant select on tables to anon", "ALTER DEFAULT PRIVILEGES"),
            ("reassign owned by a to b", "REASSIGN OWNED"),
            ("drop owned by a", "DROP OWNED"),
            ("create role x", "CREATE ROLE"),
            ("alter user x set search_path = y", "ALTER USER"),
            ("create user mapping for x server s", "CREATE USER"),
            ("drop group x", "DROP GROUP"),
            ("explain analyze grant x to y", "GRANT"),
            ("prepare x (int) as copy t to stdout", "COPY STDOUT"),
            ("select * from internal.sessions", "schema internal"),
            ("select * from INTERNAL /* x */ . sessions", "schema internal"),
            ("select * from \"internal\".sessions", "schema internal"),
            ("select * from U&\"\\0069nternal\".x", "schema internal"),
            ("select * from U&\"!0069nternal\" UESCAPE '!' .x", "schema internal"),
            ("select * from r402_p0001.internal.x", "schema internal"),
            ("insert into p0001.t values (1)", "schema p0001"),
            ("select \"p0012\".f()", "schema p0012"),
            ("select 1 as a, (select internal.f())", "schema internal"),
            ("do $$ begin grant select on t to anon; end $$", "GRANT"),
            ("do language plpgsql 'begin if true then set role x; end if; end'", "SET ROLE"),
            (
                "create function f() returns void language plpgsql as $x$ begin create schema x; end $x$",
                "CREATE SCHEMA",
            ),
            ("create or replace procedure f() language sql as 'select 1; reset role'", "RESET ROLE"),
            ("do $$ <<l>> begin copy t to '/x'; end $$", "COPY file"),
            ("create function f() returns int language sql as 'select x from internal.t'", "schema internal"),
        ];
        for (statement, expected) in cases {
            assert_eq!(pattern(statement).as_deref(), Some(expected), "{statement}");
        }
    }

    #[test]
    fn what_only_looks_blocked_passes() {
        for statement in [
            "",
            "update t set role = 'x'",
            "update t set n = 1 where 'GRANT' = 'GRANT'",
            "select 'set role x', $$grant$$, \"grant\", 1 -- set role x",
            "select 'it''s; set role x'",
            "select E'\\'; set role x; --'",
            "create function f() returns int language sql set search_path = public as 'select 1'",
            "alter function f() set search_path = ''",
            "alter function f() reset all",
            "alter table t set schema extensions",
            "set statement_timeout = '1s'",
            "set session characteristics as transaction read only",
            "set local time zone 'UTC'",
            "set transaction isolation level serializable",
            "reset statement_timeout",
            "discard temp",
            "create table role (grant_type text, copy text)",
            "create table extension ()",
            "create table t (role text, schema text)",
            "create policy p on t to authenticated using (true)",
            "alter table t enable row level security",
            "alter table t force row level security",
            "create foreign table t (a int) server s",
            "drop table role",
            "comment on schema public is 'x'",
            "select internal from t",
            "select public.internal.c from public.internal",
            "select t.internal from t",
            "select \"Internal\".x from \"Internal\"",
            "select p1.x from p1",
            "select 'internal.x'",
            "notify pgrst, 'reload schema'",
            "listen x",
            "explain analyze select 1",
            "do $$ begin execute 'grant select on t to anon'; end $$",
            "do $$ begin perform set_config('role', 'x', true); end $$",
            "do $$ declare role text; load int; copy int; begin role := 'x'; load := 1; copy = 2; end $$",
            "do $$ begin update t set role = case when a then copy else load end; end $$",
            "do $$ declare internal record; begin internal.x := 1; end $$",
            "create function f() returns text language plpgsql as $x$ begin return 'grant select'; end $x$",
            "create function grant_role() returns void language sql begin atomic select 1; end",
        ] {
            assert_eq!(pattern(statement), None, "{statement}");
        }
    }

    proptest! {
        #[test]
        fn judging_never_fails(statement in any::<String>()) {
            let _ = judge(&statement);
        }

        #[test]
        fn a_string_is_never_blocked(text in any::<String>()) {
            prop_assert_eq!(pattern(&format!("select '{}'", text.replace('\'', "''"))), None);
        }
    }
}
