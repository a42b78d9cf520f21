//! The rules of claims made by hand.

use std::sync::Arc;

use super::types::{Deleted, Subdomain};
use crate::{
    common::{ApiError, ApiResult, Clock, DeploymentId},
    engines::postgres::Database,
    features::{
        apply::Apply,
        hosts::{Claim, Hosts, validate_name},
        orgs::{Gate, Orgs},
        projects::{self, Project},
        releases::{ReleaseSource, ServedRelease},
    },
};

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub hosts: Arc<Hosts>,
    pub orgs: Arc<Orgs>,
    pub apply: Arc<Apply>,
}

/// The service.
pub struct Subdomains {
    control: Database,
    clock: Clock,
    hosts: Arc<Hosts>,
    orgs: Arc<Orgs>,
    apply: Arc<Apply>,
    releases: Arc<dyn ReleaseSource>,
}

/// What a claim came to.
pub(super) struct Claimed {
    pub subdomain: Subdomain,
    /// False when the project had the name already.
    pub new: bool,
}

impl Subdomains {
    pub fn new(parts: Dependencies) -> Self {
        Self {
            releases: parts.apply.releases(),
            control: parts.control,
            clock: parts.clock,
            hosts: parts.hosts,
            orgs: parts.orgs,
            apply: parts.apply,
        }
    }

    /// Claims a name, or points the project's own name at another deployment.
    ///
    /// # Errors
    /// 400 `INVALID_SUBDOMAIN_NAME`, `SUBDOMAIN_RESERVED`; 403 of the lifecycle; 404 `DEPLOYMENT_NOT_FOUND`; 409
    /// `SUBDOMAIN_TAKEN`, `SUBDOMAIN_RESERVED`.
    pub(super) async fn claim(
        &self,
        project: &Arc<Project>,
        name: &str,
        deployment: Option<&str>,
    ) -> ApiResult<Claimed> {
        validate_name(name)
            .map_err(|message| ApiError::bad_request("INVALID_SUBDOMAIN_NAME", message).detail("field", "name"))?;
        self.check_lifecycle(project).await?;
        self.hosts.check(&project.id, &[name.to_owned()]).await?;
        let wanted = match deployment.filter(|id| !id.is_empty()) {
            Some(id) => Some(self.deployment(project, id).await?.deployment.clone()),
            None => None,
        };
        let added = name.to_owned();
        let amended = self
            .apply
            .amend(project, "POST /subdomains/v1", move |state| {
                let new = !state.subdomains.contains(&added);
                if new {
                    state.subdomains.push(added);
                }
                Ok(new)
            })
            .await?;
        // The live deployment needs no pin: the name follows it.
        let live = amended.release.map(|release| release.deployment.clone());
        let pin = wanted.filter(|wanted| live.as_ref() != Some(wanted));
        self.pin(project, name, pin.as_ref()).await?;
        let claim = self.hosts.claim_of(name).filter(|claim| claim.project == project.id);
        let claim = claim.ok_or_else(|| ApiError::unavailable("The name was given up meanwhile. Try again."))?;
        Ok(Claimed { subdomain: self.describe(&claim).await?, new: amended.answer })
    }

    async fn pin(&self, project: &Project, name: &str, deployment: Option<&DeploymentId>) -> ApiResult<()> {
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        self.hosts.pin(&tx, &project.id, name, deployment).await?;
        tx.commit().await?;
        drop(connection);
        Ok(self.hosts.refresh(&project.id).await?)
    }

    /// A deployment of the project by its id, or by the id of its release.
    async fn deployment(&self, project: &Project, id: &str) -> ApiResult<Arc<ServedRelease>> {
        let found = match (id.parse(), id.parse()) {
            (Ok(deployment), _) => self.releases.of_deployment(&deployment).await?,
            (_, Ok(release)) => self.apply.release(&release).await?,
            _ => None,
        };
        found.filter(|release| release.project == project.id).ok_or_else(|| {
            ApiError::not_found("DEPLOYMENT_NOT_FOUND", "This project has no deployment of this id.")
                .detail("field", "deployment_id")
        })
    }

    pub(super) async fn list(&self, project: &Project) -> ApiResult<Vec<Subdomain>> {
        let mut rows = Vec::new();
        for claim in &*self.hosts.claims(&project.id) {
            rows.push(self.describe(claim).await?);
        }
        Ok(rows)
    }

    /// # Errors
    /// 404 `SUBDOMAIN_NOT_FOUND`
    pub(super) async fn find(&self, name: &str) -> ApiResult<Subdomain> {
        let claim = self.hosts.claim_of(name).ok_or_else(not_found)?;
        self.describe(&claim).await
    }

    /// Gives up a name: it is free at once.
    ///
    /// # Errors
    /// 404 `SUBDOMAIN_NOT_FOUND`; 403 `FORBIDDEN` for another project's name.
    pub(super) async fn delete(&self, project: &Arc<Project>, name: &str) -> ApiResult<Deleted> {
        let claim = self.hosts.claim_of(name).ok_or_else(not_found)?;
        if claim.project != project.id {
            return Err(ApiError::forbidden("FORBIDDEN", "This subdomain belongs to another project."));
        }
        let deployment_id = self.deployment_of(&claim).await?;
        let removed = name.to_owned();
        self.apply
            .amend(project, "DELETE /subdomains/v1", move |state| {
                state.subdomains.retain(|name| *name != removed);
                Ok(())
            })
            .await?;
        Ok(Deleted {
            status: "deleted",
            name: name.to_owned(),
            deployment_id,
            project_id: project.id.clone(),
            deleted_at: self.clock.now(),
        })
    }

    async fn check_lifecycle(&self, project: &Project) -> ApiResult<()> {
        let organisation = self.orgs.find(project.organisation).await?;
        let organisation = organisation.ok_or_else(projects::deleted)?;
        self.orgs.gate(&organisation, Gate::ControlPlane)
    }

    async fn deployment_of(&self, claim: &Claim) -> ApiResult<Option<DeploymentId>> {
        match &claim.pin {
            Some(pin) => Ok(Some(pin.clone())),
            None => Ok(self.releases.live(&claim.project).await?.map(|release| release.deployment.clone())),
        }
    }

    async fn describe(&self, claim: &Claim) -> ApiResult<Subdomain> {
        let deployment_id = self.deployment_of(claim).await?;
        Ok(Subdomain {
            url: self.hosts.subdomain_url(&claim.name),
            deployment_url: deployment_id.as_ref().map(|id| self.hosts.deployment_url(id)),
            deployment_id,
            name: claim.name.clone(),
            project_id: claim.project.clone(),
            created_at: claim.claimed_at,
            updated_at: claim.updated_at,
        })
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("SUBDOMAIN_NOT_FOUND", "Nobody has claimed this subdomain.")
}
