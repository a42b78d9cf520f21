//! What was acknowledged survives kill -9, and the box comes back without anybody's help.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Api, Appliance, Project, Wallet, control, eventually, process};

const RECOVERY: Duration = Duration::from_secs(60);
const WRITERS: usize = 4;

/// Writers that never stop asking, and what the box promised them.
struct Load {
    /// Where the box listens now: it moves with each restart.
    api: Arc<Mutex<Api>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<i64>>>,
    /// Wallets to which the faucet promised money: writes to the control database.
    funded: Arc<Mutex<Vec<Wallet>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(project: &Project, api: Api) -> Self {
        let mut load = Self {
            api: Arc::new(Mutex::new(api)),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            funded: Arc::default(),
            tasks: Vec::new(),
        };
        let next = Arc::new(AtomicI64::new(1));
        for _ in 0..WRITERS {
            let (api, stop, acknowledged) = (load.api.clone(), load.stop.clone(), load.acknowledged.clone());
            let (next, project) = (next.clone(), project.clone());
            load.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let api = api.lock().expect("nobody panics with it").clone();
                    let answer = project.through(&api).try_sql(&format!("insert into promises values ({id})")).await;
                    if answer.is_ok_and(|answer| answer.status == 200) {
                        acknowledged.lock().expect("nobody panics with it").insert(id);
                    } else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }));
        }
        let (api, stop, funded) = (load.api.clone(), load.stop.clone(), load.funded.clone());
        load.tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let wallet = Wallet::random();
                let api = api.lock().expect("nobody panics with it").clone();
                let call = api.post("/faucet/v1").json(&json!({"address": wallet.lower()}));
                if call.try_send().await.is_ok_and(|answer| answer.status == 200) {
                    funded.lock().expect("nobody panics with it").push(wallet);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
        load
    }

    fn promised(&self) -> usize {
        self.acknowledged.lock().expect("nobody panics with it").len()
    }

    /// Waits for new promises, so that the next blow falls into a box at work.
    async fn some_more(&self, appliance: &Appliance) {
        let before = self.promised();
        let log = || appliance.log_tail();
        let limit = tokio::time::Instant::now() + RECOVERY;
        while self.promised() < before + 20 {
            assert!(tokio::time::Instant::now() < limit, "no write succeeded for {RECOVERY:?}:\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn finish(self) -> (BTreeSet<i64>, Vec<Wallet>) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer never panics");
        }
        let acknowledged = self.acknowledged.lock().expect("nobody panics with it").clone();
        let funded = self.funded.lock().expect("nobody panics with it").clone();
        (acknowledged, funded)
    }
}

/// Starting a box blocks; the writers must go on meanwhile.
async fn start_again(mut appliance: Appliance) -> Appliance {
    tokio::task::spawn_blocking(move || {
        appliance.start_again();
        appliance
    })
    .await
    .expect("it starts again")
}

fn kill_postgres(appliance: &Appliance) {
    let postmaster = appliance.postgres_pid().expect("the database runs");
    process::signal(postmaster, Signal::SIGKILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_under_write_load_lose_nothing_that_was_acknowledged() {
    let mut appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    project.sql("create table promises(id bigint primary key)").await.is(200);
    let load = Load::start(&project, appliance.api());

    for blow in 0..10 {
        load.some_more(&appliance).await;
        match blow % 3 {
            // The gateway alone: its database lives on and is taken over or replaced.
            0 => {
                appliance.kill();
                appliance = start_again(appliance).await;
            }
            // The database alone: the gateway restarts it.
            1 => kill_postgres(&appliance),
            // Both at once, as a power cut would.
            _ => {
                kill_postgres(&appliance);
                appliance.kill();
                appliance = start_again(appliance).await;
            }
        }
        *load.api.lock().expect("nobody panics with it") = appliance.api();
    }
    load.some_more(&appliance).await;
    let (acknowledged, funded) = load.finish().await;
    assert!(acknowledged.len() >= 200, "{} writes are no load", acknowledged.len());

    let api = appliance.api();
    let project = project.through(&api);
    let mut stored = BTreeSet::new();
    loop {
        let last = stored.last().copied().unwrap_or(0);
        let text = format!("select id::text from promises where id > {last} order by id limit 5000");
        let body = project.sql(&text).await.is(200);
        let rows = body["rows"].as_array().expect("rows");
        stored.extend(rows.iter().map(|row| row["id"].as_str().expect("a number").parse::<i64>().expect("a number")));
        if rows.len() < 5000 {
            break;
        }
    }
    let lost: Vec<&i64> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "lost {} of {} acknowledged writes: {lost:?}", lost.len(), acknowledged.len());
    for wallet in &funded {
        assert_eq!(api.token_balance(&wallet.lower()).await, 250_000, "money of {} is gone", wallet.lower());
    }
}

#[tokio::test]
async fn a_dead_database_is_503_until_it_is_back() {
    let mut appliance = Appliance::plan().boot();
    let api = appliance.api();
    let project = api.provision().await;
    let first = appliance.postgres_pid().expect("the database runs");
    process::signal(first, Signal::SIGKILL);
    // Whatever is asked during the outage is answered, and never with a made-up success.
    for _ in 0..200 {
        let answer = project.sql("select 1").await;
        if answer.status == 200 {
            break;
        }
        let body = answer.refused(503, "SERVICE_UNAVAILABLE");
        assert_eq!(body["retryable"], true);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    appliance.wait_until_healthy(RECOVERY);
    assert_eq!(project.value("select 1").await, 1);
    assert_ne!(appliance.postgres_pid(), Some(first));
}

#[tokio::test]
async fn a_stopped_database_turns_health_to_503_degraded() {
    let mut appliance = Appliance::plan().boot();
    let api = appliance.api();
    let postmaster = appliance.postgres_pid().expect("the database runs");
    // Frozen rather than dead: there is nothing to restart, only something that does not answer.
    let family: Vec<u32> = process::descendants(postmaster).into_iter().chain([postmaster]).collect();
    for pid in &family {
        process::signal(*pid, Signal::SIGSTOP);
    }
    let degraded = eventually("degraded health", Duration::from_secs(20), || async {
        let answer = api.get("/health").send().await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    let body = degraded.json();
    assert_eq!(body["status"], "degraded");
    assert_eq!(body["checks"]["postgres"], "fail");
    assert!(body["version"].is_string());
    let status = api.get("/status").send().await.is(200);
    assert_eq!(status["status"], "degraded");
    for pid in process::working_inside(appliance.data_dir()).into_iter().chain(family) {
        process::signal(pid, Signal::SIGCONT);
    }
    appliance.wait_until_healthy(RECOVERY);
}

#[tokio::test]
async fn everything_survives_a_clean_restart() {
    let mut appliance = Appliance::plan().boot();
    let api = appliance.api();
    let project = api.provision().await;
    project.sql("create table t(n int); insert into t values (42)").await.is(200);
    let key = appliance.admin_key();
    let status = api.get("/tiers/v1/status").wallet(&project.owner).send().await.is(200);
    assert!(appliance.stop().is_some_and(|status| status.success()));
    let mut appliance = start_again(appliance).await;

    let api = appliance.api();
    let project = project.through(&api);
    assert_eq!(project.value("select n from t").await, 42);
    assert_eq!(api.token_balance(&project.owner.lower()).await, 150_000);
    let after = api.get("/tiers/v1/status").wallet(&project.owner).send().await.is(200);
    for field in ["tier", "lease_started_at", "lease_expires_at", "organization_lifecycle_state"] {
        assert_eq!(after[field], status[field], "{field}");
    }
    assert_eq!(appliance.admin_key(), key, "the admin credential is stable");
    assert!(appliance.stop().is_some_and(|status| status.success()));
}

#[tokio::test]
async fn a_database_left_alone_by_a_killed_gateway_does_not_stop_the_next_start() {
    let mut appliance = Appliance::plan().boot();
    let orphan = appliance.postgres_pid().expect("the database runs");
    appliance.kill();
    let mut appliance = start_again(appliance).await;
    let running = appliance.postgres_pid().expect("the database runs");
    assert!(running == orphan || !process::is_alive(orphan), "two servers on one data directory");
    assert!(appliance.stop().is_some_and(|status| status.success()));
    assert!(!process::is_alive(running), "the database outlived its gateway");
}

#[tokio::test]
async fn counters_survive_a_crash_roughly_and_a_clean_stop_exactly() {
    let mut appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    for _ in 0..10 {
        project.sql("select 1").await.is(200);
    }
    let before = project.usage().await["api_calls"].clone();
    assert!(appliance.stop().is_some_and(|status| status.success()));
    let appliance = start_again(appliance).await;
    let project = project.through(&appliance.api());
    assert_eq!(project.usage().await["api_calls"], before);
    let stored: i64 = control::control(&appliance)
        .await
        .query_one("select api_calls from projects where id = $1", &[&project.id])
        .await
        .expect("the control database answers")
        .get(0);
    assert_eq!(json!(stored), before);
}
