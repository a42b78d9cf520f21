use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderName, HeaderValue};
use tokio::sync::Notify;

use super::*;
use crate::common::NestedCall;
use crate::features::{
    auth::RoutedActor,
    functions::{
        Routed,
        executor::{AuthThrown, InvocationKind, Thrown},
        logs::{Level, Stream},
        slots::MAX_DEPTH,
    },
    releases::{RouteEntry, RouteKind, RouteTarget},
    sites::{self, FunctionRunner},
};

#[test]
fn a_direct_call_reaches_the_function_with_the_platforms_word_and_its_answer_comes_back() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|version, invocation| {
            assert_eq!(invocation.kind, InvocationKind::Direct);
            assert_eq!(version.name, "echo");
            let headers: BTreeMap<_, _> =
                invocation.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let mut answer = ok(json!({
                "method": invocation.method.as_str(), "url": invocation.url, "headers": headers,
                "body": String::from_utf8_lossy(&invocation.body), "id": invocation.request_id,
                "env": invocation.environment.0,
            })
            .to_string());
            answer.headers.append("set-cookie", HeaderValue::from_static("a=1"));
            answer.headers.append("set-cookie", HeaderValue::from_static("b=2"));
            answer.headers.append("x-run402-anything", HeaderValue::from_static("x"));
            Ok(answer)
        }))
        .await;
        bench.deploy(with([("echo", plain())]));
        let request = Request::builder()
            .method("PUT")
            .uri("/functions/v1/echo/a/b?x=1")
            .header("apikey", bench.key(KeyRole::Anon))
            .header("x-run402-user-id", "evil")
            .header("sign-in-with-x", "abc")
            .body(Body::from("hello"))
            .unwrap();
        let response = bench.send(request).await;
        assert_eq!(response.status(), 200);
        let id = response.headers()["x-run402-request-id"].to_str().unwrap().to_owned();
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert!(!response.headers().contains_key("x-run402-anything"));
        let seen = json(response).await;
        assert_eq!(seen["method"], "PUT");
        assert_eq!(seen["url"], "http://localhost:4020/functions/v1/echo/a/b?x=1");
        assert_eq!((&seen["body"], &seen["id"]), (&json!("hello"), &json!(id)));
        let headers = &seen["headers"];
        assert_eq!(headers["apikey"], bench.key(KeyRole::Anon));
        assert!(headers.get("sign-in-with-x").is_none() && headers.get("x-run402-user-id").is_none());
        assert_eq!(headers["x-run402-request-id"], id);
        assert_eq!(headers["x-run402-project-id"], PROJECT);
        assert_eq!(headers["x-run402-function-name"], "echo");
        assert_eq!(headers["x-run402-host"], "localhost:4020");
        let environment: BTreeMap<String, String> = serde_json::from_value(
            seen["env"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].clone()))
                .collect(),
        )
        .unwrap();
        assert_eq!(environment["API_KEY"], SECRET);
        assert_eq!(environment["RUN402_PROJECT_ID"], PROJECT, "the platform's value wins");
        assert_eq!(environment["RUN402_API_BASE"], "http://localhost:4020");
        assert_eq!(environment["RUN402_SERVICE_KEY"], bench.key(KeyRole::Service));
        bench.stop().await;
    });
}

#[test]
fn keys_names_methods_and_bodies_are_checked_before_anything_runs() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|_, _| Ok(ok("ran")))).await;
        bench.deploy(with([("f", plain())]));
        let key = bench.key(KeyRole::Anon);
        let request = |name: &str, key: Option<&str>| {
            let mut request = Request::builder().method("POST").uri(format!("/functions/v1/{name}"));
            if let Some(key) = key {
                request = request.header("apikey", key);
            }
            request
        };
        let empty = Body::empty;
        let cases = [
            (request("f", None).body(empty()), (401, "MISSING_APIKEY")),
            (request("f", Some("nonsense")).body(empty()), (401, "INVALID_APIKEY")),
            (request("nope", Some(&key)).body(empty()), (404, "FUNCTION_NOT_FOUND")),
            (request("f", Some(&key)).body(Body::from(vec![0; 6 * 1024 * 1024 + 1])), (413, "REQUEST_BODY_TOO_LARGE")),
            (
                request("f", Some(&key)).header("content-length", "99999999").body(empty()),
                (413, "REQUEST_BODY_TOO_LARGE"),
            ),
            (request("f", Some(&key)).body(Body::from(vec![0; 6 * 1024 * 1024])), (200, "")),
            (
                request("f", None)
                    .header("authorization", format!("Bearer {}", bench.key(KeyRole::Service)))
                    .body(empty()),
                (200, ""),
            ),
            (
                request("f", None).header("authorization", format!("Bearer {key}")).body(empty()),
                (401, "MISSING_APIKEY"),
            ),
        ];
        for (request, expected) in cases {
            let response = bench.send(request.unwrap()).await;
            let (status, code) = refusal(&response);
            assert_eq!((status, code.as_str()), expected);
            assert!(response.headers().contains_key("x-run402-request-id"));
        }
        let before = bench.logs("f").await.len();
        let options = bench.call(Method::OPTIONS, "/functions/v1/f", empty()).await;
        assert_eq!(options.status(), 204);
        assert!(options.headers().contains_key("access-control-allow-methods"));
        assert_eq!(bench.logs("f").await.len(), before, "the handler did not run");
        let head = bench.call(Method::HEAD, "/functions/v1/f", empty()).await;
        assert_eq!(head.headers()["content-length"], "3");
        assert!(body(head).await.is_empty());
        bench.stop().await;
    });
}

#[test]
fn failures_have_their_status_and_keep_what_was_thrown_in_the_log() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|version, _| {
            let thrown =
                Thrown { name: "Error".into(), message: "s3cret-detail".into(), stack: "at main.js:1:7".into() };
            match version.name.as_str() {
                "throws" | "page" => Err(FunctionFailure::Threw(thrown)),
                "auth" => Err(FunctionFailure::Auth(Box::new(AuthThrown {
                    code: "R402_AUTH_INSUFFICIENT_ROLE".into(),
                    status: 403,
                    message: "No.".into(),
                    details: json!({"role": "admin"}),
                    suggested_fix: None,
                    docs: None,
                }))),
                "nothing" => Err(FunctionFailure::InvalidResponse("nothing".into())),
                "memory" => Err(FunctionFailure::OutOfMemory),
                "status" => Ok(FunctionResponse { status: StatusCode::SWITCHING_PROTOCOLS, ..ok("") }),
                "large" => Ok(ok(vec![0; 6 * 1024 * 1024 + 1])),
                "mint" => {
                    let mut answer = ok("");
                    answer.headers.insert("x-run402-mint-directive", HeaderValue::from_static("d"));
                    Ok(answer)
                }
                "crowded" => Err(FunctionFailure::Crowded),
                _ => Err(FunctionFailure::Busy),
            }
        }))
        .await;
        let names = ["throws", "auth", "nothing", "memory", "status", "large", "mint", "busy", "crowded"];
        let page = FunctionState { class: FunctionClass::Ssr, ..plain() };
        bench.deploy(with(names.map(|name| (name, plain())).into_iter().chain([("page", page)])));
        let expected = [
            (500, "FUNCTION_RUNTIME_ERROR"),
            (403, "R402_AUTH_INSUFFICIENT_ROLE"),
            (500, "FUNCTION_INVALID_RESPONSE"),
            (500, "FUNCTION_RUNTIME_ERROR"),
            (500, "FUNCTION_INVALID_RESPONSE"),
            (502, "FUNCTION_RESPONSE_TOO_LARGE"),
            (403, "R402_AUTH_UNTRUSTED_CONTEXT"),
            (503, "FUNCTION_BUSY"),
            (503, "FUNCTION_BUSY"),
        ];
        for (name, expected) in names.into_iter().zip(expected) {
            let response = bench.call(Method::POST, &format!("/functions/v1/{name}"), Body::empty()).await;
            let (status, code) = refusal(&response);
            assert_eq!((status, code.as_str()), expected, "{name}");
            let error = response.extensions().get::<crate::common::ApiError>().unwrap().body("trc_1", false);
            assert!(error["request_id"].as_str().unwrap().starts_with("req_"));
            assert!(!error.to_string().contains("s3cret-detail"), "{error}");
        }
        let log = bench.logs("throws").await;
        assert!(log.contains(&("stderr".into(), "Error: s3cret-detail\nat main.js:1:7".into())), "{log:?}");
        assert!(log[0].1.contains("function_invocation_started"));
        assert!(log.last().unwrap().1.contains("function_invocation_failed"));
        let crashed = bench.call(Method::GET, "/functions/v1/page", Body::empty()).await;
        assert_eq!(crashed.headers()["x-run402-error-code"], "R402_SSR_RUNTIME_ERROR");
        let crashed = json(crashed).await;
        assert_eq!((&crashed["ok"], &crashed["code"]), (&json!(false), &json!("R402_SSR_RUNTIME_ERROR")));
        assert!(crashed["error"].is_string() && crashed["message"].is_string());
        bench.stop().await;
    });
}

#[test]
fn an_engine_that_does_not_come_back_is_given_up() {
    as_ordinary_user(|| async {
        let bench = Bench::new(Script(Box::new(|_, _| Box::pin(std::future::pending())))).await;
        bench.deploy(with([("f", FunctionState { timeout_seconds: 0, ..plain() })]));
        let response = bench.call(Method::POST, "/functions/v1/f", Body::empty()).await;
        assert_eq!(refusal(&response), (504, "FUNCTION_TIMEOUT".into()));
        bench.stop().await;
    });
}

#[test]
fn secrets_and_keys_are_struck_out_of_logs_and_entries_are_found_again() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|_, invocation| {
            for (_, value) in &invocation.environment.0 {
                invocation.logs.write(Stream::Stdout, Level::Info, &format!("value {value}"));
            }
            for line in 0..60 {
                invocation.logs.write(Stream::Stdout, Level::Info, &format!("line {line}"));
            }
            Ok(ok(""))
        }))
        .await;
        bench.deploy(with([("f", plain())]));
        let first = bench.call(Method::POST, "/functions/v1/f", Body::empty()).await;
        let id = first.headers()["x-run402-request-id"].to_str().unwrap().to_owned();
        bench.advance(1);
        bench.call(Method::POST, "/functions/v1/f", Body::empty()).await;
        let text: String = bench.logs("f").await.into_iter().map(|(_, message)| message).collect();
        for hidden in [SECRET.to_owned(), bench.key(KeyRole::Service), bench.key(KeyRole::Anon)] {
            assert!(!text.contains(&hidden), "{hidden} is in the log");
        }
        assert!(text.contains("value [redacted]") && text.contains("value production"));
        let ask = async |tail, since, id: Option<&str>| {
            let filter = id.map(|id| crate::features::functions::logs::Filter::Request(id.to_owned()));
            let query = LogQuery { tail, since, filter };
            bench.functions.logs(&bench.project(), "f", &query).await.unwrap_or_else(|_| panic!()).logs
        };
        let all = ask(1000, None, None).await;
        let mut ids: Vec<_> = all.iter().map(|entry| entry.event_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len(), "event ids are unique");
        assert!(all.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
        let tail = ask(5, None, None).await;
        let newest: Vec<_> = all[all.len() - 5..].iter().map(|entry| &entry.event_id).collect();
        assert_eq!(tail.iter().map(|entry| &entry.event_id).collect::<Vec<_>>(), newest);
        let of_first = ask(1000, None, Some(&id)).await;
        assert_eq!(of_first.len() * 2, all.len());
        assert!(of_first.iter().all(|entry| entry.request_id == id));
        let since = Timestamp(of_first[0].timestamp.parse().unwrap());
        assert_eq!(ask(1000, Some(since), None).await.len(), all.len(), "since is inclusive");
        assert!(all.iter().any(|entry| entry.redacted == Some(true)));
        bench.stop().await;
    });
}

#[test]
fn old_entries_and_those_of_too_long_logs_are_forgotten() {
    as_ordinary_user(|| async {
        let settings = FunctionSettings { log_project_mb: 1, log_invocation_kb: 4096, ..FunctionSettings::default() };
        let bench = Bench::with(
            script(|_, invocation| {
                let line = "x".repeat(10_000);
                for _ in 0..200 {
                    invocation.logs.write(Stream::Stdout, Level::Info, &line);
                }
                Ok(ok(""))
            }),
            settings,
        )
        .await;
        bench.deploy(with([("f", plain())]));
        bench.call(Method::POST, "/functions/v1/f", Body::empty()).await;
        let kept = bench.logs("f").await;
        assert!((90..=110).contains(&kept.len()), "about a MiB: {}", kept.len());
        assert!(kept.last().unwrap().1.contains("completed"), "the newest stay");
        bench.advance(23 * 3600);
        bench.functions.sweep().await.unwrap();
        assert_eq!(bench.logs("f").await.len(), kept.len());
        bench.advance(2 * 3600);
        bench.functions.sweep().await.unwrap();
        assert!(bench.logs("f").await.is_empty());
        bench.stop().await;
    });
}

#[test]
fn a_gate_asks_for_a_users_token_of_this_project() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|_, invocation| {
            let seen = |name: &str| invocation.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            Ok(ok(json!({"user": seen("x-run402-user-id"), "token": seen("x-run402-actor-token")}).to_string()))
        }))
        .await;
        bench.deploy(with([("f", FunctionState { require_auth: true, ..plain() })]));
        let claims = json!({"sub": "u-1", "role": "authenticated", "email": "a@b.c", "session_id": "s-1"});
        let claims = claims.as_object().unwrap();
        let token = bench.user_keys.mint(&PROJECT.parse().unwrap(), claims.clone()).await.unwrap();
        let call = async |apikey: String, bearer: Option<String>| {
            let mut request = Request::builder().uri("/functions/v1/f").header("apikey", apikey);
            if let Some(bearer) = bearer {
                request = request.header("authorization", format!("Bearer {bearer}"));
            }
            bench.send(request.body(Body::empty()).unwrap()).await
        };
        let (anon, service) = (bench.key(KeyRole::Anon), bench.key(KeyRole::Service));
        for (apikey, bearer) in [
            (anon.clone(), None),
            (service.clone(), None),
            (service.clone(), Some(service.clone())),
            (anon.clone(), Some(anon.clone())),
            (anon.clone(), Some("nonsense".into())),
        ] {
            let response = call(apikey, bearer).await;
            assert_eq!(refusal(&response), (401, "R402_AUTH_REQUIRED".into()));
            let error = response.extensions().get::<crate::common::ApiError>().unwrap().body("trc_1", false);
            assert_eq!(error["error"], "authentication_required");
        }
        let passed = json(call(anon.clone(), Some(token.clone())).await).await;
        assert_eq!(passed, json!({"user": "u-1", "token": token}));
        bench.cookies.ended.lock().unwrap().push("s-1".into());
        assert_eq!(refusal(&call(anon, Some(token)).await), (401, "R402_AUTH_REQUIRED".into()));
        bench.stop().await;
    });
}

#[test]
fn a_full_project_is_busy_and_nested_calls_are_not() {
    as_ordinary_user(|| async {
        let (go, started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (waiting, starting) = (Arc::clone(&go), Arc::clone(&started));
        let settings = FunctionSettings {
            running_per_project: 1,
            queued_per_project: 0,
            patience_seconds: 0,
            ..FunctionSettings::default()
        };
        let executor = Script(Box::new(move |_, invocation| {
            let (go, started) = (Arc::clone(&waiting), Arc::clone(&starting));
            Box::pin(async move {
                if invocation.depth == 0 {
                    started.notify_one();
                    go.notified().await;
                }
                Ok(ok(format!("{}", invocation.depth)))
            })
        }));
        let bench = Arc::new(Bench::with(executor, settings).await);
        bench.deploy(with([("f", FunctionState { timeout_seconds: 30, ..plain() })]));
        let first = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move { bench.call(Method::POST, "/functions/v1/f", Body::empty()).await.status() }
        });
        started.notified().await;
        let busy = bench.call(Method::POST, "/functions/v1/f", Body::empty()).await;
        assert_eq!(refusal(&busy), (503, "FUNCTION_BUSY".into()));
        assert_eq!(busy.headers()["retry-after"], "1");
        for (depth, expected) in [(1, 200), (MAX_DEPTH, 200), (MAX_DEPTH + 1, 508)] {
            let request = Request::builder().uri("/functions/v1/f").header("apikey", bench.key(KeyRole::Anon));
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(NestedCall { depth });
            assert_eq!(bench.send(request).await.status().as_u16(), expected, "depth {depth}");
        }
        go.notify_one();
        assert_eq!(first.await.unwrap(), 200);
        Arc::into_inner(bench).unwrap().stop().await;
    });
}

fn routed(bench: &Bench, function: &str, accept: &str, headers: &[(&'static str, String)]) -> sites::Invocation {
    let release = bench.shelf.source().cached(&PROJECT.parse().unwrap()).unwrap();
    let mut map = HeaderMap::from_iter([(axum::http::header::ACCEPT, accept.parse().unwrap())]);
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    sites::Invocation {
        release,
        function: function.into(),
        pattern: "/app/*".into(),
        request_id: "req_0123456789".into(),
        method: Method::GET,
        url: "http://alpha.localhost:4020/app/x?y=1".into(),
        headers: map,
        body: Bytes::new(),
        host: "alpha.localhost:4020".into(),
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        depth: 0,
    }
}

#[test]
fn routed_calls_know_the_browsers_user_and_send_strangers_to_sign_in() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|version, invocation| {
            assert_eq!(invocation.kind, InvocationKind::Routed);
            if version.name == "asks" {
                return Err(FunctionFailure::Auth(Box::new(AuthThrown {
                    code: "R402_AUTH_REQUIRED".into(),
                    status: 401,
                    message: "Sign in.".into(),
                    details: Value::Null,
                    suggested_fix: None,
                    docs: None,
                })));
            }
            let has = |name: &str| invocation.headers.contains_key(name);
            let actor = invocation.actor.map(|actor| actor.id);
            Ok(ok(json!({
                "actor": actor, "context": has("x-run402-actor-context"), "token": has("x-run402-actor-token"),
                "user": invocation.headers.get("x-run402-user-id").map(|value| value.to_str().unwrap().to_owned()),
            })
            .to_string()))
        }))
        .await;
        let gated = FunctionState { require_auth: true, ..plain() };
        bench.deploy(with([("open", plain()), ("gated", gated), ("asks", plain())]));
        let runner = Routed(Arc::clone(&bench.functions));
        let answer = runner.run(routed(&bench, "open", "text/html", &[])).await.unwrap();
        let seen: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(seen, json!({"actor": null, "context": false, "token": false, "user": null}));
        let refused = runner.run(routed(&bench, "gated", "text/html", &[])).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (401, "R402_AUTH_REQUIRED"));

        let page = runner.run(routed(&bench, "asks", "text/html,*/*", &[])).await.unwrap();
        assert_eq!(page.status(), 303);
        assert_eq!(page.headers()["location"], "/auth/sign-in?returnTo=%2Fapp%2Fx%3Fy%3D1");
        let refused = runner.run(routed(&bench, "asks", "application/json", &[])).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (401, "R402_AUTH_REQUIRED"));

        let user = uuid::Uuid::new_v4();
        let visitor = RoutedActor {
            user,
            session: uuid::Uuid::new_v4(),
            email: "a@b.c".into(),
            email_verified: true,
            is_test: false,
            auth_time: 1,
            amr: Vec::new(),
            amr_times: BTreeMap::new(),
            authz_version: 1,
            context: "actor.context".into(),
            token: "actor.token".into(),
        };
        *bench.cookies.visitor.lock().unwrap() = Some(RoutedVisitor::SignedIn(Box::new(visitor)));
        let answer = runner.run(routed(&bench, "gated", "text/html", &[])).await.unwrap();
        let seen: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(seen, json!({"actor": user, "context": true, "token": true, "user": user}));
        let claims = json!({"sub": "u-2", "role": "authenticated"}).as_object().unwrap().clone();
        let token = bench.user_keys.mint(&PROJECT.parse().unwrap(), claims).await.unwrap();
        let both = routed(&bench, "gated", "text/html", &[("authorization", format!("Bearer {token}"))]);
        assert_eq!(runner.run(both).await.unwrap_err().code(), "R402_AUTH_BEARER_COOKIE_MISMATCH");
        bench.stop().await;
    });
}

#[test]
fn functions_are_listed_changed_and_deleted_with_their_routes() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|_, _| Ok(ok("")))).await;
        let project = bench.project();
        assert!(bench.functions.list(&project).await.unwrap().functions.is_empty());
        let mut state = with([("a", plain()), ("b", scheduled("0 9 * * *"))]);
        state.routes.push(RouteEntry {
            pattern: "/a".into(),
            kind: RouteKind::Exact,
            prefix: None,
            methods: None,
            target: RouteTarget::Function { name: "a".into() },
        });
        bench.deploy(state);
        let list = async || {
            let list = bench.functions.list(&bench.project()).await.unwrap();
            serde_json::to_value(list).unwrap()["functions"].as_array().unwrap().clone()
        };
        let seen = list().await;
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0]["url"], "http://localhost:4020/functions/v1/a");
        assert_eq!((&seen[0]["timeout"], &seen[0]["memory"]), (&json!(1), &json!(128)));
        assert_eq!((&seen[0]["schedule_meta"], &seen[0]["deps_resolved"]), (&Value::Null, &json!({})));
        assert_eq!(seen[1]["schedule_meta"], json!({"run_count": 0, "next_run_at": "2026-06-20T09:00:00.000Z"}));
        let created = seen[0]["created_at"].clone();
        bench.advance(5);
        let update = async |name: &str, body: Value| {
            let request = crate::common::json::parse(body.to_string().as_bytes()).unwrap();
            let updated = bench.functions.update(&bench.project(), name, request).await;
            updated.map(|updated| serde_json::to_value(updated).unwrap()).map_err(crate::common::ApiError::from)
        };
        let changed = update("a", json!({"schedule": "*/5 * * * *", "config": {"timeout": 20}})).await.unwrap();
        assert_eq!((&changed["timeout"], &changed["schedule"]), (&json!(20), &json!("*/5 * * * *")));
        assert_eq!(changed["schedule_meta"]["next_run_at"], "2026-06-19T10:05:00.000Z");
        let after = list().await;
        assert_eq!(after[0]["created_at"], created);
        assert_ne!(after[0]["updated_at"], created);
        assert_eq!(after[1]["updated_at"], created, "the other function did not change");
        let removed = update("a", json!({"schedule": null})).await.unwrap();
        assert_eq!((&removed["schedule"], &removed["schedule_meta"]), (&Value::Null, &Value::Null));
        let minted = update("a", json!({"capabilities": ["auth.sessionMint"]})).await;
        assert!(minted.is_ok());
        assert_eq!(list().await[0]["capabilities"], json!(["auth.sessionMint"]));
        for (name, body, expected) in [
            ("a", json!({}), (400, "VALIDATION_ERROR")),
            ("a", json!({"capabilities": ["root"]}), (400, "VALIDATION_ERROR")),
            ("nope", json!({"schedule": null}), (404, "FUNCTION_NOT_FOUND")),
        ] {
            let error = update(name, body).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), expected);
        }
        let deleted = bench.functions.delete(&project, "a").await.unwrap_or_else(|_| panic!("deleted"));
        assert_eq!(serde_json::to_value(deleted).unwrap(), json!({"status": "deleted", "name": "a"}));
        assert!(bench.shelf.source().cached(&project.id).unwrap().state.routes.is_empty());
        let error = bench.functions.delete(&project, "a").await.err().unwrap();
        assert_eq!(crate::common::ApiError::from(error).code(), "FUNCTION_NOT_FOUND");
        let response = bench.call(Method::POST, "/functions/v1/a", Body::empty()).await;
        assert_eq!(refusal(&response), (404, "FUNCTION_NOT_FOUND".into()));
        assert_eq!(list().await.len(), 1);
        bench.stop().await;
    });
}
