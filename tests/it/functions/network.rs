//! What functions reach: this box without a socket, the world only at public addresses (contract 05 §4.4, §8.8;
//! check 32).

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{api, deploy, with};
use crate::support::{Appliance, deploy::site};

/// Fetches what it is told, and says what came of it.
const FETCH: &str = "export default async (req) => {
    const { url, ...init } = await req.json();
    try { const r = await fetch(url, init); return { status: r.status, text: await r.text(), headers: Object.fromEntries(r.headers), url: r.url } }
    catch (e) { return { name: e.name, code: e.cause?.code ?? null } } }";

#[tokio::test]
async fn nothing_private_is_reachable() {
    let project = with(&[("go", FETCH)]).await;
    // Somebody listens; who is asked must not be he.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let six = TcpListener::bind("[::1]:0").ok();
    let port6 = six.as_ref().map_or(1, |six| six.local_addr().expect("an address").port());
    let reached = thread::spawn(move || {
        listener.set_nonblocking(true).expect("a socket option");
        thread::sleep(Duration::from_secs(3));
        listener.accept().is_ok()
    });
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://[::1]:{port6}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://10.0.0.1/".into(),
        "http://192.168.1.1/".into(),
        "http://172.16.0.1/".into(),
        "http://100.64.0.1/".into(),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://[fd00:ec2::254]/".into(),
        "http://[fe80::1]/".into(),
        "http://[64:ff9b::7f00:1]/".into(),
    ] {
        let said = project.invoke("go").json(&json!({"url": url})).send().await.is(200);
        assert_eq!(said, json!({"name": "TypeError", "code": "ERR_EGRESS_DENIED"}), "{url}");
    }
    assert!(!reached.join().expect("a verdict"), "a connection was made");
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused() {
    // On a box with a domain `localhost` is a name like any other, and resolves to the machine.
    let appliance = Appliance::plan().set("domain", "example.test").set("public_url", "http://api.example.test").boot();
    let project = appliance.api().provision().await;
    deploy(&project, &[("go", FETCH, json!({}))]).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let own_port = appliance.address().rsplit(':').next().expect("a port").to_owned();
    for url in [format!("http://localhost:{port}/"), format!("http://localhost:{own_port}/health")] {
        let said = project.invoke("go").json(&json!({"url": url})).send().await.is(200);
        assert_eq!(said, json!({"name": "TypeError", "code": "ERR_EGRESS_DENIED"}), "{url}");
    }
    let own = project.invoke("go").json(&json!({"url": "https://api.example.test/health"})).send().await.is(200);
    assert_eq!(own["status"], 200, "{own}");
}

#[tokio::test]
async fn the_boxs_own_hosts_are_answered_in_process() {
    let project = api().provision().await;
    let (files, mut objects) = site(&[("index.html", "<h1>home</h1>")]);
    objects.push(FETCH.as_bytes());
    let name = format!("fn-{}", &project.id[project.id.len() - 12..].to_ascii_lowercase().replace('_', "x"));
    let spec = json!({
        "site": {"replace": files}, "functions": {"replace": {"go": super::function(FETCH, &json!({}))}},
        "subdomains": {"set": [name]},
    });
    project.deploy(&spec, &objects).await;
    let go = async |request: Value| project.invoke("go").json(&request).send().await.is(200);
    let host = project.host().await;
    let base = host.split_once(':').map_or(host.as_str(), |(name, _)| name);
    for url in [
        format!("http://{host}/"),
        // Port and scheme do not matter.
        format!("https://{base}/"),
        format!("http://{base}:9/"),
        format!("https://{name}.localhost/"),
    ] {
        let said = go(json!({"url": url})).await;
        assert_eq!((&said["status"], &said["text"]), (&json!(200), &json!("<h1>home</h1>")), "{url}: {said}");
    }
    // The API under its own name and the cloud's, with its own authentication.
    let rest = |host: &str| format!("{host}/projects/v1/admin/{}/functions", project.id);
    for host in [api().base_url().replace("127.0.0.1", "localhost"), "https://api.run402.com".to_owned()] {
        let refused = go(json!({"url": rest(&host)})).await;
        assert_eq!(refused["status"], 401, "{refused}");
        let key = format!("Bearer {}", project.service_key);
        let listed = go(json!({"url": rest(&host), "headers": {"authorization": key}})).await;
        assert_eq!(listed["status"], 200, "{listed}");
        assert!(listed["text"].as_str().is_some_and(|text| text.contains("\"go\"")));
    }
    // What only the machine's owner may see is not for functions of it.
    let metrics = go(json!({"url": "https://api.run402.com/metrics"})).await;
    assert_eq!(metrics["status"], 401, "{metrics}");
    let unknown = go(json!({"url": "https://api.run402.com/nope"})).await;
    assert_eq!(unknown["status"], 404);
}

#[tokio::test]
async fn bodies_of_any_size_pass_between_functions() {
    let big = "export default async (req) => new Response(await req.bytes())";
    let ask = "export default async () => {
      const url = process.env.RUN402_API_BASE + '/functions/v1/back', headers = { apikey: process.env.RUN402_ANON_KEY };
      const sizes = [];
      for (const size of [0, 1, 65536, 65537, 3 << 20]) {
        const r = await fetch(url, { method: 'POST', headers, body: new Uint8Array(size).fill(7) });
        const bytes = await r.bytes(); sizes.push([r.status, bytes.length, bytes.every((b) => b === 7)]);
      }
      const stream = new ReadableStream({ start(c) { for (let i = 0; i < 10; i++) c.enqueue(new Uint8Array(1000).fill(7)); c.close() } });
      const r = await fetch(url, { method: 'POST', headers, body: stream, duplex: 'half' });
      sizes.push([r.status, (await r.bytes()).length, true]);
      const over = await fetch(url, { method: 'POST', headers, body: new Uint8Array((6 << 20) + 1) });
      sizes.push([over.status, (await over.json()).code]);
      return sizes }";
    let project = with(&[("back", big), ("ask", ask)]).await;
    let said = project.invoke("ask").send().await.is(200);
    let sizes = [0, 1, 65536, 65537, 3 << 20, 10_000].map(|size| json!([200, size, true]));
    let mut expected: Vec<Value> = sizes.to_vec();
    expected.push(json!([413, "REQUEST_BODY_TOO_LARGE"]));
    assert_eq!(said, json!(expected));
}

#[tokio::test]
async fn nested_calls_never_wait_for_each_other() {
    let appliance = Appliance::plan().set("functions.running_per_project", "1").boot();
    let project = appliance.api().provision().await;
    let code = "export default async (req) => {
      const left = Number(new URL(req.url).searchParams.get('left'));
      if (left === 0) return ['bottom'];
      const r = await fetch(`${process.env.RUN402_API_BASE}/functions/v1/deep?left=${left - 1}`, { headers: { apikey: process.env.RUN402_ANON_KEY } });
      return r.ok ? [left, ...await r.json()] : [left, r.status, (await r.json()).code] }";
    deploy(&project, &[("deep", code, json!({}))]).await;
    // One place a project, taken by the first: three levels deep all the same.
    let began = Instant::now();
    assert_eq!(project.invoke("deep?left=3").send().await.is(200), json!([3, 2, 1, "bottom"]));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // For ever is eight.
    let said = project.invoke("deep?left=99").send().await.is(200);
    let levels = said.as_array().expect("levels");
    assert_eq!(levels[levels.len() - 2..], [json!(508), json!("FUNCTION_LOOP_DETECTED")], "{said}");
    assert_eq!(levels.len(), 9 + 2);
}

#[tokio::test]
async fn a_function_triggers_another_without_taking_its_own_place() {
    let appliance = Appliance::plan().set("functions.running_per_project", "1").boot();
    let project = appliance.api().provision().await;
    let code = "export default async () => {
      const { RUN402_API_BASE: base, RUN402_PROJECT_ID: id, RUN402_SERVICE_KEY: key } = process.env;
      const r = await fetch(`${base}/projects/v1/admin/${id}/functions/other/trigger`, { method: 'POST', headers: { authorization: `Bearer ${key}` } });
      return [r.status, await r.json()] }";
    deploy(&project, &[("f", code, json!({})), ("other", "export default () => 'done'", json!({}))]).await;
    assert_eq!(project.invoke("f").send().await.is(200), json!([200, {"status": 200, "body": "done"}]));
}

#[tokio::test]
async fn calls_of_functions_are_metered_like_any() {
    let project = with(&[("go", FETCH)]).await;
    let calls = async || project.usage().await["api_calls"].as_i64().unwrap_or_default();
    let before = calls().await;
    let url = format!("{}/rest/v1/nothing", api().base_url().replace("127.0.0.1", "localhost"));
    let request = json!({"url": url, "headers": {"apikey": project.anon_key}});
    let said = project.invoke("go").json(&request).send().await.is(200);
    assert_ne!(said["status"], 200, "{said}");
    crate::support::eventually("both calls are counted", Duration::from_secs(10), async || {
        (calls().await >= before + 2).then_some(())
    })
    .await;
}
