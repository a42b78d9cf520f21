//! A cursor over SQL tokens, for the few statements this feature reads.

use crate::features::sql::{Lexer, Token, TokenKind};

/// Reads a text token by token. Every `take_*` moves only when it finds what it looks for.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { lexer: Lexer::new(text) }
    }

    fn source(&self) -> &'a str {
        self.lexer.source()
    }

    pub fn peek(&self) -> Option<Token> {
        let mut ahead = self.lexer;
        ahead.next()
    }

    pub fn at_end(&self) -> bool {
        self.peek().is_none()
    }

    pub fn next(&mut self) -> Option<Token> {
        self.lexer.next()
    }

    pub fn text(&self, token: Token) -> &'a str {
        self.source().get(token.range()).unwrap_or_default()
    }

    /// The text from the next token on.
    pub fn rest(&self) -> &'a str {
        self.peek().and_then(|token| self.source().get(token.start..)).unwrap_or_default()
    }

    /// Takes one keyword, given in lower case.
    pub fn take(&mut self, keyword: &str) -> bool {
        self.take_all(&[keyword])
    }

    /// Takes these keywords in a row, or none.
    pub fn take_all(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = self.lexer;
        for keyword in keywords {
            if !ahead.next().is_some_and(|token| token.is_word(ahead.source(), keyword)) {
                return false;
            }
        }
        self.lexer = ahead;
        true
    }

    pub fn take_symbol(&mut self, symbol: char) -> bool {
        let mut ahead = self.lexer;
        let found = ahead.next().is_some_and(|token| token.is_symbol(ahead.source(), symbol));
        if found {
            self.lexer = ahead;
        }
        found
    }

    /// A name as the server would look it up.
    pub fn take_name(&mut self) -> Option<String> {
        let mut ahead = self.lexer;
        let token = ahead.next()?;
        let name = ahead.name_of(token)?.into_owned();
        self.lexer = ahead;
        Some(name)
    }

    /// A name of schema `public`, qualified or not. `None` for a name of another schema.
    pub fn take_public_name(&mut self) -> Option<String> {
        let first = self.take_name()?;
        if !self.take_symbol('.') {
            return Some(first);
        }
        let second = self.take_name()?;
        (first == "public").then_some(second)
    }

    /// The tokens of a parenthesised list, split at its top-level commas. `None` where none starts or it does not
    /// end. Each part is a piece of the text.
    pub fn take_list(&mut self) -> Option<Vec<&'a str>> {
        let source = self.source();
        let mut ahead = *self;
        if !ahead.take_symbol('(') {
            return None;
        }
        let mut parts = Vec::new();
        let mut depth = 0_usize;
        let mut part: Option<(usize, usize)> = None;
        loop {
            let token = ahead.next()?;
            let opens = token.is_symbol(source, '(') || token.is_symbol(source, '[');
            let closes = token.is_symbol(source, ')') || token.is_symbol(source, ']');
            if depth == 0 && (token.is_symbol(source, ')') || token.is_symbol(source, ',')) {
                let last = token.is_symbol(source, ')');
                match part.take() {
                    Some((start, end)) => parts.push(source.get(start..end)?),
                    None if last && parts.is_empty() => {}
                    None => return None,
                }
                if last {
                    *self = ahead;
                    return Some(parts);
                }
                continue;
            }
            if opens {
                depth += 1;
            } else if closes {
                depth = depth.checked_sub(1)?;
            }
            part = Some((part.map_or(token.start, |(start, _)| start), token.end));
        }
    }
}

/// Is this text one expression that cannot end the parentheses around it?
pub fn is_enclosable(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut any = false;
    for token in Lexer::new(text) {
        any = true;
        if token.kind == TokenKind::Unterminated || token.is_symbol(text, ';') {
            return false;
        }
        if token.is_symbol(text, '(') {
            depth += 1;
        } else if token.is_symbol(text, ')') {
            match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            }
        }
    }
    any && depth == 0
}

/// Words that name the same type, and its one spelling here.
const ALIASES: [(&str, &str); 16] = [
    ("int", "integer"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("int2", "smallint"),
    ("float", "double precision"),
    ("float8", "double precision"),
    ("float4", "real"),
    ("bool", "boolean"),
    ("varchar", "character varying"),
    ("char", "character"),
    ("bpchar", "character"),
    ("decimal", "numeric"),
    ("timestamptz", "timestamp with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timetz", "time with time zone"),
    ("time", "time without time zone"),
];

/// One spelling for a type however it was written: without schema, length and the aliases of the standard types.
/// `None` when the text is not a type.
pub fn type_name(text: &str) -> Option<String> {
    let mut cursor = Cursor::new(text);
    let mut words: Vec<(String, bool)> = Vec::new();
    let mut dimensions = 0;
    while let Some(token) = cursor.peek() {
        if token.is_symbol(text, '(') {
            cursor.take_list()?;
        } else if token.is_symbol(text, '[') {
            cursor.next();
            if cursor.peek().is_some_and(|token| token.kind == TokenKind::Number) {
                cursor.next();
            }
            if !cursor.take_symbol(']') {
                return None;
            }
            dimensions += 1;
        } else if dimensions > 0 {
            return None;
        } else if cursor.take_symbol('.') {
            // The word before was the schema.
            if words.len() != 1 {
                return None;
            }
            words.clear();
            words.push((cursor.take_name()?, false));
        } else {
            let plain = token.kind == TokenKind::Word;
            words.push((cursor.take_name()?, plain));
        }
    }
    let plain = words.iter().all(|(_, plain)| *plain);
    let mut joined = words.into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ");
    if joined.is_empty() {
        return None;
    }
    if let (true, Some((_, standard))) = (plain, ALIASES.iter().find(|(alias, _)| *alias == joined)) {
        joined = (*standard).to_owned();
    }
    // An array type has any number of dimensions.
    Some(if dimensions > 0 { format!("{joined}[]") } else { joined })
}

/// The possible argument types of each input argument of a signature such as `(p_id uuid, int DEFAULT 3)`: a first
/// word can be a name or belong to the type. `None` when the text is not a signature.
pub fn argument_types(signature: &str) -> Option<Vec<Vec<String>>> {
    let mut cursor = Cursor::new(signature);
    let parts = cursor.take_list()?;
    if !cursor.at_end() {
        return None;
    }
    let mut types = Vec::new();
    for part in parts {
        let mut cursor = Cursor::new(part);
        if cursor.take("out") && !cursor.at_end() {
            continue;
        }
        let mut cursor = Cursor::new(part);
        for mode in ["in", "inout", "variadic"] {
            let mut ahead = cursor;
            if ahead.take(mode) && !ahead.at_end() {
                cursor = ahead;
                break;
            }
        }
        let start = cursor.peek()?.start;
        let mut end = start;
        let mut ahead = cursor;
        while let Some(token) = ahead.next() {
            let text = ahead.text(token);
            if token.is_word(part, "default") || text == "=" || text == ":=" {
                break;
            }
            end = token.end;
        }
        let whole = part.get(start..end)?;
        let mut candidates: Vec<String> = type_name(whole).into_iter().collect();
        let mut behind_name = Cursor::new(whole);
        if behind_name.take_name().is_some()
            && let Some(next) = behind_name.peek()
            && !next.is_symbol(whole, '.')
        {
            candidates.extend(whole.get(next.start..).and_then(type_name));
        }
        if candidates.is_empty() {
            return None;
        }
        types.push(candidates);
    }
    Some(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_one_spelling() {
        for (text, expected) in [
            ("int", Some("integer")),
            ("INT4", Some("integer")),
            ("varchar(40)", Some("character varying")),
            ("character varying (3)", Some("character varying")),
            ("timestamptz[]", Some("timestamp with time zone[]")),
            ("timestamp with time zone", Some("timestamp with time zone")),
            ("int[3][]", Some("integer[]")),
            ("public.\"Mood\"", Some("Mood")),
            ("pg_catalog.int4", Some("int4")),
            ("\"int\"", Some("int")),
            ("", None),
            ("1", None),
            ("a; b", None),
        ] {
            assert_eq!(type_name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn signatures_give_the_types_of_their_input_arguments() {
        for (text, expected) in [
            ("()", Some(vec![])),
            ("(int)", Some(vec![vec!["integer"]])),
            ("(p_id uuid, n int default f(1, 2))", Some(vec![vec!["p_id uuid", "uuid"], vec!["n int", "integer"]])),
            (
                "(in a text, out b int, variadic c int[])",
                Some(vec![vec!["a text", "text"], vec!["c int[]", "integer[]"]]),
            ),
            ("(a int = 3)", Some(vec![vec!["a int", "integer"]])),
            ("(,)", None),
            ("(a int", None),
            ("() x", None),
            ("int", None),
        ] {
            let expected: Option<Vec<Vec<String>>> = expected
                .map(|list| list.into_iter().map(|item| item.into_iter().map(String::from).collect()).collect());
            assert_eq!(argument_types(text), expected, "{text}");
        }
    }

    #[test]
    fn an_expression_cannot_leave_its_parentheses() {
        for (text, expected) in [
            ("archived = false", true),
            ("(a or b) and f(c)", true),
            ("name = ') or (' -- why not", true),
            ("", false),
            ("-- nothing", false),
            ("true) or (true", false),
            ("(true", false),
            ("true; drop table t", false),
            ("'open", false),
            ("true /* open", false),
        ] {
            assert_eq!(is_enclosable(text), expected, "{text}");
        }
    }
}
