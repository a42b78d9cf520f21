//! JSON request bodies with the API's rules (contract 01 §1.1). An object that names a key twice is refused: which of the
//! two counts would depend on who reads it.

use std::fmt;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, map::Entry};

use super::ApiError;

/// A JSON object as request body. A missing body counts as `{}`: several clients POST without one.
///
/// Errors: 413 `PAYLOAD_TOO_LARGE` over the route's limit, 415 `UNSUPPORTED_MEDIA_TYPE` for a body of another
/// type, 400 `INVALID_JSON` for text that is not JSON or names a key twice, 400 `INVALID_REQUEST` for JSON that is not an object,
/// 400 `VALIDATION_ERROR` for a field of the wrong type.
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or("").trim().to_ascii_lowercase())
            .map(|value| {
                let media_type = value.split(';').next().unwrap_or("").trim();
                media_type == "application/json" || media_type.ends_with("+json")
            });
        let body = read_body(request, state).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return parse(b"{}").map(Self);
        }
        if is_json == Some(false) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "Send the body as application/json.",
            ));
        }
        parse(&body).map(Self)
    }
}

/// The whole body, within the limit the route was given.
///
/// # Errors
/// 413 `PAYLOAD_TOO_LARGE`; 400 `INVALID_REQUEST` when the connection breaks off.
pub async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "PAYLOAD_TOO_LARGE",
                "The body is larger than this route accepts.",
            )
        } else {
            ApiError::bad_request("INVALID_REQUEST", "The body could not be read to its end.")
        }
    })
}

/// Parses a JSON object.
///
/// # Errors
/// As for [`ApiJson`].
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let value = read(body)
        .map_err(|error| ApiError::bad_request("INVALID_JSON", format!("The body is not valid JSON: {error}.")))?;
    if !value.is_object() {
        return Err(ApiError::bad_request("INVALID_REQUEST", "The body must be a JSON object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        ApiError::validation(&field, format!("{field} does not have the expected form: {}.", error.inner()))
    })
}

/// Reads JSON in which no object names a key twice.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).map(|Unambiguous(value)| value)
}

struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

/// Longest part of a key that a message repeats, in characters.
const SHOWN_KEY: usize = 100;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            match object.entry(key) {
                Entry::Vacant(place) => {
                    let Unambiguous(value) = fields.next_value()?;
                    place.insert(value);
                }
                Entry::Occupied(place) => {
                    let shown: String = place.key().chars().take(SHOWN_KEY).collect();
                    return Err(A::Error::custom(format!("the key {shown:?} is named twice in one object")));
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[expect(dead_code, reason = "only its type matters")]
        name: Option<String>,
    }

    #[test]
    fn each_mistake_has_its_code() {
        let cases: [(&[u8], &str); 6] = [
            (b"{\"name\":", "INVALID_JSON"),
            (b"{\"name\":\"a\",\"name\":\"b\"}", "INVALID_JSON"),
            (b"{\"name\":null,\"n\\u0061me\":null}", "INVALID_JSON"),
            (b"\xff", "INVALID_JSON"),
            (b"[]", "INVALID_REQUEST"),
            (b"{\"name\":7}", "VALIDATION_ERROR"),
        ];
        for (body, code) in cases {
            assert_eq!(parse::<Body>(body).unwrap_err().code(), code);
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let body = parse::<Body>(b"{\"name\":7}").unwrap_err().body("trc_1", false);
        assert_eq!(body["details"]["field"], "name");
    }

    #[test]
    fn values_are_what_any_reader_makes_of_them() {
        let text = r#"{"a":[1,-2,3.5,1e400,true,null,"\u00fc\n"],"b":{"a":{}},"A":18446744073709551615}"#;
        let finite = text.replace("1e400", "1e30");
        assert_eq!(read(finite.as_bytes()).unwrap(), serde_json::from_str::<Value>(&finite).unwrap());
        assert!(read(text.as_bytes()).is_err());
        assert!(read("[".repeat(100_000).as_bytes()).is_err(), "depth has a limit");
        let error = read(br#"{"x":{"k":1,"k":1}}"#).unwrap_err().to_string();
        assert!(error.contains(r#"the key "k" is named twice"#), "{error}");
    }
}
