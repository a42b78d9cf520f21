//! Who calls the routes of content, apply and releases (contract 03 §1.1).

use std::sync::Arc;

use axum::http::HeaderMap;

use super::Content;
use crate::{
    common::{ApiError, ApiResult, PrincipalId, ProjectId, WalletAddress},
    features::{
        identity::KeyRole,
        orgs::{Action, Denial, Gate, not_authorized},
        projects::Project,
    },
};

#[derive(Clone, Debug)]
pub enum Caller {
    /// `W`: a wallet that may deploy to the project.
    Deployer { wallet: WalletAddress, principal: PrincipalId },
    /// `K`: a key of the project.
    Key(KeyRole),
}

impl Content {
    /// The caller and the project of a request that may carry W, K or both: either sufficing is enough, and W wins,
    /// because it may do more. `named` is the project the body or row names, when there is one; else it is the key's.
    ///
    /// # Errors
    /// 401 without a credential or with a bad one; 402 `SIWX_INVALID`; 403 `NOT_AUTHORIZED` when the credential is
    /// good but not for this project, existing or not; 403 `PROJECT_ARCHIVED`; 400 `INVALID_SPEC` when a wallet names
    /// no project.
    pub async fn caller(&self, headers: &HeaderMap, named: Option<&ProjectId>) -> ApiResult<(Arc<Project>, Caller)> {
        let key = self.key_caller(headers, named);
        let keyed = key.as_ref().ok().and_then(Option::as_ref).map(|(project, _)| project.id.clone());
        let wallet = self.wallet_caller(headers, named.or(keyed.as_ref())).await;
        match (wallet, key) {
            (Ok(Some(caller)), _) | (_, Ok(Some(caller))) => Ok(caller),
            // Only the key could have told which project is meant.
            (Err(_), Err(error)) if named.is_none() => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(None), Ok(None)) => Err(ApiError::authentication_required(
                "Send the project's key as apikey, or sign the request with a wallet (SIGN-IN-WITH-X).",
            )),
        }
    }

    /// As [`Content::caller`] for routes that only W may use (plan, commit, resume, promote), with the lifecycle gate.
    ///
    /// # Errors
    /// As [`Content::caller`]; a project key alone is 401. 403 `PROJECT_FROZEN`, `PROJECT_DORMANT`.
    pub async fn deployer(&self, headers: &HeaderMap, named: &ProjectId) -> ApiResult<(Arc<Project>, Caller)> {
        let caller = self.wallet_caller(headers, Some(named)).await?.ok_or_else(|| {
            // A bearer that is none of ours is told apart from none at all.
            self.identity.project_key(headers).err().unwrap_or_else(|| {
                ApiError::unauthorized(
                    "Sign the request with a wallet that may deploy to this project (SIGN-IN-WITH-X); project keys \
                     cannot deploy.",
                )
            })
        })?;
        self.gate(&caller.0).await?;
        Ok(caller)
    }

    /// 403 when the organisation's lifecycle forbids deploys and uploads (01 §7.5).
    pub async fn gate(&self, project: &Project) -> ApiResult<()> {
        match self.orgs.find(project.organisation).await? {
            Some(organisation) => self.orgs.gate(&organisation, Gate::ControlPlane),
            None => Err(ApiError::internal("the organisation of a project is missing")),
        }
    }

    fn key_caller(&self, headers: &HeaderMap, named: Option<&ProjectId>) -> ApiResult<Option<(Arc<Project>, Caller)>> {
        let Some(key) = self.identity.project_key(headers)? else { return Ok(None) };
        let project = self.projects.serving(&key)?;
        if named.is_some_and(|named| *named != project.id) {
            return Err(denied());
        }
        Ok(Some((project, Caller::Key(key.role))))
    }

    async fn wallet_caller(
        &self,
        headers: &HeaderMap,
        named: Option<&ProjectId>,
    ) -> ApiResult<Option<(Arc<Project>, Caller)>> {
        let Some(wallet) = self.identity.wallet(headers)? else { return Ok(None) };
        let Some(named) = named else {
            return Err(ApiError::bad_request("INVALID_SPEC", "Name the project in project_id.")
                .extra("phase", "validate")
                .extra("resource", "project_id"));
        };
        let project = self.projects.live(named).ok_or_else(denied)?;
        if let Err(error) = self.orgs.authorize(wallet, project.organisation, Action::ProjectDeploy).await {
            // What a member may not do he is told; a stranger does not learn whether the project exists.
            let may_look = self.orgs.authorize(wallet, project.organisation, Action::ProjectRead).await;
            return Err(if error.code() == "NOT_AUTHORIZED" && may_look.is_err() { denied() } else { error });
        }
        self.projects.refuse_archived(&project)?;
        Ok(Some((project, Caller::Deployer { wallet, principal: self.identity.principal_of(wallet) })))
    }
}

fn denied() -> ApiError {
    not_authorized(Action::ProjectDeploy, Denial::ProjectNotFound)
}
