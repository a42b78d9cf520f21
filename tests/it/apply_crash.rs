//! Deploys and kill -9 (contract 03 §8; check 16 of §17): after a restart everything of a release is live, or nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Api, Appliance, Project,
    content::sha256,
    control,
    deploy::{migration, paths, site},
    eventually,
};

const OLD: [(&str, &str); 2] = [("index.html", "old page"), ("old.txt", "old")];
const NEW: [(&str, &str); 2] = [("index.html", "new page"), ("new.txt", "new")];

fn new_spec() -> (Value, Vec<&'static [u8]>) {
    let (replace, mut objects) = site(&NEW);
    let source = b"export default () => new Response('new')";
    objects.push(source);
    let mut spec = json!({"site": {"replace": replace}});
    spec["functions"] = json!({"replace": {"f": {"runtime": "node22", "source": {
        "sha256": sha256(source), "size": source.len()}}}});
    spec["routes"] = json!({"replace": [{"pattern": "/api/f", "target": {"type": "function", "name": "f"}}]});
    spec["database"] = json!({
        "migrations": [migration("new", "create table fresh(id int); insert into fresh values (1)")],
        "expose": {"version": "1", "tables": [{"name": "fresh", "expose": true, "policy": "public_read_authenticated_write"}]},
    });
    (spec, objects)
}

/// Whether everything of the new release is there (true) or nothing of it (false).
async fn is_new(project: &Project) -> bool {
    let live = project.live().await;
    let names = paths(&live);
    let is_new = names.contains(&"new.txt");
    assert_eq!(names.contains(&"old.txt"), !is_new, "{live}");
    assert_eq!(live["functions"].as_array().map(Vec::len), Some(usize::from(is_new)), "{live}");
    assert_eq!(live["routes"]["entries"].as_array().map(Vec::len), Some(usize::from(is_new)), "{live}");
    assert_eq!(live["migrations_applied"].as_array().map(Vec::len), Some(usize::from(is_new)), "{live}");
    let table = project.value("select to_regclass('public.fresh') is not null").await;
    assert_eq!(table, is_new, "the table and the release agree");
    is_new
}

fn boot() -> Appliance {
    Appliance::plan().set("apply.retry_first_seconds", "1").boot()
}

/// Deploys the old release, then commits the new one on a box that dies at `point`, and starts the box again.
async fn die_at(appliance: &mut Appliance, point: &str, spec: &Value, objects: &[&[u8]]) -> (Project, Value) {
    let project = appliance.api().provision().await;
    project.deploy_site(&OLD).await;
    appliance.stop();
    appliance.reconfigure("testing.kill_at", Some(point));
    appliance.start_again();
    let project = project.through(&appliance.api());
    let plan = project.plan(spec).await.is(200);
    project.upload_missing(&plan, objects).await;
    let path = format!("/apply/v1/plans/{}/commit", plan["plan_id"].as_str().expect("a plan"));
    let answer = appliance.api().post(&path).wallet(&project.owner).json(&json!({})).try_send().await;
    assert!(answer.is_err(), "{point}: the box answered: {answer:?}");
    appliance.wait_until_dead(Duration::from_secs(20));
    appliance.reconfigure("testing.kill_at", None);
    appliance.start_again();
    (project.through(&appliance.api()), plan)
}

#[tokio::test]
async fn a_deploy_killed_at_any_phase_is_all_or_nothing() {
    let mut appliance = boot();
    for (point, outcome, state) in [
        ("apply:committing", None, ""),
        ("apply:staging", Some("failed"), "not_started"),
        ("apply:gating", Some("failed"), "not_started"),
        ("apply:migrating", Some("failed"), "rolled_back"),
        ("apply:schema_settling", Some("failed"), "rolled_back"),
        ("apply:activating", Some("failed"), "rolled_back"),
        ("apply:between_commits", Some("ready"), ""),
        ("apply:activated", Some("ready"), ""),
    ] {
        let (spec, objects) = new_spec();
        let (project, plan) = die_at(&mut appliance, point, &spec, &objects).await;
        let operation = project.operation(plan["operation_id"].as_str().expect("an operation")).await;
        match outcome {
            Some(status) => assert_eq!(operation["status"], status, "{point}: {operation}"),
            None => assert!(operation["status"] == "planning" || operation["status"] == "uploading", "{operation}"),
        }
        assert_eq!(is_new(&project).await, outcome == Some("ready"), "{point}");
        if outcome == Some("failed") {
            let error = &operation["error"];
            assert_eq!(
                (&error["code"], &error["mutation_state"]),
                (&json!("INTERNAL_ERROR"), &json!(state)),
                "{point}"
            );
            assert_eq!((&error["retryable"], &error["safe_to_retry"]), (&json!(true), &json!(true)), "{point}");
        }
        project.sql("select 1").await.is(200);
        let answer = project.deploy(&spec, &objects).await;
        assert!(is_new(&project).await, "{point}");
        let live = project.live().await;
        assert_eq!(live["release_generation"], 2, "{point}: {live}");
        if outcome == Some("ready") {
            assert_eq!(answer["release_id"], operation["release_id"], "{point}: the retry changes nothing");
            assert_eq!(answer["urls"]["deployment_id"], operation["urls"]["deployment_id"], "{point}");
        }
    }
}

#[tokio::test]
async fn a_crash_in_a_migration_outside_a_transaction_needs_repair() {
    let mut appliance = boot();
    for (point, table) in [("apply:migrating_alone", false), ("apply:migrated_alone", true)] {
        let mut alone = migration("alone", "create table alone(id int)");
        alone["transaction"] = "none".into();
        let spec = json!({"database": {"migrations": [migration("before", "create table b(id int)"), alone]}});
        let (project, plan) = die_at(&mut appliance, point, &spec, &[]).await;
        let id = plan["operation_id"].as_str().expect("an operation");
        let operation = project.operation(id).await;
        assert_eq!(operation["status"], "needs_repair", "{point}: {operation}");
        assert_eq!(operation["error"]["mutation_state"], "unknown", "{point}");
        assert_eq!(paths(&project.live().await), ["index.html", "old.txt"], "{point}");
        assert_eq!(project.value("select to_regclass('public.b') is not null").await, true, "{point}");
        assert_eq!(project.value("select to_regclass('public.alone') is not null").await, table, "{point}");
    }
}

#[tokio::test]
async fn an_activation_that_fails_for_a_passing_reason_is_tried_again() {
    for point in ["apply:activating", "apply:between_commits"] {
        let mut appliance = boot();
        appliance.stop();
        appliance.reconfigure("testing.fail_at", Some(point));
        appliance.reconfigure("testing.fail_times", Some("2"));
        appliance.start_again();
        let project = appliance.api().provision().await;
        let (spec, objects) = new_spec();
        let plan = project.plan(&spec).await.is(200);
        project.upload_missing(&plan, &objects).await;
        let answer = project.commit_plan(&plan).await.is(200);
        assert_eq!(answer["status"], "activation_pending", "{point}: {answer}");
        let error = &answer["error"];
        assert_eq!((&error["retryable"], &error["safe_to_retry"]), (&json!(true), &json!(true)), "{point}");
        let id = plan["operation_id"].as_str().expect("an operation");
        let path = format!("/apply/v1/operations/{id}/resume");
        let resumed = appliance.api().post(&path).wallet(&project.owner).send().await.is(200);
        assert!(["activation_pending", "ready"].iter().any(|status| resumed["status"] == *status), "{resumed}");
        let ready = eventually("the activation succeeds", Duration::from_secs(20), || async {
            let operation = project.operation(id).await;
            (operation["status"] == "ready").then_some(operation)
        })
        .await;
        assert!(ready["activate_attempts"].as_i64().is_some_and(|attempts| attempts >= 2), "{ready}");
        assert_eq!(project.live().await["release_id"], ready["release_id"]);
        assert_eq!(project.value("select count(*)::int from fresh").await, 1, "{point}: the migration ran once");
    }
}

/// Deploys that run when the process is killed: each has come another way.
const AT_ONCE: usize = 10;

/// How many deploys are interrupted by a kill. `RUN402_TEST_KILL_POINTS` asks for more.
fn kill_points() -> usize {
    std::env::var("RUN402_TEST_KILL_POINTS").ok().and_then(|points| points.parse().ok()).unwrap_or(100)
}

/// A project whose releases say their number in every part: file, function, route and table.
struct Numbered {
    project: Project,
    host: String,
}

impl Numbered {
    fn spec(number: usize) -> (Value, Vec<Vec<u8>>) {
        let text = number.to_string();
        let (replace, objects) = site(&[("version.txt", text.as_str())]);
        let source = format!("export default () => new Response('{number}')").into_bytes();
        let code = json!({"sha256": sha256(&source), "size": source.len()});
        let sql = format!("create table if not exists v(n int); delete from v; insert into v values ({number})");
        let target = json!({"type": "function", "name": format!("f{number}")});
        let spec = json!({
            "site": {"replace": replace},
            "functions": {"replace": {format!("f{number}"): {"runtime": "node22", "source": code}}},
            "routes": {"replace": [{"pattern": format!("/api/{number}"), "target": target}]},
            "database": {"migrations": [migration(&text, &sql)]},
        });
        let mut objects: Vec<Vec<u8>> = objects.into_iter().map(<[u8]>::to_vec).collect();
        objects.push(source);
        (spec, objects)
    }

    async fn new(api: &Api) -> Self {
        let project = api.provision().await;
        let made = Self::deploy_number(&project, 0).await;
        let url: url::Url = made["urls"]["project"].as_str().expect("a URL").parse().expect("a URL");
        Self { host: url.host_str().expect("a host").to_owned(), project }
    }

    async fn deploy_number(project: &Project, number: usize) -> Value {
        let (spec, objects) = Self::spec(number);
        let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
        project.deploy(&spec, &objects).await
    }

    /// Plans release `number` and uploads what it needs: what is left is the commit.
    async fn prepare(&self, number: usize) -> Value {
        let (spec, objects) = Self::spec(number);
        let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
        let plan = self.project.plan(&spec).await.is(200);
        self.project.upload_missing(&plan, &objects).await;
        plan
    }

    /// The release that is live. Every part must say so, and the gate be open.
    async fn live_number(&self) -> usize {
        let live = self.project.live().await;
        let call = self.project.api.get("/version.txt").header("host", &self.host).send().await;
        assert_eq!(call.status, 200, "{call}");
        let number: usize = call.text().parse().expect("a number");
        let name = format!("f{number}");
        assert_eq!(live["functions"][0]["name"], name, "{live}");
        assert_eq!(live["functions"][0]["code_hash"], sha256(&Self::spec(number).1[1]), "{live}");
        assert_eq!(live["routes"]["entries"][0]["target"]["name"], name, "{live}");
        let applied = live["migrations_applied"].as_array().expect("migrations");
        let is_applied =
            |number: usize| applied.iter().any(|row| row["migration_id"].as_str() == Some(&number.to_string()));
        assert!(is_applied(number) && !is_applied(number + 1), "{live}");
        assert_eq!(self.project.value("select max(n) from v").await, number, "the table and the release agree");
        number
    }

    /// What became of a commit that the kill met: the operation's state, agreeing with what is live and with what the
    /// box had answered.
    async fn outcome(&self, number: usize, plan: &Value, answered: Option<&Value>) -> String {
        let operation = self.project.operation(plan["operation_id"].as_str().expect("an operation")).await;
        let status = operation["status"].as_str().expect("a status");
        assert!(["planning", "uploading", "failed", "ready"].contains(&status), "{operation}");
        let was_ready = answered.is_some_and(|answer| answer["status"] == "ready");
        assert!(!was_ready || status == "ready", "an acknowledged deploy is lost: {operation}");
        let expected = if status == "ready" { number } else { number - 1 };
        assert_eq!(self.live_number().await, expected, "{operation}");
        match operation["error"]["mutation_state"].as_str() {
            Some(state) => format!("{status}, {state}"),
            None => status.to_owned(),
        }
    }
}

/// A hundred deploys are interrupted, ten by each kill, so that a run takes about as long as a minute and a half. When
/// each commit begins is random within the time that the same commits take undisturbed, so the kills fall on every
/// phase.
#[tokio::test]
async fn kills_at_random_moments_never_mix_two_releases() {
    let mut appliance = boot();
    let api = appliance.api();
    let mut deployers = join_all((0..AT_ONCE).map(|_| Numbered::new(&api))).await;
    let plans = join_all(deployers.iter().map(|deployer| deployer.prepare(1))).await;
    let started = Instant::now();
    join_all(deployers.iter().zip(&plans).map(|(deployer, plan)| deployer.project.commit_plan(plan))).await;
    let window = started.elapsed();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..kill_points().div_ceil(AT_ONCE) {
        let number = round + 2;
        let plans = join_all(deployers.iter().map(|deployer| deployer.prepare(number))).await;
        let commits: Vec<_> = deployers
            .iter()
            .zip(&plans)
            .map(|(deployer, plan)| {
                let path = format!("/apply/v1/plans/{}/commit", plan["plan_id"].as_str().expect("a plan"));
                let call = deployer.project.api.post(&path).wallet(&deployer.project.owner).json(&json!({}));
                let begin = window.mul_f64(rand::random::<f64>());
                tokio::spawn(async move {
                    tokio::time::sleep(begin).await;
                    call.try_send().await.ok().map(|answer| answer.json())
                })
            })
            .collect();
        tokio::time::sleep(window).await;
        appliance.kill();
        let answers = join_all(commits).await;
        appliance.start_again();
        for deployer in &mut deployers {
            deployer.project = deployer.project.through(&appliance.api());
        }
        let found = deployers.iter().zip(&plans).zip(&answers).map(|((deployer, plan), answer)| {
            deployer.outcome(number, plan, answer.as_ref().expect("the request ends").as_ref())
        });
        for outcome in join_all(found).await {
            *outcomes.entry(outcome).or_default() += 1;
        }
        // Whatever happened, trying again succeeds.
        join_all(deployers.iter().map(|deployer| Numbered::deploy_number(&deployer.project, number))).await;
        assert_eq!(join_all(deployers.iter().map(Numbered::live_number)).await, [number; AT_ONCE]);
    }
    println!("killed within {window:?} of the first commit: {outcomes:?}");
    assert!(outcomes.len() >= 2 && outcomes.contains_key("ready"), "the kills met one phase only: {outcomes:?}");
}

#[tokio::test]
async fn releases_beyond_the_retention_let_go_of_their_bytes_and_plans_expire() {
    let mut appliance = boot();
    let project = appliance.api().provision().await;
    let mut releases = Vec::new();
    for text in ["one", "two", "three"] {
        releases.push(project.deploy_site(&[("index.html", text)]).await["release_id"].clone());
    }
    let (replace, _) = site(&[("index.html", "four")]);
    let spec = json!({"site": {"replace": replace}});
    let open = project.plan(&spec).await.is(200);
    appliance.stop();
    for key in ["apply.retained_releases", "apply.retained_days", "apply.plan_hours"] {
        appliance.reconfigure(key, Some("0"));
    }
    appliance.start_again();
    let project = project.through(&appliance.api());
    let oldest = releases[0].as_str().expect("an id");
    let query = format!("select (pruned_at is not null)::text from releases where id = '{oldest}'");
    eventually("the oldest release is pruned", Duration::from_secs(20), || async {
        (control::value(&appliance, &query).await == "true").then_some(())
    })
    .await;
    project.promote(&releases[0], &[]).await.refused(409, "PROMOTE_RELEASE_NOT_READY");
    let row = project.release(oldest).await.is(200);
    assert_eq!(paths(&row), ["index.html"], "its row still answers");
    project.promote(&releases[1], &[]).await.is(200);

    // Plans made now are too old at once; the one from before still has its day.
    let plan = project.plan(&spec).await.is(200);
    assert_ne!(plan["plan_id"], open["plan_id"], "another base");
    project.commit_plan(&plan).await.refused(404, "PLAN_NOT_FOUND");
    project.commit_plan(&open).await.refused(409, "CONTENT_MISSING");
}
