//! `POST /apply/v1/plans` (contract 03 §5): what a spec would change, kept for a commit. Plans lock nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use axum::http::HeaderMap;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::{
    error,
    service::{Apply, principal},
    store::{operations, plans, project as project_store},
    types::{BaseKind, Envelope, Kind, Plan, Status},
};
use crate::{
    common::{ApiError, ApiResult, OperationId, PlanId, ProjectId, ReleaseId},
    engines::blobs::Sha256Digest,
    features::{
        assets::AssetPlan,
        content::Reference,
        projects::Project,
        releases::{
            self, Base, Diff, FunctionCode, FunctionsSlice, Migration, MigrationPlan, MigrationSql, MigrationsDiff,
            Planned, ReleaseSource, ReleaseState, SCHEMA_VERSION, SITE_ROWS, ServedRelease, SiteFiles, Spec,
            SpecLimits, Warning,
        },
    },
};

/// Longest idempotency key, in bytes.
const MAX_KEY: usize = 256;

/// A request to plan, read but not judged.
struct Request {
    spec: Map<String, Value>,
    manifest_ref: Option<Value>,
    idempotency_key: Option<String>,
}

/// What a spec is planned against.
pub(super) struct Ground {
    pub live: Option<Arc<ServedRelease>>,
    pub base_kind: BaseKind,
    /// Applied migrations, by id; only read when the spec has migrations.
    pub registry: BTreeMap<String, Sha256Digest>,
    pub stored_secrets: BTreeSet<String>,
}

impl Ground {
    pub fn base(&self) -> Option<&ReleaseState> {
        self.live.as_ref().map(|release| &*release.state)
    }

    pub fn base_id(&self) -> Option<&ReleaseId> {
        self.live.as_ref().map(|release| &release.release)
    }
}

/// What a spec makes of its ground.
pub(super) struct Draft {
    pub state: ReleaseState,
    pub diff: Diff,
    pub migrations: MigrationsDiff,
    pub warnings: Vec<Warning>,
    /// The resulting state is that of the base, and no migration is new.
    pub same_state: bool,
}

/// A spec held against the project.
struct Judged {
    ground: Ground,
    draft: Draft,
    assets: Option<AssetPlan>,
    /// Contents that must be uploaded before the commit.
    missing: HashSet<Sha256Digest>,
    /// Nothing at all would change.
    is_noop: bool,
}

impl Apply {
    /// Plans a spec; with `dry_run` nothing is written.
    ///
    /// # Errors
    /// Contract 03 §5.3.
    pub async fn plan(&self, headers: &HeaderMap, envelope: Envelope, dry_run: bool) -> ApiResult<Value> {
        let request = read(envelope)?;
        let named = project_of(&request.spec)?;
        let (project, caller) = self.content.deployer(headers, &named).await?;
        let limits = self.spec_limits(&project).await?;
        let document = self.document(&project, &request, dry_run).await?;
        let (spec, manifest_digest, references) = parse(Arc::new(document), limits.clone()).await?;
        if spec.project != project.id {
            return Err(error::invalid_spec("project_id", "The uploaded spec names another project than the request."));
        }
        let judged = self.judge(&project, &spec, &references, limits).await?;
        let now = self.clock.now();
        let mut plan = Plan {
            id: PlanId::generate(now),
            project: project.id.clone(),
            operation: OperationId::generate(now),
            base_kind: judged.ground.base_kind,
            base: judged.ground.base_id().cloned(),
            manifest_digest,
            idempotency_key: request.idempotency_key,
            principal: principal(&caller),
            spec: Arc::default(),
            is_noop: judged.is_noop,
            created_at: now,
            expires_at: now.plus(SignedDuration::from_hours(i64::from(self.settings.plan_hours))),
        };
        if !dry_run {
            plan.spec = Arc::new(spec.normalised.clone());
            let status = if judged.missing.is_empty() { Status::Planning } else { Status::Uploading };
            self.keep_plan(&mut plan, &references, status).await?;
        }
        Ok(answer(&plan, judged, &references, dry_run))
    }

    /// What a spec would make of the project, as it is now.
    async fn judge(
        &self,
        project: &Project,
        spec: &Arc<Spec>,
        references: &[Reference],
        limits: SpecLimits,
    ) -> ApiResult<Judged> {
        let ground = self.ground(project, spec).await?;
        let migrations = MigrationPlan::against(&ground.registry, &spec.database.migrations)
            .map_err(|mismatch| error::checksum_mismatch(mismatch, "plan"))?;
        let applied: HashSet<Sha256Digest> = migrations.noop.iter().filter_map(|known| sql_digest(known)).collect();
        let digests: Vec<Sha256Digest> = references.iter().map(|reference| reference.sha256).collect();
        let present = self.content.present(&project.id, &digests).await?;
        check_sizes(references, &present)?;
        let is_missing = |digest: &Sha256Digest| !present.contains_key(digest) && !applied.contains(digest);
        let missing: HashSet<Sha256Digest> = digests.into_iter().filter(is_missing).collect();
        let sql = self.readable_sql(project, &migrations, &present, limits.max_migration_bytes).await?;
        self.check_expose(project, spec, &ground, &migrations, &sql).await?;
        let drifted = self.expose_drifted(project, spec, &ground).await?;

        let confirm_removals = self.settings.confirm_removals;
        let drafting = Drafting { spec: Arc::clone(spec), ground, present, sql, limits, confirm_removals };
        let (draft, ground) = draft(drafting).await?;
        self.hosts.check(&project.id, &draft.state.subdomains).await?;
        let assets = match &spec.assets {
            Some(slice) => Some(self.assets.plan(project, slice, &arriving(spec)).await?),
            None => None,
        };
        let effective_assets = assets.as_ref().is_some_and(|assets| assets.effective);
        let is_noop = ground.live.is_some()
            && draft.same_state
            && !drifted
            && !effective_assets
            && spec.secrets.delete.is_empty();
        Ok(Judged { ground, draft, assets, missing, is_noop })
    }

    /// The spec itself: in the request, or uploaded as content before (contract 03 §4.2).
    async fn document(&self, project: &Project, request: &Request, dry_run: bool) -> ApiResult<Value> {
        let Some(reference) = &request.manifest_ref else { return Ok(Value::Object(request.spec.clone())) };
        if dry_run {
            return Err(error::invalid_spec("manifest_ref", "A dry run needs the spec in the request itself."));
        }
        if request.spec.keys().any(|key| key != "project_id" && key != "project") {
            return Err(error::invalid_spec("spec", "Beside manifest_ref the spec may hold project_id only."));
        }
        let digest: Sha256Digest =
            reference["sha256"].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                error::invalid_spec("manifest_ref.sha256", "Give the SHA-256 of the spec in lower-case hexadecimal.")
            })?;
        let most = self.settings.max_manifest_bytes;
        if reference["size"].as_u64().is_none_or(|size| size > most) {
            let message = format!("Give the size of the uploaded spec, at most {most} bytes.");
            return Err(error::invalid_spec("manifest_ref.size", message));
        }
        let bytes = self.content.read(&project.id, digest, most).await?;
        let bytes = bytes.ok_or_else(|| error::content_missing(&[digest]))?;
        let parsed = tokio::task::spawn_blocking(move || crate::common::json::read(&bytes)).await;
        match parsed.map_err(ApiError::internal)? {
            Ok(spec @ Value::Object(_)) => Ok(spec),
            Ok(_) => Err(error::invalid_spec("manifest_ref", "The uploaded spec must be a JSON object.")),
            Err(wrong) => Err(error::invalid_spec("manifest_ref", format!("The uploaded spec is not JSON: {wrong}."))),
        }
    }

    /// The live release, checked against what the spec starts from, and what else the project has.
    pub(super) async fn ground(&self, project: &Project, spec: &Spec) -> ApiResult<Ground> {
        let live = self.live.live(&project.id).await?;
        let live_id = live.as_ref().map(|release| &release.release);
        let base_kind = match &spec.base {
            Base::Current => BaseKind::Current,
            Base::Empty => BaseKind::Empty,
            Base::Release(_) => BaseKind::Pinned,
        };
        match &spec.base {
            Base::Empty if live.is_some() => return Err(error::base_conflict(base_kind, None, live_id)),
            Base::Release(wanted) if Some(wanted) != live_id => {
                let known = super::store::releases::find(&**self.control.get().await?, wanted).await?;
                if known.is_none_or(|release| release.project != project.id) {
                    return Err(error::release_not_found());
                }
                return Err(error::base_conflict(base_kind, Some(wanted), live_id));
            }
            Base::Current | Base::Empty | Base::Release(_) => {}
        }
        let registry = if spec.database.migrations.is_empty() {
            live.as_ref().map(|release| release.state.migrations.clone()).unwrap_or_default()
        } else {
            self.registry(project).await?
        };
        let stored_secrets = self.secrets.names(&project.id).await?.into_iter().collect();
        Ok(Ground { live, base_kind, registry, stored_secrets })
    }

    /// Every migration applied to the project.
    pub(super) async fn registry(&self, project: &Project) -> ApiResult<BTreeMap<String, Sha256Digest>> {
        let platform = self.projects.platform_session(project).await?;
        let applied = project_store::registry(&platform).await?;
        Ok(applied.into_iter().map(|(id, applied)| (id, applied.checksum)).collect())
    }

    /// SQL of new migrations whose bytes are there.
    async fn readable_sql(
        &self,
        project: &Project,
        migrations: &MigrationPlan<'_>,
        present: &HashMap<Sha256Digest, u64>,
        most: u64,
    ) -> ApiResult<HashMap<String, String>> {
        let mut texts = HashMap::new();
        for migration in &migrations.new {
            let text = match &migration.sql {
                MigrationSql::Inline(text) => Some(text.clone()),
                MigrationSql::Ref(reference) if present.contains_key(&reference.sha256) => {
                    let bytes = self.content.read(&project.id, reference.sha256, most).await?;
                    bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
                }
                MigrationSql::Ref(_) => None,
            };
            texts.extend(text.map(|text| (migration.id.clone(), text)));
        }
        Ok(texts)
    }

    /// Holds a new manifest against the schema as far as it is known, so that most mistakes are told at the plan.
    async fn check_expose(
        &self,
        project: &Project,
        spec: &Spec,
        ground: &Ground,
        migrations: &MigrationPlan<'_>,
        sql: &HashMap<String, String>,
    ) -> ApiResult<()> {
        let Some(manifest) = &spec.database.expose else { return Ok(()) };
        let unchanged = ground.base().and_then(|base| base.expose.as_ref()) == Some(manifest);
        if unchanged && migrations.new.is_empty() {
            return Ok(());
        }
        // Without all the SQL nobody knows which tables there will be; the commit checks again.
        let all_there = migrations.new.iter().all(|migration| sql.contains_key(&migration.id));
        let text: Vec<&str> = migrations.new.iter().filter_map(|new| sql.get(&new.id)).map(String::as_str).collect();
        let text = text.join(";\n");
        let findings = self.expose.validate(all_there.then_some(project), manifest, all_there.then_some(&text)).await?;
        findings
            .into_result()
            .map_err(|error| error.extra("phase", "validate").extra("resource", "database.expose"))?;
        Ok(())
    }

    /// Whether a manifest that the spec repeats is not in force any more, because it was changed outside a deploy.
    async fn expose_drifted(&self, project: &Project, spec: &Spec, ground: &Ground) -> ApiResult<bool> {
        let Some(wanted) = &spec.database.expose else { return Ok(false) };
        if ground.base().and_then(|base| base.expose.as_ref()) != Some(wanted) {
            return Ok(false);
        }
        let current = self.expose.current(project).await?;
        Ok(current.source != "applied" || with_sections(&current.manifest) != with_sections(wanted))
    }

    /// Writes the plan, or finds an identical one that waits to be committed and takes its place.
    async fn keep_plan(&self, plan: &mut Plan, references: &[Reference], status: Status) -> ApiResult<()> {
        let _turn = self.plan_turns.take(&plan.project).await;
        let mut connection = self.control.get().await?;
        let wanted = plans::Identity {
            project: &plan.project,
            base: plan.base.as_ref(),
            base_kind: plan.base_kind,
            manifest_digest: &plan.manifest_digest,
            idempotency_key: plan.idempotency_key.as_deref(),
            principal: &plan.principal,
        };
        let now = self.clock.now();
        if let Some((id, operation, expires_at)) = plans::find_open(&**connection, &wanted, now).await? {
            operations::set_open(&**connection, &operation, status, now).await?;
            (plan.id, plan.operation, plan.expires_at) = (id, operation, expires_at);
            return Ok(());
        }
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let operation = operations::New {
            id: &plan.operation,
            project: &plan.project,
            plan: Some(&plan.id),
            kind: Kind::Apply,
            status,
            base: plan.base.as_ref(),
            target: None,
            touches_database: false,
            created_by: &plan.principal,
        };
        operations::insert(&tx, &operation, now).await?;
        plans::insert(&tx, plan).await?;
        if !plan.is_noop {
            // What a plan that changes nothing names is held by the live release.
            self.content.expect(&tx, &plan.project, &plan.id, references, plan.expires_at).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Takes the envelope apart (contract 03 §4.1).
fn read(mut envelope: Envelope) -> ApiResult<Request> {
    let spec = match envelope.remove("spec") {
        Some(Value::Object(spec)) => spec,
        _ => return Err(error::invalid_spec("spec", "Send {\"spec\": {…}}.")),
    };
    let manifest_ref = envelope.remove("manifest_ref").filter(|value| !value.is_null());
    if manifest_ref.as_ref().is_some_and(|reference| !reference.is_object()) {
        return Err(error::invalid_spec("manifest_ref", "manifest_ref is {sha256, size, content_type}."));
    }
    let idempotency_key = match envelope.remove("idempotency_key") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) if !key.is_empty() && key.len() <= MAX_KEY && !key.chars().any(char::is_control) => {
            Some(key)
        }
        Some(_) => {
            let message = format!("idempotency_key is a printable text of at most {MAX_KEY} bytes.");
            return Err(error::invalid_spec("idempotency_key", message));
        }
    };
    match envelope.keys().next() {
        Some(unknown) => Err(error::invalid_spec(unknown, format!("The request has no field {unknown:?}."))),
        None => Ok(Request { spec, manifest_ref, idempotency_key }),
    }
}

/// The project a spec is for; everything else about it is read later.
fn project_of(spec: &Map<String, Value>) -> ApiResult<ProjectId> {
    let named = spec.get("project_id").or_else(|| spec.get("project"));
    let text = named.and_then(Value::as_str);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| error::invalid_spec("project_id", "Give the id of the project as project_id."))
}

/// The body of contract 03 §5.1.
fn answer(plan: &Plan, judged: Judged, references: &[Reference], dry_run: bool) -> Value {
    let Judged { draft, assets, missing, is_noop, .. } = judged;
    let content = |reference: &Reference| {
        let present = !missing.contains(&reference.sha256);
        json!({"sha256": reference.sha256, "size": reference.size, "present": present})
    };
    let mut body = json!({
        "kind": "plan_response",
        "schema_version": SCHEMA_VERSION,
        "plan_id": (!dry_run).then(|| plan.id.as_str()),
        "operation_id": (!dry_run).then(|| plan.operation.as_str()),
        "base_release_id": plan.base,
        "manifest_digest": plan.manifest_digest,
        "is_noop": is_noop,
        "summary": draft.diff.summary(draft.migrations.new.len()),
        "warnings": draft.warnings,
        "expected_events": expected_events(!missing.is_empty(), &draft.migrations, is_noop),
        "missing_content": references.iter().map(content).collect::<Vec<_>>(),
        "payment_required": null,
        "expires_at": plan.expires_at,
        "migrations": draft.migrations,
    });
    if let (Some(body), Value::Object(diff)) = (body.as_object_mut(), json!(draft.diff)) {
        body.extend(diff);
        if let Some(assets) = assets {
            body.insert("asset_entries".into(), Value::Array(assets.entries));
            body.insert("asset_deletes".into(), json!(assets.deletes));
            body.extend(assets.sync.map(|sync| ("asset_sync".to_owned(), sync)));
        }
    }
    body
}

/// Reads a spec off the reactor: it may have 25,000 files. Its digest and the contents it names come with it.
pub(super) async fn parse(document: Arc<Value>, limits: SpecLimits) -> ApiResult<(Arc<Spec>, String, Vec<Reference>)> {
    let work = move || {
        let spec = Spec::parse(Arc::unwrap_or_clone(document), &limits)?;
        let (digest, references) = (spec.manifest_digest(), spec.references());
        Ok((Arc::new(spec), digest, references))
    };
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?
}

/// What [`draft`] needs.
pub(super) struct Drafting {
    pub spec: Arc<Spec>,
    pub ground: Ground,
    pub present: HashMap<Sha256Digest, u64>,
    pub sql: HashMap<String, String>,
    pub limits: SpecLimits,
    pub confirm_removals: bool,
}

/// Makes the resulting state and what is to be said of it, off the reactor.
async fn draft(parts: Drafting) -> ApiResult<(Draft, Ground)> {
    let work = move || {
        let Drafting { spec, ground, present, sql, limits, confirm_removals } = parts;
        let migrations = MigrationPlan::against(&ground.registry, &spec.database.migrations)
            .map_err(|mismatch| error::checksum_mismatch(mismatch, "plan"))?;
        let state = materialise(&spec, &ground, &migrations, &limits)?;
        let diff = releases::diff(ground.base(), &state, &present, SITE_ROWS);
        let warnings = releases::plan_warnings(&Planned {
            base: ground.base(),
            spec: &spec,
            state: &state,
            diff: &diff,
            migrations: &migrations,
            sql: &sql,
            stored_secrets: &ground.stored_secrets,
            confirm_removals,
        });
        let same_state = migrations.new.is_empty() && ground.base().is_some_and(|base| releases::is_noop(base, &state));
        let migrations = migrations.wire();
        Ok((Draft { state, diff, migrations, warnings, same_state }, ground))
    };
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?
}

/// The state that `spec` makes of its ground, migrations included.
pub(super) fn materialise(
    spec: &Spec,
    ground: &Ground,
    migrations: &MigrationPlan<'_>,
    limits: &SpecLimits,
) -> ApiResult<ReleaseState> {
    let mut state = ReleaseState::materialise(ground.base(), spec, limits)?;
    state.migrations = if migrations.new.is_empty() {
        // What was applied stays applied, also below an older release that was promoted.
        ground.base().map_or_else(|| migrations.registry_after(&ground.registry), |base| base.migrations.clone())
    } else {
        migrations.registry_after(&ground.registry)
    };
    Ok(state)
}

/// Sizes of the spec against those of the bytes (contract 03 §4.3, Ref).
pub(super) fn check_sizes(references: &[Reference], present: &HashMap<Sha256Digest, u64>) -> ApiResult<()> {
    let wrong = references.iter().find_map(|reference| {
        let is = *present.get(&reference.sha256)?;
        (is != reference.size).then_some((reference, is))
    });
    wrong.map_or(Ok(()), |(reference, is)| Err(error::wrong_size(reference.sha256, reference.size, is)))
}

/// What an uploaded migration's SQL is stored under.
pub(super) fn sql_digest(migration: &Migration) -> Option<Sha256Digest> {
    match &migration.sql {
        MigrationSql::Inline(_) => None,
        MigrationSql::Ref(reference) => Some(reference.sha256),
    }
}

/// Contents that other slices than the assets bring.
fn arriving(spec: &Spec) -> HashSet<Sha256Digest> {
    let mut found = HashSet::new();
    if let Some(SiteFiles::Replace(files) | SiteFiles::Patch { put: files, .. }) =
        spec.site.as_ref().and_then(|site| site.files.as_ref())
    {
        found.extend(files.values().map(|file| file.sha256));
    }
    if let Some(FunctionsSlice::Replace(set) | FunctionsSlice::Patch { set, .. }) = &spec.functions {
        for code in set.values().filter_map(|function| function.code.as_ref()) {
            match code {
                FunctionCode::Source(source) => _ = found.insert(source.sha256),
                FunctionCode::Files { files, .. } => found.extend(files.values().map(|file| file.sha256)),
            }
        }
    }
    found.extend(spec.database.migrations.iter().filter_map(sql_digest));
    found
}

/// A manifest as it compares: absent sections are empty, the editor's hint is none of it.
fn with_sections(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(object) = manifest.as_object_mut() {
        object.remove("$schema");
        for section in ["tables", "views", "rpcs"] {
            object.entry(section).or_insert_with(|| json!([]));
        }
    }
    manifest
}

fn expected_events(missing: bool, migrations: &MigrationsDiff, is_noop: bool) -> Vec<&'static str> {
    let mut events = vec!["plan.created"];
    if missing {
        events.push("content.uploaded");
    }
    if !migrations.new.is_empty() {
        events.push("migrations.applied");
    }
    if !is_noop {
        events.push("release.activated");
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(value: Value) -> Envelope {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_envelope_has_three_fields_and_no_other() {
        let read_one = |value: Value| read(envelope(value));
        assert!(read_one(json!({"spec": {}, "idempotency_key": "k", "manifest_ref": null})).is_ok());
        for (value, resource) in [
            (json!({}), "spec"),
            (json!({"spec": []}), "spec"),
            (json!({"spec": {}, "manifest_ref": "x"}), "manifest_ref"),
            (json!({"spec": {}, "idempotency_key": 7}), "idempotency_key"),
            (json!({"spec": {}, "idempotency_key": ""}), "idempotency_key"),
            (json!({"spec": {}, "idempotency_key": "a\nb"}), "idempotency_key"),
            (json!({"spec": {}, "idempotency_key": "x".repeat(257)}), "idempotency_key"),
            (json!({"spec": {}, "project": "prj_1"}), "project"),
        ] {
            let body = read_one(value.clone()).err().unwrap().body("trc_1", false);
            assert_eq!((&body["code"], &body["resource"]), (&json!("INVALID_SPEC"), &json!(resource)), "{value}");
        }
    }

    #[test]
    fn manifests_compare_without_their_empty_sections() {
        let short = json!({"$schema": "x", "version": "1", "tables": []});
        let long = json!({"version": "1", "tables": [], "views": [], "rpcs": []});
        assert_eq!(with_sections(&short), with_sections(&long));
        assert_ne!(with_sections(&short), with_sections(&json!({"version": "1", "tables": [{"name": "t"}]})));
    }
}
