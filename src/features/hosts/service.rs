//! The service: names in memory, claims in the control database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio_postgres::Transaction;
use url::Url;

use super::{
    Bound, Claim, Hostname, ProjectUrls, SubdomainSettings,
    directory::{Directory, Fixed, Site},
    error::NameError,
    name::is_reserved,
    store,
};
use crate::{
    common::{ApiResult, Clock, DeploymentId, ProjectId},
    engines::postgres::{Database, DatabaseError},
};

/// The names of the box itself.
#[derive(Clone, Debug)]
pub struct HostNames {
    /// Suffix of every managed host.
    pub base: String,
    /// Base URL of the API: its scheme and port are those of every managed host.
    pub public_url: Url,
    /// Further names that reach the API.
    pub api_hosts: Vec<String>,
}

/// The service.
pub struct Hosts {
    control: Database,
    clock: Clock,
    site: Site,
    settings: SubdomainSettings,
    fixed: Fixed,
    directory: ArcSwap<Directory>,
    /// One change of the directory at a time; readers never wait.
    changing: Mutex<()>,
    /// Held from reading the rows to replacing the directory, so that an older reading never overwrites a newer one.
    refreshing: tokio::sync::Mutex<()>,
}

impl Hosts {
    /// Knows the names of the box only, until [`Hosts::start`].
    pub fn new(control: Database, clock: Clock, names: HostNames, settings: SubdomainSettings) -> Self {
        let mut api_hosts: Vec<String> = names.api_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        api_hosts.extend(names.public_url.host_str().map(str::to_owned));
        let site = Site {
            base: names.base.to_ascii_lowercase(),
            scheme: format!("{}://", names.public_url.scheme()),
            // The parser of URLs drops the default port of the scheme.
            port: names.public_url.port().map(|port| format!(":{port}")).unwrap_or_default(),
            api_hosts,
        };
        Self {
            control,
            clock,
            site,
            settings,
            fixed: Fixed::default(),
            directory: ArcSwap::default(),
            changing: Mutex::new(()),
            refreshing: tokio::sync::Mutex::new(()),
        }
    }

    /// Reads every live project and claim into memory.
    ///
    /// # Errors
    /// The control database failed.
    pub async fn start(&self) -> Result<(), DatabaseError> {
        let _turn = self.refreshing.lock().await;
        let connection = self.control.get().await?;
        let projects = store::projects(&connection).await?;
        let mut claims: HashMap<ProjectId, Vec<Claim>> = HashMap::new();
        for claim in store::claims(&connection).await? {
            claims.entry(claim.project.clone()).or_default().push(claim);
        }
        let mut directory = Directory::default();
        for (id, public_id) in projects {
            let claims = claims.remove(&id).unwrap_or_default();
            directory.put(&self.site, &id, &public_id, claims);
        }
        self.change(|current| *current = directory);
        Ok(())
    }

    /// What a `Host` header or an authority names. From memory.
    ///
    /// # Errors
    /// 400 `BAD_HOST`.
    pub fn resolve(&self, host: &str) -> ApiResult<Bound> {
        Ok((*self.find(&Hostname::parse(host)?)).clone())
    }

    /// As [`Hosts::resolve`], for the path of every request: shared, not copied.
    pub fn find(&self, host: &Hostname<'_>) -> Arc<Bound> {
        self.directory.load().find(&self.site, &self.fixed, host)
    }

    /// URLs of a live project. From memory.
    pub fn urls(&self, project: &ProjectId) -> Option<Arc<ProjectUrls>> {
        self.directory.load().project(project).map(|entry| Arc::clone(&entry.urls))
    }

    /// URL of the host that serves exactly this deployment.
    pub fn deployment_url(&self, deployment: &DeploymentId) -> String {
        self.site.deployment_url(deployment)
    }

    /// URL of a name below the base domain.
    pub fn subdomain_url(&self, name: &str) -> String {
        self.site.url(name)
    }

    /// Origin of a tenant host as browsers see it, and the host with its port when that is not the default. `scheme`:
    /// `http` or `https` when a trusted proxy says which one the browser uses.
    pub fn origin(&self, host: &str, scheme: Option<&'static str>) -> (String, String) {
        match scheme {
            Some(scheme) if self.site.scheme.strip_suffix("://") != Some(scheme) => {
                (format!("{scheme}://{host}"), host.to_owned())
            }
            _ => (format!("{}{host}{}", self.site.scheme, self.site.port), format!("{host}{}", self.site.port)),
        }
    }

    /// Names claimed by the project now, oldest first; from memory.
    pub fn names(&self, project: &ProjectId) -> Vec<String> {
        self.claims(project).iter().map(|claim| claim.name.clone()).collect()
    }

    /// Claims of the project now, oldest first; from memory.
    pub fn claims(&self, project: &ProjectId) -> Arc<[Claim]> {
        self.directory.load().project(project).map_or_else(|| Arc::from([]), |entry| Arc::clone(&entry.claims))
    }

    /// The claim on a name, whoever has it; from memory.
    pub fn claim_of(&self, name: &str) -> Option<Claim> {
        let directory = self.directory.load();
        let host = Hostname::Name(self.host_of(name).into());
        match &*directory.find(&self.site, &self.fixed, &host) {
            Bound::Subdomain { project, .. } => {
                directory.project(project)?.claims.iter().find(|claim| claim.name == name).cloned()
            }
            _ => None,
        }
    }

    /// Whether the project may claim these names: syntax is checked by the spec; this looks at reserved words and
    /// other owners. No writes.
    ///
    /// # Errors
    /// 400 `SUBDOMAIN_RESERVED` for a word of the platform; 409 `SUBDOMAIN_TAKEN`; 409 `SUBDOMAIN_RESERVED` for a
    /// name held for a deleted project's organisation.
    pub async fn check(&self, project: &ProjectId, names: &[String]) -> ApiResult<()> {
        refuse_reserved(names)?;
        if names.is_empty() {
            return Ok(());
        }
        let connection = self.control.get().await?;
        let obstacles = store::obstacles(&**connection, project, names, self.hold_days(), self.clock.now()).await?;
        refuse_obstacles(obstacles)
    }

    /// Inside a transaction of the control database: exactly these names belong to the project, and all of them point
    /// at its live release. Every activation calls this (contract 04 §8).
    ///
    /// # Errors
    /// As [`Hosts::check`].
    pub async fn bind(&self, tx: &Transaction<'_>, project: &ProjectId, names: &[String]) -> ApiResult<()> {
        refuse_reserved(names)?;
        store::release_others(tx, project, names).await?;
        self.take(tx, project, names, None).await
    }

    /// Inside a transaction: points one name of the project at a deployment until the next activation.
    ///
    /// # Errors
    /// As [`Hosts::check`].
    pub async fn pin(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        name: &str,
        deployment: Option<&DeploymentId>,
    ) -> ApiResult<()> {
        let names = [name.to_owned()];
        refuse_reserved(&names)?;
        self.take(tx, project, &names, deployment).await
    }

    async fn take(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        names: &[String],
        pin: Option<&DeploymentId>,
    ) -> ApiResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let pin = pin.map(DeploymentId::as_str);
        if store::take(tx, project, names, pin, self.hold_days(), now).await? == names.len() {
            return Ok(());
        }
        refuse_obstacles(store::obstacles(tx, project, names, self.hold_days(), now).await?)?;
        // Its owner let go of it between the two statements.
        Err(NameError::Taken(names.join(", ")).into())
    }

    /// After that commit: memory follows.
    ///
    /// # Errors
    /// The control database failed; memory stays as it was.
    pub async fn refresh(&self, project: &ProjectId) -> Result<(), DatabaseError> {
        let _turn = self.refreshing.lock().await;
        let claims = store::claims_of(&self.control.get().await?, project).await?;
        self.change(|directory| {
            // A project purged meanwhile stays away.
            if let Some(entry) = directory.project(project) {
                let public_id = entry.urls.public_id.clone();
                directory.put(&self.site, project, &public_id, claims);
            }
        });
        Ok(())
    }

    /// A project was created: its `pr-` host answers from now on.
    pub fn begin(&self, project: &ProjectId, public_id: &str) {
        self.change(|directory| directory.put(&self.site, project, public_id, Vec::new()));
    }

    /// A project ended: its hosts are unknown from now on.
    pub fn end(&self, project: &ProjectId) {
        self.change(|directory| directory.remove(project));
    }

    fn change(&self, edit: impl FnOnce(&mut Directory)) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut directory = (**self.directory.load()).clone();
        edit(&mut directory);
        self.directory.store(Arc::new(directory));
    }

    fn host_of(&self, name: &str) -> String {
        format!("{name}.{}", self.site.base)
    }

    fn hold_days(&self) -> i32 {
        i32::from(self.settings.hold_days)
    }
}

fn refuse_reserved(names: &[String]) -> Result<(), NameError> {
    match names.iter().find(|name| is_reserved(name)) {
        Some(name) => Err(NameError::Reserved(name.clone())),
        None => Ok(()),
    }
}

fn refuse_obstacles(obstacles: Vec<store::Obstacle>) -> ApiResult<()> {
    match obstacles.into_iter().next() {
        Some(store::Obstacle { name, held: true }) => Err(NameError::Held(name).into()),
        Some(store::Obstacle { name, held: false }) => Err(NameError::Taken(name).into()),
        None => Ok(()),
    }
}
