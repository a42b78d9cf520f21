//! Looking around in source, where the syntax tree does not say what stands between its nodes.

/// Source as bytes, with steps over what means nothing.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub &'a str);

impl<'a> Text<'a> {
    pub fn slice(self, start: u32, end: u32) -> &'a str {
        self.0.get(start as usize..end as usize).unwrap_or("")
    }

    pub fn byte(self, at: u32) -> Option<u8> {
        self.0.as_bytes().get(at as usize).copied()
    }

    /// The first place from `at` that is neither white space nor comment.
    pub fn token(self, at: u32) -> u32 {
        let mut at = at as usize;
        while let Some(rest) = self.0.get(at..) {
            let trimmed =
                rest.trim_start_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
            at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("//") {
                trimmed.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.get(2..).and_then(|inside| inside.find("*/")).map_or(trimmed.len(), |inside| inside + 4)
            } else {
                break;
            };
            at += comment;
        }
        u32::try_from(at.min(self.0.len())).unwrap_or(u32::MAX)
    }

    /// The place of `byte` when it is the next token from `at`.
    pub fn next_is(self, at: u32, byte: u8) -> Option<u32> {
        let token = self.token(at);
        (self.byte(token) == Some(byte)).then_some(token)
    }

    /// The word at a place, empty when none starts there.
    pub fn word(self, at: u32) -> &'a str {
        let rest = self.0.get(at as usize..).unwrap_or("");
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len());
        &rest[..end]
    }

    /// The words between two places, with where they start. Stops at what is no word.
    pub fn words(self, start: u32, end: u32) -> Vec<(u32, &'a str)> {
        let mut found = Vec::new();
        let mut at = self.token(start);
        while at < end {
            let word = self.word(at);
            if word.is_empty() {
                break;
            }
            found.push((at, word));
            at = self.token(at + u32::try_from(word.len()).unwrap_or(0));
        }
        found
    }

    /// Line and column of a place, from 1; the column counts characters.
    pub fn place(self, at: u32) -> (u32, u32) {
        let mut end = (at as usize).min(self.0.len());
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.0[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    pub fn line(self, at: u32) -> u32 {
        self.place(at).0
    }

    /// Where each line starts, to tell the lines of many places.
    pub fn lines(self) -> Lines {
        Lines(self.0.match_indices('\n').filter_map(|(at, _)| u32::try_from(at).ok()).collect())
    }

    /// `text` with as many line breaks as there are in `start..end`.
    pub fn with_lines_of(self, start: u32, end: u32, text: String) -> String {
        let breaks = self.slice(start, end).matches('\n').count();
        text + &"\n".repeat(breaks)
    }
}

/// The line breaks of a text.
pub(super) struct Lines(Vec<u32>);

impl Lines {
    /// The line of a place, from 1.
    pub fn of(&self, at: u32) -> u32 {
        u32::try_from(self.0.partition_point(|line_break| *line_break < at) + 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_white_space_are_stepped_over() {
        let text = Text(" /* a */ // b\n\u{a0}/**/x?");
        assert_eq!(text.word(text.token(0)), "x");
        assert!(text.next_is(text.token(0) + 1, b'?').is_some());
        assert_eq!(Text("/* never ends").token(0), 13);
        assert_eq!(Text("é\n  x").place(5), (2, 3));
        assert_eq!(Text("a b,c").words(0, 5), [(0, "a"), (2, "b")]);
    }
}
