//! Which column of which relation stands behind each column of a view.
//!
//! Postgres keeps a view as a rewrite rule: a printed parse tree (`pg_rewrite.ev_action`). Each entry of the
//! outermost target list carries `:resno` (position in the view), `:resorigtbl` and `:resorigcol` (the
//! relation and column it was taken from, zero for expressions). When the view reads another view, that view
//! is the origin, so nested views are traced by asking again. Only those three numbers are read here; the
//! rest of the tree is skipped, which keeps this independent of the server's version.

/// (position in the view, oid of the origin, position in the origin)
pub type Origin = (i16, u32, i16);

/// The origins of the outermost query's columns; empty for a text that is not such a tree.
pub fn origins(tree: &str) -> Vec<Origin> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut in_target_list = false;
    let mut list_depth = 0_usize;
    let mut current = Entry::default();
    let mut tokens = Tokens(tree);
    while let Some(token) = tokens.next() {
        match token {
            "{" | "(" => depth += 1,
            "}" | ")" => {
                // The end of one TARGETENTRY of the outermost list.
                if in_target_list && depth == list_depth + 1 {
                    found.extend(std::mem::take(&mut current).complete());
                }
                depth = depth.saturating_sub(1);
                if in_target_list && depth < list_depth {
                    return found;
                }
            }
            // `(` `{QUERY`: fields of the outermost query stand two levels deep.
            ":targetList" if depth == 2 => {
                in_target_list = true;
                list_depth = 3;
            }
            _ if in_target_list && depth == list_depth + 1 => current.take(token, &mut tokens),
            _ => {}
        }
    }
    Vec::new()
}

#[derive(Default)]
struct Entry {
    position: Option<i16>,
    relation: Option<u32>,
    column: Option<i16>,
}

impl Entry {
    fn take(&mut self, token: &str, tokens: &mut Tokens) {
        match token {
            ":resno" => self.position = tokens.next().and_then(|text| text.parse().ok()),
            ":resorigtbl" => self.relation = tokens.next().and_then(|text| text.parse().ok()),
            ":resorigcol" => self.column = tokens.next().and_then(|text| text.parse().ok()),
            _ => {}
        }
    }

    fn complete(self) -> Option<Origin> {
        match (self.position, self.relation, self.column) {
            (Some(position), Some(relation), Some(column)) if relation != 0 && column > 0 => {
                Some((position, relation, column))
            }
            _ => None,
        }
    }
}

/// Words and brackets; a backslash makes the next character part of a word.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches([' ', '\n', '\t']);
        let first = text.chars().next()?;
        if matches!(first, '{' | '}' | '(' | ')') {
            let (token, rest) = text.split_at(1);
            self.0 = rest;
            return Some(token);
        }
        let mut escaped = false;
        let end = text
            .find(|c: char| {
                let ends = !escaped && matches!(c, '{' | '}' | '(' | ')' | ' ' | '\n' | '\t');
                escaped = !escaped && c == '\\';
                ends
            })
            .unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_target_list_counts() {
        let tree = "({QUERY :commandType 1 :cteList ({COMMONTABLEEXPR :ctequery {QUERY :targetList \
            ({TARGETENTRY :expr {VAR :x 1} :resno 9 :resname no :resorigtbl 9 :resorigcol 9 :resjunk false})}}) \
            :targetList ({TARGETENTRY :expr {FUNCEXPR :args ({VAR :resno 7})} :resno 1 :resname a\\)\\ :b :ressortgroupref 0 \
            :resorigtbl 16457 :resorigcol 1 :resjunk false} {TARGETENTRY :expr {OPEXPR :o 1} :resno 2 :resname up \
            :resorigtbl 0 :resorigcol 0 :resjunk false} {TARGETENTRY :expr {VAR :y 2} :resno 3 :resname writer \
            :resorigtbl 16457 :resorigcol 3 :resjunk false}) :override 0 :sortClause ({SORTGROUPCLAUSE :resno 5})})";
        assert_eq!(origins(tree), [(1, 16457, 1), (3, 16457, 3)]);
    }

    #[test]
    fn other_text_has_no_origins() {
        for text in ["", "<>", "({QUERY", "(((", ":targetList ({", ")))}}}", "({QUERY :targetList <> :x 1})"] {
            assert!(origins(text).is_empty(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[({}) :a-z\\\\0-9]{0,80}|\\PC{0,40}") {
            origins(&text);
        }
    }
}
