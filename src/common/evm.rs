//! Ethereum-style addresses as the API writes them.

use std::{fmt, str::FromStr};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize, Serializer};

/// A wallet address. Any letter case is accepted, lower case is stored and answered (contract 01 §1.1);
/// the EIP-55 checksum is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalletAddress(pub Address);

/// The text is not `0x` and forty hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not an address: expected 0x followed by 40 hexadecimal digits")]
pub struct InvalidAddress;

impl WalletAddress {
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for WalletAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let digits = text.strip_prefix("0x").ok_or(InvalidAddress)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidAddress)?;
        Ok(Self(Address::from(bytes)))
    }
}

impl fmt::Display for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0.as_slice()))
    }
}

impl Serialize for WalletAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WalletAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_in_lower_case_out() {
        let address: WalletAddress = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        assert_eq!(address.to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        for text in [
            "",
            "0x",
            "0x12",
            "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0xg39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226600",
        ] {
            assert!(text.parse::<WalletAddress>().is_err(), "{text}");
        }
    }
}
