//! Schedules (contract 05 §5): brought in line with the live release, and run at their ticks.
//!
//! A tick is taken in one transaction before anything is run, so it comes at most once; ticks that passed while no
//! process looked are skipped. What a tick runs, and what came of it, is written down afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use bytes::Bytes;
use jiff::{SignedDuration, tz::TimeZone};
use serde_json::{Value, json};
use tokio::{sync::broadcast, time};
use tokio_util::sync::CancellationToken;

use super::{
    cron::next_after,
    error::FunctionError,
    executor::{FunctionResponse, InvocationKind},
    service::{Call, Functions, request_id, status_of},
    store::{
        self,
        schedules::{Key, Stored},
    },
    types::Triggered,
};
use crate::{
    common::{ApiError, ApiResult, ProjectId, Timestamp, sealing::sha256_hex},
    engines::postgres::DatabaseError,
    features::{
        orgs::LifecycleState,
        projects::Project,
        releases::{FunctionState, Schedule, ServedRelease},
    },
};

/// A tick older than this was missed, and is skipped; so is one from before the process started.
const LATEST: SignedDuration = SignedDuration::from_secs(50);
/// Longest time between two looks.
const LONGEST_NAP: Duration = Duration::from_secs(15);
/// Until a project is tried again whose schedules could not follow its release.
const RETRY_SYNC: Duration = Duration::from_secs(2);
/// Ticks taken in one transaction.
const BATCH: i64 = 100;
/// Longest error that is kept, in characters.
const KEPT_ERROR: usize = 500;

impl Functions {
    /// Brings schedules and records in line with the live release of a project. Called when a release was activated
    /// or amended, for every project at the start, and by whoever shows them. Idempotent.
    ///
    /// # Errors
    /// When releases or the database are not reachable; whoever comes next does it.
    pub async fn sync(&self, project: &ProjectId) -> ApiResult<()> {
        match self.releases.live(project).await? {
            Some(release) => self.sync_with(&release).await,
            None => Ok(()),
        }
    }

    pub(super) async fn sync_with(&self, release: &ServedRelease) -> ApiResult<()> {
        let functions = &release.state.functions;
        let digest = digest(&json!([release.generation, functions]));
        if !functions.is_empty() {
            self.executor.warm();
        }
        {
            let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            if synced.get(&release.project).is_some_and(|known| *known == digest) {
                return Ok(());
            }
        }
        let project = &release.project;
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        if store::records::begin_sync(&tx, project, release.generation, &digest).await? {
            let known = store::records::of_project(&tx, project).await?;
            for (name, function) in functions {
                let digest = digest_of(function);
                if known.get(name).is_none_or(|record| record.digest != digest) {
                    let fingerprint = self.executor.fingerprint();
                    store::records::put(&tx, project, name, &digest, fingerprint, now).await?;
                }
            }
            let names: Vec<&str> = functions.keys().map(String::as_str).collect();
            store::records::retain(&tx, project, &names).await?;
            let known = store::schedules::of_project(&tx, project).await?;
            let wanted: BTreeMap<(String, String), String> = functions
                .iter()
                .filter_map(|(name, function)| Some(((name.clone(), String::new()), function.schedule.clone()?)))
                .collect();
            for (key, cron) in &wanted {
                if known.get(key).is_some_and(|(known, _)| known == cron) {
                    continue;
                }
                let key = Key { project: project.clone(), function: key.0.clone(), trigger: key.1.clone() };
                // A release holds valid schedules only; one that never comes has no next run.
                let Some(next_run_at) = next_run(cron, now) else { continue };
                let stored = Stored { key, cron: cron.clone(), timezone: "UTC".into(), next_run_at };
                store::schedules::put(&tx, &stored).await?;
            }
            for (function, trigger) in known.into_keys().filter(|key| !wanted.contains_key(key)) {
                store::schedules::remove(&tx, &Key { project: project.clone(), function, trigger }).await?;
            }
        }
        tx.commit().await?;
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).insert(project.clone(), digest);
        self.rescheduled.notify_one();
        Ok(())
    }

    /// Brings the tables in line with every release there is, then with each that changes, until `stop`.
    pub(super) async fn follow_releases(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.editor.changes();
        let mut behind: BTreeSet<ProjectId> = self.editor.deployed().into_iter().collect();
        loop {
            let now = std::mem::take(&mut behind);
            for project in now {
                if stop.is_cancelled() {
                    return;
                }
                if let Err(error) = self.sync(&project).await {
                    tracing::warn!(%project, %error, "the schedules of a project follow its release later");
                    behind.insert(project);
                }
            }
            let pause = if behind.is_empty() { Duration::from_secs(3600) } else { RETRY_SYNC };
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(pause) => {}
                changed = changes.recv() => match changed {
                    Ok(project) => drop(behind.insert(project)),
                    Err(broadcast::error::RecvError::Lagged(_)) => behind.extend(self.editor.deployed()),
                    Err(broadcast::error::RecvError::Closed) => {
                        stop.cancelled().await;
                        return;
                    }
                },
            }
        }
    }

    /// Runs schedules until `stop`.
    pub async fn run_schedules(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let nap = self.take_ticks().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "schedules cannot be read right now");
                Duration::from_secs(1)
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.rescheduled.notified() => {}
                () = time::sleep(nap) => {}
            }
        }
    }

    /// Takes the ticks that are due and sets them going. Answers how long to wait for the next.
    pub(super) async fn take_ticks(self: &Arc<Self>) -> Result<Duration, DatabaseError> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let due = store::schedules::due(&tx, now, BATCH).await?;
        for schedule in &due {
            match next_run(&schedule.cron, now) {
                Some(next) => store::schedules::advance(&tx, &schedule.key, next).await?,
                None => store::schedules::remove(&tx, &schedule.key).await?,
            }
        }
        tx.commit().await?;
        let next = store::schedules::next_due(&connection).await?;
        drop(connection);
        for schedule in due {
            if schedule.next_run_at < self.started || now.since(schedule.next_run_at) > LATEST {
                tracing::info!(project = %schedule.key.project, function = schedule.key.function,
                    "a scheduled run was missed and is skipped");
                continue;
            }
            let functions = Arc::clone(self);
            self.tasks.spawn(async move { functions.tick(schedule).await });
        }
        let wait =
            next.map_or(LONGEST_NAP, |next| Duration::try_from(next.since(self.clock.now())).unwrap_or_default());
        Ok(wait.clamp(Duration::from_millis(5), LONGEST_NAP))
    }

    /// One scheduled run. Overlapping ones are allowed, none is repeated (05 §5.2).
    async fn tick(self: Arc<Self>, schedule: Stored) {
        let key = &schedule.key;
        let (status, error) = match self.runnable(&key.project).await {
            Err(reason) => (0, Some(reason)),
            Ok(project) => {
                let answer = self.scheduled_call(project, &key.function, "cron", schedule.next_run_at, 0).await;
                outcome(&answer)
            }
        };
        let error = error.map(|error| error.chars().take(KEPT_ERROR).collect::<String>());
        let recorded = async {
            let connection = self.connection().await?;
            let at = self.clock.now();
            store::schedules::record(&connection, key, at, status, error.as_deref()).await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "what came of a scheduled run is not recorded");
        }
    }

    /// The project, when its schedules run: live, not dormant, within its quota; a run counts as a call.
    pub(super) async fn runnable(&self, project: &ProjectId) -> Result<Arc<Project>, String> {
        let project = self.projects.live(project).filter(|project| !project.archived);
        let project = project.ok_or_else(|| "The project is not active.".to_owned())?;
        let organisation = self.orgs.find(project.organisation).await.map_err(|error| error.to_string())?;
        let state = organisation.map(|organisation| organisation.lifecycle.state);
        if matches!(state, None | Some(LifecycleState::Dormant | LifecycleState::Purged)) {
            return Err("The organisation is dormant: its schedules are paused.".into());
        }
        self.projects.meter(&project, false).map_err(|_| "API quota exceeded".to_owned())?;
        Ok(project)
    }

    /// The call that a legacy schedule makes (05 §5.2). No key, no user, no gate.
    pub(super) async fn scheduled_call(
        self: &Arc<Self>,
        project: Arc<Project>,
        function: &str,
        trigger: &'static str,
        at: Timestamp,
        depth: u8,
    ) -> Result<FunctionResponse, FunctionError> {
        let body = json!({"trigger": "cron", "scheduled_at": at.to_string()});
        self.internal_call(project, function, trigger, &body, depth).await
    }

    /// A POST of the platform to a function, under no identity.
    pub(super) async fn internal_call(
        self: &Arc<Self>,
        project: Arc<Project>,
        function: &str,
        trigger: &'static str,
        body: &Value,
        depth: u8,
    ) -> Result<FunctionResponse, FunctionError> {
        let release = self.release_with(&project.id, function).await?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-run402-trigger", HeaderValue::from_static(trigger));
        let call = Call {
            project,
            release,
            function: function.to_owned(),
            kind: InvocationKind::Scheduled,
            request_id: request_id(),
            method: Method::POST,
            url: format!("{}/functions/v1/{function}", self.api_base),
            host: self.api_host.clone(),
            headers,
            body: Bytes::from(body.to_string()),
            route: None,
            actor: None,
            depth,
            run: None,
        };
        self.call(call).await
    }

    /// `POST …/trigger`: the schedule's call, now (05 §3.6).
    ///
    /// # Errors
    /// As for a direct call.
    pub(super) async fn trigger(
        self: &Arc<Self>,
        project: Arc<Project>,
        function: &str,
        depth: u8,
    ) -> Result<Triggered, FunctionError> {
        self.projects.meter(&project, false)?;
        let answer = self.scheduled_call(project, function, "manual", self.clock.now(), depth).await?;
        let body = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
        Ok(Triggered { status: answer.status.as_u16(), body })
    }

    /// Calls the function `on-signup`, if there is one, for a user who signed up just now; answers nothing and
    /// fails nothing (05 §7.4).
    pub(super) fn signed_up(self: &Arc<Self>, project: &ProjectId, user: Value) {
        let (functions, project) = (Arc::clone(self), project.clone());
        self.tasks.spawn(async move {
            if functions.release_with(&project, "on-signup").await.is_err() {
                return;
            }
            let called = async {
                let project = functions.runnable(&project).await.map_err(ApiError::internal)?;
                let body = json!({ "user": user });
                let call = functions.internal_call(project, "on-signup", "signup", &body, 0).await;
                call.map_err(ApiError::from)
            };
            if let Err(error) = called.await {
                tracing::info!(%project, %error, "the sign-up hook failed");
            }
        });
    }
}

/// Status and error of a run that was begun.
fn outcome(answer: &Result<FunctionResponse, FunctionError>) -> (i32, Option<String>) {
    match answer {
        Ok(answer) if answer.status.is_success() => (i32::from(answer.status.as_u16()), None),
        Ok(answer) => (i32::from(answer.status.as_u16()), Some(format!("The function answered {}.", answer.status))),
        Err(error) => (i32::from(status_of(error)), Some(error.to_string())),
    }
}

fn next_run(cron: &str, now: Timestamp) -> Option<Timestamp> {
    next_after(&Schedule::parse(cron).ok()?, &TimeZone::UTC, now)
}

pub(super) fn digest_of(function: &FunctionState) -> String {
    digest(&json!(function))
}

fn digest(value: &Value) -> String {
    sha256_hex(value.to_string().as_bytes())
}
