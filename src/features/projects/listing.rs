//! Looking at projects and changing what is said about them (contract 02 §2.1).

use std::collections::{HashMap, hash_map::Entry};

use super::{
    Project, Projects, deleted,
    registry::Live,
    store::{self, ListKey},
    types::{
        Archived, OperatorProjects, Pinned, ProjectDetail, ProjectList, ProjectListRow, ProjectRow, ProjectUsage,
        Reactivated, Renamed, UsageReport, tier_or_smallest, valid_organisation,
    },
};
use crate::{
    common::{ApiError, ApiResult, OrganisationId, Page, PageQuery, ProjectId, WalletAddress},
    features::orgs::{Action, Denial, Gate, Organisation, not_authorized},
};

impl Projects {
    /// One page of the wallet's projects, newest first.
    ///
    /// # Errors
    /// 400 for a bad `org_id`, limit or cursor; 403 `NOT_AUTHORIZED` for an organisation the caller is not in,
    /// existing or not.
    pub(super) async fn page(
        &self,
        wallet: WalletAddress,
        org_id: Option<&str>,
        query: &PageQuery,
    ) -> ApiResult<ProjectList> {
        let organisation = org_id.map(valid_organisation).transpose()?;
        let (limit, after): (i64, Option<ListKey>) = (query.limit()?, query.cursor()?);
        let organisations = match organisation {
            Some(id) => {
                self.orgs.authorize(wallet, id, Action::ProjectRead).await?;
                vec![id]
            }
            None => self.member_of(wallet).await?,
        };
        let ids: Vec<_> = organisations.iter().map(|id| id.0).collect();
        let rows = store::list(&self.control.get().await?, &ids, after.as_ref(), Some(limit + 1)).await?;
        let page = Page::from_fetched(rows, limit, store::list_key);
        Ok(ProjectList {
            has_more: page.has_more(),
            next_cursor: page.next_cursor,
            projects: self.list_rows(page.rows).await?,
        })
    }

    /// Every project of the wallet's organisations.
    pub(super) async fn of_wallet(&self, wallet: WalletAddress) -> ApiResult<OperatorProjects> {
        let ids: Vec<_> = self.member_of(wallet).await?.iter().map(|id| id.0).collect();
        let rows = store::list(&self.control.get().await?, &ids, None, None).await?;
        Ok(OperatorProjects { projects: self.list_rows(rows).await?, scope: "wallet" })
    }

    pub(super) async fn detail(&self, wallet: WalletAddress, id: &str) -> ApiResult<ProjectDetail> {
        let (row, organisation) = self.authorised(wallet, id, Action::ProjectRead).await?;
        let limits = self.limits_of(organisation.lease.map(|lease| lease.tier));
        let pending = self.registry.find(&row.id).map_or(0, |live| live.runtime.pending_calls());
        let site_url = self.site_url(&row.id);
        Ok(ProjectDetail {
            effective_status: row.effective_status(&organisation),
            organization_lifecycle_state: organisation.lifecycle.state.as_str(),
            tier: tier_or_smallest(&organisation),
            usage: ProjectUsage {
                api_calls: row.api_calls + pending,
                storage_bytes: row.storage_bytes,
                api_calls_limit: limits.api_calls,
                storage_bytes_limit: limits.storage_bytes,
            },
            project_id: row.id,
            public_id: row.public_id,
            name: row.name,
            org_id: row.organisation,
            site_url,
            custom_domains: Vec::new(),
            last_deploy: None,
            mailbox: Vec::new(),
            created_at: row.created_at,
        })
    }

    pub(super) async fn rename(&self, wallet: WalletAddress, id: &str, name: String) -> ApiResult<Renamed> {
        let (row, organisation) = self.authorised(wallet, id, Action::ProjectWrite).await?;
        self.orgs.gate(&organisation, Gate::ControlPlane)?;
        if store::rename(&self.control.get().await?, &row.id, &name).await? {
            Ok(Renamed { project_id: row.id, name })
        } else {
            Err(not_authorized(Action::ProjectWrite, Denial::ProjectNotFound))
        }
    }

    /// The usage report, with calls of a moment ago and the database measured now.
    pub(super) async fn usage(&self, project: &Project) -> ApiResult<UsageReport> {
        self.flush().await?;
        if let Some(live) = self.registry.find(&project.id) {
            self.measure(std::slice::from_ref::<Live>(&live)).await?;
        }
        let row = store::find(&self.control.get().await?, &project.id).await?;
        let row = row.ok_or_else(deleted)?;
        let organisation = self.organisation(project.organisation).await?;
        let limits = self.limits_of(organisation.lease.map(|lease| lease.tier));
        Ok(UsageReport {
            effective_status: row.effective_status(&organisation),
            organization_lifecycle_state: organisation.lifecycle.state.as_str(),
            project_id: row.id,
            tier: tier_or_smallest(&organisation),
            api_calls: row.api_calls,
            api_calls_limit: limits.api_calls,
            storage_bytes: row.storage_bytes,
            storage_limit_bytes: limits.storage_bytes,
            lease_expires_at: organisation.lease.map(|lease| lease.expires_at),
        })
    }

    /// Takes a project down: it keeps its data and serves nothing.
    pub(super) async fn archive(&self, id: &str, reason: Option<String>) -> ApiResult<Archived> {
        let project_id = existing_id(id)?;
        let at = self.clock.now();
        let mark = Some((at, reason.as_deref()));
        let changed = store::set_archived(&self.control.get().await?, &project_id, mark).await?;
        self.registry.set_archived(&project_id, true);
        match changed.ok_or_else(project_not_found)? {
            true => Ok(Archived::Now { status: "ok", project_id, archived_at: at, reason }),
            false => Ok(Archived::Before { status: "ok", project_id, note: "already archived" }),
        }
    }

    pub(super) async fn reactivate(&self, id: &str) -> ApiResult<Reactivated> {
        let project_id = existing_id(id)?;
        let changed = store::set_archived(&self.control.get().await?, &project_id, None).await?;
        self.registry.set_archived(&project_id, false);
        match changed.ok_or_else(project_not_found)? {
            true => Ok(Reactivated::Now { status: "ok", project_id, reactivated: true }),
            false => Ok(Reactivated::NotArchived { status: "ok", project_id, note: "not archived" }),
        }
    }

    /// Makes the lease of the project's organisation perpetual.
    pub(super) async fn pin(&self, id: &str) -> ApiResult<Pinned> {
        let project_id = existing_id(id)?;
        let row = store::find(&self.control.get().await?, &project_id).await?.ok_or_else(project_not_found)?;
        self.orgs.set_perpetual(row.organisation, true).await?.ok_or_else(project_not_found)?;
        self.refresh_organisation(row.organisation).await?;
        Ok(Pinned { status: "pinned", project_id })
    }

    /// The project and its organisation, if the wallet may do this to it. Absent and foreign projects get one and
    /// the same denial (08 §3.1).
    async fn authorised(
        &self,
        wallet: WalletAddress,
        id: &str,
        action: Action,
    ) -> ApiResult<(ProjectRow, Organisation)> {
        let denied = || not_authorized(action, Denial::ProjectNotFound);
        let id: ProjectId = id.parse().map_err(|_| denied())?;
        let row = store::find(&self.control.get().await?, &id).await?.ok_or_else(denied)?;
        if let Err(error) = self.orgs.authorize(wallet, row.organisation, Action::ProjectRead).await {
            return Err(if error.code() == "NOT_AUTHORIZED" { denied() } else { error });
        }
        if action != Action::ProjectRead {
            self.orgs.authorize(wallet, row.organisation, action).await?;
        }
        let organisation = self.organisation(row.organisation).await?;
        Ok((row, organisation))
    }

    async fn member_of(&self, wallet: WalletAddress) -> ApiResult<Vec<OrganisationId>> {
        Ok(self.orgs.memberships(wallet).await?.into_iter().map(|(id, _)| id).collect())
    }

    /// A project's organisation exists as long as the project does.
    async fn organisation(&self, id: OrganisationId) -> ApiResult<Organisation> {
        let organisation = self.orgs.find(id).await?;
        organisation.ok_or_else(|| ApiError::internal(format!("organisation {id} of a project is missing")))
    }

    /// URL of the first claimed subdomain.
    fn site_url(&self, id: &ProjectId) -> Option<String> {
        self.hosts.urls(id).and_then(|urls| urls.subdomain.clone())
    }

    async fn list_rows(&self, rows: Vec<ProjectRow>) -> ApiResult<Vec<ProjectListRow>> {
        let mut organisations: HashMap<OrganisationId, Organisation> = HashMap::new();
        let mut listed = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.organisation;
            let organisation = match organisations.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.organisation(id).await?),
            };
            let site_url = self.site_url(&row.id);
            listed.push(row.into_list_row(organisation, site_url));
        }
        Ok(listed)
    }
}

/// Existence is no secret to the platform admin.
fn existing_id(id: &str) -> ApiResult<ProjectId> {
    id.parse().map_err(|_| project_not_found())
}

fn project_not_found() -> ApiError {
    ApiError::not_found("PROJECT_NOT_FOUND", "There is no such project on this box.")
}
