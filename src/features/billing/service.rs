//! Who may see a balance, and the owner's hand on it.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::{
    ledger::{self, ADMIN_ADJUSTMENT, LedgerError},
    store,
    types::{BillingAccount, Direction, Entry, History},
};
use crate::{
    common::{ApiError, ApiResult, OrganisationId, Page, PageQuery, UsdMicros, WalletAddress},
    engines::postgres::Database,
    features::{
        identity::{Admin, Identity},
        orgs::{Action, Denial, Organisation, Orgs, not_authorized, organisation_not_found},
    },
};

/// The largest correction in one go: a thousand million dollars. Keeps sums far from the edge of 64 bits.
const MAX_ADJUSTMENT: i64 = 1_000_000_000_000_000;
const MAX_NOTE_CHARS: usize = 500;

/// The billing service.
pub struct Billing {
    database: Database,
    orgs: Arc<Orgs>,
    identity: Arc<Identity>,
}

/// Who asks.
pub(super) enum Caller {
    Admin,
    Wallet(WalletAddress),
}

/// Whose account is looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Wallet(WalletAddress),
    Email,
}

impl Billing {
    pub fn new(database: Database, orgs: Arc<Orgs>, identity: Arc<Identity>) -> Self {
        Self { database, orgs, identity }
    }

    /// The platform admin when an admin credential is presented, else the wallet.
    pub(super) fn caller(&self, headers: &HeaderMap) -> ApiResult<Caller> {
        if self.identity.admin(headers)?.is_some() {
            return Ok(Caller::Admin);
        }
        self.identity
            .wallet(headers)?
            .map(Caller::Wallet)
            .ok_or_else(|| ApiError::authentication_required("Sign the request with a wallet of this organisation."))
    }

    /// 403 `NOT_AUTHORIZED` for members without the right, foreigners and unknown organisations; 404 only for admins.
    async fn readable(&self, caller: &Caller, id: OrganisationId) -> ApiResult<Organisation> {
        if let Caller::Wallet(wallet) = caller {
            self.orgs.authorize(*wallet, id, Action::BillingRead).await?;
        }
        self.orgs.find(id).await?.ok_or_else(organisation_not_found)
    }

    pub(super) async fn account(&self, caller: &Caller, id: OrganisationId) -> ApiResult<BillingAccount> {
        Ok(BillingAccount::from(&self.readable(caller, id).await?))
    }

    pub(super) async fn history(&self, caller: &Caller, id: OrganisationId, query: &PageQuery) -> ApiResult<History> {
        let limit = query.limit()?;
        let before = query.cursor::<i64>()?;
        self.readable(caller, id).await?;
        let connection = self.database.get().await?;
        let fetched = store::history(&connection, id, before, limit + 1).await?;
        let page = Page::from_fetched(fetched, limit, |entry| entry.sequence);
        Ok(History { org_id: id, has_more: page.has_more(), next_cursor: page.next_cursor, entries: page.rows })
    }

    /// The account of a wallet: the caller's own, or another one of an organisation the caller belongs to.
    pub(super) async fn lookup(&self, caller: &Caller, lookup: Lookup) -> ApiResult<BillingAccount> {
        let wanted = match (lookup, caller) {
            (Lookup::Email, Caller::Admin) => {
                return Err(ApiError::not_implemented("Lookup of an organisation by e-mail"));
            }
            (Lookup::Email, Caller::Wallet(_)) => return Err(ApiError::admin_required()),
            (Lookup::Wallet(wanted), _) => wanted,
        };
        let organisation = self.orgs.of_wallet(wanted).await?;
        match (caller, organisation) {
            (Caller::Wallet(wallet), None) if *wallet != wanted => {
                Err(not_authorized(Action::BillingRead, Denial::NotMember))
            }
            (_, None) => Err(organisation_not_found()),
            (Caller::Wallet(wallet), Some(organisation)) if *wallet != wanted => {
                self.orgs.authorize(*wallet, organisation.id, Action::BillingRead).await?;
                Ok(BillingAccount::from(&organisation))
            }
            (_, Some(organisation)) => Ok(BillingAccount::from(&organisation)),
        }
    }

    /// Corrects a balance by hand (01 §8.7). A negative amount may overdraw it.
    pub(super) async fn adjust(
        &self,
        admin: &Admin,
        id: OrganisationId,
        amount: i64,
        note: Option<&str>,
    ) -> ApiResult<BillingAccount> {
        let (direction, amount) = adjustment(amount)?;
        let metadata = adjustment_metadata(admin, note)?;
        let mut connection = self.database.get().await?;
        let tx = connection.transaction().await?;
        self.orgs.lock(&tx, id).await?.ok_or_else(organisation_not_found)?;
        let entry = Entry { organisation: id, direction, kind: ADMIN_ADJUSTMENT, amount, reference: None, metadata };
        ledger::post(&tx, &entry).await.map_err(|error| match error {
            LedgerError::InvalidAmount => invalid_amount("The balance cannot take this amount."),
            error => error.into(),
        })?;
        let organisation = self.orgs.lock(&tx, id).await?.ok_or_else(organisation_not_found)?;
        tx.commit().await?;
        Ok(BillingAccount::from(&organisation))
    }
}

/// Reads the query of a lookup: exactly one of `wallet` and `email` (01 §8.2).
pub(super) fn parse_lookup(wallet: Option<&str>, email: Option<&str>) -> ApiResult<Lookup> {
    match (wallet, email) {
        (Some(wallet), None) => wallet.parse().map(Lookup::Wallet).map_err(|_| {
            ApiError::bad_request("INVALID_ADDRESS", "wallet must be 0x and forty hexadecimal digits.")
                .detail("field", "wallet")
        }),
        (None, Some(_)) => Ok(Lookup::Email),
        _ => Err(ApiError::bad_request("INVALID_REQUEST", "Send exactly one of wallet and email.")),
    }
}

pub(super) fn adjustment(amount: i64) -> ApiResult<(Direction, UsdMicros)> {
    match amount {
        1..=MAX_ADJUSTMENT => Ok((Direction::Credit, UsdMicros(amount))),
        _ if (-MAX_ADJUSTMENT..0).contains(&amount) => Ok((Direction::Debit, UsdMicros(-amount))),
        _ => Err(invalid_amount("amount_usd_micros must be a whole number other than 0, of at most 10^15 either way.")),
    }
}

fn adjustment_metadata(admin: &Admin, note: Option<&str>) -> ApiResult<Value> {
    let mut metadata = Map::new();
    metadata.insert("admin".into(), admin.to_string().into());
    if let Some(note) = note.map(str::trim).filter(|note| !note.is_empty()) {
        if note.chars().count() > MAX_NOTE_CHARS || note.contains('\0') {
            return Err(ApiError::validation(
                "note",
                format!("note must be text of at most {MAX_NOTE_CHARS} characters."),
            ));
        }
        metadata.insert("note".into(), note.into());
    }
    Ok(Value::Object(metadata))
}

fn invalid_amount(message: &'static str) -> ApiError {
    ApiError::bad_request("INVALID_AMOUNT", message).detail("field", "amount_usd_micros")
}
