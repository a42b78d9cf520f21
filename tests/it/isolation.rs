//! Two projects on one box know nothing of each other (contract 02 §3.1, check 13).

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::{Config, NoTls};

use crate::support::{Appliance, Project};

async fn neighbours() -> (Project, Project) {
    let api = Appliance::shared().api();
    let (mine, other) = (api.provision().await, api.provision().await);
    other
        .sql(
            "create table secret(word text); insert into secret values ('xyzzy');
             create function whisper() returns text language sql as $$ select 'xyzzy-function' $$;
             create type xyzzy_type as enum ('x')",
        )
        .await
        .is(200);
    (mine, other)
}

#[tokio::test]
async fn no_statement_names_an_object_of_another_project() {
    let (mine, other) = neighbours().await;
    let database = format!("r402_{}", other.slot);
    for statement in [
        "select * from secret".to_owned(),
        "select * from public.secret".to_owned(),
        format!("select * from {}.secret", other.slot),
        format!("select * from {database}.public.secret"),
        format!("select * from \"{database}\".\"public\".\"secret\""),
        "select whisper()".to_owned(),
        "select 'x'::xyzzy_type".to_owned(),
        format!("do $$ begin execute 'select * from {database}.public.secret'; end $$"),
        format!("comment on database {database} is 'mine'"),
        format!("alter database {database} set work_mem = '1MB'"),
        format!("drop database {database}"),
        format!("do $$ begin execute 'drop database {database}'; end $$"),
        format!("do $$ begin execute 'alter database {database} rename to gone'; end $$"),
        format!("do $$ begin execute 'alter role {database}_owner password ''x'''; end $$"),
        format!("do $$ begin execute 'set role {database}_owner'; end $$"),
        format!("do $$ begin execute 'create database copy template {database}'; end $$"),
    ] {
        let answer = mine.sql(&statement).await;
        assert!(answer.status == 400 || answer.status == 403, "{statement}: {answer}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("xyzzy-function"), "{answer}");
    }
    assert_eq!(other.value("select word from secret").await, "xyzzy");
}

#[tokio::test]
async fn the_catalog_shows_nothing_of_another_projects_objects() {
    let (mine, _other) = neighbours().await;
    for query in [
        "select count(*)::int from pg_class where relname = 'secret'",
        "select count(*)::int from pg_proc where prosrc like '%xyzzy%'",
        "select count(*)::int from pg_type where typname = 'xyzzy_type'",
        "select count(*)::int from information_schema.tables where table_name = 'secret'",
        "select count(*)::int from information_schema.columns where column_name = 'word'",
        "select count(*)::int from pg_stat_user_tables where relname = 'secret'",
        "select count(*)::int from pg_stats where tablename = 'secret'",
        "select count(*)::int from pg_description where description like '%xyzzy%'",
        "select count(*)::int from pg_largeobject_metadata",
        "select count(*)::int from pg_prepared_xacts",
    ] {
        let answer = mine.sql(query).await;
        // Hiding the view is as good as an empty one.
        if answer.status != 400 || answer.json()["details"]["sqlstate"] != "42501" {
            assert_eq!(answer.is(200)["rows"][0]["count"], 0, "{query}");
        }
    }
    // Names of databases and roles are visible to everyone in Postgres; they must say nothing.
    let names =
        mine.sql("select datname::text as n from pg_database union select rolname::text from pg_roles").await.is(200);
    for row in names["rows"].as_array().expect("rows") {
        let name = row["n"].as_str().expect("a name");
        assert!(!name.contains("prj_") && !name.contains("test"), "a name that tells: {name}");
    }
}

#[tokio::test]
async fn other_databases_do_not_let_the_owner_role_in() {
    let appliance = Appliance::shared();
    let (mine, other) = neighbours().await;
    let owner = format!("r402_{}_owner", mine.slot);
    for database in [format!("r402_{}", other.slot), "run402".to_owned(), "postgres".to_owned(), "template1".to_owned()]
    {
        let allowed = mine.value(&format!("select has_database_privilege('{database}', 'connect')")).await;
        assert_eq!(allowed, false, "{database}");
        // Even with the socket at hand, which no tenant has.
        let refused = Config::new()
            .host_path(appliance.data_dir().join("run"))
            .user(&owner)
            .dbname(&database)
            .connect(NoTls)
            .await;
        assert!(refused.is_err(), "{owner} may connect to {database}");
    }
}

#[tokio::test]
async fn notifications_stay_in_their_database() {
    let (mine, other) = neighbours().await;
    // The listener looks for what arrived while it was listening: nothing from next door may.
    let listening = tokio::spawn({
        let mine = mine.clone();
        async move { mine.sql("listen gossip; select pg_sleep(1.5)").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    other.sql("notify gossip, 'xyzzy'").await.is(200);
    let answer = listening.await.expect("the listener ran");
    assert!(!String::from_utf8_lossy(&answer.body).contains("xyzzy"), "{answer}");
}

#[tokio::test]
async fn advisory_locks_do_not_block_the_neighbour() {
    let (mine, other) = neighbours().await;
    let holding = tokio::spawn({
        let mine = mine.clone();
        async move { mine.sql("select pg_advisory_lock(42), pg_sleep(2)").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(other.value("select pg_try_advisory_xact_lock(42)").await, true);
    holding.await.expect("the holder ran").is(200);
    // A session lock ends with its call.
    assert_eq!(mine.value("select pg_try_advisory_xact_lock(42)").await, true);
}

#[tokio::test]
async fn a_busy_project_leaves_room_for_its_neighbour() {
    let (mine, other) = neighbours().await;
    let hogs: Vec<_> = (0..20)
        .map(|_| {
            let mine = mine.clone();
            tokio::spawn(async move { mine.sql("select pg_sleep(3)").await.status.as_u16() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = std::time::Instant::now();
    other.sql("select 1").await.is(200);
    assert!(started.elapsed() < Duration::from_secs(2), "waited {:?} for a neighbour", started.elapsed());
    for hog in hogs {
        let status = hog.await.expect("it ran");
        // 2 sessions a project: the rest waits its turn or is told to come back.
        assert!(status == 200 || status == 503, "{status}");
    }
}

#[tokio::test]
async fn what_one_project_reads_as_service_role_is_its_own() {
    let api = Appliance::shared().api();
    let (mine, other) = neighbours().await;
    for path in ["/rest/v1/secret", "/admin/v1/rest/secret"] {
        let answer = api.get(path).api_key(&mine.service_key).bearer(&mine.service_key).send().await;
        assert!(!answer.status.is_success(), "{answer}");
        let answer = api.get(path).api_key(&mine.anon_key).bearer(&other.service_key).send().await;
        assert!(!answer.status.is_success(), "{answer}");
    }
    let schema = mine.schema().await;
    assert_eq!(schema["tables"], json!([]));
    assert_ne!(mine.value("select current_database()::text").await, Value::from(format!("r402_{}", other.slot)));
}
