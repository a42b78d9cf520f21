//! All SQL of this feature.

pub mod gate;
pub mod logs;
pub mod records;
pub mod runs;
pub mod schedules;
