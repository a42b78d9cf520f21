//! Edits of a text that keep its lines, and the text they make.

use std::collections::HashMap;

use super::maps::{Point, SourceMap};

/// A place of the source, and what stands there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    start: usize,
    end: usize,
    /// None: blanks, line breaks kept.
    text: Option<String>,
}

/// Edits collected in any order. They may not overlap but for blanks inside blanks.
#[derive(Debug, Default)]
pub struct Edits {
    all: Vec<Edit>,
    /// Where a blank ends → the last blank that ends there.
    blanks: HashMap<usize, usize>,
}

impl Edits {
    /// Blanks the bytes `start..end`.
    pub fn blank(&mut self, start: u32, end: u32) {
        if start < end {
            self.blanks.insert(end as usize, self.all.len());
            self.all.push(Edit { start: start as usize, end: end as usize, text: None });
        }
    }

    /// Puts `text` in place of the bytes `start..end`. Its line breaks must be those it takes the place of.
    pub fn replace(&mut self, start: u32, end: u32, text: impl Into<String>) {
        self.all.push(Edit { start: start as usize, end: end as usize, text: Some(text.into()) });
    }

    /// Puts `text` before the byte `at`.
    pub fn insert(&mut self, at: u32, text: impl Into<String>) {
        self.replace(at, at, text);
    }

    /// Ends a statement that ends in a blank, where a line break ended it: the next line might otherwise go on with
    /// it. `end` is behind the blank.
    /// `in_place`: the last byte of the blank is a character.
    pub fn seal(&mut self, end: u32, in_place: bool) {
        let end = end as usize;
        if let Some(blank) = self.blanks.get(&end).and_then(|index| self.all.get_mut(*index))
            && end - blank.start > 1
        {
            let start = if in_place { end - 1 } else { end };
            blank.end = start;
            self.blanks.remove(&end);
            self.all.push(Edit { start, end, text: Some(";".to_owned()) });
        }
    }

    /// The text with all edits made, and the places that moved.
    pub fn apply(mut self, source: &str) -> (String, SourceMap) {
        // Stable: insertions at one place keep their order, and stand before what is blanked there.
        self.all.sort_by_key(|edit| (edit.start, edit.start != edit.end));
        let mut made = Made { source, text: String::with_capacity(source.len() + 64), ..Made::default() };
        let mut at = 0;
        for edit in self.all {
            // Inside something that is gone already.
            let start = edit.start.max(at);
            if edit.end < start || (edit.end == start && edit.start != edit.end) {
                continue;
            }
            made.copy(at, start);
            match edit.text {
                None => made.blank(start, edit.end),
                Some(text) => made.put(&text, start, edit.end),
            }
            at = edit.end;
        }
        made.copy(at, source.len());
        (made.text, SourceMap::new(made.points))
    }
}

#[derive(Default)]
struct Made<'a> {
    source: &'a str,
    text: String,
    points: Vec<Point>,
    from: Position,
    to: Position,
}

/// Line and column from 0; columns count characters.
#[derive(Clone, Copy, Default)]
struct Position {
    line: u32,
    column: u32,
}

impl Position {
    fn advance(&mut self, text: &str) {
        for character in text.chars() {
            if is_line_break(character) {
                self.line += 1;
                self.column = 0;
            } else {
                self.column += 1;
            }
        }
    }
}

/// What ends a line for the engine that reports places.
fn is_line_break(character: char) -> bool {
    character == '\n'
}

impl Made<'_> {
    fn copy(&mut self, start: usize, end: usize) {
        let Some(text) = self.source.get(start..end) else { return };
        self.text.push_str(text);
        self.from.advance(text);
        self.to.advance(text);
    }

    fn blank(&mut self, start: usize, end: usize) {
        let Some(text) = self.source.get(start..end) else { return };
        for character in text.chars() {
            self.text.push(if matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}') { character } else { ' ' });
        }
        self.from.advance(text);
        self.to.advance(text);
    }

    fn put(&mut self, text: &str, start: usize, end: usize) {
        let old = self.source.get(start..end).unwrap_or("");
        let moves = text.chars().count() != old.chars().count() || text.contains('\n') || old.contains('\n');
        if moves {
            self.mark();
        }
        self.text.push_str(text);
        self.to.advance(text);
        self.from.advance(old);
        if moves {
            self.mark();
        }
    }

    fn mark(&mut self) {
        self.points.push(Point {
            line: self.to.line,
            column: self.to.column,
            source_line: self.from.line,
            source_column: self.from.column,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blanks_keep_lines_and_columns() {
        let mut edits = Edits::default();
        edits.blank(5, 12);
        edits.blank(6, 8);
        let (text, map) = edits.apply("let x: {\n a};\nthrow x");
        assert_eq!(text, "let x   \n   ;\nthrow x");
        assert_eq!(map.original(3, 7), (3, 7));
    }

    #[test]
    fn places_behind_an_insertion_are_found_again() {
        let mut edits = Edits::default();
        edits.insert(3, "12345");
        edits.replace(4, 5, "");
        edits.insert(3, "67");
        let (text, map) = edits.apply("abcdef\nghi");
        assert_eq!(text, "abc1234567df\nghi");
        // `d`, which was the fourth character, and `f`, the sixth.
        assert_eq!(map.original(1, 11), (1, 4));
        assert_eq!(map.original(1, 12), (1, 6));
        assert_eq!(map.original(1, 2), (1, 2));
        assert_eq!(map.original(2, 2), (2, 2));
        // Inside what was inserted: where it was.
        assert_eq!(map.original(1, 6), (1, 4));
    }

    proptest! {
        #[test]
        fn edits_anywhere_keep_the_number_of_lines(
            source in "[a-c\n\u{e9}]{0,60}",
            places in prop::collection::vec((0..60usize, 0..8usize, any::<bool>()), 0..8),
        ) {
            let mut edits = Edits::default();
            let bounded = |at: usize| {
                let mut at = at.min(source.len());
                while !source.is_char_boundary(at) {
                    at -= 1;
                }
                u32::try_from(at).unwrap()
            };
            for (start, length, insertion) in places {
                if insertion {
                    edits.insert(bounded(start), "xyz");
                } else {
                    edits.blank(bounded(start), bounded(start + length));
                }
            }
            let (text, map) = edits.apply(&source);
            prop_assert_eq!(text.matches('\n').count(), source.matches('\n').count());
            for (index, line) in text.split('\n').enumerate() {
                let line_number = u32::try_from(index + 1).unwrap();
                let (found, column) = map.original(line_number, u32::try_from(line.chars().count()).unwrap());
                prop_assert_eq!(found, line_number);
                prop_assert!(column as usize <= source.split('\n').nth(index).unwrap().chars().count() + 1);
            }
        }
    }
}
