//! What callers learn of functions that fail (contract 05 §4.4; checks 5, 6, 23).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{api, deploy, request_id, with};
use crate::support::{Appliance, Project};

#[tokio::test]
async fn what_was_thrown_is_in_the_log_and_never_in_the_answer() {
    let code = "function fail(detail) {\n  throw new Error(detail);\n}\nexport default () => fail('s3cret-detail');\n";
    let project = with(&[("f", code)]).await;
    let answer = project.invoke("f").send().await;
    let body = answer.refused(500, "FUNCTION_RUNTIME_ERROR");
    assert_eq!(body["message"], "Internal function error");
    assert_eq!(body["request_id"], request_id(&answer));
    assert!(!answer.text().contains("s3cret-detail"), "{answer}");
    project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    let id = request_id(&answer);
    let console = project.console("f", &format!("?request_id={id}"), 1).await;
    let thrown = console.last().expect("an entry");
    let message = thrown["message"].as_str().expect("text");
    assert!(message.starts_with("Error: s3cret-detail"), "{message}");
    assert!(message.contains(":2:"), "the line of the throw: {message}");
    assert!(console.iter().all(|entry| entry["request_id"] == id), "{console:?}");
    assert_eq!((&thrown["stream"], &thrown["level"]), (&json!("stderr"), &json!("error")));
}

#[tokio::test]
async fn each_way_to_fail_has_its_status_and_code() {
    let code = "const ways = {
        string: () => { throw 'text' },
        nothing: () => {},
        symbol: () => Symbol('x'),
        fn: () => () => 1,
        exit: () => process.exit(1),
        deadlock: () => new Promise(() => {}),
        rejects: () => Promise.reject(new TypeError('no')),
        header: () => ({ statusCode: 200, headers: { 'bad name': 'x' }, body: '' }),
        status: () => ({ statusCode: 42, body: '' }),
        large: () => 'x'.repeat(6 * 1024 * 1024 + 1),
        hidden: () => { throw { get message() { throw new Error('again') } } },
        auth: () => { throw Object.assign(new Error('Sign in.'), { code: 'R402_AUTH_REQUIRED', status: 401, details: { a: 1 } }) },
        role: () => { throw Object.assign(new Error('No.'), { code: 'R402_AUTH_INSUFFICIENT_ROLE', status: 403, suggestedFix: 'ask' }) },
        ok: () => 'fine',
      };
      export default (req) => ways[new URL(req.url).searchParams.get('way')]()";
    let project = with(&[("f", code)]).await;
    for (way, status, expected) in [
        ("string", 500, "FUNCTION_RUNTIME_ERROR"),
        ("nothing", 500, "FUNCTION_INVALID_RESPONSE"),
        ("symbol", 500, "FUNCTION_INVALID_RESPONSE"),
        ("fn", 500, "FUNCTION_INVALID_RESPONSE"),
        ("exit", 500, "FUNCTION_RUNTIME_ERROR"),
        ("deadlock", 500, "FUNCTION_RUNTIME_ERROR"),
        ("rejects", 500, "FUNCTION_RUNTIME_ERROR"),
        ("header", 500, "FUNCTION_INVALID_RESPONSE"),
        ("status", 500, "FUNCTION_INVALID_RESPONSE"),
        ("large", 502, "FUNCTION_RESPONSE_TOO_LARGE"),
        ("hidden", 500, "FUNCTION_RUNTIME_ERROR"),
        ("auth", 401, "R402_AUTH_REQUIRED"),
        ("role", 403, "R402_AUTH_INSUFFICIENT_ROLE"),
        ("unknown", 500, "FUNCTION_RUNTIME_ERROR"),
    ] {
        let answer = project.invoke(&format!("f?way={way}")).send().await;
        let body = answer.refused(status, expected);
        assert_eq!(body["request_id"], request_id(&answer), "{way}");
        match way {
            "auth" => assert_eq!((&body["message"], &body["details"]["a"]), (&json!("Sign in."), &json!(1))),
            "role" => assert_eq!(body["suggested_fix"], "ask"),
            _ => {}
        }
        assert_eq!(project.invoke("f?way=ok").send().await.is(200), "fine", "after {way}");
    }
}

#[tokio::test]
async fn a_module_that_fails_at_its_top_level_is_tried_again() {
    let broken = "throw new Error('at the top'); export default () => 1";
    let project = with(&[("f", broken)]).await;
    for _ in 0..2 {
        project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    }
    let console = project.console("f", "", 2).await;
    assert!(console.iter().all(|entry| entry["message"].as_str().is_some_and(|text| text.contains("at the top"))));
}

/// A function with this much time and memory.
async fn limited(code: &str, seconds: u32) -> Project {
    let project = api().provision().await;
    let config = json!({"config": {"timeout_seconds": seconds, "memory_mb": 128}});
    deploy(&project, &[("f", code, config), ("quick", "export default () => 'quick'", json!({}))]).await;
    project
}

#[tokio::test]
async fn a_timeout_covers_everything_and_leaves_the_others_alone() {
    let project = limited("export default () => { while (true) {} }", 1).await;
    let began = Instant::now();
    let answer = project.invoke("f").send().await;
    answer.refused(504, "FUNCTION_TIMEOUT");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(project.invoke("quick").send().await.is(200), "quick");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn when_all_places_are_taken_the_next_call_is_told_to_come_again() {
    let appliance = Appliance::plan()
        .set("functions.running_per_project", "1")
        .set("functions.queued_per_project", "1")
        .set("functions.patience_seconds", "1")
        .boot();
    let project = appliance.api().provision().await;
    let code = "export default () => new Promise((done) => setTimeout(() => done('slept'), 3000))";
    deploy(&project, &[("sleep", code, json!({}))]).await;
    let call = |project: Project| async move { project.invoke("sleep").send().await };
    let calls = futures(3, || call(project.clone())).await;
    let mut statuses: Vec<u16> = calls.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
    let busy = calls.iter().find(|answer| answer.status == 503).expect("one of them");
    busy.refused(503, "FUNCTION_BUSY");
    assert_eq!(busy.header("retry-after"), Some("1"));
}

/// Runs so many at a time.
async fn futures<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    make: impl Fn() -> F,
) -> Vec<T> {
    let running: Vec<_> = (0..count).map(|_| tokio::spawn(make())).collect();
    let mut done = Vec::with_capacity(count);
    for one in running {
        done.push(one.await.expect("a call"));
    }
    done
}

#[tokio::test]
async fn a_box_for_development_shows_what_was_thrown_and_where() {
    let appliance = Appliance::plan().set("functions.show_errors", "true").boot();
    let project = appliance.api().provision().await;
    let code = "const detail = 'what I did wrong';\n\nexport default () => {\n  throw new TypeError(detail);\n};\n";
    deploy(&project, &[("f", code, json!({}))]).await;
    let body = project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    let thrown: &Value = &body["details"]["thrown"];
    assert_eq!((&thrown["name"], &thrown["message"]), (&json!("TypeError"), &json!("what I did wrong")));
    assert!(thrown["stack"].as_str().is_some_and(|stack| stack.contains(":4:")), "{thrown}");
}
