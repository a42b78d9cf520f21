//! The part of a deploy that happens in the project's own database: migrations, the expose manifest, the marker.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, GenericClient, IsolationLevel, NoTls, Transaction};

use super::{
    Execution, Stop,
    migrations::{Failure, Loaded, settings},
};
use crate::{
    common::{ApiError, ApiResult, Category, MutationState},
    engines::postgres::DatabaseError,
    features::{
        apply::{
            faults::Point,
            service::Apply,
            store::{operations, project as project_store},
            types::Status,
        },
        projects::PlatformStep,
        releases::ReleaseState,
    },
};

/// How far the migrations of one attempt came.
#[derive(Default)]
struct Progress {
    /// Recorded for good, whatever comes after.
    committed: Vec<String>,
}

impl Progress {
    /// What a failure from here on leaves behind.
    fn state(&self) -> MutationState {
        if self.committed.is_empty() { MutationState::RolledBack } else { MutationState::Partial }
    }
}

impl Apply {
    /// Runs what remains to be done in the project's database, and makes the release live with it.
    pub(super) async fn in_database(
        &self,
        execution: &Execution,
        remaining: &[&Loaded],
        again: bool,
    ) -> Result<(), Stop> {
        let mut owner = self.projects.owner_session(&execution.project).await?;
        let process = project_store::process(&owner).await?;
        let deadline = Instant::now() + Duration::from_secs(self.settings.migration_timeout_seconds);
        let cancel = owner.cancel_token();
        let mut progress = Progress::default();
        let client: &mut Client = &mut owner;
        let outcome = self.on_owner(execution, remaining, again, client, deadline, &mut progress).await;
        // Migrations may have left anything in their session.
        owner.discard();
        let stop = match outcome {
            Ok(()) => return Ok(()),
            Err(stop) => stop,
        };
        // A transaction that was given up, or may have been committed, may have changed the schema.
        self.projects.bump_schema_version(&execution.project);
        if Instant::now() >= deadline {
            let _ = cancel.cancel_query(NoTls).await;
            if let Ok(platform) = self.projects.platform_session(&execution.project).await
                && let Err(error) = project_store::terminate(&platform, process).await
            {
                tracing::warn!(%error, "a migration that ran out of time goes on until its statement ends");
            }
        }
        Err(if progress.committed.is_empty() || stop.status == Status::ActivationPending {
            stop
        } else {
            Stop { error: stop.error.detail("committed_migrations", json!(progress.committed)), ..stop }
        })
    }

    async fn on_owner(
        &self,
        execution: &Execution,
        remaining: &[&Loaded],
        again: bool,
        client: &mut Client,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<(), Stop> {
        let mut group: Vec<&Loaded> = Vec::new();
        for migration in remaining {
            if migration.transactional {
                group.push(migration);
                continue;
            }
            if !group.is_empty() {
                let tx = self.begin(execution, client, deadline).await?;
                self.run_group(&tx, &group, deadline, progress).await?;
                self.record_migrations(&tx, execution, &group).await?;
                tx.commit().await?;
                progress.committed.extend(group.drain(..).map(|migration| migration.id.clone()));
            }
            self.run_alone(execution, migration, client, deadline, progress).await?;
            progress.committed.push(migration.id.clone());
        }

        let tx = self.begin(execution, client, deadline).await?;
        self.run_group(&tx, &group, deadline, progress).await?;
        self.faults.pass(Point::Migrating).map_err(Stop::of)?;
        if !again {
            self.enter(execution, Status::SchemaSettling).await?;
        }
        if let Some(manifest) = &execution.pending.expose {
            let applied = self.expose.apply_in(&tx, &execution.project, manifest.clone()).await;
            applied.map_err(|error| expose_refused(error, progress.state()))?;
        }
        check_role_gate(&tx, &execution.state, progress.state()).await?;
        self.record_migrations(&tx, execution, &group).await?;
        self.faults.pass(Point::SchemaSettling).map_err(Stop::of)?;
        self.flip(execution, Some(tx)).await
    }

    async fn begin<'a>(
        &self,
        execution: &Execution,
        client: &'a mut Client,
        deadline: Instant,
    ) -> Result<Transaction<'a>, Stop> {
        // What another session commits meanwhile must be seen by the manifest's snapshots.
        let tx = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(false).start();
        let tx = tx.await?;
        let seconds = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        tx.batch_execute(&settings(&execution.project.id, seconds, self.settings.lock_timeout_seconds, true)).await?;
        Ok(tx)
    }

    /// Runs migrations in one transaction.
    async fn run_group(
        &self,
        tx: &Transaction<'_>,
        group: &[&Loaded],
        deadline: Instant,
        progress: &Progress,
    ) -> Result<(), Stop> {
        for migration in group {
            let state = progress.state();
            let work = async {
                migration.run(tx).await?;
                // What is checked at the commit is checked here, where it is known whose fault it is.
                let checked = tx.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
                checked.map_err(|error| Failure { index: None, characters_before: 0, error })
            };
            match timeout_at(deadline, work).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(failure.into_stop(migration, state)),
                Err(_) => {
                    let seconds = self.settings.migration_timeout_seconds;
                    return Err(Stop::failed(migration.timed_out(seconds, state)));
                }
            }
        }
        Ok(())
    }

    /// Runs a migration outside a transaction. From its start until it is recorded nobody knows how far it came if
    /// the process dies, so its name is written down first.
    async fn run_alone(
        &self,
        execution: &Execution,
        migration: &Loaded,
        client: &mut Client,
        deadline: Instant,
        progress: &Progress,
    ) -> Result<(), Stop> {
        let project = &execution.project.id;
        let seconds = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        client.batch_execute(&settings(project, seconds, self.settings.lock_timeout_seconds, false)).await?;
        self.set_in_flight(execution, Some(&migration.id)).await?;
        self.faults.pass(Point::MigratingAlone).map_err(Stop::of)?;

        let seconds = self.settings.migration_timeout_seconds;
        let ran = timeout_at(deadline, migration.run(&*client)).await;
        let repair = |error: ApiError, state: MutationState| Stop {
            status: Status::NeedsRepair,
            error: error
                .mutation_state(state)
                .safe_to_retry(false)
                .extra("rolled_back", false)
                .detail("committed_migrations", json!(progress.committed)),
        };
        match ran {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                return Err(match failure.error.as_db_error().cloned() {
                    Some(refused) => {
                        let error = migration.failed(&failure, &refused, MutationState::Partial);
                        repair(error, MutationState::Partial)
                    }
                    // The connection broke: it may have been carried out.
                    None => repair(DatabaseError::from(failure.error).into(), MutationState::Unknown),
                });
            }
            Err(_) => {
                let error = migration.timed_out(seconds, MutationState::Partial);
                return Err(repair(error, MutationState::Partial));
            }
        }
        self.faults.pass(Point::MigratedAlone).map_err(Stop::of)?;
        let recorded = async {
            client.batch_execute("RESET ALL").await?;
            let tx = self.begin(execution, client, deadline).await?;
            self.record_migrations(&tx, execution, &[migration]).await?;
            tx.commit().await?;
            Ok::<_, Stop>(())
        };
        recorded.await.map_err(|stop| repair(stop.error, MutationState::Unknown))?;
        self.set_in_flight(execution, None).await
    }

    async fn set_in_flight(&self, execution: &Execution, migration: Option<&str>) -> Result<(), Stop> {
        let connection = self.control.get().await?;
        Ok(operations::set_in_flight(&**connection, &execution.operation, migration).await?)
    }

    /// Rows of the ledger, in the transaction of the migrations and after all their text.
    async fn record_migrations(
        &self,
        tx: &Transaction<'_>,
        execution: &Execution,
        group: &[&Loaded],
    ) -> Result<(), Stop> {
        for migration in group {
            let payload = json!({
                "project_id": execution.project.id,
                "migration_id": migration.id,
                "checksum_hex": migration.checksum,
                "release_id": execution.release,
                "operation_id": execution.operation,
            });
            let step = PlatformStep::RecordMigration;
            self.projects.platform_step(tx, &execution.project, step, &payload).await.map_err(Stop::of)?;
        }
        Ok(())
    }

    /// The marker: once it is committed, the release has to become live.
    pub(super) async fn mark(&self, tx: &Transaction<'_>, execution: &Execution, generation: i64) -> ApiResult<()> {
        let payload = json!({
            "operation_id": execution.operation,
            "release_id": execution.release,
            "generation": generation,
        });
        self.projects.platform_step(tx, &execution.project, PlatformStep::RecordOperation, &payload).await
    }
}

/// The table and columns that decide the roles of callers exist (contract 03 §4.3, `Fn.require_role`).
pub(super) async fn check_role_gate<C: GenericClient + Sync>(
    client: &C,
    state: &ReleaseState,
    left: MutationState,
) -> Result<(), Stop> {
    // All gates of a release look at the same columns.
    let gated = state.functions.iter().find_map(|(name, function)| Some((name, function.require_role.as_ref()?)));
    let Some((name, gate)) = gated else { return Ok(()) };
    let wanted = [gate.id_column.as_str(), gate.role_column.as_str()];
    let found = project_store::columns(client, &gate.table, &wanted).await?;
    let absent: Vec<&str> = wanted.into_iter().filter(|column| !found.iter().any(|name| name == column)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let message =
        format!("The role gate needs the columns {} of a table {} in schema public.", absent.join(", "), gate.table);
    Err(Stop::failed(
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "DEPLOY_INVALID_ROLE_GATE", message)
            .category(Category::Deploy)
            .retryable(false)
            .safe_to_retry(true)
            .mutation_state(left)
            .extra("phase", "activate")
            .extra("resource", format!("functions.{name}"))
            .detail("table", gate.table.as_str())
            .detail("missing_columns", json!(absent)),
    ))
}

fn expose_refused(error: ApiError, state: MutationState) -> Stop {
    if super::error::is_transient(&error) {
        return Stop::of(error);
    }
    Stop::failed(
        error
            .mutation_state(state)
            .safe_to_retry(true)
            .extra("phase", "schema-settle")
            .extra("resource", "database.expose")
            .extra("rolled_back", state == MutationState::RolledBack),
    )
}
