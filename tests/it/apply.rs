//! Deploys over HTTP (contract 03 §5-9; checks 1-3, 7, 8, 10, 12, 18-22 of §17).

use serde_json::{Value, json};

use crate::support::{
    Api, Appliance, Project,
    content::sha256,
    deploy::{file, migration, paths, site, warnings},
};

pub fn api() -> Api {
    Appliance::shared().api()
}

pub async fn project() -> Project {
    api().provision().await
}

pub fn site_spec(files: &[(&str, &'static str)]) -> (Value, Vec<&'static [u8]>) {
    let (replace, objects) = site(files);
    (json!({"site": {"replace": replace}}), objects)
}

/// Bytes that nobody else deploys.
pub fn unique(text: &str) -> &'static str {
    format!("{text} {}", hex::encode(rand::random::<[u8; 8]>())).leak()
}

pub async fn table_exists(project: &Project, table: &str) -> bool {
    project.value(&format!("select to_regclass('public.{table}') is not null")).await == true
}

pub fn release(answer: &Value) -> Value {
    answer["release_id"].clone()
}

#[tokio::test]
async fn a_plan_needs_a_deployer_and_has_every_field() {
    let project = project().await;
    let spec =
        json!({"spec": {"project_id": project.id, "site": {"replace": {"index.html": file(b"x", "text/html")}}}});
    api().post("/apply/v1/plans").api_key(&project.anon_key).json(&spec).send().await.refused(401, "UNAUTHORIZED");
    api().post("/apply/v1/plans").bearer(&project.service_key).json(&spec).send().await.refused(401, "UNAUTHORIZED");
    api().post("/apply/v1/plans").json(&spec).send().await.refused(401, "UNAUTHORIZED");

    let plan = project.plan_as(&project.owner, &spec).await.is(200);
    for key in [
        "kind",
        "schema_version",
        "plan_id",
        "operation_id",
        "base_release_id",
        "manifest_digest",
        "is_noop",
        "summary",
        "warnings",
        "expected_events",
        "missing_content",
        "payment_required",
        "expires_at",
        "migrations",
        "site",
        "functions",
        "secrets",
        "subdomains",
        "routes",
        "static_assets",
    ] {
        assert!(plan.get(key).is_some(), "{key} in {plan}");
    }
    assert!(plan["plan_id"].as_str().is_some_and(|id| id.starts_with("plan_")), "{plan}");
    assert!(plan["operation_id"].as_str().is_some_and(|id| id.starts_with("op_")), "{plan}");
    assert_eq!((&plan["kind"], &plan["payment_required"]), (&json!("plan_response"), &Value::Null));
    assert_eq!(plan["base_release_id"], Value::Null);
    assert_eq!(plan["site"]["added"][0]["path"], "index.html");
    assert!(warnings(&plan).contains(&"FIRST_DEPLOY"), "{plan}");
    let operation = project.operation(plan["operation_id"].as_str().unwrap()).await;
    assert_eq!(operation["status"], "uploading");
    assert_eq!(operation["kind"], "apply");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let project = project().await;
    let (spec, _) = site_spec(&[("index.html", "dry")]);
    let plan = project.dry_run(&spec).await.is(200);
    assert_eq!((&plan["plan_id"], &plan["operation_id"]), (&Value::Null, &Value::Null));
    assert!(project.operations().await.is_empty());
    let body = json!({"spec": {"project_id": project.id}, "manifest_ref": {"sha256": "0".repeat(64), "size": 2}});
    let call = api().post("/apply/v1/plans?dry_run=true").wallet(&project.owner).json(&body);
    assert_eq!(call.send().await.refused(400, "INVALID_SPEC")["resource"], "manifest_ref");
}

#[tokio::test]
async fn equal_files_are_uploaded_once_and_all_become_live() {
    let project = project().await;
    let (twin, other) = (unique("twin"), unique("other"));
    let (spec, objects) = site_spec(&[("index.html", twin), ("copy.html", twin), ("css/app.css", other)]);
    let plan = project.plan(&spec).await.is(200);
    assert_eq!(plan["missing_content"].as_array().unwrap().len(), 2, "{plan}");
    project.upload_missing(&plan, &objects).await;
    let answer = project.commit_plan(&plan).await.is(200);
    assert_eq!(answer["status"], "ready", "{answer}");

    let live = project.live().await;
    assert_eq!(live["release_id"], answer["release_id"]);
    assert_eq!(paths(&live), ["copy.html", "css/app.css", "index.html"]);
    assert_eq!((&live["status"], &live["release_generation"]), (&json!("active"), &json!(1)));
    assert_eq!((&live["plan_id"], &live["operation_id"]), (&plan["plan_id"], &plan["operation_id"]));
    assert_eq!(live["created_by"], project.owner.lower());
    let host = crate::sites::public_host(&project).await;
    for (path, text) in [("/", twin), ("/copy.html", twin), ("/css/app.css", other)] {
        assert_eq!(crate::sites::get(Appliance::shared(), &host, path).text(), text, "{path}");
    }
    let urls = answer["urls"].as_object().expect("urls");
    let keys: Vec<&String> = urls.keys().collect();
    assert_eq!(keys, ["deployment_id", "project", "project_public_id", "release", "site_url"]);
    assert!(urls.values().all(Value::is_string), "{answer}");
    assert!(urls["deployment_id"].as_str().is_some_and(|id| id.starts_with("dpl_")), "{answer}");

    let snapshot = project.operation(plan["operation_id"].as_str().unwrap()).await;
    assert_eq!((&snapshot["status"], &snapshot["urls"]), (&json!("ready"), &answer["urls"]));
    let path = format!("/apply/v1/operations/{}/events", plan["operation_id"].as_str().unwrap());
    let events = api().get(&path).api_key(&project.anon_key).send().await.is(200);
    let events = events["events"].as_array().unwrap();
    assert_eq!(events[0], json!({"type": "commit.phase", "phase": "stage", "status": "started"}));
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["releaseId"]), (&json!("ready"), &answer["release_id"]), "{events:?}");
}

#[tokio::test]
async fn deploying_the_same_again_changes_nothing() {
    let project = project().await;
    let (spec, objects) = site_spec(&[("index.html", "again"), ("a.txt", "a")]);
    let first = project.deploy(&spec, &objects).await;
    let plan = project.plan(&spec).await.is(200);
    assert_eq!(plan["is_noop"], true, "{plan}");
    assert_eq!(plan["static_assets"]["newly_uploaded_cas_bytes"], 0);
    assert!(plan["missing_content"].as_array().unwrap().iter().all(|row| row["present"] == true));
    let second = project.commit_plan(&plan).await.is(200);
    assert_eq!(second["status"], "ready");
    assert_eq!((&second["release_id"], &second["urls"]), (&first["release_id"], &first["urls"]));
    assert_ne!(second["operation_id"], first["operation_id"]);
    assert_eq!(project.live().await["release_generation"], 1);
}

#[tokio::test]
async fn an_open_plan_is_found_again_and_a_committed_one_is_not() {
    let project = project().await;
    let (spec, objects) = site_spec(&[("index.html", "dedupe")]);
    let first = project.plan(&spec).await.is(200);
    let again = project.plan(&spec).await.is(200);
    assert_eq!((&first["plan_id"], &first["operation_id"]), (&again["plan_id"], &again["operation_id"]));
    let mut named = spec.clone();
    named["project_id"] = project.id.as_str().into();
    let keyed = json!({"spec": named, "idempotency_key": "k1"});
    let keyed_plan = project.plan_as(&project.owner, &keyed).await.is(200);
    assert_ne!(keyed_plan["plan_id"], first["plan_id"], "the key is part of what makes plans the same");
    assert_eq!(project.plan_as(&project.owner, &keyed).await.is(200)["plan_id"], keyed_plan["plan_id"]);

    project.upload_missing(&first, &objects).await;
    project.commit_plan(&first).await.is(200);
    let fresh = project.plan_as(&project.owner, &keyed).await.is(200);
    assert_ne!(fresh["plan_id"], keyed_plan["plan_id"], "another base");
    assert_ne!(project.plan(&spec).await.is(200)["plan_id"], first["plan_id"]);
}

#[tokio::test]
async fn content_of_another_project_does_not_count() {
    let (a, b) = (project().await, project().await);
    let secret = unique("only of a");
    a.deploy_site(&[("index.html", secret)]).await;
    let (spec, objects) = site_spec(&[("index.html", secret)]);
    let plan = b.plan(&spec).await.is(200);
    assert_eq!(plan["missing_content"][0]["present"], false, "{plan}");
    let refused = b.commit_plan(&plan).await.refused(409, "CONTENT_MISSING");
    assert_eq!(refused["details"]["missing"], json!([sha256(secret.as_bytes())]));
    assert_eq!((&refused["mutation_state"], &refused["retryable"]), (&json!("not_started"), &json!(true)));
    // The same plan goes through once the bytes are there.
    b.upload_missing(&plan, &objects).await;
    assert_eq!(b.commit_plan(&plan).await.is(200)["status"], "ready");
}

#[tokio::test]
async fn a_required_secret_without_a_value_stops_the_commit() {
    let project = project().await;
    let (mut spec, objects) = site_spec(&[("index.html", "secret")]);
    spec["secrets"] = json!({"require": ["API_TOKEN"]});
    let plan = project.plan(&spec).await.is(200);
    let warning = plan["warnings"].as_array().unwrap().iter().find(|row| row["code"] == "MISSING_REQUIRED_SECRET");
    let warning = warning.unwrap_or_else(|| panic!("{plan}"));
    assert_eq!((&warning["affected"], &warning["requires_confirmation"]), (&json!(["API_TOKEN"]), &json!(true)));
    project.upload_missing(&plan, &objects).await;
    let refused = project.commit_plan(&plan).await.refused(422, "MISSING_REQUIRED_SECRET");
    assert_eq!(refused["mutation_state"], "not_started");
    assert_eq!(refused["details"]["missing"], json!(["API_TOKEN"]));
    assert_eq!(refused["operation_id"], plan["operation_id"]);
    assert_eq!(project.live().await["release_id"], Value::Null);
    let status = &project.operation(plan["operation_id"].as_str().unwrap()).await["status"];
    assert!(status == "planning" || status == "uploading", "{status}");
}

#[tokio::test]
async fn two_deploys_at_once_make_a_chain() {
    let project = project().await;
    let first = project.deploy_site(&[("index.html", "zero")]).await;
    let (one, one_objects) = site_spec(&[("index.html", "one")]);
    let (two, two_objects) = site_spec(&[("index.html", "two")]);
    let (plan_one, plan_two) = (project.plan(&one).await.is(200), project.plan(&two).await.is(200));
    project.upload_missing(&plan_one, &one_objects).await;
    project.upload_missing(&plan_two, &two_objects).await;
    let (a, b) = tokio::join!(project.commit_plan(&plan_one), project.commit_plan(&plan_two));
    let (won, lost) = if a.status == 200 { (a, b) } else { (b, a) };
    let won = won.is(200);
    assert_eq!(won["status"], "ready");
    let conflict = lost.refused(409, "BASE_RELEASE_CONFLICT");
    assert_eq!((&conflict["retryable"], &conflict["safe_to_retry"]), (&json!(true), &json!(true)));
    assert_eq!(conflict["details"]["expected_base_release_id"], first["release_id"]);
    assert_eq!(conflict["details"]["current_release_id"], won["release_id"]);
    assert_eq!((&conflict["phase"], &conflict["resource"]), (&json!("apply"), &json!("release")));
    assert!(conflict["operation_id"].is_string() && conflict["plan_id"].is_string(), "{conflict}");

    let lost_spec = if conflict["plan_id"] == plan_one["plan_id"] { one } else { two };
    let again = project.deploy(&lost_spec, &[]).await;
    let live = project.live().await;
    assert_eq!(live["release_id"], again["release_id"]);
    assert_eq!((&live["parent_id"], &live["release_generation"]), (&won["release_id"], &json!(3)));
    let parent = project.release(won["release_id"].as_str().unwrap()).await.is(200);
    assert_eq!((&parent["parent_id"], &parent["status"]), (&first["release_id"], &json!("superseded")));
}

#[tokio::test]
async fn deploys_of_many_projects_do_not_wait_for_each_others_connections() {
    let box_ = Appliance::plan().set("postgres.pool_max_per_login", "2").boot();
    let mut commits = Vec::new();
    for number in 0..6 {
        let project = box_.api().provision().await;
        let (spec, objects) = site_spec(&[("index.html", unique("many"))]);
        let plan = project.plan(&spec).await.is(200);
        project.upload_missing(&plan, &objects).await;
        commits.push(async move { (number, project.commit_plan(&plan).await.is(200)) });
    }
    // A connection that does not come free is given up after ten seconds.
    let all = futures_util::future::join_all(commits);
    let answers = tokio::time::timeout(std::time::Duration::from_secs(8), all).await.expect("nobody waits for another");
    for (number, answer) in answers {
        assert_eq!(answer["status"], "ready", "{number}: {answer}");
    }
}

#[tokio::test]
async fn a_base_that_is_not_live_is_a_conflict_nobody_retries() {
    let project = project().await;
    let first = project.deploy_site(&[("index.html", "one")]).await;
    project.deploy_site(&[("index.html", "two")]).await;
    let (mut spec, _) = site_spec(&[("index.html", "three")]);
    spec["base"] = json!({"release_id": first["release_id"]});
    let refused = project.plan(&spec).await.refused(409, "BASE_RELEASE_CONFLICT");
    assert_eq!((&refused["retryable"], &refused["safe_to_retry"]), (&json!(false), &json!(false)));
    spec["base"] = json!({"release": "empty"});
    let refused = project.plan(&spec).await.refused(409, "BASE_RELEASE_CONFLICT");
    assert_eq!(refused["safe_to_retry"], false);
    spec["base"] = json!({"release_id": "rel_1_unknown"});
    project.plan(&spec).await.refused(404, "RELEASE_NOT_FOUND");
    let foreign = api().provision().await;
    let foreign = foreign.deploy_site(&[("index.html", "foreign")]).await;
    spec["base"] = json!({"release_id": foreign["release_id"]});
    project.plan(&spec).await.refused(404, "RELEASE_NOT_FOUND");
    // The live one may be named.
    spec["base"] = json!({"release_id": project.live().await["release_id"]});
    let (_, objects) = site_spec(&[("index.html", "three")]);
    project.deploy(&spec, &objects).await;
}

#[tokio::test]
async fn a_plan_committed_twice_runs_once() {
    let project = project().await;
    let (spec, objects) = site_spec(&[("index.html", "twice")]);
    let plan = project.plan(&spec).await.is(200);
    project.upload_missing(&plan, &objects).await;
    let (a, b) = tokio::join!(project.commit_plan(&plan), project.commit_plan(&plan));
    let (a, b) = (a.is(200), b.is(200));
    assert_eq!((&a["status"], &a), (&json!("ready"), &b));
    assert_eq!(project.commit_plan(&plan).await.is(200), a, "and the answer stays the same");
    assert_eq!(project.live().await["release_generation"], 1);

    let stranger = api().subscriber().await;
    let path = format!("/apply/v1/plans/{}/commit", plan["plan_id"].as_str().unwrap());
    api().post(&path).wallet(&stranger).json(&json!({})).send().await.refused(404, "PLAN_NOT_FOUND");
    let unknown = "/apply/v1/plans/plan_1_unknown/commit";
    api().post(unknown).wallet(&project.owner).json(&json!({})).send().await.refused(404, "PLAN_NOT_FOUND");
}

fn with_function(body: &'static str, schedule: Option<&str>, page: &'static str) -> (Value, Vec<&'static [u8]>) {
    let (mut spec, mut objects) = site_spec(&[("index.html", page)]);
    let source = file(body.as_bytes(), "text/javascript; charset=utf-8");
    spec["functions"] = json!({"replace": {"job": {"runtime": "node22", "source": source, "schedule": schedule}}});
    spec["routes"] = json!({"replace": [{"pattern": "/api/job", "target": {"type": "function", "name": "job"}}]});
    objects.push(body.as_bytes());
    (spec, objects)
}

#[tokio::test]
async fn a_promote_brings_files_functions_and_schedule_back() {
    let project = project().await;
    let (old, objects) = with_function("export default () => new Response('old')", Some("0 0 1 1 *"), "old page");
    let first = project.deploy(&old, &objects).await;
    let before = project.live().await;
    let (mut new, objects) = with_function("export default () => new Response('new')", None, "new page");
    new["database"] = json!({"migrations": [migration("later", "create table later(id int)")]});
    let second = project.deploy(&new, &objects).await;
    assert_eq!(project.live().await["functions"][0]["schedule"], Value::Null);

    let refused = project.promote(&first["release_id"], &[]).await.refused(409, "PROMOTE_WARNING_REQUIRES_ACK");
    assert_eq!(refused["warnings"][0]["code"], "MIGRATIONS_NOT_REVERSIBLE");
    let answer = project.promote(&first["release_id"], &["MIGRATIONS_NOT_REVERSIBLE"]).await.is(200);
    assert_eq!((&answer["status"], &answer["release_id"]), (&json!("ok"), &first["release_id"]));
    assert_eq!(answer["previous_release_id"], second["release_id"]);
    assert_eq!(answer["diff"]["migrations"]["only_in_current"], json!(["later"]));
    assert_eq!(answer["diff"]["functions"]["changed"], json!(["job"]));

    let live = project.live().await;
    assert_eq!((&live["release_id"], &live["release_generation"]), (&first["release_id"], &json!(3)));
    for slice in ["site", "functions", "routes"] {
        assert_eq!(live[slice], before[slice], "{slice}");
    }
    assert_eq!(live["functions"][0]["schedule"], "0 0 1 1 *");
    assert!(table_exists(&project, "later").await, "SQL is not undone");
    let operation = project.operation(answer["operation_id"].as_str().unwrap()).await;
    assert_eq!((&operation["kind"], &operation["status"]), (&json!("promote"), &json!("ready")));
    let old_row = project.release(second["release_id"].as_str().unwrap()).await.is(200);
    assert_eq!(old_row["status"], "superseded");

    project.promote(&first["release_id"], &[]).await.refused(409, "PROMOTE_NO_OP");
    // What was applied stays applied: deploying the same migration again does not run it.
    let plan = project.plan(&new).await.is(200);
    assert_eq!(plan["migrations"]["new"], json!([]));
    project.promote(&second["release_id"], &[]).await.is(200);
    assert_eq!(project.live().await["release_generation"], 4);
}

#[tokio::test]
async fn a_release_of_another_project_is_never_promoted() {
    let (mine, other) = (project().await, project().await);
    mine.deploy_site(&[("index.html", "mine")]).await;
    let foreign = other.deploy_site(&[("index.html", "other")]).await;
    mine.promote(&foreign["release_id"], &[]).await.refused(400, "PROMOTE_PROJECT_MISMATCH");
    mine.promote(&json!("rel_1_unknown"), &[]).await.refused(404, "PROMOTE_TARGET_NOT_FOUND");
    let path = format!("/apply/v1/releases/{}/promote", foreign["release_id"].as_str().unwrap());
    api().post(&path).wallet(&other.owner).json(&json!({})).send().await.refused(400, "PROMOTE_PROJECT_MISMATCH");
    let body = json!({"project": other.id});
    api().post(&path).api_key(&other.anon_key).json(&body).send().await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn inventories_and_diffs_answer_to_the_anon_key() {
    let project = project().await;
    let empty = project.live().await;
    assert_eq!((&empty["release_id"], &empty["kind"]), (&Value::Null, &json!("release_inventory")));
    let get = |path: String| {
        let call = api().get(&path).api_key(&project.anon_key);
        async move { call.send().await }
    };
    get("/apply/v1/releases/diff?from=empty&to=active".into()).await.refused(404, "NO_ACTIVE_RELEASE");

    let (mut spec, objects) = site_spec(&[("index.html", "one"), ("b.txt", "b")]);
    spec["i18n"] = json!({"default_locale": "en", "locales": ["en", "de"]});
    let first = project.deploy(&spec, &objects).await;
    let live = project.live().await;
    assert_eq!((&live["i18n"]["defaultLocale"], &live["effective"]), (&json!("en"), &json!(true)));
    assert_eq!(live["state_kind"], "current_live");
    let second = project.deploy_site(&[("index.html", "two"), ("c.txt", "c")]).await;

    let (a, b) = (first["release_id"].as_str().unwrap(), second["release_id"].as_str().unwrap());
    let diff = get(format!("/apply/v1/releases/diff?from={a}&to={b}")).await.is(200);
    assert_eq!((&diff["kind"], &diff["from_release_id"]), (&json!("release_diff"), &json!(a)));
    assert_eq!(diff["site"]["added"][0]["path"], "c.txt");
    assert_eq!(diff["site"]["removed"], json!(["b.txt"]));
    assert_eq!(diff["site"]["changed"][0]["path"], "index.html");
    assert_eq!(get(format!("/apply/v1/releases/diff?from={a}&to=active")).await.is(200)["to_release_id"], b);
    let from_empty = get("/apply/v1/releases/diff?from=empty&to=active".into()).await.is(200);
    assert_eq!(
        (&from_empty["from_release_id"], from_empty["site"]["added"].as_array().map(Vec::len)),
        (&Value::Null, Some(2))
    );

    for (path, status, code) in [
        (format!("/apply/v1/releases/diff?from={b}&to=active"), 400, "DIFF_SAME_RELEASE"),
        (format!("/apply/v1/releases/diff?from={a}&to=empty"), 400, "INVALID_DIFF_TARGET"),
        ("/apply/v1/releases/diff".into(), 400, "INVALID_DIFF_TARGET"),
        (format!("/apply/v1/releases/diff?from={a}&to=rel_1_unknown"), 404, "RELEASE_NOT_FOUND"),
        (format!("/apply/v1/releases/diff?from={a}&to={b}&limit=0"), 400, "INVALID_LIMIT"),
        ("/apply/v1/releases/active?site_limit=25001".into(), 400, "INVALID_LIMIT"),
        ("/apply/v1/releases/active?site_limit=0".into(), 400, "INVALID_LIMIT"),
        ("/apply/v1/releases/rel_1_unknown".into(), 404, "RELEASE_NOT_FOUND"),
        ("/apply/v1/releases/nonsense".into(), 404, "RELEASE_NOT_FOUND"),
    ] {
        get(path.clone()).await.refused(status, code);
    }
    let cut = get("/apply/v1/releases/active?site_limit=1".into()).await.is(200);
    assert_eq!((paths(&cut).len(), &cut["site"]["totals"]["paths"]), (1, &json!(2)));

    // A wallet reads by id without a key, a stranger does not learn that the release exists.
    let path = format!("/apply/v1/releases/{a}");
    assert_eq!(api().get(&path).wallet(&project.owner).send().await.is(200)["release_id"], a);
    let stranger = api().provision().await;
    api().get(&path).api_key(&stranger.anon_key).send().await.refused(404, "RELEASE_NOT_FOUND");
    api().get(&path).wallet(&stranger.owner).send().await.refused(404, "RELEASE_NOT_FOUND");
}

#[tokio::test]
async fn operations_are_listed_by_page_and_belong_to_their_project() {
    let project = project().await;
    for text in ["one", "two", "three"] {
        project.deploy_site(&[("index.html", text)]).await;
    }
    let get = |query: &str| {
        let call = api().get(&format!("/apply/v1/operations{query}")).api_key(&project.anon_key);
        async move { call.send().await }
    };
    let page = get("?limit=2").await.is(200);
    let cursor = page["cursor"].as_str().expect("a cursor").to_owned();
    let rest = get(&format!("?limit=2&cursor={cursor}")).await.is(200);
    assert_eq!((page["operations"].as_array().unwrap().len(), rest["operations"].as_array().unwrap().len()), (2, 1));
    assert_eq!(rest["cursor"], Value::Null);
    get("?limit=0").await.refused(400, "INVALID_LIMIT");
    get("?cursor=nonsense").await.refused(400, "INVALID_CURSOR");
    api().get("/apply/v1/operations").wallet(&project.owner).send().await.refused(400, "PROJECT_REQUIRED");
    api().get("/apply/v1/operations").send().await.refused(401, "AUTHENTICATION_REQUIRED");

    let id = page["operations"][0]["operation_id"].as_str().unwrap();
    let stranger = api().provision().await;
    for path in [format!("/apply/v1/operations/{id}"), format!("/apply/v1/operations/{id}/events")] {
        api().get(&path).api_key(&stranger.anon_key).send().await.refused(404, "OPERATION_NOT_FOUND");
        api().get(&path).wallet(&project.owner).send().await.is(200);
    }
    let resume = format!("/apply/v1/operations/{id}/resume");
    assert_eq!(api().post(&resume).wallet(&project.owner).send().await.is(200)["status"], "ready");
    api().post(&resume).wallet(&stranger.owner).send().await.refused(404, "OPERATION_NOT_FOUND");
    let (spec, _) = site_spec(&[("index.html", unique("open"))]);
    let open = project.plan(&spec).await.is(200);
    let resume = format!("/apply/v1/operations/{}/resume", open["operation_id"].as_str().unwrap());
    api().post(&resume).wallet(&project.owner).send().await.refused(409, "NOT_RESUMABLE");
}

#[tokio::test]
async fn unfit_requests_are_refused_with_their_place() {
    let project = project().await;
    let send = |body: Value| {
        let call = api().post("/apply/v1/plans").wallet(&project.owner).json(&body);
        async move { call.send().await }
    };
    let id = project.id.clone();
    for (body, code) in [
        (json!({}), "INVALID_SPEC"),
        (json!({"spec": {"site": {"replace": {}}}}), "INVALID_SPEC"),
        (json!({"spec": {"project_id": id}, "nonsense": 1}), "INVALID_SPEC"),
        (json!({"spec": {"project_id": id}, "idempotency_key": ""}), "INVALID_SPEC"),
        (json!({"spec": {"project_id": id}}), "MANIFEST_EMPTY"),
        (json!({"spec": {"project_id": id, "checks": [{"name": "x"}]}}), "INVALID_SPEC"),
    ] {
        send(body.clone()).await.refused(400, code);
    }
    let big = "x".repeat(9 * 1024 * 1024);
    let refused = send(json!({"spec": {"project_id": id, "site": big}})).await;
    refused.refused(413, "PAYLOAD_TOO_LARGE");
    let call = api().post("/apply/v1/plans").wallet(&project.owner).body("application/json", b"{".to_vec());
    call.send().await.refused(400, "INVALID_JSON");
    assert!(project.operations().await.is_empty(), "nothing was stored");
}

#[tokio::test]
async fn a_large_spec_may_be_uploaded_as_content() {
    let project = project().await;
    let (mut spec, objects) = site_spec(&[("index.html", "by reference")]);
    spec["project_id"] = project.id.as_str().into();
    let text = serde_json::to_string(&spec).unwrap();
    let reference = json!({"sha256": sha256(text.as_bytes()), "size": text.len(),
                           "content_type": "application/vnd.run402.deploy-manifest+json"});
    let envelope = json!({"spec": {"project_id": project.id}, "manifest_ref": reference});
    project.plan_as(&project.owner, &envelope).await.refused(409, "CONTENT_MISSING");
    project.upload(&[text.as_bytes()]).await;
    let plan = project.plan_as(&project.owner, &envelope).await.is(200);
    assert_eq!(plan["manifest_digest"], project.plan(&spec).await.is(200)["manifest_digest"]);
    project.upload_missing(&plan, &objects).await;
    assert_eq!(project.commit_plan(&plan).await.is(200)["status"], "ready");
    let mut fuller = envelope.clone();
    fuller["spec"]["site"] = json!({});
    assert_eq!(project.plan_as(&project.owner, &fuller).await.refused(400, "INVALID_SPEC")["resource"], "spec");
}

#[tokio::test]
async fn a_subdomain_is_bound_with_the_release_and_stays_with_its_owner() {
    let (mine, other) = (project().await, project().await);
    let name = format!("s{}", hex::encode(rand::random::<[u8; 6]>()));
    let (mut spec, objects) = site_spec(&[("index.html", "named")]);
    spec["subdomains"] = json!({"set": [name]});
    let answer = mine.deploy(&spec, &objects).await;
    let host = format!("://{name}.");
    assert!(answer["urls"]["project"].as_str().is_some_and(|url| url.contains(&host)), "{answer}");
    assert_eq!(mine.live().await["subdomains"]["names"], json!([name]));
    other.plan(&spec).await.refused(409, "SUBDOMAIN_TAKEN");
    // An activation that does not speak of names keeps them.
    let answer = mine.deploy_site(&[("index.html", "still named")]).await;
    assert!(answer["urls"]["site_url"].as_str().is_some_and(|url| url.contains(&host)), "{answer}");
}

#[tokio::test]
async fn the_schema_of_the_spec_is_published() {
    let schema = api().get("/schemas/release-spec.v1.json").send().await.is(200);
    assert_eq!(schema["type"], "object");
    assert!(schema["properties"]["site"].is_object(), "{schema}");
}

#[tokio::test]
async fn a_role_gate_needs_its_table() {
    let project = project().await;
    let (mut spec, objects) = with_function("export default () => new Response('gated')", None, "gated");
    spec["functions"]["replace"]["job"]["require_role"] =
        json!({"table": "members", "id_column": "user_id", "role_column": "role", "allowed": ["admin"]});
    let answer = project.apply(&spec, &objects).await;
    let error = &answer["error"];
    assert_eq!((&answer["status"], &error["code"]), (&json!("failed"), &json!("DEPLOY_INVALID_ROLE_GATE")), "{answer}");
    assert_eq!(error["resource"], "functions.job");
    assert_eq!(project.live().await["release_id"], Value::Null);
    let table = "create table members(user_id uuid primary key, role text)";
    spec["database"] = json!({"migrations": [migration("members", table)]});
    project.deploy(&spec, &objects).await;
}

#[tokio::test]
async fn requests_of_one_release_see_one_release() {
    let project = project().await;
    let files = |version: usize| -> (Value, Vec<&'static [u8]>) {
        let text: &'static str = format!("version {version}").leak();
        site_spec(&[("index.html", text), ("a.txt", text)])
    };
    let (spec, objects) = files(0);
    project.deploy(&spec, &objects).await;
    for version in 1..=6 {
        let (spec, objects) = files(version);
        let answer = project.deploy(&spec, &objects).await;
        let live = project.live().await;
        assert_eq!(live["release_id"], answer["release_id"], "a release is live when its commit answers");
        let digests: Vec<&Value> =
            live["site"]["paths"].as_array().unwrap().iter().map(|row| &row["content_sha256"]).collect();
        assert_eq!(digests[0], digests[1], "{live}");
    }
    assert_eq!(project.live().await["release_generation"], 7);
}
