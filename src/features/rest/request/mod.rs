//! First stage: what is asked, before anyone looks at the database (contract 02 §7.3-7.5, §7.8-7.12).
//!
//! Everything here is pure text work. A request that breaks a grammar, a method rule or a body rule ends in
//! this stage with a [`NativeError`]; an [`ApiRequest`] that leaves it is well formed, though it may name
//! things that do not exist.

pub mod body;
pub mod filter;
pub mod grammar;
pub mod media;
pub mod preferences;
pub mod query_string;
pub mod range;
pub mod select;

use std::collections::BTreeSet;

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use self::{
    body::{CallBody, Rows},
    media::MediaType,
    preferences::Preferences,
    query_string::{Dialect, QueryParameters},
    range::Limits,
};
use super::error::NativeError;

const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// What the path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Root,
    Relation(String),
    Function(String),
}

impl Target {
    /// The path after `/rest/v1/` or `/admin/v1/rest/`, still percent-encoded.
    ///
    /// # Errors
    /// 404 PGRST125 for a path of another shape.
    pub fn parse(path: &str) -> Result<Self, NativeError> {
        let invalid = || NativeError::new(StatusCode::NOT_FOUND, "PGRST125", "Invalid path specified in request URL");
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().map(String::from))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| invalid())?;
        match segments.as_slice() {
            [only] if only.is_empty() => Ok(Self::Root),
            // The SDK escapes its whole table argument, so `rpc%2Ff` means the function f.
            [only] => match only.strip_prefix("rpc/") {
                Some(function) if !function.is_empty() => Ok(Self::Function(function.to_owned())),
                _ => Ok(Self::Relation(only.clone())),
            },
            [first, function] if first == "rpc" && !function.is_empty() => Ok(Self::Function(function.clone())),
            _ => Err(invalid()),
        }
    }
}

/// How a function is called.
#[derive(Clone, Debug, PartialEq)]
pub enum CallInput {
    /// GET or HEAD: arguments in the query string.
    Query(Vec<(String, String)>),
    Body(CallBody),
}

/// A write to a relation.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    /// POST
    Insert(Rows),
    /// PATCH
    Update(Rows),
    /// PUT
    SingleUpsert(Rows),
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    ReadRoot,
    Read {
        relation: String,
    },
    Mutate {
        relation: String,
        mutation: Mutation,
    },
    Call {
        function: String,
        input: CallInput,
    },
    /// OPTIONS
    Describe(Target),
}

/// A well-formed request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiRequest {
    pub action: Action,
    /// HEAD: the same query, no body.
    pub headers_only: bool,
    pub query: QueryParameters,
    /// `limit`, `offset` and `Range` of the root together.
    pub range: Limits,
    pub preferences: Preferences,
    pub accept: Vec<MediaType>,
    /// A schema was named, so `Content-Profile` is echoed.
    pub profile: Option<String>,
}

/// The parts of an HTTP request that this stage reads.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    pub method: &'a Method,
    pub target: &'a Target,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    /// Another name under which clients may know the schema `public`: the project's slot.
    pub schema_label: &'a str,
}

impl ApiRequest {
    /// # Errors
    /// PGRST100, 101, 102, 103, 106, 117: see contract 02 §7.14.
    pub fn parse(http: HttpRequest) -> Result<Self, NativeError> {
        let method = http.method;
        let reads = method == Method::GET || method == Method::HEAD;
        check_method(method, http.target)?;
        let profile = profile(http.headers, reads, http.schema_label)?;
        let dialect = match http.target {
            Target::Function(_) if reads => Dialect::FunctionArguments,
            _ => Dialect::Relation,
        };
        let mut query = if method == Method::OPTIONS {
            QueryParameters::default()
        } else {
            QueryParameters::parse(http.query, dialect)?
        };
        let content_type = http.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let rows = |query: &QueryParameters| Rows::parse(content_type, http.body, query.columns.is_some());
        let action = match http.target {
            target if method == Method::OPTIONS => Action::Describe(target.clone()),
            Target::Root => Action::ReadRoot,
            Target::Function(function) if reads => Action::Call {
                function: function.clone(),
                input: CallInput::Query(std::mem::take(&mut query.arguments)),
            },
            Target::Function(function) => Action::Call {
                function: function.clone(),
                input: CallInput::Body(CallBody::parse(content_type, http.body)?),
            },
            Target::Relation(relation) if reads => Action::Read { relation: relation.clone() },
            Target::Relation(relation) => {
                let mutation = match method.as_str() {
                    "POST" => Mutation::Insert(rows(&query)?),
                    "PATCH" => Mutation::Update(rows(&query)?),
                    "PUT" => Mutation::SingleUpsert(rows(&query)?),
                    _ => Mutation::Delete,
                };
                Action::Mutate { relation: relation.clone(), mutation }
            }
        };
        let header_range = if method == Method::GET {
            range::from_header(http.headers.get(header::RANGE).and_then(|value| value.to_str().ok()))?
        } else {
            Limits::default()
        };
        Ok(Self {
            action,
            headers_only: method == Method::HEAD,
            range: header_range.intersect(query.root_limits()),
            query,
            preferences: Preferences::parse(http.headers),
            accept: media::accepted(http.headers),
            profile,
        })
    }

    /// The columns a write names: `columns`, else the keys of the rows.
    pub fn written_columns(&self, rows: &Rows) -> BTreeSet<String> {
        match &self.query.columns {
            Some(columns) => columns.iter().cloned().collect(),
            None => rows.keys.clone(),
        }
    }
}

fn check_method(method: &Method, target: &Target) -> Result<(), NativeError> {
    let allowed = match target {
        Target::Root => matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"),
        Target::Relation(_) => {
            matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "POST" | "PATCH" | "PUT" | "DELETE")
        }
        Target::Function(_) => matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "POST"),
    };
    if allowed {
        return Ok(());
    }
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Err(match target {
        Target::Function(_) => NativeError::new(status, "PGRST101", format!("Cannot use the {method} method on RPC")),
        _ => NativeError::new(status, "PGRST117", format!("Unsupported HTTP method: {method}")),
    })
}

/// `Accept-Profile` on reads, `Content-Profile` on writes.
fn profile(headers: &HeaderMap, reads: bool, label: &str) -> Result<Option<String>, NativeError> {
    let name = if reads { ACCEPT_PROFILE } else { CONTENT_PROFILE };
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(schema) if schema == "public" || schema == label => Ok(Some(schema.to_owned())),
        other => Err(NativeError::new(
            StatusCode::NOT_ACCEPTABLE,
            "PGRST106",
            format!("Invalid schema: {}", other.unwrap_or("")),
        )
        .hint("Only the following schemas are exposed: public")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn request(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<ApiRequest, NativeError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let target = Target::parse(path)?;
        ApiRequest::parse(HttpRequest {
            method: &method.parse().unwrap(),
            target: &target,
            query,
            headers: &map,
            body: &Bytes::from(body.to_owned()),
            schema_label: "p0001",
        })
    }

    #[test]
    fn paths_name_the_root_a_relation_or_a_function() {
        for (path, expected) in [
            ("", Target::Root),
            ("/", Target::Root),
            ("todos", Target::Relation("todos".into())),
            ("todos/", Target::Relation("todos".into())),
            ("my%20table", Target::Relation("my table".into())),
            ("rpc/add", Target::Function("add".into())),
            ("rpc%2Fadd", Target::Function("add".into())),
            ("rpc", Target::Relation("rpc".into())),
        ] {
            assert_eq!(Target::parse(path), Ok(expected), "{path}");
        }
        for path in ["a/b", "rpc/a/b", "a//", "%ff", "rpc//"] {
            assert_eq!(Target::parse(path).unwrap_err().code, "PGRST125", "{path}");
        }
    }

    #[test]
    fn methods_are_checked_per_target() {
        for (method, path, code) in [
            ("DELETE", "", "PGRST117"),
            ("POST", "", "PGRST117"),
            ("TRACE", "t", "PGRST117"),
            ("PUT", "rpc/f", "PGRST101"),
            ("DELETE", "rpc/f", "PGRST101"),
        ] {
            let error = request(method, path, "", &[], "{}").unwrap_err();
            assert_eq!((error.status, error.code.as_ref()), (StatusCode::METHOD_NOT_ALLOWED, code));
        }
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"] {
            assert!(request(method, "t", "", &[], "{}").is_ok(), "{method}");
        }
    }

    #[test]
    fn only_the_public_schema_is_served() {
        assert_eq!(
            request("GET", "t", "", &[("accept-profile", "p0001")], "").unwrap().profile.as_deref(),
            Some("p0001")
        );
        assert_eq!(
            request("POST", "t", "", &[("content-profile", "public")], "{}").unwrap().profile.as_deref(),
            Some("public")
        );
        assert_eq!(request("POST", "t", "", &[("accept-profile", "x")], "{}").unwrap().profile, None);
        assert_eq!(request("GET", "t", "", &[("accept-profile", "auth")], "").unwrap_err().code, "PGRST106");
    }

    #[test]
    fn range_headers_count_on_get_only() {
        let limits = |method| request(method, "t", "limit=5", &[("range", "3-20")], "").unwrap().range;
        assert_eq!(limits("GET"), Limits { limit: Some(2), offset: 3 });
        assert_eq!(limits("HEAD"), Limits { limit: Some(5), offset: 0 });
    }

    #[test]
    fn bodies_of_reads_and_deletes_are_ignored() {
        for method in ["GET", "HEAD", "DELETE"] {
            assert!(request(method, "t", "", &[("content-type", "image/png")], "not json").is_ok());
        }
        assert_eq!(request("POST", "t", "", &[], "not json").unwrap_err().code, "PGRST102");
    }

    #[test]
    fn query_parameters_of_a_get_call_are_arguments() {
        let parsed = request("GET", "rpc/add", "a=1&b=2&id=gt.1&order=id", &[], "").unwrap();
        let Action::Call { input: CallInput::Query(arguments), .. } = &parsed.action else { panic!() };
        assert_eq!(arguments.len(), 2);
        assert_eq!(parsed.query.filters.len(), 1);
    }
}
