//! Reading operations, and resuming those that wait (contract 03 §7).

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use tokio::time::timeout;

use super::{
    error,
    service::Apply,
    store::{operations, project as project_store},
    types::{EventList, Operation, OperationList, Snapshot, Status},
};
use crate::common::{ApiError, ApiResult, OperationId, Page, PageQuery, Timestamp};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;

impl Apply {
    /// A page of the operations of the key's project, newest first.
    ///
    /// # Errors
    /// 400 `INVALID_LIMIT`, `INVALID_CURSOR`, `PROJECT_REQUIRED`; those of the credentials.
    pub async fn list_operations(&self, headers: &HeaderMap, page: &PageQuery) -> ApiResult<OperationList> {
        let project = self.key_holder(headers).await?;
        let limit = if page.limit.is_some() { page.limit()?.min(MAX_LIMIT) } else { DEFAULT_LIMIT };
        let after: Option<(Timestamp, OperationId)> = page.cursor()?;
        let connection = self.control.get().await?;
        let rows = operations::list(&**connection, &project.id, after.as_ref(), limit + 1).await?;
        // Written with all its digits: two operations of one millisecond must not hide each other.
        let page = Page::from_fetched(rows, limit, |row| (row.created_at.0.to_string(), row.id.clone()));
        Ok(OperationList { operations: page.rows.iter().map(Operation::snapshot).collect(), cursor: page.next_cursor })
    }

    /// One operation.
    ///
    /// # Errors
    /// 404 `OPERATION_NOT_FOUND`, also for those of other projects.
    pub async fn read_operation(&self, headers: &HeaderMap, id: &str) -> ApiResult<Snapshot> {
        Ok(self.readable(headers, id).await?.snapshot())
    }

    /// What happened in an operation.
    ///
    /// # Errors
    /// 404 `OPERATION_NOT_FOUND`.
    pub async fn events(&self, headers: &HeaderMap, id: &str) -> ApiResult<EventList> {
        Ok(EventList { events: self.readable(headers, id).await?.events() })
    }

    async fn readable(&self, headers: &HeaderMap, id: &str) -> ApiResult<Operation> {
        let id: OperationId = id.parse().map_err(|_| error::operation_not_found())?;
        let operation = self.operation(&id).await?;
        self.reader(headers, &operation.project, error::operation_not_found).await?;
        Ok(operation)
    }

    /// Tries again now what waits to be activated. Waits a while for the outcome.
    ///
    /// # Errors
    /// 404 `OPERATION_NOT_FOUND`; 409 `NOT_RESUMABLE`, `INVALID_STATE`.
    pub async fn resume(self: &Arc<Self>, headers: &HeaderMap, id: &str) -> ApiResult<Snapshot> {
        let id: OperationId = id.parse().map_err(|_| error::operation_not_found())?;
        let operation = self.operation(&id).await?;
        self.writer(headers, &operation.project, error::operation_not_found).await?;
        match operation.status {
            Status::ActivationPending | Status::NeedsRepair => {}
            Status::Planning | Status::Uploading | Status::Failed | Status::RolledBack => {
                return Err(error::not_resumable(
                    "NOT_RESUMABLE",
                    format!("An operation that is {} cannot be resumed. Deploy again.", operation.status.as_str()),
                ));
            }
            _ => return Ok(operation.snapshot()),
        }
        let (apply, work) = (Arc::clone(self), id.clone());
        let work = self.tasks.spawn(async move {
            let turn = apply.operation(&work).await?;
            let _turn = apply.turn(&turn.project).await;
            let operation = apply.operation(&work).await?;
            match operation.status {
                Status::ActivationPending => apply.attempt_again(&operation).await,
                Status::NeedsRepair => apply.resume_repaired(&operation).await,
                _ => Ok(()),
            }
        });
        match timeout(Duration::from_secs(self.settings.commit_wait_seconds), work).await {
            Ok(done) => done.map_err(ApiError::internal)??,
            Err(_) => tracing::debug!(operation = %id, "a resumed operation goes on"),
        }
        Ok(self.operation(&id).await?.snapshot())
    }

    /// Goes on after a migration that stopped half-way, once an operator has recorded it as applied.
    async fn resume_repaired(&self, operation: &Operation) -> ApiResult<()> {
        let project = self.projects.live(&operation.project).ok_or_else(error::operation_not_found)?;
        let repaired = match &operation.migration_in_flight {
            None => true,
            Some(migration) => {
                let platform = self.projects.platform_session(&project).await?;
                project_store::registry(&platform).await?.contains_key(migration)
            }
        };
        if !repaired {
            let name = operation.migration_in_flight.as_deref().unwrap_or_default();
            return Err(error::not_resumable(
                "INVALID_STATE",
                format!(
                    "The migration {name} stopped half-way and is not recorded as applied. Repair the schema and \
                         deploy a migration that completes it, or have the operator record it as applied."
                ),
            )
            .detail("migration_id", name));
        }
        self.attempt_again(operation).await
    }
}
