//! What a spec may say, over HTTP: hostile specs, public paths, immutable files, and that values of secrets appear
//! nowhere (checks 1, 2, 11, 12, 22-24 of contract 03 §17).

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::{
    Answer, Api, Appliance, Project,
    content::sha256,
    deploy::{file, paths, site, warnings},
};

fn api() -> Api {
    Appliance::shared().api()
}

async fn project() -> Project {
    api().provision().await
}

async fn raw(project: &Project, body: &str) -> Answer {
    let call = api().post("/apply/v1/plans").wallet(&project.owner);
    call.body("application/json", body.as_bytes().to_vec()).send().await
}

fn code() -> Value {
    file(b"export default () => new Response('x')", "text/javascript")
}

fn route(pattern: &str) -> Value {
    json!({"pattern": pattern, "target": {"type": "function", "name": "api"}})
}

#[tokio::test]
async fn each_broken_rule_is_refused_with_its_place_and_nothing_is_kept() {
    let project = project().await;
    let function = json!({"replace": {"api": {"runtime": "node22", "source": code()}}});
    let index = file(b"index", "text/html");
    let cases = [
        (json!({"surprise": true, "i18n": null}), "surprise"),
        (
            json!({"site": {"replace": {"a": {"sha256": sha256(b"a"), "size": 1, "bytes": "x"}}}}),
            "site.replace.a.bytes",
        ),
        (json!({"secrets": {"set": {"A": "v"}}}), "secrets.set"),
        (json!({"site": {"replace": {"a": index}, "patch": {"put": {"b": index}}}}), "site.replace"),
        (json!({"site": {"replace": {"../x": index}}}), "site.replace.../x"),
        (json!({"site": {"replace": {"/x": index}}}), "site.replace./x"),
        (json!({"site": {"replace": {"a\u{0}b": index}}}), "site.replace.a\u{0}b"),
        (json!({"site": {"replace": {"a": index}}, "routes": {"replace": [route("/api")]}}), "routes"),
        (json!({"functions": function, "routes": {"replace": [route("/*")]}}), "routes.replace.0.pattern"),
        (json!({"functions": function, "routes": {"replace": [route("/a%2fb")]}}), "routes.replace.0.pattern"),
        (json!({"functions": function, "routes": {"replace": {"/a": "api"}}}), "routes.replace"),
        (
            json!({"functions": function, "routes": {"replace": [
                {"pattern": "/a", "methods": ["GET"], "target": {"type": "function", "name": "api"}},
                {"pattern": "/a/", "methods": ["GET"], "target": {"type": "function", "name": "api"}}]}}),
            "routes.replace.1",
        ),
        (json!({"i18n": null, "checks": [{"name": "home", "http": {"path": "/"}}]}), "checks"),
        (
            json!({"functions": {"replace": {"api": {"runtime": "node18", "source": code()}}}}),
            "functions.replace.api.runtime",
        ),
        (json!({"functions": {"patch": {"set": {"api": {"runtime": "node22"}}}}}), "functions.patch.set.api.source"),
        (
            json!({"functions": {"replace": {"api": {"runtime": "node22", "source": code(), "schedule": "never"}}}}),
            "functions.replace.api.schedule",
        ),
        (
            json!({"site": {"replace": {"a": index}, "public_paths": {"mode": "explicit", "replace": {"/a": {"asset": "b"}}}}}),
            "site.public_paths.replace./a",
        ),
    ];
    for (spec, resource) in cases {
        let refusal = project.plan(&spec).await.refused(400, "INVALID_SPEC");
        assert_eq!(refusal["resource"], resource, "{spec} {refusal}");
        assert_eq!(refusal["phase"], "validate", "{refusal}");
        assert_eq!(
            (&refusal["retryable"], &refusal["safe_to_retry"], &refusal["mutation_state"]),
            (&json!(false), &json!(true), &json!("none")),
            "{refusal}"
        );
        assert_eq!(refusal["details"]["violations"][0]["resource"], resource, "{refusal}");
        project.dry_run(&spec).await.refused(400, "INVALID_SPEC");
    }
    assert!(project.operations().await.is_empty());
    assert_eq!(project.live().await["release_id"], Value::Null);
}

#[tokio::test]
async fn refusals_with_codes_of_their_own_bear_them() {
    let project = project().await;
    let source = json!({"runtime": "node22", "source": code()});
    let with = |key: &str, value: Value| {
        let mut function = source.clone();
        function[key] = value;
        json!({"functions": {"replace": {"api": function}}})
    };
    let put = json!({"key": "a", "sha256": sha256(b"a"), "size_bytes": 1});
    for (spec, status, code) in [
        (json!({}), 400, "MANIFEST_EMPTY"),
        (json!({"site": {"replace": {}}, "checks": []}), 400, "MANIFEST_EMPTY"),
        (json!({"site": {"replace": {"a": {"__source": "local-dir"}}}}), 400, "INVALID_WIRE_SCHEMA"),
        (json!({"subdomains": {"set": ["one-name", "two-names"]}}), 400, "SUBDOMAIN_MULTI_NOT_SUPPORTED"),
        (json!({"i18n": {"default_locale": "en", "locales": ["en", "pt-br"]}}), 400, "R402_LOCALE_NOT_CANONICAL"),
        (json!({"assets": {"put": [put, put]}}), 400, "ASSET_DUPLICATE_KEY_IN_PUT"),
        (json!({"assets": {"put": [put], "delete": ["a"]}}), 400, "ASSET_KEY_IN_PUT_AND_DELETE"),
        (json!({"base": {"release_id": "rel_0_unknown"}, "i18n": null}), 404, "RELEASE_NOT_FOUND"),
        (with("deps", json!(["sharp"])), 422, "R402_BUNDLE_NATIVE_DEP_UNSUPPORTED"),
        (with("config", json!({"timeout_seconds": 100_000})), 400, "FUNCTION_TIMEOUT_EXCEEDS_TIER"),
        (with("config", json!({"memory_mb": 127})), 400, "INVALID_SPEC"),
        (with("config", json!({"memory_mb": 1_000_000})), 400, "FUNCTION_MEMORY_EXCEEDS_TIER"),
        (with("schedule", json!("* * * * *")), 400, "FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT"),
    ] {
        let refusal = project.plan(&spec).await.refused(status, code);
        assert!(status == 404 || refusal["resource"].is_string(), "{spec} {refusal}");
    }
    let locale = project.plan(&json!({"i18n": {"default_locale": "en", "locales": ["en", "pt-br"]}})).await;
    let fix = &locale.refused(400, "R402_LOCALE_NOT_CANONICAL")["fix"];
    assert_eq!((&fix["input"], &fix["canonical"]), (&json!("pt-br"), &json!("pt-BR")));
    let timeout = project.plan(&with("config", json!({"timeout_seconds": 100_000}))).await;
    assert!(timeout.refused(400, "FUNCTION_TIMEOUT_EXCEEDS_TIER")["details"]["tier_max"].is_u64());
}

#[tokio::test]
async fn bodies_that_are_no_spec_are_refused_quickly() {
    let project = project().await;
    let started = Instant::now();
    for body in [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"spec\"",
        "{\"spec\":null}",
        "{\"spec\":[]}",
        "{\"spec\":{\"project_id\":{}}}",
        "\u{feff}{}",
    ] {
        let answer = raw(&project, body).await;
        assert!(answer.status.is_client_error(), "{body:?}: {answer}");
    }
    let twice = format!(
        "{{\"spec\":{{\"project_id\":\"{}\",\"site\":{{\"replace\":{{\"a\":{},\"\\u0061\":{}}}}}}}}}",
        project.id,
        file(b"one", "text/plain"),
        file(b"two", "text/plain")
    );
    let refusal = raw(&project, &twice).await.refused(400, "INVALID_JSON");
    assert!(refusal["message"].as_str().is_some_and(|message| message.contains("named twice")), "{refusal}");
    let deep = format!(
        "{{\"spec\":{{\"project_id\":\"{}\",\"i18n\":{}{}}}}}",
        project.id,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert_eq!(raw(&project, &deep).await.status, 400);
    let mut wide: Map<String, Value> = Map::new();
    for index in 0..60_000 {
        wide.insert(format!("../{index}"), json!({}));
    }
    let answer = project.plan(&json!({"site": {"replace": wide}})).await;
    assert!(answer.text().len() < 64 * 1024, "a flood of violations is cut");
    let refusal = answer.refused(400, "INVALID_SPEC");
    assert!(refusal["details"]["violation_count"].as_u64().is_some_and(|count| count > 60_000), "{refusal}");
    let large = json!({"spec": {"project_id": project.id, "x": "y".repeat(9 * 1024 * 1024)}}).to_string();
    raw(&project, &large).await.refused(413, "PAYLOAD_TOO_LARGE");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_spelling_and_order_of_fields_do_not_change_the_digest() {
    let project = project().await;
    let one = json!({"spec": {"project_id": project.id, "site": {"replace": {"a.txt": file(b"a", "text/plain")}},
        "i18n": {"default_locale": "en", "locales": ["en"]}}});
    let other = format!(
        "{{\"spec\":{{\"i18n\":{{\"locales\":[\"en\"],\"defaultLocale\":\"en\"}},\"$schema\":\"x\",\"checks\":[],\"site\":\
         {{\"replace\":{{\"a.txt\":{{\"contentType\":\"text/plain\",\"size\":1,\"sha256\":\"{}\"}}}}}},\"project\":\"{}\"}}}}",
        sha256(b"a"),
        project.id
    );
    let first = project.plan_as(&project.owner, &one).await.is(200);
    let second = raw(&project, &other).await.is(200);
    assert_eq!(first["manifest_digest"], second["manifest_digest"]);
    assert_eq!(first["plan_id"], second["plan_id"], "the same open plan");
}

#[tokio::test]
async fn explicit_public_paths_hide_files_and_stay_in_force() {
    let project = project().await;
    let (replace, objects) = site(&[("index.html", "home"), ("hidden.html", "hidden"), ("old.css", "css")]);
    let public = json!({"mode": "explicit", "replace": {"/": {"asset": "index.html"}, "/style": {"asset": "old.css"}}});
    project.deploy(&json!({"site": {"replace": replace, "public_paths": public}}), &objects).await;
    let live = project.live().await;
    assert_eq!(paths(&live), ["hidden.html", "index.html", "old.css"]);
    let reachable: Vec<&str> = live["static_public_paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["public_path"].as_str().unwrap())
        .collect();
    assert_eq!(reachable, ["/", "/style"]);

    let gone = json!({"site": {"patch": {"delete": ["old.css"]}}});
    let refusal = project.plan(&gone).await.refused(400, "INVALID_SPEC");
    assert_eq!(refusal["resource"], "site.public_paths.inherited./style");
    let widened = project.plan(&json!({"site": {"public_paths": {"mode": "implicit"}}})).await.is(200);
    assert!(warnings(&widened).contains(&"PUBLIC_PATH_MODE_WIDENS_TO_IMPLICIT"), "{widened}");
    let nothing = json!({"site": {"public_paths": {"mode": "explicit", "replace": {"/style": {"asset": "old.css"}}}}});
    assert!(warnings(&project.plan(&nothing).await.is(200)).contains(&"SITE_NO_REACHABLE_HTML"));
}

#[tokio::test]
async fn a_fingerprinted_file_must_not_get_new_bytes() {
    let project = project().await;
    project.deploy_site(&[("app.3f2a9c1d.js", "one"), ("app.js", "one")]).await;
    let (replace, _) = site(&[("app.3f2a9c1d.js", "two"), ("app.js", "one")]);
    let refusal =
        project.plan(&json!({"site": {"replace": replace}})).await.refused(409, "STATIC_IMMUTABLE_PATH_CHANGED");
    assert_eq!(refusal["resource"], "site");
    let row = &refusal["details"]["paths"][0];
    assert_eq!(row["path"], "/app.3f2a9c1d.js");
    assert_eq!((&row["previous_sha256"], &row["candidate_sha256"]), (&json!(sha256(b"one")), &json!(sha256(b"two"))));
    project.deploy_site(&[("app.3f2a9c1d.js", "one"), ("app.js", "two")]).await;
}

#[tokio::test]
async fn values_of_secrets_appear_in_no_answer() {
    let project = project().await;
    let value = "shibboleth-31337";
    let set = |key: &str, value: &str| {
        let call = api().post(&project.path("secrets")).bearer(&project.service_key);
        call.json(&json!({"key": key, "value": value})).send()
    };
    set("API_KEY", value).await.is(201);
    set("UNUSED", value).await.is(201);
    let (replace, objects) = site(&[("index.html", "secrets")]);
    let spec = json!({"site": {"replace": replace}, "secrets": {"require": ["API_KEY", "NOT_SET"]}});
    let plan = project.plan(&spec).await;
    let seen = plan.text().into_owned();
    let plan = plan.is(200);
    let warning = plan["warnings"].as_array().unwrap().iter().find(|row| row["code"] == "MISSING_REQUIRED_SECRET");
    let warning = warning.expect("the warning");
    assert_eq!((&warning["affected"], &warning["requires_confirmation"]), (&json!(["NOT_SET"]), &json!(true)));
    project.upload_missing(&plan, &objects).await;
    let refusal = project.commit_plan(&plan).await.refused(422, "MISSING_REQUIRED_SECRET");
    assert_eq!(refusal["mutation_state"], "not_started");
    assert_eq!(refusal["details"]["missing"], json!(["NOT_SET"]));

    let spec = json!({"secrets": {"require": ["API_KEY"], "delete": ["UNUSED"]}, "i18n": null});
    let first = project.deploy(&json!({"secrets": {"require": ["API_KEY"]}}), &[]).await;
    let second = project.deploy(&spec, &[]).await;
    let mut answers = vec![seen, refusal.to_string(), first.to_string(), second.to_string()];
    let (from, to) = (first["release_id"].as_str().unwrap(), second["release_id"].as_str().unwrap());
    let operation = second["operation_id"].as_str().unwrap();
    for path in [
        "/apply/v1/releases/active".to_owned(),
        format!("/apply/v1/releases/{from}"),
        format!("/apply/v1/releases/diff?from={from}&to={to}"),
        "/apply/v1/operations".to_owned(),
        format!("/apply/v1/operations/{operation}"),
        format!("/apply/v1/operations/{operation}/events"),
    ] {
        let answer = api().get(&path).api_key(&project.anon_key).send().await;
        assert_eq!(answer.status, 200, "{path} {answer}");
        answers.push(answer.text().into_owned());
    }
    answers.push(Appliance::shared().log_tail());
    assert!(answers.iter().all(|text| !text.contains(value)));
}
