//! What functions write, and how it is read (contract 05 §3.5, §8.9; checks 5, 7, 12).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{api, request_id, with};

#[tokio::test]
async fn entries_are_found_by_tail_time_and_request() {
    let code = "export default (req) => { const n = Number(new URL(req.url).searchParams.get('n')); for (let i = 1; i <= n; i++) console.log(`line ${i}`); return n }";
    let project = with(&[("f", code)]).await;
    let first = project.invoke("f?n=60").send().await;
    first.is(200);
    let id = request_id(&first);
    project.console("f", "?tail=1000", 60).await;
    let second = request_id(&project.invoke("f?n=1").send().await);
    project.console("f", &format!("?request_id={second}"), 1).await;

    let all = project.logs("f", "?tail=1000").await.is(200)["logs"].as_array().expect("logs").clone();
    assert_eq!(all.len(), 65, "61 lines, and a beginning and an end of both calls");
    let ids: BTreeSet<&str> = all.iter().map(|entry| entry["event_id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), all.len());
    let times: Vec<&str> = all.iter().map(|entry| entry["timestamp"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "{times:?}");

    let tail = project.logs("f", "?tail=50").await.is(200);
    assert_eq!(tail["logs"], json!(all[15..]));
    assert_eq!(project.logs("f", "").await.is(200), tail, "50 is the default");
    let since = all[20]["timestamp"].as_str().expect("a time");
    let later = project.logs("f", &format!("?tail=1000&since={since}")).await.is(200);
    let later = later["logs"].as_array().expect("logs");
    assert!(later.contains(&all[20]) && later.contains(&all[64]), "since includes its moment");
    let millis = all[64]["timestamp"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("ISO 8601");
    let last = project.logs("f", &format!("?since={}", millis.as_millisecond())).await.is(200);
    assert!(last["logs"].as_array().expect("logs").contains(&all[64]));

    let of_first = project.logs("f", &format!("?tail=1000&request_id={id}")).await.is(200);
    let of_first = of_first["logs"].as_array().expect("logs");
    assert_eq!(of_first.len(), 62);
    assert!(of_first.iter().all(|entry| entry["request_id"] == id && entry["function_name"] == "f"));
    let events: Vec<Value> = of_first
        .iter()
        .filter(|entry| entry["stream"] == "platform")
        .map(|entry| serde_json::from_str(entry["message"].as_str().expect("text")).expect("JSON"))
        .collect();
    assert_eq!(events[0]["event"], "function_invocation_started");
    assert_eq!((&events[1]["event"], &events[1]["status"]), (&json!("function_invocation_completed"), &json!(200)));
    assert!(events[1]["duration_ms"].is_u64() && events[1]["cold"] == true, "{}", events[1]);

    for query in ["?tail=0", "?tail=-1", "?tail=x", "?since=abc", "?request_id=nope"] {
        project.logs("f", query).await.refused(400, "VALIDATION_ERROR");
    }
    project.logs("nope", "").await.refused(404, "FUNCTION_NOT_FOUND");
}

#[tokio::test]
async fn console_methods_have_their_stream_and_level() {
    let code = "export default () => {
      console.debug('d'); console.info('i'); console.log('%s is %d %o', 'x', 5, { a: [1] });
      console.warn('w'); console.error(new TypeError('bad')); console.table([{ a: 1 }]);
      Promise.reject(new Error('nobody caught me')); return 1 }";
    let project = with(&[("f", code)]).await;
    project.invoke("f").send().await.is(200);
    let console = project.console("f", "", 7).await;
    let seen: Vec<(&str, &str, &str)> = console
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().expect("text");
            (text("stream"), text("level"), text("message"))
        })
        .collect();
    assert_eq!(seen[0], ("stdout", "debug", "d"));
    assert_eq!(seen[1], ("stdout", "info", "i"));
    assert_eq!((seen[2].0, seen[2].1), ("stdout", "info"));
    assert!(seen[2].2.starts_with("x is 5 "), "{}", seen[2].2);
    assert_eq!(seen[3], ("stderr", "warn", "w"));
    assert_eq!((seen[4].0, seen[4].1), ("stderr", "error"));
    assert!(seen[4].2.starts_with("TypeError: bad\n    at "), "{}", seen[4].2);
    assert_eq!(seen[5].0, "stdout");
    assert!(seen[6].2.contains("nobody caught me"), "{}", seen[6].2);
}

#[tokio::test]
async fn secrets_and_keys_are_struck_out() {
    let code = "export default () => {
      console.log(`key ${process.env.API_KEY}, service ${process.env.RUN402_SERVICE_KEY}`);
      console.log('Authorization: Bearer abcdefghijklmnop');
      throw new Error(`failed with ${process.env.API_KEY}`) }";
    let project = with(&[("f", code)]).await;
    let secret = json!({"key": "API_KEY", "value": "hunter2-and-more"});
    api().post(&project.path("secrets")).bearer(&project.service_key).json(&secret).send().await.ok();
    project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    let console = project.console("f", "", 3).await;
    let text = json!(console).to_string();
    assert!(!text.contains("hunter2") && !text.contains(&project.service_key) && !text.contains("abcdefghijklmnop"));
    assert!(console.iter().all(|entry| entry["redacted"] == true), "{text}");
    assert_eq!(console[0]["message"], "key [redacted], service [redacted]");
}

#[tokio::test]
async fn a_flood_of_output_is_cut_off() {
    let code = "export default () => { for (let i = 0; i < 2000; i++) console.log('x'.repeat(1000)); console.log('y'.repeat(100000)); return 1 }";
    let project = with(&[("f", code)]).await;
    project.invoke("f").send().await.is(200);
    let console = project.console("f", "?tail=1000", 10).await;
    let total: usize = console.iter().map(|entry| entry["message"].as_str().expect("text").len()).sum();
    assert!(total <= 66 * 1024, "{total}");
}

#[tokio::test]
async fn a_file_and_line_of_the_author_is_in_the_stack() {
    let code = "const help = (x) => {\n  return x.y.z;\n};\n\nexport default async () => {\n  await null;\n  return help({});\n};\n";
    let project = with(&[("f", code)]).await;
    project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    let console = project.console("f", "", 1).await;
    let message = console[0]["message"].as_str().expect("text");
    assert!(message.contains(":2:") && message.contains(":7:") && message.contains("help"), "{message}");
}
