//! How log entries are kept in segments, and found again.

use super::*;
use crate::features::functions::{
    logs::{self, Filter, Level, LogQueue, Origin, Stream, Tags},
    types::LogEntry,
};

fn id(text: &str) -> ProjectId {
    text.parse().unwrap()
}

/// An invocation whose request (and attempt, if it is of a run) is `request`.
fn tags(project: &str, function: &str, request: &str, run: Option<&str>) -> Arc<Tags> {
    let release = "rel_1".parse().unwrap();
    Arc::new(Tags {
        origin: Arc::new(Origin { project: id(project), function: function.into(), release }),
        request_id: request.into(),
        run_id: run.map(Into::into),
        attempt_id: run.map(|_| request.into()),
    })
}

fn say(queue: &LogQueue, tags: &Arc<Tags>, message: impl Into<String>) {
    queue.push(tags, Stream::Stdout, Level::Info, message.into(), false);
}

fn all() -> LogQuery {
    LogQuery { tail: 1000, since: None, filter: None }
}

fn texts(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.as_str()).collect()
}

impl Bench {
    async fn find(&self, project: &str, function: Option<&str>, query: &LogQuery) -> Vec<LogEntry> {
        logs::find(&self.database, &id(project), function, query).await.unwrap()
    }

    async fn segments(&self, project: &str) -> i64 {
        let connection = self.database.get().await.unwrap();
        let sql = "select count(*) from function_log_segments where project_id = $1";
        connection.query_one(sql, &[&project]).await.unwrap().get(0)
    }

    /// A second project, of the first one's organisation.
    async fn add_project(&self, project: &str) {
        let connection = self.database.get().await.unwrap();
        let sql = "insert into projects (id, public_id, organisation_id, name, slot, platform_secret,
                                         bootstrap_version, usage_period_start)
                   select $1, 'beta1', organisation_id, 'beta', 'p9998', '', 1, now() from projects";
        connection.execute(sql, &[&project]).await.unwrap();
    }
}

async fn bench() -> Bench {
    Bench::new(script(|_, _| Ok(ok("")))).await
}

#[test]
fn entries_of_projects_functions_and_runs_in_one_batch_stay_apart() {
    as_ordinary_user(|| async {
        let bench = bench().await;
        bench.add_project("prj_beta").await;
        let writers = [
            ("alpha f", tags(PROJECT, "f", "req_1", None)),
            ("alpha g", tags(PROJECT, "g", "req_2", None)),
            ("alpha run", tags(PROJECT, "g", "fnatt_1", Some("fnrun_1"))),
            ("beta f", tags("prj_beta", "f", "req_1", None)),
            ("of nobody", tags("prj_nobody", "f", "req_1", None)),
        ];
        let queue = &bench.functions.logs;
        for round in 0..3 {
            for (name, tags) in &writers {
                say(queue, tags, format!("{name} {round}"));
            }
        }
        queue.write(&bench.database).await;
        assert_eq!((bench.segments(PROJECT).await, bench.segments("prj_beta").await), (1, 1));
        assert_eq!(bench.segments("prj_nobody").await, 0);

        let seen = bench.find(PROJECT, Some("f"), &all()).await;
        assert_eq!(texts(&seen), ["alpha f 0", "alpha f 1", "alpha f 2"]);
        assert!(seen.iter().all(|entry| entry.function_name == "f" && entry.request_id == "req_1"));
        let seen = bench.find("prj_beta", Some("f"), &all()).await;
        assert_eq!(texts(&seen), ["beta f 0", "beta f 1", "beta f 2"]);
        assert!(bench.find("prj_beta", Some("g"), &all()).await.is_empty());
        let cases = [
            (Some("f"), Filter::Request("req_1".into()), "alpha f 2"),
            (Some("g"), Filter::Request("req_2".into()), "alpha g 2"),
            (None, Filter::Run("fnrun_1".into()), "alpha run 2"),
            (Some("g"), Filter::Attempt("fnatt_1".into()), "alpha run 2"),
        ];
        for (function, filter, last) in cases {
            let seen = bench.find(PROJECT, function, &LogQuery { filter: Some(filter), ..all() }).await;
            assert_eq!((seen.len(), texts(&seen)[2]), (3, last));
        }
        for filter in [Filter::Request("req_2".into()), Filter::Run("fnrun_1".into()), Filter::Run("req_1".into())] {
            let query = LogQuery { filter: Some(filter), ..all() };
            assert!(bench.find(PROJECT, Some("f"), &query).await.is_empty(), "{query:?}");
        }

        bench.deploy(with([("h", plain())]));
        let logs = async |name| bench.functions.logs(&bench.project(), name, &all()).await;
        assert!(logs("f").await.is_ok(), "gone, and still in the log");
        assert!(logs("nope").await.is_err());
        bench.stop().await;
    });
}

#[test]
fn order_and_tail_hold_across_many_segments() {
    as_ordinary_user(|| async {
        let bench = bench().await;
        let queue = &bench.functions.logs;
        let (mine, other) = (tags(PROJECT, "f", "req_1", None), tags(PROJECT, "g", "req_2", None));
        say(queue, &tags(PROJECT, "f", "req_first", None), "0");
        for number in 1..1200 {
            say(queue, &mine, number.to_string());
            // Some moments have several entries, some segments several moments, some moments several segments.
            if number % 3 == 0 {
                bench.clock.advance(SignedDuration::from_millis(1));
            }
            if number % 7 == 0 {
                queue.write(&bench.database).await;
            }
            if number == 10 {
                say(queue, &other, "rare");
            }
        }
        queue.write(&bench.database).await;
        assert_eq!(bench.segments(PROJECT).await, 172);

        let numbers = |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect::<Vec<_>>();
        let whole = bench.find(PROJECT, Some("f"), &all()).await;
        assert_eq!(texts(&whole), numbers(200..1200));
        assert!(whole.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
        let mut ids: Vec<&str> = whole.iter().map(|entry| entry.event_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000, "event ids are unique");
        for tail in [1, 6, 7, 8, 50, 999] {
            let seen = bench.find(PROJECT, Some("f"), &LogQuery { tail, ..all() }).await;
            let tail = usize::try_from(tail).unwrap();
            assert_eq!(texts(&seen), texts(&whole[1000 - tail..]));
            assert_eq!(seen[0].event_id, whole[1000 - tail].event_id, "and stable");
        }
        for place in [0, 400, 998, 999] {
            let since = Timestamp(whole[place].timestamp.parse().unwrap());
            let first = whole.iter().position(|entry| entry.timestamp == whole[place].timestamp).unwrap();
            let seen = bench.find(PROJECT, Some("f"), &LogQuery { since: Some(since), ..all() }).await;
            // The oldest moment of the tail began before it.
            let first = if place == 0 { 0 } else { first };
            assert_eq!(texts(&seen), texts(&whole[first..]), "since {place}");
        }
        assert_eq!(texts(&bench.find(PROJECT, Some("g"), &all()).await), ["rare"]);
        let first = LogQuery { filter: Some(Filter::Request("req_first".into())), ..all() };
        assert_eq!(texts(&bench.find(PROJECT, Some("f"), &first).await), ["0"]);
        let ages = [bench.clock.now(), Timestamp::from_millis(253_402_000_000_000).unwrap()];
        for since in ages.map(|age| Some(age.plus(SignedDuration::from_secs(1)))) {
            assert!(bench.find(PROJECT, None, &LogQuery { since, ..all() }).await.is_empty());
        }
        let since = Timestamp::from_millis(-300_000_000_000_000);
        assert!(since.is_some());
        assert_eq!(bench.find(PROJECT, Some("f"), &LogQuery { since, ..all() }).await.len(), 1000);
        bench.stop().await;
    });
}

#[test]
fn a_clock_that_was_set_back_and_a_damaged_segment_spoil_nothing_else() {
    as_ordinary_user(|| async {
        let bench = bench().await;
        let queue = &bench.functions.logs;
        let tags = tags(PROJECT, "f", "req_1", None);
        for (seconds, text) in [(10, "third"), (-8, "first"), (3, "second")] {
            bench.advance(seconds);
            say(queue, &tags, text);
            queue.write(&bench.database).await;
        }
        assert_eq!(texts(&bench.find(PROJECT, Some("f"), &all()).await), ["first", "second", "third"]);
        assert_eq!(texts(&bench.find(PROJECT, Some("f"), &LogQuery { tail: 2, ..all() }).await), ["second", "third"]);
        let connection = bench.database.get().await.unwrap();
        let sql = "update function_log_segments set entries = '\\x0107' where id = (select max(id) from function_log_segments)";
        assert_eq!(connection.execute(sql, &[]).await.unwrap(), 1);
        assert_eq!(texts(&bench.find(PROJECT, Some("f"), &all()).await), ["first", "third"]);
        drop(connection);
        bench.stop().await;
    });
}

#[test]
fn cutting_and_sweeping_leave_the_newest_and_other_projects_alone() {
    as_ordinary_user(|| async {
        let settings = FunctionSettings { log_project_mb: 1, ..FunctionSettings::default() };
        let bench = Bench::with(script(|_, _| Ok(ok(""))), settings).await;
        bench.add_project("prj_beta").await;
        let queue = &bench.functions.logs;
        let (mine, other) = (tags(PROJECT, "f", "req_1", None), tags("prj_beta", "f", "req_2", None));
        say(queue, &other, "of the other");
        let line = "x".repeat(9_000);
        for round in 0..25 {
            for number in 0..20 {
                say(queue, &mine, format!("{} {line}", round * 20 + number));
            }
            bench.advance(1);
            queue.write(&bench.database).await;
        }
        let kept = bench.find(PROJECT, Some("f"), &all()).await;
        // A MiB, at most a quarter more before the next cut, at least a segment less.
        assert!((80..=146).contains(&kept.len()), "{}", kept.len());
        for (entry, number) in kept.iter().rev().zip((0..500).rev()) {
            assert!(entry.message.starts_with(&format!("{number} ")), "{number}: {}", &entry.message[..10]);
        }
        assert_eq!(texts(&bench.find("prj_beta", Some("f"), &all()).await), ["of the other"]);

        bench.advance(12 * 3600);
        say(queue, &mine, "half a day later");
        queue.write(&bench.database).await;
        bench.advance(12 * 3600);
        bench.functions.sweep().await.unwrap();
        assert_eq!(texts(&bench.find(PROJECT, Some("f"), &all()).await), ["half a day later"]);
        assert_eq!(bench.segments("prj_beta").await, 0);

        say(queue, &other, "of the other");
        queue.write(&bench.database).await;
        let connection = bench.database.get().await.unwrap();
        connection.execute("update projects set status = 'purged' where id = 'prj_beta'", &[]).await.unwrap();
        drop(connection);
        bench.functions.sweep().await.unwrap();
        assert_eq!((bench.segments(PROJECT).await, bench.segments("prj_beta").await), (1, 0));
        bench.stop().await;
    });
}
