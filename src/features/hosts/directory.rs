//! The map from names to what they are bound to: an immutable value. Pure.

use std::{collections::HashMap, sync::Arc};

use super::{
    Bound, Claim, Hostname, ProjectUrls,
    name::{deployment_label, deployment_of_label},
};
use crate::common::{DeploymentId, ProjectId};

/// What managed hosts and their URLs are made of.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Base domain, lower case.
    pub base: String,
    /// `http://` or `https://`
    pub scheme: String,
    /// `:<port>` when it is not the default of the scheme, else nothing.
    pub port: String,
    /// Further names that reach the API.
    pub api_hosts: Vec<String>,
}

impl Site {
    /// URL of a host below the base domain, without a trailing slash.
    pub fn url(&self, label: &str) -> String {
        format!("{}{label}.{}{}", self.scheme, self.base, self.port)
    }

    pub fn deployment_url(&self, deployment: &DeploymentId) -> String {
        self.url(&format!("{}.sites", deployment_label(deployment)))
    }
}

/// What memory knows of a live project.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub urls: Arc<ProjectUrls>,
    /// Oldest first.
    pub claims: Arc<[Claim]>,
}

/// An immutable state of the names.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    projects: HashMap<ProjectId, Entry>,
    /// By the one label below the base domain.
    labels: HashMap<Box<str>, Arc<Bound>>,
}

impl Directory {
    pub fn project(&self, id: &ProjectId) -> Option<&Entry> {
        self.projects.get(id)
    }

    /// Adds a project, or replaces what is known of its names. `claims`: oldest first.
    pub fn put(&mut self, site: &Site, project: &ProjectId, public_id: &str, claims: Vec<Claim>) {
        self.remove(project);
        let label = format!("pr-{public_id}");
        let urls = ProjectUrls {
            public_id: public_id.to_owned(),
            public: site.url(&label),
            subdomain: claims.first().map(|claim| site.url(&claim.name)),
        };
        self.labels.insert(label.into(), Arc::new(Bound::Project(project.clone())));
        for claim in &claims {
            let bound = Bound::Subdomain { name: claim.name.clone(), project: project.clone(), pin: claim.pin.clone() };
            self.labels.insert(claim.name.as_str().into(), Arc::new(bound));
        }
        self.projects.insert(project.clone(), Entry { urls: Arc::new(urls), claims: claims.into() });
    }

    /// Forgets a project. A name that went to another project meanwhile stays with it.
    pub fn remove(&mut self, project: &ProjectId) {
        let Some(entry) = self.projects.remove(project) else { return };
        self.labels.remove(format!("pr-{}", entry.urls.public_id).as_str());
        for claim in &*entry.claims {
            let own = matches!(self.labels.get(claim.name.as_str()).map(AsRef::as_ref),
                               Some(Bound::Subdomain { project: owner, .. }) if owner == project);
            if own {
                self.labels.remove(claim.name.as_str());
            }
        }
    }

    /// Contract 04 §1.4.
    pub fn find(&self, site: &Site, fixed: &Fixed, host: &Hostname<'_>) -> Arc<Bound> {
        let name = match host {
            Hostname::Address(_) => return Arc::clone(&fixed.api),
            Hostname::Name(name) => name.as_ref(),
        };
        let below = name.strip_suffix(site.base.as_str()).and_then(|rest| rest.strip_suffix('.'));
        if let Some(bound) = below.and_then(|label| self.labels.get(label)) {
            return Arc::clone(bound);
        }
        if name == "localhost" || name == site.base || site.api_hosts.iter().any(|known| known == name) {
            return Arc::clone(&fixed.api);
        }
        match below {
            Some("api") => Arc::clone(&fixed.api),
            Some(label) => match label.strip_suffix(".sites").and_then(deployment_of_label) {
                Some(deployment) => Arc::new(Bound::Deployment(deployment)),
                None => Arc::clone(&fixed.unknown),
            },
            None => Arc::clone(&fixed.foreign),
        }
    }
}

/// Answers that are always the same, made once.
#[derive(Debug)]
pub(super) struct Fixed {
    pub api: Arc<Bound>,
    unknown: Arc<Bound>,
    foreign: Arc<Bound>,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { api: Arc::new(Bound::Api), unknown: Arc::new(Bound::UnknownManaged), foreign: Arc::new(Bound::Foreign) }
    }
}
