//! Hosts: which names a project answers to, and the URLs made of them (contract 04 §1, §8).
//!
//! A request is placed from memory: [`Hosts`] keeps an immutable map of labels below the base domain, replaced on
//! change. The rows behind it are the projects' public ids and the claimed subdomains.
//!
//! Invariants:
//! - A name belongs to one project. Claims change inside the caller's transaction ([`Hosts::bind`]); memory follows
//!   after the commit ([`Hosts::refresh`]).
//! - The `pr-` host of a project answers from its creation to its purge, and is never claimed or released.
//! - A name of a purged project is held for its organisation for `subdomains.hold_days`.

mod directory;
mod error;
mod name;
mod service;
mod settings;
mod store;
#[cfg(test)]
mod tests;

pub use name::{BadHost, Hostname, validate_name};
pub use service::{HostNames, Hosts};
pub use settings::SubdomainSettings;

use std::sync::Arc;

use crate::common::{DeploymentId, ProjectId, Timestamp};

/// What a `Host` header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The API: `api.<base>`, `<base>`, `localhost`, IP literals.
    Api,
    /// `pr-<public id>.<base>`
    Project(ProjectId),
    /// `dpl-….sites.<base>`, known by its form only.
    Deployment(DeploymentId),
    /// `<name>.<base>`; `pin` is a deployment it was pointed at by hand since the last activation.
    Subdomain { name: String, project: ProjectId, pin: Option<DeploymentId> },
    /// Well formed, below the base domain, bound to nothing.
    UnknownManaged,
    /// Any other name.
    Foreign,
}

impl Bound {
    /// The project whose own name this is: where its users' cookies, passkeys and redirects may live. Names that only
    /// lead to a project (`pr-`, `dpl-`) are not its own.
    pub fn owner(&self) -> Option<&ProjectId> {
        match self {
            Self::Subdomain { project, .. } => Some(project),
            Self::Api | Self::Project(_) | Self::Deployment(_) | Self::UnknownManaged | Self::Foreign => None,
        }
    }
}

/// Request extension of an API call that came in on a tenant host: the host names the project.
#[derive(Clone, Debug)]
pub struct TenantHost {
    pub bound: Arc<Bound>,
    /// Normalised: lower case, no port.
    pub host: String,
    /// The scheme the browser uses, where a trusted proxy says it.
    pub scheme: Option<&'static str>,
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
    /// None: it follows the live release.
    pub pin: Option<DeploymentId>,
    pub claimed_at: Timestamp,
    pub updated_at: Timestamp,
}
