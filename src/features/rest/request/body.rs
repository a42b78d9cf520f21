//! Request bodies (contract 02 §7.9, §7.10).
//!
//! JSON bodies are checked and their keys collected in one pass without building values: Postgres reads the
//! text itself. CSV and forms become JSON text so that the later stages know one kind of rows only.

use std::{collections::BTreeSet, fmt};

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::query_string::form_pairs;
use crate::features::rest::error::NativeError;

const INVALID_JSON: &str = "Empty or invalid json";
const UNEVEN_KEYS: &str = "All object keys must match";
const RAGGED_CSV: &str = "All lines must have same number of fields";

/// Rows to write, as JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    pub json: String,
    pub shape: Shape,
    /// Keys of the first row (all rows have the same unless `columns` was given).
    pub keys: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Array { length: usize },
}

/// What a function is called with.
#[derive(Clone, Debug, PartialEq)]
pub enum CallBody {
    /// `keys` is None when the JSON is not an object: it can only be a single unnamed argument.
    Json {
        json: String,
        keys: Option<BTreeSet<String>>,
    },
    Form(Vec<(String, String)>),
    Text(String),
    Xml(String),
    Binary(Bytes),
}

/// The content types bodies may have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ContentType {
    Json,
    Csv,
    Form,
    Text,
    Xml,
    Binary,
    Other(String),
}

impl ContentType {
    fn parse(header: Option<&str>) -> Self {
        let essence = header.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            ""
            | "application/json"
            | "*/*"
            | "application/vnd.pgrst.object+json"
            | "application/vnd.pgrst.array+json" => Self::Json,
            "text/csv" => Self::Csv,
            "application/x-www-form-urlencoded" => Self::Form,
            "text/plain" => Self::Text,
            "text/xml" => Self::Xml,
            "application/octet-stream" => Self::Binary,
            _ => Self::Other(essence),
        }
    }

    fn refused(&self) -> NativeError {
        let name = match self {
            Self::Text => "text/plain",
            Self::Xml => "text/xml",
            Self::Binary => "application/octet-stream",
            Self::Other(name) => name,
            Self::Json | Self::Csv | Self::Form => "",
        };
        NativeError::invalid_body(format!("Content-Type not acceptable: {name}"))
    }
}

impl Rows {
    /// `any_keys`: `columns` was given, so rows may differ in their keys.
    ///
    /// # Errors
    /// PGRST102 with the sentence that tells what is wrong with the body.
    pub fn parse(content_type: Option<&str>, body: &Bytes, any_keys: bool) -> Result<Self, NativeError> {
        match ContentType::parse(content_type) {
            ContentType::Json => Self::from_json(body, any_keys),
            ContentType::Csv => Self::from_csv(body),
            ContentType::Form => Ok(Self::from_form(body)),
            other => Err(other.refused()),
        }
    }

    fn from_json(body: &Bytes, any_keys: bool) -> Result<Self, NativeError> {
        let json = utf8(body)?;
        let outline = outline(&json)?;
        match outline {
            Outline::Object(keys) => Ok(Self { json, shape: Shape::Object, keys: keys.0 }),
            Outline::Array(array) if array.only_objects && (array.uniform || any_keys) => {
                let length = array.length;
                Ok(Self { json, shape: Shape::Array { length }, keys: array.first_keys })
            }
            Outline::Array(_) => Err(NativeError::invalid_body(UNEVEN_KEYS)),
            Outline::Scalar => Err(NativeError::invalid_body(INVALID_JSON)),
        }
    }

    fn from_csv(body: &Bytes) -> Result<Self, NativeError> {
        let text = utf8(body)?;
        let mut lines = csv_lines(&text)?.into_iter();
        let header: Vec<String> = lines.next().unwrap_or_default().into_iter().map(|field| field.text).collect();
        let mut rows = Vec::new();
        for line in lines {
            if line.len() != header.len() {
                return Err(NativeError::invalid_body(RAGGED_CSV));
            }
            let row: Map<String, Value> =
                header.iter().cloned().zip(line.into_iter().map(CsvField::into_json)).collect();
            rows.push(Value::Object(row));
        }
        let length = rows.len();
        Ok(Self {
            json: Value::Array(rows).to_string(),
            shape: Shape::Array { length },
            keys: header.into_iter().collect(),
        })
    }

    fn from_form(body: &Bytes) -> Self {
        let object: Map<String, Value> =
            form_pairs(body).into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        let keys = object.keys().cloned().collect();
        Self { json: Value::Object(object).to_string(), shape: Shape::Object, keys }
    }

    pub fn is_empty(&self) -> bool {
        self.shape == Shape::Array { length: 0 }
    }
}

impl CallBody {
    /// # Errors
    /// PGRST102.
    pub fn parse(content_type: Option<&str>, body: &Bytes) -> Result<Self, NativeError> {
        match ContentType::parse(content_type) {
            ContentType::Json if body.iter().all(u8::is_ascii_whitespace) => {
                Ok(Self::Json { json: "{}".into(), keys: Some(BTreeSet::new()) })
            }
            ContentType::Json => {
                let json = utf8(body)?;
                let keys = match outline(&json)? {
                    Outline::Object(keys) => Some(keys.0),
                    Outline::Array(_) | Outline::Scalar => None,
                };
                Ok(Self::Json { json, keys })
            }
            ContentType::Csv => {
                let rows = Rows::from_csv(body)?;
                let first: Vec<Value> =
                    serde_json::from_str(&rows.json).map_err(|error| NativeError::unexpected(&error.to_string()))?;
                let object = first.into_iter().next().unwrap_or_else(|| Value::Object(Map::new()));
                Ok(Self::Json { json: object.to_string(), keys: Some(rows.keys) })
            }
            ContentType::Form => Ok(Self::Form(form_pairs(body))),
            ContentType::Text => utf8(body).map(Self::Text),
            ContentType::Xml => utf8(body).map(Self::Xml),
            ContentType::Binary => Ok(Self::Binary(body.clone())),
            other @ ContentType::Other(_) => Err(other.refused()),
        }
    }
}

fn utf8(body: &Bytes) -> Result<String, NativeError> {
    String::from_utf8(body.to_vec()).map_err(|_| NativeError::invalid_body(INVALID_JSON))
}

fn outline(json: &str) -> Result<Outline, NativeError> {
    serde_json::from_str(json).map_err(|_| NativeError::invalid_body(INVALID_JSON))
}

/// The outermost structure of a JSON text.
enum Outline {
    Object(Keys),
    Array(ArrayOutline),
    Scalar,
}

struct Keys(BTreeSet<String>);

struct ArrayOutline {
    length: usize,
    only_objects: bool,
    uniform: bool,
    first_keys: BTreeSet<String>,
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            keys.insert(key);
        }
        Ok(Outline::Object(Keys(keys)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outline, A::Error> {
        let mut array = ArrayOutline { length: 0, only_objects: true, uniform: true, first_keys: BTreeSet::new() };
        while let Some(element) = seq.next_element::<Element>()? {
            match element.0 {
                Some(keys) if array.length == 0 => array.first_keys = keys,
                Some(keys) => array.uniform &= keys == array.first_keys,
                None => array.only_objects = false,
            }
            array.length += 1;
        }
        Ok(Outline::Array(array))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Outline, E> {
        Ok(Outline::Scalar)
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutlineVisitor)
    }
}

/// An array element: its keys when it is an object.
struct Element(Option<BTreeSet<String>>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                match OutlineVisitor.visit_map(map)? {
                    Outline::Object(keys) => Ok(Element(Some(keys.0))),
                    Outline::Array(_) | Outline::Scalar => Ok(Element(None)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_unit<E>(self) -> Result<Element, E> {
                Ok(Element(None))
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CsvField {
    text: String,
    quoted: bool,
}

impl CsvField {
    /// Only the bare word NULL is null; `"NULL"` is text.
    fn into_json(self) -> Value {
        if !self.quoted && self.text == "NULL" { Value::Null } else { Value::String(self.text) }
    }
}

/// RFC 4180 with LF or CRLF line ends; a final line end makes no empty line.
fn csv_lines(text: &str) -> Result<Vec<Vec<CsvField>>, NativeError> {
    let malformed = || NativeError::invalid_body("The CSV body has a quote that is not closed or not alone.");
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut field = CsvField::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if field.text.is_empty() && !field.quoted => {
                field.quoted = true;
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => {
                            chars.next();
                            field.text.push('"');
                        }
                        Some('"') => break,
                        Some(c) => field.text.push(c),
                        None => return Err(malformed()),
                    }
                }
                if !matches!(chars.peek(), None | Some(',' | '\n' | '\r')) {
                    return Err(malformed());
                }
            }
            ',' => line.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                line.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut line));
            }
            c => field.text.push(c),
        }
    }
    if field.quoted || !field.text.is_empty() || !line.is_empty() {
        line.push(field);
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(content_type: &str, body: &str, any_keys: bool) -> Result<Rows, String> {
        Rows::parse(Some(content_type), &Bytes::from(body.to_owned()), any_keys).map_err(|error| {
            assert_eq!(error.code, "PGRST102");
            error.message.clone()
        })
    }

    fn keys(rows: &Rows) -> String {
        rows.keys.iter().cloned().collect::<Vec<_>>().join(",")
    }

    #[test]
    fn json_bodies() {
        for (body, shape, expected) in [
            ("{\"b\":1,\"a\":[{}]}", Shape::Object, "a,b"),
            ("{}", Shape::Object, ""),
            ("[]", Shape::Array { length: 0 }, ""),
            ("[{},{}]", Shape::Array { length: 2 }, ""),
            (" [{\"a\":1},{\"a\":{\"x\":null}}] ", Shape::Array { length: 2 }, "a"),
        ] {
            let parsed = rows("application/json; charset=utf-8", body, false).unwrap();
            assert_eq!((parsed.shape, keys(&parsed).as_str()), (shape, expected), "{body}");
        }
        assert!(rows("", "[{\"a\":1},{\"b\":1}]", true).is_ok());
    }

    #[test]
    fn bad_bodies_say_what_is_wrong() {
        for (content_type, body, expected) in [
            ("", "", INVALID_JSON),
            ("", "{", INVALID_JSON),
            ("", "{}x", INVALID_JSON),
            ("", "5", INVALID_JSON),
            ("", "\"a\"", INVALID_JSON),
            ("", "null", INVALID_JSON),
            ("", "[{\"a\":1},{\"b\":1}]", UNEVEN_KEYS),
            ("", "[{\"a\":1},{\"a\":1,\"b\":1}]", UNEVEN_KEYS),
            ("", "[1,2]", UNEVEN_KEYS),
            ("text/csv", "a,b\n1", RAGGED_CSV),
            ("text/csv", "a,b\n1,2,3", RAGGED_CSV),
            ("image/png", "x", "Content-Type not acceptable: image/png"),
            ("text/plain", "x", "Content-Type not acceptable: text/plain"),
        ] {
            assert_eq!(rows(content_type, body, false).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn csv_becomes_json_rows() {
        let parsed = rows("text/csv", "a,\"b \"\"q\"\"\"\r\n1,NULL\n\"NULL\",\"x,\ny\"\n", false).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&parsed.json).unwrap(),
            serde_json::json!([{"a": "1", "b \"q\"": null}, {"a": "NULL", "b \"q\"": "x,\ny"}])
        );
        assert_eq!(rows("text/csv", "a,b\n", false).unwrap().shape, Shape::Array { length: 0 });
        assert!(rows("text/csv", "a\n\"open", false).is_err());
        assert!(rows("text/csv", "a\n\"x\"y", false).is_err());
    }

    #[test]
    fn forms_become_one_object() {
        let parsed = rows("application/x-www-form-urlencoded", "a=1+2&b=%C3%BC&c=", false).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&parsed.json).unwrap(),
            serde_json::json!({"a": "1 2", "b": "ü", "c": ""})
        );
    }

    #[test]
    fn calls_accept_any_json_and_raw_bodies() {
        let parse = |content_type: &str, body: &str| CallBody::parse(Some(content_type), &Bytes::from(body.to_owned()));
        assert!(
            matches!(parse("application/json", " ").unwrap(), CallBody::Json { keys: Some(keys), .. } if keys.is_empty())
        );
        assert!(matches!(parse("application/json", "[1]").unwrap(), CallBody::Json { keys: None, .. }));
        assert!(matches!(parse("text/plain", "hi").unwrap(), CallBody::Text(text) if text == "hi"));
        assert!(matches!(parse("application/octet-stream", "hi").unwrap(), CallBody::Binary(_)));
        let CallBody::Json { json, .. } = parse("text/csv", "a,b\n1,2\n3,4").unwrap() else { panic!() };
        assert_eq!(json, "{\"a\":\"1\",\"b\":\"2\"}");
        assert_eq!(parse("image/png", "x").unwrap_err().code, "PGRST102");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), text in "[\\[\\]{}:,\"a1 \n]{0,60}") {
            for content_type in ["application/json", "text/csv", "application/x-www-form-urlencoded"] {
                let _ = Rows::parse(Some(content_type), &Bytes::from(bytes.clone()), false);
                let _ = Rows::parse(Some(content_type), &Bytes::from(text.clone()), true);
                let _ = CallBody::parse(Some(content_type), &Bytes::from(text.clone()));
            }
        }

        #[test]
        fn csv_quoting_round_trips(a in "\\PC{1,10}", b in "[\\PC\n]{0,10}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let parsed = Rows::from_csv(&Bytes::from(format!("{}\n{}\n", quote(&a), quote(&b)))).unwrap();
            let value: Value = serde_json::from_str(&parsed.json).unwrap();
            proptest::prop_assert_eq!(value[0][&a].as_str(), Some(b.as_str()));
        }
    }
}
