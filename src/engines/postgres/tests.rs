//! The server and its pools, for real: every test boots a server of its own.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    test_support::{TestBox, as_ordinary_user, settings},
    *,
};

fn postgres() -> Login {
    Login::maintenance()
}

fn login(database: &str) -> Login {
    Login::new(database, "postgres")
}

async fn show(cluster: &Cluster, setting: &str) -> String {
    let connection = cluster.database(postgres()).get().await.unwrap();
    connection.query_one("select current_setting($1)", &[&setting]).await.unwrap().get(0)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_server_starts_answers_durably_on_its_socket_only_and_stops() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let first = Instant::now();
        let cluster = home.start().await;
        println!("first start {:?}", first.elapsed());
        cluster.ping().await.unwrap();
        let expected = [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("data_checksums", "on"),
            ("listen_addresses", ""),
            ("server_encoding", "UTF8"),
            ("TimeZone", "UTC"),
            ("wal_segment_size", "4MB"),
            ("shared_preload_libraries", ""),
        ];
        for (setting, value) in expected {
            assert_eq!(show(&cluster, setting).await, value, "{setting}");
        }
        assert_eq!(*cluster.state().borrow(), ServerState::Ready);
        let pid = cluster.pid().unwrap();
        let stop = Instant::now();
        cluster.stop().await;
        println!("stop {:?}", stop.elapsed());
        assert!(!alive(pid));
        assert_eq!(cluster.pid(), None);
        assert!(!home.path().join("cluster-18/postmaster.pid").exists());
        assert!(matches!(cluster.ping().await, Err(DatabaseError::Unavailable(_))));

        let warm = Instant::now();
        let cluster = home.start().await;
        println!("warm start {:?}", warm.elapsed());
        cluster.stop().await;
    });
}

#[test]
fn a_stale_pid_file_does_not_block_a_start_even_if_its_number_is_taken() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let socket_dir = cluster.socket_dir().to_owned();
        cluster.stop().await;
        // Our own number: a live process that is no database server.
        let us = std::process::id();
        let lines = format!("{us}\n{}\n1700000000\n5432\n", home.path().join("cluster-18").display());
        fs::write(home.path().join("cluster-18/postmaster.pid"), &lines).unwrap();
        fs::create_dir_all(&socket_dir).unwrap();
        fs::write(socket_dir.join(".s.PGSQL.5432.lock"), &lines).unwrap();
        fs::write(socket_dir.join(".s.PGSQL.5432"), "").unwrap();
        let cluster = home.start().await;
        cluster.ping().await.unwrap();
        cluster.stop().await;
    });
}

#[test]
fn a_killed_server_comes_back_with_every_committed_row() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let database = cluster.database(postgres());
        let held = database.get().await.unwrap();
        held.batch_execute("create table t (n int); insert into t select generate_series(1, 1000)").await.unwrap();
        let mut state = cluster.state();
        let pid = cluster.pid().unwrap();
        let killed = Instant::now();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        state.wait_for(|state| *state != ServerState::Ready).await.unwrap();
        match database.get().await {
            Err(DatabaseError::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
            // The restart may already be over.
            Ok(_) => assert_eq!(*cluster.state().borrow(), ServerState::Ready),
        }
        state.wait_for(|state| *state == ServerState::Ready).await.unwrap();
        println!("back after {:?}", killed.elapsed());
        assert_ne!(cluster.pid(), Some(pid));
        // A connection that died in someone's hands tells so, and one that died in the pool is not handed out.
        let error = DatabaseError::from(held.query("select 1", &[]).await.unwrap_err());
        assert!(error.is_transient(), "{error}");
        drop(held);
        let count: i64 = database.get().await.unwrap().query_one("select count(*) from t", &[]).await.unwrap().get(0);
        assert_eq!(count, 1000);
        cluster.stop().await;
    });
}

#[test]
fn a_statement_in_flight_when_the_server_dies_is_a_503_of_unknown_outcome() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let connection = cluster.database(postgres()).get().await.unwrap();
        let statement = tokio::spawn(async move { connection.execute("select pg_sleep(60)", &[]).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill(Pid::from_raw(cluster.pid().unwrap()), Signal::SIGKILL).unwrap();
        let error = statement.await.unwrap().unwrap_err();
        let error = crate::common::ApiError::from(error);
        assert_eq!((error.status().as_u16(), error.code()), (503, "SERVICE_UNAVAILABLE"));
        let body = error.body("trc_1", false);
        assert_eq!(body["mutation_state"], "unknown");
        assert_eq!(body["safe_to_retry"], false);
        cluster.stop().await;
    });
}

/// Starts a server as a crashed run402 would leave one: nobody's child, on the same data directory.
async fn orphan(home: &TestBox, socket_dir: &Path) -> (std::process::Child, i32) {
    fs::create_dir_all(socket_dir).unwrap();
    let places = bundle::prepare(&settings(), &home.path(), &Unpacking::InProcess).unwrap();
    let mut command = launch::command(&settings(), &places, socket_dir);
    let child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let configuration = pools::configuration(socket_dir, &postgres());
    eventually("the orphan is ready", async || configuration.connect(tokio_postgres::NoTls).await.is_ok()).await;
    (child, pid)
}

#[test]
fn an_orphan_of_an_earlier_run_is_stopped_cleanly_before_a_start() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        home.start().await.stop().await;
        let (mut child, pid) = orphan(&home, &home.path().join("run")).await;
        // Somebody has to reap it; in life that is init.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let cluster = home.start().await;
        assert!(reaper.join().unwrap().success(), "a fast shutdown exits with 0");
        assert!(!alive(pid));
        cluster.ping().await.unwrap();
        cluster.stop().await;
    });
}

#[test]
fn an_unreaped_orphan_does_not_block_a_start() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        home.start().await.stop().await;
        let (mut child, pid) = orphan(&home, &home.path().join("run")).await;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually("it is a zombie", async || !alive(pid)).await;
        let cluster = home.start().await;
        cluster.ping().await.unwrap();
        cluster.stop().await;
        child.wait().unwrap();
    });
}

#[test]
fn dropping_the_last_handle_shuts_the_server_down() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let pid = cluster.pid().unwrap();
        drop(cluster);
        eventually("the server is gone", async || !alive(pid)).await;
        assert!(!home.path().join("cluster-18/postmaster.pid").exists(), "it shut down cleanly");
    });
}

/// In the process that is to be killed: the data directory to start a server on.
const VICTIM: &str = "RUN402_TEST_VICTIM";

#[test]
fn killing_us_shuts_the_server_down_cleanly() {
    as_ordinary_user(|| async {
        if let Some(data) = std::env::var_os(VICTIM) {
            let cluster = Cluster::start(settings(), Path::new(&data), Unpacking::InProcess).await.unwrap();
            fs::write(Path::new(&data).join("pid"), cluster.pid().unwrap().to_string()).unwrap();
            return std::future::pending().await;
        }
        let home = TestBox::new();
        let mut us = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engines::postgres::tests::killing_us_shuts_the_server_down_cleanly"])
            .env(VICTIM, home.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut pid = 0;
        eventually("the server is ready", async || {
            let text = fs::read_to_string(home.path().join("pid")).unwrap_or_default();
            text.parse().map(|found| pid = found).is_ok()
        })
        .await;
        assert!(alive(pid));
        us.kill().unwrap();
        us.wait().unwrap();
        eventually("the server is gone", async || !alive(pid)).await;
        assert!(!home.path().join("cluster-18/postmaster.pid").exists(), "it shut down cleanly");
        let cluster = home.start().await;
        cluster.ping().await.unwrap();
        cluster.stop().await;
    });
}

#[test]
fn stopping_while_the_server_restarts_leaves_nothing_running() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let mut state = cluster.state();
        kill(Pid::from_raw(cluster.pid().unwrap()), Signal::SIGKILL).unwrap();
        state.wait_for(|state| *state == ServerState::Restarting).await.unwrap();
        // Somewhere between the fork and the end of recovery.
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.stop().await;
        assert_eq!(leftovers::servers_in(&home.path().join("cluster-18")).unwrap(), []);
        assert_eq!(*cluster.state().borrow(), ServerState::Stopped);
    });
}

#[test]
fn a_server_that_cannot_start_is_reported_with_its_last_words() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        home.start().await.stop().await;
        fs::remove_file(home.path().join("cluster-18/global/pg_control")).unwrap();
        let error = Cluster::start(settings(), &home.path(), Unpacking::InProcess).await.err().unwrap().to_string();
        assert!(error.contains("did not start") && error.contains("pg_control"), "{error}");
    });
}

#[test]
fn a_data_directory_of_another_major_version_is_refused() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        home.start().await.stop().await;
        fs::write(home.path().join("cluster-18/PG_VERSION"), "17\n").unwrap();
        let error = Cluster::start(settings(), &home.path(), Unpacking::InProcess).await.err().unwrap().to_string();
        assert!(error.contains("Postgres 17"), "{error}");
    });
}

#[test]
fn a_box_upgraded_past_its_major_version_does_not_start_empty() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        fs::create_dir_all(home.path().join("cluster-17")).unwrap();
        fs::write(home.path().join("cluster-17/PG_VERSION"), "17\n").unwrap();
        let error = Cluster::start(settings(), &home.path(), Unpacking::InProcess).await.err().unwrap().to_string();
        assert!(error.contains("Postgres 17"), "{error}");
        assert!(!home.path().join("cluster-18").exists());
    });
}

#[test]
fn a_second_start_unpacks_nothing_again() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let own = ClusterSettings { install_dir: None, ..settings() };
        home.start_with(own.clone()).await.stop().await;
        let installs = home.path().join("postgres");
        let install = fs::read_dir(&installs).unwrap().next().unwrap().unwrap().path();
        fs::write(install.join("mark"), "").unwrap();
        fs::create_dir(installs.join("18.1-old")).unwrap();
        fs::create_dir(installs.join("17.2-other-major")).unwrap();
        let cluster = home.start_with(own).await;
        assert!(install.join("mark").exists());
        eventually("older builds are removed", async || !installs.join("18.1-old").exists()).await;
        assert!(installs.join("17.2-other-major").exists());
        cluster.stop().await;
    });
}

#[test]
fn a_data_directory_with_a_very_long_path_works_and_a_leftover_of_it_is_replaced() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let data = home.path().join("long-".repeat(30));
        let cluster = Cluster::start(settings(), &data, Unpacking::InProcess).await.unwrap();
        cluster.ping().await.unwrap();
        let short = cluster.socket_dir().to_owned();
        assert_eq!(fs::read_link(data.join("run")).unwrap(), short);
        cluster.stop().await;
        assert!(!short.exists() && fs::symlink_metadata(data.join("run")).is_err());

        fs::create_dir(&short).unwrap();
        std::os::unix::fs::symlink(&short, data.join("run")).unwrap();
        let cluster = Cluster::start(settings(), &data, Unpacking::InProcess).await.unwrap();
        assert_ne!(cluster.socket_dir(), short);
        assert!(!short.exists());
        cluster.stop().await;
    });
}

#[test]
fn idle_connections_are_closed() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start_with(ClusterSettings { idle_timeout_seconds: 1, ..settings() }).await;
        drop(cluster.database(postgres()).get().await.unwrap());
        assert_eq!(cluster.open_connections(), 1);
        eventually("it is closed", async || cluster.open_connections() == 0).await;
        cluster.ping().await.unwrap();
        cluster.stop().await;
    });
}

#[test]
fn the_budget_holds_over_all_logins_and_idle_connections_make_room() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let budget = ClusterSettings { pool_budget: 3, acquire_timeout_seconds: 1, ..settings() };
        let cluster = home.start_with(budget).await;
        for name in ["a", "b", "c", "d"] {
            cluster.create_database_from("template1", name).await.unwrap();
        }
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| cluster.database(login(name)));
        // One idle connection in each of three pools; the fourth login takes over the oldest.
        for database in [&a, &b, &c] {
            drop(database.get().await.unwrap());
        }
        let _d = d.get().await.unwrap();
        assert_eq!(cluster.open_connections(), 3);
        let (_b, _c) = (b.get().await.unwrap(), c.get().await.unwrap());
        // All three are at work.
        let refused = a.get().await;
        assert!(matches!(refused, Err(DatabaseError::Exhausted)));
        // A connection that is returned goes to whoever waits, even for another login.
        let waiting = tokio::spawn(async move { a.get().await.map(drop) });
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(_b);
        waiting.await.unwrap().unwrap();
        assert!(cluster.open_connections() <= 3);
        cluster.stop().await;
    });
}

#[test]
fn many_logins_in_parallel_never_exceed_the_budget_and_all_get_served() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start_with(ClusterSettings { pool_budget: 4, ..settings() }).await;
        cluster
            .database(postgres())
            .get()
            .await
            .unwrap()
            .batch_execute(
                "do $$ begin for n in 1..12 loop execute format('create role r%s login', n); end loop; end $$",
            )
            .await
            .unwrap();
        let tasks: Vec<_> = (0..48)
            .map(|n| {
                let cluster = cluster.clone();
                tokio::spawn(async move {
                    let role = format!("r{}", n % 12 + 1);
                    for _ in 0..5 {
                        let connection = cluster.database(Login::new("postgres", role.as_str())).get().await.unwrap();
                        let who = connection.query_one("select current_user::text", &[]).await.unwrap();
                        assert_eq!(who.get::<_, String>(0), role);
                        assert!(cluster.open_connections() <= 4);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        cluster.stop().await;
    });
}

#[test]
fn forget_closes_the_connections_of_one_database_so_that_it_can_be_dropped() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        cluster.create_database_from("template1", "shop").await.unwrap();
        assert!(cluster.database_exists("shop").await.unwrap());
        let shop = cluster.database(login("shop"));
        drop(shop.get().await.unwrap());
        let open = cluster.open_connections();
        cluster.forget("shop").await;
        eventually("one connection less", async || cluster.open_connections() == open - 1).await;
        cluster.ping().await.unwrap();
        // The handle still works, and a session in the way does not stop a drop.
        let held = shop.get().await.unwrap();
        cluster.rename_database("shop", "store").await.unwrap_err();
        cluster.drop_database("shop").await.unwrap();
        drop(held);
        let gone = shop.get().await.err().unwrap();
        assert_eq!(gone.sqlstate().unwrap().code(), "3D000");
        cluster.drop_database("shop").await.unwrap();
        cluster.stop().await;
    });
}

#[test]
fn a_discarded_connection_is_not_handed_out_again() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let database = cluster.database(postgres());
        let session = async || -> i32 {
            let connection = database.get().await.unwrap();
            connection.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let first = session().await;
        assert_eq!(session().await, first);
        database.get().await.unwrap().discard();
        assert_ne!(session().await, first);
        cluster.stop().await;
    });
}

#[test]
fn prepared_statements_are_cached_per_connection_and_cancelling_works() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let database = cluster.database(postgres());
        for _ in 0..3 {
            let connection = database.get().await.unwrap();
            let statement = connection.prepare_cached("select $1::int + 1").await.unwrap();
            assert_eq!(connection.query_one(&statement, &[&1]).await.unwrap().get::<_, i32>(0), 2);
            assert_eq!(connection.statement_cache.size(), 1);
        }
        let connection = cluster.connect(&postgres()).await.unwrap();
        let cancel = connection.cancel_token();
        let sleeping = tokio::spawn(async move { connection.execute("select pg_sleep(60)", &[]).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let error = DatabaseError::from(sleeping.await.unwrap().unwrap_err());
        assert_eq!(error.sqlstate().unwrap().code(), "57014");
        assert!(!error.is_transient());
        cluster.stop().await;
    });
}

#[test]
fn the_bundle_brings_its_extensions_and_client_programs_but_no_way_out() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        let connection = cluster.database(postgres()).get().await.unwrap();
        for extension in ["vector", "pgcrypto", "uuid-ossp", "pg_trgm", "citext", "hstore", "xml2", "unaccent"] {
            connection.batch_execute(&format!("create extension {}", quote_identifier(extension))).await.unwrap();
        }
        for extension in ["dblink", "postgres_fdw", "file_fdw", "plperl"] {
            connection.batch_execute(&format!("create extension {extension}")).await.unwrap_err();
        }
        for program in ["pg_dump", "pg_restore", "psql"] {
            let run = tokio::process::Command::new(cluster.program(program).unwrap()).arg("--version").output().await;
            let version = String::from_utf8(run.unwrap().stdout).unwrap();
            assert!(version.contains(cluster.version()), "{program}: {version}");
        }
        let dump = tokio::process::Command::new(cluster.program("pg_dump").unwrap())
            .arg("--host")
            .arg(cluster.socket_dir())
            .args(["--username", "postgres", "--schema-only", "postgres"])
            .output()
            .await
            .unwrap();
        assert!(dump.status.success() && String::from_utf8_lossy(&dump.stdout).contains("vector"));
        assert!(cluster.program("initdb").is_none());
        cluster.stop().await;
    });
}

fn migrations(count: usize) -> refinery::Runner {
    let all = [("V1__one", "create table one (n int)"), ("V2__two", "create table two (n int)"), ("V3__bad", "oops")];
    let set: Vec<_> =
        all[..count].iter().map(|(name, sql)| refinery::Migration::unapplied(name, sql).unwrap()).collect();
    refinery::Runner::new(&set)
}

#[test]
fn migrations_apply_once_and_a_newer_or_changed_schema_is_refused() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        // Two callers at once: one applies, the other finds it done.
        let login = postgres();
        let (first, second) =
            tokio::join!(migrate(&cluster, &login, migrations(1)), migrate(&cluster, &login, migrations(1)));
        first.unwrap();
        second.unwrap();
        migrate(&cluster, &postgres(), migrations(2)).await.unwrap();
        let error = migrate(&cluster, &postgres(), migrations(1)).await.unwrap_err();
        assert!(matches!(error, MigrateError::Newer { found: 2, known: 1 }), "{error}");
        let changed = [("V1__one", "create table other (n int)"), ("V2__two", "create table two (n int)")];
        let changed = changed.map(|(name, sql)| refinery::Migration::unapplied(name, sql).unwrap());
        let error = migrate(&cluster, &postgres(), refinery::Runner::new(&changed)).await.unwrap_err();
        assert!(matches!(error, MigrateError::Changed(_)), "{error}");
        cluster.stop().await;
    });
}

#[test]
fn a_failed_upgrade_leaves_the_schema_as_it_was() {
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        migrate(&cluster, &postgres(), migrations(1)).await.unwrap();
        let error = migrate(&cluster, &postgres(), migrations(3)).await.unwrap_err();
        assert!(matches!(error, MigrateError::Failed(_)), "{error}");
        migrate(&cluster, &postgres(), migrations(1)).await.unwrap();
        let connection = cluster.database(postgres()).get().await.unwrap();
        let two = connection.query_one("select to_regclass('two') is null", &[]).await.unwrap();
        assert!(two.get::<_, bool>(0));
        cluster.stop().await;
    });
}

#[test]
fn the_control_schema_applies_to_an_empty_database() {
    mod control {
        refinery::embed_migrations!("migrations/control");
    }
    as_ordinary_user(|| async {
        let home = TestBox::new();
        let cluster = home.start().await;
        cluster.create_database_from("template1", "control").await.unwrap();
        migrate(&cluster, &login("control"), control::migrations::runner()).await.unwrap();
        migrate(&cluster, &login("control"), control::migrations::runner()).await.unwrap();
        cluster.stop().await;
    });
}
