//! The box as an x402 facilitator for user apps that charge in test money (contract 01 §3.9).
//!
//! No authentication: the signed authorisation is the capability. The used nonces are the ones paid routes
//! check, so what is settled here cannot pay a route, and the other way round.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    service::Payments,
    types::{Settlement, Verification},
};
use crate::{
    common::{ApiError, ApiResult},
    engines::chain::{
        assets::Chain,
        ledger::{self, TransferError},
        verify::{self, Authenticated, Reason},
        x402::{Payment, Requirements},
    },
};

/// Body of both endpoints. The payment stays raw: what is wrong inside it is a refusal, not a bad request.
#[derive(Debug, Deserialize)]
pub(super) struct FacilitatorRequest<'a> {
    #[serde(rename = "x402Version")]
    version: u64,
    #[serde(borrow, rename = "paymentPayload")]
    payload: &'a RawValue,
    #[serde(rename = "paymentRequirements")]
    requirements: Requirements,
}

/// The claimed payer, and what came of the checks that need no database.
type Claim = (String, Result<Authenticated, Reason>);

impl FacilitatorRequest<'_> {
    /// Rows 1 to 10 of §3.5 against the caller's own requirements.
    fn check(&self, served: &[Chain], now: i64) -> Claim {
        if self.version != 2 {
            return (String::new(), Err(Reason::InvalidVersion));
        }
        let payment = match Payment::parse(self.payload.get().as_bytes(), false) {
            Ok(payment) => payment,
            Err(error) => return (String::new(), Err(error.into())),
        };
        let payer = format!("{:#x}", payment.payload.authorization.from);
        let offers = std::slice::from_ref(&self.requirements);
        let checked = verify::select(&payment.chosen, offers)
            .and_then(|offer| verify::authenticate(offer, &payment.payload, served))
            .and_then(|authenticated| authenticated.check_time(now).map(|()| authenticated));
        (payer, checked)
    }
}

impl Payments {
    /// Whether a payment would settle.
    ///
    /// # Errors
    /// Only when the database fails.
    pub(super) async fn verify(&self, request: &FacilitatorRequest<'_>) -> ApiResult<Verification> {
        let (payer, checked) = request.check(&self.0.networks, self.0.clock.now().as_seconds());
        let outcome = match checked {
            Ok(authenticated) => self.check_funds(&authenticated).await?.map(drop),
            Err(reason) => Err(reason),
        };
        let reason = outcome.err();
        Ok(Verification {
            is_valid: reason.is_none(),
            invalid_reason: reason.map(Reason::as_str),
            invalid_message: reason.map(Reason::sentence),
            payer,
        })
    }

    /// Verifies and carries out a payment, in one transaction.
    ///
    /// # Errors
    /// Only when the database fails.
    pub(super) async fn settle(&self, request: &FacilitatorRequest<'_>) -> ApiResult<Settlement> {
        let (payer, checked) = request.check(&self.0.networks, self.0.clock.now().as_seconds());
        let outcome = match checked {
            Ok(authenticated) => self.transfer(&authenticated).await?,
            Err(reason) => Err(reason),
        };
        let reason = outcome.as_ref().err().copied();
        Ok(Settlement {
            success: reason.is_none(),
            error_reason: reason.map(Reason::as_str),
            error_message: reason.map(Reason::sentence),
            payer,
            transaction: outcome.unwrap_or_default(),
            network: request.requirements.network.clone(),
        })
    }

    /// Rows 11 to 13. Answers the units to move.
    async fn check_funds(&self, authenticated: &Authenticated) -> ApiResult<Result<i64, Reason>> {
        let (token, authorization) = (authenticated.token, &authenticated.authorization);
        let connection = self.0.database.get().await?;
        let balance = ledger::balance(&**connection, token, authorization.from).await?;
        let used = ledger::is_used(&**connection, token, authorization.from, authorization.nonce).await?;
        Ok(authenticated.check_funds(balance, used))
    }

    async fn transfer(&self, authenticated: &Authenticated) -> ApiResult<Result<String, Reason>> {
        let units = match self.check_funds(authenticated).await? {
            Ok(units) => units,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut connection = self.0.database.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let now = self.0.clock.now();
        match ledger::execute(&tx, authenticated.token, &authenticated.authorization, units, now).await {
            Ok(hash) => {
                tx.commit().await?;
                Ok(Ok(hash.to_string()))
            }
            Err(TransferError::InsufficientFunds) => Ok(Err(Reason::InsufficientFunds)),
            Err(TransferError::AuthorizationUsed) => Ok(Err(Reason::NonceUsed)),
            Err(TransferError::Overflow) => Ok(Err(Reason::TransactionFailed)),
            Err(TransferError::Database(error)) => Err(ApiError::from(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, U256};
    use serde_json::{Value, json};

    use super::*;
    use crate::engines::chain::{eip3009::Authorization, signature::testing};

    const NOW: i64 = 1_781_863_500;

    fn request() -> Value {
        let token = Chain::BaseSepolia.token();
        let shop = Address::repeat_byte(0x55);
        let authorization = Authorization {
            from: testing::address(),
            to: shop,
            value: U256::from(7),
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + 60),
            nonce: B256::repeat_byte(2),
        };
        let requirements = Requirements::exact(token, 7, shop);
        let signature = testing::sign(&testing::KEY, authorization.digest(token));
        json!({
            "x402Version": 2,
            "paymentRequirements": requirements,
            "paymentPayload": {
                "x402Version": 2,
                "accepted": requirements,
                "payload": {
                    "signature": format!("0x{}", hex::encode(signature)),
                    "authorization": {
                        "from": authorization.from, "to": shop, "value": "7", "validAfter": "0",
                        "validBefore": (NOW + 60).to_string(), "nonce": authorization.nonce,
                    },
                },
            },
        })
    }

    fn check(body: &Value) -> Result<(), &'static str> {
        let text = body.to_string();
        let request: FacilitatorRequest<'_> = serde_json::from_str(&text).unwrap();
        request.check(&[Chain::BaseSepolia], NOW).1.map(drop).map_err(Reason::as_str)
    }

    #[test]
    fn a_shop_of_its_own_can_be_paid() {
        assert_eq!(check(&request()), Ok(()));
    }

    #[test]
    fn refusals_are_answers_and_name_their_reason() {
        let cases: [(&str, Value, &str); 7] = [
            ("/x402Version", json!(1), "invalid_x402_version"),
            ("/paymentPayload/x402Version", json!(1), "invalid_x402_version"),
            ("/paymentPayload/payload", json!(null), "invalid_payload"),
            ("/paymentPayload/accepted/amount", json!("8"), "No matching payment requirements"),
            ("/paymentRequirements/payTo", json!(format!("0x{}", "56".repeat(20))), "No matching payment requirements"),
            ("/paymentPayload/payload/authorization/value", json!("8"), "invalid_exact_evm_payload_signature"),
            ("/paymentPayload/payload/signature", json!("0x"), "invalid_exact_evm_payload_signature"),
        ];
        for (pointer, wrong, expected) in cases {
            let mut body = request();
            *body.pointer_mut(pointer).unwrap() = wrong;
            assert_eq!(check(&body), Err(expected), "{pointer}");
        }
        for network in ["eip155:8453", "eip155:42431"] {
            let mut body = request();
            for part in ["/paymentRequirements/network", "/paymentPayload/accepted/network"] {
                *body.pointer_mut(part).unwrap() = json!(network);
            }
            assert_eq!(check(&body), Err("network_mismatch"), "{network}");
        }
    }
}
