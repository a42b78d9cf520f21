//! What a release holds, and what differs between two (contract 03 §9.1, §9.2).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{
    error,
    service::Apply,
    store::{project as project_store, releases as release_store},
};
use crate::{
    common::{ApiError, ApiResult, ReleaseId, Timestamp, exact_limit},
    features::{
        projects::Project,
        releases::{
            self, MAX_SITE_LIMIT, ReleaseFacts, ReleaseSource, ReleaseState, SCHEMA_VERSION, SITE_LIMIT, SITE_ROWS,
            StateKind,
        },
    },
};

/// One side of a diff.
enum Side {
    Empty,
    Active,
    Release(ReleaseId),
}

/// A side, read: which release it is (none: empty) and its state.
type Read = (Option<ReleaseId>, Arc<ReleaseState>);

impl Apply {
    /// The live release of the key's project; empty slices when nothing was deployed.
    ///
    /// # Errors
    /// 400 `INVALID_LIMIT`; those of the credentials.
    pub async fn active_inventory(&self, headers: &HeaderMap, site_limit: Option<&str>) -> ApiResult<Value> {
        let limit = site_limit_of(site_limit)?;
        let project = self.key_holder(headers).await?;
        let Some(live) = self.live.live(&project.id).await? else {
            return Ok(releases::inventory(&project.id, StateKind::CurrentLive, None, limit, &[]));
        };
        let row = release_store::find(&**self.control.get().await?, &live.release).await?;
        let row = row.ok_or_else(error::release_not_found)?;
        self.inventory(&project, StateKind::CurrentLive, row, &live.state, limit).await
    }

    /// A release by id.
    ///
    /// # Errors
    /// 404 `RELEASE_NOT_FOUND`, also for those of other projects; 400 `INVALID_LIMIT`.
    pub async fn release_inventory(&self, headers: &HeaderMap, id: &str, site_limit: Option<&str>) -> ApiResult<Value> {
        let limit = site_limit_of(site_limit)?;
        let id: ReleaseId = id.parse().map_err(|_| error::release_not_found())?;
        let found = release_store::load(&**self.control.get().await?, &id).await?;
        let (row, state) = found.ok_or_else(error::release_not_found)?;
        let project = self.reader(headers, &row.project, error::release_not_found).await?;
        let kind = match row.status.as_str() {
            "active" | "superseded" => StateKind::Effective,
            _ => StateKind::DesiredManifest,
        };
        self.inventory(&project, kind, row, &state, limit).await
    }

    async fn inventory(
        &self,
        project: &Project,
        kind: StateKind,
        row: release_store::Release,
        state: &ReleaseState,
        limit: usize,
    ) -> ApiResult<Value> {
        let facts = ReleaseFacts {
            release: row.id,
            parent: row.parent,
            status: row.status,
            generation: row.generation,
            manifest_digest: row.manifest_digest,
            created_at: row.created_at,
            created_by: Some(row.created_by),
            activated_at: row.activated_at,
            superseded_at: row.superseded_at,
            operation: row.operation,
            plan: row.plan,
            migrations_applied_at: self.applied_at(project, state).await?,
        };
        let warnings = releases::release_warnings(state);
        Ok(releases::inventory(&project.id, kind, Some((&facts, state)), limit, &warnings))
    }

    async fn applied_at(&self, project: &Project, state: &ReleaseState) -> ApiResult<BTreeMap<String, Timestamp>> {
        if state.migrations.is_empty() {
            return Ok(BTreeMap::new());
        }
        let platform = self.projects.platform_session(project).await?;
        let applied = project_store::registry(&platform).await?;
        Ok(applied.into_iter().map(|(id, applied)| (id, applied.at)).collect())
    }

    /// What differs between two releases of one project.
    ///
    /// # Errors
    /// 400 `DIFF_SAME_RELEASE`, `INVALID_DIFF_TARGET`, `INVALID_LIMIT`; 404 `NO_ACTIVE_RELEASE`, `RELEASE_NOT_FOUND`.
    pub async fn diff(
        &self,
        headers: &HeaderMap,
        from: Option<&str>,
        to: Option<&str>,
        limit: Option<&str>,
    ) -> ApiResult<Value> {
        let limit = exact_limit("limit", limit, SITE_ROWS, MAX_SITE_LIMIT)?;
        let (from, to) = (side("from", from)?, side("to", to)?);
        if matches!(to, Side::Empty) {
            return Err(invalid_target("to"));
        }
        let named = [&from, &to].into_iter().find_map(|side| match side {
            Side::Release(id) => Some(id.clone()),
            Side::Empty | Side::Active => None,
        });
        let project = match named {
            Some(id) => {
                let row = release_store::find(&**self.control.get().await?, &id).await?;
                let row = row.ok_or_else(error::release_not_found)?;
                self.reader(headers, &row.project, error::release_not_found).await?
            }
            None => self.key_holder(headers).await?,
        };
        let (from_id, from_state) = self.read_side(&project, from).await?;
        let (to_id, to_state) = self.read_side(&project, to).await?;
        if from_id == to_id {
            return Err(ApiError::bad_request("DIFF_SAME_RELEASE", "Both sides are the same release.")
                .detail("release_id", to_id.as_ref().map(ReleaseId::as_str)));
        }
        let work = move || {
            // All bytes of a release that was live are there, so nothing would be uploaded.
            let present: HashMap<_, _> = to_state.site.values().map(|file| (file.sha256, file.size)).collect();
            let base = from_id.as_ref().map(|_| &*from_state);
            let diff = releases::diff(base, &to_state, &present, limit);
            let applied: Vec<&String> =
                to_state.migrations.keys().filter(|id| !from_state.migrations.contains_key(*id)).collect();
            let mut body = json!({
                "kind": "release_diff",
                "schema_version": SCHEMA_VERSION,
                "from_release_id": from_id,
                "to_release_id": to_id,
                "is_noop": base.is_some_and(|base| releases::is_noop(base, &to_state)),
                "summary": diff.summary(applied.len()),
                "warnings": releases::diff_warnings(&diff),
                "migrations": {"applied_between_releases": applied},
            });
            if let (Some(body), Value::Object(diff)) = (body.as_object_mut(), json!(diff)) {
                body.extend(diff);
            }
            body
        };
        tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
    }

    async fn read_side(&self, project: &Project, side: Side) -> ApiResult<Read> {
        match side {
            Side::Empty => Ok((None, Arc::default())),
            Side::Active => {
                let live = self.live.live(&project.id).await?.ok_or_else(|| {
                    ApiError::not_found("NO_ACTIVE_RELEASE", "Nothing was deployed to this project yet.")
                })?;
                Ok((Some(live.release.clone()), Arc::clone(&live.state)))
            }
            Side::Release(id) => {
                let loaded = release_store::load(&**self.control.get().await?, &id).await?;
                let (row, state) = loaded.ok_or_else(error::release_not_found)?;
                if row.project != project.id {
                    return Err(error::release_not_found());
                }
                Ok((Some(id), Arc::new(state)))
            }
        }
    }
}

fn side(name: &str, text: Option<&str>) -> ApiResult<Side> {
    match text {
        Some("empty") => Ok(Side::Empty),
        Some("active") => Ok(Side::Active),
        Some(id) => id.parse().map(Side::Release).map_err(|_| invalid_target(name)),
        None => Err(invalid_target(name)),
    }
}

fn invalid_target(name: &str) -> ApiError {
    let allowed = if name == "from" { "`empty`, `active` or a release id" } else { "`active` or a release id" };
    ApiError::bad_request("INVALID_DIFF_TARGET", format!("`{name}` must be {allowed}.")).detail("field", name)
}

fn site_limit_of(text: Option<&str>) -> ApiResult<usize> {
    exact_limit("site_limit", text, SITE_LIMIT, MAX_SITE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_a_diff_are_words_or_releases() {
        assert!(matches!(side("from", Some("empty")), Ok(Side::Empty)));
        assert!(matches!(side("to", Some("active")), Ok(Side::Active)));
        assert!(matches!(side("to", Some("rel_1")), Ok(Side::Release(_))));
        for text in [None, Some(""), Some("rel_"), Some("latest"), Some("../x")] {
            assert_eq!(side("to", text).err().unwrap().code(), "INVALID_DIFF_TARGET", "{text:?}");
        }
    }
}
