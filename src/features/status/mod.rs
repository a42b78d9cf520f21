//! Is the box well: `GET /health`, `GET /status` and the availability behind them (contract 01 §10).
//!
//! A capability is whatever can be probed; the appliance hands the probes in, so this feature knows none of
//! the parts it watches. A sampler stores one probe a minute; minutes in which the process was down count as
//! unhealthy, so the figures are honest about restarts.

mod routes;
mod service;
mod store;
mod types;

pub use routes::router;
pub use service::{Capability, Probe, Status};
pub use types::{OperatorSettings, PaymentsInfo};
