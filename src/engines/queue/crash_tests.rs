//! Kill -9 in the middle of everything: the test starts itself again as a child that adds and does jobs, and prints
//! which it added for good.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use rand::RngExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{tests::SCHEMA, *};
use crate::{
    common::Clock,
    engines::postgres::{
        Cluster, Database, Login, Unpacking,
        test_support::{TestBox, as_ordinary_user, settings},
    },
};

const DIRECTORY: &str = "RUN402_TEST_QUEUE_CRASH_DIRECTORY";
const FIRST: &str = "RUN402_TEST_QUEUE_CRASH_FIRST";
const CHILD: &str = "engines::queue::crash_tests::child_works_until_it_is_killed";
const KIND: &str = "crash_work";
const ROUNDS: usize = 4;
/// Numbers of one round's jobs.
const STRIDE: usize = 100_000;
const POLICY: Policy = Policy {
    concurrency: 4,
    max_attempts: 50,
    backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(10) },
};

/// Its effect is a row, written once however often the job comes.
struct Effect(Database);

impl Handler for Effect {
    fn handle(&self, job: Job) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let done = async {
                let connection = self.0.get().await?;
                let number = job.payload.as_i64().unwrap_or_default();
                connection
                    .execute("insert into effects values ($1) on conflict (number) do nothing", &[&number])
                    .await?;
                Ok::<_, crate::engines::postgres::DatabaseError>(())
            };
            done.await.map_or_else(|error| Outcome::Retry(error.to_string()), |()| Outcome::Done)
        })
    }
}

fn queue(database: &Database) -> Arc<Queue> {
    let handler = Arc::new(Effect(database.clone()));
    Arc::new(Queue::new(database.clone(), Clock::system()).handle(KIND, POLICY, handler))
}

/// Not a test by itself: the child of the one below.
#[test]
fn child_works_until_it_is_killed() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let first: i64 = env::var(FIRST).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start(settings(), &PathBuf::from(directory), Unpacking::InProcess).await.unwrap();
        let database = cluster.database(Login::new("postgres", "postgres"));
        let queue = queue(&database);
        tokio::spawn(Arc::clone(&queue).work(CancellationToken::new()));
        let clock = Clock::system();
        // The parent kills this long before it has all numbers.
        for number in first..first + 50_000 {
            let job = NewJob { kind: KIND, key: None, payload: json!(number), run_at: clock.now() };
            Queue::add(&**database.get().await.unwrap(), &job, clock.now()).await.unwrap();
            queue.waker().wake();
            println!("ADDED {number}");
        }
    });
}

fn run_and_kill(directory: &Path, first: usize) -> Vec<i64> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (started, first_line) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut numbers = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            if let Some((_, number)) = line.split_once("ADDED ") {
                let _ = started.send(());
                numbers.push(number.parse().unwrap());
            }
        }
        numbers
    });
    let alive = first_line.recv_timeout(Duration::from_secs(60)).is_ok();
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..300)));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(alive && std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "the child failed: {status}");
    reader.join().unwrap()
}

#[test]
fn whatever_was_added_is_done_although_the_process_is_killed() {
    as_ordinary_user(|| async {
        let test_box = TestBox::new();
        let cluster = test_box.start().await;
        let connection = cluster.database(Login::new("postgres", "postgres")).get().await.unwrap();
        connection.batch_execute(SCHEMA).await.unwrap();
        connection.batch_execute("create table effects (number bigint primary key)").await.unwrap();
        drop(connection);
        cluster.stop().await;
        let mut added = BTreeSet::new();
        for round in 0..ROUNDS {
            let path = test_box.path();
            added.extend(tokio::task::spawn_blocking(move || run_and_kill(&path, round * STRIDE)).await.unwrap());
        }
        let cluster = test_box.start().await;
        let database = cluster.database(Login::new("postgres", "postgres"));
        let queue = queue(&database);
        let stop = CancellationToken::new();
        let worker = tokio::spawn(Arc::clone(&queue).work(stop.clone()));
        for _ in 0..1_000 {
            if queue.counts().await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(queue.counts().await.unwrap(), []);
        stop.cancel();
        worker.await.unwrap();
        let rows = database.get().await.unwrap().query("select number from effects", &[]).await.unwrap();
        let done: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert!(added.len() > ROUNDS);
        assert_eq!(added.difference(&done).collect::<Vec<_>>(), Vec::<&i64>::new());
    });
}
