//! Functions are built before anything of their deploy changes (contract 05 §2.4).

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::service::Apply;
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{
        projects::Project,
        releases::{FunctionState, ReleaseState},
    },
};

/// Builds functions without running them; the functions feature implements it.
pub trait FunctionBuilder: Send + Sync + 'static {
    /// # Errors
    /// 422 `FUNCTION_BUILD_FAILED`, `R402_BUNDLE_*`, 400 `R402_AUTH_REDUNDANT_USER_FILTER`; 503 when it cannot be
    /// known right now.
    fn build<'a>(
        &'a self,
        project: &'a ProjectId,
        name: &'a str,
        function: &'a FunctionState,
    ) -> BoxFuture<'a, ApiResult<()>>;
}

impl Apply {
    /// Builds what is new or changed since the live release; what is carried forward was built before.
    pub(super) async fn build_functions(
        &self,
        project: &Project,
        state: &ReleaseState,
        live: Option<&ReleaseState>,
    ) -> ApiResult<()> {
        let is_known = |name: &String, function: &FunctionState| {
            let before = live.and_then(|live| live.functions.get(name));
            before.is_some_and(|before| before.code == function.code && before.deps == function.deps)
        };
        let patience = Duration::from_secs(self.settings.stage_timeout_seconds);
        for (name, function) in state.functions.iter().filter(|(name, function)| !is_known(name, function)) {
            let built = timeout(patience, self.functions.build(&project.id, name, function)).await;
            built.map_err(|_| ApiError::unavailable("Building the functions took too long. Try again."))??;
        }
        Ok(())
    }
}
