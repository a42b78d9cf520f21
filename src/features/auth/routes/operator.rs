//! Captured mail, for the owner of the box (contract 07 §A6).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    common::{ApiResult, Page, PageQuery},
    features::{
        auth::{service::Auth, store},
        identity::{Identity, RequireAdmin},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(captured_mail))
}

#[derive(Deserialize)]
struct MailQuery {
    to: Option<String>,
    project_id: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// Read captured mail
///
/// What the box would have sent: newest first. Links in it sign their reader in, so this is for the platform admin.
#[utoipa::path(
    get,
    path = "/admin/v1/mail/captured",
    tag = "operator",
    params(
        ("to" = Option<String>, Query, description = "One recipient"),
        ("project_id" = Option<String>, Query),
        ("limit" = Option<i64>, Query),
        ("after" = Option<String>, Query),
    ),
    responses((status = 200, description = "`{messages, has_more, next_cursor}`"), (status = 403, description = "`ADMIN_REQUIRED`")),
)]
async fn captured_mail(
    _admin: RequireAdmin,
    State(auth): State<Arc<Auth>>,
    Query(query): Query<MailQuery>,
) -> ApiResult<Json<Value>> {
    let pages = PageQuery { limit: query.limit, after: query.after, cursor: None };
    let limit = pages.limit()?;
    let to = query.to.map(|to| to.trim().to_lowercase());
    let connection = auth.connection().await?;
    let rows =
        store::mail::list(&**connection, to.as_deref(), query.project_id.as_deref(), pages.cursor()?, limit).await?;
    let page = Page::from_fetched(rows, limit, |mail| (mail.created_at, mail.id));
    Ok(Json(json!({
        "messages": page.rows,
        "has_more": page.next_cursor.is_some(),
        "next_cursor": page.next_cursor,
    })))
}
