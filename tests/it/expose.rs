//! The expose manifest (contract 02 §6; checks 8-12 as far as they need no data API). What a role may do is tried in
//! the database itself, under that role and its claims.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Answer, Api, Appliance, Project, Wallet, control};

const U1: &str = "00000000-0000-4000-8000-000000000001";
const U2: &str = "00000000-0000-4000-8000-000000000002";

fn api() -> Api {
    Appliance::shared().api()
}

async fn project() -> Project {
    api().provision().await
}

async fn apply(project: &Project, manifest: &Value) -> Answer {
    api().post(&project.path("expose")).bearer(&project.service_key).json(manifest).send().await
}

async fn current(project: &Project) -> Value {
    api().get(&project.path("expose")).bearer(&project.service_key).send().await.is(200)
}

async fn validate(project: &Project, manifest: Value, migration: Option<&str>) -> Value {
    let mut body = json!({"manifest": manifest});
    if let Some(migration) = migration {
        body["migration_sql"] = migration.into();
    }
    api().post(&project.path("expose/validate")).bearer(&project.service_key).json(&body).send().await.is(200)
}

fn tables(entries: Value) -> Value {
    json!({"version": "1", "tables": entries})
}

fn owned(table: &str) -> Value {
    tables(json!([{"name": table, "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
                   "force_owner_on_insert": true}]))
}

fn types(issues: &Value) -> Vec<&str> {
    issues.as_array().expect("issues").iter().map(|issue| issue["type"].as_str().expect("a type")).collect()
}

/// The project's database as an API role sees it.
struct Database(Client);

impl Database {
    async fn of(project: &Project) -> Self {
        Self(control::connect(Appliance::shared(), &format!("r402_{}", project.slot)).await)
    }

    /// Runs a statement as the data API would; its first column as text, or the SQLSTATE.
    async fn run(&self, role: &str, user: &str, statement: &str) -> Result<Vec<String>, String> {
        let claims = json!({"role": role, "sub": user});
        let begin = format!(
            "begin; set local search_path = public, extensions, auth; set local role {role}; \
             set local request.jwt.claims = '{claims}'"
        );
        self.0.batch_execute(&begin).await.expect("the role can be taken");
        let result = self.0.simple_query(statement).await;
        self.0.batch_execute(if result.is_ok() { "commit" } else { "rollback" }).await.expect("the transaction ends");
        let messages = result.map_err(|error| error.code().map_or_else(String::new, |code| code.code().to_owned()))?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
                _ => None,
            })
            .collect())
    }

    async fn anon(&self, statement: &str) -> Result<Vec<String>, String> {
        self.run("anon", "", statement).await
    }

    async fn user(&self, user: &str, statement: &str) -> Result<Vec<String>, String> {
        self.run("authenticated", user, statement).await
    }

    /// Ids and transactions of every catalog row a manifest could touch.
    async fn fingerprint(&self) -> Vec<String> {
        let rows = self
            .0
            .query(
                "select 'policy', oid::text, xmin::text from pg_policy
                 union all select 'trigger', oid::text, xmin::text from pg_trigger
                 union all select 'class', oid::text, xmin::text from pg_class where relnamespace = 'public'::regnamespace
                 union all select 'function', oid::text, xmin::text from pg_proc where pronamespace = 'public'::regnamespace
                 union all select 'manifest', sha256_hex, xmin::text from internal.project_manifest
                 order by 1, 2",
                &[],
            )
            .await
            .expect("the catalog is readable");
        rows.iter()
            .map(|row| format!("{} {} {}", row.get::<_, String>(0), row.get::<_, String>(1), row.get::<_, String>(2)))
            .collect()
    }
}

fn refused(sqlstate: &str) -> Result<Vec<String>, String> {
    Err(sqlstate.into())
}

#[tokio::test]
async fn owners_see_and_write_their_own_rows_only() {
    let project = project().await;
    project.sql("create table t(id serial primary key, n int, owner uuid)").await.is(200);
    let database = Database::of(&project).await;
    assert_eq!(database.user(U1, "select * from t").await, refused("42501"), "dark by default");

    let body = apply(&project, &owned("t")).await.is(200);
    assert_eq!(
        body,
        json!({"status": "ok", "project_id": project.id,
               "applied": {"tables": ["t"], "views": [], "rpcs": []},
               "dropped": {"tables": [], "views": [], "rpcs": []}})
    );
    let insert = "insert into t(n) values (5) returning owner";
    assert_eq!(database.user(U1, insert).await, Ok(vec![U1.into()]));
    assert_eq!(database.run("project_admin", U2, insert).await, Ok(vec![U2.into()]));
    assert_eq!(database.user(U1, "select count(*) from t").await, Ok(vec!["1".into()]));
    assert_eq!(database.user(U2, "delete from t returning owner").await, Ok(vec![U2.into()]));
    assert_eq!(database.user(U1, &format!("insert into t(owner) values ('{U2}')")).await, refused("42501"));
    assert_eq!(database.user(U1, &format!("update t set owner = '{U2}'")).await, refused("42501"));
    assert_eq!(database.anon("select * from t").await, refused("42501"));
    assert_eq!(database.anon(insert).await, refused("42501"));
    assert_eq!(database.run("service_role", "", "select n from t").await, Ok(vec!["5".into()]));
    assert_eq!(project.value("select count(*)::int from t").await, 1, "raw SQL bypasses RLS");
    let schema = project.schema().await;
    assert_eq!(schema["tables"][0]["rls_enabled"], true);
    let using = schema["tables"][0]["policies"][0]["using_expression"].as_str().expect("an expression");
    assert!(using.contains("auth.uid()"), "{using}");
}

#[tokio::test]
async fn applying_the_same_manifest_again_changes_nothing() {
    let project = project().await;
    project
        .sql("create table t(id serial primary key, owner uuid, archived bool); create function f(a int) returns int return a")
        .await
        .is(200);
    let mut manifest = owned("t");
    manifest["views"] = json!([{"name": "v", "base": "t", "select": ["id"], "filter": "not archived -- live ones"}]);
    manifest["rpcs"] = json!([{"name": "f", "signature": "(int4)", "grant_to": ["anon", "service_role"]}]);
    let first = apply(&project, &manifest).await.is(200);
    let database = Database::of(&project).await;
    let before = database.fingerprint().await;
    assert_eq!(apply(&project, &manifest).await.is(200), first);
    assert_eq!(database.fingerprint().await, before);

    manifest["views"][0]["select"] = json!(["id", "owner"]);
    apply(&project, &manifest).await.is(200);
    assert_eq!(database.user(U1, "insert into t(archived) values (false) returning owner").await, Ok(vec![U1.into()]));
    assert_eq!(database.user(U1, "select owner from v").await, Ok(vec![U1.into()]));
    manifest["views"][0]["select"] = json!(["owner"]);
    apply(&project, &manifest).await.is(200);
    assert_eq!(database.user(U1, "select id from v").await, refused("42703"));
    assert_eq!(database.user(U2, "select owner from v").await, Ok(vec![]));
    assert_eq!(database.anon("select owner from v").await, refused("42501"), "a view never widens access");
    assert_eq!(database.anon("select f(3)").await, Ok(vec!["3".into()]));
    assert_eq!(database.user(U1, "select f(3)").await, refused("42501"));
}

#[tokio::test]
async fn what_the_manifest_no_longer_names_is_gone() {
    let project = project().await;
    project
        .sql("create table t(id serial primary key, owner uuid); create policy mine on t using (false)")
        .await
        .is(200);
    let mut manifest = owned("t");
    manifest["views"] =
        json!([{"name": "v", "base": "t", "select": ["id"]}, {"name": "w", "base": "v", "select": ["id"]}]);
    apply(&project, &manifest).await.is(200);
    let body = apply(&project, &json!({"version": "1", "$schema": "x"})).await.is(200);
    assert_eq!(body["dropped"], json!({"tables": ["t"], "views": ["v", "w"], "rpcs": []}));
    assert_eq!(body["applied"], json!({"tables": [], "views": [], "rpcs": []}));
    for (count, sql) in [
        (0, "select count(*)::int from pg_trigger where not tgisinternal"),
        (0, "select count(*)::int from pg_policy where polname like 'r402%'"),
        (1, "select count(*)::int from pg_policy where polname = 'mine'"),
        (0, "select count(*)::int from pg_proc where pronamespace = 'public'::regnamespace"),
        (0, "select count(*)::int from pg_class where relkind = 'v' and relnamespace = 'public'::regnamespace"),
        (1, "select count(*)::int from pg_class where relname = 't_owner_r402_idx'"),
    ] {
        assert_eq!(project.value(sql).await, count, "{sql}");
    }
    let database = Database::of(&project).await;
    assert_eq!(database.user(U1, "select * from t").await, refused("42501"));
    assert_eq!(database.user(U1, "select nextval('t_id_seq')").await, refused("42501"));
    let body = current(&project).await;
    assert_eq!(body["source"], "applied");
    assert_eq!(body["manifest"], json!({"version": "1", "tables": [], "views": [], "rpcs": []}));
}

#[tokio::test]
async fn the_policies_give_each_role_what_the_contract_says() {
    let project = project().await;
    project.sql("create table items(id serial primary key, n int); insert into items(n) values (1)").await.is(200);
    let database = Database::of(&project).await;
    let entry = |policy: &str| {
        let mut entry = json!({"name": "items", "expose": true, "policy": policy});
        if policy.ends_with("UNRESTRICTED") {
            entry["i_understand_this_is_unrestricted"] = true.into();
        }
        tables(json!([entry]))
    };
    let (read, write) = ("select 1 from items limit 1", "insert into items(n) values (2) returning 1");
    let yes = || Ok(vec!["1".to_owned()]);

    apply(&project, &entry("public_read_authenticated_write")).await.is(200);
    assert_eq!(database.anon(read).await, yes());
    assert_eq!(database.anon(write).await, refused("42501"));
    assert_eq!(database.user(U1, read).await, yes());
    assert_eq!(database.user(U1, write).await, yes());

    apply(&project, &entry("public_read_write_UNRESTRICTED")).await.is(200);
    assert_eq!(database.anon(read).await, yes());
    assert_eq!(database.anon(write).await, yes());
    assert_eq!(database.anon("truncate items").await, refused("42501"));

    let custom = tables(json!([{"name": "items", "expose": true, "policy": "custom",
        "custom_sql": "create policy big on items for select to anon using (n > 100); -- only big ones\n"}]));
    apply(&project, &custom).await.is(200);
    assert_eq!(database.anon(read).await, Ok(vec![]));
    assert_eq!(database.user(U1, read).await, Ok(vec![]));
    assert_eq!(database.anon(write).await, refused("42501"));
    apply(&project, &custom).await.is(200);

    let dark = tables(json!([{"name": "items", "expose": false}]));
    let body = apply(&project, &dark).await.is(200);
    assert_eq!(body["dropped"]["tables"], json!(["items"]));
    assert_eq!(database.anon(read).await, refused("42501"));
    assert_eq!(project.value("select count(*)::int from pg_policy").await, 0);
}

#[tokio::test]
async fn a_manifest_is_introspected_until_one_is_applied() {
    let project = project().await;
    let empty = json!({"status": "ok", "project_id": project.id, "source": "introspected",
                       "manifest": {"version": "1", "tables": [], "views": [], "rpcs": []}});
    assert_eq!(current(&project).await, empty);
    project
        .sql(
            "create table own(id int, owner uuid); create table txt(id int, \"Who\" varchar(40));
              create table open(id int, n int); create table pub(id int); create table dark(id int);
              create function f(p_id int, text default 'x') returns int return p_id",
        )
        .await
        .is(200);
    let mut entries = owned("own")["tables"].as_array().expect("a list").clone();
    entries.extend([
        json!({"name": "txt", "expose": true, "policy": "user_owns_rows", "owner_column": "Who"}),
        json!({"name": "open", "expose": true, "policy": "public_read_write_UNRESTRICTED", "i_understand_this_is_unrestricted": true}),
        json!({"name": "pub", "expose": true, "policy": "public_read_authenticated_write"}),
    ]);
    let manifest = json!({
        "$schema": "https://run402.com/schemas/manifest.v1.json", "version": "1", "tables": entries,
        "views": [{"name": "v", "base": "open", "select": ["id", "n"], "filter": "n > 1 and n < 5"}],
        "rpcs": [{"name": "f", "signature": "(int, text)", "grant_to": ["anon"]}],
    });
    let body = apply(&project, &manifest).await.is(200);
    assert_eq!(types(&body["warnings"]), ["validation-inconclusive"], "a text owner");
    let applied = current(&project).await;
    let mut stored = manifest.clone();
    stored.as_object_mut().expect("an object").remove("$schema");
    assert_eq!((applied["source"].as_str(), &applied["manifest"]), (Some("applied"), &stored));

    Database::of(&project).await.0.batch_execute("delete from internal.project_manifest").await.expect("forgotten");
    let body = current(&project).await;
    assert_eq!(body["source"], "introspected");
    let found = &body["manifest"];
    let mut expected = stored["tables"].as_array().expect("a list").clone();
    expected.push(json!({"name": "dark", "expose": false}));
    let mut names: Vec<&Value> = found["tables"].as_array().expect("a list").iter().collect();
    names.sort_by_key(|entry| expected.iter().position(|wanted| wanted["name"] == entry["name"]));
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    assert_eq!(
        found["views"],
        json!([{"name": "v", "base": "open", "select": ["id", "n"], "filter": "((n > 1) AND (n < 5))"}])
    );
    assert_eq!(found["rpcs"], json!([{"name": "f", "signature": "(p_id integer, text)", "grant_to": ["anon"]}]));
}

#[tokio::test]
async fn validation_lists_everything_and_executes_nothing() {
    let project = project().await;
    project.sql("create table t(id int)").await.is(200);
    let manifest = json!({
        "version": "1",
        "tables": [{"name": "nope", "expose": true, "policy": "public_read_authenticated_write"},
                   {"name": "t", "expose": true, "policy": "public_read_write_UNRESTRICTED"}],
        "rpcs": [{"name": "f", "signature": "()", "grant_to": ["root"]}],
    });
    let database = Database::of(&project).await;
    let before = database.fingerprint().await;
    let found = validate(&project, manifest.clone(), None).await;
    assert_eq!(found["has_errors"], true);
    let all = types(&found["errors"]);
    for kind in ["missing-table", "unrestricted-ack-required", "grant-to-role-unknown", "missing-rpc"] {
        assert!(all.contains(&kind), "{kind} in {all:?}");
    }
    let mended = validate(&project, manifest.clone(), Some("create table nope(id int)")).await;
    assert!(!types(&mended["errors"]).contains(&"missing-table"), "{mended}");
    let refusal = apply(&project, &manifest).await.refused(400, "INVALID_EXPOSE_MANIFEST");
    assert_eq!(refusal["errors"], found["errors"]);
    assert_eq!(refusal["details"]["errors"], found["errors"]);
    assert_eq!(refusal["mutation_state"], "none");
    assert_eq!(database.fingerprint().await, before);

    let text = validate(&project, Value::from(manifest.to_string()), None).await;
    assert_eq!(text["errors"], found["errors"], "a manifest sent as text");
    for body in [json!({}), json!({"manifest": 7}), json!({"manifest": {}, "migration_sql": 7})] {
        let answer = api().post(&project.path("expose/validate")).bearer(&project.service_key).json(&body).send().await;
        answer.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn a_wallet_validates_without_a_project() {
    let api = api();
    let wallet = Wallet::random();
    let path = "/projects/v1/expose/validate";
    let body = json!({"manifest": tables(json!([{"name": "t", "expose": true, "policy": "public_read_authenticated_write"}]))});
    let found = api.post(path).wallet(&wallet).json(&body).send().await.is(200);
    assert_eq!(
        (found["has_errors"].as_bool(), types(&found["warnings"])),
        (Some(false), vec!["validation-inconclusive"])
    );
    api.post(path).json(&body).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    let schema = api.get("/schemas/manifest.v1.json").send().await.is(200);
    assert_eq!(schema["properties"]["version"]["const"], "1");
}

#[tokio::test]
async fn custom_sql_creates_policies_on_its_table_and_nothing_else() {
    let project = project().await;
    project.sql("create table t(id int); create table u(id int); create policy taken on t using (false)").await.is(200);
    let custom = |sql: &str| tables(json!([{"name": "t", "expose": true, "policy": "custom", "custom_sql": sql}]));
    let database = Database::of(&project).await;
    let before = database.fingerprint().await;
    for sql in [
        "",
        "drop table u",
        "grant select on u to anon",
        "create policy p on u using (true)",
        "create policy p on t using (true); drop table u",
        "create policy r402_owner_all on t using (true)",
        "create policy taken on t using (true)",
        "do $$ begin end $$",
    ] {
        let refusal = apply(&project, &custom(sql)).await.refused(400, "INVALID_EXPOSE_MANIFEST");
        assert_eq!(types(&refusal["errors"]), ["schema-shape"], "{sql}");
        assert_eq!(refusal["errors"][0]["path"], "tables[0].custom_sql", "{sql}");
    }
    // Only the database can tell that this one is wrong, after other statements have run.
    let mut manifest = custom("create policy p on t using (true); create policy q on t using (nope > 1)");
    manifest["views"] = json!([{"name": "v", "base": "u", "select": ["id"]}]);
    let refusal = apply(&project, &manifest).await.refused(400, "SQL_ERROR");
    assert_eq!(refusal["details"]["sqlstate"], "42703");
    assert_eq!(refusal["details"]["path"], "tables[0].custom_sql");
    assert_eq!(refusal["mutation_state"], "rolled_back");
    let mut parameter =
        json!({"version": "1", "views": [{"name": "v", "base": "t", "select": ["id"], "filter": "id = $1"}]});
    apply(&project, &parameter).await.refused(400, "SQL_ERROR");
    parameter["views"][0]["filter"] = "count(*) > 1".into();
    apply(&project, &parameter).await.refused(400, "SQL_ERROR");
    apply(&project, &custom("create policy p on t using (id = $1)")).await.refused(400, "SQL_ERROR");
    assert_eq!(database.fingerprint().await, before, "all or nothing");
    assert_eq!(current(&project).await["source"], "introspected");
}

#[tokio::test]
async fn objects_that_the_manifest_did_not_make_are_never_taken_over() {
    let project = project().await;
    project
        .sql(
            "create table t(id int, owner uuid); create view v as select 1 as id;
              create function t_set_owner_fn() returns trigger language plpgsql as 'begin return new; end'",
        )
        .await
        .is(200);
    let mut manifest = owned("t");
    manifest["views"] = json!([{"name": "v", "base": "t", "select": ["id"]}]);
    let refusal = apply(&project, &manifest).await.refused(400, "INVALID_EXPOSE_MANIFEST");
    let paths: Vec<&Value> = refusal["errors"].as_array().expect("a list").iter().map(|issue| &issue["path"]).collect();
    assert_eq!(paths, ["tables[0].force_owner_on_insert", "views[0].name"]);

    // A view that replaced a managed one is not managed; a table made again under its name is dark.
    project.sql("drop view v; drop function t_set_owner_fn").await.is(200);
    apply(&project, &manifest).await.is(200);
    project
        .sql("drop table t cascade; create table t(id int, owner uuid); create view v as select 2 as id")
        .await
        .is(200);
    let database = Database::of(&project).await;
    assert_eq!(database.user(U1, "select * from t").await, refused("42501"));
    apply(&project, &manifest).await.refused(400, "INVALID_EXPOSE_MANIFEST");
    project.sql("drop view v").await.is(200);
    apply(&project, &manifest).await.is(200);
    assert_eq!(database.user(U1, "insert into t(id) values (1) returning owner").await, Ok(vec![U1.into()]));

    project.sql("drop table t cascade").await.is(200);
    let refusal = apply(&project, &manifest).await.refused(400, "INVALID_EXPOSE_MANIFEST");
    assert_eq!(types(&refusal["errors"]), ["missing-table", "missing-view-base"]);
}

#[tokio::test]
async fn names_that_hold_sql_are_only_names() {
    let project = project().await;
    let evil = "é\"; drop table keep; --'$$";
    let quoted = evil.replace('"', "\"\"");
    project
        .sql(&format!("create table keep(id int); create table \"{quoted}\"(\"{quoted}\" uuid, n int)"))
        .await
        .is(200);
    let manifest = json!({
        "version": "1",
        "tables": [{"name": evil, "expose": true, "policy": "user_owns_rows", "owner_column": evil,
                    "force_owner_on_insert": true}],
        "views": [{"name": format!("{evil} v"), "base": evil, "select": [evil, "n"]}],
    });
    let body = apply(&project, &manifest).await.is(200);
    assert_eq!(body["applied"]["tables"], json!([evil]));
    assert_eq!(apply(&project, &manifest).await.is(200), body);
    let database = Database::of(&project).await;
    let insert = format!("insert into \"{quoted}\"(n) values (1) returning \"{quoted}\"");
    assert_eq!(database.user(U1, &insert).await, Ok(vec![U1.into()]));
    assert_eq!(database.user(U1, &format!("select n from \"{quoted} v\"")).await, Ok(vec!["1".into()]));
    apply(&project, &json!({"version": "1"})).await.is(200);
    assert_eq!(project.value("select count(*)::int from keep").await, 0);
}

#[tokio::test]
async fn only_the_service_key_of_the_project_may() {
    let (project, other) = (project().await, project().await);
    let api = api();
    let manifest = json!({"version": "1"});
    for path in ["expose", "expose/validate"] {
        let body = if path == "expose" { manifest.clone() } else { json!({"manifest": manifest}) };
        let call = || api.post(&project.path(path)).json(&body);
        call().send().await.refused(401, "AUTHENTICATION_REQUIRED");
        call().bearer(&project.anon_key).send().await.refused(403, "ADMIN_REQUIRED");
        call().bearer(&other.service_key).send().await.refused(403, "FORBIDDEN");
        call().bearer(&project.service_key).send().await.is(200);
        let path = project.path(path);
        let long = vec![b' '; 1024 * 1024 + 1];
        let answer = api.post(&path).bearer(&project.service_key).body("application/json", long).send().await;
        answer.refused(413, "PAYLOAD_TOO_LARGE");
        let answer = api.post(&path).bearer(&project.service_key).body("application/json", b"[]".to_vec()).send().await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    api.get(&project.path("expose")).bearer(&project.anon_key).send().await.refused(403, "ADMIN_REQUIRED");
    api.post(&project.path("rls"))
        .bearer(&project.service_key)
        .json(&manifest)
        .send()
        .await
        .refused(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_table_that_is_locked_is_a_conflict_and_nothing_changes() {
    let project = project().await;
    project.sql("create table t(id int, owner uuid)").await.is(200);
    let database = Database::of(&project).await;
    database.0.batch_execute("begin; lock table public.t in access exclusive mode").await.expect("locked");
    let refusal = apply(&project, &owned("t")).await.refused(409, "SQL_CONFLICT");
    assert_eq!(refusal["retryable"], true);
    database.0.batch_execute("rollback").await.expect("unlocked");
    assert_eq!(current(&project).await["source"], "introspected");
    apply(&project, &owned("t")).await.is(200);
}

#[tokio::test]
async fn applies_at_the_same_time_take_turns() {
    let project = project().await;
    project.sql("create table t(id int, owner uuid)").await.is(200);
    let public = tables(json!([{"name": "t", "expose": true, "policy": "public_read_authenticated_write"}]));
    let owned = owned("t");
    let applies = (0..6).map(|n| apply(&project, if n % 2 == 0 { &owned } else { &public }));
    for answer in futures_util::future::join_all(applies).await {
        answer.is(200);
    }
    let policies = project.value("select count(*)::int from pg_policy").await;
    let last = current(&project).await["manifest"]["tables"][0]["policy"].clone();
    assert_eq!(policies, if last == "user_owns_rows" { 1 } else { 2 });
}

/// Checks 11 and 12, for the anon key; and §6.4: reads see the grants as soon as the apply has answered.
#[tokio::test]
async fn the_data_api_sees_an_apply_at_once() {
    let project = project().await;
    project
        .sql("create table items(id int); insert into items values (1); create function f() returns int language sql as 'select 1'")
        .await
        .is(200);
    let api = api();
    let get = || api.get("/rest/v1/items").api_key(&project.anon_key).send();
    let call = || api.post("/rest/v1/rpc/f").api_key(&project.anon_key).json(&json!({})).send();
    let manifest = json!({
        "version": "1",
        "tables": [{"name": "items", "expose": true, "policy": "public_read_authenticated_write"}],
        "rpcs": [{"name": "f", "signature": "()", "grant_to": ["anon"]}],
    });
    for _ in 0..3 {
        let answer = get().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("42501")), "{answer}");
        let answer = call().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (403, &json!("forbidden_function")), "{answer}");
        apply(&project, &manifest).await.is(200);
        assert_eq!(get().await.is(200), json!([{"id": 1}]));
        assert_eq!(call().await.is(200), json!(1));
        let answer = api.post("/rest/v1/items").api_key(&project.anon_key).json(&json!({"id": 2})).send().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("42501")), "{answer}");
        apply(&project, &json!({"version": "1"})).await.is(200);
    }
}
