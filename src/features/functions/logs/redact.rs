//! Keeps secrets out of logs.

/// Shorter values are words, not secrets, and would blacken half the log.
const SHORTEST: usize = 6;
const MARK: &str = "[redacted]";
const BEARER: &str = "bearer ";
/// Of a bearer token; "Bearer of news" is none.
const SHORTEST_TOKEN: usize = 12;

/// Knows the values that must not be shown.
#[derive(Debug, Default)]
pub(in crate::features::functions) struct Redactor {
    /// The longest first: one value may hold another.
    values: Vec<String>,
}

impl Redactor {
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().filter(|value| value.len() >= SHORTEST).collect();
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values }
    }

    /// Bytes of the longest value.
    pub fn longest(&self) -> usize {
        self.values.first().map_or(0, String::len)
    }

    /// The text without the values and without bearer tokens, and whether there were any.
    pub fn redact(&self, text: &str) -> (String, bool) {
        let mut shown = text.to_owned();
        for value in &self.values {
            if shown.contains(value) {
                shown = shown.replace(value, MARK);
            }
        }
        let shown = without_tokens(&shown);
        let redacted = shown != text;
        (shown, redacted)
    }
}

fn without_tokens(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(found) = lower[from..].find(BEARER) {
        let token = from + found + BEARER.len();
        let length = text[token..].bytes().take_while(|byte| is_token(*byte)).count();
        shown.push_str(&text[from..token]);
        if length >= SHORTEST_TOKEN {
            shown.push_str(MARK);
        } else {
            shown.push_str(&text[token..token + length]);
        }
        from = token + length;
    }
    shown.push_str(&text[from..]);
    shown
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_tokens_are_hidden_and_words_are_not() {
        let redactor = Redactor::new(["hunter2-secret", "hunter2", "abc"].map(str::to_owned));
        let cases = [
            ("nothing here", "nothing here", false),
            ("pass hunter2-secret!", "pass [redacted]!", true),
            ("pass hunter2 twice hunter2", "pass [redacted] twice [redacted]", true),
            ("abc is short", "abc is short", false),
            ("Authorization: Bearer eyJhbGciOi.x_y-z", "Authorization: Bearer [redacted]", true),
            ("BEARER aaaabbbbcccc and bearer aaaabbbbcccc", "BEARER [redacted] and bearer [redacted]", true),
            ("bearer of news", "bearer of news", false),
            ("ends with bearer ", "ends with bearer ", false),
            ("ünïcödé bearer ünïcödé", "ünïcödé bearer ünïcödé", false),
        ];
        for (text, shown, redacted) in cases {
            assert_eq!(redactor.redact(text), (shown.to_owned(), redacted), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_ever_shown(before in "\\PC{0,20}", after in "\\PC{0,20}", value in "[a-zA-Z0-9]{12,30}") {
            let redactor = Redactor::new([value.clone()]);
            let (shown, redacted) = redactor.redact(&format!("{before}{value}{after}"));
            prop_assert!(redacted && !shown.contains(&value));
        }
    }
}
