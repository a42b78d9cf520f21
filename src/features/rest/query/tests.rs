//! What may and may not be in the text of a statement.

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{MainQuery, render};
use crate::features::rest::{
    error::NativeError,
    plan::{Plan, PlanSettings, plan},
    request::{ApiRequest, HttpRequest, Target},
    schema_cache::{
        Column, Function, Link, Parameter, Relation, Relationship, Returns, SchemaCache, TypeShape, Uses, Volatility,
    },
};

fn cache() -> SchemaCache {
    let column = |name: &str, shape| Column {
        name: name.into(),
        type_name: "integer".into(),
        base_type: "integer".into(),
        shape,
        nullable: true,
        default: Some("nextval('public.s'::regclass)".into()),
        always_generated: false,
        max_length: None,
        enum_labels: Vec::new(),
        comment: None,
    };
    let relation = |name: &str| Relation {
        name: name.into(),
        is_view: false,
        columns: vec![
            column("id", TypeShape::Other),
            column("data", TypeShape::Json),
            column("b_id", TypeShape::Other),
        ],
        primary_key: vec!["id".into()],
        insertable: true,
        updatable: true,
        deletable: true,
        user_code: Uses::default(),
        looks_beyond_caller: Uses::default(),
        comment: None,
    };
    let relationship = Relationship {
        origin: "a".into(),
        target: "b".into(),
        through_view: false,
        link: Link::ManyToOne { constraint: "fk".into(), columns: vec![("b_id".into(), "id".into())] },
    };
    let function = Function {
        name: "f".into(),
        parameters: vec![Parameter { name: "x".into(), type_name: "text".into(), required: true, variadic: false }],
        returns: Returns::Row { relation: Some("a".into()) },
        returns_set: true,
        volatility: Volatility::Stable,
        media_type: None,
        comment: None,
    };
    SchemaCache::new(vec![relation("a"), relation("b")], vec![relationship], vec![function])
}

fn rendered(line: &str, prefer: &str, body: &str) -> Result<MainQuery, NativeError> {
    let (method, uri) = line.split_once(' ').unwrap();
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut headers = HeaderMap::new();
    headers.insert("prefer", prefer.parse().unwrap());
    let target = Target::parse(path)?;
    let request = ApiRequest::parse(HttpRequest {
        method: &method.parse::<Method>().unwrap(),
        target: &target,
        query,
        headers: &headers,
        body: &Bytes::from(body.to_owned()),
        schema_label: "p0001",
    })?;
    let settings = PlanSettings { aggregates: true, max_rows: None, explain: true };
    match plan(&request, &cache(), settings)? {
        Plan::Statement(plan) => Ok(render(&plan)),
        other => panic!("not a statement: {other:?}"),
    }
}

fn text(line: &str) -> String {
    rendered(line, "", "").unwrap_or_else(|error| panic!("{line}: {error}")).sql.text
}

/// The text without its quoted identifiers.
fn outside_quotes(text: &str) -> String {
    let mut outside = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            outside.push(c);
            continue;
        }
        loop {
            match chars.next() {
                Some('"') if chars.peek() == Some(&'"') => {
                    chars.next();
                }
                Some('"') => break,
                Some(_) => {}
                None => panic!("an identifier is not closed: {text}"),
            }
        }
    }
    outside
}

#[test]
fn equal_requests_but_for_operands_have_equal_texts() {
    for (one, other) in [
        ("GET /a?id=eq.1", "GET /a?id=eq.x'y"),
        ("GET /a?id=in.(1,2)", "GET /a?id=in.(3,4,5,6)"),
        ("GET /a?id=in.()", "GET /a?id=in.(1)"),
        ("GET /a?limit=5&offset=2", "GET /a?limit=5&offset=20"),
        ("GET /a?or=(id.eq.1,id.like.*x)", "GET /a?or=(id.eq.2,id.like.%25)"),
        ("GET /a?data->>k=eq.1", "GET /a?data->>other=eq.2"),
        ("GET /a?id=fts(english).cat", "GET /a?id=fts(german).dog"),
        ("GET /rpc/f?x=1", "GET /rpc/f?x=2"),
        ("DELETE /a?id=eq.1", "DELETE /a?id=eq.2"),
    ] {
        assert_eq!(text(one), text(other), "{one}");
    }
    let insert = |body| rendered("POST /a", "return=representation", body).unwrap().sql.text;
    assert_eq!(insert(r#"[{"id":1}]"#), insert(r#"[{"id":2},{"id":"'; drop"}]"#));
}

#[test]
fn a_plain_list_is_one_flat_select() {
    assert_eq!(
        text("GET /a?select=id&id=gt.1&order=id&limit=20"),
        "SELECT coalesce(json_agg(pgrst_row.*), '[]')::text, count(*), NULL::bigint, \
         nullif(current_setting('response.headers', true), ''), nullif(current_setting('response.status', true), '') \
         FROM (SELECT \"a\".\"id\" AS \"id\" FROM \"public\".\"a\" WHERE \"a\".\"id\" > $1 \
         ORDER BY \"a\".\"id\" LIMIT 20) AS pgrst_row"
    );
}

proptest::proptest! {
    /// The marker stands for whatever an attacker writes: it may only turn up quoted or among the operands.
    #[test]
    fn nothing_of_a_request_is_in_the_text_unquoted(noise in "[\"'\\\\\0;$*/-]{0,6}|\\PC{0,6}", place in 0_usize..14) {
        let marker = format!("zqx{noise}zqx");
        let quoted = format!("\"{}\"", marker.replace('\\', "\\\\").replace('"', "\\\""));
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (value, name) = (encode(&marker), encode(&quoted));
        let line = match place {
            0 => format!("GET /a?id=eq.{value}"),
            1 => format!("GET /a?id=in.({name},{value})"),
            2 => format!("GET /a?{name}=eq.1"),
            3 => format!("GET /a?select={name}:id,x:{name}"),
            4 => format!("GET /a?select=data-%3E{name},id"),
            5 => format!("GET /a?order={name}.desc"),
            6 => format!("GET /a?select=id,{name}:b!inner(id)&{name}.id=gt.{value}&order={name}(id)"),
            7 => format!("GET /a?or=(id.eq.{name},{name}.is.null)"),
            8 => format!("GET /a?id=fts(english).{value}"),
            9 => format!("GET /rpc/f?x={value}&{name}=eq.1"),
            10 => format!("DELETE /a?{name}=neq.{value}&select=id,...b({name})"),
            11 => format!("GET /a?select=id::{value}"),
            12 => format!("POST /a?on_conflict={name}"),
            _ => format!("GET /a?select=data-%3E%3E{name}.max(),...b({name}:id.sum())"),
        };
        let prefer = "return=representation, resolution=merge-duplicates, count=exact";
        let body = serde_json::json!([{"id": marker}]).to_string();
        if let Ok(query) = rendered(&line, prefer, &body) {
            let outside = outside_quotes(&query.sql.text);
            // A cast is text by design, of an alphabet that cannot leave its place.
            let cast = place == 11 && marker.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '$'));
            proptest::prop_assert!(cast || !outside.contains("zqx"), "{}", query.sql.text);
            proptest::prop_assert!(!query.sql.text.contains('\0'));
        }
    }
}
