//! The general `Idempotency-Key` rule (contract 01 §1.7): the same key, caller, route and body get the first
//! answer again for 24 hours.
//!
//! A handler asks [`Idempotency::begin`] once the caller is known, and stores its answer with
//! [`Ticket::store`] inside the transaction that has the effect: a crash leaves both or neither.
//! A refusal goes through [`Ticket::refuse`], which keeps what would be refused again and forgets the rest.
//!
//! Invariants:
//! - Kept answers are sealed, because some hold keys.
//! - A key whose first request never ended (the box was killed) is free again after five minutes.

mod store;
#[cfg(test)]
mod tests;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio_postgres::Transaction;

use crate::{
    common::{ApiError, ApiResult, Clock, NextAction, sealing::MasterKey},
    engines::postgres::{Database, DatabaseError},
};
use store::{Found, Scope};

const SEAL_PURPOSE: &str = "idempotency answer";
const HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Hours an answer is kept.
const KEPT_HOURS: i32 = 24;
/// Minutes after which a request that never answered counts as dead.
const ABANDONED_MINUTES: i32 = 5;
/// A key can change hands between our two statements; more often than this it is a fight nobody wins.
const ATTEMPTS: usize = 3;

/// The service.
#[derive(Clone)]
pub struct Idempotency {
    database: Database,
    master_key: MasterKey,
    clock: Clock,
}

/// What the caller has to do.
pub enum Begin {
    /// No key was sent: carry on without.
    Unkeyed,
    /// The first request with this key: carry on and answer through the ticket.
    Fresh(Ticket),
    /// Answer this.
    Replay(Response),
}

/// The right to answer for a key. Whoever drops it without an answer blocks the key for five minutes.
#[derive(Clone)]
pub struct Ticket {
    service: Idempotency,
    scope: Scope,
}

impl Idempotency {
    pub fn new(database: Database, master_key: MasterKey, clock: Clock) -> Self {
        Self { database, master_key, clock }
    }

    /// Reserves the key of the request, if it has one. `digest` stands for the meaning of the body.
    ///
    /// # Errors
    /// 400 `INVALID_IDEMPOTENCY_KEY`; 409 `IDEMPOTENCY_CONFLICT` when the key was used with another body;
    /// 409 `IDEMPOTENCY_IN_PROGRESS` (retryable) while the first request runs.
    pub async fn begin(
        &self,
        headers: &HeaderMap,
        principal: &str,
        method: &'static str,
        path: &str,
        digest: &str,
    ) -> ApiResult<Begin> {
        let Some(key) = headers.get(HEADER) else { return Ok(Begin::Unkeyed) };
        let key = valid_key(key)?;
        let scope = Scope { principal: principal.into(), method, path: path.into(), key };
        let connection = self.database.get().await?;
        let now = self.clock.now();
        for _ in 0..ATTEMPTS {
            if store::reserve(&connection, &scope, digest, now).await? {
                return Ok(Begin::Fresh(Ticket { service: self.clone(), scope }));
            }
            match store::find(&connection, &scope).await? {
                None => {}
                Some(found) if found.request_digest != digest => return Err(conflict()),
                Some(Found { answer: None, .. }) => return Err(in_progress()),
                Some(Found { answer: Some((status, body)), .. }) => {
                    return self.replay(status, &body).map(Begin::Replay);
                }
            }
        }
        Err(in_progress())
    }

    /// Forgets answers older than 24 hours. Run hourly.
    pub async fn sweep(&self) -> Result<u64, DatabaseError> {
        store::sweep(&self.database.get().await?, self.clock.now()).await
    }

    fn replay(&self, status: i32, sealed: &[u8]) -> ApiResult<Response> {
        let plain = self.master_key.open(SEAL_PURPOSE, sealed).map_err(ApiError::internal)?;
        let body: Value = serde_json::from_slice(&plain).map_err(ApiError::internal)?;
        let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| ApiError::internal("a stored answer has no valid status"))?;
        Ok((status, [(REPLAYED, HeaderValue::from_static("true"))], Json(body)).into_response())
    }

    fn seal(&self, body: &Value) -> Vec<u8> {
        self.master_key.seal(SEAL_PURPOSE, body.to_string().as_bytes())
    }
}

impl Ticket {
    /// Inside the transaction of the effect: the answer later requests with this key will get.
    pub async fn store(&self, tx: &Transaction<'_>, status: StatusCode, body: &Value) -> Result<(), DatabaseError> {
        store::answer(tx, &self.scope, status, &self.service.seal(body)).await
    }

    /// The request was refused: keeps a refusal that the same request would meet again, frees the key otherwise.
    /// Failure to do so is logged, not returned: the caller has an error to answer already.
    pub async fn refuse(self, error: &ApiError, trace_id: &str) {
        let outcome = async {
            let connection = self.service.database.get().await?;
            if is_kept(error.status()) {
                let body = self.service.seal(&error.body(trace_id, false));
                store::answer(&**connection, &self.scope, error.status(), &body).await
            } else {
                store::release(&connection, &self.scope).await
            }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "an idempotency key stays blocked until it is abandoned");
        }
    }

    /// The request was answered from elsewhere (a payment's own replay): frees the key.
    pub async fn release(self) -> Result<(), DatabaseError> {
        store::release(&self.service.database.get().await?, &self.scope).await
    }
}

/// Refusals that depend on the request alone are kept; those that time, money or signing in can lift are not.
fn is_kept(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 402 | 408 | 425 | 429)
}

fn valid_key(value: &HeaderValue) -> ApiResult<String> {
    value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|byte| (0x20..=0x7e).contains(&byte)))
        .map(str::to_owned)
        .ok_or_else(|| {
            ApiError::bad_request(
                "INVALID_IDEMPOTENCY_KEY",
                "Idempotency-Key must be 1 to 255 printable ASCII characters.",
            )
        })
}

fn conflict() -> ApiError {
    ApiError::conflict(
        "IDEMPOTENCY_CONFLICT",
        "This Idempotency-Key was used with another request. Use a new key for a new request.",
    )
}

fn in_progress() -> ApiError {
    ApiError::conflict(
        "IDEMPOTENCY_IN_PROGRESS",
        "The first request with this Idempotency-Key is still running. Ask again shortly.",
    )
    .retryable(true)
    .retry_after(1)
    .next_action(NextAction::new("retry", "The same request with the same key will get the first answer."))
}
