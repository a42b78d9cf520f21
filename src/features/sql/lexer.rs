//! A tokenizer for PostgreSQL's SQL, as a lazy iterator.
//!
//! It knows where strings, comments, quoted names and dollar quotes begin and end, exactly as the server's own
//! scanner does (PostgreSQL manual §4.1, `standard_conforming_strings = on`), and nothing of the grammar.
//! White space and comments are the gaps between tokens. It never fails: a literal or comment that does not end
//! becomes one [`TokenKind::Unterminated`] token up to the end of the text, and the server says what is wrong.
//!
//! It is lazy and `Copy` so that ten megabytes of hostile text cost no memory and looking ahead is a copy.

use std::{borrow::Cow, ops::Range};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Keyword or unquoted identifier.
    Word,
    /// `"name"`
    QuotedName,
    /// `U&"name"`
    UnicodeName,
    /// `'text'` or `N'text'`, with its continuations on following lines.
    String,
    /// `E'text'`
    EscapeString,
    /// `U&'text'`
    UnicodeString,
    /// `B'01'` or `X'ff'`
    BitString,
    /// `$tag$text$tag$`
    DollarString,
    Number,
    /// `$1`
    Parameter,
    /// One of `( ) [ ] , ; : .`
    Symbol,
    /// A run of operator characters, or `::`, `:=`, `..`.
    Operator,
    /// A literal, quoted name or comment without its end.
    Unterminated,
    /// A character that starts no token.
    Unknown,
}

/// One token: its kind and its bytes in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    pub fn text(self, source: &str) -> &str {
        source.get(self.range()).unwrap_or_default()
    }

    /// Is it this keyword? `keyword` in lower case.
    pub fn is_word(self, source: &str, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text(source).eq_ignore_ascii_case(keyword)
    }

    pub fn is_symbol(self, source: &str, symbol: char) -> bool {
        self.kind == TokenKind::Symbol && self.text(source).starts_with(symbol)
    }

    /// Is it a literal that the grammar takes as text?
    pub fn is_text(self) -> bool {
        matches!(
            self.kind,
            TokenKind::String | TokenKind::EscapeString | TokenKind::UnicodeString | TokenKind::DollarString
        )
    }
}

/// Iterates over the tokens of a text.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

/// Where a quoted token ends, or that it does not.
type End = Option<usize>;

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    pub fn source(&self) -> &'a str {
        self.source
    }

    /// The name a token stands for, as the server would look it up: unquoted names fold to lower case, escapes of
    /// `U&` names are resolved. `self` must stand behind the token, where a `UESCAPE` clause may follow.
    /// `None` when the token is not a name.
    pub fn name_of(&self, token: Token) -> Option<Cow<'a, str>> {
        let text = token.text(self.source);
        match token.kind {
            TokenKind::Word if text.bytes().any(|b| b.is_ascii_uppercase()) => {
                Some(Cow::Owned(text.to_ascii_lowercase()))
            }
            TokenKind::Word => Some(Cow::Borrowed(text)),
            TokenKind::QuotedName => Some(undouble(text.strip_prefix('"')?.strip_suffix('"')?, '"')),
            TokenKind::UnicodeName => {
                let inner = text.get(3..)?.strip_suffix('"')?;
                Some(Cow::Owned(resolve_unicode(&undouble(inner, '"'), self.escape_character())))
            }
            _ => None,
        }
    }

    /// The text a string literal stands for. `self` must stand behind the token. `None` when it is not one.
    pub fn text_of(&self, token: Token) -> Option<Cow<'a, str>> {
        let text = token.text(self.source);
        match token.kind {
            TokenKind::DollarString => {
                let tag = text.get(1..)?.find('$')? + 2;
                text.get(tag..text.len().checked_sub(tag)?).map(Cow::Borrowed)
            }
            TokenKind::String => Some(Cow::Owned(string_content(text, false))),
            TokenKind::EscapeString => Some(Cow::Owned(unescape(&string_content(text, true)))),
            TokenKind::UnicodeString => {
                Some(Cow::Owned(resolve_unicode(&string_content(text, false), self.escape_character())))
            }
            _ => None,
        }
    }

    /// The escape character of a `U&` token: a backslash unless `UESCAPE 'c'` follows.
    fn escape_character(mut self) -> char {
        let source = self.source;
        match (self.next(), self.next()) {
            (Some(word), Some(literal)) if word.is_word(source, "uescape") && literal.kind == TokenKind::String => {
                string_content(literal.text(source), false).chars().next().unwrap_or('\\')
            }
            _ => '\\',
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.source.as_bytes();
        let start = match skip_gap(bytes, self.at) {
            Ok(start) => start,
            Err(start) => {
                self.at = bytes.len();
                return Some(Token { kind: TokenKind::Unterminated, start, end: bytes.len() });
            }
        };
        let (kind, end) = scan(bytes, start)?;
        self.at = end;
        Some(Token { kind, start, end })
    }
}

/// Kind and end of the token that starts at `start`; `None` at the end of the text.
fn scan(bytes: &[u8], start: usize) -> Option<(TokenKind, usize)> {
    let first = *bytes.get(start)?;
    let second = bytes.get(start + 1).copied();
    let third = bytes.get(start + 2).copied();
    let quoted = |kind, end: End| Some(end.map_or((TokenKind::Unterminated, bytes.len()), |end| (kind, end)));
    match first {
        b'\'' => quoted(TokenKind::String, end_of_string(bytes, start + 1, false)),
        b'"' => quoted(TokenKind::QuotedName, end_of_name(bytes, start + 1)),
        b'e' | b'E' if second == Some(b'\'') => quoted(TokenKind::EscapeString, end_of_string(bytes, start + 2, true)),
        b'n' | b'N' if second == Some(b'\'') => quoted(TokenKind::String, end_of_string(bytes, start + 2, false)),
        b'b' | b'B' | b'x' | b'X' if second == Some(b'\'') => {
            quoted(TokenKind::BitString, end_of_string(bytes, start + 2, false))
        }
        b'u' | b'U' if second == Some(b'&') && third == Some(b'\'') => {
            quoted(TokenKind::UnicodeString, end_of_string(bytes, start + 3, false))
        }
        b'u' | b'U' if second == Some(b'&') && third == Some(b'"') => {
            quoted(TokenKind::UnicodeName, end_of_name(bytes, start + 3))
        }
        b'$' if second.is_some_and(|b| b.is_ascii_digit()) => {
            Some((TokenKind::Parameter, run(bytes, start + 1, |b| b.is_ascii_digit())))
        }
        b'$' => match dollar_tag(bytes, start) {
            Some(body) => quoted(TokenKind::DollarString, end_of_dollar(bytes, start, body)),
            None => Some((TokenKind::Unknown, start + 1)),
        },
        b if is_name_start(b) => Some((TokenKind::Word, run(bytes, start, is_name_part))),
        b if b.is_ascii_digit() => Some((TokenKind::Number, end_of_number(bytes, start))),
        b'.' if second.is_some_and(|b| b.is_ascii_digit()) => Some((TokenKind::Number, end_of_number(bytes, start))),
        b'.' if second == Some(b'.') => Some((TokenKind::Operator, start + 2)),
        b':' if matches!(second, Some(b':' | b'=')) => Some((TokenKind::Operator, start + 2)),
        b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'.' => Some((TokenKind::Symbol, start + 1)),
        b if is_operator(b) => Some((TokenKind::Operator, end_of_operator(bytes, start))),
        _ => Some((TokenKind::Unknown, start + 1)),
    }
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_newline(b: u8) -> bool {
    matches!(b, b'\n' | b'\r')
}

/// Letters, underscore and everything beyond ASCII.
fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_name_part(b: u8) -> bool {
    is_name_start(b) || b.is_ascii_digit() || b == b'$'
}

fn is_operator(b: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&b)
}

/// The end of the run of bytes that satisfy `part`.
fn run(bytes: &[u8], from: usize, part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).position(|&b| !part(b)).map_or(bytes.len(), |length| from + length)
}

/// Skips white space and comments. `Err` with the start of a block comment that does not end.
fn skip_gap(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    loop {
        at = run(bytes, at, is_space);
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            at = run(bytes, at, |b| !is_newline(b));
        } else if rest.starts_with(b"/*") {
            at = end_of_comment(bytes, at).ok_or(at)?;
        } else {
            return Ok(at);
        }
    }
}

/// Block comments nest.
fn end_of_comment(bytes: &[u8], start: usize) -> End {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `from` is behind the opening quote. Doubled quotes are content; with `escapes` so is a quote after a backslash.
fn end_of_string(bytes: &[u8], from: usize, escapes: bool) -> End {
    let mut at = from;
    loop {
        match bytes.get(at)? {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => match continuation(bytes, at + 1) {
                Some(next) => at = next,
                None => return Some(at + 1),
            },
            _ => at += 1,
        }
    }
}

/// A literal goes on when a line break and another quote follow it (manual §4.1.2.1); `--` comments may stand
/// between, block comments may not. Returns the position behind the opening quote of the next part.
fn continuation(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut broke = false;
    loop {
        let b = *bytes.get(at)?;
        if is_space(b) {
            broke |= is_newline(b);
            at += 1;
        } else if b == b'-' && bytes.get(at + 1) == Some(&b'-') {
            at = run(bytes, at, |b| !is_newline(b));
        } else {
            return (b == b'\'' && broke).then_some(at + 1);
        }
    }
}

/// `from` is behind the opening quote.
fn end_of_name(bytes: &[u8], from: usize) -> End {
    let mut at = from;
    loop {
        match bytes.get(at)? {
            b'"' if bytes.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The position behind `$tag$`, if that is what starts here.
fn dollar_tag(bytes: &[u8], start: usize) -> Option<usize> {
    let first = *bytes.get(start + 1)?;
    if first == b'$' {
        return Some(start + 2);
    }
    if !is_name_start(first) {
        return None;
    }
    let end = run(bytes, start + 1, |b| is_name_part(b) && b != b'$');
    (bytes.get(end) == Some(&b'$')).then_some(end + 1)
}

fn end_of_dollar(bytes: &[u8], start: usize, body: usize) -> End {
    let tag = bytes.get(start..body)?;
    let mut at = body;
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == b'$')?;
        if bytes.get(at..)?.starts_with(tag) {
            return Some(at + tag.len());
        }
        at += 1;
    }
}

/// Letters that follow a number are an error for the server; taking them along changes no boundary that matters.
fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut at = run(bytes, start, part);
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1) != Some(&b'.') {
        at = run(bytes, at + 1, part);
    }
    let exponent = at > start && matches!(bytes.get(at - 1), Some(b'e' | b'E'));
    if exponent && matches!(bytes.get(at), Some(b'+' | b'-')) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = run(bytes, at + 1, part);
    }
    at
}

/// A comment may start in the middle of a run of operator characters.
fn end_of_operator(bytes: &[u8], start: usize) -> usize {
    let end = run(bytes, start, is_operator);
    let run = bytes.get(start..end).unwrap_or_default();
    let comment = run.windows(2).position(|pair| pair == b"--" || pair == b"/*");
    comment.map_or(end, |length| start + length)
}

fn undouble(text: &str, quote: char) -> Cow<'_, str> {
    if !text.contains(quote) {
        return Cow::Borrowed(text);
    }
    let doubled: String = [quote, quote].iter().collect();
    Cow::Owned(text.replace(&doubled, quote.encode_utf8(&mut [0; 4])))
}

/// The parts of a string literal joined, doubled quotes made single, escapes left alone.
fn string_content(literal: &str, escapes: bool) -> String {
    let bytes = literal.as_bytes();
    let mut content = String::with_capacity(literal.len());
    let Some(mut at) = literal.find('\'').map(|quote| quote + 1) else { return content };
    let mut from = at;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => {
                content.push_str(literal.get(from..=at).unwrap_or_default());
                at += 2;
                from = at;
            }
            b'\'' => {
                content.push_str(literal.get(from..at).unwrap_or_default());
                match continuation(bytes, at + 1) {
                    Some(next) => (at, from) = (next, next),
                    None => break,
                }
            }
            _ => at += 1,
        }
    }
    content
}

/// Backslash escapes of `E'…'` (manual §4.1.2.2). Byte escapes that do not give a character become U+FFFD: the
/// result is only ever searched for keywords.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        let Some(escape) = rest.next() else { break };
        let mut digits = |radix: u32, longest: usize, first: u32| {
            let mut value = first;
            for _ in 0..longest {
                let Some(digit) = rest.peek().and_then(|c| c.to_digit(radix)) else { break };
                value = value.wrapping_mul(radix).wrapping_add(digit);
                rest.next();
            }
            char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        result.push(match escape {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' => digits(16, 2, 0),
            'u' => digits(16, 4, 0),
            'U' => digits(16, 8, 0),
            '0'..='7' => digits(8, 2, escape.to_digit(8).unwrap_or(0)),
            other => other,
        });
    }
    result
}

/// `\XXXX`, `\+XXXXXX` and the doubled escape character of `U&` tokens (manual §4.1.2.3).
fn resolve_unicode(text: &str, escape: char) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(escape) {
        result.push_str(&rest[..at]);
        let tail = &rest[at + escape.len_utf8()..];
        let (digits, skipped) = match tail.strip_prefix('+') {
            Some(long) => (long.get(..6), 7),
            None => (tail.get(..4), 4),
        };
        let character = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        rest = if let Some(doubled) = tail.strip_prefix(escape) {
            result.push(escape);
            doubled
        } else if let Some(character) = character {
            result.push(character);
            &tail[skipped..]
        } else {
            result.push(escape);
            tail
        };
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::{TokenKind::*, *};
    use proptest::prelude::*;

    fn tokens(source: &str) -> Vec<(TokenKind, &str)> {
        Lexer::new(source).map(|token| (token.kind, token.text(source))).collect()
    }

    #[test]
    fn literals_end_where_postgres_ends_them() {
        let cases: &[(&str, &[(TokenKind, &str)])] = &[
            ("'a''b;' x", &[(String, "'a''b;'"), (Word, "x")]),
            (r"'a\' x", &[(String, r"'a\'"), (Word, "x")]),
            (r"E'a\';b' x", &[(EscapeString, r"E'a\';b'"), (Word, "x")]),
            (r"e'\\' x", &[(EscapeString, r"e'\\'"), (Word, "x")]),
            ("ee'x'", &[(Word, "ee"), (String, "'x'")]),
            ("U&'d\\0061t' x", &[(UnicodeString, "U&'d\\0061t'"), (Word, "x")]),
            ("u & 'x'", &[(Word, "u"), (Operator, "&"), (String, "'x'")]),
            ("U&\"a\"\"b\"", &[(UnicodeName, "U&\"a\"\"b\"")]),
            ("xU&'a'", &[(Word, "xU"), (Operator, "&"), (String, "'a'")]),
            ("B'01' X'fF' N'n'", &[(BitString, "B'01'"), (BitString, "X'fF'"), (String, "N'n'")]),
            ("\"a;\"\"b\".c", &[(QuotedName, "\"a;\"\"b\""), (Symbol, "."), (Word, "c")]),
            ("$$a;'$$;", &[(DollarString, "$$a;'$$"), (Symbol, ";")]),
            ("$a$ $$ $b$ $a $a$;", &[(DollarString, "$a$ $$ $b$ $a $a$"), (Symbol, ";")]),
            ("$ab$x$$ab$", &[(DollarString, "$ab$x$$ab$")]),
            ("$é$x$é$", &[(DollarString, "$é$x$é$")]),
            ("a$$b$$", &[(Word, "a$$b$$")]),
            ("1$$a$$", &[(Number, "1"), (DollarString, "$$a$$")]),
            ("$1$$a$$", &[(Parameter, "$1"), (DollarString, "$$a$$")]),
            ("$x y", &[(Unknown, "$"), (Word, "x"), (Word, "y")]),
            ("'a'\n  'b;' c", &[(String, "'a'\n  'b;'"), (Word, "c")]),
            ("E'a' -- it's\n '\\'' c", &[(EscapeString, "E'a' -- it's\n '\\''"), (Word, "c")]),
            ("'a' 'b'", &[(String, "'a'"), (String, "'b'")]),
            ("'a' /*\n*/ 'b'", &[(String, "'a'"), (String, "'b'")]),
        ];
        for (source, expected) in cases {
            assert_eq!(&tokens(source), expected, "{source}");
        }
    }

    #[test]
    fn comments_are_gaps_and_block_comments_nest() {
        let cases: &[(&str, &[&str])] = &[
            ("a -- b; '\nc", &["a", "c"]),
            ("a --b", &["a"]),
            ("a --b\rc", &["a", "c"]),
            ("a /* b /* ; */ ' */ c", &["a", "c"]),
            ("/**/set/**/role/***/x", &["set", "role", "x"]),
            ("a+--b\nc", &["a", "+", "c"]),
            ("a*/**/b", &["a", "*", "b"]),
            ("a-/*x*/-b", &["a", "-", "-", "b"]),
            ("1-- 2", &["1"]),
        ];
        for (source, expected) in cases {
            let texts: Vec<_> = tokens(source).into_iter().map(|(_, text)| text).collect();
            assert_eq!(&texts, expected, "{source}");
        }
    }

    #[test]
    fn what_does_not_end_becomes_one_token() {
        for source in
            ["'a", "E'a\\", "E'a\\'", "\"a", "U&\"a", "U&'a", "$$a$", "$a$ $b$", "/* a /* b */", "B'1", "'a'\n'b"]
        {
            assert_eq!(tokens(source), [(Unterminated, source)], "{source}");
        }
    }

    #[test]
    fn numbers_parameters_and_operators() {
        let cases: &[(&str, &[(TokenKind, &str)])] = &[
            ("1.5e-10", &[(Number, "1.5e-10")]),
            (".5", &[(Number, ".5")]),
            ("0x1F 1_000", &[(Number, "0x1F"), (Number, "1_000")]),
            ("1..10", &[(Number, "1"), (Operator, ".."), (Number, "10")]),
            ("1-e", &[(Number, "1"), (Operator, "-"), (Word, "e")]),
            ("$12::int8", &[(Parameter, "$12"), (Operator, "::"), (Word, "int8")]),
            ("a:=b", &[(Word, "a"), (Operator, ":="), (Word, "b")]),
            ("a->>'b'", &[(Word, "a"), (Operator, "->>"), (String, "'b'")]),
            ("x[1:2]", &[(Word, "x"), (Symbol, "["), (Number, "1"), (Symbol, ":"), (Number, "2"), (Symbol, "]")]),
            ("\\d {", &[(Unknown, "\\"), (Word, "d"), (Unknown, "{")]),
            ("été", &[(Word, "été")]),
        ];
        for (source, expected) in cases {
            assert_eq!(&tokens(source), expected, "{source}");
        }
    }

    #[test]
    fn names_and_texts_are_decoded() {
        let names = [
            ("InterNAL", "internal"),
            ("\"Internal\"", "Internal"),
            ("\"a\"\"b\"", "a\"b"),
            ("U&\"\\0069nternal\"", "internal"),
            ("U&\"\\+000069nternal\"", "internal"),
            ("u&\"!0069nternal\" UESCAPE '!'", "internal"),
            ("U&\"a\\\\b\\zz\"", "a\\b\\zz"),
        ];
        for (source, expected) in names {
            let mut lexer = Lexer::new(source);
            let token = lexer.next().unwrap();
            assert_eq!(lexer.name_of(token).as_deref(), Some(expected), "{source}");
        }
        let texts = [
            ("'it''s'", "it's"),
            ("'a'\n'b'", "ab"),
            ("'a' -- it's\n'b'", "ab"),
            ("E'a\\'b\\n\\x41\\101\\u0041\\q'", "a'b\nAAAq"),
            ("$$a$b$$", "a$b"),
            ("$t$a$$b$t$", "a$$b"),
            ("U&'\\0041'", "A"),
            ("N'n'", "n"),
        ];
        for (source, expected) in texts {
            let mut lexer = Lexer::new(source);
            let token = lexer.next().unwrap();
            assert_eq!(lexer.text_of(token).as_deref(), Some(expected), "{source}");
        }
        let mut lexer = Lexer::new("1");
        let token = lexer.next().unwrap();
        assert_eq!((lexer.name_of(token), lexer.text_of(token)), (None, None));
    }

    /// Text made of the pieces that matter to a scanner, so that random input reaches its corners.
    fn hostile() -> impl Strategy<Value = std::string::String> {
        let pieces = prop::sample::select(vec![
            "'", "''", "\"", "\\", "E'", "U&'", "U&\"", "B'", "$$", "$a$", "$", "$1", "/*", "*/", "--", "\n", "\r",
            " ", ";", "(", ")", ".", "::", "a", "é", "1", "1e", "+", "-", "*", "UESCAPE", "'!'", "\u{feff}", "\0",
        ]);
        prop_oneof![prop::collection::vec(pieces, 0..24).prop_map(|parts| parts.concat()), any::<std::string::String>()]
    }

    proptest! {
        #[test]
        fn tokens_and_gaps_reassemble_any_source(source in hostile()) {
            let mut rebuilt = std::string::String::new();
            let mut at = 0;
            let mut lexer = Lexer::new(&source);
            while let Some(token) = lexer.next() {
                prop_assert!(token.start >= at && token.end > token.start);
                rebuilt.push_str(&source[at..token.start]);
                rebuilt.push_str(&source[token.range()]);
                at = token.end;
                let _ = (lexer.name_of(token), lexer.text_of(token));
            }
            rebuilt.push_str(&source[at..]);
            prop_assert_eq!(rebuilt, source);
        }

        #[test]
        fn a_quoted_text_is_one_token_whatever_it_holds(text in any::<std::string::String>()) {
            let literal = format!("'{}'", text.replace('\'', "''"));
            prop_assert_eq!(tokens(&literal), vec![(String, literal.as_str())]);
            let mut lexer = Lexer::new(&literal);
            let token = lexer.next().unwrap();
            prop_assert_eq!(lexer.text_of(token).unwrap().into_owned(), text);
        }
    }
}
