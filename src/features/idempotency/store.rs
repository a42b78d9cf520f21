//! All SQL on idempotency keys.

use axum::http::StatusCode;
use tokio_postgres::GenericClient;

use super::{ABANDONED_MINUTES, KEPT_HOURS};
use crate::{
    common::Timestamp,
    engines::postgres::{Connection, DatabaseError},
};

/// What a key is unique within (01 §1.7).
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub principal: String,
    pub method: &'static str,
    pub path: String,
    pub key: String,
}

pub(super) struct Found {
    pub request_digest: String,
    /// Status and sealed body; none while the first request runs.
    pub answer: Option<(i32, Vec<u8>)>,
}

/// Takes the key if it is new, expired or abandoned.
pub(super) async fn reserve(
    connection: &Connection,
    scope: &Scope,
    digest: &str,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "insert into idempotency_keys as k (principal, method, path, key, request_digest, created_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (principal, method, path, key) do update
             set request_digest = excluded.request_digest, response_status = null, response_body = null,
                 created_at = excluded.created_at
             where k.created_at < $6::timestamptz - make_interval(hours => $7)
                or (k.response_status is null and k.created_at < $6::timestamptz - make_interval(mins => $8))",
        )
        .await?;
    let taken = connection
        .execute(
            &statement,
            &[&scope.principal, &scope.method, &scope.path, &scope.key, &digest, &now, &KEPT_HOURS, &ABANDONED_MINUTES],
        )
        .await?;
    Ok(taken == 1)
}

pub(super) async fn find(connection: &Connection, scope: &Scope) -> Result<Option<Found>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select request_digest, response_status, response_body from idempotency_keys
             where principal = $1 and method = $2 and path = $3 and key = $4",
        )
        .await?;
    let row = connection.query_opt(&statement, &[&scope.principal, &scope.method, &scope.path, &scope.key]).await?;
    let Some(row) = row else { return Ok(None) };
    let status: Option<i32> = row.try_get("response_status")?;
    let body: Option<Vec<u8>> = row.try_get("response_body")?;
    Ok(Some(Found { request_digest: row.try_get("request_digest")?, answer: status.zip(body) }))
}

pub(super) async fn answer<C: GenericClient>(
    client: &C,
    scope: &Scope,
    status: StatusCode,
    sealed: &[u8],
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update idempotency_keys set response_status = $5, response_body = $6
             where principal = $1 and method = $2 and path = $3 and key = $4",
            &[&scope.principal, &scope.method, &scope.path, &scope.key, &i32::from(status.as_u16()), &sealed],
        )
        .await?;
    Ok(())
}

pub(super) async fn release(connection: &Connection, scope: &Scope) -> Result<(), DatabaseError> {
    connection
        .execute(
            "delete from idempotency_keys
             where principal = $1 and method = $2 and path = $3 and key = $4 and response_status is null",
            &[&scope.principal, &scope.method, &scope.path, &scope.key],
        )
        .await?;
    Ok(())
}

pub(super) async fn sweep(connection: &Connection, now: Timestamp) -> Result<u64, DatabaseError> {
    Ok(connection
        .execute(
            "delete from idempotency_keys where created_at < $1::timestamptz - make_interval(hours => $2)",
            &[&now, &KEPT_HOURS],
        )
        .await?)
}
