//! `run402 serve`: boot in order, run, stop in order.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    App, BootError,
    config::{Config, Overrides},
    data_dir::DataDir,
    logging, privileges,
    secrets::{self, AdminCredential},
};
use crate::{common::sealing::MasterKey, edge};

/// How long background work may take to finish at shutdown before it is abandoned: it is all resumable.
const BACKGROUND_GRACE: Duration = Duration::from_millis(500);

/// Shown below the options of `run402 serve --help`.
pub const HELP: &str = "\
Settings are read from run402.toml, then RUN402_* variables (RUN402_FAUCET__COOLDOWN_SECONDS for
faucet.cooldown_seconds), then --set and the options above; later ones win, unknown ones are errors.

  public_url                        base URL clients use [http://localhost:<port>]
  trusted_proxies                   addresses or networks whose X-Forwarded-* are believed []
  siwx_accept_domains               further host names wallet signatures may name []
  admin.wallets, admin.key_hash     who else is platform admin, with X-Admin-Mode: 1 / X-Admin-Key
  payments.mode, .networks, .pay_to simulated testnet money is the only mode of this version
  faucet.enabled, .amount_usd_micros, .cooldown_seconds      [true, 250000, 86400]
  billing.free                      everything is free of charge [false]
  tiers.<name>.*, prices.*          what things cost and allow
  lease.enforce, .default_perpetual, .purge_enabled          [false, false, true]
  projects.spare_databases          databases made ahead of need [2]
  rate_limits.enabled, .project_per_second                   [true, 100]
  sql.timeout_seconds, .max_rows, .max_result_bytes          [60, 10000, 16777216]
  rest.statement_timeout_seconds, .max_rows, .max_body_bytes, ...
  assets.max_put_bytes, .concurrent_encodes, .queued_encodes, .encode_seconds
  content.max_object_bytes, .single_max_bytes, .part_bytes, .plan_seconds, .url_seconds, .grace_seconds, ...
  apply.commit_wait_seconds, .migration_timeout_seconds, .retained_releases, .retained_days, .cached_files, ...
  functions.running_per_project, .queued_per_project, .running, .patience_seconds      [4, 16, 64, 10]
  functions.log_hours, .log_project_mb, .cache_mb, .cloud_alias, .show_errors          [24, 10, 128, true, false]
  sandbox.threads, .max_instances, .idle_seconds, .max_memory_mb    [one a processor, 1000, 300, 512]
  sandbox.total_memory_mb           memory of all functions together [half of the machine's]
  sandbox.egress.enabled, .allow    whether and where functions connect to: public addresses and these [true, []]
  http.body_bytes, .request_seconds, .header_seconds, .connections, .threads [half of the processors]
  subdomains.hold_days              how long a deleted project's names are held for its owner [14]
  sites.cache_mb                    memory for small files and their compressed forms [64]
  postgres.shared_buffers_mb, .max_connections, .pool_budget, .install_dir, ...
  blobs.cache_mb, .chunk_bytes
  operator.name, .contact, .legal_name                       shown at /status
  log.level, log.format             info; auto: human in a terminal, JSON otherwise";

/// Runs the appliance until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence when it cannot start.
pub fn run(overrides: &Overrides) -> Result<(), BootError> {
    let started = Instant::now();
    let config = Config::load(overrides)?;
    logging::start(&config.log)?;
    let listener = bind(config.listen)?;
    // From here on the process is the service user; it still has a single thread, as the switch demands.
    let path = privileges::drop_root(&config.data_dir, config.user.as_deref())?;
    let data_dir = DataDir::open(&path)?;
    let master = secrets::load_or_create_master_key(data_dir.path())?;
    let admin = secrets::load_or_create_admin_credential(data_dir.path(), &master)?;
    runtime::Builder::new_multi_thread()
        .worker_threads(config.http.worker_threads())
        .enable_all()
        .build()
        .map_err(|error| BootError::new(format!("cannot start the runtime: {error}.")))?
        .block_on(boot_and_run(config, listener, data_dir, master, admin, started))
}

fn bind(address: SocketAddr) -> Result<TcpListener, BootError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: std::io::Error| {
        BootError::new(format!("cannot listen on {address}: {error}. Choose another address with --listen."))
    })
}

async fn boot_and_run(
    config: Config,
    listener: TcpListener,
    data_dir: DataDir,
    master: MasterKey,
    admin: AdminCredential,
    started: Instant,
) -> Result<(), BootError> {
    let stop = stop_on_signal()?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|error| BootError::new(format!("cannot listen: {error}.")))?;
    let address = listener.local_addr().map_err(|error| BootError::new(format!("cannot listen: {error}.")))?;
    let public_url = config.public_url(address.port())?;

    let (app, engines) = App::boot(&config, &data_dir, &master, &admin.key, &public_url).await?;
    let tasks = TaskTracker::new();
    app.start_background(&tasks, &stop);
    let front = app.front(&config, &public_url);

    announce(address, public_url.as_str(), &admin);
    tracing::info!(ms = started.elapsed().as_millis(), data_dir = %data_dir.path().display(), "ready");
    edge::serve(listener, front, &config.http, stop).await;

    tasks.close();
    if time::timeout(BACKGROUND_GRACE, tasks.wait()).await.is_err() {
        tracing::debug!("background work was cut off; it resumes at the next start");
    }
    app.stop().await;
    engines.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Cancelled by SIGTERM and by SIGINT.
fn stop_on_signal() -> Result<CancellationToken, BootError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|error| BootError::new(format!("cannot listen for signals: {error}.")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            tracing::info!("stopping");
            stop.cancel();
        });
    }
    Ok(stop)
}

/// Tells the operator where to go. Standard output, one line per listening address.
fn announce(address: SocketAddr, public_url: &str, admin: &AdminCredential) {
    println!("listening on http://{address}");
    println!("API: {public_url}  status: {}status", public_url);
    if admin.is_new {
        println!("admin key, shown this once (`run402 admin token` prints it again): {}", admin.key.as_str());
    }
}
