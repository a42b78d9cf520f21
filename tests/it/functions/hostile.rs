//! Functions that mean harm, or are broken in the worst way: they are stopped, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{api, deploy};
use crate::support::{Appliance, Project, deploy::site};

#[tokio::test]
async fn whatever_runs_for_ever_is_stopped_at_its_timeout() {
    let project = api().provision().await;
    let endless = [
        ("sync", "export default () => { for (;;) {} }"),
        ("async", "export default async () => { for (;;) await null }"),
        ("micro", "export default () => new Promise(() => { const f = () => queueMicrotask(f); f() })"),
        ("top", "for (;;) {} export default () => 1"),
        ("wait", "await new Promise(() => setInterval(() => {}, 1)); export default () => 1"),
    ];
    let config = json!({"config": {"timeout_seconds": 1}});
    let functions: Vec<_> = endless.iter().map(|(name, code)| (*name, *code, config.clone())).collect();
    deploy(&project, &functions).await;
    for (name, _) in endless {
        let began = Instant::now();
        project.invoke(name).send().await.refused(504, "FUNCTION_TIMEOUT");
        assert!(began.elapsed() < Duration::from_secs(4), "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn more_endless_ways() {
    let project = api().provision().await;
    let endless = [
        ("regex", "export default () => /^(a+)+$/.test('a'.repeat(40) + 'b')"),
        (
            "body",
            "export default () => new Response(new ReadableStream({ async pull(c) { await null; c.enqueue(new Uint8Array(0)) } }))",
        ),
        ("json", "export default () => ({ get toJSON() { for (;;) {} } })"),
        ("finally", "export default async () => { try { for (;;) {} } finally { for (;;) {} } }"),
    ];
    let config = json!({"config": {"timeout_seconds": 1}});
    let functions: Vec<_> = endless.iter().map(|(name, code)| (*name, *code, config.clone())).collect();
    deploy(&project, &functions).await;
    for (name, _) in endless {
        let began = Instant::now();
        let answer = project.invoke(name).send().await;
        assert!(matches!(answer.status.as_u16(), 500 | 504), "{name}: {answer}");
        assert!(began.elapsed() < Duration::from_secs(4), "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn memory_is_limited_and_recursion_ends() {
    let project = api().provision().await;
    deploy(
        &project,
        &[
            ("bytes", "export default () => { const a = []; for (;;) a.push(new Uint8Array(1 << 20)) }", json!({})),
            ("objects", "export default () => { const a = []; for (;;) a.push({ a }) }", json!({})),
            ("deep", "const f = () => f() + 1; export default () => f()", json!({})),
            (
                "caught",
                "const f = () => f() + 1; export default () => { try { f() } catch (e) { return e.name } }",
                json!({}),
            ),
        ],
    )
    .await;
    for name in ["bytes", "objects", "deep"] {
        project.invoke(name).send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    }
    assert_eq!(project.invoke("caught").send().await.is(200), "RangeError");
    let logs = project.logs("bytes", "").await.is(200).to_string();
    assert!(logs.contains("out of memory"), "{logs}");
}

/// The time of the slowest of so many requests.
async fn slowest(count: usize, request: impl AsyncFn()) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        request().await;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    slowest
}

#[tokio::test]
async fn the_box_answers_while_functions_burn_and_swell() {
    let appliance = Appliance::plan().boot();
    let api = appliance.api();
    let (hostile, quiet) = (api.provision().await, api.provision().await);
    let swell = "export default async () => { const a = []; for (;;) { a.push(new Uint8Array(1 << 16)); if (a.length > 1500) a.length = 0; } }";
    let eat = "export default () => { const a = []; for (;;) a.push(new Uint8Array(1 << 20)) }";
    let config = |seconds: u32| json!({"config": {"timeout_seconds": seconds}});
    deploy(
        &hostile,
        &[
            ("burn", "export default () => { for (;;) {} }", config(5)),
            ("swell", swell, config(5)),
            ("eat", eat, config(5)),
        ],
    )
    .await;
    let (files, mut objects) = site(&[("index.html", "<h1>quiet</h1>")]);
    let code = "export default () => 'quick'";
    objects.push(code.as_bytes());
    let spec =
        json!({"site": {"replace": files}, "functions": {"replace": {"quick": super::function(code, &json!({}))}}});
    quiet.deploy(&spec, &objects).await;
    let host = quiet.host().await;
    quiet.invoke("quick").send().await.is(200);

    let call = |project: &Project, name: &'static str| {
        let project = project.clone();
        tokio::spawn(async move { project.invoke(name).send().await })
    };
    let running: Vec<_> =
        ["burn", "burn", "swell", "eat"].into_iter().map(|name| (name, call(&hostile, name))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let health = slowest(20, async || drop(api.get("/health").send().await.is(200))).await;
    let file = slowest(20, async || {
        let answer = api.get("/").header("host", &host).send().await;
        assert_eq!(answer.text(), "<h1>quiet</h1>");
    })
    .await;
    let function = slowest(5, async || drop(quiet.invoke("quick").send().await.is(200))).await;
    // A debug build beside other tests; unhindered they take milliseconds.
    for (what, took) in [("/health", health), ("a file", file), ("another function", function)] {
        assert!(took < Duration::from_secs(2), "{what} took {took:?}");
    }
    for (name, call) in running {
        let answer = call.await.expect("an answer");
        match name {
            "eat" => answer.refused(500, "FUNCTION_RUNTIME_ERROR"),
            _ => answer.refused(504, "FUNCTION_TIMEOUT"),
        };
    }
    assert_eq!(quiet.invoke("quick").send().await.is(200), "quick");
}

#[tokio::test]
async fn the_host_holds_no_more_than_a_function_may() {
    let project = api().provision().await;
    // Hundreds of uploads of the same memory, none of them ever answered.
    let code = "export default async () => {
      const body = new Uint8Array(4 << 20);
      const sent = Array.from({ length: 100 }, () => fetch(process.env.RUN402_API_BASE + '/health', { method: 'POST', body }).then(() => 'ok', (e) => e.cause?.name ?? e.name));
      const names = await Promise.all(sent);
      return [...new Set(names)].sort() }";
    deploy(&project, &[("flood", code, json!({"config": {"timeout_seconds": 30}}))]).await;
    let names = project.invoke("flood").send().await.is(200);
    // Which limit is met first, the guest's own or the host's, is a matter of its collector.
    let limited = |name: &serde_json::Value| name == "RangeError" || name == "InternalError";
    assert!(names.as_array().expect("names").iter().any(limited), "{names}");
}
