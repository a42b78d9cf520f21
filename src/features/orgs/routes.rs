//! Organisation routes of the box's owner.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::service::Orgs;
use crate::{
    common::{ApiError, ApiJson, ApiResult, OrganisationId},
    features::identity::{Identity, RequireAdmin},
};

/// The organisation routes that are built. Their unbuilt neighbours are answered 501 by the edge.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Orgs>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(lease_perpetual))
}

#[derive(Deserialize, ToSchema)]
pub struct LeasePerpetualRequest {
    /// True: the organisation never leaves `active`, whatever its expiry date.
    lease_perpetual: bool,
}

#[derive(Serialize, ToSchema)]
pub struct LeasePerpetualAnswer {
    #[schema(example = "ok")]
    status: &'static str,
    #[schema(value_type = String, format = Uuid)]
    org_id: OrganisationId,
    lease_perpetual: bool,
    /// Whether this pulled a lapsed organisation back to `active`.
    reactivated: bool,
}

/// Pins an organisation's lease or releases it (01 §7.6)
///
/// Releasing restarts the clock from now when the lease expired while it was pinned, so nothing is purged at once.
#[utoipa::path(
    post,
    path = "/orgs/v1/admin/{org_id}/lease-perpetual",
    tag = "organisations",
    params(("org_id" = String, Path, description = "UUID of the organisation")),
    request_body = LeasePerpetualRequest,
    responses(
        (status = 200, body = LeasePerpetualAnswer),
        (status = 400, description = "`INVALID_REQUEST` bad UUID, `VALIDATION_ERROR` not a boolean"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`ORGANIZATION_NOT_FOUND`"),
    )
)]
async fn lease_perpetual(
    State(orgs): State<Arc<Orgs>>,
    _admin: RequireAdmin,
    Path(org_id): Path<String>,
    ApiJson(request): ApiJson<LeasePerpetualRequest>,
) -> ApiResult<Json<LeasePerpetualAnswer>> {
    let org_id = parse_organisation_id(&org_id)?;
    let LeasePerpetualRequest { lease_perpetual } = request;
    let reactivated = orgs.set_perpetual(org_id, lease_perpetual).await?.ok_or_else(organisation_not_found)?;
    Ok(Json(LeasePerpetualAnswer { status: "ok", org_id, lease_perpetual, reactivated }))
}

/// The organisation id of a path.
///
/// # Errors
/// 400 `INVALID_REQUEST` when it is not a UUID.
pub fn parse_organisation_id(text: &str) -> ApiResult<OrganisationId> {
    text.parse().map_err(|_| {
        ApiError::bad_request("INVALID_REQUEST", "The organisation id must be a UUID.").detail("field", "org_id")
    })
}

/// 404 `ORGANIZATION_NOT_FOUND`, for callers to whom existence is no secret.
pub fn organisation_not_found() -> ApiError {
    ApiError::not_found("ORGANIZATION_NOT_FOUND", "There is no such organisation on this box.")
}
