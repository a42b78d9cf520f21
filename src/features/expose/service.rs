//! Applies, reads and validates manifests.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio_postgres::{IsolationLevel, Transaction};
use tracing::Instrument;

use crate::{
    common::{ApiError, ApiResult},
    engines::postgres::Connection,
    features::projects::{PlatformStep, Project, Projects},
};

use super::{
    error::ExposeError,
    introspect::introspect,
    overlay::overlay,
    plan, shape,
    store::{self, Stored},
    types::{Applied, Catalog, Findings, Issue, IssueKind, Manifest, Names, Recorded, StoredManifest},
    validate::{Ground, validate, without_schema},
};

/// The expose manifest of each project.
pub struct Expose {
    projects: Arc<Projects>,
}

impl Expose {
    pub fn new(projects: Arc<Projects>) -> Self {
        Self { projects }
    }

    /// Makes the manifest the truth (contract 02 §6.2): one transaction, all or nothing. Goes on to its end when
    /// the caller goes away.
    ///
    /// # Errors
    /// 400 `INVALID_EXPOSE_MANIFEST`, `SQL_ERROR`; 408 `SQL_TIMEOUT`; 409 `SQL_CONFLICT`; 503.
    pub async fn apply(&self, project: &Arc<Project>, document: Value) -> ApiResult<Applied> {
        let (projects, project) = (Arc::clone(&self.projects), Arc::clone(project));
        let work = async move {
            let mut owner = projects.owner_session(&project).await?;
            let outcome = apply_on(&mut owner, &projects, &project, document).await;
            match outcome {
                Ok((answer, changed)) => {
                    if changed {
                        projects.bump_schema_version(&project);
                    }
                    Ok(answer)
                }
                Err(error) => {
                    // A lost connection may have committed.
                    projects.bump_schema_version(&project);
                    owner.discard();
                    Err(error.into())
                }
            }
        };
        tokio::spawn(work.in_current_span()).await.map_err(ApiError::internal)?
    }

    /// As [`Expose::apply`] at the end of an open transaction of the owner role, which must read committed data and
    /// which the caller commits and, after an error, gives up with its session. Answers whether anything changed; the
    /// caller then bumps the schema version.
    ///
    /// # Errors
    /// As [`Expose::apply`].
    pub async fn apply_in(&self, tx: &Transaction<'_>, project: &Project, document: Value) -> ApiResult<bool> {
        Ok(apply_in(tx, &self.projects, project, document).await?.1)
    }

    /// The manifest in force, or one rebuilt from live grants when none was ever applied.
    ///
    /// # Errors
    /// 503; 500.
    pub async fn current(&self, project: &Project) -> ApiResult<StoredManifest> {
        let (source, manifest) = match self.stored(project).await? {
            Some(stored) => ("applied", sections(stored.manifest)),
            None => ("introspected", introspect(&self.catalog(project).await?)),
        };
        Ok(StoredManifest { status: "ok", project_id: project.id.to_string(), source, manifest })
    }

    /// Finds what an apply would refuse. Runs nothing and changes nothing. With `project` the live schema counts,
    /// and with `migration_sql` what that text would make of it.
    ///
    /// # Errors
    /// 503; 500.
    pub async fn validate(
        &self,
        project: Option<&Project>,
        document: &Value,
        migration_sql: Option<&str>,
    ) -> ApiResult<Findings> {
        let (catalog, recorded) = match project {
            Some(project) => {
                let stored = self.stored(project).await?.unwrap_or_default();
                (Some(self.catalog(project).await?), stored.objects)
            }
            None => (None, Recorded::default()),
        };
        Ok(findings(document, catalog, &recorded, migration_sql))
    }

    async fn catalog(&self, project: &Project) -> ApiResult<Catalog> {
        let mut owner = self.projects.owner_session(project).await?;
        let catalog = read_catalog(&mut owner).await;
        if catalog.is_err() {
            owner.discard();
        }
        Ok(catalog?)
    }

    async fn stored(&self, project: &Project) -> ApiResult<Option<Stored>> {
        Ok(stored_of(&self.projects, project).await?)
    }
}

async fn stored_of(projects: &Projects, project: &Project) -> Result<Option<Stored>, ExposeError> {
    let platform = projects.platform_session(project).await?;
    Ok(store::stored(&platform).await?)
}

async fn read_catalog(owner: &mut Connection) -> Result<Catalog, ExposeError> {
    let tx = owner.build_transaction().read_only(true).start().await?;
    store::configure(&tx).await?;
    let catalog = store::snapshot(&tx).await?;
    tx.commit().await?;
    Ok(catalog)
}

/// The pure part of validation.
pub(super) fn findings(
    document: &Value,
    catalog: Option<Catalog>,
    recorded: &Recorded,
    migration_sql: Option<&str>,
) -> Findings {
    let (manifest, mut issues) = shape::read(document);
    let catalog = match (catalog, migration_sql) {
        (None, None) => {
            issues.push(without_schema());
            return Findings::of(issues);
        }
        (catalog, _) => catalog.unwrap_or_default(),
    };
    let laid = overlay(catalog, migration_sql.unwrap_or_default());
    let ground = Ground { catalog: &laid.catalog, recorded, open: laid.open };
    issues.extend(validate(&manifest, &ground));
    issues.extend(laid.issues);
    Findings::of(issues)
}

/// Answers what is in force, and whether anything was changed.
async fn apply_on(
    owner: &mut Connection,
    projects: &Projects,
    project: &Project,
    document: Value,
) -> Result<(Applied, bool), ExposeError> {
    // Each snapshot must see what was committed before it.
    let tx = owner.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(false).start().await?;
    let outcome = apply_in(&tx, projects, project, document).await?;
    tx.commit().await?;
    Ok(outcome)
}

async fn apply_in(
    tx: &Transaction<'_>,
    projects: &Projects,
    project: &Project,
    document: Value,
) -> Result<(Applied, bool), ExposeError> {
    let (manifest, mut issues) = shape::read(&document);
    store::configure(tx).await?;
    store::take_turn(tx).await?;
    let stored = stored_of(projects, project).await?;
    let before = stored.clone().unwrap_or_default();

    // What is granted or to be granted must not be altered between the snapshot and the grants.
    let seen = store::snapshot(tx).await?;
    store::hold(tx, &touched(&manifest, &seen)).await?;
    let catalog = store::snapshot(tx).await?;
    issues.extend(validate(&manifest, &Ground { catalog: &catalog, recorded: &before.objects, open: false }));
    let findings = Findings::of(issues);
    if findings.has_errors {
        return Err(ExposeError::Invalid(findings));
    }

    let steps = plan::statements(&manifest, &catalog, &before.objects);
    let after = if steps.is_empty() {
        catalog
    } else {
        store::search_as_project(tx).await?;
        for step in &steps {
            let refused = |source| ExposeError::Statement { path: step.path.clone(), source };
            store::run(tx, &step.sql).await.map_err(refused)?;
        }
        store::snapshot(tx).await?
    };
    let grants = plan::grants(&manifest, &after);
    if !grants.is_empty() {
        projects.platform_step(tx, project, PlatformStep::Grants, &json!(grants)).await?;
    }
    let now = Stored { objects: plan::record(&manifest, &after), ..to_store(document) };
    let recorded_anew = stored.as_ref() != Some(&now);
    if recorded_anew {
        let payload = json!({"manifest": now.manifest, "sha256_hex": now.sha256_hex, "objects": now.objects});
        projects.platform_step(tx, project, PlatformStep::RecordManifest, &payload).await?;
    }

    let names = exposed_names(&manifest);
    let previous = exposed_names(&shape::read(&before.manifest).0);
    let answer = Applied {
        status: "ok",
        project_id: project.id.to_string(),
        dropped: Names {
            tables: without(previous.tables, &names.tables),
            views: without(previous.views, &names.views),
            rpcs: without(previous.rpcs, &names.rpcs),
        },
        applied: names,
        warnings: findings.warnings,
    };
    Ok((answer, recorded_anew || !steps.is_empty() || !grants.is_empty()))
}

/// The tables of a manifest and those that have grants.
fn touched<'a>(manifest: &Manifest, catalog: &'a Catalog) -> Vec<&'a str> {
    let named: BTreeSet<&str> = manifest.tables.iter().map(|entry| entry.name.as_str()).collect();
    let touched = catalog.tables.iter().filter(|table| named.contains(table.name.as_str()) || !table.grants.is_empty());
    touched.map(|table| table.name.as_str()).collect()
}

/// The document as it is kept: as it was sent, without the editor's hint.
fn to_store(mut manifest: Value) -> Stored {
    if let Some(object) = manifest.as_object_mut() {
        object.remove("$schema");
    }
    Stored { sha256_hex: plan::digest(&manifest.to_string()), manifest, objects: Recorded::default() }
}

fn exposed_names(manifest: &Manifest) -> Names {
    let mut rpcs: Vec<String> = Vec::new();
    for entry in &manifest.rpcs {
        if !rpcs.contains(&entry.name) {
            rpcs.push(entry.name.clone());
        }
    }
    Names {
        tables: manifest.tables.iter().filter(|entry| entry.exposed).map(|entry| entry.name.clone()).collect(),
        views: manifest.views.iter().filter(|entry| entry.exposed).map(|entry| entry.name.clone()).collect(),
        rpcs,
    }
}

fn without(mut names: Vec<String>, kept: &[String]) -> Vec<String> {
    names.retain(|name| !kept.contains(name));
    names
}

/// A missing section equals an empty list; readers get all three.
fn sections(mut manifest: Value) -> Value {
    if let Some(object) = manifest.as_object_mut() {
        for section in ["tables", "views", "rpcs"] {
            object.entry(section).or_insert_with(|| json!([]));
        }
    }
    manifest
}

/// Parses a manifest that was sent as a string.
pub(super) fn document_of(value: Value) -> Result<Value, Issue> {
    match value {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| Issue::error(IssueKind::SchemaShape, "", format!("The manifest is not JSON: {error}."))),
        value => Ok(value),
    }
}
