//! What can be wrong with an asset (contract 04 §6).

use axum::http::StatusCode;
use serde_json::Value;

use crate::common::{ApiError, Category};

#[derive(Debug, thiserror::Error)]
pub(super) enum AssetError {
    /// 400 `INVALID_ASSET_KEY`
    #[error("{0}")]
    InvalidKey(&'static str),
    /// 400 `INVALID_ASSET_METADATA`
    #[error("{0}")]
    InvalidMetadata(&'static str),
    /// 400 `INVALID_EXIF_POLICY`
    #[error("unknown exif policy")]
    InvalidExifPolicy,
    /// 400 `INVALID_REQUEST`
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// 400 `INVALID_SPEC`: bytes and announced size differ.
    #[error("the bytes of {key} are {actual} long")]
    WrongSize { key: String, actual: u64 },
    /// 409 `CONTENT_MISSING`
    #[error("the bytes of {key} are not there")]
    Missing { key: String, sha256: String },
    /// 404 `BLOB_NOT_FOUND`
    #[error("no such asset")]
    NotFound,
    /// 400 `INVALID_TTL`
    #[error("ttl_seconds out of range")]
    InvalidTtl,
    /// 400 `INVALID_URL`
    #[error("{0}")]
    InvalidUrl(&'static str),
    /// 403 `NOT_AUTHORIZED`: diagnosing a URL of another project.
    #[error("the URL belongs to another project")]
    ForeignUrl,
    /// 403 `SIGNATURE_INVALID`
    #[error("the signature is not valid")]
    SignatureInvalid,
    /// 403 `SIGNATURE_EXPIRED`
    #[error("the signed URL has expired")]
    SignatureExpired,
    /// 409 `PRUNE_CONFIRMATION_REQUIRED` with the `asset_sync` block in `details`.
    #[error("pruning needs to be confirmed")]
    PruneConfirmation(Value),
    /// 409 `ASSET_SYNC_DRIFT`
    #[error("the assets changed since the plan")]
    SyncDrift(Value),
    /// 422 `IMAGE_DECODE_FAILED`
    #[error("{0}")]
    ImageDecode(&'static str),
    /// 413 `IMAGE_INPUT_TOO_LARGE`
    #[error("the image is too large")]
    ImageTooLarge,
    /// 504 `IMAGE_ENCODE_TIMEOUT`
    #[error("the image took too long")]
    ImageTimeout,
    /// 429 `TOO_MANY_ENCODES_QUEUED`
    #[error("too many images wait")]
    TooManyEncodes,
    /// 500 `INTERNAL_ERROR`: a row names bytes the store does not have.
    #[error("the bytes of an asset are missing from the store")]
    BytesLost,
}

impl From<AssetError> for ApiError {
    fn from(error: AssetError) -> Self {
        match error {
            AssetError::InvalidKey(message) => Self::bad_request("INVALID_ASSET_KEY", message),
            AssetError::InvalidMetadata(message) => Self::bad_request("INVALID_ASSET_METADATA", message),
            AssetError::InvalidExifPolicy => Self::bad_request("INVALID_EXIF_POLICY", "exif_policy is keep or strip."),
            AssetError::InvalidRequest(message) => Self::bad_request("INVALID_REQUEST", message),
            AssetError::WrongSize { key, actual } => {
                Self::bad_request("INVALID_SPEC", "size_bytes is not the size of the object with this sha256.")
                    .extra("phase", "validate")
                    .extra("resource", format!("assets.put.{key}"))
                    .detail("actual_size_bytes", actual)
            }
            AssetError::Missing { key, sha256 } => Self::conflict(
                "CONTENT_MISSING",
                "The bytes of an asset have not been uploaded. Upload them and retry.",
            )
            .retryable(true)
            .extra("resource", format!("assets.put.{key}"))
            .detail("missing", vec![sha256]),
            AssetError::NotFound => Self::not_found("BLOB_NOT_FOUND", "The asset was not found."),
            AssetError::InvalidTtl => {
                Self::bad_request("INVALID_TTL", "ttl_seconds must be a whole number from 60 to 604800.")
            }
            AssetError::InvalidUrl(message) => Self::bad_request("INVALID_URL", message),
            AssetError::ForeignUrl => {
                Self::forbidden("NOT_AUTHORIZED", "This URL belongs to another project than the key.")
            }
            AssetError::SignatureInvalid => {
                Self::forbidden("SIGNATURE_INVALID", "The signature of this URL is not valid. Sign the asset again.")
            }
            AssetError::SignatureExpired => {
                Self::forbidden("SIGNATURE_EXPIRED", "This signed URL has expired. Sign the asset again.")
            }
            AssetError::PruneConfirmation(block) => details(
                Self::conflict(
                    "PRUNE_CONFIRMATION_REQUIRED",
                    "This sync deletes assets. Echo base_revision, delete_set_digest and expected_delete_count in \
                     assets.sync.confirm to go on.",
                ),
                &block,
            )
            .extra("resource", "assets.sync"),
            AssetError::SyncDrift(block) => details(
                Self::conflict(
                    "ASSET_SYNC_DRIFT",
                    "The assets under the prefix changed since the plan. Plan again and confirm what it says then.",
                ),
                &block,
            )
            .extra("resource", "assets.sync"),
            AssetError::ImageDecode(message) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "IMAGE_DECODE_FAILED", message)
                    .category(Category::Validation)
            }
            AssetError::ImageTooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "IMAGE_INPUT_TOO_LARGE",
                "An image may have 40 megapixels and 12000 pixels a side at most. Send a smaller one, or store it \
                 under another content type.",
            ),
            AssetError::ImageTimeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "IMAGE_ENCODE_TIMEOUT",
                "The image took too long to encode. Send a smaller one.",
            ),
            AssetError::TooManyEncodes => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOO_MANY_ENCODES_QUEUED",
                "The box works on as many images as it can. Try again shortly.",
            )
            .retry_after(2),
            error @ AssetError::BytesLost => Self::internal(error),
        }
    }
}

fn details(error: ApiError, block: &Value) -> ApiError {
    let entries = block.as_object().into_iter().flatten();
    entries.fold(error, |error, (key, value)| error.detail(key, value.clone()))
}
