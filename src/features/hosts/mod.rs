//! SKELETON. Hosts: which names a project answers to, and the URLs made of them (contract 04 §1, §8).

use std::sync::Arc;

use tokio_postgres::Transaction;

use crate::{
    common::{ApiResult, DeploymentId, ProjectId},
    engines::postgres::DatabaseError,
};

/// What a `Host` header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The API: `api.<base>`, `<base>`, `localhost`, IP literals.
    Api,
    /// `pr-<public id>.<base>`
    Project(ProjectId),
    /// `dpl-….sites.<base>`
    Deployment(DeploymentId),
    /// `<name>.<base>`; `pin` is a deployment it was pointed at by hand since the last activation.
    Subdomain { name: String, project: ProjectId, pin: Option<DeploymentId> },
    /// Well formed, below the base domain, bound to nothing.
    UnknownManaged,
    /// Any other name.
    Foreign,
}

/// URLs of one project, all absolute, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectUrls {
    pub public_id: String,
    /// `pr-` host.
    pub public: String,
    /// First claimed subdomain.
    pub subdomain: Option<String>,
}

impl ProjectUrls {
    /// Oldest claimed subdomain, else the `pr-` host.
    pub fn preferred(&self) -> &str {
        self.subdomain.as_deref().unwrap_or(&self.public)
    }
}

/// A claimed managed subdomain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    pub project: ProjectId,
}

pub struct Hosts {}

impl Hosts {
    /// From memory; `host` is the raw header value.
    ///
    /// # Errors
    /// 400 `BAD_HOST`.
    pub fn resolve(&self, host: &str) -> ApiResult<Bound> {
        let _ = host;
        Ok(Bound::Foreign)
    }

    /// From memory.
    pub fn urls(&self, project: &ProjectId) -> Option<Arc<ProjectUrls>> {
        let _ = project;
        None
    }

    pub fn deployment_url(&self, deployment: &DeploymentId) -> String {
        deployment.to_string()
    }

    /// Names claimed by the project now, oldest first; from memory.
    pub fn names(&self, project: &ProjectId) -> Vec<String> {
        let _ = project;
        Vec::new()
    }

    /// Whether the project may claim these names: syntax is checked by the spec; this looks at reserved words and
    /// other owners. No writes.
    ///
    /// # Errors
    /// 409 `SUBDOMAIN_TAKEN`; 400 for a reserved word.
    pub async fn check(&self, project: &ProjectId, names: &[String]) -> ApiResult<()> {
        let _ = (project, names);
        Ok(())
    }

    /// Inside a transaction of the control database: exactly these names belong to the project.
    ///
    /// # Errors
    /// 409 `SUBDOMAIN_TAKEN`.
    pub async fn bind(&self, tx: &Transaction<'_>, project: &ProjectId, names: &[String]) -> ApiResult<()> {
        let _ = (tx, project, names);
        Ok(())
    }

    /// After that commit: memory follows.
    pub async fn refresh(&self, project: &ProjectId) -> Result<(), DatabaseError> {
        let _ = project;
        Ok(())
    }
}

/// Syntax of a subdomain (ruling 4 of contract 00): the message of what is wrong.
pub fn validate_name(name: &str) -> Result<(), &'static str> {
    let _ = name;
    Ok(())
}
