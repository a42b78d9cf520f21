//! What the operator may set.

use serde::{Deserialize, Serialize};

/// `subdomains.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubdomainSettings {
    /// Days a name of a purged project is held for its organisation (contract 02 §2.2).
    pub hold_days: u16,
}

impl Default for SubdomainSettings {
    fn default() -> Self {
        Self { hold_days: 14 }
    }
}
