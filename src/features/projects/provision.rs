//! Provisioning (contract 02 §2.1): refuse early, charge when the organisation has no tier, then one transaction that
//! takes a ready-made database and names it.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio_postgres::Transaction;

use super::{
    Project, Projects, metering, names,
    registry::Runtime,
    store,
    types::{NewProject, Provisioned, tier_or_smallest},
};
use crate::{
    common::{ApiError, ApiResult, MutationState, OrganisationId, ProjectId, WalletAddress, sealing::sha256_hex},
    features::{
        idempotency::Ticket,
        identity::KeyRole,
        orgs::{Action, Denial, Gate, Organisation, not_authorized},
        payments::{Admission, Charge, PaidRequest},
    },
};

pub(super) const ROUTE: &str = "POST /projects/v1";

/// Spares can be taken by others between making one and taking it; more often than this the box is overrun.
const ATTEMPTS: usize = 5;

/// A provision request with its caller.
pub(super) struct Order {
    pub wallet: WalletAddress,
    pub project: NewProject,
    /// For the payment they may carry.
    pub headers: HeaderMap,
    pub ticket: Option<Ticket>,
}

impl NewProject {
    /// Stands for the meaning of the request in payments and idempotency keys.
    pub(super) fn digest(&self) -> String {
        sha256_hex(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What one attempt came to.
enum Attempt {
    Done(Response),
    /// No spare was there; the charge is untouched.
    NoSpare(Option<Charge>),
}

impl Projects {
    /// Provisions a project. Once it is running it must not be dropped half way: the caller spawns it.
    ///
    /// # Errors
    /// 402 `PAYMENT_REQUIRED`, 403 `NOT_AUTHORIZED`, `PROJECT_PAST_DUE`…, `QUOTA_EXCEEDED`, 503 `NO_SCHEMA_SLOTS`.
    pub(super) async fn provision(&self, order: &Order) -> ApiResult<Response> {
        let organisation = self.paying_organisation(order).await?;
        if let Some(organisation) = &organisation {
            self.orgs.gate(organisation, Gate::Provision)?;
        }
        self.check_capacity().await?;

        let has_tier = organisation.as_ref().is_some_and(|organisation| self.orgs.has_active_tier(organisation));
        let mut charge = if has_tier || self.settings.free {
            None
        } else {
            match self.admit(order).await? {
                Admission::Charge(charge) => Some(charge),
                Admission::Replay(answer) => {
                    if let Some(ticket) = order.ticket.clone() {
                        ticket.release().await?;
                    }
                    return Ok(answer);
                }
            }
        };
        for _ in 0..ATTEMPTS {
            match self.attempt(order, organisation.as_ref(), charge).await.map_err(rolled_back)? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::NoSpare(unused) => charge = unused,
            }
            self.make_spare().await?;
        }
        Err(ApiError::unavailable("Too many projects are being made at once. Try again shortly."))
    }

    /// The organisation that will own the project, if it exists already; the caller is developer or higher in it.
    async fn paying_organisation(&self, order: &Order) -> ApiResult<Option<Organisation>> {
        let organisation = match order.project.organisation {
            Some(id) => {
                self.orgs.authorize(order.wallet, id, Action::ProjectCreate).await?;
                let found = self.orgs.find(id).await?;
                Some(found.ok_or_else(|| not_authorized(Action::ProjectCreate, Denial::NotMember))?)
            }
            None => {
                let own = self.orgs.of_wallet(order.wallet).await?;
                if let Some(own) = &own {
                    self.orgs.authorize(order.wallet, own.id, Action::ProjectCreate).await?;
                }
                own
            }
        };
        if let (Some(organisation), Some(cap)) = (&organisation, self.settings.max_projects_per_organisation) {
            let snapshot = self.registry.snapshot();
            let live = snapshot.projects.values().filter(|live| live.project.organisation == organisation.id).count();
            check_cap(i64::try_from(live).unwrap_or(i64::MAX), cap)?;
        }
        Ok(organisation)
    }

    /// The box has room for one more.
    async fn check_capacity(&self) -> ApiResult<()> {
        let live = self.registry.snapshot().projects.len();
        let full = self.settings.max_projects.is_some_and(|cap| live >= usize::try_from(cap).unwrap_or(usize::MAX));
        if full || self.free_disk_mb().await? < self.settings.min_free_disk_mb {
            return Err(no_schema_slots());
        }
        Ok(())
    }

    async fn free_disk_mb(&self) -> ApiResult<u64> {
        let data_dir = self.data_dir.clone();
        let space = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&data_dir))
            .await
            .map_err(ApiError::internal)?
            .map_err(ApiError::internal)?;
        let bytes = u128::from(space.blocks_available()) * u128::from(space.fragment_size());
        Ok(u64::try_from(bytes / 1_048_576).unwrap_or(u64::MAX))
    }

    async fn admit(&self, order: &Order) -> ApiResult<Admission> {
        let request = PaidRequest { route: ROUTE, headers: &order.headers, digest: order.project.digest() };
        let price = self.tiers.subscription_price(order.project.tier);
        self.payments.admit(&request, &price, Some(order.wallet)).await
    }

    /// One transaction: organisation, charge and tier where needed, spare, project, answer.
    async fn attempt(
        &self,
        order: &Order,
        organisation: Option<&Organisation>,
        charge: Option<Charge>,
    ) -> ApiResult<Attempt> {
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;

        let created_by = self.orgs.ensure_principal(&tx, order.wallet).await?;
        let owner = match organisation {
            Some(organisation) => organisation.id,
            None => self.orgs.ensure_for_wallet(&tx, order.wallet).await?,
        };
        let locked = self.locked(&tx, owner).await?;
        self.orgs.gate(&locked, Gate::Provision)?;
        if let Some(cap) = self.settings.max_projects_per_organisation {
            check_cap(store::count_of_organisation(&tx, owner).await?, cap)?;
        }
        let Some(spare) = store::take_spare(&tx).await? else { return Ok(Attempt::NoSpare(charge)) };

        // A parallel request may have bought the tier meanwhile: then nothing is charged.
        let (locked, settled) = if self.orgs.has_active_tier(&locked) {
            (locked, None)
        } else {
            let settled = self.subscribe(&tx, order, owner, charge).await?;
            (self.locked(&tx, owner).await?, settled)
        };

        let id = ProjectId::generate(self.clock.now());
        let public_id = names::public_id();
        let name = order.project.name.clone().unwrap_or_else(names::label);
        let project = store::InsertProject {
            id: &id,
            public_id: &public_id,
            organisation: owner,
            name: &name,
            spare: &spare,
            created_by: &created_by,
            created_at: self.clock.now(),
            usage_period_start: locked.usage_period_start,
        };
        store::insert_project(&tx, &project).await?;

        let answer = self.answer(&id, &spare, name, &locked)?;
        if let Some(ticket) = &order.ticket {
            ticket.store(&tx, StatusCode::CREATED, &answer).await?;
        }
        let mut response = match settled {
            Some(charge) => charge.finish(tx, StatusCode::CREATED, answer).await?,
            None => {
                tx.commit().await?;
                (StatusCode::CREATED, Json(answer)).into_response()
            }
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        drop(connection);
        self.hosts.begin(&id, &public_id);
        self.begin_life(id, &locked, spare).await;
        Ok(Attempt::Done(response))
    }

    /// Buys the requested tier. On a box where everything is free it is applied without a charge.
    async fn subscribe(
        &self,
        tx: &Transaction<'_>,
        order: &Order,
        organisation: OrganisationId,
        charge: Option<Charge>,
    ) -> ApiResult<Option<Charge>> {
        let charge = match charge {
            Some(mut charge) => {
                charge.settle(tx, organisation).await?;
                Some(charge)
            }
            None if self.settings.free => None,
            None => {
                return Err(ApiError::unavailable("The tier of the organisation just ended. Send the request again."));
            }
        };
        self.tiers.apply(tx, organisation, order.project.tier).await?;
        Ok(charge)
    }

    async fn locked(&self, tx: &Transaction<'_>, id: OrganisationId) -> ApiResult<Organisation> {
        let organisation = self.orgs.lock(tx, id).await?;
        organisation.ok_or_else(|| not_authorized(Action::ProjectCreate, Denial::NotMember))
    }

    fn answer(
        &self,
        id: &ProjectId,
        spare: &store::Spare,
        name: String,
        organisation: &Organisation,
    ) -> ApiResult<Value> {
        serde_json::to_value(Provisioned {
            project_id: id.clone(),
            anon_key: self.identity.mint_project_key(id, KeyRole::Anon),
            service_key: self.identity.mint_project_key(id, KeyRole::Service),
            schema_slot: spare.slot.clone(),
            name,
            tier: tier_or_smallest(organisation),
            org_id: organisation.id,
            lease_expires_at: organisation.lease.map(|lease| lease.expires_at),
        })
        .map_err(ApiError::internal)
    }

    /// The committed project enters memory: from here on its keys work.
    async fn begin_life(&self, id: ProjectId, organisation: &Organisation, spare: store::Spare) {
        let tier = organisation.lease.map(|lease| lease.tier);
        let usage = metering::Usage { api_calls: organisation.api_calls, storage_bytes: 0 };
        let pool = metering::Pool::new(organisation.id, tier, usage, self.limits_of(tier));
        let project = Project { id, organisation: organisation.id, slot: spare.slot, archived: false };
        self.registry.insert(project, Runtime::new(spare.bootstrap_version), pool);
        self.spare_taken.notify_one();
        if let Err(error) = self.refresh_organisation(organisation.id).await {
            tracing::warn!(%error, "the quota of a new project's organisation is read later");
        }
    }

    /// Runs [`Projects::provision`] to its end even if the client hangs up, and settles the idempotency key of a
    /// refused request.
    pub(super) async fn provision_to_the_end(self: &Arc<Self>, order: Order, trace_id: String) -> ApiResult<Response> {
        let projects = Arc::clone(self);
        let run = self.tasks.spawn(async move {
            match projects.provision(&order).await {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    if let Some(ticket) = order.ticket {
                        ticket.refuse(&error, &trace_id).await;
                    }
                    Err(error)
                }
            }
        });
        run.await.unwrap_or_else(|error| Err(ApiError::internal(error)))
    }
}

fn check_cap(live: i64, cap: u32) -> ApiResult<()> {
    if live >= i64::from(cap) { Err(metering::too_many_projects(live, cap)) } else { Ok(()) }
}

/// Nothing of a failed attempt remains: database and keys belong to nobody.
fn rolled_back(error: ApiError) -> ApiError {
    if error.status() == StatusCode::INTERNAL_SERVER_ERROR {
        error.mutation_state(MutationState::RolledBack)
    } else {
        error
    }
}

fn no_schema_slots() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "NO_SCHEMA_SLOTS", "No schema slots available")
        .retryable(false)
        .hint("This box holds as many projects as its operator or its disk allows. Delete one, or ask the operator.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::orgs::Tier;

    #[test]
    fn the_digest_follows_the_meaning() {
        let base = NewProject { tier: Tier::Hobby, name: None, organisation: None };
        let named = NewProject { name: Some("x".into()), ..base.clone() };
        assert_eq!(base.digest(), base.clone().digest());
        assert_ne!(base.digest(), named.digest());
    }

    #[test]
    fn a_cap_is_reached_with_its_last_project() {
        assert!(check_cap(1, 2).is_ok());
        let error = check_cap(2, 2).unwrap_err();
        let body = error.body("trc_1", false);
        assert_eq!(error.code(), "QUOTA_EXCEEDED");
        assert_eq!((&body["details"]["resource"], &body["details"]["limit"]), (&"projects".into(), &2.into()));
    }

    #[test]
    fn a_full_box_is_not_worth_retrying() {
        let body = no_schema_slots().body("trc_1", false);
        assert_eq!((&body["code"], &body["retryable"]), (&"NO_SCHEMA_SLOTS".into(), &false.into()));
        assert_eq!(body["message"], "No schema slots available");
    }
}
