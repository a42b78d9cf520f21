//! "Perhaps you meant": the nearest known name.

use std::collections::HashSet;

/// How alike two names must be: shared letter pairs over all letter pairs, doubled (Dice). Found by trying:
/// one typo in a five-letter word still reaches it, unrelated words of that length do not.
const LEAST_LIKENESS: f64 = 0.4;

/// The candidate most like `name`; ties go to the alphabetically first so that answers are stable.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = pairs(name);
    let mut scored: Vec<(f64, &str)> = candidates
        .map(|candidate| (likeness(&wanted, &pairs(candidate)), candidate))
        .filter(|(score, _)| *score >= LEAST_LIKENESS)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.first().map(|(_, candidate)| *candidate)
}

/// Neighbouring letters, with the ends of the word as letters of their own.
fn pairs(word: &str) -> HashSet<(char, char)> {
    let letters: Vec<char> =
        std::iter::once('^').chain(word.chars().flat_map(char::to_lowercase)).chain(std::iter::once('$')).collect();
    letters.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn likeness(a: &HashSet<(char, char)>, b: &HashSet<(char, char)>) -> f64 {
    let shared = a.intersection(b).count() as f64;
    2.0 * shared / (a.len() + b.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["todos", "users", "orders", "order_items"];
        for (name, expected) in [
            ("todo", Some("todos")),
            ("Todos", Some("todos")),
            ("usres", Some("users")),
            ("order_item", Some("order_items")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), expected, "{name}");
        }
    }
}
