//! Billing over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    service::{Billing, parse_lookup},
    types::{BillingAccount, History},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult, PageQuery},
    features::{
        identity::{Identity, RequireAdmin},
        orgs::parse_organisation_id,
    },
};

/// The billing routes that are built. Their unbuilt neighbours are answered 501 by the edge.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Billing>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(lookup))
        .routes(routes!(account))
        .routes(routes!(history))
        .routes(routes!(credit))
}

#[derive(Deserialize)]
struct LookupQuery {
    wallet: Option<String>,
    email: Option<String>,
}

/// The billing account of a wallet (01 §8.2)
#[utoipa::path(
    get,
    path = "/orgs/v1/lookup",
    tag = "billing",
    params(
        ("wallet" = Option<String>, Query, description = "Address of the caller, or of a wallet of an organisation the caller belongs to"),
        ("email" = Option<String>, Query, description = "Platform admin only"),
    ),
    responses(
        (status = 200, body = BillingAccount),
        (status = 400, description = "`INVALID_REQUEST` not exactly one key, `INVALID_ADDRESS`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED` somebody else's wallet, `ADMIN_REQUIRED` for e-mail"),
        (status = 404, description = "`ORGANIZATION_NOT_FOUND`: the wallet has none yet"),
    )
)]
async fn lookup(
    State(billing): State<Arc<Billing>>,
    headers: HeaderMap,
    query: Result<Query<LookupQuery>, QueryRejection>,
) -> ApiResult<Json<BillingAccount>> {
    let caller = billing.caller(&headers)?;
    let Query(query) = query.map_err(bad_query)?;
    let lookup = parse_lookup(query.wallet.as_deref(), query.email.as_deref())?;
    billing.lookup(&caller, lookup).await.map(Json)
}

/// The balance of an organisation (01 §8.2)
#[utoipa::path(
    get,
    path = "/orgs/v1/{org_id}/billing",
    tag = "billing",
    params(("org_id" = String, Path, description = "UUID of the organisation")),
    responses(
        (status = 200, body = BillingAccount),
        (status = 400, description = "`INVALID_REQUEST` bad UUID"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED`, the same for unknown and foreign organisations"),
    )
)]
async fn account(
    State(billing): State<Arc<Billing>>,
    headers: HeaderMap,
    Path(org_id): Path<String>,
) -> ApiResult<Json<BillingAccount>> {
    let caller = billing.caller(&headers)?;
    billing.account(&caller, parse_organisation_id(&org_id)?).await.map(Json)
}

/// The ledger of an organisation, newest first (01 §8.3)
#[utoipa::path(
    get,
    path = "/orgs/v1/{org_id}/billing/history",
    tag = "billing",
    params(
        ("org_id" = String, Path, description = "UUID of the organisation"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 by default"),
        ("after" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = History),
        (status = 400, description = "`INVALID_REQUEST` bad UUID, `INVALID_LIMIT`, `INVALID_CURSOR`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED`, the same for unknown and foreign organisations"),
    )
)]
async fn history(
    State(billing): State<Arc<Billing>>,
    headers: HeaderMap,
    Path(org_id): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> ApiResult<Json<History>> {
    let caller = billing.caller(&headers)?;
    let Query(query) = query.map_err(bad_query)?;
    billing.history(&caller, parse_organisation_id(&org_id)?, &query).await.map(Json)
}

#[derive(Deserialize, ToSchema)]
struct CreditRequest {
    /// Positive to credit, negative to debit; not 0. A debit may overdraw the balance.
    amount_usd_micros: i64,
    /// Kept with the entry, at most 500 characters.
    note: Option<String>,
}

/// Corrects an organisation's balance by hand (01 §8.7, appliance extension)
#[utoipa::path(
    post,
    path = "/admin/v1/orgs/{org_id}/credit",
    tag = "billing",
    params(("org_id" = String, Path, description = "UUID of the organisation")),
    request_body = CreditRequest,
    responses(
        (status = 200, body = BillingAccount),
        (status = 400, description = "`INVALID_AMOUNT`, `INVALID_REQUEST` bad UUID, `VALIDATION_ERROR`"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`ORGANIZATION_NOT_FOUND`"),
    )
)]
async fn credit(
    State(billing): State<Arc<Billing>>,
    RequireAdmin(admin): RequireAdmin,
    Path(org_id): Path<String>,
    ApiJson(request): ApiJson<CreditRequest>,
) -> ApiResult<Json<BillingAccount>> {
    let org_id = parse_organisation_id(&org_id)?;
    billing.adjust(&admin, org_id, request.amount_usd_micros, request.note.as_deref()).await.map(Json)
}

fn bad_query(rejection: QueryRejection) -> ApiError {
    ApiError::bad_request("INVALID_REQUEST", format!("The query string cannot be read: {}.", rejection.body_text()))
}
