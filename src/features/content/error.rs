//! What can be wrong with an upload (contract 03 §3).

use axum::http::StatusCode;
use serde_json::json;

use crate::{
    common::{ApiError, Category},
    engines::blobs::Sha256Digest,
};

/// Missing parts named in an answer at most.
const SHOWN: usize = 100;

#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    /// 400 `INVALID_SPEC`
    #[error("{message}")]
    InvalidSpec { resource: String, message: String },
    /// 413 `CONTENT_TOO_LARGE`
    #[error("an object has {size} bytes, more than {limit}")]
    ObjectTooLarge { sha256: Sha256Digest, size: u64, limit: u64 },
    /// 403 `NOT_AUTHORIZED`: the anon key asked for more than an apply plan of the project lists.
    #[error("the anon key asked to upload {0}, which no plan lists")]
    NotExpected(Sha256Digest),
    /// 404 `PLAN_NOT_FOUND`: unknown, expired or another project's.
    #[error("no such content plan")]
    PlanNotFound,
    /// 403 `UPLOAD_URL_INVALID`
    #[error("the upload URL was not signed by this box")]
    UrlInvalid,
    /// 403 `UPLOAD_URL_EXPIRED`
    #[error("the upload URL has expired")]
    UrlExpired,
    /// 400 `CONTENT_LENGTH_MISMATCH`
    #[error("the part has {expected} bytes and {received} came")]
    WrongLength { expected: u64, received: u64 },
    /// 413 `CONTENT_TOO_LARGE`
    #[error("more came than the {expected} bytes of the part")]
    TooLong { expected: u64 },
    /// 400 `CHECKSUM_MISMATCH`
    #[error("the bytes are not those that were announced")]
    WrongBytes,
    /// 400 `CHECKSUM_MISMATCH`: the header is not base64 of 32 bytes, or of another object.
    #[error("x-amz-checksum-sha256 is not that of this upload")]
    WrongChecksumHeader,
    /// 400 `CHECKSUM_MISMATCH`: the parts do not make the object. Their bytes were dropped.
    #[error("the parts of {0} make something else")]
    WrongObject(Sha256Digest),
    /// 409 `CONTENT_INCOMPLETE`
    #[error("{} parts are missing", .0.len())]
    Incomplete(Vec<(Sha256Digest, u32)>),
    /// 408 `UPLOAD_STALLED`
    #[error("the body stopped coming")]
    Stalled,
    /// 400 `UPLOAD_INTERRUPTED`
    #[error("the body broke off: {0}")]
    Interrupted(axum::Error),
    /// 429 `RATE_LIMITED`
    #[error("the project has too many open content plans")]
    TooManyPlans,
    /// 503 `STORAGE_UNAVAILABLE`
    #[error("no room for another upload came free")]
    Busy,
    /// 507 `STORAGE_UNAVAILABLE`
    #[error("the disk is nearly full")]
    DiskFull,
    /// 503 `STORAGE_UNAVAILABLE`
    #[error("the staging directory failed: {0}")]
    Staging(#[from] std::io::Error),
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> Self {
        let checksum = |message: &'static str| ApiError::bad_request("CHECKSUM_MISMATCH", message);
        match error {
            ContentError::InvalidSpec { resource, message } => {
                ApiError::bad_request("INVALID_SPEC", message).extra("phase", "validate").extra("resource", resource)
            }
            ContentError::ObjectTooLarge { sha256, size, limit } => {
                too_large("An object is larger than this box stores. Send a smaller one.")
                    .detail("sha256", sha256.to_string())
                    .detail("size", size)
                    .detail("limit_bytes", limit)
            }
            ContentError::NotExpected(sha256) => ApiError::forbidden(
                "NOT_AUTHORIZED",
                "With the anon key alone only content that an open apply plan lists can be uploaded. Plan the apply \
                 first, or sign in as a wallet that may deploy.",
            )
            .detail("sha256", sha256.to_string()),
            ContentError::PlanNotFound => ApiError::not_found(
                "PLAN_NOT_FOUND",
                "There is no such content plan, or it has expired. Make a new one and upload what it lists.",
            ),
            ContentError::UrlInvalid => {
                ApiError::forbidden("UPLOAD_URL_INVALID", "This upload URL is not one this box gave out.")
            }
            ContentError::UrlExpired => ApiError::forbidden(
                "UPLOAD_URL_EXPIRED",
                "This upload URL has expired. Make a new content plan and use its URLs.",
            ),
            ContentError::WrongLength { expected, received } => ApiError::bad_request(
                "CONTENT_LENGTH_MISMATCH",
                format!("This part has {expected} bytes, and {received} came. Send the whole range, once."),
            )
            .detail("expected_bytes", expected)
            .detail("received_bytes", received),
            ContentError::TooLong { expected } => {
                too_large("More bytes came than this part has. Send its range only.").detail("limit_bytes", expected)
            }
            ContentError::WrongBytes => {
                checksum("The bytes received do not have the announced SHA-256. Send the part again.")
            }
            ContentError::WrongChecksumHeader => {
                checksum("x-amz-checksum-sha256 must be base64 of the SHA-256 of the bytes this URL is for.")
            }
            ContentError::WrongObject(sha256) => {
                checksum("The parts do not make the announced object. Upload all of its parts again.")
                    .detail("sha256", sha256.to_string())
            }
            ContentError::Incomplete(missing) => {
                let shown: Vec<_> = missing
                    .iter()
                    .take(SHOWN)
                    .map(|(sha256, part)| json!({"sha256": sha256.to_string(), "part_number": part}))
                    .collect();
                ApiError::conflict(
                    "CONTENT_INCOMPLETE",
                    "Some parts of this plan have not arrived. Upload them and commit again.",
                )
                .retryable(true)
                .detail("missing_count", missing.len())
                .detail("missing_parts", shown)
            }
            ContentError::Stalled => ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "UPLOAD_STALLED",
                "The body stopped coming and nothing was stored. Send it again.",
            )
            .retryable(true),
            ContentError::Interrupted(cause) => ApiError::bad_request(
                "UPLOAD_INTERRUPTED",
                "The body ended before it was complete and nothing was stored. Send it again.",
            )
            .retryable(true)
            .caused_by(cause),
            ContentError::TooManyPlans => ApiError::rate_limited(
                "This project has more open content plans than it may. Commit some, or wait until they expire.",
                60,
            ),
            ContentError::Busy => unavailable("The box receives as many uploads as it can. Try again in a moment."),
            ContentError::DiskFull => ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "STORAGE_UNAVAILABLE",
                "The disk of this box is nearly full. Ask its operator to make room, or delete what is not needed.",
            )
            .retryable(true)
            .safe_to_retry(true),
            ContentError::Staging(cause) => {
                unavailable("The box cannot reach its file storage right now. Try again in a moment.").caused_by(cause)
            }
        }
    }
}

fn too_large(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "CONTENT_TOO_LARGE", message).category(Category::Validation)
}

fn unavailable(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "STORAGE_UNAVAILABLE", message).retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status_and_code() {
        let digest = Sha256Digest::of(b"");
        let cases = [
            (ContentError::InvalidSpec { resource: "content".into(), message: "x".into() }, 400, "INVALID_SPEC"),
            (ContentError::ObjectTooLarge { sha256: digest, size: 2, limit: 1 }, 413, "CONTENT_TOO_LARGE"),
            (ContentError::NotExpected(digest), 403, "NOT_AUTHORIZED"),
            (ContentError::PlanNotFound, 404, "PLAN_NOT_FOUND"),
            (ContentError::UrlInvalid, 403, "UPLOAD_URL_INVALID"),
            (ContentError::UrlExpired, 403, "UPLOAD_URL_EXPIRED"),
            (ContentError::WrongLength { expected: 2, received: 1 }, 400, "CONTENT_LENGTH_MISMATCH"),
            (ContentError::TooLong { expected: 2 }, 413, "CONTENT_TOO_LARGE"),
            (ContentError::WrongBytes, 400, "CHECKSUM_MISMATCH"),
            (ContentError::WrongChecksumHeader, 400, "CHECKSUM_MISMATCH"),
            (ContentError::WrongObject(digest), 400, "CHECKSUM_MISMATCH"),
            (ContentError::Incomplete(vec![(digest, 1)]), 409, "CONTENT_INCOMPLETE"),
            (ContentError::Stalled, 408, "UPLOAD_STALLED"),
            (ContentError::Interrupted(axum::Error::new("reset")), 400, "UPLOAD_INTERRUPTED"),
            (ContentError::TooManyPlans, 429, "RATE_LIMITED"),
            (ContentError::Busy, 503, "STORAGE_UNAVAILABLE"),
            (ContentError::DiskFull, 507, "STORAGE_UNAVAILABLE"),
            (ContentError::Staging(std::io::Error::other("x")), 503, "STORAGE_UNAVAILABLE"),
        ];
        for (error, status, code) in cases {
            let shown = error.to_string();
            let api = ApiError::from(error);
            assert_eq!((api.status().as_u16(), api.code()), (status, code), "{shown}");
        }
    }
}
