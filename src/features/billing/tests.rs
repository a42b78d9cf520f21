use proptest::prelude::*;

use super::{
    ledger::balances_after,
    service::{Lookup, adjustment, parse_lookup},
    *,
};
use crate::common::UsdMicros;

fn balances(available: i64) -> Balances {
    Balances { available: UsdMicros(available), held: UsdMicros(7) }
}

#[test]
fn entries_move_the_available_balance_only() {
    for (before, direction, amount, overdraw, after) in [
        (0, Direction::Credit, 5, false, Some(5)),
        (5, Direction::Debit, 5, false, Some(0)),
        (4, Direction::Debit, 5, false, None),
        (4, Direction::Debit, 5, true, Some(-1)),
        (-3, Direction::Credit, 1, false, Some(-2)),
        (-3, Direction::Debit, 1, false, None),
        (10, Direction::Credit, 0, false, None),
        (10, Direction::Debit, -5, true, None),
        (i64::MAX, Direction::Credit, 1, false, None),
        (i64::MIN, Direction::Debit, 1, true, None),
    ] {
        let result = balances_after(balances(before), direction, UsdMicros(amount), overdraw).ok();
        assert_eq!(result, after.map(balances), "{before} {direction:?} {amount}");
    }
}

#[test]
fn an_uncovered_debit_is_told_apart_from_a_bad_amount() {
    let debit = |amount| balances_after(balances(1), Direction::Debit, UsdMicros(amount), false);
    assert!(matches!(debit(2), Err(LedgerError::InsufficientFunds)));
    assert!(matches!(debit(0), Err(LedgerError::InvalidAmount)));
}

#[test]
fn corrections_are_signed_whole_and_bounded() {
    assert_eq!(adjustment(5).unwrap(), (Direction::Credit, UsdMicros(5)));
    assert_eq!(adjustment(-5).unwrap(), (Direction::Debit, UsdMicros(5)));
    for amount in [0, i64::MIN, i64::MAX, 1_000_000_000_000_001, -1_000_000_000_000_001] {
        assert_eq!(adjustment(amount).unwrap_err().code(), "INVALID_AMOUNT", "{amount}");
    }
}

#[test]
fn lookup_takes_exactly_one_key() {
    let address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    assert_eq!(parse_lookup(Some(address), None).unwrap(), Lookup::Wallet(address.parse().unwrap()));
    assert_eq!(parse_lookup(None, Some("a@example.com")).unwrap(), Lookup::Email);
    for (wallet, email, code) in [
        (None, None, "INVALID_REQUEST"),
        (Some(address), Some("a@example.com"), "INVALID_REQUEST"),
        (Some("0x12"), None, "INVALID_ADDRESS"),
        (Some(""), None, "INVALID_ADDRESS"),
    ] {
        assert_eq!(parse_lookup(wallet, email).unwrap_err().code(), code, "{wallet:?} {email:?}");
    }
}

#[test]
fn prices_default_to_the_contracts_and_refuse_unknown_names() {
    let prices: PriceSettings = serde_json::from_str(r#"{"generated_image_usd_micros": 1}"#).unwrap();
    assert_eq!(prices, PriceSettings { generated_image_usd_micros: 1, ..PriceSettings::default() });
    assert!(serde_json::from_str::<PriceSettings>(r#"{"image": 1}"#).is_err());
}

proptest! {
    /// Whatever is posted, refused entries change nothing, the balance is the signed sum of the accepted ones, and
    /// it never goes below zero.
    #[test]
    fn the_balance_is_the_signed_sum_and_never_negative(entries in prop::collection::vec((any::<bool>(), 0_i64..1_000), 0..60)) {
        let mut current = balances(0);
        let mut sum = 0;
        for (credit, amount) in entries {
            let direction = if credit { Direction::Credit } else { Direction::Debit };
            if let Ok(after) = balances_after(current, direction, UsdMicros(amount), false) {
                sum += if credit { amount } else { -amount };
                current = after;
            }
            prop_assert!(current.available.0 >= 0);
            prop_assert_eq!(current.available.0, sum);
            prop_assert_eq!(current.held.0, 7);
        }
    }
}
