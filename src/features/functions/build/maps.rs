//! The way back from generated code to the source. Types become blanks, so a map holds only the few places where
//! text was put in or taken out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A place of the generated text and the place of the source it comes from. From 0; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point {
    pub line: u32,
    pub column: u32,
    pub source_line: u32,
    pub source_column: u32,
}

/// The map of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceMap {
    /// In the order of the generated text. What is behind a point moved as the point did, to the end of its line;
    /// lines keep their numbers' distance.
    points: Vec<Point>,
}

impl SourceMap {
    pub fn new(points: Vec<Point>) -> Self {
        Self { points }
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The place in the source of a place in the generated text; lines and columns from 1.
    pub fn original(&self, line: u32, column: u32) -> (u32, u32) {
        let (at, character) = (line.saturating_sub(1), column.saturating_sub(1));
        let next = self.points.partition_point(|point| (point.line, point.column) <= (at, character));
        let Some(before) = next.checked_sub(1).and_then(|index| self.points.get(index)) else { return (line, column) };
        let source_line = before.source_line.saturating_add(at - before.line);
        if at > before.line {
            return (source_line + 1, column);
        }
        let moved = before.source_column.saturating_add(character - before.column);
        // Inside inserted text: no further than where the source goes on.
        let most = self.points.get(next).filter(|point| point.line == at).map(|point| point.source_column);
        (source_line + 1, most.map_or(moved, |most| moved.min(most)) + 1)
    }
}

/// The maps of a program's files; files without an entry are as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMaps(BTreeMap<String, SourceMap>);

impl SourceMaps {
    pub(super) fn insert(&mut self, file: String, map: SourceMap) {
        if !map.is_empty() {
            self.0.insert(file, map);
        }
    }

    /// The place in the source of a place the engine reports; lines and columns from 1.
    pub fn original(&self, file: &str, line: u32, column: u32) -> (u32, u32) {
        self.0.get(file).map_or((line, column), |map| map.original(line, column))
    }

    /// A text with every `file:line:column` of the program's files taken back to the source: a stack, or an error as
    /// the console prints it.
    pub fn remap(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(colon) = rest.find(':') {
            let (before, behind) = rest.split_at(colon);
            out.push_str(before);
            rest = behind;
            let Some((line, column, length)) = place(behind) else {
                out.push(':');
                rest = &behind[1..];
                continue;
            };
            // The longest of the names that ends here: names may hold any character a path may.
            let file = self.0.iter().filter(|(file, _)| ends_in_name(before, file)).max_by_key(|(file, _)| file.len());
            let (line, column) = file.map_or((line, column), |(_, map)| map.original(line, column));
            out.push_str(&format!(":{line}:{column}"));
            rest = &rest[length..];
        }
        out.push_str(rest);
        out
    }
}

fn ends_in_name(text: &str, name: &str) -> bool {
    text.strip_suffix(name).is_some_and(|before| {
        !before.ends_with(|character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.'))
    })
}

/// `:line:column` at the start of a text, and its length.
fn place(text: &str) -> Option<(u32, u32, usize)> {
    let number = |text: &str| {
        let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
        Some((text.get(..digits)?.parse().ok()?, digits))
    };
    let (line, first): (u32, usize) = number(text.strip_prefix(':')?)?;
    let (column, second): (u32, usize) = number(text.get(1 + first..)?.strip_prefix(':')?)?;
    Some((line, column, first + second + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> SourceMaps {
        let mut maps = SourceMaps::default();
        let moved = |line, column, source_column| Point { line, column, source_line: line, source_column };
        maps.insert("index.ts".into(), SourceMap::new(vec![moved(2, 10, 10), moved(2, 20, 10)]));
        maps.insert("lib/index.ts".into(), SourceMap::new(vec![moved(0, 0, 0), moved(0, 4, 0)]));
        maps
    }

    #[test]
    fn stacks_lead_to_the_source() {
        let maps = maps();
        for (generated, source) in [
            ("    at handler (index.ts:3:31)", "    at handler (index.ts:3:21)"),
            ("at index.ts:3:5", "at index.ts:3:5"),
            ("at (lib/index.ts:1:9)\nat (index.ts:9:1)", "at (lib/index.ts:1:5)\nat (index.ts:9:1)"),
            ("at other.ts:3:31", "at other.ts:3:31"),
            ("at myindex.ts:3:31", "at myindex.ts:3:31"),
            ("at file:///app/index.ts:3:31", "at file:///app/index.ts:3:21"),
            ("Error: a:1:2 and 12:30:59", "Error: a:1:2 and 12:30:59"),
            ("index.ts:3:", "index.ts:3:"),
            ("index.ts:99999999999:3", "index.ts:99999999999:3"),
            ("", ""),
        ] {
            assert_eq!(maps.remap(generated), source);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_remapped_without_harm(text in "\\PC{0,80}|(index\\.ts:[0-9]{0,11}:?){0,9}") {
            maps().remap(&text);
        }
    }
}
