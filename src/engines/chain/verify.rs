//! Whether a payment is good: the rows of contract 01 §3.5, in their order.
//!
//! Pure functions in four steps, because what lies between them needs a database: which offer is meant
//! ([`select`]), who really signed it ([`authenticate`]), whether it holds now ([`Authenticated::check_time`])
//! and whether it is covered and unused ([`Authenticated::check_funds`]). Nobody who did not sign can make
//! the box look anything up.

use alloy_primitives::{Address, U256};

use super::{
    assets::{Chain, Token},
    eip3009::Authorization,
    signature,
    x402::{Chosen, DecodeError, ExactPayload, Requirements, parse_hex, parse_integer},
};

/// An authorisation must outlive the work it pays for by this many seconds.
const MIN_REMAINING_SECONDS: u64 = 6;

/// Why a payment is refused. The words are those other x402 servers use, so clients know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    InvalidPayload,
    InvalidVersion,
    NoMatchingRequirements,
    UnsupportedScheme,
    MissingDomain,
    NetworkMismatch,
    InvalidSignature,
    RecipientMismatch,
    ValidBefore,
    ValidAfter,
    InsufficientFunds,
    ValueMismatch,
    NonceUsed,
    TransactionFailed,
}

impl Reason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::InvalidVersion => "invalid_x402_version",
            Self::NoMatchingRequirements => "No matching payment requirements",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::MissingDomain => "missing_eip712_domain",
            Self::NetworkMismatch => "network_mismatch",
            Self::InvalidSignature => "invalid_exact_evm_payload_signature",
            Self::RecipientMismatch => "invalid_exact_evm_payload_recipient_mismatch",
            Self::ValidBefore => "invalid_exact_evm_payload_authorization_valid_before",
            Self::ValidAfter => "invalid_exact_evm_payload_authorization_valid_after",
            Self::InsufficientFunds => "insufficient_funds",
            Self::ValueMismatch => "invalid_exact_evm_payload_authorization_value_mismatch",
            Self::NonceUsed => "invalid_exact_evm_nonce_already_used",
            Self::TransactionFailed => "transaction_failed",
        }
    }

    /// What to do about it, for whoever reads the answer.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::InvalidPayload => {
                "The payment header cannot be read. Send standard base64 (with padding) of the x402 JSON, at most 16 KiB."
            }
            Self::InvalidVersion => "The x402 version is not supported. Use version 2 in PAYMENT-SIGNATURE.",
            Self::NoMatchingRequirements => {
                "The payment is not for an offer of this request. Sign one of the offers in PAYMENT-REQUIRED unchanged."
            }
            Self::UnsupportedScheme => "Only the exact scheme is supported.",
            Self::MissingDomain => "The offer's extra.name and extra.version do not name a token this box knows.",
            Self::NetworkMismatch => "This box does not take payments on that network or in that token.",
            Self::InvalidSignature => {
                "The signature is not the payer's for this authorisation. Sign the typed data of the offered token and network."
            }
            Self::RecipientMismatch => "The authorisation pays somebody else than the offer's payTo.",
            Self::ValidBefore => "The authorisation has expired or is about to. Sign a new one.",
            Self::ValidAfter => "The authorisation is not valid yet. Check the clock and sign a new one.",
            Self::InsufficientFunds => {
                "The payer's token balance does not cover the amount. Fund the wallet, then pay again."
            }
            Self::ValueMismatch => "The authorised value is not the offered amount. Sign exactly that amount.",
            Self::NonceUsed => "This authorisation has been used. Sign a new one with a fresh nonce.",
            Self::TransactionFailed => "The transfer could not be carried out. Nothing was charged.",
        }
    }
}

impl From<DecodeError> for Reason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::InvalidPayload,
            DecodeError::Version => Self::InvalidVersion,
        }
    }
}

/// Row 3: the offer a payment is for.
///
/// # Errors
/// [`Reason::NoMatchingRequirements`]; for v1 [`Reason::UnsupportedScheme`] and [`Reason::NetworkMismatch`].
pub fn select<'a>(chosen: &Chosen, offers: &'a [Requirements]) -> Result<&'a Requirements, Reason> {
    match chosen {
        Chosen::Echoed(echo) => offers.iter().find(|offer| offer.matches(echo)).ok_or(Reason::NoMatchingRequirements),
        Chosen::Named { scheme, network } => {
            if scheme != "exact" {
                return Err(Reason::UnsupportedScheme);
            }
            let network = Chain::from_slug(network).ok_or(Reason::NetworkMismatch)?.caip2();
            offers.iter().find(|offer| offer.network == network).ok_or(Reason::NetworkMismatch)
        }
    }
}

/// An authorisation that its owner signed, for a token of this box and the right recipient.
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub token: &'static Token,
    pub authorization: Authorization,
    /// The offered amount; `None` when it is no integer.
    amount: Option<U256>,
}

/// Rows 4 to 8: scheme, domain, network, signature, recipient. `served` are the chains this box settles on.
///
/// # Errors
/// The [`Reason`] of the first row that fails.
pub fn authenticate(offer: &Requirements, payload: &ExactPayload, served: &[Chain]) -> Result<Authenticated, Reason> {
    if offer.scheme != "exact" {
        return Err(Reason::UnsupportedScheme);
    }
    let names = |token: &Token| offer.extra["name"] == token.name && offer.extra["version"] == token.version;
    if !Chain::ALL.into_iter().any(|chain| names(chain.token())) {
        return Err(Reason::MissingDomain);
    }
    let token = Chain::from_caip2(&offer.network)
        .filter(|chain| served.contains(chain))
        .map(Chain::token)
        .filter(|token| parse_hex(&offer.asset).map(Address::from) == Some(token.address))
        .ok_or(Reason::NetworkMismatch)?;
    if !names(token) {
        return Err(Reason::MissingDomain);
    }
    let authorization = &payload.authorization;
    if !signature::parse(&payload.signature).is_some_and(|bytes| authorization.is_signed_by_owner(token, &bytes)) {
        return Err(Reason::InvalidSignature);
    }
    if parse_hex(&offer.pay_to).map(Address::from) != Some(authorization.to) {
        return Err(Reason::RecipientMismatch);
    }
    Ok(Authenticated { token, authorization: authorization.clone(), amount: parse_integer(&offer.amount) })
}

impl Authenticated {
    /// Rows 9 and 10, at `now` in seconds since the epoch.
    ///
    /// # Errors
    /// [`Reason::ValidBefore`], [`Reason::ValidAfter`].
    pub fn check_time(&self, now: i64) -> Result<(), Reason> {
        let now = U256::from(u64::try_from(now).unwrap_or(0));
        if self.authorization.valid_before < now + U256::from(MIN_REMAINING_SECONDS) {
            return Err(Reason::ValidBefore);
        }
        if self.authorization.valid_after > now {
            return Err(Reason::ValidAfter);
        }
        Ok(())
    }

    /// Rows 11 to 13, given the payer's token balance and whether the nonce was used before. Answers the units
    /// to move, which are more than zero.
    ///
    /// # Errors
    /// [`Reason::InsufficientFunds`], [`Reason::ValueMismatch`], [`Reason::NonceUsed`].
    pub fn check_funds(&self, balance: i64, nonce_used: bool) -> Result<i64, Reason> {
        let value = self.authorization.value;
        if U256::from(u64::try_from(balance).unwrap_or(0)) < value {
            return Err(Reason::InsufficientFunds);
        }
        if self.amount != Some(value) {
            return Err(Reason::ValueMismatch);
        }
        if nonce_used {
            return Err(Reason::NonceUsed);
        }
        // A transfer of nothing pays for nothing; anything larger than i64 was stopped by the balance.
        i64::try_from(value).ok().filter(|units| *units > 0).ok_or(Reason::ValueMismatch)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, address};
    use serde_json::json;

    use super::*;
    use crate::engines::chain::{signature::testing, x402::Payment};

    const NOW: i64 = 1_781_863_500;
    const TREASURY: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
    const SERVED: &[Chain] = &[Chain::BaseSepolia];

    fn offer() -> Requirements {
        Requirements::exact(Chain::BaseSepolia.token(), 100_000, TREASURY)
    }

    fn authorization() -> Authorization {
        Authorization {
            from: testing::address(),
            to: TREASURY,
            value: U256::from(100_000),
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + 300),
            nonce: B256::repeat_byte(0x11),
        }
    }

    fn signed(authorization: Authorization, token: &Token) -> ExactPayload {
        let signature = testing::sign(&testing::KEY, authorization.digest(token));
        ExactPayload { authorization, signature: format!("0x{}", hex::encode(signature)) }
    }

    /// Everything from row 3 on, against one offer of the box.
    fn verify(
        echo: &Requirements,
        offers: &[Requirements],
        payload: &ExactPayload,
        balance: i64,
        used: bool,
    ) -> Result<i64, Reason> {
        let offer = select(&Chosen::Echoed(echo.clone()), offers)?;
        let authenticated = authenticate(offer, payload, SERVED)?;
        authenticated.check_time(NOW)?;
        authenticated.check_funds(balance, used)
    }

    fn pay(authorization: Authorization) -> Result<i64, Reason> {
        verify(&offer(), &[offer()], &signed(authorization, Chain::BaseSepolia.token()), 250_000, false)
    }

    #[test]
    fn a_good_payment_moves_its_amount() {
        assert_eq!(pay(authorization()), Ok(100_000));
    }

    #[test]
    fn rows_1_and_2_unreadable_and_unknown_versions() {
        let reason = |json: &[u8]| Payment::parse(json, false).map_err(Reason::from).unwrap_err().as_str();
        assert_eq!(reason(b"{"), "invalid_payload");
        assert_eq!(reason(b"{\"x402Version\":9}"), "invalid_x402_version");
    }

    #[test]
    fn row_3_an_altered_offer_matches_nothing() {
        let mut altered = offer();
        altered.amount = "1".into();
        let payload = signed(authorization(), Chain::BaseSepolia.token());
        let reason = verify(&altered, &[offer()], &payload, 250_000, false).unwrap_err();
        assert_eq!(reason.as_str(), "No matching payment requirements");
        assert_eq!(verify(&offer(), &[], &payload, 250_000, false), Err(Reason::NoMatchingRequirements));
    }

    #[test]
    fn rows_4_to_6_scheme_domain_and_network_are_ours() {
        let payload = signed(authorization(), Chain::BaseSepolia.token());
        type Change = fn(&mut Requirements);
        let cases: [(Change, &str); 8] = [
            (|o| o.scheme = "upto".into(), "unsupported_scheme"),
            (|o| o.extra = json!(null), "missing_eip712_domain"),
            (|o| o.extra = json!({"name": "USDC"}), "missing_eip712_domain"),
            (|o| o.extra = json!({"name": "Evil", "version": "2"}), "missing_eip712_domain"),
            (|o| o.extra = json!({"name": "USD Coin", "version": "2"}), "missing_eip712_domain"),
            (|o| o.network = "eip155:8453".into(), "network_mismatch"),
            (|o| o.network = "eip155:1".into(), "network_mismatch"),
            (|o| o.asset = format!("{TREASURY}"), "network_mismatch"),
        ];
        for (change, expected) in cases {
            let mut changed = offer();
            change(&mut changed);
            let reason = verify(&changed, &[changed.clone()], &payload, 250_000, false).unwrap_err();
            assert_eq!(reason.as_str(), expected, "{changed:?}");
        }
    }

    #[test]
    fn row_7_the_signature_is_the_payers_on_this_network() {
        let expected = Err(Reason::InvalidSignature);
        let payload = signed(authorization(), Chain::Base.token());
        assert_eq!(verify(&offer(), &[offer()], &payload, 250_000, false), expected, "signed for mainnet");

        let mut foreign = signed(authorization(), Chain::BaseSepolia.token());
        foreign.authorization.from = TREASURY;
        assert_eq!(verify(&offer(), &[offer()], &foreign, 250_000, false), expected, "somebody else's money");

        let good = signed(authorization(), Chain::BaseSepolia.token()).signature;
        for text in [
            "0x".to_owned(),
            good[2..].to_owned(),
            format!("{good}00"),
            format!("{}1d", &good[..130]),
            format!("{}00", &good[..130]),
        ] {
            let payload = ExactPayload { authorization: authorization(), signature: text.clone() };
            assert_eq!(verify(&offer(), &[offer()], &payload, 250_000, false), expected, "{text}");
        }
    }

    #[test]
    fn row_7_the_high_s_twin_is_refused() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse::<B256>().unwrap();
        let mut payload = signed(authorization(), Chain::BaseSepolia.token());
        let mut bytes = signature::parse(&payload.signature).unwrap();
        let twin = U256::from_be_bytes(order.0) - U256::from_be_slice(&bytes[32..64]);
        bytes[32..64].copy_from_slice(&twin.to_be_bytes::<32>());
        bytes[64] = 55 - bytes[64];
        payload.signature = format!("0x{}", hex::encode(bytes));
        assert_eq!(verify(&offer(), &[offer()], &payload, 250_000, false), Err(Reason::InvalidSignature));
    }

    #[test]
    fn rows_8_to_13_each_name_their_reason() {
        type Change = fn(&mut Authorization);
        let cases: [(Change, i64, bool, &str); 11] = [
            (|a| a.to = a.from, 250_000, false, "invalid_exact_evm_payload_recipient_mismatch"),
            (
                |a| a.valid_before = U256::from(NOW + 5),
                250_000,
                false,
                "invalid_exact_evm_payload_authorization_valid_before",
            ),
            (|a| a.valid_before = U256::ZERO, 250_000, false, "invalid_exact_evm_payload_authorization_valid_before"),
            (
                |a| a.valid_after = U256::from(NOW + 1),
                250_000,
                false,
                "invalid_exact_evm_payload_authorization_valid_after",
            ),
            (|a| a.valid_after = U256::MAX, 250_000, false, "invalid_exact_evm_payload_authorization_valid_after"),
            (|_| (), 0, false, "insufficient_funds"),
            (|_| (), 99_999, true, "insufficient_funds"),
            (|a| a.value = U256::MAX, i64::MAX, false, "insufficient_funds"),
            (
                |a| a.value = U256::from(99_999),
                250_000,
                false,
                "invalid_exact_evm_payload_authorization_value_mismatch",
            ),
            (
                |a| a.value = U256::from(100_001),
                250_000,
                true,
                "invalid_exact_evm_payload_authorization_value_mismatch",
            ),
            (|_| (), 250_000, true, "invalid_exact_evm_nonce_already_used"),
        ];
        for (change, balance, used, expected) in cases {
            let mut changed = authorization();
            change(&mut changed);
            let payload = signed(changed, Chain::BaseSepolia.token());
            let reason = verify(&offer(), &[offer()], &payload, balance, used).unwrap_err();
            assert_eq!(reason.as_str(), expected, "{payload:?}");
        }
    }

    #[test]
    fn the_edges_of_the_time_window_are_inside() {
        let mut edge = authorization();
        edge.valid_before = U256::from(NOW + 6);
        edge.valid_after = U256::from(NOW);
        assert_eq!(pay(edge), Ok(100_000));
        let mut endless = authorization();
        endless.valid_before = U256::MAX;
        assert_eq!(pay(endless), Ok(100_000));
    }

    #[test]
    fn an_earlier_row_wins_over_a_later_one() {
        let mut all_wrong = authorization();
        all_wrong.valid_before = U256::ZERO;
        all_wrong.value = U256::from(1);
        assert_eq!(pay(all_wrong), Err(Reason::ValidBefore));
    }

    #[test]
    fn a_transfer_of_nothing_pays_for_nothing() {
        let free = Requirements { amount: "0".into(), ..offer() };
        let mut nothing = authorization();
        nothing.value = U256::ZERO;
        let payload = signed(nothing, Chain::BaseSepolia.token());
        assert_eq!(verify(&free, std::slice::from_ref(&free), &payload, 0, false), Err(Reason::ValueMismatch));
    }

    #[test]
    fn v1_names_scheme_and_network() {
        let named = |scheme: &str, network: &str| Chosen::Named { scheme: scheme.into(), network: network.into() };
        let offers = [offer()];
        assert_eq!(select(&named("exact", "base-sepolia"), &offers), Ok(&offers[0]));
        assert_eq!(select(&named("upto", "base-sepolia"), &offers), Err(Reason::UnsupportedScheme));
        assert_eq!(select(&named("exact", "base"), &offers), Err(Reason::NetworkMismatch));
        assert_eq!(select(&named("exact", "solana"), &offers), Err(Reason::NetworkMismatch));
    }

    #[test]
    fn every_reason_has_its_own_word_and_a_sentence() {
        for reason in [Reason::TransactionFailed, Reason::InvalidVersion] {
            assert!(!reason.as_str().is_empty() && reason.sentence().ends_with('.'));
        }
    }
}
