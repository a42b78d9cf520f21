//! Keeps secrets out of logs.

use std::ops::Range;

use memchr::memmem::Finder;

/// Shorter values are words, not secrets, and would blacken half the log.
const SHORTEST: usize = 6;
const MARK: &str = "[redacted]";
const BEARER: &str = "bearer ";
/// Of a bearer token; "Bearer of news" is none.
const SHORTEST_TOKEN: usize = 12;

/// Knows the values that must not be shown.
#[derive(Debug, Default)]
pub(in crate::features::functions) struct Redactor {
    /// Made once for all messages; the longest first. Most are longer than most messages, and cost these nothing.
    values: Vec<Finder<'static>>,
}

impl Redactor {
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().filter(|value| value.len() >= SHORTEST).collect();
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values: values.iter().map(|value| Finder::new(value).into_owned()).collect() }
    }

    /// Bytes of the longest value.
    pub fn longest(&self) -> usize {
        self.values.first().map_or(0, |value| value.needle().len())
    }

    /// The text without the values and without bearer tokens; nothing if it has none.
    pub fn redact(&self, text: &str) -> Option<String> {
        let mut hidden = Vec::new();
        for value in &self.values {
            let length = value.needle().len();
            hidden.extend(value.find_iter(text.as_bytes()).map(|start| start..start + length));
        }
        find_tokens(text.as_bytes(), &mut hidden);
        (!hidden.is_empty()).then(|| without(text, hidden))
    }
}

fn find_tokens(text: &[u8], hidden: &mut Vec<Range<usize>>) {
    for at in memchr::memchr2_iter(b'b', b'B', text) {
        let token = at + BEARER.len();
        if !text.get(at..token).is_some_and(|word| word.eq_ignore_ascii_case(BEARER.as_bytes())) {
            continue;
        }
        let length = text[token..].iter().take_while(|byte| is_token(**byte)).count();
        if length >= SHORTEST_TOKEN {
            hidden.push(token..token + length);
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// One mark for each range; those that overlap are one.
fn without(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_unstable_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    // What is shown begins here, and what is hidden ends.
    let mut end = 0;
    for range in hidden {
        if range.start >= end {
            shown.push_str(&text[end..range.start]);
            shown.push_str(MARK);
        }
        end = end.max(range.end);
    }
    shown.push_str(&text[end..]);
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_tokens_are_hidden_and_words_are_not() {
        let redactor = Redactor::new(["hunter2-secret", "hunter2", "secret-two", "abc"].map(str::to_owned));
        let cases = [
            ("", None),
            ("nothing here", None),
            ("pass hunter2-secret!", Some("pass [redacted]!")),
            ("pass hunter2 twice hunter2", Some("pass [redacted] twice [redacted]")),
            ("hunter2hunter2", Some("[redacted][redacted]")),
            ("two that overlap: hunter2-secret-two", Some("two that overlap: [redacted]")),
            ("abc is short", None),
            ("Authorization: Bearer eyJhbGciOi.x_y-z", Some("Authorization: Bearer [redacted]")),
            ("BEARER aaaabbbbcccc and bearer aaaabbbbcccc", Some("BEARER [redacted] and bearer [redacted]")),
            ("bearer hunter2-secret", Some("bearer [redacted]")),
            ("bearer xyz.hunter2-secret.xyz", Some("bearer [redacted]")),
            ("bearer of news", None),
            ("bearer bearer aaaabbbbcccc", Some("bearer bearer [redacted]")),
            ("ends with bearer ", None),
            ("ends with b", None),
            ("ünïcödé bearer ünïcödé", None),
            ("ü hunter2 ü", Some("ü [redacted] ü")),
        ];
        for (text, shown) in cases {
            assert_eq!(redactor.redact(text).as_deref(), shown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_ever_shown(before in "\\PC{0,20}", after in "\\PC{0,20}", value in "[a-zA-Z0-9]{12,30}") {
            let redactor = Redactor::new([value.clone()]);
            let shown = redactor.redact(&format!("{before}{value}{after}"));
            prop_assert!(shown.is_some_and(|shown| !shown.contains(&value)));
        }

        #[test]
        fn what_is_not_hidden_is_shown_as_it_was(
            parts in prop::collection::vec(prop::sample::select(vec!["secret", "bearer ", "Bearer ", "tokentokentoken",
                                                                     "ü", " ", "b", "sec"]), 0..12),
        ) {
            let text = parts.concat();
            let shown = Redactor::new(["secret".to_owned(), "secsecret".to_owned()]).redact(&text);
            prop_assert!(!shown.as_deref().unwrap_or(&text).contains("secret"));
            let mut rest = text.as_str();
            // What stands between the marks comes in order.
            for piece in shown.as_deref().unwrap_or(&text).split(MARK) {
                let at = rest.find(piece);
                prop_assert!(at.is_some(), "{piece:?} of {shown:?} is not in {text:?}");
                rest = &rest[at.unwrap_or(0) + piece.len()..];
            }
        }
    }
}
