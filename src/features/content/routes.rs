//! HTTP of content (contract 03 §3).

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::{FromRef, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Content,
    error::ContentError,
    receive::Signed,
    types::{CommittedContent, ContentPlan, ContentPlanRequest},
};
use crate::common::{ApiError, ApiJson, ApiResult, body};

/// Largest content plan, in bytes (contract 03 §1.2).
const MAX_PLAN_BYTES: usize = 16 * 1024 * 1024;
/// The route of parts, which keeps time by itself: an upload may take long as long as it moves.
pub const UPLOAD_ROUTE: &str = "/content/v1/uploads/{upload_id}/parts/{part}";
/// What is still read of a refused upload, because most clients read no answer before they have sent all.
const DRAIN_BYTES: u64 = 1024 * 1024;

pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Content>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(plan)).routes(routes!(put_part)).routes(routes!(commit))
}

/// Plan an upload
///
/// Says which objects the project lacks and where to PUT their parts. With the anon key alone, only objects that an
/// open apply plan lists.
#[utoipa::path(
    post,
    path = "/content/v1/plans",
    tag = "content",
    request_body = ContentPlanRequest,
    responses(
        (status = 200, body = ContentPlan),
        (status = 400, description = "`INVALID_SPEC`, `INVALID_JSON`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`NOT_AUTHORIZED`, `PROJECT_FROZEN`, `PROJECT_DORMANT`, `QUOTA_EXCEEDED`"),
        (status = 413, description = "`PAYLOAD_TOO_LARGE`, `CONTENT_TOO_LARGE`"),
    ),
)]
async fn plan(State(content): State<Arc<Content>>, headers: HeaderMap, body: Body) -> ApiResult<Json<ContentPlan>> {
    content.identify(&headers)?;
    if body.size_hint().lower() > MAX_PLAN_BYTES as u64 {
        body::drain(body, 2 * MAX_PLAN_BYTES as u64, body::PATIENCE).await;
        return Err(ApiError::payload_too_large(MAX_PLAN_BYTES));
    }
    let room = content.body_room(&headers, MAX_PLAN_BYTES).await?;
    let body = body::collect(body, MAX_PLAN_BYTES).await?;
    let request: ContentPlanRequest = serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            let message = format!("The body does not have the expected form: {error}.");
            ApiError::from(ContentError::InvalidSpec { resource: "content".into(), message })
        } else {
            ApiError::bad_request("INVALID_JSON", format!("The body is not valid JSON: {error}."))
        }
    })?;
    drop((body, room));
    content.plan_upload(&headers, &request).await.map(Json)
}

#[derive(Deserialize)]
struct SignedQuery {
    exp: i64,
    sig: String,
}

/// Upload a part
///
/// The signed URL is the only credential. `x-amz-checksum-sha256` is base64 of the SHA-256 of the object, or of the
/// part when there are several.
#[utoipa::path(
    put,
    path = "/content/v1/uploads/{upload_id}/parts/{part}",
    tag = "content",
    params(
        ("upload_id" = String, Path),
        ("part" = u32, Path),
        ("exp" = i64, Query, description = "Signed expiry"),
        ("sig" = String, Query, description = "Signature"),
    ),
    responses(
        (status = 200, description = "Received; `ETag` names the bytes"),
        (status = 400, description = "`CHECKSUM_MISMATCH`, `CONTENT_LENGTH_MISMATCH`"),
        (status = 403, description = "`UPLOAD_URL_INVALID`, `UPLOAD_URL_EXPIRED`"),
        (status = 404, description = "`PLAN_NOT_FOUND`"),
        (status = 408, description = "`UPLOAD_STALLED`"),
        (status = 413, description = "`CONTENT_TOO_LARGE`"),
    ),
)]
async fn put_part(
    State(content): State<Arc<Content>>,
    Path((upload_id, part)): Path<(String, String)>,
    query: Result<Query<SignedQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let Ok(Query(query)) = query else { return Err(ContentError::UrlInvalid.into()) };
    let part: u32 = part.parse().map_err(|_| ContentError::UrlInvalid)?;
    let signed = Signed { expires: query.exp, signature: &query.sig };
    let expected = match content.expected_part(&upload_id, part, &signed, &headers).await {
        Ok(expected) => expected,
        Err(refusal) => {
            body::drain(body, DRAIN_BYTES, body::PATIENCE).await;
            return Err(refusal);
        }
    };
    let digest = content.receive(expected, body).await?;
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(ApiError::internal)?;
    Ok((StatusCode::OK, [(ETAG, etag)]).into_response())
}

/// Commit an upload
///
/// Checks that every part arrived and gives the objects to the project, all or none. May be repeated.
#[utoipa::path(
    post,
    path = "/content/v1/plans/{plan_id}/commit",
    tag = "content",
    params(("plan_id" = String, Path)),
    responses(
        (status = 200, body = CommittedContent),
        (status = 400, description = "`CHECKSUM_MISMATCH`: the parts of an object make something else"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 404, description = "`PLAN_NOT_FOUND`"),
        (status = 409, description = "`CONTENT_INCOMPLETE`"),
        (status = 503, description = "`STORAGE_UNAVAILABLE`"),
    ),
)]
async fn commit(
    State(content): State<Arc<Content>>,
    Path(plan_id): Path<String>,
    headers: HeaderMap,
    ApiJson(_body): ApiJson<serde::de::IgnoredAny>,
) -> ApiResult<Json<CommittedContent>> {
    content.commit_upload(&headers, &plan_id).await.map(Json)
}
