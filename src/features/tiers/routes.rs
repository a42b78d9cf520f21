//! Tiers over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, State},
    http::{HeaderMap, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    inventory::ProjectInventory,
    service::Tiers,
    types::{Quote, SingleTier, TierSet, TierStatus},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult},
    features::{
        identity::{Identity, Wallet},
        orgs::Tier,
        payments::PaidRequest,
    },
};

/// Both reads of the catalogue are public and change only with the configuration.
const CATALOGUE_CACHE: &str = "public, max-age=60";

pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Tiers>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
    Arc<dyn ProjectInventory>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(quote)).routes(routes!(status)).routes(routes!(single, set))
}

/// The catalogue (01 §7.1)
#[utoipa::path(get, path = "/tiers/v1", tag = "tiers", responses((status = 200, body = Quote)))]
async fn quote(State(tiers): State<Arc<Tiers>>) -> Response {
    ([(CACHE_CONTROL, CATALOGUE_CACHE)], Json(tiers.quote())).into_response()
}

/// One tier, for old clients (01 §7.1)
#[utoipa::path(
    get,
    path = "/tiers/v1/{tier}",
    tag = "tiers",
    params(("tier" = String, Path, description = "`prototype`, `hobby` or `team`")),
    responses((status = 200, body = SingleTier), (status = 404, description = "`RESOURCE_NOT_FOUND`"))
)]
async fn single(State(tiers): State<Arc<Tiers>>, Path(tier): Path<String>) -> ApiResult<Response> {
    let tier: Tier = tier
        .parse()
        .map_err(|_| ApiError::not_found("RESOURCE_NOT_FOUND", "There is no such tier. GET /tiers/v1 lists them."))?;
    Ok(([(CACHE_CONTROL, CATALOGUE_CACHE)], Json(tiers.single(tier))).into_response())
}

/// The wallet's tier, lease, usage and projects (01 §7.2)
///
/// A wallet without an organisation gets nulls and zeros. On a box that does not enforce leases (the default) a
/// tier stays `active` after its expiry date, which is then only reported.
#[utoipa::path(
    get,
    path = "/tiers/v1/status",
    tag = "tiers",
    responses(
        (status = 200, body = TierStatus),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 402, description = "`SIWX_INVALID`"),
    )
)]
async fn status(
    State(tiers): State<Arc<Tiers>>,
    State(projects): State<Arc<dyn ProjectInventory>>,
    Wallet(wallet): Wallet,
) -> ApiResult<Json<TierStatus>> {
    tiers.status(wallet, projects.as_ref()).await.map(Json)
}

/// Unknown fields are ignored, and there are no known ones.
#[derive(Deserialize)]
struct SetRequest {}

/// Subscribes, renews, upgrades or downgrades (01 §7.3)
#[utoipa::path(
    post,
    path = "/tiers/v1/{tier}",
    tag = "tiers",
    params(("tier" = String, Path, description = "`prototype`, `hobby` or `team`")),
    responses(
        (status = 200, body = TierSet, description = "Renewed, upgraded or downgraded"),
        (status = 201, body = TierSet, description = "Subscribed"),
        (status = 400, description = "`INVALID_TIER`, `TIER_DOWNGRADE_NOT_ALLOWED`"),
        (status = 402, description = "`PAYMENT_REQUIRED`, `INSUFFICIENT_FUNDS`, `SIWX_INVALID`"),
        (status = 403, description = "`NOT_AUTHORIZED`: no billing rights in the organisation"),
        (status = 409, description = "`PAYMENT_IN_PROGRESS`, `TIER_CHANGED`"),
    )
)]
async fn set(
    State(tiers): State<Arc<Tiers>>,
    State(identity): State<Arc<Identity>>,
    State(projects): State<Arc<dyn ProjectInventory>>,
    Path(tier): Path<String>,
    headers: HeaderMap,
    ApiJson(SetRequest {}): ApiJson<SetRequest>,
) -> ApiResult<Response> {
    // Before the signature is looked at: a wrong name is 400 however the request is signed or paid.
    let tier = parse_tier(&tier)?;
    let wallet = identity.wallet(&headers)?;
    let route = format!("{} /tiers/v1/{tier}", axum::http::Method::POST);
    let request = PaidRequest { route: &route, headers: &headers, digest: tier.as_str().to_owned() };
    tiers.set(&request, tier, wallet, projects.as_ref()).await
}

/// The tier a caller names in order to buy it.
///
/// # Errors
/// 400 `INVALID_TIER` with `details.allowed`.
pub fn parse_tier(text: &str) -> ApiResult<Tier> {
    text.parse().map_err(|_| {
        let allowed: Vec<&str> = Tier::ALL.into_iter().map(Tier::as_str).collect();
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "INVALID_TIER",
            format!("There is no such tier. Choose one of {}.", allowed.join(", ")),
        )
        .detail("allowed", allowed)
    })
}
