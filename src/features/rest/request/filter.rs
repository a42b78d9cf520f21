//! Filters and logic trees (contract 02 §7.5).

use super::grammar::{self, Cursor, Field, MAX_DEPTH, MAX_ITEMS, Parsed};

/// Operators that compare a column with one operand and take no modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimpleOperator {
    NotEqual,
    Contains,
    ContainedIn,
    Overlap,
    StrictlyLeft,
    StrictlyRight,
    NotExtendsRight,
    NotExtendsLeft,
    Adjacent,
    IsDistinctFrom,
}

/// Operators that also accept `(any)` and `(all)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantifiableOperator {
    Equal,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
    Like,
    ILike,
    Match,
    IMatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    Any,
    All,
}

/// How a text search operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSearch {
    Raw,
    Plain,
    Phrase,
    WebSearch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsValue {
    Null,
    NotNull,
    True,
    False,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Simple(SimpleOperator, String),
    Quantifiable(QuantifiableOperator, Option<Quantifier>, String),
    In(Vec<String>),
    Is(IsValue),
    Search { kind: TextSearch, language: Option<String>, query: String },
}

/// `[not.]operation`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub negated: bool,
    pub operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub field: Field,
    pub condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connective {
    And,
    Or,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogicTree {
    Leaf(Filter),
    Node { negated: bool, connective: Connective, children: Vec<LogicTree> },
}

/// Where an operand ends: with the text, or at the next `,` or `)` of a logic tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    WholeText,
    Tree,
}

const EXPECTED_OPERATOR: &str = "\"not\" or operator (eq, gt, ...)";

/// The value of a query parameter: `[not.]op[(modifier)].operand`.
pub fn condition(text: &str) -> Parsed<Condition> {
    let mut cursor = Cursor::new(text);
    let condition = parse_condition(&mut cursor, Context::WholeText)?;
    cursor.expect_end("end of input")?;
    Ok(condition)
}

/// The value of `and=`, `or=`: a parenthesised list.
pub fn logic_list(text: &str) -> Parsed<Vec<LogicTree>> {
    let mut cursor = Cursor::new(text);
    let children = parse_children(&mut cursor, 1)?;
    cursor.expect_end("end of input")?;
    Ok(children)
}

fn parse_condition(cursor: &mut Cursor, context: Context) -> Parsed<Condition> {
    let negated = cursor.eat("not.");
    Ok(Condition { negated, operation: parse_operation(cursor, context)? })
}

fn parse_operation(cursor: &mut Cursor, context: Context) -> Parsed<Operation> {
    let start = cursor.clone();
    let word = cursor.take_while(|c| c.is_ascii_lowercase());
    if let Some(operator) = quantifiable(word) {
        let quantifier = if cursor.eat("(any)") {
            Some(Quantifier::Any)
        } else if cursor.eat("(all)") {
            Some(Quantifier::All)
        } else {
            None
        };
        delimiter(cursor)?;
        return Ok(Operation::Quantifiable(operator, quantifier, operand(cursor, context)?));
    }
    if let Some(operator) = simple(word) {
        delimiter(cursor)?;
        return Ok(Operation::Simple(operator, operand(cursor, context)?));
    }
    if let Some(kind) = text_search(word) {
        let language = if cursor.eat("(") {
            let language = cursor.take_while(grammar::is_identifier_char).trim().to_owned();
            cursor.expect(")", "\")\"")?;
            Some(language)
        } else {
            None
        };
        delimiter(cursor)?;
        return Ok(Operation::Search { kind, language, query: operand(cursor, context)? });
    }
    match word {
        "in" => {
            delimiter(cursor)?;
            list(cursor).map(Operation::In)
        }
        "is" => {
            delimiter(cursor)?;
            is_value(cursor).map(Operation::Is)
        }
        _ => start.fail(EXPECTED_OPERATOR),
    }
}

fn delimiter(cursor: &mut Cursor) -> Parsed<()> {
    cursor.expect(".", "delimiter (.)")
}

fn quantifiable(word: &str) -> Option<QuantifiableOperator> {
    Some(match word {
        "eq" => QuantifiableOperator::Equal,
        "gte" => QuantifiableOperator::GreaterOrEqual,
        "gt" => QuantifiableOperator::Greater,
        "lte" => QuantifiableOperator::LessOrEqual,
        "lt" => QuantifiableOperator::Less,
        "like" => QuantifiableOperator::Like,
        "ilike" => QuantifiableOperator::ILike,
        "match" => QuantifiableOperator::Match,
        "imatch" => QuantifiableOperator::IMatch,
        _ => return None,
    })
}

fn simple(word: &str) -> Option<SimpleOperator> {
    Some(match word {
        "neq" => SimpleOperator::NotEqual,
        "cs" => SimpleOperator::Contains,
        "cd" => SimpleOperator::ContainedIn,
        "ov" => SimpleOperator::Overlap,
        "sl" => SimpleOperator::StrictlyLeft,
        "sr" => SimpleOperator::StrictlyRight,
        "nxr" => SimpleOperator::NotExtendsRight,
        "nxl" => SimpleOperator::NotExtendsLeft,
        "adj" => SimpleOperator::Adjacent,
        "isdistinct" => SimpleOperator::IsDistinctFrom,
        _ => return None,
    })
}

fn text_search(word: &str) -> Option<TextSearch> {
    Some(match word {
        "fts" => TextSearch::Raw,
        "plfts" => TextSearch::Plain,
        "phfts" => TextSearch::Phrase,
        "wfts" => TextSearch::WebSearch,
        _ => return None,
    })
}

fn is_value(cursor: &mut Cursor) -> Parsed<IsValue> {
    let start = cursor.clone();
    let word = cursor.take_while(|c| c.is_ascii_alphabetic() || c == '_').to_ascii_lowercase();
    match word.as_str() {
        "null" => Ok(IsValue::Null),
        "not_null" => Ok(IsValue::NotNull),
        "true" => Ok(IsValue::True),
        "false" => Ok(IsValue::False),
        "unknown" => Ok(IsValue::Unknown),
        _ => start.fail("isVal: (null, not_null, true, false, unknown)"),
    }
}

fn operand(cursor: &mut Cursor, context: Context) -> Parsed<String> {
    if context == Context::WholeText {
        return Ok(cursor.take_rest().to_owned());
    }
    if let Ok(value) = cursor.attempt(|cursor| ends_in_tree(cursor, grammar::quoted)) {
        return Ok(value);
    }
    if let Ok(value) = cursor.attempt(|cursor| ends_in_tree(cursor, braced)) {
        return Ok(value);
    }
    Ok(cursor.take_while(|c| !matches!(c, ',' | ')')).to_owned())
}

/// Accepts what `parse` read only when the tree goes on right after it.
fn ends_in_tree(cursor: &mut Cursor, parse: impl Fn(&mut Cursor) -> Parsed<String>) -> Parsed<String> {
    let value = parse(cursor)?;
    let mut ahead = cursor.clone();
    ahead.skip_spaces();
    if ahead.at_end() || matches!(ahead.peek(), Some(',' | ')')) { Ok(value) } else { cursor.fail("\",\" or \")\"") }
}

/// An array or JSON literal: balanced braces, quotes respected, taken verbatim.
fn braced(cursor: &mut Cursor) -> Parsed<String> {
    let start = cursor.clone();
    cursor.expect("{", "\"{\"")?;
    let mut depth = 1_usize;
    let mut in_quotes = false;
    while depth > 0 {
        match cursor.advance() {
            None => return cursor.fail("\"}\""),
            Some('\\') => {
                cursor.advance();
            }
            Some('"') => in_quotes = !in_quotes,
            Some('{') if !in_quotes => depth += 1,
            Some('}') if !in_quotes => depth -= 1,
            Some(_) => {}
        }
    }
    let length = start.rest().len() - cursor.rest().len();
    Ok(start.rest()[..length].to_owned())
}

/// `(a,"b,c",d)`; `()` is the empty list.
fn list(cursor: &mut Cursor) -> Parsed<Vec<String>> {
    if !cursor.eat_lexeme("(") {
        return cursor.fail("\"(\"");
    }
    let mut elements = Vec::new();
    if cursor.eat(")") {
        return Ok(elements);
    }
    loop {
        let element = match cursor.attempt(|cursor| ends_in_tree(cursor, grammar::quoted)) {
            Ok(value) => {
                cursor.skip_spaces();
                value
            }
            Err(_) => cursor.take_while(|c| !matches!(c, ',' | ')')).to_owned(),
        };
        elements.push(element);
        if cursor.eat(")") {
            return Ok(elements);
        }
        cursor.expect(",", "\",\" or \")\"")?;
    }
}

fn parse_children(cursor: &mut Cursor, depth: usize) -> Parsed<Vec<LogicTree>> {
    if depth > MAX_DEPTH {
        return cursor.fail("a less deeply nested logic tree");
    }
    if !cursor.eat_lexeme("(") {
        return cursor.fail("\"(\"");
    }
    let mut children = Vec::new();
    loop {
        children.push(parse_tree(cursor, depth)?);
        if cursor.eat_lexeme(")") {
            return Ok(children);
        }
        if !cursor.eat_lexeme(",") {
            return cursor.fail("\",\" or \")\"");
        }
        if children.len() == MAX_ITEMS {
            return cursor.fail("a shorter list");
        }
    }
}

fn parse_tree(cursor: &mut Cursor, depth: usize) -> Parsed<LogicTree> {
    if let Ok((negated, connective)) = cursor.attempt(parse_connective) {
        return Ok(LogicTree::Node { negated, connective, children: parse_children(cursor, depth + 1)? });
    }
    // `not.c.is.null` negates the leaf, unless a column called "not" makes sense of it first.
    match cursor.attempt(parse_leaf) {
        Ok(filter) => Ok(LogicTree::Leaf(filter)),
        Err(_) if cursor.eat("not.") => {
            let mut filter = parse_leaf(cursor)?;
            filter.condition.negated = !filter.condition.negated;
            Ok(LogicTree::Leaf(filter))
        }
        Err(failure) => Err(failure),
    }
}

fn parse_connective(cursor: &mut Cursor) -> Parsed<(bool, Connective)> {
    let negated = cursor.eat("not.");
    let connective = if cursor.eat("and") {
        Connective::And
    } else if cursor.eat("or") {
        Connective::Or
    } else {
        return cursor.fail("logic operator (and, or)");
    };
    let mut ahead = cursor.clone();
    if ahead.eat_lexeme("(") { Ok((negated, connective)) } else { cursor.fail("\"(\"") }
}

fn parse_leaf(cursor: &mut Cursor) -> Parsed<Filter> {
    let field = grammar::field(cursor)?;
    delimiter(cursor)?;
    Ok(Filter { field, condition: parse_condition(cursor, Context::Tree)? })
}

#[cfg(test)]
mod tests {
    use super::{QuantifiableOperator as Q, SimpleOperator as S, *};

    fn parsed(text: &str) -> Operation {
        condition(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}")).operation
    }

    #[test]
    fn every_operator_is_known() {
        for (text, expected) in [
            ("eq.a.b, c", Operation::Quantifiable(Q::Equal, None, "a.b, c".into())),
            ("eq.", Operation::Quantifiable(Q::Equal, None, String::new())),
            ("gte.1", Operation::Quantifiable(Q::GreaterOrEqual, None, "1".into())),
            ("gt.1", Operation::Quantifiable(Q::Greater, None, "1".into())),
            ("lte.1", Operation::Quantifiable(Q::LessOrEqual, None, "1".into())),
            ("lt.1", Operation::Quantifiable(Q::Less, None, "1".into())),
            ("like.*a*", Operation::Quantifiable(Q::Like, None, "*a*".into())),
            ("ilike(all).{*a*,b}", Operation::Quantifiable(Q::ILike, Some(Quantifier::All), "{*a*,b}".into())),
            ("match.^a", Operation::Quantifiable(Q::Match, None, "^a".into())),
            ("imatch(any).{^a}", Operation::Quantifiable(Q::IMatch, Some(Quantifier::Any), "{^a}".into())),
            ("eq(any).{1,2}", Operation::Quantifiable(Q::Equal, Some(Quantifier::Any), "{1,2}".into())),
            ("neq.1", Operation::Simple(S::NotEqual, "1".into())),
            ("isdistinct.x", Operation::Simple(S::IsDistinctFrom, "x".into())),
            ("cs.{a,b}", Operation::Simple(S::Contains, "{a,b}".into())),
            ("cd.[1,5)", Operation::Simple(S::ContainedIn, "[1,5)".into())),
            ("ov.{}", Operation::Simple(S::Overlap, "{}".into())),
            ("sl.a", Operation::Simple(S::StrictlyLeft, "a".into())),
            ("sr.a", Operation::Simple(S::StrictlyRight, "a".into())),
            ("nxr.a", Operation::Simple(S::NotExtendsRight, "a".into())),
            ("nxl.a", Operation::Simple(S::NotExtendsLeft, "a".into())),
            ("adj.a", Operation::Simple(S::Adjacent, "a".into())),
            ("is.null", Operation::Is(IsValue::Null)),
            ("is.NOT_NULL", Operation::Is(IsValue::NotNull)),
            ("is.True", Operation::Is(IsValue::True)),
            ("is.false", Operation::Is(IsValue::False)),
            ("is.unknown", Operation::Is(IsValue::Unknown)),
            ("in.()", Operation::In(vec![])),
            ("in.(a)", Operation::In(vec!["a".into()])),
            (
                r#"in.(a,"b,c","d\"e\\",f g,,"x"y)"#,
                Operation::In(["a", "b,c", "d\"e\\", "f g", "", "\"x\"y"].map(String::from).to_vec()),
            ),
            ("fts.a", Operation::Search { kind: TextSearch::Raw, language: None, query: "a".into() }),
            (
                "wfts(english).a b",
                Operation::Search {
                    kind: TextSearch::WebSearch,
                    language: Some("english".into()),
                    query: "a b".into(),
                },
            ),
            ("plfts.a", Operation::Search { kind: TextSearch::Plain, language: None, query: "a".into() }),
            ("phfts.a", Operation::Search { kind: TextSearch::Phrase, language: None, query: "a".into() }),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert!(condition("not.eq.1").unwrap().negated);
    }

    #[test]
    fn what_is_not_an_operator_is_refused() {
        for text in [
            "",
            "foo.1",
            "eq",
            "eq1",
            "EQ.1",
            "not.not.eq.1",
            "is.nul",
            "is.null1",
            "is.",
            "in.1",
            "in.(1",
            "in.(1)x",
            "neq(any).{1}",
            "eq(some).{1}",
            "cs(any).{1}",
            "fts(english.a",
            ".eq.1",
            "not.",
            "in(any).(1)",
        ] {
            assert!(condition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn failure_text_starts_as_clients_expect() {
        let error = condition("foo.1").unwrap_err().explain("filter", "foo.1");
        assert!(error.message.starts_with("\"failed to parse filter (foo.1)\" (line 1, column "));
        assert_eq!(error.code, "PGRST100");
        assert!(error.details.as_str().unwrap().contains(EXPECTED_OPERATOR));
    }

    fn leaves(tree: &LogicTree, out: &mut Vec<(String, Condition)>) {
        match tree {
            LogicTree::Leaf(filter) => out.push((filter.field.name.clone(), filter.condition.clone())),
            LogicTree::Node { children, .. } => children.iter().for_each(|child| leaves(child, out)),
        }
    }

    #[test]
    fn logic_trees_nest_and_their_values_end_at_commas() {
        let trees = logic_list(
            r#"(a.eq.1, and(b.gt.2,not.c.is.null) ,d.in.(x,"y,z"),e.cs.{p,"q}"},f.eq."v,(1)",not.or(g.not.eq.),h->>k.like.*x*)"#,
        )
        .unwrap();
        assert_eq!(trees.len(), 7);
        let mut found = Vec::new();
        trees.iter().for_each(|tree| leaves(tree, &mut found));
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert!(found[2].1.negated, "not.c.is.null negates the leaf");
        assert_eq!(found[3].1.operation, Operation::In(vec!["x".into(), "y,z".into()]));
        assert_eq!(found[4].1.operation, Operation::Simple(S::Contains, "{p,\"q}\"}".into()));
        assert_eq!(found[5].1.operation, Operation::Quantifiable(Q::Equal, None, "v,(1)".into()));
        assert!(found[6].1.negated);
        let column_called_not = logic_list("(not.eq.5)").unwrap();
        assert!(matches!(&column_called_not[0], LogicTree::Leaf(filter) if filter.field.name == "not"));
    }

    #[test]
    fn broken_logic_trees_are_refused() {
        let deep = format!("{}a.eq.1{}", "(and".repeat(40), ")".repeat(40));
        for text in ["", "()", "(", "(a.eq.1", "a.eq.1", "(a.eq.1))", "(a.eq.1,)", "(and())", "(a.foo.1)", "(,)", &deep]
        {
            assert!(logic_list(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsers_never_panic(text in "[a-z.(){},\"\\\\ not>-]{0,60}|\\PC{0,40}") {
            let _ = condition(&text);
            let _ = logic_list(&text);
        }

        #[test]
        fn any_operand_survives_quoting_in_a_tree(value in "\\PC{0,30}") {
            let quoted = format!("(a.eq.\"{}\")", value.replace('\\', "\\\\").replace('"', "\\\""));
            let trees = logic_list(&quoted).unwrap();
            let LogicTree::Leaf(filter) = &trees[0] else { panic!() };
            proptest::prop_assert_eq!(
                &filter.condition.operation,
                &Operation::Quantifiable(Q::Equal, None, value)
            );
        }
    }
}
