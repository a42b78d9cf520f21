//! The `select` tree and the `order` list (contract 02 §7.6-7.8).

use super::grammar::{self, Cursor, Field, MAX_DEPTH, MAX_ITEMS, Parsed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Avg,
    Max,
    Min,
    Count,
}

impl Aggregate {
    /// The SQL function and the key in the result.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Min => "min",
            Self::Count => "count",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Sum, Self::Avg, Self::Max, Self::Min, Self::Count].into_iter().find(|one| one.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
}

/// A selected column or aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectField {
    pub alias: Option<String>,
    /// None is the bare `count()`.
    pub field: Option<Field>,
    /// Cast of the column, before any aggregation.
    pub cast: Option<String>,
    pub aggregate: Option<Aggregate>,
    pub aggregate_cast: Option<String>,
}

/// An embedded relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectEmbed {
    pub alias: Option<String>,
    pub target: String,
    pub hint: Option<String>,
    pub join: Option<JoinKind>,
    /// `...rel(…)`: lift the columns into the parent.
    pub spread: bool,
    pub items: Vec<SelectItem>,
}

impl SelectEmbed {
    /// The key in the result, and the prefix of the embed's own filters, order and limits.
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.target)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectItem {
    Star,
    Field(SelectField),
    Embed(SelectEmbed),
}

/// Parses a whole `select` value; empty text gives no items.
pub fn select(text: &str) -> Parsed<Vec<SelectItem>> {
    let mut cursor = Cursor::new(text);
    cursor.skip_spaces();
    if cursor.at_end() {
        return Ok(Vec::new());
    }
    let items = items(&mut cursor, 1)?;
    cursor.expect_end("\",\" or end of input")?;
    Ok(items)
}

fn items(cursor: &mut Cursor, depth: usize) -> Parsed<Vec<SelectItem>> {
    let mut items = Vec::new();
    loop {
        cursor.skip_spaces();
        items.push(item(cursor, depth)?);
        cursor.skip_spaces();
        if !cursor.eat(",") {
            return Ok(items);
        }
        if items.len() == MAX_ITEMS {
            return cursor.fail("a shorter list");
        }
    }
}

fn item(cursor: &mut Cursor, depth: usize) -> Parsed<SelectItem> {
    if cursor.eat("*") {
        return Ok(SelectItem::Star);
    }
    if cursor.eat("...") {
        let target = grammar::name(cursor)?;
        return embed(cursor, depth, None, target, true);
    }
    let alias = cursor.attempt(alias).ok();
    let start = cursor.clone();
    let name = grammar::name(cursor)?;
    if name == "count" && cursor.eat("()") {
        let aggregate_cast = cast(cursor)?;
        let aggregate = Some(Aggregate::Count);
        return Ok(SelectItem::Field(SelectField { alias, field: None, cast: None, aggregate, aggregate_cast }));
    }
    if matches!(cursor.peek(), Some('(' | '!')) {
        return embed(cursor, depth, alias, name, false);
    }
    *cursor = start;
    let field = Some(grammar::field(cursor)?);
    let cast_before = cast(cursor)?;
    let aggregate = aggregate(cursor)?;
    let aggregate_cast = if aggregate.is_some() { cast(cursor)? } else { None };
    Ok(SelectItem::Field(SelectField { alias, field, cast: cast_before, aggregate, aggregate_cast }))
}

/// `alias:` where the colon does not begin a cast.
fn alias(cursor: &mut Cursor) -> Parsed<String> {
    let alias = grammar::name(cursor)?;
    cursor.expect(":", "\":\"")?;
    if cursor.peek() == Some(':') { cursor.fail("field name") } else { Ok(alias) }
}

/// `::type`. The alphabet has neither quotes nor parentheses, so the text cannot leave its `CAST( AS )`.
fn cast(cursor: &mut Cursor) -> Parsed<Option<String>> {
    if !cursor.eat("::") {
        return Ok(None);
    }
    let start = cursor.clone();
    let name = cursor.take_while(grammar::is_identifier_char).trim();
    // A `$` at the head of a word would be read by Postgres as a parameter or the start of a dollar quote.
    if name.is_empty() || name.split(' ').any(|word| word.starts_with('$')) {
        return start.fail("type name ([a..z0..9_$ ])");
    }
    Ok(Some(name.to_owned()))
}

fn aggregate(cursor: &mut Cursor) -> Parsed<Option<Aggregate>> {
    if !cursor.eat(".") {
        return Ok(None);
    }
    let start = cursor.clone();
    let word = cursor.take_while(|c| c.is_ascii_lowercase());
    match Aggregate::from_name(word) {
        Some(aggregate) if cursor.eat("()") => Ok(Some(aggregate)),
        _ => start.fail("aggregate function (sum(), avg(), max(), min(), count())"),
    }
}

fn embed(cursor: &mut Cursor, depth: usize, alias: Option<String>, target: String, spread: bool) -> Parsed<SelectItem> {
    if depth >= MAX_DEPTH {
        return cursor.fail("a less deeply nested select");
    }
    let (mut hint, mut join) = (None, None);
    while cursor.eat("!") {
        let start = cursor.clone();
        match (grammar::name(cursor)?.as_str(), &hint, &join) {
            ("inner", _, None) => join = Some(JoinKind::Inner),
            ("left", _, None) => join = Some(JoinKind::Left),
            (name, None, _) => hint = Some(name.to_owned()),
            _ => return start.fail("at most one hint and one join type"),
        }
    }
    cursor.expect("(", "\"(\"")?;
    cursor.skip_spaces();
    let items = if cursor.peek() == Some(')') { Vec::new() } else { items(cursor, depth + 1)? };
    cursor.expect(")", "\",\" or \")\"")?;
    Ok(SelectItem::Embed(SelectEmbed { alias, target, hint, join, spread, items }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    First,
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTerm {
    /// `rel(col)`: order by a column of a to-one embed.
    pub relation: Option<String>,
    pub field: Field,
    pub direction: Option<Direction>,
    pub nulls: Option<Nulls>,
}

/// `a.desc.nullslast,b,rel(c).asc`
pub fn order(text: &str) -> Parsed<Vec<OrderTerm>> {
    let mut cursor = Cursor::new(text);
    let mut terms = Vec::new();
    loop {
        cursor.skip_spaces();
        terms.push(order_term(&mut cursor)?);
        cursor.skip_spaces();
        if cursor.at_end() {
            return Ok(terms);
        }
        cursor.expect(",", "\",\" or end of input")?;
        if terms.len() == MAX_ITEMS {
            return cursor.fail("a shorter list");
        }
    }
}

fn order_term(cursor: &mut Cursor) -> Parsed<OrderTerm> {
    let first = grammar::field(cursor)?;
    let (relation, field) = if first.path.is_empty() && cursor.eat("(") {
        let field = grammar::field(cursor)?;
        cursor.expect(")", "\")\"")?;
        (Some(first.name), field)
    } else {
        (None, first)
    };
    let direction = if cursor.eat(".asc") {
        Some(Direction::Ascending)
    } else if cursor.eat(".desc") {
        Some(Direction::Descending)
    } else {
        None
    };
    let nulls = if cursor.eat(".nullsfirst") {
        Some(Nulls::First)
    } else if cursor.eat(".nullslast") {
        Some(Nulls::Last)
    } else {
        None
    };
    let mut ahead = cursor.clone();
    ahead.skip_spaces();
    if ahead.at_end() || ahead.peek() == Some(',') {
        Ok(OrderTerm { relation, field, direction, nulls })
    } else {
        cursor.fail("\".asc\", \".desc\", \".nullsfirst\", \".nullslast\" or \",\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the tree back in one canonical spelling, so that tables stay readable.
    fn show(items: &[SelectItem]) -> String {
        items.iter().map(show_item).collect::<Vec<_>>().join(",")
    }

    fn show_item(item: &SelectItem) -> String {
        match item {
            SelectItem::Star => "*".into(),
            SelectItem::Field(field) => {
                let mut out = field.alias.as_ref().map(|alias| format!("{alias}:")).unwrap_or_default();
                if let Some(source) = &field.field {
                    out += &source.name;
                    out += &"/".repeat(source.path.len());
                }
                if let Some(cast) = &field.cast {
                    out += &format!("::{cast}");
                }
                if let Some(aggregate) = field.aggregate {
                    out += &format!(".{}()", aggregate.name());
                }
                if let Some(cast) = &field.aggregate_cast {
                    out += &format!("::{cast}");
                }
                out
            }
            SelectItem::Embed(embed) => format!(
                "{}{}{}{}{}({})",
                if embed.spread { "..." } else { "" },
                embed.alias.as_ref().map(|alias| format!("{alias}:")).unwrap_or_default(),
                embed.target,
                embed.hint.as_ref().map(|hint| format!("!{hint}")).unwrap_or_default(),
                match embed.join {
                    Some(JoinKind::Inner) => "!inner",
                    Some(JoinKind::Left) => "!left",
                    None => "",
                },
                show(&embed.items)
            ),
        }
    }

    #[test]
    fn selects_parse() {
        for (text, expected) in [
            ("", ""),
            (" ", ""),
            ("*", "*"),
            ("id,name", "id,name"),
            (" id , name ", "id,name"),
            ("a:id,name::text", "a:id,name::text"),
            ("data->k,b:data->>k->0", "data/,b:data//"),
            ("a:data->x::int", "a:data/::int"),
            ("id::double precision", "id::double precision"),
            ("count()", ".count()"),
            ("n:count()::text", "n:.count()::text"),
            ("n.sum()", "n.sum()"),
            ("t:n::numeric.sum()::text", "t:n::numeric.sum()::text"),
            ("count", "count"),
            ("id,rel(*)", "id,rel(*)"),
            ("rel()", "rel()"),
            ("a:rel!hint!inner(id,x(y))", "a:rel!hint!inner(id,x(y))"),
            ("rel!inner!hint(id)", "rel!hint!inner(id)"),
            ("rel!left( id , b )", "rel!left(id,b)"),
            ("...rel(a,b:c)", "...rel(a,b:c)"),
            ("rel(count())", "rel(.count())"),
            ("\"a,b\",\"x y\":\"c.d\"", "a,b,x y:c.d"),
            ("a:b::c.max()", "a:b::c.max()"),
        ] {
            match select(text) {
                Ok(items) => assert_eq!(show(&items), expected, "{text}"),
                Err(failure) => panic!("{text}: {failure:?}"),
            }
        }
    }

    #[test]
    fn broken_selects_are_refused() {
        let deep = format!("{}*{}", "a(".repeat(40), ")".repeat(40));
        for text in [
            ",",
            "a,",
            ",a",
            "rel(",
            "rel(a",
            "rel(a))",
            "rel!(a)",
            "rel!a!b(c)",
            "a::",
            "a::int[]",
            "a::$$x",
            "a::text $1",
            "a.foo()",
            "a.sum",
            "...rel",
            "a b(c",
            "*a",
            "a:",
            "a::(b)",
            &deep,
        ] {
            assert!(select(text).is_err(), "{text}");
        }
    }

    #[test]
    fn order_terms_parse() {
        let terms = order("a.desc.nullslast, b ,data->>k.asc,c.nullsfirst,rel(col).desc").unwrap();
        assert_eq!(terms.len(), 5);
        assert_eq!((terms[0].direction, terms[0].nulls), (Some(Direction::Descending), Some(Nulls::Last)));
        assert_eq!((terms[1].direction, terms[1].nulls), (None, None));
        assert_eq!(terms[2].field.path.len(), 1);
        assert_eq!((terms[3].direction, terms[3].nulls), (None, Some(Nulls::First)));
        assert_eq!(terms[4].relation.as_deref(), Some("rel"));
        for text in ["", "a.", "a.up", "a.asc.desc", "a.nullslast.asc", "a,,b", "rel(a", "rel()", "a.asc nulls"] {
            assert!(order(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsers_never_panic(text in "[a-c.(){},:!*\" >-]{0,60}|\\PC{0,40}") {
            let _ = select(&text);
            let _ = order(&text);
        }
    }
}
