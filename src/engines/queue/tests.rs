use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    common::Clock,
    engines::postgres::{
        Cluster, Database, Login,
        test_support::{TestBox, as_ordinary_user},
    },
};

const KIND: &str = "test_work";
const POLICY: Policy = Policy {
    concurrency: 2,
    max_attempts: 3,
    backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(4) },
};

pub(super) const SCHEMA: &str = include_str!("../../../migrations/control/V15__queue.sql");

struct Bench {
    _directory: TestBox,
    _cluster: Cluster,
    database: Database,
    clock: Clock,
}

impl Bench {
    async fn new() -> Self {
        let directory = TestBox::new();
        let cluster = directory.start().await;
        let database = cluster.database(Login::new("postgres", "postgres"));
        database.get().await.unwrap().batch_execute(SCHEMA).await.unwrap();
        Self { _directory: directory, _cluster: cluster, database, clock: Clock::system() }
    }

    fn queue(&self, policy: Policy, handler: Arc<dyn Handler>) -> Queue {
        Queue::new(self.database.clone(), self.clock.clone()).handle(KIND, policy, handler)
    }

    async fn add(&self, key: Option<&str>, number: usize) -> bool {
        self.add_later(key, number, SignedDuration::ZERO).await
    }

    async fn add_later(&self, key: Option<&str>, number: usize, later: SignedDuration) -> bool {
        let now = self.clock.now();
        let job = NewJob { kind: KIND, key, payload: json!(number), run_at: now.plus(later) };
        Queue::add(&**self.database.get().await.unwrap(), &job, now).await.unwrap()
    }

    async fn states(&self) -> Vec<(State, i64)> {
        let queue = Queue::new(self.database.clone(), self.clock.clone());
        queue.counts().await.unwrap().into_iter().map(|count| (count.state, count.jobs)).collect()
    }

    async fn until_states(&self, expected: &[(State, i64)]) {
        for _ in 0..400 {
            if self.states().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the queue has {:?}, not {expected:?}", self.states().await);
    }
}

/// A worker that stops with the test.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(queue: Queue) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::new(queue).work(stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Answers from a script; notes what it saw.
struct Script<F>(F, Mutex<Vec<(usize, u32)>>);

impl<F: Fn(&Job) -> Outcome + Send + Sync + 'static> Handler for Script<F> {
    fn handle(&self, job: Job) -> BoxFuture<'_, Outcome> {
        let number = usize::try_from(job.payload.as_u64().unwrap()).unwrap();
        self.1.lock().unwrap().push((number, job.attempt));
        let outcome = (self.0)(&job);
        Box::pin(async { outcome })
    }
}

fn script<F: Fn(&Job) -> Outcome + Send + Sync + 'static>(answer: F) -> Arc<Script<F>> {
    Arc::new(Script(answer, Mutex::default()))
}

#[test]
fn jobs_are_done_once_and_leave_the_table() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        for number in 0..20 {
            assert!(bench.add(None, number).await);
        }
        let handler = script(|_| Outcome::Done);
        let running = Running::start(bench.queue(POLICY, handler.clone()));
        bench.until_states(&[]).await;
        running.stop().await;
        let mut seen = handler.1.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..20).map(|number| (number, 1)).collect::<Vec<_>>());
    });
}

#[test]
fn a_key_has_one_unfinished_job_and_is_free_again_afterwards() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        assert!(bench.add(Some("a"), 1).await);
        assert!(!bench.add(Some("a"), 2).await);
        assert!(bench.add(Some("b"), 3).await);
        let connection = bench.database.get().await.unwrap();
        assert!(Queue::take_back(&**connection, KIND, "b").await.unwrap());
        assert!(!Queue::take_back(&**connection, KIND, "b").await.unwrap());
        drop(connection);
        let handler = script(|_| Outcome::Done);
        let running = Running::start(bench.queue(POLICY, handler.clone()));
        bench.until_states(&[]).await;
        assert!(bench.add(Some("a"), 4).await);
        bench.until_states(&[]).await;
        running.stop().await;
        assert_eq!(*handler.1.lock().unwrap(), [(1, 1), (4, 1)]);
    });
}

#[test]
fn a_job_of_a_transaction_that_is_rolled_back_is_never_run() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        let mut connection = bench.database.get().await.unwrap();
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await.unwrap();
        let now = bench.clock.now();
        let job = NewJob { kind: KIND, key: None, payload: json!(1), run_at: now };
        Queue::add(&tx, &job, now).await.unwrap();
        tx.rollback().await.unwrap();
        assert!(bench.states().await.is_empty());
    });
}

#[test]
fn failed_attempts_are_repeated_until_the_last_one() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        let handler = script(|job| match (job.payload.as_u64(), job.attempt) {
            (Some(1), 1) | (Some(2), _) => Outcome::Retry("no luck".into()),
            (Some(3), _) => Outcome::GiveUp("never".into()),
            (Some(4), 1) => panic!("a bug"),
            _ => Outcome::Done,
        });
        for number in 1..=4 {
            bench.add(None, number).await;
        }
        let running = Running::start(bench.queue(POLICY, handler.clone()));
        bench.until_states(&[(State::Failed, 2)]).await;
        running.stop().await;
        let seen = handler.1.lock().unwrap().clone();
        let attempts = |number| seen.iter().filter(|(seen, _)| *seen == number).count();
        assert_eq!([1, 2, 3, 4].map(attempts), [2, 3, 1, 2]);
        let connection = bench.database.get().await.unwrap();
        let errors = connection.query("select last_error from queue_jobs order by payload", &[]).await.unwrap();
        let errors: Vec<String> = errors.iter().map(|row| row.get(0)).collect();
        assert_eq!(errors, ["no luck", "never"]);
    });
}

#[test]
fn a_job_waits_for_its_time_and_can_ask_to_come_again() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        let clock = bench.clock.clone();
        let times = AtomicUsize::new(0);
        let handler = script(move |_| match times.fetch_add(1, Ordering::SeqCst) {
            0..=4 => Outcome::Again(clock.now()),
            _ => Outcome::Done,
        });
        bench.add_later(None, 1, SignedDuration::from_hours(1)).await;
        bench.add_later(None, 2, SignedDuration::from_millis(300)).await;
        let started = std::time::Instant::now();
        let running = Running::start(bench.queue(POLICY, handler.clone()));
        bench.until_states(&[(State::Waiting, 1)]).await;
        running.stop().await;
        assert!(started.elapsed() >= Duration::from_millis(250), "not before its time");
        // Coming again is not failing: six times is more than the three attempts a failing job has.
        assert_eq!(*handler.1.lock().unwrap(), [(2, 1); 6]);
    });
}

/// Waits until it is let go; knows how many wait at a time.
#[derive(Default)]
struct Slow {
    go: Notify,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Handler for Slow {
    fn handle(&self, _: Job) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.go.notified().await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            Outcome::Done
        })
    }
}

#[test]
fn no_more_run_at_a_time_than_the_policy_says() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        for number in 0..6 {
            bench.add(None, number).await;
        }
        let slow = Arc::new(Slow::default());
        let running = Running::start(bench.queue(POLICY, slow.clone()));
        bench.until_states(&[(State::Running, 2), (State::Waiting, 4)]).await;
        for _ in 0..400 {
            slow.go.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
            if bench.states().await.is_empty() {
                break;
            }
        }
        running.stop().await;
        assert_eq!(slow.most.load(Ordering::SeqCst), 2);
        assert!(bench.states().await.is_empty());
    });
}

#[test]
fn a_long_job_keeps_its_lease_and_one_without_a_lease_cannot_be_finished() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        bench.add(None, 1).await;
        let slow = Arc::new(Slow::default());
        let queue = bench.queue(POLICY, slow.clone()).with_lease(Duration::from_millis(300));
        let running = Running::start(queue);
        bench.until_states(&[(State::Running, 1)]).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        let connection = bench.database.get().await.unwrap();
        let valid = connection.query_one("select lease_until > now() from queue_jobs", &[]).await.unwrap();
        assert!(valid.get::<_, bool>(0), "the lease was renewed");
        connection
            .execute(
                "update queue_jobs set state = 'waiting', worker = null, lease_until = null, run_at = 'infinity'",
                &[],
            )
            .await
            .unwrap();
        slow.go.notify_waiters();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(bench.states_len().await, 1, "who lost the job does not finish it");
        running.stop().await;
    });
}

impl Bench {
    async fn states_len(&self) -> i64 {
        let connection = self.database.get().await.unwrap();
        connection.query_one("select count(*) from queue_jobs", &[]).await.unwrap().get(0)
    }
}

#[test]
fn what_an_earlier_process_left_running_begins_anew_unless_it_was_the_last_attempt() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        bench.add(None, 1).await;
        bench.add(None, 2).await;
        let connection = bench.database.get().await.unwrap();
        connection
            .execute(
                "update queue_jobs set state = 'running', worker = gen_random_uuid(), attempts = payload::int * 3 - 2,
                        lease_until = now() + interval '1 hour'",
                &[],
            )
            .await
            .unwrap();
        let handler = script(|_| Outcome::Done);
        let running = Running::start(bench.queue(POLICY, handler.clone()));
        bench.until_states(&[(State::Failed, 1)]).await;
        running.stop().await;
        assert_eq!(*handler.1.lock().unwrap(), [(1, 2)]);
    });
}

#[test]
fn kinds_without_a_handler_wait() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        bench.add(None, 1).await;
        let handler = script(|_| Outcome::Done);
        let queue = Queue::new(bench.database.clone(), bench.clock.clone()).handle("other", POLICY, handler.clone());
        let running = Running::start(queue);
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.stop().await;
        assert_eq!(bench.states().await, [(State::Waiting, 1)]);
    });
}
