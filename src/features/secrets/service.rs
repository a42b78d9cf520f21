//! The rules of secrets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_postgres::Transaction;

use super::{
    store,
    types::{SecretEntry, SecretError, SecretKey, SecretValue},
};
use crate::{
    common::{ApiError, ApiResult, Clock, ProjectId, sealing::MasterKey},
    engines::postgres::{Database, DatabaseError},
    features::{
        orgs::{Gate, Orgs, Tier},
        projects::{self, Project},
        tiers::Tiers,
    },
};

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub master_key: MasterKey,
    pub orgs: Arc<Orgs>,
    pub tiers: Arc<Tiers>,
}

/// The service.
pub struct Secrets {
    control: Database,
    clock: Clock,
    master_key: MasterKey,
    orgs: Arc<Orgs>,
    tiers: Arc<Tiers>,
    /// How often the values of a project changed since the start.
    versions: Mutex<HashMap<ProjectId, u64>>,
}

impl Secrets {
    pub fn new(parts: Dependencies) -> Self {
        Self {
            control: parts.control,
            clock: parts.clock,
            master_key: parts.master_key,
            orgs: parts.orgs,
            tiers: parts.tiers,
            versions: Mutex::default(),
        }
    }

    /// Stores a value or replaces the one there was. Functions see it from their next invocation on.
    ///
    /// # Errors
    /// 403 when the organisation's lifecycle forbids it or its tier has no room for another name; 401 when the project
    /// was purged a moment ago.
    pub(super) async fn set(&self, project: &Project, key: &SecretKey, value: &SecretValue) -> ApiResult<()> {
        let sealed = self.master_key.seal(&purpose(&project.id, key.as_str()), value.reveal().as_bytes());
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await.map_err(DatabaseError::from)?;
        // The organisation's row is locked, so that two requests cannot both take its last place.
        let organisation = self.orgs.lock(&tx, project.organisation).await?.ok_or_else(projects::deleted)?;
        self.orgs.gate(&organisation, Gate::ControlPlane)?;
        let limit = self.tiers.terms(organisation.tier().unwrap_or(Tier::Prototype)).secrets;
        let used = store::count_others(&tx, project.organisation, &project.id, key.as_str()).await?;
        if used >= limit {
            return Err(SecretError::TooMany { used, limit }.into());
        }
        if !store::put(&tx, &project.id, key.as_str(), &sealed, self.clock.now()).await? {
            return Err(projects::deleted());
        }
        tx.commit().await.map_err(DatabaseError::from)?;
        self.changed(&project.id);
        Ok(())
    }

    /// Removes one value.
    ///
    /// # Errors
    /// 404 `SECRET_NOT_FOUND`.
    pub(super) async fn remove(&self, project: &Project, key: &SecretKey) -> ApiResult<()> {
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await.map_err(DatabaseError::from)?;
        if self.delete(&tx, &project.id, &[key.as_str().to_owned()]).await? == 0 {
            return Err(SecretError::NotFound.into());
        }
        tx.commit().await.map_err(DatabaseError::from)?;
        self.changed(&project.id);
        Ok(())
    }

    /// Grows when a value was set or removed; what an activation removes shows in the release's generation instead.
    /// Begins anew with the process.
    pub fn version(&self, project: &ProjectId) -> u64 {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(project).copied().unwrap_or(0)
    }

    fn changed(&self, project: &ProjectId) {
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner).entry(project.clone()).or_default() += 1;
    }

    /// Names and times, sorted by name.
    pub async fn list(&self, project: &ProjectId) -> ApiResult<Vec<SecretEntry>> {
        Ok(store::list(&self.control.get().await?, project).await?)
    }

    /// Names with a stored value, sorted.
    pub async fn names(&self, project: &ProjectId) -> ApiResult<Vec<String>> {
        Ok(self.list(project).await?.into_iter().map(|entry| entry.key).collect())
    }

    /// Every value, sorted by name: for the environment of the project's functions.
    ///
    /// # Errors
    /// 500 when a value does not open, as after a restore under another master key.
    pub async fn values(&self, project: &ProjectId) -> ApiResult<Vec<(String, SecretValue)>> {
        let sealed = store::sealed(&self.control.get().await?, project).await?;
        sealed
            .into_iter()
            .map(|(key, sealed)| {
                let plain = self.master_key.open(&purpose(project, &key), &sealed).map_err(ApiError::internal)?;
                // The cause would hold the bytes.
                let text = String::from_utf8(plain.to_vec()).map_err(|_| ApiError::internal("a secret is no text"))?;
                Ok((key, SecretValue::of(text)))
            })
            .collect()
    }

    /// Inside the activation transaction: removes these values. Answers how many there were.
    pub async fn delete(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        keys: &[String],
    ) -> Result<u64, DatabaseError> {
        store::delete(tx, project, keys).await
    }
}

/// What a value is sealed for. Neither part can hold a space, so no two pairs share a purpose.
fn purpose(project: &ProjectId, key: &str) -> String {
    format!("function secret {} {key}", project.as_str())
}
