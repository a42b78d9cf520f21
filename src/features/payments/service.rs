//! The pipeline of a paid request up to its charge (contract 01 §3.2, §3.5, §3.8).

use std::{net::IpAddr, sync::Arc, time::Duration};

use alloy_primitives::Address;
use axum::http::{HeaderMap, header::AUTHORIZATION};

use super::{
    challenge::{Refusal, Terms, in_progress, payment_required},
    charge::{Authorised, Charge, Means, Receipts},
    in_flight::{InFlight, PaymentKey},
    settings::{InvalidSettings, PaymentMode, Settings},
    store,
    types::{Admission, PaidRequest, Price},
};
use crate::{
    common::{
        ApiError, ApiResult, Clock, WalletAddress,
        rate::{Rate, RateLimiter},
        sealing::{MasterKey, sha256_hex},
    },
    engines::{
        chain::{
            assets::Chain,
            ledger, signature,
            verify::{self, Reason},
            x402::{Payment, PaymentHeader},
        },
        postgres::{Database, DatabaseError},
    },
    features::{identity::Identity, orgs::Orgs},
};

/// The faucets' limit for one IP address (contract 01 §1.9).
const FAUCET_REQUESTS_PER_MINUTE: u32 = 10;

/// Takes payments. Cheap to clone.
#[derive(Clone)]
pub struct Payments(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub database: Database,
    pub clock: Clock,
    pub identity: Arc<Identity>,
    pub orgs: Arc<Orgs>,
    pub master: MasterKey,
    /// Without a trailing slash.
    pub public_url: String,
    pub settings: Settings,
    pub networks: Vec<Chain>,
    pub treasury: Address,
    pub in_flight: InFlight,
    pub faucet_limit: RateLimiter<IpAddr>,
}

impl Payments {
    /// `public_url` is the base of the URLs in challenges, as clients reach the box.
    ///
    /// # Errors
    /// [`InvalidSettings`]: the box must not start.
    pub fn new(
        database: Database,
        clock: Clock,
        identity: Arc<Identity>,
        orgs: Arc<Orgs>,
        master: MasterKey,
        public_url: &str,
        settings: Settings,
    ) -> Result<Self, InvalidSettings> {
        let networks = settings.validate()?;
        let treasury = match settings.payments.pay_to {
            Some(address) => address.0,
            None => derived_treasury(&master).ok_or(InvalidSettings::NoTreasury)?,
        };
        let faucet_limit = if settings.rate_limits {
            RateLimiter::new(Rate::new(FAUCET_REQUESTS_PER_MINUTE, Duration::from_secs(60)))
        } else {
            RateLimiter::unlimited()
        };
        Ok(Self(Arc::new(Inner {
            database,
            clock,
            identity,
            orgs,
            master,
            public_url: public_url.trim_end_matches('/').to_owned(),
            settings,
            networks,
            treasury,
            in_flight: InFlight::default(),
            faucet_limit,
        })))
    }

    /// Steps 2 and 3 of contract 01 §3.2, for a request that nothing else refuses. With `billing.free`, or a
    /// price of nothing, a signed-in wallet is admitted as it is. Otherwise a payment header is verified
    /// (§3.5); without one the balance of the wallet's organisation pays if it covers the price.
    ///
    /// # Errors
    /// 402 `PAYMENT_REQUIRED` / `INSUFFICIENT_FUNDS`; 409 `PAYMENT_IN_PROGRESS`; 401
    /// `AUTHENTICATION_REQUIRED` for something free without a wallet; 501 `NOT_IMPLEMENTED` for the MPP rail.
    pub async fn admit(
        &self,
        request: &PaidRequest<'_>,
        price: &Price,
        wallet: Option<WalletAddress>,
    ) -> ApiResult<Admission> {
        let inner = &self.0;
        if inner.settings.billing.free || price.amount.0 <= 0 {
            let wallet = wallet.ok_or_else(|| {
                ApiError::authentication_required("This costs nothing here. Sign the request with a wallet.")
            })?;
            return Ok(self.charge(wallet, Means::Free));
        }
        if has_mpp_credential(request.headers) {
            return Err(ApiError::not_implemented("The MPP payment rail (Authorization: Payment)"));
        }
        let terms = Terms::new(&inner.public_url, request.route, price);
        if let Some(header) = payment_header(request.headers) {
            return self.admit_payment(request, terms, header, wallet).await;
        }
        match wallet {
            Some(wallet) if self.balance_covers(wallet, price).await? => Ok(self.charge(wallet, Means::Balance(terms))),
            _ => Err(inner.challenge(&terms, None)),
        }
    }

    /// Token units of `address` on the simulated chain.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn balance(&self, chain: Chain, address: WalletAddress) -> Result<i64, DatabaseError> {
        let connection = self.0.database.get().await?;
        ledger::balance(&**connection, chain.token(), address.0).await
    }

    /// Who receives payments.
    pub fn treasury(&self) -> WalletAddress {
        WalletAddress(self.0.treasury)
    }

    /// CAIP-2 names of the networks offered, the preferred first.
    pub fn networks(&self) -> Vec<&'static str> {
        self.0.networks.iter().map(|network| network.caip2()).collect()
    }

    pub fn mode(&self) -> PaymentMode {
        self.0.settings.payments.mode
    }

    /// Forgets idle rate-limit keys; called now and then.
    pub fn shrink(&self) {
        self.0.faucet_limit.shrink();
    }

    fn charge(&self, beneficiary: WalletAddress, means: Means) -> Admission {
        Admission::Charge(Charge::new(self.0.clone(), beneficiary, means))
    }

    async fn balance_covers(&self, wallet: WalletAddress, price: &Price) -> Result<bool, DatabaseError> {
        let organisation = self.0.orgs.of_wallet(wallet).await?;
        Ok(organisation.is_some_and(|organisation| organisation.available >= price.amount))
    }

    /// The rows of §3.5. What was bought with this authorisation before is looked up as soon as its signature
    /// and recipient are proven, and before time and balance, which by then have naturally run out.
    async fn admit_payment(
        &self,
        request: &PaidRequest<'_>,
        terms: Terms,
        header: Option<(PaymentHeader, &[u8])>,
        wallet: Option<WalletAddress>,
    ) -> ApiResult<Admission> {
        let inner = &self.0;
        let mut refusal = Refusal { reason: Reason::InvalidPayload, payer: None, network: None };
        let (kind, bytes) = header.ok_or_else(|| inner.challenge(&terms, Some(refusal)))?;
        let payment = Payment::decode(kind, bytes)
            .map_err(|error| inner.challenge(&terms, Some(Refusal { reason: error.into(), ..refusal })))?;
        refusal.payer = Some(payment.payload.authorization.from);

        let offers = terms.offers(&inner.networks, inner.treasury);
        let refuse = |refusal: Refusal, reason| inner.challenge(&terms, Some(Refusal { reason, ..refusal }));
        let offer = verify::select(&payment.chosen, &offers).map_err(|reason| refuse(refusal, reason))?;
        let authenticated =
            verify::authenticate(offer, &payment.payload, &inner.networks).map_err(|reason| refuse(refusal, reason))?;
        let token = authenticated.token;
        refusal.network = Some(token.chain.caip2());

        let authorization = &authenticated.authorization;
        let key = PaymentKey { network: token.chain, payer: authorization.from, nonce: authorization.nonce };
        let beneficiary = wallet.unwrap_or(WalletAddress(key.payer));
        let digest = meaning(&request.digest, beneficiary);
        // Entered before looking, so that whoever leaves the set has committed what is then found.
        let passage = inner.in_flight.enter(key).ok_or_else(in_progress)?;
        let connection = inner.database.get().await?;
        if let Some(known) = store::find(&**connection, &key).await? {
            if known.route != request.route || known.digest != digest {
                return Err(refuse(refusal, Reason::NonceUsed));
            }
            let outcome = known.outcome.ok_or_else(in_progress)?;
            return inner.replay(known.id, &outcome, &key).map(Admission::Replay);
        }

        let now = inner.clock.now();
        authenticated.check_time(now.as_seconds()).map_err(|reason| refuse(refusal, reason))?;
        let balance = ledger::balance(&**connection, token, key.payer).await?;
        let used = ledger::is_used(&**connection, token, key.payer, key.nonce).await?;
        let units = authenticated.check_funds(balance, used).map_err(|reason| refuse(refusal, reason))?;
        let authorised = Authorised::new(key, authenticated, units, digest, terms, passage);
        Ok(self.charge(beneficiary, Means::X402(Box::new(authorised))))
    }
}

impl Inner {
    /// The one place where a paid request is answered with 402.
    pub fn challenge(&self, terms: &Terms, refusal: Option<Refusal>) -> ApiError {
        let sign_in = self.identity.sign_in_extension(&terms.resource_url);
        payment_required(terms, terms.offers(&self.networks, self.treasury), sign_in, refusal)
    }

    fn replay(
        &self,
        id: uuid::Uuid,
        outcome: &store::Outcome,
        key: &PaymentKey,
    ) -> ApiResult<axum::response::Response> {
        let body = self.master.open(&answer_purpose(id), &outcome.body).map_err(ApiError::internal)?;
        let status = u16::try_from(outcome.status)
            .ok()
            .and_then(|status| axum::http::StatusCode::from_u16(status).ok())
            .ok_or_else(|| ApiError::internal("a stored payment has an impossible status"))?;
        let receipts = Receipts::new(key, &outcome.transaction_hash);
        Ok(super::charge::answer(status, body.to_vec(), Some(&receipts)))
    }
}

/// The seal of a stored answer is bound to its payment.
pub(super) fn answer_purpose(payment: uuid::Uuid) -> String {
    format!("payment answer {payment}")
}

/// What an authorisation is spent on: the request's meaning and who benefits. Bound together so that a copy
/// of the header shows the stored answer to nobody who signs in as somebody else.
fn meaning(request_digest: &str, beneficiary: WalletAddress) -> String {
    sha256_hex(format!("{request_digest}\n{beneficiary}").as_bytes())
}

/// A key of this box nobody else can derive. Simulated payments need only its address.
fn derived_treasury(master: &MasterKey) -> Option<Address> {
    signature::address_of_key(&master.derive("treasury"))
}

fn has_mpp_credential(headers: &HeaderMap) -> bool {
    headers
        .get_all(AUTHORIZATION)
        .iter()
        .any(|value| value.as_bytes().get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"payment ")))
}

/// The payment header, version 2 before version 1. `Some(None)` when one is sent twice: which of the two was
/// meant is not for us to guess.
#[expect(clippy::option_option, reason = "absent, ambiguous and present are three different things")]
fn payment_header(headers: &HeaderMap) -> Option<Option<(PaymentHeader, &[u8])>> {
    [("payment-signature", PaymentHeader::Signature), ("x-payment", PaymentHeader::Legacy)].into_iter().find_map(
        |(name, kind)| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?;
            Some(values.next().is_none().then(|| (kind, first.as_bytes())))
        },
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_v2_header_wins_and_a_doubled_one_is_ambiguous() {
        let mut headers = HeaderMap::new();
        assert!(payment_header(&headers).is_none());
        headers.append("x-payment", HeaderValue::from_static("one"));
        assert_eq!(payment_header(&headers), Some(Some((PaymentHeader::Legacy, b"one".as_slice()))));
        headers.append("payment-signature", HeaderValue::from_static("two"));
        assert_eq!(payment_header(&headers), Some(Some((PaymentHeader::Signature, b"two".as_slice()))));
        headers.append("payment-signature", HeaderValue::from_static("three"));
        assert_eq!(payment_header(&headers), Some(None));
    }

    #[test]
    fn only_the_payment_scheme_is_an_mpp_credential() {
        for (value, expected) in
            [("Payment abc", true), ("payment abc", true), ("Bearer abc", false), ("Payments abc", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(has_mpp_credential(&headers), expected, "{value}");
        }
    }

    #[test]
    fn the_treasury_is_stable_and_belongs_to_the_box() {
        let master = MasterKey::from_bytes([7; 32]);
        assert_eq!(derived_treasury(&master), derived_treasury(&master.clone()));
        assert_ne!(derived_treasury(&master), derived_treasury(&MasterKey::from_bytes([8; 32])));
    }

    #[test]
    fn a_payment_is_for_one_request_and_one_beneficiary() {
        let (a, b) = (WalletAddress(Address::repeat_byte(1)), WalletAddress(Address::repeat_byte(2)));
        assert_eq!(meaning("x", a), meaning("x", a));
        assert_ne!(meaning("x", a), meaning("x", b));
        assert_ne!(meaning("x", a), meaning("y", a));
    }
}
