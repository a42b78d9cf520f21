//! HTTP of the simulated chain: faucet, mint, facilitator, JSON-RPC.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{FromRef, Path, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    facilitator::FacilitatorRequest,
    service::Payments,
    types::{Drip, FaucetRequest, MintRequest, Minted, Settlement, Verification},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult, ClientIp},
    engines::chain::{assets::Chain, jsonrpc},
    features::identity::{Identity, RequireAdmin},
};

/// Longest body of the facilitator endpoints, in bytes (contract 01 §1.1).
const MAX_FACILITATOR_BYTES: usize = 64 * 1024;

const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Payments>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(faucet))
        .routes(routes!(mint))
        .routes(routes!(facilitator_verify))
        .routes(routes!(facilitator_settle))
        .routes(routes!(facilitator_supported))
        .routes(routes!(shim))
        .routes(routes!(rpc))
}

/// Test money for an address.
#[utoipa::path(
    post, path = "/faucet/v1", tag = "payments", request_body = FaucetRequest,
    responses(
        (status = 200, body = Drip),
        (status = 400, description = "INVALID_ADDRESS"),
        (status = 429, description = "RATE_LIMITED"),
        (status = 503, description = "FAUCET_UNAVAILABLE"),
    )
)]
async fn faucet(
    State(payments): State<Arc<Payments>>,
    ip: ClientIp,
    ApiJson(request): ApiJson<FaucetRequest>,
) -> ApiResult<Json<Drip>> {
    payments.drip(&request.address, ip).await.map(Json)
}

/// Test money in any amount, for the admin of the box.
#[utoipa::path(
    post, path = "/admin/v1/ledger/mint", tag = "payments", request_body = MintRequest,
    responses(
        (status = 200, body = Minted),
        (status = 400, description = "INVALID_ADDRESS, INVALID_AMOUNT, INVALID_REQUEST"),
        (status = 403, description = "ADMIN_REQUIRED"),
    )
)]
async fn mint(
    _: RequireAdmin,
    State(payments): State<Arc<Payments>>,
    ApiJson(request): ApiJson<MintRequest>,
) -> ApiResult<Json<Minted>> {
    payments.mint(&request.address, &request.amount_usd_micros, request.network.as_deref()).await.map(Json)
}

/// Whether an x402 payment would settle on this box's ledger.
#[utoipa::path(
    post, path = "/facilitator/verify", tag = "payments", request_body = Value,
    responses((status = 200, body = Verification), (status = 400, body = Verification))
)]
async fn facilitator_verify(State(payments): State<Arc<Payments>>, body: Body) -> ApiResult<Response> {
    let Some(body) = facilitator_body(body).await else { return Ok(malformed_verification()) };
    let Ok(request) = serde_json::from_slice::<FacilitatorRequest<'_>>(&body) else {
        return Ok(malformed_verification());
    };
    Ok(([NO_STORE], Json(payments.verify(&request).await?)).into_response())
}

/// Settles an x402 payment on this box's ledger.
#[utoipa::path(
    post, path = "/facilitator/settle", tag = "payments", request_body = Value,
    responses((status = 200, body = Settlement), (status = 400, body = Settlement))
)]
async fn facilitator_settle(State(payments): State<Arc<Payments>>, body: Body) -> ApiResult<Response> {
    let Some(body) = facilitator_body(body).await else { return Ok(malformed_settlement()) };
    let Ok(request) = serde_json::from_slice::<FacilitatorRequest<'_>>(&body) else {
        return Ok(malformed_settlement());
    };
    Ok(([NO_STORE], Json(payments.settle(&request).await?)).into_response())
}

/// What the facilitator settles.
#[utoipa::path(get, path = "/facilitator/supported", tag = "payments", responses((status = 200)))]
async fn facilitator_supported(State(payments): State<Arc<Payments>>) -> Json<Value> {
    let kinds: Vec<Value> = payments
        .networks()
        .into_iter()
        .map(|network| json!({ "x402Version": 2, "scheme": "exact", "network": network }))
        .collect();
    Json(json!({ "kinds": kinds, "extensions": [], "signers": {} }))
}

/// An ES module that leads wallet software on Node to this box's chains.
#[utoipa::path(get, path = "/rpc/v1/shim.mjs", tag = "payments", responses((status = 200, content_type = "text/javascript")))]
async fn shim(State(payments): State<Arc<Payments>>) -> Response {
    let kind = (CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    ([kind, NO_STORE], payments.shim()).into_response()
}

/// Ethereum JSON-RPC of a simulated chain: `base-sepolia`, `base` or `tempo-moderato`.
#[utoipa::path(
    post, path = "/rpc/v1/{chain}", tag = "payments", request_body = Value,
    params(("chain" = String, Path, description = "base-sepolia, base or tempo-moderato")),
    responses((status = 200, body = Value), (status = 404, description = "RESOURCE_NOT_FOUND"))
)]
async fn rpc(
    State(payments): State<Arc<Payments>>,
    Path(name): Path<String>,
    ip: ClientIp,
    request: Request,
) -> ApiResult<Response> {
    let chain = Chain::from_slug(&name)
        .ok_or_else(|| ApiError::not_found("RESOURCE_NOT_FOUND", format!("Cannot POST /rpc/v1/{name}")))?;
    Ok(payments.rpc_response(chain, request.into_body(), ip).await)
}

impl Payments {
    /// The JSON-RPC answer to an HTTP request: for the route above, and for the edge when `POST /` comes with
    /// the `Host` of a public RPC server ([`Chain::from_public_rpc_host`]). Always 200.
    pub async fn rpc_response(&self, chain: Chain, body: Body, ip: ClientIp) -> Response {
        let answer = match to_bytes(body, jsonrpc::MAX_BODY_BYTES).await {
            Ok(body) => self.json_rpc(chain, &body, ip).await,
            Err(_) => Some(jsonrpc::too_large()),
        };
        match answer {
            Some(answer) => ([NO_STORE], Json(answer)).into_response(),
            None => StatusCode::OK.into_response(),
        }
    }
}

async fn facilitator_body(body: Body) -> Option<Bytes> {
    to_bytes(body, MAX_FACILITATOR_BYTES).await.ok()
}

const MALFORMED: &str =
    "Send JSON of at most 64 KiB with x402Version, paymentPayload and paymentRequirements (x402 version 2).";

fn malformed_verification() -> Response {
    let refusal = Verification {
        is_valid: false,
        invalid_reason: Some("invalid_payload"),
        invalid_message: Some(MALFORMED),
        payer: String::new(),
    };
    (StatusCode::BAD_REQUEST, Json(refusal)).into_response()
}

fn malformed_settlement() -> Response {
    let refusal = Settlement {
        success: false,
        error_reason: Some("invalid_payload"),
        error_message: Some(MALFORMED),
        payer: String::new(),
        transaction: String::new(),
        network: String::new(),
    };
    (StatusCode::BAD_REQUEST, Json(refusal)).into_response()
}
