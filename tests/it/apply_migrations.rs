//! Migrations and the expose manifest in a deploy (contract 03 §8; checks 13-15 of §17).

use serde_json::json;

use crate::{
    apply::{api, project, release, site_spec, table_exists, unique},
    support::{
        Answer, Appliance,
        content::sha256,
        deploy::{file, migration},
    },
};

#[tokio::test]
async fn migrations_and_manifest_become_live_with_the_site() {
    let project = project().await;
    let (mut spec, objects) = site_spec(&[("index.html", "with a table")]);
    spec["database"] = json!({
        "migrations": [migration("001", "create table notes(id serial primary key, body text)"),
                       migration("002", "insert into notes(body) values ('one'), ('two')")],
        "expose": {"version": "1", "tables": [{"name": "notes", "expose": true, "policy": "public_read_authenticated_write"}]},
    });
    let plan = project.plan(&spec).await.is(200);
    let new = plan["migrations"]["new"].as_array().unwrap();
    assert_eq!((new.len(), &new[0]["id"], &new[0]["transaction"]), (2, &json!("001"), &json!("default")));
    project.upload_missing(&plan, &objects).await;
    let answer = project.commit_plan(&plan).await.is(200);
    assert_eq!(answer["status"], "ready", "{answer}");
    let rows = api().get("/rest/v1/notes?select=body&order=id").api_key(&project.anon_key).send().await.is(200);
    assert_eq!(rows, json!([{"body": "one"}, {"body": "two"}]), "the data API sees the table at once");
    let live = project.live().await;
    let applied = live["migrations_applied"].as_array().unwrap();
    assert_eq!(applied.iter().map(|row| &row["migration_id"]).collect::<Vec<_>>(), ["001", "002"]);
    assert!(applied.iter().all(|row| row["applied_at"].is_string()), "{live}");

    // The same ids and SQL are not run again.
    let plan = project.plan(&spec).await.is(200);
    assert_eq!((&plan["migrations"]["new"], &plan["is_noop"]), (&json!([]), &json!(true)), "{plan}");
    assert_eq!(plan["migrations"]["noop"].as_array().unwrap().len(), 2);
    spec["database"]["migrations"]
        .as_array_mut()
        .unwrap()
        .push(migration("003", "insert into notes(body) values ('three')"));
    project.deploy(&spec, &objects).await;
    assert_eq!(project.value("select count(*)::int from notes").await, 3);
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing() {
    let project = project().await;
    project.deploy_site(&[("index.html", "old")]).await;
    let before = project.live().await;
    let (mut spec, objects) = site_spec(&[("index.html", "new")]);
    let broken = "insert into one values (1);\n\nselect nonsense from one";
    spec["database"] = json!({"migrations": [migration("1", "create table one(id int)"), migration("2", broken)]});
    let answer = project.apply(&spec, &objects).await;
    assert_eq!(answer["status"], "failed", "{answer}");
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["phase"]), (&json!("MIGRATION_FAILED"), &json!("migrate")));
    assert_eq!((&error["rolled_back"], &error["mutation_state"]), (&json!(true), &json!("rolled_back")));
    assert_eq!((&error["retryable"], &error["safe_to_retry"]), (&json!(false), &json!(true)));
    assert_eq!(error["resource"], "database.migrations.2");
    assert_eq!(error["details"]["sqlstate"], "42703");
    assert_eq!(error["details"]["line"], 3, "{error}");
    assert!(error["logs"].as_array().is_some_and(|logs| !logs.is_empty()), "{error}");
    assert!(!table_exists(&project, "one").await);
    assert_eq!(project.live().await, before, "the old release is untouched");
    let host = crate::sites::public_host(&project).await;
    assert_eq!(crate::sites::get(Appliance::shared(), &host, "/").text(), "old", "and still serves");
    let operation = project.operation(answer["operation_id"].as_str().unwrap()).await;
    assert_eq!((&operation["status"], &operation["error"]["code"]), (&json!("failed"), &json!("MIGRATION_FAILED")));

    spec["database"]["migrations"][1] = migration("2", "insert into one values (1)");
    project.deploy(&spec, &objects).await;
    assert_eq!(project.value("select count(*)::int from one").await, 1);
}

#[tokio::test]
async fn a_manifest_that_does_not_fit_rolls_the_migrations_back() {
    let project = project().await;
    let (mut spec, objects) = site_spec(&[("index.html", "expose")]);
    let sql = "create table two(id int)";
    let sql_ref = file(sql.as_bytes(), "application/sql");
    spec["database"] = json!({
        "migrations": [{"id": "1", "checksum": sha256(sql.as_bytes()), "sql_ref": sql_ref}],
        "expose": {"version": "1", "tables": [{"name": "missing", "expose": true, "policy": "public_read_authenticated_write"}]},
    });
    let plan = project.plan(&spec).await.is(200);
    let mut objects = objects;
    objects.push(sql.as_bytes());
    project.upload_missing(&plan, &objects).await;
    let answer = project.commit_plan(&plan).await.is(200);
    assert_eq!(
        (&answer["status"], &answer["error"]["code"]),
        (&json!("failed"), &json!("INVALID_EXPOSE_MANIFEST")),
        "{answer}"
    );
    assert!(answer["error"]["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{answer}");
    assert!(!table_exists(&project, "two").await);
    // With the bytes there the plan says it at once.
    project.plan(&spec).await.refused(400, "INVALID_EXPOSE_MANIFEST");
}

#[tokio::test]
async fn changed_sql_under_an_applied_id_is_refused() {
    let project = project().await;
    let with = |sql: &str| json!({"database": {"migrations": [migration("same", sql)]}});
    project.deploy(&with("create table t(id int)"), &[]).await;
    let refused = project.plan(&with("create table t(id bigint)")).await.refused(409, "MIGRATION_CHECKSUM_MISMATCH");
    assert_eq!(refused["resource"], "database.migrations.same");
    assert_eq!(refused["details"]["applied_checksum"], sha256(b"create table t(id int)"));
    assert_eq!(refused["details"]["requested_checksum"], sha256(b"create table t(id bigint)"));
    assert_eq!((&refused["retryable"], &refused["safe_to_retry"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn sql_that_is_not_what_the_spec_says_is_refused_before_it_runs() {
    let project = project().await;
    let sql = unique("create table lied(id int) --");
    let spec = json!({"database": {"migrations": [
        {"id": "1", "checksum": "ab".repeat(32), "sql_ref": file(sql.as_bytes(), "application/sql")}]}});
    let plan = project.plan(&spec).await;
    if plan.status == 200 {
        let plan = plan.json();
        project.upload_missing(&plan, &[sql.as_bytes()]).await;
        project.commit_plan(&plan).await.refused(409, "MIGRATION_CHECKSUM_MISMATCH");
    }
    assert!(!table_exists(&project, "lied").await);
}

#[tokio::test]
async fn migrations_may_not_control_transactions_or_grant() {
    let project = project().await;
    for sql in ["begin; create table x(id int); commit", "grant all on schema public to anon", "vacuum"] {
        let plan = project.plan(&json!({"database": {"migrations": [migration("1", sql)]}})).await.is(200);
        let refused = project.commit_plan(&plan).await.refused(400, "MIGRATION_FAILED");
        assert_eq!(refused["mutation_state"], "not_started", "{sql}");
    }
    assert!(!table_exists(&project, "x").await);
}

#[tokio::test]
async fn a_migration_outside_a_transaction_that_fails_needs_repair() {
    let project = project().await;
    project.deploy_site(&[("index.html", "before")]).await;
    let before = release(&project.live().await);
    let mut half = migration("002", "create table second(id int); select nonsense");
    half["transaction"] = "none".into();
    let spec = json!({"database": {"migrations": [
        migration("001", "create table first(id int)"), half, migration("003", "create table third(id int)")]}});
    let plan = project.plan(&spec).await.is(200);
    let warning = plan["warnings"].as_array().unwrap().iter().find(|row| row["code"] == "MIGRATION_NON_TRANSACTIONAL");
    assert_eq!(warning.unwrap_or_else(|| panic!("{plan}"))["requires_confirmation"], true);
    let answer = project.commit_plan(&plan).await.is(200);
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["mutation_state"]), (&json!("MIGRATION_FAILED"), &json!("partial")), "{answer}");
    assert_eq!(error["rolled_back"], false);
    assert_eq!(error["details"]["committed_migrations"], json!(["001"]));
    let id = answer["operation_id"].as_str().unwrap();
    assert_eq!(project.operation(id).await["status"], "needs_repair");
    assert_eq!(release(&project.live().await), before);
    assert!(table_exists(&project, "first").await && table_exists(&project, "second").await);
    assert!(!table_exists(&project, "third").await);
    let path = format!("/apply/v1/operations/{id}/resume");
    api().post(&path).wallet(&project.owner).send().await.refused(409, "INVALID_STATE");

    // The way on is a deploy that completes it.
    let mut whole = migration("002", "create table if not exists second(id int)");
    whole["transaction"] = "none".into();
    let spec = json!({"database": {"migrations": [
        migration("001", "create table first(id int)"), whole, migration("003", "create table third(id int)")]}});
    let answer = project.deploy(&spec, &[]).await;
    assert_eq!(release(&project.live().await), answer["release_id"]);
    assert!(table_exists(&project, "third").await);
}

#[tokio::test]
async fn a_concurrent_index_is_built_outside_a_transaction() {
    let project = project().await;
    let mut index = migration("2", "create index concurrently t_id on t(id)");
    index["transaction"] = "none".into();
    let spec = json!({"database": {"migrations": [migration("1", "create table t(id int)"), index]}});
    project.deploy(&spec, &[]).await;
    assert_eq!(project.value("select indisvalid from pg_index where indexrelid = 't_id'::regclass").await, true);
    assert_eq!(project.plan(&spec).await.is(200)["is_noop"], true);
}

#[tokio::test]
async fn requests_wait_out_a_migration_at_the_gate() {
    let project = project().await;
    project.sql("create table t(id int)").await.is(200);
    let slow =
        json!({"database": {"migrations": [migration("slow", "select pg_sleep(1.5); insert into t values (1)")]}});
    let plan = project.plan(&slow).await.is(200);
    let watch = async {
        let mut gated = Vec::new();
        for _ in 0..30 {
            let answer = project.sql("select 1").await;
            if answer.status != 200 {
                gated.push(answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        gated
    };
    let (committed, gated) = tokio::join!(project.commit_plan(&plan), watch);
    assert_eq!(committed.is(200)["status"], "ready");
    assert!(!gated.is_empty(), "some request met the gate");
    for answer in gated {
        let refused = Answer::refused(&answer, 503, "MIGRATE_GATE_ACTIVE");
        assert_eq!((&refused["safe_to_retry"], &refused["phase"]), (&json!(true), &json!("migrate-gate")));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    project.sql("select 1").await.is(200);

    let mut open =
        json!({"database": {"migrations": [migration("open", "select pg_sleep(1)")], "zero_downtime": true}});
    open["project_id"] = project.id.as_str().into();
    let plan = project.plan(&open).await.is(200);
    let (committed, answer) = tokio::join!(project.commit_plan(&plan), async {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        project.sql("select 1").await
    });
    committed.is(200);
    answer.is(200);
}
