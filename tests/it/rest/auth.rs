//! Who may come in by which door (contract 02 §7.1, checks 3, 7, 27).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();
const PUBLIC: &str = "/rest/v1/labels?select=id&id=eq.1";
const ADMIN: &str = "/admin/v1/rest/labels?select=id&id=eq.1";

fn token(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// Sends a request with these credentials.
async fn ask(path: &str, api_key: Option<&str>, authorization: Option<&str>) -> Answer {
    let mut call = Appliance::shared().api().get(path);
    if let Some(key) = api_key {
        call = call.api_key(key);
    }
    if let Some(value) = authorization {
        call = call.header("authorization", value);
    }
    call.send().await
}

#[tokio::test]
async fn the_table_of_credentials() {
    let fixture = Fixture::shared(&PROJECT).await;
    let other = Fixture::bare().await.project;
    let (anon, service) = (fixture.project.anon_key.as_str(), fixture.project.service_key.as_str());
    let bearer = |key: &str| format!("Bearer {key}");
    let row = json!([{"id": 1}]);
    for (path, api_key, authorization) in [
        (PUBLIC, Some(anon), None),
        (PUBLIC, None, Some(bearer(anon))),
        (PUBLIC, Some(anon), Some(bearer(anon))),
        (PUBLIC, Some(anon), Some(format!("bearer {anon}"))),
        (PUBLIC, Some(anon), Some("Basic eDp5".to_owned())),
        (ADMIN, Some(service), None),
        (ADMIN, None, Some(bearer(service))),
        (ADMIN, Some(service), Some(bearer(service))),
    ] {
        let answer = ask(path, api_key, authorization.as_deref()).await;
        assert_eq!(answer.is(200), row, "{path} {api_key:?} {authorization:?}");
    }
    for (path, api_key, authorization, status, code) in [
        (PUBLIC, None, None, 401, "AUTHENTICATION_REQUIRED"),
        (ADMIN, None, None, 401, "AUTHENTICATION_REQUIRED"),
        (PUBLIC, None, Some("Basic eDp5".to_owned()), 401, "AUTHENTICATION_REQUIRED"),
        (ADMIN, Some(service), Some("Basic eDp5".to_owned()), 401, "UNAUTHORIZED"),
        (PUBLIC, Some(service), None, 403, "ADMIN_REQUIRED"),
        (PUBLIC, None, Some(bearer(service)), 403, "ADMIN_REQUIRED"),
        (PUBLIC, Some(anon), Some(bearer(service)), 403, "ADMIN_REQUIRED"),
        (PUBLIC, Some(service), Some(bearer(anon)), 403, "ADMIN_REQUIRED"),
        (ADMIN, Some(anon), None, 403, "ADMIN_REQUIRED"),
        (ADMIN, None, Some(bearer(anon)), 403, "ADMIN_REQUIRED"),
        (PUBLIC, Some(&other.anon_key), Some(bearer(anon)), 403, "FORBIDDEN"),
        (PUBLIC, Some(anon), Some(bearer(&other.anon_key)), 403, "FORBIDDEN"),
        (ADMIN, Some(&other.service_key), Some(bearer(service)), 403, "FORBIDDEN"),
        (ADMIN, Some(service), Some(bearer(&other.service_key)), 403, "FORBIDDEN"),
    ] {
        let answer = ask(path, api_key, authorization.as_deref()).await;
        answer.refused(status, code);
    }
    let refused = ask(PUBLIC, Some(service), None).await.refused(403, "ADMIN_REQUIRED");
    assert_eq!(refused["message"], "service_role is not permitted on /rest/v1/*");
    assert_eq!(refused["hint"], "Use /admin/v1/rest/* with Bearer <service_key>");
    assert_eq!(refused["category"], "auth");
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_401() {
    let fixture = Fixture::shared(&PROJECT).await;
    let (anon, service) = (&fixture.project.anon_key, &fixture.project.service_key);
    let claims = json!({"iss": "run402", "project_id": fixture.project.id, "role": "service_role"});
    let user = json!({"iss": "agentdb", "project_id": fixture.project.id, "role": "authenticated", "sub": "x", "exp": 4_000_000_000_u64});
    let signature = service.rsplit('.').next().expect("three parts");
    let anon_parts: Vec<&str> = anon.split('.').collect();
    let service_parts: Vec<&str> = service.split('.').collect();
    for forged in [
        "garbage".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "a.b.c.d".to_owned(),
        format!("{anon}x"),
        format!("{anon}.more"),
        anon[..anon.len() - 4].to_owned(),
        // One key's claims under the other's signature, both ways.
        format!("{}.{}.{}", anon_parts[0], service_parts[1], anon_parts[2]),
        format!("{}.{}.{}", service_parts[0], anon_parts[1], service_parts[2]),
        token(&json!({"alg": "none"}), &claims, ""),
        token(&json!({"alg": "None"}), &claims, ""),
        token(&json!({"alg": "HS256", "typ": "JWT"}), &claims, ""),
        token(&json!({"alg": "HS512", "typ": "JWT"}), &claims, signature),
        token(&json!({"alg": "RS256", "typ": "JWT"}), &claims, signature),
        token(&json!({"alg": "ES256", "kid": "nobody"}), &user, signature),
        token(&json!({"alg": "ES256"}), &user, signature),
        token(&json!({"alg": "HS256", "typ": "JWT", "kid": "../../etc/passwd"}), &user, signature),
    ] {
        for (path, api_key, authorization) in [
            (PUBLIC, Some(forged.clone()), None),
            (PUBLIC, None, Some(format!("Bearer {forged}"))),
            (PUBLIC, Some(anon.clone()), Some(format!("Bearer {forged}"))),
            (ADMIN, Some(forged.clone()), None),
            (ADMIN, None, Some(format!("Bearer {forged}"))),
        ] {
            let answer = ask(path, api_key.as_deref(), authorization.as_deref()).await;
            assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (401, Some("PGRST301")), "{forged}: {answer}");
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        }
    }
    let message = ask(PUBLIC, Some("a.b"), None).await.json();
    assert_eq!(message["message"], "Expected 3 parts in JWT; got 2");
}

#[tokio::test]
async fn a_leaked_service_key_writes_nothing_through_the_public_door() {
    let fixture = Fixture::new().await;
    let key = &fixture.project.service_key;
    for method in [Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
        let call = fixture.api.call(method, "/rest/v1/labels?id=eq.1").api_key(key).bearer(key);
        call.json(&json!({"id": 1, "label": "stolen"})).send().await.refused(403, "ADMIN_REQUIRED");
    }
    fixture.api.post("/rest/v1/rpc/writes").api_key(key).json(&json!({})).send().await.refused(403, "ADMIN_REQUIRED");
    assert_eq!(fixture.project.value("select string_agg(label, ',' order by id) from labels").await, "red,blue,unused");
}

#[tokio::test]
async fn a_new_table_is_readable_at_once() {
    let fixture = Fixture::bare().await;
    let (project, api) = (&fixture.project, &fixture.api);
    for n in 0..50 {
        let made = project.sql(&format!("create table t{n}(id serial primary key, n int, owner uuid)")).await.is(200);
        assert_eq!(made["rows"], json!([]));
        let answer = api.get(&format!("/admin/v1/rest/t{n}")).bearer(&project.service_key).send().await;
        assert_eq!(answer.is(200), json!([]), "table {n}");
    }
    // Nor is what is gone or changed remembered.
    let read = |path: &'static str| api.get(path).bearer(&project.service_key).send();
    project.sql("alter table t0 add column added text; insert into t0(added) values ('x')").await.is(200);
    assert_eq!(read("/admin/v1/rest/t0?select=id,added").await.is(200), json!([{"id": 1, "added": "x"}]));
    project.sql("alter table t0 alter column added type int using 5").await.is(200);
    assert_eq!(read("/admin/v1/rest/t0?select=id,added").await.is(200), json!([{"id": 1, "added": 5}]));
    project.sql("alter table t0 rename to renamed").await.is(200);
    assert_eq!(read("/admin/v1/rest/t0").await.json()["code"], "PGRST205");
    assert_eq!(read("/admin/v1/rest/renamed?select=id").await.is(200), json!([{"id": 1}]));
    project.sql("drop table t1; create table t1(word text); insert into t1 values ('new')").await.is(200);
    assert_eq!(read("/admin/v1/rest/t1").await.is(200), json!([{"word": "new"}]));
    project.sql("do $$ begin execute 'create table hidden_ddl(id int)'; end $$").await.is(200);
    assert_eq!(read("/admin/v1/rest/hidden_ddl").await.is(200), json!([]));
    project.sql("begin; create table rolled_back(id int); rollback").await;
    assert_eq!(read("/admin/v1/rest/rolled_back").await.json()["code"], "PGRST205");
}

#[tokio::test]
async fn a_purged_project_is_401() {
    let fixture = Fixture::new().await;
    let Fixture { api, project } = &fixture;
    api.delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.ok();
    ask(PUBLIC, Some(&project.anon_key), None).await.refused(401, "UNAUTHORIZED");
    ask(ADMIN, Some(&project.service_key), None).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn calls_are_counted() {
    let fixture = Fixture::new().await;
    let before = fixture.project.usage().await["api_calls"].as_i64().expect("a number");
    for _ in 0..3 {
        fixture.send(Door::Public, &anon("GET /labels")).await.is(200);
    }
    let after = fixture.project.usage().await["api_calls"].as_i64().expect("a number");
    assert_eq!(after, before + 3);
    // Refusals of the gateway are no calls of the project's.
    fixture.api.get(PUBLIC).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(fixture.project.usage().await["api_calls"].as_i64(), Some(after));
}

#[tokio::test]
async fn a_flood_is_429() {
    let box_ = Appliance::limited();
    let project = box_.api().provision().await;
    project.sql("create table t(id int)").await.is(200);
    let api = box_.api();
    let mut calls = Vec::new();
    for _ in 0..400 {
        let call = api.get("/admin/v1/rest/t").bearer(&project.service_key);
        calls.push(tokio::spawn(async move { call.send().await }));
    }
    let mut refused = 0;
    for call in calls {
        let answer = call.await.expect("it ran");
        if answer.status == 429 {
            refused += 1;
            let body = answer.refused(429, "RATE_LIMITED");
            assert!(body["retry_after"].is_number() && answer.header("retry-after").is_some(), "{answer}");
        } else {
            assert!(matches!(answer.status.as_u16(), 200 | 503 | 504), "{answer}");
        }
    }
    assert!(refused > 0, "400 calls at once, none refused");
}
