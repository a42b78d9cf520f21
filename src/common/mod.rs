//! Words everyone uses: ids, money, time, errors, sealing, pagination.
//!
//! Nothing here knows a feature, an engine or a socket.

pub mod body;
pub mod context;
pub mod error;
pub mod evm;
pub mod ids;
pub mod json;
pub mod money;
pub mod net;
pub mod page;
pub mod path;
pub mod rate;
pub mod sealing;
pub mod time;
pub mod to_the_end;

pub use context::{ClientIp, NestedCall, TraceId, Verbatim};
pub use error::{ApiError, ApiResult, Category, MutationState, NextAction};
pub use evm::WalletAddress;
pub use ids::{DeploymentId, OperationId, OrganisationId, PlanId, PrincipalId, ProjectId, ReleaseId, Slot};
pub use json::ApiJson;
pub use money::UsdMicros;
pub use net::Network;
pub use page::{Page, PageQuery, exact_limit};
pub use time::{Clock, Timestamp};
pub use to_the_end::to_the_end;
