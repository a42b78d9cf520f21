//! Dark by default (contract 02 §6.4, check 7): what no manifest names gives the anon key nothing.

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn undeclared_relations_are_401_42501() {
    let mut cases = Vec::new();
    for (name, noun) in [("dark", "table"), ("dark_child", "table"), ("dark_view", "view"), ("dark_matview", "materialized view")] {
        let message = format!("permission denied for {noun} {name}");
        for query in ["", "?select=secret", "?select=count()", "?limit=0", "?id=eq.1", "?order=secret", "?secret=eq.xyzzy"] {
            if name != "dark" && query.contains("id=") {
                continue;
            }
            let case = anon(&format!("GET /{name}{query}")).native(401, "42501").saying(&message);
            cases.push(case.with("www-authenticate", "Bearer"));
        }
        cases.push(anon(&format!("HEAD /{name}")).prefer("count=exact").status(401).text("").without("content-range"));
        cases.push(anon(&format!("GET /{name}")).prefer("count=planned").native(401, "42501"));
        cases.push(anon(&format!("GET /{name}")).accept("text/csv").native(401, "42501"));
        cases.push(anon(&format!("GET /{name}")).accept(OBJECT).native(401, "42501"));
        cases.push(admin(&format!("GET /{name}?select=secret")).gives(json!([{"secret": "xyzzy"}])));
    }
    for (method, path) in [("POST", "/dark"), ("PATCH", "/dark?id=eq.1"), ("PUT", "/dark?id=eq.1"), ("POST", "/dark?on_conflict=id")] {
        let case = anon(&format!("{method} {path}")).json(&json!({"id": 1, "secret": "stolen"})).native(401, "42501");
        cases.push(case.stored("select string_agg(secret, ',') from dark", "xyzzy"));
    }
    cases.push(anon("DELETE /dark").native(401, "42501").stored("select count(*)::int from dark", 1));
    cases.push(anon("POST /dark").prefer("resolution=merge-duplicates").json(&json!({"id": 1, "secret": "x"})).native(401, "42501"));
    let fixture = fixture().await;
    fixture.check(cases).await;
    let hint = fixture.send(Door::Public, &anon("GET /dark")).await.json()["hint"].to_string();
    assert!(hint.contains("expose"), "{hint}");
}

#[tokio::test]
async fn a_dark_relation_stays_dark_when_embedded() {
    let denied = "permission denied for table dark_child";
    fixture()
        .await
        .check(vec![
            anon("GET /books?select=id,dark_child(secret)").native(401, "42501").saying(denied),
            anon("GET /books?select=id,...dark_child(secret)").native(401, "42501").saying(denied),
            anon("GET /books?select=id,dark_child()&dark_child=not.is.null").native(401, "42501").saying(denied),
            anon("GET /books?select=id,dark_child!inner()").native(401, "42501").saying(denied),
            anon("GET /books?select=id,dark_child(count())").native(401, "42501").saying(denied),
            anon("GET /authors?select=id,books(id,dark_child(id))").native(401, "42501").saying(denied),
            anon("GET /rpc/get_books?mn=1&select=id,dark_child(id)").native(401, "42501").saying(denied),
            admin("GET /books?select=id,dark_child(secret)&id=eq.1").gives(json!([{"id": 1, "dark_child": []}])),
        ])
        .await;
}

#[tokio::test]
async fn rights_on_columns_are_kept() {
    fixture()
        .await
        .check(vec![
            anon("GET /half_dark?select=id,open").gives(json!([{"id": 1, "open": "open"}])),
            anon("GET /half_dark").native(401, "42501"),
            anon("GET /half_dark?select=*").native(401, "42501"),
            anon("GET /half_dark?select=secret").native(401, "42501"),
            anon("GET /half_dark?select=id&secret=eq.xyzzy").native(401, "42501"),
            anon("GET /half_dark?select=id&secret=like.x*").native(401, "42501"),
            anon("GET /half_dark?select=id&order=secret").native(401, "42501"),
            anon("GET /half_dark?select=secret.max()").native(401, "42501"),
            anon("GET /half_dark?select=id&or=(secret.eq.xyzzy,id.eq.5)").native(401, "42501"),
        ])
        .await;
}

#[tokio::test]
async fn unlisted_functions_are_forbidden_not_missing() {
    let mut cases = Vec::new();
    for line in ["POST /rpc/dark_function", "GET /rpc/dark_function", "POST /rpc/dark_rows", "GET /rpc/dark_rows?select=secret"] {
        cases.push(
            anon(line)
                .envelope(403, "FORBIDDEN_FUNCTION")
                .member("error", "forbidden_function")
                .member("category", "auth")
                .member("retryable", false),
        );
    }
    cases.push(admin("POST /rpc/dark_function").gives(json!("xyzzy")));
    cases.push(admin("GET /rpc/dark_rows?select=secret").gives(json!([{"secret": "xyzzy"}])));
    let fixture = fixture().await;
    fixture.check(cases).await;
    let body = fixture.send(Door::Public, &anon("POST /rpc/dark_function")).await.json();
    assert!(body["message"].as_str().is_some_and(|text| text.contains("dark_function")), "{body}");
    assert!(body["hint"].as_str().is_some_and(|text| text.contains("rpcs[]")), "{body}");
    assert_eq!(body["next_actions"][0]["action"], "edit_request", "{body}");
}

#[tokio::test]
async fn sequences_and_catalogs_are_no_tables() {
    let mut cases = Vec::new();
    for name in [
        "dark_sequence",
        "dark_id_seq",
        "books_id_seq",
        "pg_class",
        "pg_catalog.pg_class",
        "pg_authid",
        "pg_shadow",
        "pg_settings",
        "pg_stat_activity",
        "information_schema.tables",
        "tables",
        "internal.manifest",
        "auth.users",
        "public.labels",
        "\"public\".\"dark\"",
        "mood",
        "dark_pkey",
        "books_pkey",
    ] {
        cases.push(both(&format!("GET /{name}")).native(404, "PGRST205"));
    }
    for name in ["pg_sleep", "pg_read_file", "version", "current_setting", "set_config", "nextval", "pg_catalog.version", "lo_import", "uid",
                 "auth.uid", "lines", "dblink", "int4in", "query_to_xml", "pg_ls_dir", "digest", "uuid_generate_v4"] {
        cases.push(both(&format!("POST /rpc/{name}")).native(404, "PGRST202"));
    }
    cases.extend(refusals(&[
        ("GET /labels?select=id,pg_class(oid)", 400, "PGRST200"),
        ("GET /labels?select=id::pg_authid", 400, "42846"),
        ("GET /labels?select=tableoid", 400, "42703"),
    ]));
    // A cast can name a type, never reach a catalog's rows.
    cases.retain(|case| !case.line.contains("pg_authid\"") && !case.line.contains("tableoid"));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn an_empty_project_shows_nothing() {
    let fixture = Fixture::bare().await;
    fixture
        .check(vec![
            anon("GET /t").native(404, "PGRST205").member("hint", Value::Null),
            anon("POST /rpc/f").native(404, "PGRST202"),
            anon("GET /").status(200).member("definitions", json!({})),
            admin("GET /").status(200).member("definitions", json!({})),
        ])
        .await;
    fixture.project.sql("create table t(id serial primary key, n int, owner uuid)").await.is(200);
    fixture
        .check(vec![
            anon("GET /t").native(401, "42501"),
            anon("POST /t").json(&json!({"n": 1})).native(401, "42501"),
            anon("GET /").status(200).member("definitions", json!({})),
            admin("GET /t").gives(json!([])),
        ])
        .await;
    fixture.as_platform("grant select on t to anon").await;
    fixture.check(vec![anon("GET /t").gives(json!([]))]).await;
    fixture.as_platform("revoke select on t from anon").await;
    fixture.check(vec![anon("GET /t").native(401, "42501")]).await;
}
