//! What this feature needs of others, as far as they have it: each door has a form for a box without them.

use axum::http::HeaderMap;
use futures_util::future::BoxFuture;

use super::executor::Actor;
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::releases::{ReleaseState, ServedRelease},
};

/// A change to the live release of a project. Called once at least; the last call counts.
pub type Edit = Box<dyn Fn(&mut ReleaseState) -> ApiResult<()> + Send + Sync>;

/// Changes the live release without a deploy (05 §3.2): the same release from then on has the changed state, so that
/// what is carried forward from it keeps the change.
pub trait ReleaseEditor: Send + Sync + 'static {
    /// # Errors
    /// Those of `edit`, which leave everything as it was; 404 `FUNCTION_NOT_FOUND` when nothing is deployed.
    fn amend<'a>(&'a self, project: &'a ProjectId, edit: Edit) -> BoxFuture<'a, ApiResult<()>>;
}

/// Values of the project's secrets, sorted by name.
pub trait SecretValues: Send + Sync + 'static {
    fn values<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Vec<(String, String)>>>;
}

/// The user behind a browser's session cookie, with a short-lived token for him (05 §8.5).
#[derive(Clone, Debug)]
pub struct BrowserSession {
    pub actor: Actor,
    /// ES256 with a published key; lives for `max(60, timeout + 30)` seconds.
    pub token: String,
}

/// Resolves session cookies of tenant hosts.
pub trait BrowserSessions: Send + Sync + 'static {
    /// None without a valid session. `seconds`: how long the token must live.
    fn find<'a>(
        &'a self,
        release: &'a ServedRelease,
        host: &'a str,
        headers: &'a HeaderMap,
        seconds: i64,
    ) -> BoxFuture<'a, ApiResult<Option<BrowserSession>>>;
}

/// A box without one of these.
pub struct Absent;

impl ReleaseEditor for Absent {
    fn amend<'a>(&'a self, _: &'a ProjectId, _: Edit) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async { Err(ApiError::not_implemented("Changing deployed functions")) })
    }
}

impl SecretValues for Absent {
    fn values<'a>(&'a self, _: &'a ProjectId) -> BoxFuture<'a, ApiResult<Vec<(String, String)>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl BrowserSessions for Absent {
    fn find<'a>(
        &'a self,
        _: &'a ServedRelease,
        _: &'a str,
        _: &'a HeaderMap,
        _: i64,
    ) -> BoxFuture<'a, ApiResult<Option<BrowserSession>>> {
        Box::pin(async { Ok(None) })
    }
}
