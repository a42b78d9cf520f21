//! Wire types of the service endpoints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Who runs this box (`operator.*`), shown in `GET /status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorSettings {
    pub name: String,
    pub contact: String,
    pub legal_name: String,
}

/// How payments work here: `simulated` money must never be mistaken for real money.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentsInfo {
    pub mode: String,
    pub networks: Vec<String>,
}

/// Body of `GET /health`: each check is `ok` or `fail`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    pub status: &'static str,
    pub checks: BTreeMap<&'static str, &'static str>,
    pub version: &'static str,
}

/// Body of `GET /status`: the union of what clients of two generations read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusBody {
    pub status: &'static str,
    pub uptime_seconds: u64,
    pub deployment: Deployment,
    /// What is on. Must be an array.
    pub capabilities: Vec<&'static str>,
    pub operator: OperatorSettings,
    pub schema_version: &'static str,
    pub service: &'static str,
    pub current_status: &'static str,
    pub availability: Availability,
    pub capability_status: BTreeMap<&'static str, &'static str>,
    pub links: Links,
    pub payments: PaymentsInfo,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deployment {
    pub version: &'static str,
    pub topology: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Links {
    pub health: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    pub last_24h: Window,
    pub last_7d: Window,
    pub last_30d: Window,
}

/// Availability over a window. 100 % and zero counts before the first probe.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Window {
    pub uptime_pct: f64,
    pub total_probes: i64,
    pub healthy_probes: i64,
    /// Capability → `{uptime_pct}`.
    #[schema(value_type = Object)]
    pub capabilities: Map<String, Value>,
}
