//! HTTP of the data API: two doors, one hall (contract 02 §7.1).
//!
//! Every method goes to one handler, because what a method means depends on what the path names, and the
//! refusals are PostgREST's own. The public door is no route of the router: the edge sends what [`is_public`] names
//! straight to [`public`], since at this rate the layers of a router cost more than the request itself.

use std::sync::Arc;

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::{FromRef, Request, State},
    http::{Method, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use utoipa::openapi::{
    HttpMethod, OpenApi, OpenApiBuilder, Paths, Required, ResponseBuilder,
    path::{OperationBuilder, ParameterBuilder, ParameterIn},
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::RestError,
    service::{Incoming, Rest},
    token::Surface,
};
use crate::common::{ApiError, body, path::is_at};

const PUBLIC: &str = "/rest/v1";
const ADMIN: &str = "/admin/v1/rest";
/// A body that is too long is still read, and thrown away, up to this many times the limit.
const DRAINED: usize = 4;

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Rest>: FromRef<S>,
{
    OpenApiRouter::with_openapi(document())
        .route(ADMIN, any(admin))
        .route("/admin/v1/rest/", any(admin))
        .route("/admin/v1/rest/{*path}", any(admin))
}

/// What the box's own OpenAPI document says of the data API. What a project really has is told by the root of each
/// door, for the caller's role.
fn document() -> OpenApi {
    let mut paths = Paths::new();
    for door in [PUBLIC, ADMIN] {
        let mut add = |path: String, summary: &str, parameter: Option<&str>, methods: &[HttpMethod]| {
            for method in methods {
                let operation = OperationBuilder::new()
                    .tag("rest")
                    .summary(Some(summary))
                    .parameters(parameter.map(|name| {
                        [ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True)]
                    }))
                    .response("default", ResponseBuilder::new().description("As PostgREST answers (contract 02 §7)"))
                    .build();
                paths.add_path_operation(path.clone(), vec![method.clone()], operation);
            }
        };
        use HttpMethod::{Delete, Get, Patch, Post, Put};
        add(format!("{door}/"), "What the caller's role may use, as OpenAPI 2.0", None, &[Get]);
        let relation = format!("{door}/{{relation}}");
        add(relation, "Rows of a table or view", Some("relation"), &[Get, Post, Patch, Put, Delete]);
        add(format!("{door}/rpc/{{function}}"), "Calls a function", Some("function"), &[Get, Post]);
    }
    OpenApiBuilder::new().paths(paths).build()
}

/// Whether the public door answers this path.
pub fn is_public(path: &str) -> bool {
    is_at(path, PUBLIC)
}

/// Answers a request at the public door; errors are in the response.
pub async fn public<B>(rest: Arc<Rest>, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    answer(rest, request, Surface::Public, PUBLIC).await.unwrap_or_else(IntoResponse::into_response)
}

async fn admin(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    answer(rest, request, Surface::Admin, ADMIN).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer<B>(rest: Arc<Rest>, request: Request<B>, surface: Surface, prefix: &str) -> Result<Response, RestError>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let incoming = Incoming {
        surface,
        // Percent-encoded still: a relation's name may hold a slash.
        path: path.strip_prefix(prefix).unwrap_or(path).to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        method: parts.method,
        headers: parts.headers,
    };
    let (caller, project) = rest.admit(&incoming)?;
    let body = read_body(&incoming, body, rest.settings().max_body_bytes).await?;
    rest.serve(incoming, body, caller, project).await
}

/// The body of a method that has one; `db()` sends a content type even where there is none.
async fn read_body<B>(incoming: &Incoming, body: B, limit: usize) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if matches!(incoming.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS) {
        return Ok(Bytes::new());
    }
    let body = Body::new(body);
    let announced = incoming.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        body::drain(body, limit.saturating_mul(DRAINED) as u64, body::LONG_PATIENCE).await;
        return Err(ApiError::payload_too_large(limit));
    }
    Ok(body::collect(body, limit).await?)
}
