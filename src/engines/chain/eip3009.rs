//! EIP-3009 `transferWithAuthorization`: a token transfer signed off-chain as EIP-712 typed data
//! (contract 01 §3.5).

use std::borrow::Cow;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};

use super::{assets::Token, signature};

sol! {
    /// The primary type of the typed data; field names and order are part of its hash.
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
}

/// Permission to move `value` units from `from` to `to`, between two moments (seconds since the epoch), once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub from: Address,
    pub to: Address,
    pub value: U256,
    pub valid_after: U256,
    pub valid_before: U256,
    pub nonce: B256,
}

/// The EIP-712 domain of a token.
pub fn domain(token: &Token) -> Eip712Domain {
    Eip712Domain {
        name: Some(Cow::Borrowed(token.name)),
        version: Some(Cow::Borrowed(token.version)),
        chain_id: Some(U256::from(token.chain.id())),
        verifying_contract: Some(token.address),
        salt: None,
    }
}

impl Authorization {
    /// What the owner signs for this token.
    pub fn digest(&self, token: &Token) -> B256 {
        TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
        }
        .eip712_signing_hash(&domain(token))
    }

    /// Whether `from` signed this for `token`. The token contract knows only v 27 and 28, so 0 and 1, which
    /// other signatures may carry, are refused here.
    pub fn is_signed_by_owner(&self, token: &Token, signature: &[u8; 65]) -> bool {
        matches!(signature[64], 27 | 28) && signature::recover(self.digest(token), signature) == Some(self.from)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256, keccak256};

    use super::*;
    use crate::engines::chain::{assets::Chain, signature::parse};

    fn vector() -> Authorization {
        Authorization {
            from: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            to: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            value: U256::from(100_000),
            valid_after: U256::from(1_781_863_200),
            valid_before: U256::from(1_781_864_100),
            nonce: B256::repeat_byte(0x11),
        }
    }

    const SEPOLIA: &str = "0x65225fcf62d2903dc8e1b2ad3839c536bef9b983af6199c15c6d0bc9b25bbad7\
        6a04bfd2cb9397f5bbe8f7290dfd1dddc18c462a7394e2f6505ead9da359885c1b";
    const BASE: &str = "0x6ed49232fb3e540acebd48eab254153175b6811d6586672d1e0a4a79c946d39a\
        0de4960a8d8b400b670b864e008766509b1f2854376e89f8b477a49b99ff7d7f1c";

    #[test]
    fn type_hashes_and_domain_separators_are_the_published_ones() {
        assert_eq!(
            keccak256(TransferWithAuthorization::eip712_encode_type().as_bytes()),
            b256!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267")
        );
        let sepolia = domain(Chain::BaseSepolia.token());
        assert_eq!(sepolia.type_hash(), b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"));
        assert_eq!(sepolia.separator(), b256!("71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818"));
        assert_eq!(
            domain(Chain::Base.token()).separator(),
            b256!("02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f")
        );
    }

    #[test]
    fn the_vectors_verify_on_their_own_chain_only() {
        let (sepolia, base) = (Chain::BaseSepolia.token(), Chain::Base.token());
        let authorization = vector();
        assert_eq!(
            authorization.digest(sepolia),
            b256!("e87c3c797781159fad53887539a4e0816d583648720305e40e8281eb1c2b6512")
        );
        assert_eq!(
            authorization.digest(base),
            b256!("b9018cac6b65d08428b66573cdcd2a840d6384a1e8726e7e208404992b30877a")
        );
        let (on_sepolia, on_base) = (parse(SEPOLIA).unwrap(), parse(BASE).unwrap());
        assert!(authorization.is_signed_by_owner(sepolia, &on_sepolia));
        assert!(authorization.is_signed_by_owner(base, &on_base));
        assert!(!authorization.is_signed_by_owner(sepolia, &on_base));
        assert!(!authorization.is_signed_by_owner(base, &on_sepolia));
    }

    #[test]
    fn every_field_is_under_the_signature() {
        let signature = parse(SEPOLIA).unwrap();
        let changes: [fn(&mut Authorization); 6] = [
            |a| a.from = Address::ZERO,
            |a| a.to = a.from,
            |a| a.value += U256::ONE,
            |a| a.valid_after += U256::ONE,
            |a| a.valid_before += U256::ONE,
            |a| a.nonce = B256::ZERO,
        ];
        for change in changes {
            let mut changed = vector();
            change(&mut changed);
            assert!(!changed.is_signed_by_owner(Chain::BaseSepolia.token(), &signature), "{changed:?}");
        }
    }

    #[test]
    fn v_of_0_or_1_is_not_what_a_token_contract_accepts() {
        let mut signature = parse(SEPOLIA).unwrap();
        signature[64] -= 27;
        assert!(!vector().is_signed_by_owner(Chain::BaseSepolia.token(), &signature));
    }
}
