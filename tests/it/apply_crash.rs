//! Deploys and kill -9 (contract 03 §8; check 16 of §17): after a restart everything of a release is live, or nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Appliance, Project, control,
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
        "sha256": crate::support::content::sha256(source), "size": source.len()}}}});
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

#[tokio::test]
async fn kills_at_random_moments_never_mix_two_releases() {
    let mut appliance = boot();
    let mut project = appliance.api().provision().await;
    project.deploy_site(&[("version.txt", "0"), ("same/0.txt", "0")]).await;
    for round in 1..=5_u32 {
        let text = round.to_string();
        let name = format!("same/{round}.txt");
        let files = [("version.txt", text.as_str()), (name.as_str(), text.as_str())];
        let (replace, objects) = site(&files);
        let sql = format!("create table if not exists v(n int); delete from v; insert into v values ({round})");
        let spec = json!({"site": {"replace": replace}, "database": {"migrations": [migration(&text, &sql)]}});
        let plan = project.plan(&spec).await.is(200);
        project.upload_missing(&plan, &objects).await;
        let committing = tokio::spawn({
            let project = project.clone();
            let path = format!("/apply/v1/plans/{}/commit", plan["plan_id"].as_str().expect("a plan"));
            let api = appliance.api();
            async move { api.post(&path).wallet(&project.owner).json(&json!({})).try_send().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % 80)).await;
        appliance.kill();
        let answered = committing.await.expect("the request ends");
        appliance.start_again();
        project = project.through(&appliance.api());
        let operation = project.operation(plan["operation_id"].as_str().expect("an operation")).await;
        let status = operation["status"].as_str().expect("a status");
        assert!(["planning", "uploading", "failed", "ready"].contains(&status), "{operation}");
        assert!(!answered || status == "ready", "an acknowledged deploy is lost: {operation}");
        let live = project.live().await;
        let is_new = paths(&live).contains(&name.as_str());
        assert_eq!(is_new, status == "ready", "{live}");
        let applied = live["migrations_applied"].as_array().expect("migrations");
        assert_eq!(applied.iter().any(|row| row["migration_id"] == text.as_str()), is_new, "{live}");
        let recorded =
            "select exists(select from pg_class where relname = 'v' and relnamespace = 'public'::regnamespace)";
        let rows = if project.value(recorded).await == true {
            project.value("select max(n) from v").await
        } else {
            Value::Null
        };
        assert_eq!(rows == json!(round), is_new, "the table and the release agree");
        project.deploy(&spec, &objects).await;
        assert_eq!(project.value("select max(n) from v").await, round);
    }
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
