//! SKELETON. Content: uploads, and which bytes a project has (contract 03 §3).
//!
//! Invariants: presence is per project, so that nobody learns what others stored; bytes are durable in the blob store
//! before a row names them; a row that needs bytes holds them (`holds`), and the sweep removes what nobody holds.

use std::{collections::HashMap, sync::Arc};

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio_postgres::Transaction;

use crate::{
    common::{ApiError, ApiResult, PlanId, PrincipalId, ProjectId, Timestamp, WalletAddress},
    engines::{
        blobs::{BlobStore, Sha256Digest, Source, Stored},
        postgres::DatabaseError,
    },
    features::{identity::KeyRole, projects::Project},
};

/// Who calls a route of content, apply or releases (contract 03 §1.1).
#[derive(Clone, Debug)]
pub enum Caller {
    /// `W`: a wallet that may deploy to the project.
    Deployer { wallet: WalletAddress, principal: PrincipalId },
    /// `K`: a key of the project.
    Key(KeyRole),
}

/// What needs bytes to stay: (kind, id), for instance ("release", "rel_…"), ("plan", "plan_…"), ("migration", id),
/// ("asset", …).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub kind: &'static str,
    pub id: String,
}

/// Bytes somebody names: digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub sha256: Sha256Digest,
    pub size: u64,
}

pub struct Content {}

impl Content {
    /// The caller and the project of a request that may carry W, K or both (contract 03 §1.1): either sufficing is
    /// enough. `named` is the project the body or row names, when there is one; else the key's project.
    ///
    /// # Errors
    /// 401, 403 `NOT_AUTHORIZED`, 404 `PROJECT_NOT_FOUND`.
    pub async fn caller(&self, headers: &HeaderMap, named: Option<&ProjectId>) -> ApiResult<(Arc<Project>, Caller)> {
        let _ = (headers, named);
        Err(ApiError::not_implemented("content"))
    }

    /// As [`Content::caller`] for routes that only W may use (plan, commit, resume, promote), with the lifecycle gate.
    pub async fn deployer(&self, headers: &HeaderMap, named: &ProjectId) -> ApiResult<(Arc<Project>, Caller)> {
        let _ = (headers, named);
        Err(ApiError::not_implemented("content"))
    }

    /// Which of these the project has, with their true sizes; those it has are protected from the sweep for the
    /// store's grace.
    pub async fn present(
        &self,
        project: &ProjectId,
        digests: &[Sha256Digest],
    ) -> ApiResult<HashMap<Sha256Digest, u64>> {
        let _ = (project, digests);
        Err(ApiError::not_implemented("content"))
    }

    /// Inside a transaction of the control database: an uncommitted plan names this content until then, so that the
    /// anon key may upload it and the sweep keeps it. Forgotten by `forget_plan` or by time.
    pub async fn expect(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        plan: &PlanId,
        content: &[Reference],
        until: Timestamp,
    ) -> Result<(), DatabaseError> {
        let _ = (tx, project, plan, content, until);
        Ok(())
    }

    pub async fn forget_plan(&self, tx: &Transaction<'_>, plan: &PlanId) -> Result<(), DatabaseError> {
        let _ = (tx, plan);
        Ok(())
    }

    /// Inside a transaction: `holder` needs these bytes (which the project must have) until it lets go.
    pub async fn hold(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        holder: &Holder,
        digests: &[Sha256Digest],
    ) -> Result<(), DatabaseError> {
        let _ = (tx, project, holder, digests);
        Ok(())
    }

    pub async fn let_go(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        holder: &Holder,
    ) -> Result<(), DatabaseError> {
        let _ = (tx, project, holder);
        Ok(())
    }

    /// Stores bytes for the project directly (service-asset-put, image variants): durable and present at return.
    /// Within the quota.
    pub async fn add(&self, project: &Project, max_bytes: u64, source: Source<'_>) -> ApiResult<Stored> {
        let _ = (project, max_bytes, source);
        Err(ApiError::not_implemented("content"))
    }

    /// The bytes, when the project has them and they are not larger than `max_bytes`.
    pub async fn read(&self, project: &ProjectId, digest: Sha256Digest, max_bytes: u64) -> ApiResult<Option<Bytes>> {
        let _ = (project, digest, max_bytes);
        Err(ApiError::not_implemented("content"))
    }

    /// The store itself, for serving: who serves has a release or asset row that names the digest.
    pub fn store(&self) -> &Arc<dyn BlobStore> {
        unimplemented!()
    }
}
