//! The chains and tokens this engine can imitate (contract 01 §3.3, §4, §5.2).
//!
//! One table. Verification takes names, versions, addresses and chain ids from here and never from what a
//! client sent.

use alloy_primitives::{Address, address};

/// A network. Each has exactly one dollar token here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    BaseSepolia,
    Base,
    TempoModerato,
}

/// A dollar token. All have six decimals, so one unit is one USD micro.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub chain: Chain,
    pub address: Address,
    /// The symbol users see, which is not always the name that is signed.
    pub symbol: &'static str,
    /// EIP-712 domain name.
    pub name: &'static str,
    /// EIP-712 domain version.
    pub version: &'static str,
}

/// Decimals of every token of the table.
pub const DECIMALS: u8 = 6;

static BASE_SEPOLIA_USDC: Token = Token {
    chain: Chain::BaseSepolia,
    address: address!("036CbD53842c5426634e7929541eC2318f3dCF7e"),
    symbol: "USDC",
    name: "USDC",
    version: "2",
};

static BASE_USDC: Token = Token {
    chain: Chain::Base,
    address: address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
    symbol: "USDC",
    name: "USD Coin",
    version: "2",
};

static TEMPO_PATH_USD: Token = Token {
    chain: Chain::TempoModerato,
    address: address!("20c0000000000000000000000000000000000000"),
    symbol: "pathUSD",
    name: "pathUSD",
    version: "1",
};

impl Chain {
    pub const ALL: [Self; 3] = [Self::BaseSepolia, Self::Base, Self::TempoModerato];

    /// EIP-155 chain id.
    pub fn id(self) -> u64 {
        match self {
            Self::BaseSepolia => 84_532,
            Self::Base => 8_453,
            Self::TempoModerato => 42_431,
        }
    }

    /// CAIP-2 name, as x402 v2 writes networks.
    pub fn caip2(self) -> &'static str {
        match self {
            Self::BaseSepolia => "eip155:84532",
            Self::Base => "eip155:8453",
            Self::TempoModerato => "eip155:42431",
        }
    }

    /// Short name, as x402 v1 and the paths of the JSON-RPC façade write it.
    pub fn slug(self) -> &'static str {
        match self {
            Self::BaseSepolia => "base-sepolia",
            Self::Base => "base",
            Self::TempoModerato => "tempo-moderato",
        }
    }

    /// Host of the public RPC server that clients have built in (contract 01 §5.2, §5.3).
    pub fn public_rpc_host(self) -> &'static str {
        match self {
            Self::BaseSepolia => "sepolia.base.org",
            Self::Base => "mainnet.base.org",
            Self::TempoModerato => "rpc.moderato.tempo.xyz",
        }
    }

    /// Whether its tokens are real money. A simulated ledger must never offer or hold those.
    pub fn is_mainnet(self) -> bool {
        matches!(self, Self::Base)
    }

    pub fn token(self) -> &'static Token {
        match self {
            Self::BaseSepolia => &BASE_SEPOLIA_USDC,
            Self::Base => &BASE_USDC,
            Self::TempoModerato => &TEMPO_PATH_USD,
        }
    }

    pub fn from_caip2(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.caip2() == text)
    }

    pub fn from_slug(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.slug() == text)
    }

    /// The chain whose public RPC server has this name (any case, with or without a port).
    pub fn from_public_rpc_host(host: &str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or_default();
        Self::ALL.into_iter().find(|chain| chain.public_rpc_host().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_chain() {
        for chain in Chain::ALL {
            assert_eq!(Chain::from_caip2(chain.caip2()), Some(chain));
            assert_eq!(Chain::from_slug(chain.slug()), Some(chain));
            assert_eq!(Chain::from_public_rpc_host(chain.public_rpc_host()), Some(chain));
            assert_eq!(chain.caip2(), format!("eip155:{}", chain.id()));
            assert_eq!(chain.token().chain, chain);
        }
        assert_eq!(Chain::from_public_rpc_host("SEPOLIA.base.org:443"), Some(Chain::BaseSepolia));
        assert_eq!(Chain::from_public_rpc_host("evil.sepolia.base.org"), None);
        assert_eq!(Chain::from_caip2("eip155:1"), None);
    }

    #[test]
    fn addresses_carry_the_checksums_clients_know() {
        assert_eq!(Chain::BaseSepolia.token().address.to_string(), "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
        assert_eq!(Chain::Base.token().address.to_string(), "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
    }
}
