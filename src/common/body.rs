//! Request bodies, read within limits or read away.

use std::{error::Error, time::Duration};

use axum::body::{Body, HttpBody, to_bytes};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::LengthLimitError;
use tokio::time::timeout;

use super::ApiError;

/// How long is waited for what a refused client is still sending.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The same where bodies of several megabytes are usual.
pub const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// A body that could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 413 `PAYLOAD_TOO_LARGE`. Bytes.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// 400 `INVALID_REQUEST`.
    #[error("the body broke off")]
    BrokenOff,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::payload_too_large(limit),
            BodyError::BrokenOff => Self::bad_request("INVALID_REQUEST", "The body could not be read to its end."),
        }
    }
}

/// The whole body, at most `limit` bytes of it.
///
/// # Errors
/// [`BodyError`].
pub async fn collect(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    to_bytes(body, limit).await.map_err(|error| {
        let too_long = error.source().is_some_and(|cause| cause.is::<LengthLimitError>());
        if too_long { BodyError::TooLarge(limit) } else { BodyError::BrokenOff }
    })
}

/// Reads away what a refused client is still sending, at most `limit` bytes and for as long as `patience`: most clients
/// read no answer before they have sent all, and see a broken connection instead of the refusal.
pub async fn drain(body: Body, limit: u64, patience: Duration) {
    let mut left = limit;
    if body.size_hint().lower() > left {
        return;
    }
    let mut pieces = body.into_data_stream();
    let read = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Whoever is slower than this has had his chance.
    let _ = timeout(patience, read).await;
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn bodies_are_whole_or_too_large_or_broken_off() {
        assert_eq!(collect(Body::from("four"), 4).await.unwrap(), "four");
        assert_eq!(collect(Body::from("fives"), 4).await, Err(BodyError::TooLarge(4)));
        let pieces = [Ok("a"), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
        assert_eq!(collect(Body::from_stream(stream::iter(pieces)), 4).await, Err(BodyError::BrokenOff));
    }

    #[tokio::test]
    async fn draining_ends_with_the_limit_and_with_patience() {
        let endless = || Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>("piece")));
        drain(endless(), 1000, Duration::from_secs(60)).await;
        let silent = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
        drain(silent, 1000, Duration::from_millis(1)).await;
    }
}
