//! Direct calls (contract 05 §4.1, §8; checks 1-4, 12).

use reqwest::Method;
use serde_json::{Value, json};

use super::{ECHO, api, deploy, function, request_id, with};
use crate::support::deploy::file;

#[tokio::test]
async fn a_call_reaches_the_handler_with_its_method_and_whole_path() {
    let project = with(&[("echo", ECHO)]).await;
    let path = "/functions/v1/echo/a/b?x=1";
    let answer = api().call(Method::PUT, path).api_key(&project.anon_key).send().await;
    assert_eq!(answer.is(200), json!({"m": "PUT", "p": "/functions/v1/echo/a/b"}));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let id = request_id(&answer);
    assert!(id.strip_prefix("req_").is_some_and(|rest| (4..=128).contains(&rest.len())), "{id}");
    for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
        let answer = api().call(method.clone(), path).api_key(&project.anon_key).send().await;
        assert_eq!(answer.is(200)["m"], method.as_str());
    }
    let head = api().call(Method::HEAD, path).api_key(&project.anon_key).send().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let slash = api().get("/functions/v1/echo/").api_key(&project.anon_key).send().await;
    assert_eq!(slash.is(200)["p"], "/functions/v1/echo/");
}

#[tokio::test]
async fn every_kind_of_key_has_its_answer() {
    let (project, other) = (with(&[("echo", ECHO)]).await, api().provision().await);
    let call = || api().post("/functions/v1/echo");
    for answer in [
        call().api_key(&project.anon_key).send().await,
        call().api_key(&project.service_key).send().await,
        call().bearer(&project.service_key).send().await,
        call().api_key(&project.service_key).wallet(&project.owner).send().await,
        // Not verified: the function is not gated.
        call().api_key(&project.anon_key).bearer("nonsense").send().await,
    ] {
        assert_eq!(answer.is(200)["m"], "POST");
    }
    for (refusal, status, code) in [
        (call().send().await, 401, "MISSING_APIKEY"),
        (call().api_key("nonsense").send().await, 401, "INVALID_APIKEY"),
        (call().bearer(&project.anon_key).send().await, 401, "MISSING_APIKEY"),
        (call().wallet(&project.owner).send().await, 401, "MISSING_APIKEY"),
        // The project comes from the key.
        (call().api_key(&other.anon_key).send().await, 404, "FUNCTION_NOT_FOUND"),
        (project.invoke("nope").send().await, 404, "FUNCTION_NOT_FOUND"),
    ] {
        refusal.refused(status, code);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_handler() {
    let project = with(&[("echo", "console.log('ran'); export default () => 1")]).await;
    let options = api().call(Method::OPTIONS, "/functions/v1/echo").header("origin", "http://x.test").send().await;
    assert_eq!((options.status.as_u16(), options.header("access-control-allow-origin")), (204, Some("*")));
    project.invoke("echo").send().await.is(200);
    assert_eq!(project.console("echo", "", 1).await.len(), 1, "the call logged, the preflight did not");
}

#[tokio::test]
async fn a_function_sees_its_callers_keys_and_nothing_that_is_for_the_platform_alone() {
    let code = "export default (req) => Response.json(Object.fromEntries(req.headers))";
    let project = with(&[("seen", code)]).await;
    let answer = project
        .invoke("seen")
        .header("x-run402-user-id", "evil")
        .header("x-run402-actor-context", "evil")
        .header("sign-in-with-x", "abc")
        .header("x-payment", "p")
        .header("cookie", "a=1; b=2")
        .header("idempotency-key", "k")
        .send()
        .await;
    let seen = answer.is(200);
    let text = seen.to_string();
    assert!(!text.contains("evil") && !text.contains("abc") && seen["x-payment"].is_null(), "{seen}");
    assert_eq!((&seen["apikey"], &seen["cookie"]), (&json!(project.anon_key), &json!("a=1; b=2")));
    assert_eq!(seen["idempotency-key"], "k");
    assert_eq!(seen["x-run402-request-id"], request_id(&answer));
    assert_eq!(seen["x-run402-project-id"], project.id);
    assert_eq!(seen["x-run402-function-name"], "seen");
    assert_eq!(seen["x-run402-release-id"], project.live().await["release_id"]);
    let host = seen["x-run402-host"].as_str().expect("a host");
    assert!(host.starts_with("localhost:"), "{host}");
    assert!(seen["x-run402-user-id"].is_null() && seen["x-run402-route-pattern"].is_null());
}

#[tokio::test]
async fn bodies_of_any_kind_go_in_and_come_out() {
    let code = "export default async (req) => new Response(await req.arrayBuffer(), {
        status: 201, headers: [['x-length', req.headers.get('content-length') ?? 'none'], ['set-cookie', 'a=1'],
                               ['set-cookie', 'b=2'], ['content-type', 'application/x-thing'], ['connection', 'close'],
                               ['x-run402-request-id', 'mine'], ['x-run402-mine', 'x'],
                               ['access-control-allow-origin', 'https://a.test']] })";
    let project = with(&[("back", code)]).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let answer = project.invoke("back").body("text/plain", bytes.clone()).send().await;
    assert_eq!((answer.status.as_u16(), answer.body == bytes), (201, true), "{}", answer.status);
    assert_eq!(answer.header("content-type"), Some("application/x-thing"));
    assert_eq!(answer.header("x-length"), Some("1000000"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.test"));
    assert!(request_id(&answer).starts_with("req_") && answer.header("x-run402-mine").is_none());
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.contains("x-run402-request-id"), "{exposed}");
    let large = project.invoke("back").body("text/plain", vec![b'x'; 6 * 1024 * 1024 + 1]).send().await;
    large.refused(413, "REQUEST_BODY_TOO_LARGE");
    let most = project.invoke("back").body("text/plain", vec![b'x'; 6 * 1024 * 1024]).send().await;
    assert_eq!((most.status.as_u16(), most.body.len()), (201, 6 * 1024 * 1024));
}

#[tokio::test]
async fn every_form_of_answer_is_understood() {
    let code = "const forms = {
        text: () => 'plain', json: () => ({ a: [1] }), number: () => 5,
        plain: () => ({ statusCode: 418, headers: { 'x-a': 'b' }, body: 'tea' }),
        routed: () => ({ status: 202, headers: [['x-a', 'b']], cookies: ['c=1'], body: { encoding: 'base64', data: 'aGk=', size: 2 } }),
        stream: () => new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('st')); c.close() } })),
        empty: () => new Response(null, { status: 204 }),
        redirect: () => Response.redirect('https://example.com/x', 303),
      };
      export const handler = async (req) => forms[new URL(req.url).searchParams.get('form')]()";
    let project = with(&[("forms", code)]).await;
    for (form, status, body) in [
        ("text", 200, "\"plain\""),
        ("json", 200, "{\"a\":[1]}"),
        ("number", 200, "5"),
        ("plain", 418, "tea"),
        ("routed", 202, "hi"),
        ("stream", 200, "st"),
        ("empty", 204, ""),
        ("redirect", 303, ""),
    ] {
        let answer = project.invoke(&format!("forms?form={form}")).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (status, body), "{form}");
        if form == "routed" {
            assert_eq!((answer.header("x-a"), answer.header("set-cookie")), (Some("b"), Some("c=1")));
        }
    }
}

#[tokio::test]
async fn the_environment_is_the_projects_with_the_platforms_word_last() {
    let code = "process.env.NODE_ENV = 'mine'; export default () => Response.json(process.env)";
    let project = with(&[("env", code)]).await;
    let set = async |key: &str, value: &str| {
        let body = json!({"key": key, "value": value});
        api().post(&project.path("secrets")).bearer(&project.service_key).json(&body).send().await.ok();
    };
    set("API_KEY", "a-value-of-mine").await;
    set("RUN402_PROJECT_ID", "not-yours").await;
    let env = project.invoke("env").send().await.is(200);
    let base = env["RUN402_API_BASE"].as_str().expect("a base");
    assert!(base.starts_with("http://localhost:") && !base.ends_with('/'), "{base}");
    for (name, value) in [
        ("API_KEY", json!("a-value-of-mine")),
        ("RUN402_PROJECT_ID", json!(project.id)),
        ("RUN402_SERVICE_KEY", json!(project.service_key)),
        ("RUN402_ANON_KEY", json!(project.anon_key)),
        ("RUN402_RELEASE_ID", project.live().await["release_id"].clone()),
        ("RUN402_FUNCTION_NAME", json!("env")),
        ("NODE_ENV", json!("mine")),
        ("TZ", json!("UTC")),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert_eq!(env.as_object().expect("an object").len(), 9, "nothing else, no key of the box above all: {env}");
}

#[tokio::test]
async fn instances_serve_one_version_only() {
    let counting = "let n = 0; export default () => Response.json([++n, process.env.WORD ?? null])";
    let project = with(&[("count", counting), ("other", counting)]).await;
    let count = async |name: &str| project.invoke(name).send().await.is(200);
    assert_eq!([count("count").await, count("count").await], [json!([1, null]), json!([2, null])]);
    assert_eq!(count("other").await, json!([1, null]), "functions share nothing");
    // A secret takes effect at the next call, without a deploy, and its change gives fresh instances.
    let secret = async |value: &str| {
        let body = json!({"key": "WORD", "value": value});
        api().post(&project.path("secrets")).bearer(&project.service_key).json(&body).send().await.ok();
    };
    secret("one").await;
    assert_eq!([count("count").await, count("count").await], [json!([1, "one"]), json!([2, "one"])]);
    secret("two").await;
    assert_eq!(count("count").await, json!([1, "two"]));
    let path = project.path("secrets/WORD");
    api().delete(&path).bearer(&project.service_key).send().await.is(200);
    assert_eq!(count("count").await, json!([1, null]));
    // So do a change of settings and a release.
    let patch = json!({"config": {"timeout": 9}});
    api().patch(&project.path("functions/count")).bearer(&project.service_key).json(&patch).send().await.is(200);
    assert_eq!(count("count").await, json!([1, null]));
    let changed = "export default () => 'new'";
    project
        .apply(
            &json!({"functions": {"patch": {"set": {"count": function(changed, &json!({}))}}}}),
            &[changed.as_bytes()],
        )
        .await;
    assert_eq!(count("count").await, json!("new"));
}

#[tokio::test]
async fn a_release_is_called_as_it_was_promoted() {
    let (one, two) = ("export default () => 'one'", "export default () => 'two'");
    let project = with(&[("f", one)]).await;
    let first = project.live().await["release_id"].clone();
    deploy(&project, &[("f", two, json!({}))]).await;
    assert_eq!(project.invoke("f").send().await.is(200), "two");
    project.promote(&first, &[]).await.is(200);
    assert_eq!(project.invoke("f").send().await.is(200), "one");
}

#[tokio::test]
async fn functions_of_several_files_import_each_other() {
    let files = [
        (
            "main.mjs",
            "import { word } from './lib/word.mjs'; import data from './data.json'; export default () => word + data.n;",
        ),
        ("lib/word.mjs", "export const word = 'hello ';"),
        ("data.json", "{\"n\": 5}"),
    ];
    let project = api().provision().await;
    let refs: serde_json::Map<String, Value> =
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text.as_bytes(), super::CONTENT_TYPE))).collect();
    let spec = json!({"functions": {"replace": {"f": {"runtime": "node22", "files": refs, "entrypoint": "main.mjs"}}}});
    project.deploy(&spec, &files.map(|(_, text)| text.as_bytes())).await;
    assert_eq!(project.invoke("f").send().await.is(200), "hello 5");
}

#[tokio::test]
async fn two_projects_never_share_an_instance() {
    let code =
        "globalThis.n ??= 0; export default () => Response.json([++globalThis.n, process.env.RUN402_PROJECT_ID])";
    let (one, two) = (with(&[("f", code)]).await, with(&[("f", code)]).await);
    for round in 1..=3 {
        for project in [&one, &two] {
            assert_eq!(project.invoke("f").send().await.is(200), json!([round, project.id]));
        }
    }
}
