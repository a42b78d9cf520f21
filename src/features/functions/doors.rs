//! What this feature needs of others, behind doors of their own so that it can be tested without them.

use std::sync::{Arc, Weak};

use axum::http::{HeaderMap, HeaderValue};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{
    Functions,
    error::FunctionError,
    executor::{CheckFailure, Executor},
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{
        apply::{Apply, FunctionBuilder},
        auth::{Auth, Minted, RoutedRequest, RoutedVisitor, SignupHook},
        projects::Project,
        releases::{FunctionState, ReleaseSource, ReleaseState},
        secrets::Secrets,
        user_keys::Claims,
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

    /// As [`Releases::amend`], and the release stays the one it is.
    ///
    /// # Errors
    /// Those of `edit`, which leave everything as it was.
    fn adjust<'a>(&'a self, project: &'a Arc<Project>, edit: Edit) -> BoxFuture<'a, ApiResult<()>>;

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

    fn adjust<'a>(&'a self, project: &'a Arc<Project>, edit: Edit) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move { self.0.adjust(project, edit).await.map(|_| ()) })
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
        Box::pin(
            async move { self.0.check(project, function).await.map_err(|failure| not_built(name, failure).into()) },
        )
    }
}

/// A check that failed, as its caller learns of it.
pub(super) fn not_built(name: &str, failure: CheckFailure) -> FunctionError {
    match failure {
        CheckFailure::Build(failure) => FunctionError::Build { name: name.to_owned(), failure: Box::new(failure) },
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

/// The app users who visit tenant hosts with a session cookie (05 §8.5-8.6).
pub trait BrowserSessions: Send + Sync + 'static {
    /// Who sent a routed request. `seconds`: how long the function may run.
    ///
    /// # Errors
    /// 403 `R402_AUTH_CSRF_ORIGIN_MISMATCH`; 400 and 401 for a Bearer that is not the cookie's.
    fn visitor<'a>(&'a self, request: RoutedRequest<'a>, seconds: i64) -> BoxFuture<'a, ApiResult<RoutedVisitor>>;

    /// Whether the session behind a verified Bearer still stands.
    ///
    /// # Errors
    /// When sessions cannot be read.
    fn is_signed_in<'a>(&'a self, claims: &'a Claims) -> BoxFuture<'a, ApiResult<bool>>;

    /// The session a function asked for; that it may is decided before.
    ///
    /// # Errors
    /// Those of 06 §10.6.
    fn mint<'a>(&'a self, request: RoutedRequest<'a>, directive: &'a HeaderValue) -> BoxFuture<'a, ApiResult<Minted>>;

    /// Ends the visitor's session when the function's answer takes his cookie away.
    fn settle<'a>(
        &'a self,
        request: RoutedRequest<'a>,
        session: Uuid,
        answer: &'a HeaderMap,
    ) -> BoxFuture<'a, ApiResult<()>>;
}

impl BrowserSessions for Auth {
    fn visitor<'a>(&'a self, request: RoutedRequest<'a>, seconds: i64) -> BoxFuture<'a, ApiResult<RoutedVisitor>> {
        Box::pin(async move { self.routed_visitor(&request, seconds).await })
    }

    fn is_signed_in<'a>(&'a self, claims: &'a Claims) -> BoxFuture<'a, ApiResult<bool>> {
        Box::pin(self.is_signed_in(claims))
    }

    fn mint<'a>(&'a self, request: RoutedRequest<'a>, directive: &'a HeaderValue) -> BoxFuture<'a, ApiResult<Minted>> {
        Box::pin(async move { self.mint_session(&request, directive).await })
    }

    fn settle<'a>(
        &'a self,
        request: RoutedRequest<'a>,
        session: Uuid,
        answer: &'a HeaderMap,
    ) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move { self.settle_sign_out(&request, session, answer).await })
    }
}

/// Calls the function `on-signup` of a project for each user who signed up (05 §7.4).
pub struct Signups(pub Weak<Functions>);

impl SignupHook for Signups {
    fn signed_up(&self, project: &ProjectId, user: Value) {
        if let Some(functions) = self.0.upgrade() {
            functions.signed_up(project, user);
        }
    }
}
