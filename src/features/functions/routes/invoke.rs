//! Direct invocation.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};

use serde::Deserialize;

use crate::features::functions::Functions;

/// Call a function
///
/// Any method, any body up to 6 MiB. The function sees the request as it was sent, without the credentials of the
/// platform. `OPTIONS` is answered by the platform. What it answers is passed on; what goes wrong around it has the
/// error envelope with `request_id`.
#[utoipa::path(
    method(get, head, post, put, patch, delete, options),
    path = "/functions/v1/{name}",
    tag = "functions",
    params(("name" = String, Path, description = "Function name")),
    responses(
        (status = 200, description = "Whatever the function answers"),
        (status = 401, description = "`MISSING_APIKEY`, `INVALID_APIKEY`, `R402_AUTH_REQUIRED`"),
        (status = 403, description = "`ROLE_FORBIDDEN`, `QUOTA_EXCEEDED`"),
        (status = 404, description = "`FUNCTION_NOT_FOUND`, `PROJECT_NOT_FOUND`"),
        (status = 413, description = "`REQUEST_BODY_TOO_LARGE`"),
        (status = 500, description = "`FUNCTION_RUNTIME_ERROR`, `FUNCTION_INVALID_RESPONSE`"),
        (status = 502, description = "`FUNCTION_RESPONSE_TOO_LARGE`"),
        (status = 503, description = "`FUNCTION_BUSY`"),
        (status = 504, description = "`FUNCTION_TIMEOUT`"),
        (status = 508, description = "`FUNCTION_LOOP_DETECTED`"),
    )
)]
pub async fn at_name(State(functions): State<Arc<Functions>>, Path(name): Path<String>, request: Request) -> Response {
    functions.direct(&name, request).await
}

/// A function, and a path that is its own business.
#[derive(Deserialize)]
pub struct Named {
    name: String,
}

/// Call a function at a path of its own
///
/// As without a path; the function sees the whole URL.
#[utoipa::path(
    method(get, head, post, put, patch, delete, options),
    path = "/functions/v1/{name}/{*path}",
    tag = "functions",
    params(
        ("name" = String, Path, description = "Function name"),
        ("path" = String, Path, description = "Belongs to the function"),
    ),
    responses((status = 200, description = "Whatever the function answers")),
)]
pub async fn at_path(State(functions): State<Arc<Functions>>, Path(path): Path<Named>, request: Request) -> Response {
    functions.direct(&path.name, request).await
}
