//! HTTP of assets (contract 04 §6.3 B, §6.7).

use std::{ops::Range, sync::Arc};

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::{FromRef, RawQuery, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
            IF_NONE_MATCH, RANGE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Assets, Visibility, error::AssetError, storage::PutOrder, store::Stored};
use crate::common::{ApiError, ApiJson, ApiResult, body};

const BLOB: &str = "/storage/v1/blob/";
const SIGN: &str = "/sign";

pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Assets>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(service_put))
        .routes(routes!(read, delete, sign))
        .routes(routes!(list))
        .routes(routes!(diagnose))
}

/// Store an asset from a function
///
/// The body becomes the asset's bytes; it is served before this answers.
#[utoipa::path(
    post,
    path = "/apply/v1/service-asset-put",
    tag = "assets",
    params(
        ("x-run402-asset-key" = String, Header),
        ("x-run402-asset-visibility" = Option<String>, Header, description = "public (default) or private"),
        ("x-run402-asset-immutable" = Option<bool>, Header, description = "Default true"),
        ("x-run402-asset-exif-policy" = Option<String>, Header, description = "keep (default) or strip"),
        ("x-run402-asset-metadata" = Option<String>, Header, description = "base64url of JSON"),
    ),
    request_body(content_type = "application/octet-stream", description = "The bytes, up to 25 MB"),
    responses(
        (status = 200, description = "The AssetRef"),
        (status = 400, description = "`INVALID_ASSET_KEY`, `INVALID_ASSET_METADATA`, `INVALID_EXIF_POLICY`, `INVALID_REQUEST`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `QUOTA_EXCEEDED`, `PROJECT_FROZEN`"),
        (status = 413, description = "`CONTENT_TOO_LARGE`, `IMAGE_INPUT_TOO_LARGE`"),
        (status = 422, description = "`IMAGE_DECODE_FAILED`"),
        (status = 429, description = "`TOO_MANY_ENCODES_QUEUED`"),
        (status = 504, description = "`IMAGE_ENCODE_TIMEOUT`"),
    ),
)]
async fn service_put(State(assets): State<Arc<Assets>>, headers: HeaderMap, body: Body) -> ApiResult<Json<Value>> {
    let limit = assets.settings.max_put_bytes;
    let announced = body.size_hint().lower();
    let checked = async {
        let project = assets.put_caller(&headers).await?;
        let order = PutOrder::parse(&headers)?;
        if announced > limit {
            return Err(ApiError::payload_too_large(usize::try_from(limit).unwrap_or(usize::MAX)));
        }
        Ok((project, order))
    };
    let (project, order) = match checked.await {
        Ok(checked) => checked,
        Err(refusal) => {
            body::drain(body, limit.saturating_mul(2), body::PATIENCE).await;
            return Err(refusal);
        }
    };
    assets.service_put(&project, order, body).await.map(Json)
}

/// The key in a path below `/storage/v1/blob/`.
fn key_of(path: &str) -> Result<String, AssetError> {
    let encoded = path.strip_prefix(BLOB).ok_or(AssetError::NotFound)?;
    percent_decode_str(encoded).decode_utf8().map(Into::into).map_err(|_| AssetError::NotFound)
}

/// Read an asset
///
/// With the anon key, public assets only. `If-None-Match` and a single range are honoured.
#[utoipa::path(
    get,
    path = "/storage/v1/blob/{*key}",
    tag = "assets",
    params(("key" = String, Path, description = "Segments percent-encoded, slashes kept")),
    responses(
        (status = 200, description = "The bytes"),
        (status = 206, description = "A range of them"),
        (status = 304, description = "Not modified"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 404, description = "`BLOB_NOT_FOUND`"),
        (status = 416, description = "`RANGE_NOT_SATISFIABLE`"),
    ),
)]
async fn read(State(assets): State<Arc<Assets>>, uri: Uri, headers: HeaderMap) -> ApiResult<Response> {
    let (project, role) = assets.storage_caller(&headers)?;
    let asset = assets.readable(&project.id, role, &key_of(uri.path())?).await?;
    let fixed = describe(&asset)?;
    let etag = format!("\"sha256-{}\"", asset.sha256);
    if matches_etag(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let range = match wanted(&headers, asset.size) {
        Wanted::All => None,
        Wanted::Part(range) => Some(range),
        Wanted::Nothing => {
            let value = HeaderValue::try_from(format!("bytes */{}", asset.size)).map_err(ApiError::internal)?;
            let refusal = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_NOT_SATISFIABLE",
                format!("The asset has {} bytes. Ask for bytes it has.", asset.size),
            );
            return Err(refusal.header(CONTENT_RANGE, value));
        }
    };
    let blob = assets.open(&asset, range.clone()).await?;
    let length = blob.range.end - blob.range.start;
    let mut response = (fixed, Body::from_stream(blob.content)).into_response();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{}", range.start, range.end - 1, asset.size);
        response.headers_mut().insert(CONTENT_RANGE, HeaderValue::try_from(value).map_err(ApiError::internal)?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Headers that depend on the asset alone.
fn describe(asset: &Stored) -> ApiResult<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: String| -> ApiResult<()> {
        headers.insert(name, HeaderValue::try_from(value).map_err(ApiError::internal)?);
        Ok(())
    };
    let cache = match asset.visibility {
        Visibility::Public => "public, max-age=300, stale-while-revalidate=3600",
        Visibility::Private => "private, no-store",
    };
    set(CONTENT_TYPE, asset.content_type.clone())?;
    set(CACHE_CONTROL, cache.into())?;
    set(ETAG, format!("\"sha256-{}\"", asset.sha256))?;
    set(HeaderName::from_static("content-digest"), format!("sha-256=:{}:", STANDARD.encode(asset.sha256.as_bytes())))?;
    set(HeaderName::from_static("x-run402-sha256"), asset.sha256.to_string())?;
    set(HeaderName::from_static("x-run402-content-sha256"), asset.sha256.to_string())?;
    set(ACCEPT_RANGES, "bytes".into())?;
    set(X_CONTENT_TYPE_OPTIONS, "nosniff".into())?;
    if is_markup(&asset.content_type) {
        set(CONTENT_SECURITY_POLICY, "sandbox".into())?;
    }
    Ok(headers)
}

/// Types in which a browser would run what an upload brings along.
fn is_markup(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    matches!(&*media_type, "text/html" | "application/xhtml+xml" | "text/xml" | "application/xml")
        || media_type.ends_with("+xml")
}

/// RFC 9110 §13.1.2: a list of tags or `*`, compared weakly.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nothing,
}

/// RFC 9110 §14.2: one range of bytes; anything else is ignored.
fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let Some(value) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Wanted::All };
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Wanted::All;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return Wanted::All,
    };
    if range.start < range.end { Wanted::Part(range) } else { Wanted::Nothing }
}

/// Delete an asset
///
/// Its key and its mutable URL are gone at once; immutable URLs keep working.
#[utoipa::path(
    delete,
    path = "/storage/v1/blob/{*key}",
    tag = "assets",
    params(("key" = String, Path)),
    responses(
        (status = 200, description = "`{status: \"deleted\", key}`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`BLOB_NOT_FOUND`"),
    ),
)]
async fn delete(State(assets): State<Arc<Assets>>, uri: Uri, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let project = assets.storage_owner(&headers)?;
    let key = key_of(uri.path())?;
    assets.delete(&project, &key).await?;
    Ok(Json(json!({"status": "deleted", "key": key})))
}

/// Sign an asset's URL
///
/// `POST /storage/v1/blob/<key>/sign`: a URL that reads this version of the asset, private ones too, until it expires.
#[utoipa::path(
    post,
    path = "/storage/v1/blob/{*key}",
    tag = "assets",
    params(("key" = String, Path, description = "The key and `/sign`")),
    request_body(content_type = "application/json", description = "`{ttl_seconds?: 60…604800}`"),
    responses(
        (status = 200, description = "`{signed_url, expires_at, expires_in}`"),
        (status = 400, description = "`INVALID_TTL`"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`BLOB_NOT_FOUND`"),
    ),
)]
async fn sign(
    State(assets): State<Arc<Assets>>,
    uri: Uri,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Map<String, Value>>,
) -> ApiResult<Json<Value>> {
    let Some(path) = uri.path().strip_suffix(SIGN).filter(|path| path.len() > BLOB.len()) else {
        return Err(ApiError::not_found("RESOURCE_NOT_FOUND", format!("Cannot POST {}", uri.path())));
    };
    let project = assets.storage_owner(&headers)?;
    assets.sign(&project.id, &key_of(path)?, body.get("ttl_seconds")).await.map(Json)
}

/// List assets
#[utoipa::path(
    get,
    path = "/storage/v1/blobs",
    tag = "assets",
    params(
        ("prefix" = Option<String>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 1000, default 100"),
        ("sort" = Option<String>, Query, description = "key:asc (default), createdAt:asc, createdAt:desc"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("filter[is_image]" = Option<bool>, Query, description = "Also uploaded_by, tag, format, min_width, …"),
    ),
    responses(
        (status = 200, description = "`{blobs, next_cursor}`"),
        (status = 400, description = "`INVALID_LIMIT`, `INVALID_SORT`, `INVALID_CURSOR_FOR_SORT`, `INVALID_FILTER_KEY`, `INVALID_FILTER_VALUE`"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
    ),
)]
async fn list(
    State(assets): State<Arc<Assets>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Value>> {
    let project = assets.storage_owner(&headers)?;
    assets.list(&project.id, query.as_deref().unwrap_or("")).await.map(Json)
}

/// Diagnose a public URL
///
/// What a GET of it would deliver now. Nothing is requested from anybody.
#[utoipa::path(
    get,
    path = "/storage/v1/blobs/diagnose",
    tag = "assets",
    params(("url" = String, Query, description = "An absolute `/_blob/` URL of the project")),
    responses(
        (status = 200, description = "What is expected and what is observed"),
        (status = 400, description = "`INVALID_URL`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `NOT_AUTHORIZED`"),
    ),
)]
async fn diagnose(
    State(assets): State<Arc<Assets>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Value>> {
    let project = assets.storage_owner(&headers)?;
    let query = query.unwrap_or_default();
    let url = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "url").map(|(_, url)| url);
    let url = url.ok_or(AssetError::InvalidUrl("Send the URL to diagnose as url."))?;
    assets.diagnose(&project.id, &url).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, expected) in [
            (None, Wanted::All),
            (Some("bytes=0-3"), Wanted::Part(0..4)),
            (Some("bytes=8-"), Wanted::Part(8..10)),
            (Some("bytes=8-99"), Wanted::Part(8..10)),
            (Some("bytes=-3"), Wanted::Part(7..10)),
            (Some("bytes=-99"), Wanted::Part(0..10)),
            (Some("bytes=10-"), Wanted::Nothing),
            (Some("bytes=-0"), Wanted::Nothing),
            (Some("bytes=3-1"), Wanted::All),
            (Some("bytes=0-1,3-4"), Wanted::All),
            (Some("lines=0-1"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(RANGE, HeaderValue::from_static(header));
            }
            assert_eq!(wanted(&headers, 10), expected, "{header:?}");
        }
        assert_eq!(wanted(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]), 0), Wanted::Nothing);
    }

    #[test]
    fn markup_is_sandboxed() {
        for (content_type, expected) in
            [("text/html; charset=utf-8", true), ("image/svg+xml", true), ("TEXT/XML", true), ("text/plain", false)]
        {
            assert_eq!(is_markup(content_type), expected, "{content_type}");
        }
    }
}
