//! The knobs of the sandbox.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a running guest must let others run, and how exactly a deadline is kept.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Native stack of the compiled guest. Its own stack in linear memory is 1 MiB and the JavaScript limit half of
/// that (web/guest/build.mjs); compiled frames are up to twenty times as big as those.
pub(super) const GUEST_STACK_BYTES: usize = 12 << 20;
/// What host operations may use on top, since they run on the guest's stack.
pub(super) const HOST_STACK_BYTES: usize = 2 << 20;

/// Settings of the sandbox (`[sandbox]` in the configuration file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxSettings {
    /// Threads that run guests; 0 takes one for each processor.
    pub threads: usize,
    /// Instances that may exist at a time, running and idle together. Address space is reserved for each (4 GiB);
    /// memory is not.
    pub max_instances: u32,
    /// Seconds an idle instance is kept for the next request of its program.
    pub idle_seconds: u32,
    /// Most MiB of memory any program may ask for.
    pub max_memory_mb: u32,
    /// MiB of memory all instances together may take; 0 is half of the machine's. Beyond it idle instances are given
    /// up, then growth is refused.
    pub total_memory_mb: u32,
    /// Where functions may connect to.
    pub egress: EgressSettings,
}

/// Outbound network of functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressSettings {
    /// Whether functions reach the network at all.
    pub enabled: bool,
    /// Address ranges in CIDR notation that are reachable although they are not public, such as `10.1.0.0/16`.
    pub allow: Vec<String>,
    /// Seconds a connection may take to be made.
    pub connect_seconds: u32,
    /// Most MiB of one response body.
    pub max_body_mb: u32,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            max_instances: 1000,
            idle_seconds: 300,
            max_memory_mb: 512,
            total_memory_mb: 0,
            egress: EgressSettings::default(),
        }
    }
}

impl Default for EgressSettings {
    fn default() -> Self {
        Self { enabled: true, allow: Vec::new(), connect_seconds: 10, max_body_mb: 64 }
    }
}

/// What one call of a program may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance in bytes: prelude, code and data.
    pub memory_bytes: usize,
    /// Wall clock of one call: start of a fresh instance, handler, body.
    pub timeout: Duration,
    /// Bytes of a response body.
    pub response_bytes: usize,
    /// Host operations in one call, timers and console excluded.
    pub host_calls: u64,
    /// Operations in flight at a time (fetches, body reads, services).
    pub concurrent_operations: usize,
    /// Bytes of console output in one call; what is beyond is counted and dropped.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            timeout: Duration::from_secs(15),
            response_bytes: 6 << 20,
            host_calls: 100_000,
            concurrent_operations: 256,
            log_bytes: 256 << 10,
        }
    }
}
