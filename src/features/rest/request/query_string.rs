//! From the query string to typed parameters (contract 02 §7.4).

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    filter::{self, Condition, Connective, Filter, LogicTree},
    grammar::{self, Cursor, Field, MAX_DEPTH, Parsed},
    range::{self, Limits},
    select::{self, OrderTerm, SelectItem},
};
use crate::features::rest::error::NativeError;

/// Which embed a parameter belongs to: names from the root downwards; empty is the root.
pub type EmbedPath = Vec<String>;

/// The parsed query string of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryParameters {
    /// None when `select` was not sent: the default, which custom media handlers ask about.
    pub select: Option<Vec<SelectItem>>,
    /// Filters and logic trees, all joined by AND at their level.
    pub filters: Vec<(EmbedPath, LogicTree)>,
    pub order: Vec<(EmbedPath, Vec<OrderTerm>)>,
    pub limits: Vec<(EmbedPath, Limits)>,
    pub columns: Option<Vec<String>>,
    pub on_conflict: Option<Vec<String>>,
    /// Everything that was not an operator expression: arguments of a function called with GET.
    pub arguments: Vec<(String, String)>,
    /// The parameters sorted by key and encoded again, for `Content-Location`.
    pub canonical: String,
}

/// What a filter that does not parse means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// An error.
    Relation,
    /// An argument of the function (GET, HEAD).
    FunctionArguments,
}

impl QueryParameters {
    /// # Errors
    /// PGRST100 for anything outside the grammar, PGRST103 for a negative limit.
    pub fn parse(query: &str, dialect: Dialect) -> Result<Self, NativeError> {
        let pairs: Vec<(String, String)> =
            query.split('&').filter(|part| part.contains('=')).flat_map(|part| form_pairs(part.as_bytes())).collect();
        let mut parameters = Self { canonical: canonical(&pairs), ..Self::default() };
        for (key, value) in &pairs {
            parameters.add(key, value, dialect)?;
        }
        Ok(parameters)
    }

    fn add(&mut self, key: &str, value: &str, dialect: Dialect) -> Result<(), NativeError> {
        match Key::classify(key) {
            Key::Select if self.select.is_none() => {
                let items = select::select(value).map_err(|failure| failure.explain("select parameter", value))?;
                self.select = Some(items);
            }
            Key::Columns if self.columns.is_none() => {
                self.columns = Some(names(value).map_err(|failure| failure.explain("columns parameter", value))?);
            }
            Key::OnConflict if self.on_conflict.is_none() => {
                let columns = names(value).map_err(|failure| failure.explain("on_conflict parameter", value))?;
                self.on_conflict = Some(columns);
            }
            Key::Select | Key::Columns | Key::OnConflict => {}
            Key::Order(path) => {
                let path = embed_path(path)?;
                let terms = select::order(value).map_err(|failure| failure.explain("order", value))?;
                match self.order.iter_mut().find(|(known, _)| *known == path) {
                    // `db().order().order()` sends one parameter per call and means both (02 §7.2).
                    Some((_, known)) => known.extend(terms),
                    None => self.order.push((path, terms)),
                }
            }
            Key::Limit(path) => {
                let path = embed_path(path)?;
                if let Ok(limit) = value.trim().parse::<i64>() {
                    self.limits_of(path).limit = Some(range::checked_limit(limit)?);
                }
            }
            Key::Offset(path) => {
                let path = embed_path(path)?;
                if let Ok(offset) = value.trim().parse::<i64>() {
                    self.limits_of(path).offset = range::checked_offset(offset)?;
                }
            }
            Key::Logic { path, negated, connective } => {
                let path = embed_path(path)?;
                let children = filter::logic_list(value).map_err(|failure| {
                    let word = if connective == Connective::And { "and" } else { "or" };
                    failure.explain("logic tree", &format!("{word}{value}"))
                })?;
                self.filters.push((path, LogicTree::Node { negated, connective, children }));
            }
            Key::Other => self.add_filter_or_argument(key, value, dialect)?,
        }
        Ok(())
    }

    fn add_filter_or_argument(&mut self, key: &str, value: &str, dialect: Dialect) -> Result<(), NativeError> {
        match filter::condition(value) {
            Err(_) if dialect == Dialect::FunctionArguments => {
                self.arguments.push((key.to_owned(), value.to_owned()));
                Ok(())
            }
            Err(failure) => {
                tree_path(key)?;
                Err(failure.explain("filter", value))
            }
            Ok(condition) => self.add_filter(key, condition),
        }
    }

    fn add_filter(&mut self, key: &str, condition: Condition) -> Result<(), NativeError> {
        let (path, field) = tree_path(key)?;
        self.filters.push((path, LogicTree::Leaf(Filter { field, condition })));
        Ok(())
    }

    fn limits_of(&mut self, path: EmbedPath) -> &mut Limits {
        let index = match self.limits.iter().position(|(known, _)| *known == path) {
            Some(index) => index,
            None => {
                self.limits.push((path, Limits::default()));
                self.limits.len() - 1
            }
        };
        &mut self.limits[index].1
    }

    /// The limits of the root.
    pub fn root_limits(&self) -> Limits {
        self.limits.iter().find(|(path, _)| path.is_empty()).map(|(_, limits)| *limits).unwrap_or_default()
    }
}

/// Decodes `a=b&c=d` with `+` as space and percent escapes. Also used for form bodies.
pub fn form_pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

enum Key<'a> {
    Select,
    Columns,
    OnConflict,
    Order(&'a str),
    Limit(&'a str),
    Offset(&'a str),
    Logic { path: &'a str, negated: bool, connective: Connective },
    Other,
}

impl<'a> Key<'a> {
    fn classify(key: &'a str) -> Self {
        match key {
            "select" => return Self::Select,
            "columns" => return Self::Columns,
            "on_conflict" => return Self::OnConflict,
            _ => {}
        }
        if let Some(path) = strip_last(key, "order") {
            return Self::Order(path);
        }
        if let Some(path) = strip_last(key, "limit") {
            return Self::Limit(path);
        }
        if let Some(path) = strip_last(key, "offset") {
            return Self::Offset(path);
        }
        for (word, connective) in [("and", Connective::And), ("or", Connective::Or)] {
            if let Some(path) = strip_last(key, word) {
                return match strip_last(path, "not") {
                    Some(path) => Self::Logic { path, negated: true, connective },
                    None => Self::Logic { path, negated: false, connective },
                };
            }
        }
        Self::Other
    }
}

/// What stands before the last dotted segment when that segment is `word`.
fn strip_last<'a>(key: &'a str, word: &str) -> Option<&'a str> {
    let before = key.strip_suffix(word)?;
    if before.is_empty() { Some(before) } else { before.strip_suffix('.').filter(|path| !path.is_empty()) }
}

fn embed_path(text: &str) -> Result<EmbedPath, NativeError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut cursor = Cursor::new(text);
    let parsed = dotted(&mut cursor).and_then(|path| cursor.expect_end("\".\" or end of input").map(|()| path));
    parsed.map_err(|failure| failure.explain("tree path", text))
}

fn dotted(cursor: &mut Cursor) -> Parsed<EmbedPath> {
    let mut path = vec![grammar::name(cursor)?];
    while cursor.eat(".") {
        if path.len() == MAX_DEPTH {
            return cursor.fail("a shorter path");
        }
        path.push(grammar::name(cursor)?);
    }
    Ok(path)
}

/// `[embed.[embed.]]column[->path]`
fn tree_path(text: &str) -> Result<(EmbedPath, Field), NativeError> {
    let mut cursor = Cursor::new(text);
    let mut parse = || {
        let mut path = dotted(&mut cursor)?;
        let json_path = grammar::json_path(&mut cursor)?;
        cursor.expect_end("\".\", \"->\" or end of input")?;
        let name = path.pop().unwrap_or_default();
        Ok((path, Field { name, path: json_path }))
    };
    parse().map_err(|failure: grammar::Failure| failure.explain("tree path", text))
}

fn names(text: &str) -> Parsed<Vec<String>> {
    grammar::name_list(&mut Cursor::new(text))
}

/// Characters that may not stand for themselves in the value of a query (RFC 3986 §3.4, plus `&`, `+` and
/// `=` that mean something in forms; `=` only matters in keys but is escaped in both).
const QUERY_ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

fn canonical(pairs: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let encoded: Vec<String> = sorted
        .iter()
        .map(|(key, value)| {
            format!("{}={}", utf8_percent_encode(key, QUERY_ESCAPED), utf8_percent_encode(value, QUERY_ESCAPED))
        })
        .collect();
    encoded.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> QueryParameters {
        QueryParameters::parse(query, Dialect::Relation).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    fn code(query: &str) -> String {
        QueryParameters::parse(query, Dialect::Relation).unwrap_err().code.to_string()
    }

    #[test]
    fn keys_are_told_apart_by_their_last_segment() {
        let parsed = parse(
            "select=id&a.b.order=x&b.limit=3&limit=5&limit=7&offset=2&rel.not.or=(a.eq.1)&and=(b.eq.1)&rel.col->>k=eq.x&noise",
        );
        assert!(parsed.select.is_some());
        assert_eq!(parsed.order[0].0, ["a", "b"]);
        assert_eq!(parsed.root_limits(), Limits { limit: Some(7), offset: 2 });
        assert_eq!(parsed.limits[0].0, ["b"]);
        assert_eq!(parsed.filters.len(), 3);
        assert_eq!(parsed.filters[0].0, ["rel"]);
        assert!(matches!(parsed.filters[0].1, LogicTree::Node { negated: true, connective: Connective::Or, .. }));
        let (path, LogicTree::Leaf(leaf)) = &parsed.filters[2] else { panic!() };
        assert_eq!((path.as_slice(), leaf.field.name.as_str()), (["rel".to_owned()].as_slice(), "col"));
    }

    #[test]
    fn several_orders_of_one_level_are_concatenated() {
        let parsed = parse("order=kind.asc&order=id.desc");
        assert_eq!(parsed.order.len(), 1);
        assert_eq!(parsed.order[0].1.len(), 2);
    }

    #[test]
    fn the_first_of_each_reserved_parameter_counts() {
        let parsed = parse("select=a&select=b,c&columns=\"x\",y&columns=z&on_conflict=k");
        assert_eq!(parsed.select.unwrap().len(), 1);
        assert_eq!(parsed.columns.unwrap(), ["x", "y"]);
        assert_eq!(parsed.on_conflict.unwrap(), ["k"]);
    }

    #[test]
    fn text_is_decoded_and_limits_that_are_no_numbers_are_ignored() {
        let parsed = parse("na%20me=eq.a+b%26c&limit=abc&offset=");
        let LogicTree::Leaf(leaf) = &parsed.filters[0].1 else { panic!() };
        assert_eq!(leaf.field.name, "na me");
        assert_eq!(parsed.root_limits(), Limits::default());
        assert_eq!(parsed.canonical, "limit=abc&na%20me=eq.a%20b%26c&offset=");
    }

    #[test]
    fn errors_carry_their_code() {
        for (query, expected) in [
            ("id=foo.1", "PGRST100"),
            ("id=1", "PGRST100"),
            ("a..b=eq.1", "PGRST100"),
            ("order=a.up", "PGRST100"),
            ("select=a(", "PGRST100"),
            ("or=()", "PGRST100"),
            ("columns=,", "PGRST100"),
            ("on_conflict=a b c,(", "PGRST100"),
            (".order=a", "PGRST100"),
            ("limit=-1", "PGRST103"),
            ("rel.limit=-1", "PGRST103"),
        ] {
            assert_eq!(code(query), expected, "{query}");
        }
    }

    #[test]
    fn on_get_calls_only_operator_expressions_are_filters() {
        let parsed = QueryParameters::parse("a=1&b=eq.2&c={1,2}&d=in.x", Dialect::FunctionArguments).unwrap();
        assert_eq!(parsed.filters.len(), 1);
        let keys: Vec<_> = parsed.arguments.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "c", "d"]);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(query in "[a-c.(){},=&%+\"-]{0,60}|\\PC{0,40}") {
            let _ = QueryParameters::parse(&query, Dialect::Relation);
            let _ = QueryParameters::parse(&query, Dialect::FunctionArguments);
        }

        #[test]
        fn the_canonical_form_means_the_same(value in "\\PC{0,20}") {
            let query = format!("b=eq.{}&a=eq.1", utf8_percent_encode(&value, QUERY_ESCAPED));
            let once = parse(&query);
            let twice = parse(&once.canonical);
            proptest::prop_assert_eq!(&once.canonical, &twice.canonical);
            proptest::prop_assert!(once.filters.iter().all(|filter| twice.filters.contains(filter)));
        }
    }
}
