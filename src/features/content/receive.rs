//! Receiving a part (contract 03 §3.2).

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{
    Content, Reference,
    error::ContentError,
    staging::PartName,
    store::{self, Part},
    types::{ContentPlanId, Plan},
};
use crate::{
    common::ApiResult,
    engines::blobs::{BlobError, BoxError, Sha256Digest},
};

const CHECKSUM_HEADER: &str = "x-amz-checksum-sha256";
/// Objects up to this size are written together with others; about what the blob store keeps in one chunk.
const SMALL_BYTES: u64 = 256 * 1024;
/// Bytes hashed at once on the reactor.
const HASH_INLINE_BYTES: usize = 64 * 1024;

/// The signed query of an upload URL.
pub(super) struct Signed<'a> {
    pub expires: i64,
    pub signature: &'a str,
}

/// A part that may be sent: everything is checked but its bytes.
pub(super) struct Expected {
    plan: Arc<Plan>,
    name: PartName,
    object: Reference,
    multipart: bool,
    /// The digest in the request's header.
    announced: Option<Sha256Digest>,
    length: u64,
}

impl Content {
    /// Checks all of an upload that comes before its body.
    ///
    /// # Errors
    /// 403 for the URL, 404 `PLAN_NOT_FOUND`, 400 and 413 for headers that cannot be right.
    pub(super) async fn expected_part(
        &self,
        upload_id: &str,
        part: u32,
        signed: &Signed<'_>,
        headers: &HeaderMap,
    ) -> ApiResult<Expected> {
        self.urls.verify(upload_id, part, signed.expires, signed.signature, self.clock.now())?;
        let (id, session) = ContentPlanId::of_upload(upload_id).ok_or(ContentError::PlanNotFound)?;
        let plan = self.find_plan(&id).await?;
        let object = plan.session(session).ok_or(ContentError::PlanNotFound)?;
        self.projects.live(&plan.project).ok_or(ContentError::PlanNotFound)?;
        let layout = plan.layout(object);
        let range = layout.range(part).ok_or(ContentError::PlanNotFound)?;
        let announced = announced(headers)?;
        if !layout.multipart && announced.is_some_and(|announced| announced != object.sha256) {
            return Err(ContentError::WrongChecksumHeader.into());
        }
        let length = range.end - range.start;
        check_length(headers, length)?;
        let name = PartName { plan: id, session, part };
        Ok(Expected { plan, name, object, multipart: layout.multipart, announced, length })
    }

    /// Receives a part and answers its digest. May be repeated, and until the commit with other bytes.
    ///
    /// # Errors
    /// Those of contract 03 §3.2; nothing is stored then.
    pub(super) async fn receive(&self, expected: Expected, body: Body) -> ApiResult<Sha256Digest> {
        let Expected { plan, name, object, multipart, announced, length } = expected;
        let _turn = self.staging.turn(&plan.project).await?;
        let idle = self.settings.idle();
        let intake = Intake { body: body.into_data_stream(), expected: length, received: 0, idle };
        if plan.committed {
            return self.compare(&plan, &name, object, multipart, intake).await;
        }
        if multipart {
            return self.receive_file(name, announced, intake).await;
        }
        let part =
            Part { plan: name.plan, session: name.session, part: name.part, sha256: object.sha256, in_store: true };
        if object.size <= SMALL_BYTES {
            let bytes = intake.small(object.sha256).await?;
            self.staging.keep(part, bytes).await?;
        } else {
            self.receive_object(object, intake).await?;
            store::record_parts(&self.control.get().await?, &[part]).await?;
        }
        Ok(object.sha256)
    }

    /// A whole object, straight into the blob store.
    async fn receive_object(&self, object: Reference, intake: Intake) -> ApiResult<()> {
        let source = stream::unfold(Some(intake), |intake| async move {
            let mut intake = intake?;
            match intake.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(intake))),
                Ok(None) => None,
                Err(error) => Some((Err(BoxError::from(error)), None)),
            }
        });
        match self.blobs.put(Some(object.sha256), object.size, source.boxed()).await {
            Ok(_) => Ok(()),
            Err(BlobError::Interrupted(cause)) => match cause.downcast::<ContentError>() {
                Ok(ours) => Err((*ours).into()),
                Err(cause) => Err(BlobError::Interrupted(cause).into()),
            },
            Err(BlobError::DigestMismatch { .. }) => Err(ContentError::WrongBytes.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// A part of a huge object, into a file of its own.
    async fn receive_file(
        &self,
        name: PartName,
        announced: Option<Sha256Digest>,
        mut intake: Intake,
    ) -> ApiResult<Sha256Digest> {
        let writer = self.staging.file_writer(&name).await?;
        while let Some(piece) = intake.next().await? {
            writer.write(piece).await;
        }
        let sha256 = writer.finish(announced).await?;
        let part = Part { plan: name.plan, session: name.session, part: name.part, sha256, in_store: false };
        store::record_parts(&self.control.get().await?, &[part]).await?;
        Ok(sha256)
    }

    /// After the commit nothing changes any more: the right bytes are acknowledged, others refused.
    async fn compare(
        &self,
        plan: &Plan,
        name: &PartName,
        object: Reference,
        multipart: bool,
        mut intake: Intake,
    ) -> ApiResult<Sha256Digest> {
        let expected = if multipart {
            let arrived = store::arrived(&self.control.get().await?, &plan.id).await?;
            arrived.get(&(name.session, name.part)).copied().ok_or(ContentError::WrongBytes)?
        } else {
            object.sha256
        };
        let mut hasher = Sha256::new();
        while let Some(piece) = intake.next().await? {
            hasher = update(hasher, piece).await?;
        }
        if Sha256Digest::from_bytes(hasher.finalize().into()) == expected {
            Ok(expected)
        } else {
            Err(ContentError::WrongBytes.into())
        }
    }
}

/// A body of known length, in pieces.
struct Intake {
    body: BodyDataStream,
    expected: u64,
    received: u64,
    idle: Duration,
}

impl Intake {
    /// The next piece; none at the end of a body that was exactly as long as it should be.
    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        match timeout(self.idle, self.body.next()).await {
            Err(_) => Err(ContentError::Stalled),
            Ok(Some(Err(error))) => Err(ContentError::Interrupted(error)),
            Ok(Some(Ok(piece))) => {
                self.received = self.received.saturating_add(piece.len() as u64);
                if self.received > self.expected {
                    return Err(ContentError::TooLong { expected: self.expected });
                }
                Ok(Some(piece))
            }
            Ok(None) if self.received < self.expected => {
                Err(ContentError::WrongLength { expected: self.expected, received: self.received })
            }
            Ok(None) => Ok(None),
        }
    }

    /// All of a small body, if it has this digest.
    async fn small(mut self, digest: Sha256Digest) -> Result<Bytes, ContentError> {
        let mut pieces = BytesMut::new();
        let mut hasher = Sha256::new();
        while let Some(piece) = self.next().await? {
            pieces.extend_from_slice(&piece);
            hasher = update(hasher, piece).await?;
        }
        if Sha256Digest::from_bytes(hasher.finalize().into()) != digest {
            return Err(ContentError::WrongBytes);
        }
        Ok(pieces.freeze())
    }
}

/// Hashes a piece, off the reactor if it is long.
async fn update(mut hasher: Sha256, piece: Bytes) -> Result<Sha256, ContentError> {
    if piece.len() <= HASH_INLINE_BYTES {
        hasher.update(&piece);
        return Ok(hasher);
    }
    let hashed = tokio::task::spawn_blocking(move || {
        hasher.update(&piece);
        hasher
    });
    // The task fails only when the runtime shuts down.
    hashed.await.map_err(|_| ContentError::Busy)
}

/// The digest the client announces, if it does.
fn announced(headers: &HeaderMap) -> Result<Option<Sha256Digest>, ContentError> {
    let Some(value) = headers.get(CHECKSUM_HEADER) else { return Ok(None) };
    let digest = STANDARD.decode(value.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.map(|digest| Some(Sha256Digest::from_bytes(digest))).ok_or(ContentError::WrongChecksumHeader)
}

/// A body that announces another length need not be read.
fn check_length(headers: &HeaderMap, expected: u64) -> Result<(), ContentError> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    match announced {
        Some(received) if received > expected => Err(ContentError::TooLong { expected }),
        Some(received) if received < expected => Err(ContentError::WrongLength { expected, received }),
        _ => Ok(()),
    }
}
