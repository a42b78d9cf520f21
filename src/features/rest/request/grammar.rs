//! The lexical ground every REST grammar stands on: a cursor over text, names, quoted names, JSON paths.
//!
//! Contract 02 §7.4: names are runs of letters, digits, `_`, space and `$` joined by `-`, trimmed, or
//! double-quoted with `\` escapes. The grammars are written by hand as recursive descent over [`Cursor`]:
//! no backtracking beyond a saved position, depth bounded by [`MAX_DEPTH`], time linear in the input.

use crate::features::rest::error::NativeError;

/// How deep select trees, logic trees and embed paths may nest.
pub const MAX_DEPTH: usize = 32;

/// How many items one list (select, columns, order, logic children) may have. Postgres itself stops at
/// 1,664 result columns and 65,535 parameters.
pub const MAX_ITEMS: usize = 1_600;

/// Where and why a text is not in the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Byte offset.
    at: usize,
    expecting: &'static str,
}

impl Failure {
    /// PGRST100 in PostgREST's words; `noun` is what was being parsed (`filter`, `order`, …).
    pub fn explain(&self, noun: &str, text: &str) -> NativeError {
        let before = text.get(..self.at).unwrap_or(text);
        let unexpected = match text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("\"{c}\""),
            None => "end of input".to_owned(),
        };
        NativeError::bad_request(
            "PGRST100",
            format!("\"failed to parse {noun} ({text})\" (line 1, column {})", before.chars().count() + 1),
        )
        .details(format!("unexpected {unexpected} expecting {}", self.expecting))
    }
}

pub type Parsed<T> = Result<T, Failure>;

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Like [`Cursor::eat`], with spaces allowed before and after the token.
    pub fn eat_lexeme(&mut self, token: &str) -> bool {
        let trimmed = self.rest().trim_start_matches(' ');
        if !trimmed.starts_with(token) {
            return false;
        }
        self.at = self.text.len() - trimmed.len() + token.len();
        self.skip_spaces();
        true
    }

    pub fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    /// The longest prefix of characters that satisfy `wanted`; may be empty.
    pub fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub fn take_rest(&mut self) -> &'a str {
        let rest = self.rest();
        self.at = self.text.len();
        rest
    }

    /// Runs `parse`; on failure the cursor stays where it was.
    pub fn attempt<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let start = self.at;
        parse(self).inspect_err(|_| self.at = start)
    }

    pub fn fail<T>(&self, expecting: &'static str) -> Parsed<T> {
        Err(Failure { at: self.at, expecting })
    }

    pub fn expect(&mut self, token: &str, expecting: &'static str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { self.fail(expecting) }
    }

    pub fn expect_end(&self, expecting: &'static str) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { self.fail(expecting) }
    }
}

/// One step of a JSON path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonStep {
    pub arrow: Arrow,
    pub operand: JsonOperand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrow {
    /// `->` yields JSON.
    Json,
    /// `->>` yields text.
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonOperand {
    Key(String),
    Index(i32),
}

/// A column, or a value inside one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    pub name: String,
    pub path: Vec<JsonStep>,
}

impl Field {
    pub fn column(name: impl Into<String>) -> Self {
        Self { name: name.into(), path: Vec::new() }
    }

    /// The key a selected field has in the result: the last named key of its path, else the column. A key
    /// without a letter cannot name anything.
    pub fn output_name(&self) -> &str {
        self.path
            .iter()
            .rev()
            .find_map(|step| match &step.operand {
                JsonOperand::Key(key) => Some(key.as_str()).filter(|key| key.chars().any(|c| c != '\0')),
                JsonOperand::Index(_) => None,
            })
            .unwrap_or(&self.name)
    }
}

pub fn is_identifier_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ' ' | '$')
}

/// A bare or double-quoted name; never one that is nothing but NULs, which Postgres would call a syntax error.
pub fn name(cursor: &mut Cursor) -> Parsed<String> {
    let start = cursor.clone();
    if cursor.peek() == Some('"') {
        let name = quoted(cursor)?;
        return if name.chars().all(|c| c == '\0') { start.fail("a name between the quotes") } else { Ok(name) };
    }
    loop {
        cursor.take_while(is_identifier_char);
        let mut ahead = cursor.rest().chars();
        let joins = ahead.next() == Some('-') && ahead.next().is_some_and(is_identifier_char);
        if !joins || start.at == cursor.at {
            break;
        }
        cursor.advance();
    }
    let raw = start.rest().get(..cursor.at - start.at).unwrap_or("").trim();
    if raw.is_empty() {
        return start.fail("field name (* or [a..z0..9_$])");
    }
    Ok(raw.to_owned())
}

/// `"…"` where `\` makes the next character literal.
pub fn quoted(cursor: &mut Cursor) -> Parsed<String> {
    cursor.expect("\"", "quoted value")?;
    let mut value = String::new();
    loop {
        match cursor.advance() {
            Some('"') => return Ok(value),
            Some('\\') => match cursor.advance() {
                Some(c) => value.push(c),
                None => return cursor.fail("escaped character"),
            },
            Some(c) => value.push(c),
            None => return cursor.fail("closing quote"),
        }
    }
}

/// A name and the JSON path that follows it.
pub fn field(cursor: &mut Cursor) -> Parsed<Field> {
    Ok(Field { name: name(cursor)?, path: json_path(cursor)? })
}

/// `->key`, `->>key`, `->0`, repeated; empty when there is none.
pub fn json_path(cursor: &mut Cursor) -> Parsed<Vec<JsonStep>> {
    let mut path = Vec::new();
    loop {
        let arrow = if cursor.eat("->>") {
            Arrow::Text
        } else if cursor.eat("->") {
            Arrow::Json
        } else {
            return Ok(path);
        };
        if path.len() == MAX_DEPTH {
            return cursor.fail("a shorter JSON path");
        }
        path.push(JsonStep { arrow, operand: json_operand(cursor)? });
    }
}

fn json_operand(cursor: &mut Cursor) -> Parsed<JsonOperand> {
    if let Ok(index) = cursor.attempt(json_index) {
        return Ok(JsonOperand::Index(index));
    }
    if cursor.peek() == Some('"') {
        return quoted(cursor).map(JsonOperand::Key);
    }
    match cursor.take_while(|c| !matches!(c, '(' | '-' | ':' | '.' | ',' | '>' | ')')) {
        "" => cursor.fail("any non reserved character different from: (-:.,>)"),
        key => Ok(JsonOperand::Key(key.to_owned())),
    }
}

/// An integer that is the whole operand: `->0`, `->-1`, but `->1a` is a key.
fn json_index(cursor: &mut Cursor) -> Parsed<i32> {
    let negative = cursor.eat("-");
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    let ends = cursor.at_end() || matches!(cursor.peek(), Some('-' | ':' | '.' | ',' | ')'));
    match digits.parse::<i32>() {
        Ok(index) if ends => Ok(if negative { -index } else { index }),
        _ => cursor.fail("array index"),
    }
}

/// A comma-separated list of names: `columns`, `on_conflict`.
pub fn name_list(cursor: &mut Cursor) -> Parsed<Vec<String>> {
    let mut names = Vec::new();
    if cursor.rest().trim().is_empty() {
        return Ok(names);
    }
    loop {
        cursor.skip_spaces();
        names.push(name(cursor)?);
        cursor.skip_spaces();
        if cursor.at_end() {
            return Ok(names);
        }
        cursor.expect(",", "\",\"")?;
        if names.len() == MAX_ITEMS {
            return cursor.fail("a shorter list");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<T>(text: &str, parse: impl Fn(&mut Cursor) -> Parsed<T>) -> Parsed<T> {
        let mut cursor = Cursor::new(text);
        let value = parse(&mut cursor)?;
        cursor.expect_end("end of input")?;
        Ok(value)
    }

    #[test]
    fn names_may_be_bare_dashed_unicode_or_quoted() {
        for (text, expected) in [
            ("id", "id"),
            ("with space", "with space"),
            (" trimmed ", "trimmed"),
            ("a-b-c", "a-b-c"),
            ("$cost", "$cost"),
            ("单价", "单价"),
            ("\"a.b,(c)\"", "a.b,(c)"),
            ("\"a\\\"b\\\\\"", "a\"b\\"),
        ] {
            assert_eq!(whole(text, name).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", " ", ".", "a.", "\"open", "a->", "(", "\"\\", "-a", "a-", "\"\"", "\"\0\""] {
            assert!(whole(text, name).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_of_nothing_names_nothing() {
        for (text, expected) in
            [("data->a->0", "a"), ("data->a->>\"\"", "a"), ("data->>\0", "data"), ("data->\"\"", "data")]
        {
            assert_eq!(whole(text, field).as_ref().map(Field::output_name), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn json_paths_know_keys_and_indexes() {
        let parsed = whole("data->a->>0->\"x.y\"->-1->1a", field).unwrap();
        let operands: Vec<_> = parsed.path.iter().map(|step| step.operand.clone()).collect();
        assert_eq!(
            operands,
            [
                JsonOperand::Key("a".into()),
                JsonOperand::Index(0),
                JsonOperand::Key("x.y".into()),
                JsonOperand::Index(-1),
                JsonOperand::Key("1a".into()),
            ]
        );
        assert_eq!(parsed.output_name(), "1a");
        assert_eq!(whole("data->0", field).unwrap().output_name(), "data");
        for text in ["data->", "data->>", "data->a.", "data->99999999999999999999-"] {
            assert!(whole(text, field).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_quotes_the_text_and_the_column() {
        let error = Cursor::new("x").fail::<()>("y").unwrap_err().explain("filter", "x");
        assert_eq!(error.message, "\"failed to parse filter (x)\" (line 1, column 1)");
        assert_eq!(error.details, "unexpected \"x\" expecting y");
    }

    proptest::proptest! {
        #[test]
        fn parsers_never_panic(text in "\\PC{0,60}") {
            let _ = whole(&text, field);
            let _ = whole(&text, name_list);
        }

        #[test]
        fn quoting_round_trips(text in "\\PC{1,40}") {
            let escaped = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            proptest::prop_assert_eq!(whole(&escaped, name), Ok(text));
        }
    }
}
