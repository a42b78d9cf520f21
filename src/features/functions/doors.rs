//! What this feature needs of others, as far as they have it: each door has a form for a box without them.

use std::sync::Arc;

use axum::http::HeaderMap;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use super::{
    error::FunctionError,
    executor::{Actor, CheckFailure, Executor},
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{
        apply::{Apply, FunctionBuilder},
        projects::Project,
        releases::{FunctionState, ReleaseSource, ReleaseState, ServedRelease},
        secrets::Secrets,
    },
};

/// A change to the live release of a project.
pub type Edit = Box<dyn FnOnce(&mut ReleaseState) -> ApiResult<()> + Send>;

/// The releases of all projects, and their changes.
pub trait Releases: Send + Sync + 'static {
    fn source(&self) -> Arc<dyn ReleaseSource>;

    /// Changes the live release without a deploy (05 §3.2). What is carried forward from it keeps the change.
    ///
    /// # Errors
    /// Those of `edit`, which leave everything as it was.
    fn amend<'a>(&'a self, project: &'a Arc<Project>, why: &'a str, edit: Edit) -> BoxFuture<'a, ApiResult<()>>;

    /// Projects whose live release changed, from now on.
    fn changes(&self) -> broadcast::Receiver<ProjectId>;

    /// Projects that have a live release.
    fn deployed(&self) -> Vec<ProjectId>;
}

/// Releases as deploys make them.
pub struct Deployed(pub Arc<Apply>);

impl Releases for Deployed {
    fn source(&self) -> Arc<dyn ReleaseSource> {
        self.0.releases()
    }

    fn amend<'a>(&'a self, project: &'a Arc<Project>, why: &'a str, edit: Edit) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move { self.0.amend(project, why, edit).await.map(|_| ()) })
    }

    fn changes(&self) -> broadcast::Receiver<ProjectId> {
        self.0.changes()
    }

    fn deployed(&self) -> Vec<ProjectId> {
        self.0.deployed()
    }
}

/// Builds functions for deploys.
pub struct Builder(pub Arc<dyn Executor>);

impl FunctionBuilder for Builder {
    fn build<'a>(
        &'a self,
        project: &'a ProjectId,
        name: &'a str,
        function: &'a FunctionState,
    ) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            self.0.check(project, name, function).await.map_err(|failure| not_built(name, failure).into())
        })
    }
}

/// A check that failed, as its caller learns of it.
pub(super) fn not_built(name: &str, failure: CheckFailure) -> FunctionError {
    match failure {
        CheckFailure::Build(failure) => FunctionError::Build { name: name.to_owned(), failure },
        CheckFailure::Platform(cause) => {
            ApiError::unavailable("The function could not be built right now. Try again.").caused_by(cause).into()
        }
    }
}

/// Values of the project's secrets, sorted by name.
pub trait SecretValues: Send + Sync + 'static {
    fn values<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Vec<(String, String)>>>;

    /// Grows with every change of a value of this project.
    fn version(&self, project: &ProjectId) -> u64;
}

impl SecretValues for Secrets {
    fn values<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Vec<(String, String)>>> {
        Box::pin(async move {
            let values = Self::values(self, project).await?;
            Ok(values.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect())
        })
    }

    fn version(&self, project: &ProjectId) -> u64 {
        Self::version(self, project)
    }
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
