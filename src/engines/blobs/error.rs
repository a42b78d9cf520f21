//! What can go wrong with a blob, and how each case reads over HTTP.

use std::sync::Arc;

use axum::http::StatusCode;

use super::Sha256Digest;
use crate::common::{ApiError, NextAction};

/// An error of something the store was handed: a source of bytes or a liveness check.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not those that were announced. Nothing was stored. 400 `CHECKSUM_MISMATCH`.
    #[error("the bytes hash to {actual}, not to the announced {expected}")]
    DigestMismatch { expected: Sha256Digest, actual: Sha256Digest },
    /// The source gave more bytes than allowed. Nothing was stored. 413 `CONTENT_TOO_LARGE`.
    #[error("the content is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// The source of the bytes failed before its end. Nothing was stored. 400 `UPLOAD_INTERRUPTED`.
    #[error("the bytes stopped coming: {0}")]
    Interrupted(#[source] BoxError),
    /// The range starts beyond the end, or ends before it starts. 416 `RANGE_NOT_SATISFIABLE`.
    #[error("the range is not within the {size} bytes of the blob")]
    RangeNotSatisfiable { size: u64 },
    /// The disk or the file refused; the store reopens itself and the next attempt may work.
    /// 503 `STORAGE_UNAVAILABLE`.
    #[error("the blob store failed: {0}")]
    Io(#[source] Arc<redb::Error>),
    /// The disk has no more room for blobs than `blobs.min_free_mb` keeps free. 507 `STORAGE_UNAVAILABLE`.
    #[error("the disk is nearly full")]
    DiskFull,
    /// The store was reopened after a disk error while this upload was under way. 503 `STORAGE_UNAVAILABLE`.
    #[error("the blob store lost this upload when it recovered from a disk error")]
    UploadLost,
    /// The store is shut down, or its writer died. 503 `STORAGE_UNAVAILABLE`.
    #[error("the blob store is closed")]
    Closed,
    /// Stored bytes are missing or not what they were. 500 `INTERNAL_ERROR`.
    #[error("blob {digest} is damaged: {what}")]
    Damaged { digest: Sha256Digest, what: &'static str },
    /// The caller could not tell which blobs are referenced; the sweep stopped. 500 `INTERNAL_ERROR`.
    #[error("the sweep could not learn which blobs are referenced: {0}")]
    Liveness(#[source] BoxError),
    /// The setting would not work. The server does not start with it. 500 `INTERNAL_ERROR`.
    #[error("{0}")]
    InvalidSetting(String),
}

impl BlobError {
    /// The cause, if the database as a whole is suspect and not only the one request.
    pub(super) fn fault(&self) -> Option<Arc<redb::Error>> {
        match self {
            Self::Io(cause) => Some(Arc::clone(cause)),
            _ => None,
        }
    }
}

impl<E> From<E> for BlobError
where
    redb::Error: From<E>,
{
    fn from(error: E) -> Self {
        Self::Io(Arc::new(error.into()))
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::DigestMismatch { expected, actual } => Self::bad_request(
                "CHECKSUM_MISMATCH",
                "The bytes received do not have the announced SHA-256. Send the object again from its beginning.",
            )
            .detail("sha256", expected.to_string())
            .detail("actual_sha256", actual.to_string()),
            BlobError::TooLarge { limit } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "CONTENT_TOO_LARGE",
                format!("The object is larger than the {limit} bytes allowed here. Send a smaller one."),
            )
            .detail("limit_bytes", limit),
            BlobError::Interrupted(cause) => Self::bad_request(
                "UPLOAD_INTERRUPTED",
                "The body ended before it was complete and nothing was stored. Send it again.",
            )
            .retryable(true)
            .next_action(NextAction::new("retry", "Nothing was stored; the same request may be sent again."))
            .caused_by(cause),
            BlobError::RangeNotSatisfiable { size } => Self::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_NOT_SATISFIABLE",
                format!("The object has {size} bytes and the range lies outside them. Ask for bytes it has."),
            )
            .detail("size", size),
            BlobError::DiskFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "STORAGE_UNAVAILABLE",
                "The disk of this box is nearly full. Ask its operator to make room, or delete what is not needed.",
            )
            .retryable(true)
            .safe_to_retry(true),
            error @ (BlobError::Io(_) | BlobError::UploadLost | BlobError::Closed) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "STORAGE_UNAVAILABLE",
                "The box cannot reach its file storage right now. Try again in a moment.",
            )
            .retry_after(1)
            .caused_by(error),
            error @ (BlobError::Damaged { .. } | BlobError::Liveness(_) | BlobError::InvalidSetting(_)) => {
                Self::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status_and_code() {
        let digest = Sha256Digest::of(b"");
        let cases = [
            (BlobError::DigestMismatch { expected: digest, actual: digest }, 400, "CHECKSUM_MISMATCH"),
            (BlobError::TooLarge { limit: 1 }, 413, "CONTENT_TOO_LARGE"),
            (BlobError::Interrupted("reset".into()), 400, "UPLOAD_INTERRUPTED"),
            (BlobError::RangeNotSatisfiable { size: 1 }, 416, "RANGE_NOT_SATISFIABLE"),
            (BlobError::from(redb::StorageError::PreviousIo), 503, "STORAGE_UNAVAILABLE"),
            (BlobError::DiskFull, 507, "STORAGE_UNAVAILABLE"),
            (BlobError::UploadLost, 503, "STORAGE_UNAVAILABLE"),
            (BlobError::Closed, 503, "STORAGE_UNAVAILABLE"),
            (BlobError::Damaged { digest, what: "x" }, 500, "INTERNAL_ERROR"),
            (BlobError::Liveness("down".into()), 500, "INTERNAL_ERROR"),
            (BlobError::InvalidSetting("x".into()), 500, "INTERNAL_ERROR"),
        ];
        for (error, status, code) in cases {
            let shown = error.to_string();
            let api = ApiError::from(error);
            assert_eq!((api.status().as_u16(), api.code()), (status, code), "{shown}");
        }
    }
}
