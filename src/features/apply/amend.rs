//! Changes of the live release that no plan made: names claimed by hand, a function deleted or reconfigured
//! (contract 03 §8, changes outside apply).

use std::sync::Arc;

use super::{error, service::Apply, store::releases as release_store};
use crate::{
    common::{ApiError, ApiResult, DeploymentId, ReleaseId},
    features::{
        content::Holder,
        projects::Project,
        releases::{ReleaseSource, ReleaseState, ServedRelease, route_manifest_digest},
    },
};

/// What an amendment gave.
pub struct Amended<T> {
    /// What the change answered.
    pub answer: T,
    /// The release that is live now; the one before when nothing changed. None: nothing was ever deployed, and the
    /// change made nothing of it.
    pub release: Option<Arc<ServedRelease>>,
}

impl Apply {
    /// Changes the live release: under the project's turn, with the same flip as a deploy, as a new release that
    /// `created_by` (such as `POST /subdomains/v1`) explains. A change that leaves the state as it was makes no
    /// release. Without a live release the change starts from an empty one. Goes on to its end when the caller goes
    /// away.
    ///
    /// `change` may use what it finds in the state; it must keep the state whole (no route without its target), and
    /// leave the site's files alone.
    ///
    /// # Errors
    /// Those of `change`; 409 `SUBDOMAIN_TAKEN`; 503.
    pub async fn amend<T, F>(
        self: &Arc<Self>,
        project: &Arc<Project>,
        created_by: &str,
        change: F,
    ) -> ApiResult<Amended<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut ReleaseState) -> ApiResult<T> + Send + 'static,
    {
        let (apply, project, created_by) = (Arc::clone(self), Arc::clone(project), created_by.to_owned());
        let work =
            self.tasks.spawn(async move { apply.carry_out_amendment(&project, Some(&created_by), change).await });
        work.await.map_err(ApiError::internal)?
    }

    /// As [`Apply::amend`], but the live release stays the one it is: its limits and schedules are set, its content is
    /// not (contract 05 §3.2).
    ///
    /// # Errors
    /// As [`Apply::amend`].
    pub async fn adjust<T, F>(self: &Arc<Self>, project: &Arc<Project>, change: F) -> ApiResult<Amended<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut ReleaseState) -> ApiResult<T> + Send + 'static,
    {
        let (apply, project) = (Arc::clone(self), Arc::clone(project));
        let work = self.tasks.spawn(async move { apply.carry_out_amendment(&project, None, change).await });
        work.await.map_err(ApiError::internal)?
    }

    /// `created_by`: of the new release; none: the live one is changed.
    async fn carry_out_amendment<T>(
        &self,
        project: &Arc<Project>,
        created_by: Option<&str>,
        change: impl FnOnce(&mut ReleaseState) -> ApiResult<T>,
    ) -> ApiResult<Amended<T>> {
        let _turn = self.turn(&project.id).await;
        self.settle_begun(project).await?;
        let live = self.live.live(&project.id).await?;
        let before = live.as_ref().map(|live| Arc::clone(&live.state)).unwrap_or_default();
        let mut state = (*before).clone();
        let answer = change(&mut state)?;
        if state == *before {
            return Ok(Amended { answer, release: live });
        }
        let now = self.clock.now();
        // What was never deployed has no release that could stay.
        let kept = live.as_ref().filter(|_| created_by.is_none());
        let (release, deployment, activated_at) = match kept {
            Some(live) => (live.release.clone(), live.deployment.clone(), live.activated_at),
            None => (ReleaseId::generate(now), DeploymentId::generate(now), now),
        };
        let static_manifest_sha256 = state.manifest.as_ref().map(|manifest| manifest.digest());
        let route_manifest_sha256 = route_manifest_digest(&state.routes);

        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let pointer = release_store::lock_pointer(&tx, &project.id).await?;
        if pointer.as_ref().map(|pointer| &pointer.release) != live.as_ref().map(|live| &live.release) {
            return Err(ApiError::unavailable("The live release changed meanwhile. Try again."));
        }
        if kept.is_some() {
            release_store::set_state(&tx, &release, &state).await?;
        } else {
            let new = release_store::New {
                id: &release,
                project: &project.id,
                parent: live.as_ref().map(|live| &live.release),
                deployment: &deployment,
                manifest_digest: None,
                state: &state,
                static_manifest_sha256: static_manifest_sha256.as_deref(),
                route_manifest_sha256: route_manifest_sha256.as_deref(),
                operation: None,
                plan: None,
                created_by: created_by.unwrap_or_default(),
            };
            release_store::stage(&tx, &new, now).await?;
            let holder = Holder { kind: "release", id: release.to_string() };
            self.content.hold(&tx, &project.id, &holder, &super::execute::needed(&state)).await?;
        }
        let generation = release_store::activate(&tx, &project.id, pointer.as_ref(), &release, &state, activated_at)
            .await
            .map_err(error::of_control)?;
        self.hosts.bind(&tx, &project.id, &state.subdomains).await?;
        tx.commit().await?;
        drop(connection);

        let served = ServedRelease {
            project: project.id.clone(),
            release,
            deployment,
            generation,
            activated_at,
            static_manifest_sha256,
            route_manifest_sha256,
            state: Arc::new(state),
        };
        self.swap(project, served, false).await;
        Ok(Amended { answer, release: self.live.live(&project.id).await? })
    }
}
