//! `/_blob/<path>`: assets of the host's project (contract 04 §6.6).

use axum::{
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Sites,
    error::SiteError,
    head::{Facts, Head},
    serve::BLOB_PREFIX,
};
use crate::{
    common::{ApiResult, ProjectId},
    features::{
        assets::{ServedAsset, Visibility},
        releases::path::canonical_form,
    },
};

const CACHE_KIND: HeaderName = HeaderName::from_static("x-run402-blob-cache-kind");
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
const EXPOSED: HeaderValue = HeaderValue::from_static("ETag, Content-Length, Content-Digest, X-Run402-Content-Sha256");

/// How an asset was reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Public,
    /// By a signed URL, which is valid for its holder only.
    Signed,
}

impl Sites {
    /// Answers a request below `/_blob`. Every answer, refusals included, may be read by scripts of other origins:
    /// the tags made of an asset name another host (04 §6.4).
    pub(super) async fn blob(&self, project: &ProjectId, request: &Parts) -> ApiResult<Response> {
        self.asset(project, request)
            .await
            .map_err(|error| error.header(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")))
    }

    async fn asset(&self, project: &ProjectId, request: &Parts) -> ApiResult<Response> {
        match request.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return Ok(preflight()),
            _ => return Err(SiteError::BlobMethodNotAllowed.into()),
        }
        let rest = request.uri.path().strip_prefix(BLOB_PREFIX).unwrap_or_default();
        if rest.is_empty() || rest == "/" {
            return Err(SiteError::BlobNotFound.into());
        }
        let path = canonical_form(rest).map_err(SiteError::from)?;
        let path = path.trim_start_matches('/');
        let asset = self.assets.resolve(project, path).await?.ok_or(SiteError::BlobNotFound)?;
        let access = match signature(request.uri.query().unwrap_or_default()) {
            Some((expires, signature)) => {
                self.assets.check_signature(project, path, &asset, &expires, &signature)?;
                Access::Signed
            }
            None if asset.visibility == Visibility::Private => return Err(SiteError::BlobNotFound.into()),
            None => Access::Public,
        };
        let head = self.head_of_asset(&asset, access);
        self.file(&head, request.method == Method::HEAD, &request.headers).await
    }

    fn head_of_asset(&self, asset: &ServedAsset, access: Access) -> Head {
        let (cache_control, kind) = match access {
            Access::Signed => (PRIVATE, "private"),
            Access::Public if asset.immutable => (IMMUTABLE, "immutable"),
            Access::Public => {
                let configured = HeaderValue::from_str(&self.settings.blob_mutable_cache_control);
                (configured.unwrap_or(HeaderValue::from_static("no-cache")), "mutable")
            }
        };
        let facts = Facts {
            digest: asset.sha256,
            size: asset.size,
            content_type: &asset.content_type,
            cache_control,
            modified: asset.updated_at,
            may_compress: self.files.keeps(asset.size),
        };
        let mut extra = vec![
            (CACHE_KIND, HeaderValue::from_static(kind)),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
            (CORP, HeaderValue::from_static("cross-origin")),
        ];
        if is_markup(&asset.content_type) {
            extra.push((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")));
        }
        Head::new(&facts, &extra)
    }
}

/// `expires` and `signature` of a signed URL.
fn signature(query: &str) -> Option<(String, String)> {
    let find = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    Some((find("expires")?, find("signature")?))
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Types that a browser would run with the site's cookies.
fn is_markup(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    matches!(essence.as_str(), "text/html" | "text/xml" | "application/xml") || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_sandboxed_whatever_its_spelling() {
        for content_type in
            ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml", "image/svg+xml", "text/xml"]
        {
            assert!(is_markup(content_type), "{content_type}");
        }
        for content_type in ["text/plain", "image/png", "application/json", "text/javascript"] {
            assert!(!is_markup(content_type), "{content_type}");
        }
    }

    #[test]
    fn a_signature_is_both_its_parts() {
        assert_eq!(signature("expires=1&signature=ab%2Bc"), Some(("1".into(), "ab+c".into())));
        assert_eq!(signature("signature=a&x=1"), None);
        assert_eq!(signature(""), None);
    }
}
