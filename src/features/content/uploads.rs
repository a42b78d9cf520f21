//! Content plans: made, found and committed (contract 03 §3.1, §3.3).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header::CONTENT_LENGTH};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Caller, Content, Reference,
    error::ContentError,
    store,
    types::{
        CommittedContent, CommittedObject, ContentEntry, ContentPlan, ContentPlanId, ContentPlanRequest, Plan,
        UploadPart, UploadSession,
    },
};
use crate::{
    common::{ApiError, ApiResult, ProjectId, Timestamp},
    engines::blobs::{BlobError, Sha256Digest},
    features::{
        identity::KeyRole,
        projects::{self, Project},
    },
};

/// Uncommitted plans of one project at a time.
const OPEN_PLANS: i64 = 1000;
/// How long a content plan waits to be read.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// Sessions of the plans kept in memory, at about 40 bytes each.
const CACHED_SESSIONS: usize = 200_000;

/// Plans being uploaded to, so that a PUT need not ask the database. The rows are the truth.
#[derive(Default)]
pub(super) struct PlanCache(Mutex<HashMap<ContentPlanId, Arc<Plan>>>);

impl PlanCache {
    fn get(&self, id: &ContentPlanId) -> Option<Arc<Plan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn insert(&self, plan: Arc<Plan>) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions: usize = plans.values().map(|plan| plan.sessions.len() + 1).sum();
        if sessions + plan.sessions.len() > CACHED_SESSIONS {
            plans.clear();
        }
        plans.insert(plan.id.clone(), plan);
    }

    fn remove(&self, id: &ContentPlanId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub fn retain_unexpired(&self, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, plan| plan.expires_at > now);
    }
}

impl Content {
    /// Refuses whoever has no valid credential of any kind, before his body is read.
    pub(super) fn identify(&self, headers: &HeaderMap) -> ApiResult<()> {
        let key = self.identity.project_key(headers);
        if matches!(key, Ok(Some(_))) || self.identity.wallet(headers)?.is_some() {
            return Ok(());
        }
        Err(key.err().unwrap_or_else(|| {
            ApiError::authentication_required(
                "Send the project's key as apikey, or sign the request with a wallet (SIGN-IN-WITH-X).",
            )
        }))
    }

    /// Waits for room to read a body of the announced length, at most `limit`.
    pub(super) async fn body_room(&self, headers: &HeaderMap, limit: usize) -> ApiResult<OwnedSemaphorePermit> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        // What is read takes about as much again.
        let kib = announced.map_or(limit, |length| length.min(limit)).div_ceil(1024).max(1) * 2;
        let permits = u32::try_from(kib).unwrap_or(u32::MAX);
        let room = timeout(BODY_WAIT, Arc::clone(&self.bodies).acquire_many_owned(permits)).await;
        room.ok().and_then(Result::ok).ok_or_else(|| ContentError::Busy.into())
    }

    /// # Errors
    /// 400 `INVALID_SPEC`, 401, 403 `NOT_AUTHORIZED`, lifecycle, `QUOTA_EXCEEDED`, 413 `CONTENT_TOO_LARGE`, 429.
    pub(super) async fn plan_upload(
        &self,
        headers: &HeaderMap,
        request: &ContentPlanRequest,
    ) -> ApiResult<ContentPlan> {
        let named = request.project_id.as_deref().map(str::parse::<ProjectId>).transpose().map_err(|_| {
            ContentError::InvalidSpec {
                resource: "project_id".into(),
                message: "project_id is not the id of a project.".into(),
            }
        })?;
        let (project, caller) = self.caller(headers, named.as_ref()).await?;
        self.gate(&project).await?;
        let asked = request.validate(self.settings.max_object_bytes)?;
        let now = self.clock.now();
        let digests: Vec<_> = asked.iter().map(|object| object.sha256).collect();

        let connection = self.control.get().await?;
        if matches!(caller, Caller::Key(KeyRole::Anon))
            && let Some(digest) = store::first_unexpected(&connection, &project.id, &digests, now).await?
        {
            return Err(ContentError::NotExpected(digest).into());
        }
        let (open, announced) = store::open_plans_of(&connection, &project.id, &digests, now).await?;
        drop(connection);
        if open >= OPEN_PLANS {
            return Err(ContentError::TooManyPlans.into());
        }
        let present = self.present(&project.id, &digests).await?;
        let missing: Vec<_> = asked.iter().filter(|object| !present.contains_key(&object.sha256)).copied().collect();
        let bytes = missing.iter().fold(0u64, |sum, object| sum.saturating_add(object.size));
        self.projects.room_for(&project, if bytes == 0 { 0 } else { bytes.saturating_add(announced) })?;

        let plan = Plan {
            id: ContentPlanId::generate(now),
            project: project.id.clone(),
            sessions: missing,
            single_bytes: self.settings.single_max_bytes,
            part_bytes: self.settings.part_bytes.max(1),
            expires_at: now.plus(self.settings.plan_lifetime()),
            committed: false,
        };
        store::insert_plan(&self.control.get().await?, &plan, now).await?;
        let entries = digests
            .iter()
            .map(|sha256| ContentEntry { sha256: *sha256, missing: !present.contains_key(sha256) })
            .collect();
        let answer = ContentPlan {
            plan_id: plan.id.clone(),
            expires_at: plan.expires_at,
            missing: self.sessions(&plan, now),
            entries,
        };
        self.plans.insert(Arc::new(plan));
        Ok(answer)
    }

    fn sessions(&self, plan: &Plan, now: Timestamp) -> Vec<UploadSession> {
        let expires_at = now.plus(self.settings.url_lifetime()).min(plan.expires_at);
        let session = |(number, object): (u32, &Reference)| {
            let upload_id = plan.id.upload_id(number);
            let layout = plan.layout(*object);
            let parts = (1..=layout.parts)
                .filter_map(|part| {
                    let range = layout.range(part)?;
                    Some(UploadPart {
                        part_number: part,
                        url: self.urls.part(&upload_id, part, expires_at),
                        byte_start: range.start,
                        byte_end: i64::try_from(range.end).unwrap_or(i64::MAX) - 1,
                    })
                })
                .collect();
            UploadSession {
                sha256: object.sha256,
                mode: if layout.multipart { "multipart" } else { "single" },
                parts,
                part_size_bytes: layout.part_bytes,
                part_count: layout.parts,
                staging_key: format!("_staging/{upload_id}"),
                upload_id,
                expires_at,
            }
        };
        (1..).zip(&plan.sessions).map(session).collect()
    }

    /// An unexpired plan, from memory or the database.
    pub(super) async fn find_plan(&self, id: &ContentPlanId) -> ApiResult<Arc<Plan>> {
        let now = self.clock.now();
        if let Some(plan) = self.plans.get(id) {
            return if plan.expires_at > now { Ok(plan) } else { Err(ContentError::PlanNotFound.into()) };
        }
        let plan = store::find_plan(&self.control.get().await?, id, now).await?.ok_or(ContentError::PlanNotFound)?;
        let plan = Arc::new(plan);
        if !plan.committed {
            self.plans.insert(Arc::clone(&plan));
        }
        Ok(plan)
    }

    /// Commits a plan: to the end, even if the client hangs up. Doing it again answers the same.
    ///
    /// # Errors
    /// 401; 404 `PLAN_NOT_FOUND`; 409 `CONTENT_INCOMPLETE`; 400 `CHECKSUM_MISMATCH`; 403 `QUOTA_EXCEEDED`; 503.
    pub(super) async fn commit_upload(self: &Arc<Self>, headers: &HeaderMap, id: &str) -> ApiResult<CommittedContent> {
        let plan = match id.parse::<ContentPlanId>() {
            Ok(id) => self.find_plan(&id).await,
            Err(_) => Err(ContentError::PlanNotFound.into()),
        };
        let project = match &plan {
            Ok(plan) => self.caller(headers, Some(&plan.project)).await,
            // Who nobody knows is told so before he learns what there is.
            Err(_) => self.caller(headers, None).await,
        };
        let (plan, project) = match (plan, project) {
            (Ok(plan), Ok((project, _))) => (plan, project),
            (_, Err(error)) if error.code() != "NOT_AUTHORIZED" && error.code() != "INVALID_SPEC" => return Err(error),
            (Ok(_), Err(_)) => return Err(ContentError::PlanNotFound.into()),
            (Err(error), _) => return Err(error),
        };
        let content = Arc::clone(self);
        let run = tokio::spawn(async move {
            let turn = content.committing.get(&plan.id, tokio::sync::Mutex::default);
            let _turn = turn.lock().await;
            content.commit(&project, &plan.id).await
        });
        run.await.unwrap_or_else(|error| Err(ApiError::internal(error)))
    }

    async fn commit(&self, project: &Project, id: &ContentPlanId) -> ApiResult<CommittedContent> {
        let connection = self.control.get().await?;
        let plan = store::find_plan(&connection, id, self.clock.now()).await?.ok_or(ContentError::PlanNotFound)?;
        drop(connection);
        if plan.committed {
            return Ok(committed(&plan));
        }
        self.staging.flush(id).await?;
        let new = self.check_arrived(&plan).await?;
        let bytes = new.iter().fold(0u64, |sum, (_, object)| sum.saturating_add(object.size));
        self.projects.room_for(project, bytes)?;
        self.check_stored(&plan, &new).await?;

        let objects: Vec<_> = new.into_iter().map(|(_, object)| object).collect();
        let now = self.clock.now();
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        if !store::lock_project(&tx, &project.id).await? {
            return Err(projects::deleted());
        }
        let grown = store::add(&tx, &project.id, &objects, now).await?;
        store::finish_plan(&tx, id, now).await?;
        tx.commit().await?;
        drop(connection);
        self.plans.remove(id);
        self.staging.remove(id).await;
        self.storage_changed(project, grown).await;
        Ok(committed(&plan))
    }

    /// The sessions (number, object) that bring something new, all of whose parts are there. What the project got by
    /// another plan meanwhile need not be sent.
    async fn check_arrived(&self, plan: &Plan) -> ApiResult<Vec<(u32, Reference)>> {
        let arrived = store::arrived(&self.control.get().await?, &plan.id).await?;
        let mut missing: HashMap<Sha256Digest, Vec<u32>> = HashMap::new();
        for (session, object) in (1..).zip(&plan.sessions) {
            let parts = 1..=plan.layout(*object).parts;
            let absent: Vec<_> = parts.filter(|part| !arrived.contains_key(&(session, *part))).collect();
            if !absent.is_empty() {
                missing.insert(object.sha256, absent);
            }
        }
        if !missing.is_empty() {
            let digests: Vec<_> = missing.keys().copied().collect();
            let present = self.present(&plan.project, &digests).await?;
            let incomplete: Vec<_> = plan
                .sessions
                .iter()
                .filter(|object| !present.contains_key(&object.sha256))
                .filter_map(|object| Some((object.sha256, missing.get(&object.sha256)?)))
                .flat_map(|(sha256, parts)| parts.iter().map(move |part| (sha256, *part)))
                .collect();
            if !incomplete.is_empty() {
                return Err(ContentError::Incomplete(incomplete).into());
            }
        }
        let whole = (1..).zip(&plan.sessions).filter(|(_, object)| !missing.contains_key(&object.sha256));
        Ok(whole.map(|(session, object)| (session, *object)).collect())
    }

    /// Every object of these sessions is in the blob store, whole: those of one part are already, the parts of the
    /// others are put together.
    async fn check_stored(&self, plan: &Plan, sessions: &[(u32, Reference)]) -> ApiResult<()> {
        let (huge, single): (Vec<_>, Vec<_>) =
            sessions.iter().copied().partition(|(_, object)| plan.layout(*object).multipart);
        let digests: Vec<_> = single.iter().map(|(_, object)| object.sha256).collect();
        let there = self.blobs.touch(digests).await?;
        let lost: Vec<_> = single.iter().zip(there).filter(|(_, there)| !there).map(|(session, _)| *session).collect();
        if !lost.is_empty() {
            self.void(plan, &lost).await?;
            let missing = lost.iter().map(|(_, object)| (object.sha256, 1)).collect();
            return Err(ContentError::Incomplete(missing).into());
        }
        for (session, object) in huge {
            let parts = plan.layout(object).parts;
            let source = self.staging.assembled(&plan.id, session, parts);
            match self.blobs.put(Some(object.sha256), object.size, source).await {
                Ok(_) => {}
                Err(BlobError::DigestMismatch { .. } | BlobError::TooLarge { .. }) => {
                    self.void(plan, &[(session, object)]).await?;
                    return Err(ContentError::WrongObject(object.sha256).into());
                }
                Err(BlobError::Interrupted(cause)) => {
                    tracing::warn!(%cause, plan = %plan.id, "staged parts cannot be read");
                    self.void(plan, &[(session, object)]).await?;
                    let missing = (1..=parts).map(|part| (object.sha256, part)).collect();
                    return Err(ContentError::Incomplete(missing).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn void(&self, plan: &Plan, sessions: &[(u32, Reference)]) -> ApiResult<()> {
        let numbers: HashSet<_> = sessions.iter().map(|(session, _)| *session).collect();
        let numbers: Vec<_> = numbers.into_iter().collect();
        store::forget_parts(&self.control.get().await?, &plan.id, &numbers).await?;
        Ok(())
    }
}

fn committed(plan: &Plan) -> CommittedContent {
    CommittedContent {
        plan_id: plan.id.clone(),
        status: "committed",
        committed: plan
            .sessions
            .iter()
            .map(|object| CommittedObject { sha256: object.sha256, size: object.size })
            .collect(),
    }
}
