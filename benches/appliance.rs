//! The appliance's budgets, measured on the real binary: `cargo bench --bench appliance`.
//!
//! Prints medians; nothing here passes or fails. Boots go to temporary directories and loopback ports only, and
//! every loop is bounded. Machines differ and are noisy: compare runs on one machine, quote medians.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;
use support::{Api, Appliance, Wallet, appliance::temporary_dir, process};

const FIRST_BOOTS: usize = 5;
const WARM_BOOTS: usize = 9;
const PROVISIONS: usize = 30;
const QUERIES: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    boots();
    let appliance = Appliance::plan().boot();
    std::thread::sleep(Duration::from_secs(5));
    println!("idle memory of the whole process tree      {:>8.1} MiB Pss", tree_pss_mib(&appliance));
    runtime.block_on(async {
        let api = appliance.api();
        let wallet = api.subscriber().await;
        provisions(&api, &wallet).await;
        queries(&api, &wallet).await;
    });
    println!("memory after the load                      {:>8.1} MiB Pss", tree_pss_mib(&appliance));
}

/// From starting the process to 200 on `/health`.
fn boots() {
    let mut first = Vec::new();
    for _ in 0..FIRST_BOOTS {
        let dir = temporary_dir();
        let started = Instant::now();
        let appliance = Appliance::default_plan().data_dir(&dir.path().join("data")).boot();
        first.push(started.elapsed());
        drop(appliance);
    }
    report("first boot to /health 200, Postgres extracted", &mut first);
    let mut appliance = Appliance::default_plan().boot();
    let mut warm = Vec::new();
    for _ in 0..WARM_BOOTS {
        appliance.stop();
        let started = Instant::now();
        appliance.start_again();
        warm.push(started.elapsed());
    }
    report("warm boot to /health 200", &mut warm);
}

async fn provisions(api: &Api, wallet: &Wallet) {
    let provision = async || {
        let started = Instant::now();
        api.post("/projects/v1").wallet(wallet).json(&json!({})).send().await.is(201);
        started.elapsed()
    };
    let mut paced = Vec::new();
    for _ in 0..PROVISIONS {
        paced.push(provision().await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    report("provision a project, stock at hand", &mut paced);
    let mut burst = Vec::new();
    for _ in 0..PROVISIONS {
        burst.push(provision().await);
    }
    report("provision a project, one after another", &mut burst);
}

async fn queries(api: &Api, wallet: &Wallet) {
    let project = api.post("/projects/v1").wallet(wallet).json(&json!({})).send().await.is(201);
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().expect("an id"));
    let key = project["service_key"].as_str().expect("a key");
    api.post(&path).bearer(key).text("create table t (id serial primary key, n int)").send().await.is(200);
    for (what, sql) in [
        ("SQL over HTTP: select 1", "select 1 as one"),
        ("SQL over HTTP: insert returning, committed", "insert into t (n) values (1) returning id"),
        ("SQL over HTTP: select 100 rows", "select g as id, 'row ' || g as name from generate_series(1, 100) g"),
    ] {
        let mut times = Vec::new();
        for _ in 0..QUERIES {
            let started = Instant::now();
            api.post(&path).bearer(key).text(sql).send().await.is(200);
            times.push(started.elapsed());
        }
        report(what, &mut times);
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{what:<46} p50 {:>8.2} ms   p95 {:>8.2} ms   n {}", at(50), at(95), times.len());
}

/// Proportional set size of the appliance and all its children.
fn tree_pss_mib(appliance: &Appliance) -> f64 {
    let mut pids = process::descendants(appliance.pid());
    pids.push(appliance.pid());
    let kib: u64 = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok())
        })
        .sum();
    kib as f64 / 1024.0
}
