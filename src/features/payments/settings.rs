//! `payments.*`, `faucet.*` and `billing.free` (contract 01 §11).

use serde::{Deserialize, Serialize};

use crate::{common::WalletAddress, engines::chain::assets::Chain};

/// How payments are verified and settled (contract 01 §3.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    /// On this box's own ledger of test money.
    #[default]
    Simulated,
    /// By an x402 facilitator. Not built yet.
    Facilitator,
    /// On a real chain over JSON-RPC. Not built yet.
    Rpc,
}

impl PaymentMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Facilitator => "facilitator",
            Self::Rpc => "rpc",
        }
    }
}

/// `payments.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentSettings {
    pub mode: PaymentMode,
    /// CAIP-2 names of the networks offered, in order of preference.
    pub networks: Vec<String>,
    /// Who receives payments; an address of the box's own when absent.
    pub pay_to: Option<WalletAddress>,
    /// The MPP rail. Not built yet.
    pub mpp: bool,
}

impl Default for PaymentSettings {
    fn default() -> Self {
        Self {
            mode: PaymentMode::Simulated,
            networks: vec![Chain::BaseSepolia.caip2().into()],
            pay_to: None,
            mpp: false,
        }
    }
}

/// `faucet.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaucetSettings {
    pub enabled: bool,
    /// Test money of one drip.
    pub amount_usd_micros: u32,
    /// Wait between two drips to one address; 0 means none.
    pub cooldown_seconds: u32,
}

impl Default for FaucetSettings {
    fn default() -> Self {
        Self { enabled: true, amount_usd_micros: 250_000, cooldown_seconds: 86_400 }
    }
}

/// `billing.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BillingSettings {
    /// Everything costs nothing (ruling 12 of contract 00).
    pub free: bool,
}

/// All settings this feature reads.
#[derive(Clone, Debug)]
pub struct Settings {
    pub payments: PaymentSettings,
    pub faucet: FaucetSettings,
    pub billing: BillingSettings,
    /// `rate_limits.enabled`
    pub rate_limits: bool,
}

/// A setting the box cannot start with; the text is for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error("payments.mode = \"{0}\" is not built yet in this version; use \"simulated\"")]
    Mode(&'static str),
    #[error("payments.mpp = true is not built yet in this version; leave it false")]
    Mpp,
    #[error("payments.networks is empty; name at least \"eip155:84532\"")]
    NoNetwork,
    #[error("payments.networks names \"{0}\", which this box cannot settle on; known is \"eip155:84532\"")]
    UnknownNetwork(String),
    /// A client would sign an authorisation that is valid for real money.
    #[error("payments.networks names \"{0}\", a network of real money, which simulated payments must never offer")]
    RealMoney(String),
    #[error("payments.pay_to is the zero address; name an address somebody owns, or leave it out")]
    ZeroPayTo,
    #[error("faucet.amount_usd_micros is 0; set faucet.enabled = false to switch the faucet off")]
    EmptyFaucet,
    #[error("no treasury address can be derived from this box's master key; set payments.pay_to")]
    NoTreasury,
}

impl Settings {
    /// The networks offered.
    ///
    /// # Errors
    /// [`InvalidSettings`] for whatever this version cannot do or must not do.
    pub fn validate(&self) -> Result<Vec<Chain>, InvalidSettings> {
        if self.payments.mode != PaymentMode::Simulated {
            return Err(InvalidSettings::Mode(self.payments.mode.as_str()));
        }
        if self.payments.mpp {
            return Err(InvalidSettings::Mpp);
        }
        if self.payments.pay_to.is_some_and(|address| address.is_zero()) {
            return Err(InvalidSettings::ZeroPayTo);
        }
        if self.faucet.enabled && self.faucet.amount_usd_micros == 0 {
            return Err(InvalidSettings::EmptyFaucet);
        }
        if self.payments.networks.is_empty() {
            return Err(InvalidSettings::NoNetwork);
        }
        let mut networks = Vec::new();
        for name in &self.payments.networks {
            match Chain::from_caip2(name) {
                Some(chain) if chain.is_mainnet() => return Err(InvalidSettings::RealMoney(name.clone())),
                // pathUSD has no EIP-3009; Tempo is paid over MPP.
                Some(chain @ Chain::BaseSepolia) => {
                    if !networks.contains(&chain) {
                        networks.push(chain);
                    }
                }
                _ => return Err(InvalidSettings::UnknownNetwork(name.clone())),
            }
        }
        Ok(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            payments: PaymentSettings::default(),
            faucet: FaucetSettings::default(),
            billing: BillingSettings::default(),
            rate_limits: true,
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        assert_eq!(settings().validate(), Ok(vec![Chain::BaseSepolia]));
        let faucet: FaucetSettings = serde_json::from_str("{}").unwrap();
        assert_eq!((faucet.enabled, faucet.amount_usd_micros, faucet.cooldown_seconds), (true, 250_000, 86_400));
        let billing: BillingSettings = serde_json::from_str("{}").unwrap();
        assert!(!billing.free);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<PaymentSettings>(r#"{"network":[]}"#).is_err());
        assert!(serde_json::from_str::<PaymentSettings>(r#"{"mode":"real"}"#).is_err());
        assert!(serde_json::from_str::<FaucetSettings>(r#"{"cooldown":0}"#).is_err());
        assert!(serde_json::from_str::<BillingSettings>(r#"{"fre":true}"#).is_err());
    }

    #[test]
    fn what_is_not_built_or_not_safe_stops_the_start() {
        type Change = fn(&mut Settings);
        let cases: [(Change, InvalidSettings); 9] = [
            (|s| s.payments.mode = PaymentMode::Facilitator, InvalidSettings::Mode("facilitator")),
            (|s| s.payments.mode = PaymentMode::Rpc, InvalidSettings::Mode("rpc")),
            (|s| s.payments.mpp = true, InvalidSettings::Mpp),
            (|s| s.payments.networks.clear(), InvalidSettings::NoNetwork),
            (|s| s.payments.networks.push("eip155:8453".into()), InvalidSettings::RealMoney("eip155:8453".into())),
            (|s| s.payments.networks.push("eip155:1".into()), InvalidSettings::UnknownNetwork("eip155:1".into())),
            (
                |s| s.payments.networks.push("eip155:42431".into()),
                InvalidSettings::UnknownNetwork("eip155:42431".into()),
            ),
            (|s| s.payments.pay_to = format!("0x{}", "0".repeat(40)).parse().ok(), InvalidSettings::ZeroPayTo),
            (|s| s.faucet.amount_usd_micros = 0, InvalidSettings::EmptyFaucet),
        ];
        for (change, expected) in cases {
            let mut changed = settings();
            change(&mut changed);
            assert_eq!(changed.validate(), Err(expected));
        }
        assert!(InvalidSettings::Mode("rpc").to_string().contains("not built yet in this version"));
    }
}
