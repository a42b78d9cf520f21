//! Splits a text into statements and tells what kind each one is, from its tokens alone.
//!
//! The kinds decide how a statement is run, counted and metered. They are never a safety boundary: the owner role
//! is, and every statement is prepared alone, so the server refuses a text that it would split differently.

use std::ops::Range;

use super::lexer::{Lexer, Token, TokenKind};

/// One statement of a submitted text, without its semicolon and the comments around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Bytes in the submitted text.
    pub range: Range<usize>,
    /// Characters (not bytes) of the submitted text before the statement.
    pub characters_before: usize,
}

/// Splits at the semicolons that end a statement: not those inside parentheses (`CREATE RULE … DO (a; b)`) nor
/// those inside `BEGIN ATOMIC … END`. Empty statements are left out.
pub fn split(source: &str) -> impl Iterator<Item = Statement> {
    Splitter { lexer: Lexer::new(source), bytes_counted: 0, characters_counted: 0 }
}

struct Splitter<'a> {
    lexer: Lexer<'a>,
    bytes_counted: usize,
    characters_counted: usize,
}

impl Iterator for Splitter<'_> {
    type Item = Statement;

    fn next(&mut self) -> Option<Statement> {
        let source = self.lexer.source();
        let mut range: Option<Range<usize>> = None;
        let mut parentheses = 0_usize;
        let mut body = RoutineBody::default();
        for token in self.lexer.by_ref() {
            if token.is_symbol(source, ';') && parentheses == 0 && !body.open() {
                match range {
                    Some(_) => break,
                    None => continue,
                }
            }
            if token.is_symbol(source, '(') {
                parentheses += 1;
            } else if token.is_symbol(source, ')') {
                parentheses = parentheses.saturating_sub(1);
            }
            if parentheses == 0 {
                body.see(source, token);
            }
            range = Some(range.map_or(token.start, |range| range.start)..token.end);
        }
        let range = range?;
        let gap = source.get(self.bytes_counted..range.start).unwrap_or_default();
        self.characters_counted += gap.chars().count();
        self.bytes_counted = range.start;
        Some(Statement { range, characters_before: self.characters_counted })
    }
}

/// Follows `CREATE [OR REPLACE] FUNCTION|PROCEDURE … BEGIN ATOMIC … END`, in which semicolons do not end the
/// statement. `CASE … END` nests.
#[derive(Default)]
struct RoutineBody {
    head: RoutineHead,
    begin_seen: bool,
    /// The previous token makes the next word a label: `AS end`, `t.case`.
    label_next: bool,
    depth: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum RoutineHead {
    #[default]
    Start,
    Create,
    Or,
    Replace,
    Routine,
    NotOne,
}

impl RoutineBody {
    fn open(&self) -> bool {
        self.depth > 0
    }

    fn see(&mut self, source: &str, token: Token) {
        let word = |keyword| token.is_word(source, keyword);
        if self.head != RoutineHead::Routine {
            self.head = match self.head {
                RoutineHead::Start if word("create") => RoutineHead::Create,
                RoutineHead::Create if word("or") => RoutineHead::Or,
                RoutineHead::Or if word("replace") => RoutineHead::Replace,
                RoutineHead::Create | RoutineHead::Replace if word("function") || word("procedure") => {
                    RoutineHead::Routine
                }
                _ => RoutineHead::NotOne,
            };
            return;
        }
        let label = std::mem::replace(&mut self.label_next, word("as") || token.is_symbol(source, '.'));
        if self.depth == 0 {
            if self.begin_seen && word("atomic") {
                self.depth = 1;
            }
            self.begin_seen = word("begin");
        } else if !label && word("case") {
            self.depth += 1;
        } else if !label && word("end") {
            self.depth -= 1;
        }
    }
}

/// What a statement may leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Reads, or changes the session only. A function it calls may still write.
    Read,
    /// Changes rows.
    Data,
    /// May change the schema: everything that is not known to be one of the above.
    Schema,
}

/// How `row_count` is told when a statement returns no columns (contract 02 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// `SELECT` without columns: as many empty rows.
    Rows,
    /// The number in the command tag.
    Affected,
    /// Null.
    None,
}

/// Transaction control in the text (contract 02 §4.3). Savepoints are ordinary statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// `BEGIN` or `START TRANSACTION` with its modes, e.g. `ISOLATION LEVEL SERIALIZABLE`, often empty.
    Begin { modes: String },
    /// `COMMIT` or `END` and nothing else.
    Commit,
    /// Any other, by name.
    Other(&'static str),
}

/// The kind of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub effect: Effect,
    /// May it store more data? Decides whether a full storage quota refuses it (contract 02 §2.3).
    pub grows: bool,
    pub count: Count,
    pub control: Option<Control>,
    /// The name of a statement that cannot run in a transaction block.
    pub outside_transaction: Option<&'static str>,
    /// Leaves things in the session that the usual clean-up does not remove.
    pub soils_session: bool,
    /// Length in bytes of `EXPLAIN …` before the explained statement, 0 otherwise.
    pub explain_prefix: usize,
}

impl Shape {
    fn new(effect: Effect, grows: bool, count: Count) -> Self {
        Self { effect, grows, count, control: None, outside_transaction: None, soils_session: false, explain_prefix: 0 }
    }

    fn control(control: Control) -> Self {
        Self { control: Some(control), ..Self::new(Effect::Read, false, Count::None) }
    }

    /// Looks at the tokens of one statement.
    pub fn of(statement: &str) -> Self {
        let mut head = Head::new(statement);
        let Some(first) = head.keyword() else {
            // A parenthesis opens a query; whatever else it may be is for the server to refuse.
            return query(statement);
        };
        let plain = Self::new;
        let soils = |shape: Self| Self { soils_session: true, ..shape };
        match first.as_str() {
            "select" | "values" | "table" | "with" => query(statement),
            "show" | "fetch" | "declare" | "close" | "move" | "savepoint" | "release" | "set" | "reset"
            | "unlisten" | "lock" | "analyze" | "analyse" | "checkpoint" => plain(Effect::Read, false, Count::None),
            "explain" => explain(statement),
            "insert" | "update" | "merge" => plain(Effect::Data, true, Count::Affected),
            "delete" => plain(Effect::Data, false, Count::Affected),
            "truncate" => plain(Effect::Data, false, Count::None),
            "refresh" => plain(Effect::Data, true, Count::None),
            "execute" => soils(plain(Effect::Schema, true, Count::Affected)),
            "do" | "call" => soils(plain(Effect::Schema, true, Count::None)),
            "listen" | "deallocate" | "discard" => soils(plain(Effect::Read, false, Count::None)),
            "prepare" if head.next_is("transaction") => Self::control(Control::Other("PREPARE TRANSACTION")),
            "prepare" => soils(plain(Effect::Read, false, Count::None)),
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" => control(statement, &first, head),
            "vacuum" => outside(plain(Effect::Read, false, Count::None), "VACUUM"),
            "cluster" if Lexer::new(statement).all(|t| !is_target(statement, t)) => {
                outside(plain(Effect::Read, false, Count::None), "CLUSTER")
            }
            "cluster" => plain(Effect::Read, false, Count::None),
            "reindex" => reindex(statement),
            "create" => create(statement),
            "alter"
                if ends_with_words(statement, &["concurrently"])
                    && contains_words(statement, "detach", "partition") =>
            {
                outside(plain(Effect::Schema, true, Count::None), "ALTER TABLE ... DETACH PARTITION CONCURRENTLY")
            }
            "drop" if head.next_is("index") && head.next_is("concurrently") => {
                outside(plain(Effect::Schema, false, Count::None), "DROP INDEX CONCURRENTLY")
            }
            "drop" | "notify" => plain(Effect::Schema, false, Count::None),
            _ => plain(Effect::Schema, true, Count::None),
        }
    }
}

fn outside(shape: Shape, name: &'static str) -> Shape {
    Shape { outside_transaction: Some(name), ..shape }
}

/// Steps through the leading words of a statement.
struct Head<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Head<'a> {
    fn new(statement: &'a str) -> Self {
        Self { lexer: Lexer::new(statement) }
    }

    /// The next token as a keyword in lower case, if it is a word.
    fn keyword(&mut self) -> Option<String> {
        let token = self.lexer.next()?;
        (token.kind == TokenKind::Word).then(|| token.text(self.lexer.source()).to_ascii_lowercase())
    }

    /// Steps over the next token if it is this word.
    fn next_is(&mut self, keyword: &str) -> bool {
        let mut ahead = self.lexer;
        let found = ahead.next().is_some_and(|token| token.is_word(ahead.source(), keyword));
        if found {
            self.lexer = ahead;
        }
        found
    }
}

/// `CLUSTER` of all tables names none: only its own word and options.
fn is_target(statement: &str, token: Token) -> bool {
    match token.kind {
        TokenKind::Word => {
            !["cluster", "verbose", "true", "false", "on", "off"].iter().any(|w| token.is_word(statement, w))
        }
        TokenKind::QuotedName | TokenKind::UnicodeName => true,
        _ => false,
    }
}

fn ends_with_words(statement: &str, words: &[&str]) -> bool {
    let last = Lexer::new(statement).last();
    last.is_some_and(|token| words.iter().any(|word| token.is_word(statement, word)))
}

fn contains_words(statement: &str, first: &str, second: &str) -> bool {
    Lexer::new(statement)
        .zip(Lexer::new(statement).skip(1))
        .any(|(a, b)| a.is_word(statement, first) && b.is_word(statement, second))
}

/// `SELECT`, `VALUES`, `TABLE`, `WITH` and parenthesised queries. One pass finds `INTO`, data-modifying `WITH`
/// parts and the main verb.
fn query(statement: &str) -> Shape {
    let mut depth = 0_usize;
    let mut previous: Option<Token> = None;
    let mut main = None;
    let mut effect = Effect::Read;
    let mut grows = false;
    for token in Lexer::new(statement) {
        let is = |word: &str| token.is_word(statement, word);
        let after = |symbol| previous.is_some_and(|token| token.is_symbol(statement, symbol));
        if token.is_symbol(statement, '(') {
            depth += 1;
        } else if token.is_symbol(statement, ')') {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && main.is_none() && token.kind == TokenKind::Word {
            // Behind WITH, RECURSIVE or a comma stands the name of a part, which may be spelled like a verb.
            let names_a_part = after(',')
                || previous.is_some_and(|t| t.is_word(statement, "with") || t.is_word(statement, "recursive"));
            let verb = ["select", "values", "table", "insert", "update", "delete", "merge"].into_iter().find(|v| is(v));
            if !names_a_part {
                main = verb;
            }
            match main {
                Some("insert" | "update" | "merge") => (effect, grows) = (effect.max(Effect::Data), true),
                Some("delete") => effect = effect.max(Effect::Data),
                _ => {}
            }
        } else if depth == 0 && main == Some("select") && is("into") {
            (effect, grows) = (Effect::Schema, true);
        } else if depth > 0 && (after('(') || after(')')) {
            if is("insert") || is("update") || is("merge") {
                (effect, grows) = (effect.max(Effect::Data), true);
            } else if is("delete") {
                effect = effect.max(Effect::Data);
            }
        }
        previous = Some(token);
    }
    let count = match main {
        Some("insert" | "update" | "delete" | "merge") => Count::Affected,
        _ if effect == Effect::Schema => Count::None,
        _ => Count::Rows,
    };
    Shape::new(effect, grows, count)
}

/// `EXPLAIN ANALYZE` runs what it explains. `EXPLAIN EXPLAIN` is an error, so there is nothing to look into.
fn explain(statement: &str) -> Shape {
    let (analyze, prefix) = explain_prefix(statement);
    let inner = statement.get(prefix..).unwrap_or_default();
    let nested = Lexer::new(inner).next().is_some_and(|token| token.is_word(inner, "explain"));
    let shape = if analyze && !nested { Shape::of(inner) } else { Shape::new(Effect::Read, false, Count::None) };
    Shape { control: None, explain_prefix: prefix, ..shape }
}

/// Whether `EXPLAIN` executes, and the length of all that stands before the explained statement.
pub fn explain_prefix(statement: &str) -> (bool, usize) {
    let mut lexer = Lexer::new(statement);
    lexer.next();
    let mut analyze = false;
    while let Some(token) = lexer.next() {
        let is_analyze = |token: Token| token.is_word(statement, "analyze") || token.is_word(statement, "analyse");
        if is_analyze(token) || token.is_word(statement, "verbose") {
            analyze |= is_analyze(token);
        } else if token.is_symbol(statement, '(') && !opens_query(lexer) {
            for option in lexer.by_ref().take_while(|option| !option.is_symbol(statement, ')')) {
                analyze |= is_analyze(option);
            }
        } else {
            return (analyze, token.start);
        }
    }
    (analyze, statement.len())
}

/// Behind an opening parenthesis: a query (`EXPLAIN (SELECT 1)`) rather than a list of options?
fn opens_query(mut lexer: Lexer<'_>) -> bool {
    let source = lexer.source();
    lexer.next().is_some_and(|token| {
        token.is_symbol(source, '(') || ["select", "values", "table", "with"].iter().any(|w| token.is_word(source, w))
    })
}

fn reindex(statement: &str) -> Shape {
    let shape = Shape::new(Effect::Read, false, Count::None);
    let mut words = Lexer::new(statement).take(12);
    let whole = ["concurrently", "schema", "database", "system"];
    if words.any(|token| whole.iter().any(|word| token.is_word(statement, word))) {
        return outside(shape, "REINDEX CONCURRENTLY");
    }
    shape
}

fn create(statement: &str) -> Shape {
    let shape = Shape::new(Effect::Schema, true, Count::None);
    let mut head = Head::new(statement);
    head.next_is("create");
    head.next_is("unique");
    if head.next_is("index") && head.next_is("concurrently") {
        return outside(shape, "CREATE INDEX CONCURRENTLY");
    }
    shape
}

fn control(statement: &str, first: &str, mut head: Head<'_>) -> Shape {
    let name = match first {
        "begin" => "BEGIN",
        "start" => "START TRANSACTION",
        "end" => "END",
        "abort" => "ABORT",
        "rollback" => "ROLLBACK",
        _ => "COMMIT",
    };
    if first == "start" && !head.next_is("transaction") {
        return Shape::new(Effect::Schema, true, Count::None);
    }
    if !head.next_is("work") {
        head.next_is("transaction");
    }
    let rest: Vec<Token> = head.lexer.take(16).collect();
    let words_only = rest.iter().all(|t| t.kind == TokenKind::Word || t.is_symbol(statement, ','));
    let is = |index: usize, word: &str| rest.get(index).is_some_and(|token: &Token| token.is_word(statement, word));
    match first {
        "begin" | "start" if words_only && rest.len() < 16 => {
            let modes: Vec<&str> = rest.iter().map(|token| token.text(statement)).collect();
            Shape::control(Control::Begin { modes: modes.join(" ") })
        }
        "commit" | "end" if rest.is_empty() => Shape::control(Control::Commit),
        "commit" | "end" if is(0, "and") && is(1, "no") && is(2, "chain") && rest.len() == 3 => {
            Shape::control(Control::Commit)
        }
        "commit" if is(0, "prepared") => Shape::control(Control::Other("COMMIT PREPARED")),
        "rollback" if is(0, "prepared") => Shape::control(Control::Other("ROLLBACK PREPARED")),
        "rollback" if is(0, "to") => Shape::new(Effect::Read, false, Count::None),
        _ => Shape::control(Control::Other(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(source: &str) -> Vec<&str> {
        split(source).map(|statement| &source[statement.range]).collect()
    }

    #[test]
    fn statements_end_at_top_level_semicolons() {
        let atomic = "create function f() returns int begin atomic select 1; select case when true then 2 end; end";
        let labels = "create or replace procedure p() begin atomic select 1 as end; select t.case from t; end";
        let rule = "create rule r as on insert to t do also (insert into u values (1); delete from v)";
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ;; -- x\n ; /* ; */", &[]),
            ("select 1", &["select 1"]),
            ("select 1;select 2;", &["select 1", "select 2"]),
            ("-- a\nselect ';' -- b;\n; /*;*/ select 2 /* x */", &["select ';'", "select 2"]),
            ("do $$ begin; end $$; select 1", &["do $$ begin; end $$", "select 1"]),
            ("select (1;2); x", &["select (1;2)", "x"]),
            ("select 1); select 2", &["select 1)", "select 2"]),
            ("select 'a; select 2", &["select 'a; select 2"]),
            ("begin; select 1; end", &["begin", "select 1", "end"]),
        ];
        for (source, expected) in cases {
            assert_eq!(&texts(source), expected, "{source}");
        }
        for whole in [atomic, labels, rule] {
            assert_eq!(texts(&format!("{whole}; select 1")), [whole, "select 1"]);
        }
    }

    #[test]
    fn offsets_count_characters() {
        let source = "select 'é€😀'; /* ü */ select 2";
        let found: Vec<_> = split(source).map(|s| s.characters_before).collect();
        assert_eq!(found, [0, 22]);
    }

    #[test]
    fn shapes_tell_effect_growth_and_count() {
        use {Count::*, Effect::*};
        let cases = [
            ("select 1", Read, false, Rows),
            ("SELECT f() into_x", Read, false, Rows),
            ("(select 1) union select 2", Read, false, Rows),
            ("values (1)", Read, false, Rows),
            ("select * into t2 from t", Schema, true, None),
            ("select (select 1 into x)", Read, false, Rows),
            ("with a as (select 1) select * from a", Read, false, Rows),
            ("with update as (select 1) select * from update", Read, false, Rows),
            ("with a as (insert into t values (1) returning *) select * from a", Data, true, Rows),
            ("with a as (with b as (select 1) insert into t select * from b returning *) table a", Data, true, Rows),
            ("with a as (delete from t returning *) select * from a", Data, false, Rows),
            ("with a as (select 1) insert into t select * from a", Data, true, Affected),
            ("with a as (select 1), b as (select 2) delete from t", Data, false, Affected),
            ("insert into t values (1)", Data, true, Affected),
            ("update t set role = 'x'", Data, true, Affected),
            ("delete from t", Data, false, Affected),
            ("merge into t using s on true when matched then delete", Data, true, Affected),
            ("truncate t", Data, false, None),
            ("drop table t", Schema, false, None),
            ("create table t()", Schema, true, None),
            ("do 'x'", Schema, true, None),
            ("set x = 1", Read, false, None),
            ("savepoint a", Read, false, None),
            ("notify pgrst, 'reload schema'", Schema, false, None),
            ("explain insert into t values (1)", Read, false, None),
            ("explain analyze insert into t values (1)", Data, true, Affected),
            ("explain (analyze, costs off) delete from t", Data, false, Affected),
            ("explain (select 1)", Read, false, None),
            ("nonsense", Schema, true, None),
            ("", Read, false, Rows),
        ];
        for (source, effect, grows, count) in cases {
            let shape = Shape::of(source);
            assert_eq!((shape.effect, shape.grows, shape.count), (effect, grows, count), "{source}");
        }
    }

    #[test]
    fn explain_prefix_ends_where_the_explained_statement_starts() {
        for (source, inner) in [
            ("explain select 1", "select 1"),
            ("explain analyze verbose select 1", "select 1"),
            ("explain (analyze, format json) /* x */ select $1", "select $1"),
            ("explain (select 1)", "(select 1)"),
            ("explain", ""),
        ] {
            let (_, prefix) = explain_prefix(source);
            assert_eq!(&source[prefix..], inner, "{source}");
        }
    }

    #[test]
    fn transaction_control_is_told_from_savepoints() {
        let begin = |modes: &str| Some(Control::Begin { modes: modes.into() });
        let cases = [
            ("begin", begin("")),
            ("BEGIN WORK", begin("")),
            (
                "begin transaction isolation level serializable, read only",
                begin("isolation level serializable , read only"),
            ),
            ("start transaction", begin("")),
            ("begin 'x'", Some(Control::Other("BEGIN"))),
            ("commit", Some(Control::Commit)),
            ("end transaction", Some(Control::Commit)),
            ("commit and no chain", Some(Control::Commit)),
            ("commit and chain", Some(Control::Other("COMMIT"))),
            ("rollback", Some(Control::Other("ROLLBACK"))),
            ("abort work", Some(Control::Other("ABORT"))),
            ("prepare transaction 'x'", Some(Control::Other("PREPARE TRANSACTION"))),
            ("commit prepared 'x'", Some(Control::Other("COMMIT PREPARED"))),
            ("rollback prepared 'x'", Some(Control::Other("ROLLBACK PREPARED"))),
            ("rollback to a", None),
            ("rollback work to savepoint a", None),
            ("savepoint a", None),
            ("release a", None),
            ("prepare x as select 1", None),
            ("\"begin\"", None),
        ];
        for (source, control) in cases {
            assert_eq!(Shape::of(source).control, control, "{source}");
        }
    }

    #[test]
    fn statements_that_refuse_transactions_are_known() {
        for source in [
            "vacuum",
            "vacuum (analyze) t",
            "create index concurrently on t (a)",
            "create unique index concurrently i on t (a)",
            "drop index concurrently i",
            "reindex index concurrently i",
            "reindex (verbose, concurrently) table t",
            "reindex schema public",
            "cluster",
            "cluster verbose",
            "alter table t detach partition p concurrently",
        ] {
            assert!(Shape::of(source).outside_transaction.is_some(), "{source}");
        }
        for source in [
            "create index i on t (a)",
            "reindex table t",
            "cluster t",
            "analyze",
            "refresh materialized view concurrently v",
        ] {
            assert!(Shape::of(source).outside_transaction.is_none(), "{source}");
        }
    }

    proptest! {
        #[test]
        fn any_text_splits_and_has_shapes(source in any::<String>()) {
            let mut last = 0;
            for statement in split(&source) {
                prop_assert!(statement.range.start >= last);
                prop_assert_eq!(source[..statement.range.start].chars().count(), statement.characters_before);
                last = statement.range.end;
                let _ = Shape::of(&source[statement.range]);
            }
        }
    }
}
