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
