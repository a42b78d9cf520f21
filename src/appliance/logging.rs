//! Logs: for people in a terminal, JSON lines everywhere else.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::BootError;
use crate::edge::{LogFormat, LogSettings};

/// Starts logging to standard error; standard output is for what the operator asked for.
///
/// # Errors
/// One sentence when `log.level` is not a filter.
pub fn start(settings: &LogSettings) -> Result<(), BootError> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| BootError::new(format!("log.level: {error}.")))?;
    let human = match settings.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if human {
        registry.with(fmt::layer().with_writer(stderr).with_target(false).compact()).try_init()
    } else {
        registry.with(fmt::layer().with_writer(stderr).json().flatten_event(true).with_span_list(false)).try_init()
    };
    started.map_err(|error| BootError::new(format!("cannot start logging: {error}.")))
}
