//! Starting, refusing to start, stopping; whom the box runs as and what it leaves open (ARCHITECTURE "Command line").

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use crate::support::{
    Appliance,
    appliance::{is_root, nobody, own, program, temporary_dir},
    control, eventually, process,
};

/// A refusal is a non-zero exit and one sentence that says what is wrong.
#[track_caller]
fn assert_refused(output: &Output, about: &[&str]) {
    assert!(!output.status.success(), "it started: {output:?}");
    assert!(output.status.code().is_some(), "it was killed by a signal: {output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.last().unwrap_or_else(|| panic!("it said nothing: {output:?}"));
    assert!(!text.contains("panicked at"), "{text}");
    assert!(!text.contains("stack backtrace"), "{text}");
    for word in about {
        assert!(text.contains(word), "{word:?} is not in: {last}");
    }
}

#[tokio::test]
async fn it_announces_one_line_for_its_address() {
    let appliance = Appliance::plan().boot();
    let output = fs::read_to_string(appliance.log_dir().join("stdout")).expect("its output");
    let lines = output.lines().filter(|line| line.contains("listening on http://")).count();
    assert_eq!(lines, 1, "{output}");
}

#[tokio::test]
async fn started_as_root_it_drops_to_another_user_for_good() {
    if !is_root() {
        eprintln!("skipped: only root can drop its privileges");
        return;
    }
    let appliance = Appliance::shared();
    let family: Vec<u32> = process::descendants(appliance.pid()).into_iter().chain([appliance.pid()]).collect();
    assert!(family.len() >= 2, "the gateway and its database");
    for pid in family {
        let Some(uids) = process::status_field(pid, "Uid") else { continue };
        assert!(uids.split_whitespace().all(|uid| uid != "0"), "process {pid} has uids {uids}");
        let gids = process::status_field(pid, "Gid").unwrap_or_default();
        assert!(gids.split_whitespace().all(|gid| gid != "0"), "process {pid} has gids {gids}");
        let groups = process::status_field(pid, "Groups").unwrap_or_default();
        assert!(groups.split_whitespace().all(|gid| gid != "0"), "process {pid} has groups {groups}");
        assert_eq!(process::status_field(pid, "NoNewPrivs").as_deref(), Some("1"), "process {pid}");
        let capabilities = process::status_field(pid, "CapEff").unwrap_or_default();
        assert!(capabilities.chars().all(|digit| digit == '0'), "process {pid} keeps {capabilities}");
    }
    let owner = fs::metadata(appliance.data_dir()).expect("the data directory").uid();
    assert_eq!(owner, nobody().uid.as_raw());
}

#[tokio::test]
async fn an_unprivileged_user_can_run_it() {
    if !is_root() {
        // Every other test runs it so.
        Appliance::shared().api().get("/health").send().await.is(200);
        return;
    }
    let appliance = Appliance::plan().started_by(nobody()).boot();
    let project = appliance.api().provision().await;
    assert_eq!(project.value("select 1").await, 1);
}

#[tokio::test]
async fn its_files_are_for_its_eyes_only() {
    let appliance = Appliance::plan().boot();
    appliance.api().provision().await;
    let mut unseen: Vec<PathBuf> = vec![appliance.data_dir().to_owned()];
    let mut checked = 0;
    while let Some(path) = unseen.pop() {
        // Postgres creates and removes files while we look.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_symlink() {
            continue;
        }
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        checked += 1;
        if metadata.is_dir()
            && let Ok(entries) = fs::read_dir(&path)
        {
            unseen.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
    assert!(checked > 100, "only {checked} files");
}

#[tokio::test]
async fn the_database_writes_through_to_the_disk() {
    let appliance = Appliance::shared();
    let client = control::control(appliance).await;
    for (setting, value) in [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")] {
        let row = client.query_one(&format!("show {setting}"), &[]).await.expect("the database answers");
        assert_eq!(row.get::<_, String>(0), value, "{setting}");
    }
    let row = client.query_one("show listen_addresses", &[]).await.expect("the database answers");
    assert_eq!(row.get::<_, String>(0), "");
}

#[tokio::test]
async fn only_the_gateway_listens_and_only_where_it_was_told() {
    let appliance = Appliance::shared();
    let own: u16 = appliance.address().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    assert_eq!(process::listening_tcp_ports(appliance.pid()), [own]);
    for pid in process::descendants(appliance.pid()) {
        assert_eq!(process::listening_tcp_ports(pid), [0_u16; 0], "process {pid} listens on TCP");
    }
    let socket_dir = appliance.data_dir().join("run");
    let mode = fs::metadata(&socket_dir).expect("the socket directory").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn a_data_directory_open_to_others_is_refused() {
    let mut appliance = Appliance::plan().boot();
    appliance.stop();
    let data = appliance.data_dir().to_owned();
    for mode in [0o755, 0o750, 0o711, 0o777] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("a mode");
        assert_refused(&Appliance::plan().data_dir(&data).refusal(), &[&*data.to_string_lossy(), "chmod"]);
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("a mode");
    appliance.start_again();
}

#[tokio::test]
async fn an_empty_data_directory_open_to_others_is_closed_first() {
    let temporary = temporary_dir();
    let data = temporary.path().join("data");
    fs::create_dir(&data).expect("a directory");
    if is_root() {
        own(&data, &nobody());
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("a mode");
    let _appliance = Appliance::plan().data_dir(&data).boot();
    let mode = fs::metadata(&data).expect("the directory").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "it is {mode:o}");
}

#[tokio::test]
async fn a_master_key_open_to_others_is_refused() {
    let mut appliance = Appliance::plan().boot();
    appliance.stop();
    let keys: Vec<PathBuf> = fs::read_dir(appliance.data_dir())
        .expect("the data directory")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.to_string_lossy().contains("master"))
        .collect();
    let [key] = keys.as_slice() else { panic!("one master key in the data directory: {keys:?}") };
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert_refused(&Appliance::plan().data_dir(appliance.data_dir()).refusal(), &[&*key.to_string_lossy()]);
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("a mode");
    appliance.start_again();
}

#[tokio::test]
async fn settings_it_does_not_know_are_refused_by_name() {
    let refusal = Appliance::plan().set("nonsense.key", "1").refusal();
    assert_refused(&refusal, &["nonsense"]);
    assert_refused(&Appliance::plan().set("faucet.cooldown_secnods", "1").refusal(), &["cooldown_secnods"]);
    assert_refused(&Appliance::plan().set("faucet.cooldown_seconds", "soon").refusal(), &["faucet.cooldown_seconds"]);
    let both = Appliance::plan().set("payments.networks", "[\"eip155:84532\", \"eip155:8453\"]").refusal();
    assert_refused(&both, &["8453"]);
}

#[tokio::test]
async fn a_second_box_on_the_same_data_is_refused_and_the_first_goes_on() {
    let appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    let refusal = Appliance::plan().data_dir(appliance.data_dir()).refusal();
    assert_refused(&refusal, &[&*appliance.data_dir().to_string_lossy()]);
    assert_eq!(project.value("select 1").await, 1);
}

#[tokio::test]
async fn a_taken_port_is_refused_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert_refused(&Appliance::plan().listen(&address).refusal(), &[&address]);
    assert_refused(&Appliance::plan().listen("not an address").refusal(), &["not an address"]);
}

#[tokio::test]
async fn two_boxes_side_by_side_do_not_disturb_each_other() {
    let (one, mut other) = (Appliance::plan().boot(), Appliance::plan().boot());
    assert_ne!(one.address(), other.address());
    let (first, second) = (one.api().provision().await, other.api().provision().await);
    first.sql("create table here(n int)").await.is(200);
    second.sql("create table here(n int)").await.is(200);
    // The key of one box opens nothing on the other.
    let answer = other.api().post(&first.path("sql")).bearer(&first.service_key).text("select 1").send().await;
    assert_eq!(answer.status, 401, "{answer}");
    assert_ne!(one.admin_key(), other.admin_key());
    assert!(other.stop().is_some_and(|status| status.success()));
    drop(other);
    assert_eq!(first.value("select count(*)::int from here").await, 0);
    assert_eq!(one.api().get("/health").send().await.status, 200);
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_within_five_seconds() {
    let mut appliance = Appliance::plan().boot();
    let api = appliance.api();
    let project = api.provision().await;
    let data_dir = appliance.data_dir().to_owned();
    // A statement in flight must not hold the stop up.
    let sleeping = tokio::spawn({
        let project = project.clone();
        async move { project.try_sql("select pg_sleep(60)").await.map(|answer| answer.status.as_u16()) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    let (status, appliance) =
        tokio::task::spawn_blocking(move || (appliance.stop(), appliance)).await.expect("it stops");
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "after {:?}:\n{}",
        started.elapsed(),
        appliance.log_tail()
    );
    assert_eq!(process::working_inside(&data_dir), [0_u32; 0], "something still works in the data directory");
    assert_ne!(sleeping.await.expect("it was answered or cut off").unwrap_or(503), 200);
    assert!(!socket_left(&data_dir), "the socket is still there");
}

fn socket_left(data_dir: &Path) -> bool {
    data_dir.join("run/.s.PGSQL.5432").exists()
}

#[tokio::test]
async fn a_signal_during_the_boot_ends_it_too() {
    let temporary = temporary_dir();
    let data = temporary.path().join("data");
    for delay in [0, 20, 100, 400, 900] {
        let mut child = Appliance::plan().data_dir(&data).spawn();
        process::guard(child.id());
        tokio::time::sleep(Duration::from_millis(delay)).await;
        process::signal(child.id(), nix::sys::signal::Signal::SIGTERM);
        let started = Instant::now();
        while child.try_wait().expect("it can be waited for").is_none() {
            assert!(started.elapsed() < Duration::from_secs(8), "still there after {:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process::release(child.id());
        assert_eq!(process::working_inside(&data), [0_u32; 0], "a database was left behind");
    }
    // Whatever state that left is no obstacle.
    let mut appliance = Appliance::plan().data_dir(&data).boot();
    appliance.api().provision().await;
    assert!(appliance.stop().is_some_and(|status| status.success()));
}

#[tokio::test]
async fn a_first_start_that_is_killed_takes_its_helper_along_and_hinders_nobody() {
    let temporary = temporary_dir();
    let data = temporary.path().join("data");
    let installs = data.join("postgres");
    let plan = || Appliance::plan().data_dir(&data).set("postgres.install_dir", &installs.display().to_string());
    let unpacks = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("unpack-"))
    };
    let mut seen = 0;
    for pause in [0, 20, 60, 150, 300] {
        if data.join("cluster-18").exists() {
            break;
        }
        let mut child = plan().spawn();
        process::guard(child.id());
        let started = Instant::now();
        let unpacker = loop {
            let found = process::descendants(child.id()).into_iter().find(unpacks);
            if found.is_some() || started.elapsed() > Duration::from_secs(20) {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        process::signal(child.id(), nix::sys::signal::Signal::SIGKILL);
        child.wait().expect("it can be waited for");
        process::release(child.id());
        if let Some(unpacker) = unpacker {
            seen += 1;
            eventually("the end of the unpacker", Duration::from_secs(5), async || {
                (!process::is_alive(unpacker)).then_some(())
            })
            .await;
        }
    }
    assert!(seen > 0, "nothing was unpacked in a process of its own");
    let mut appliance = plan().boot();
    appliance.api().provision().await;
    assert!(!process::descendants(appliance.pid()).iter().any(unpacks));
    assert!(appliance.stop().is_some_and(|status| status.success()));
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused_with_its_path() {
    let temporary = temporary_dir();
    let blocked = temporary.path().join("a-file");
    fs::write(&blocked, "in the way").expect("it can be written");
    let output = Appliance::plan().set("postgres.install_dir", &blocked.join("below").display().to_string()).refusal();
    assert_refused(&output, &["unpacking the database server", "a-file"]);
}

#[tokio::test]
async fn help_explains_every_option() {
    let help = |arguments: &[&str]| {
        let output = program().args(arguments).output().expect("the binary starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let text = help(&["serve", "--help"]);
    for option in ["--data-dir", "--listen", "--domain", "--user", "--config", "--set", "RUN402_"] {
        assert!(text.contains(option), "{option} is not explained:\n{text}");
    }
    assert!(help(&["--help"]).contains("serve"));
    assert!(help(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn settings_come_from_flags_then_environment_then_file() {
    let temporary = temporary_dir();
    let config = temporary.path().join("run402.toml");
    fs::write(&config, "[faucet]\namount_usd_micros = 111\ncooldown_seconds = 0\n").expect("a file");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("a mode");
    let drip = |plan: crate::support::appliance::Plan| async move {
        let appliance = plan.boot();
        let body = serde_json::json!({"address": crate::support::Wallet::random().lower()});
        appliance.api().post("/faucet/v1").json(&body).send().await.is(200)["amount_usd_micros"].clone()
    };
    let from_file = || Appliance::default_plan().config(&config);
    assert_eq!(drip(from_file()).await, 111);
    assert_eq!(drip(from_file().set("faucet.amount_usd_micros", "222")).await, 222);
}

#[tokio::test]
async fn the_admin_token_is_printed_to_whoever_owns_the_directory() {
    let appliance = Appliance::shared();
    let key = appliance.admin_key();
    assert!(key.len() >= 32 && !key.contains(char::is_whitespace), "{key}");
    let nowhere = program().args(["admin", "token", "--data-dir", "/nonexistent"]).output().expect("the binary starts");
    assert_refused(&nowhere, &["/nonexistent"]);
    let log = fs::read_to_string(appliance.log_dir().join("stderr")).unwrap_or_default();
    assert!(!log.contains(&key), "logs never hold keys");
}
