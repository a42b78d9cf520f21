//! Turns JSON parameters into text forms and SQL literals (contract 02 §4.3).
//!
//! Every parameter travels as text of unknown type, so the server infers the type from its place, as it does for
//! the Node driver.

use std::error::Error;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// A parameter holds a NUL character, which Postgres cannot store in a text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a parameter holds a NUL character")]
pub struct NulInParameter;

/// The text form of one parameter, `None` for NULL. A JSON array becomes an array literal, except for a `json` or
/// `jsonb` parameter, where an array literal could never be right and JSON text always is.
///
/// # Errors
/// [`NulInParameter`].
pub fn text_form(value: &Value, kind: &Type) -> Result<Option<String>, NulInParameter> {
    let is_json = *kind == Type::JSON || *kind == Type::JSONB;
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Array(items) if !is_json => array_literal(items),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.contains('\0') { Err(NulInParameter) } else { Ok(Some(text)) }
}

/// A text form as an SQL literal.
pub fn literal(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".into(), quote)
}

/// A text form on its way into a bound parameter: sent as text, whatever the parameter's type.
#[derive(Debug)]
pub struct BoundText(pub Option<String>);

impl ToSql for BoundText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
fn quote(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// `{1,"a",NULL,{2}}` (PostgreSQL manual §8.15.2). Objects become their JSON text.
fn array_literal(items: &[Value]) -> String {
    let elements: Vec<String> = items
        .iter()
        .map(|item| match item {
            Value::Null => "NULL".into(),
            Value::Array(items) => array_literal(items),
            Value::String(text) => array_element(text),
            Value::Bool(_) | Value::Number(_) => item.to_string(),
            Value::Object(_) => array_element(&item.to_string()),
        })
        .collect();
    format!("{{{}}}", elements.join(","))
}

fn array_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::sql::lexer::{Lexer, TokenKind};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn parameters_become_quoted_literals() {
        let cases = [
            (json!(null), "NULL"),
            (json!(7), "'7'"),
            (json!(-1.5), "'-1.5'"),
            (json!(true), "'true'"),
            (json!("it's"), "'it''s'"),
            (json!("a\\'b"), "E'a\\\\''b'"),
            (json!([]), "'{}'"),
            (json!([1, null, [true], "a\"b"]), "E'{1,NULL,{true},\"a\\\\\"b\"}'"),
            (json!({"k": "it's"}), r#"'{"k":"it''s"}'"#),
            (json!([{"k": 1}]), r#"E'{"{\\"k\\":1}"}'"#),
        ];
        for (value, expected) in cases {
            let text = text_form(&value, &Type::TEXT).unwrap();
            assert_eq!(literal(text.as_deref()), expected, "{value}");
        }
        let form = |value, kind| text_form(&value, &kind).unwrap().unwrap();
        assert_eq!(form(json!([1, "a"]), Type::JSONB), r#"[1,"a"]"#);
        assert_eq!(form(json!([1]), Type::INT4_ARRAY), "{1}");
    }

    #[test]
    fn nul_is_refused() {
        assert_eq!(text_form(&json!("a\0"), &Type::TEXT), Err(NulInParameter));
        assert_eq!(text_form(&json!(["a\0"]), &Type::TEXT), Err(NulInParameter));
    }

    proptest! {
        #[test]
        fn a_literal_is_one_string_token(text in any::<String>()) {
            prop_assume!(!text.contains('\0'));
            let literal = quote(&text);
            let mut lexer = Lexer::new(&literal);
            let token = lexer.next().unwrap();
            prop_assert!(matches!(token.kind, TokenKind::String | TokenKind::EscapeString));
            prop_assert_eq!(token.end, literal.len());
            prop_assert_eq!(lexer.text_of(token).unwrap().into_owned(), text);
        }
    }
}
