//! HTTP of functions.

mod invoke;
mod manage;
mod runs;

use std::sync::Arc;

use axum::extract::FromRef;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Functions;
use crate::features::{identity::Identity, projects::Projects};

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Functions>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(manage::list, manage::create))
        .routes(routes!(manage::get, manage::update, manage::delete))
        .routes(routes!(manage::logs))
        .routes(routes!(manage::trigger))
        .routes(routes!(manage::trigger_outside_admin))
        .routes(routes!(manage::rebuild))
        .routes(routes!(manage::rebuild_all))
        .routes(routes!(runs::list, runs::create))
        .routes(routes!(runs::get))
        .routes(routes!(runs::logs))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::redrive))
        .routes(routes!(invoke::at_path))
        .routes(routes!(invoke::at_name))
        // A function may tell it from the name alone.
        .route("/functions/v1/{name}/", axum::routing::any(invoke::at_name))
}
