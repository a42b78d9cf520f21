//! The network as a guest meets it.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Redirect,
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{EgressSettings, Failure, Limits, Modules, Platform, Request, Sandbox, SandboxSettings, text};

#[tokio::test]
async fn a_function_cannot_reach_addresses_that_are_not_public() {
    for url in [
        "http://127.0.0.1:1/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost:1/",
        "http://0.0.0.0/",
        "http://2130706433/",
    ] {
        let source = format!(
            "export default () => fetch('{url}').then(() => 'reached', (e) => `${{e.name}} ${{e.message}} ${{e.cause?.code}}`)"
        );
        assert_eq!(text(&source).await, "\"TypeError fetch failed ERR_EGRESS_DENIED\"", "{url}");
    }
    let lookup = "import dns from 'node:dns/promises'; export default () => dns.lookup('localhost').then(() => 'found', (e) => e.code)";
    assert_eq!(text(lookup).await, "\"ERR_EGRESS_DENIED\"");
}

/// A sandbox whose functions may reach this machine's loopback.
fn open() -> &'static Sandbox {
    static OPEN: OnceLock<Sandbox> = OnceLock::new();
    OPEN.get_or_init(|| {
        let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sandbox-cache");
        let egress =
            EgressSettings { allow: vec!["127.0.0.0/8".to_owned()], max_body_mb: 1, ..EgressSettings::default() };
        let settings = SandboxSettings { max_instances: 20, threads: 1, egress, ..SandboxSettings::default() };
        Sandbox::start(settings, cache, [3; 32]).unwrap()
    })
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A server to talk to; answers its base URL.
async fn server() -> String {
    let endless = || async {
        let chunks = stream::iter(0..).then(|n: u32| async move {
            if n > 0 {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            Ok::<_, std::io::Error>(Bytes::from_static(b"first"))
        });
        Body::from_stream(chunks)
    };
    let router = Router::new()
        .route(
            "/hello",
            any(|headers: HeaderMap, body: Bytes| async move {
                let seen = headers.get("authorization").is_some();
                format!("hello {} {}", String::from_utf8_lossy(&body), if seen { "with" } else { "without" })
            }),
        )
        .route("/found", any(|| async { (StatusCode::FOUND, [(header::LOCATION, "/hello#there")]) }))
        .route("/kept", any(|| async { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/hello")]) }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/inside", get(|| async { Redirect::temporary("http://10.0.0.1/") }))
        .route("/gzip", get(|| async { ([(header::CONTENT_ENCODING, "gzip")], gzipped(&"text ".repeat(1000))) }))
        .route("/bomb", get(|| async { ([(header::CONTENT_ENCODING, "gzip")], gzipped(&"0".repeat(20 << 20))) }))
        .route("/cookies", get(|| async { [("set-cookie", "a=1"), ("x-a", "b")] }))
        .route("/endless", get(endless));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// Runs the body of a handler that has `base` and gives JSON back.
async fn ask(body: &str) -> Result<serde_json::Value, Failure> {
    let source = format!("const base = '{}'; export default async () => {{ {body} }}", server().await);
    let image = open().compile(Modules::single(source)).await?;
    let limits = Limits { timeout: Duration::from_secs(10), ..Limits::default() };
    let program = Arc::new(open().program(image, &BTreeMap::new(), limits));
    let request = Request { method: "GET".to_owned(), url: "http://localhost/".to_owned(), ..Request::default() };
    let answer = open().call(&program, request, Arc::new(Platform::default())).await?;
    Ok(serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test]
async fn redirects_are_followed_returned_or_refused_as_asked() {
    let followed = "const r = await fetch(base + '/found', { method: 'POST', body: 'x', headers: { authorization: 'a' } }); return [r.status, r.redirected, r.url.slice(base.length), await r.text()]";
    assert_eq!(ask(followed).await.unwrap(), serde_json::json!([200, true, "/hello", "hello  with"]));
    let kept = "return (await fetch(base + '/kept', { method: 'POST', body: 'x' })).text()";
    assert_eq!(ask(kept).await.unwrap(), "hello x without");
    let manual =
        "const r = await fetch(base + '/found', { redirect: 'manual' }); return [r.status, r.headers.get('location')]";
    assert_eq!(ask(manual).await.unwrap(), serde_json::json!([302, "/hello#there"]));
    for (path, mode, expected) in
        [("/found", "error", "unexpected redirect"), ("/loop", "follow", "redirect count exceeded")]
    {
        let body =
            format!("return fetch(base + '{path}', {{ redirect: '{mode}' }}).then(() => 'no', (e) => e.cause.message)");
        assert_eq!(ask(&body).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn every_hop_of_a_redirect_is_checked() {
    let body = "return fetch(base + '/inside').then(() => 'reached', (e) => e.cause.code)";
    assert_eq!(ask(body).await.unwrap(), "ERR_EGRESS_DENIED");
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let upload = "const body = new ReadableStream({ start(c) { for (const t of ['a', 'b', 'c']) c.enqueue(new TextEncoder().encode(t)); c.close(); } });
        return (await fetch(base + '/hello', { method: 'POST', body, duplex: 'half' })).text()";
    assert_eq!(ask(upload).await.unwrap(), "hello abc without");
    let first = "const r = await fetch(base + '/endless'); const reader = r.body.getReader(); const { value } = await reader.read(); await reader.cancel(); return new TextDecoder().decode(value)";
    assert_eq!(ask(first).await.unwrap(), "first");
    let gzip = "const r = await fetch(base + '/gzip'); const t = await r.text(); return [t.length, t.slice(0, 5)]";
    assert_eq!(ask(gzip).await.unwrap(), serde_json::json!([5000, "text "]));
    let node = "const http = require('node:http'); return new Promise((done, fail) => http.get(base + '/hello', (res) => { let t = ''; res.on('data', (c) => t += c); res.on('end', () => done([res.statusCode, t])); }).on('error', fail))";
    assert_eq!(ask(node).await.unwrap(), serde_json::json!([200, "hello  without"]));
}

#[tokio::test]
async fn aborting_ends_a_fetch_and_its_body() {
    let waiting = "const c = new AbortController(); const r = await fetch(base + '/endless', { signal: c.signal }); setTimeout(() => c.abort(), 20); return r.text().then(() => 'all', (e) => e.name)";
    assert_eq!(ask(waiting).await.unwrap(), "AbortError");
    let timeout = "return fetch(base + '/endless', { signal: AbortSignal.timeout(30) }).then((r) => r.text()).then(() => 'all', (e) => e.name)";
    assert_eq!(ask(timeout).await.unwrap(), "TimeoutError");
}

#[tokio::test]
async fn a_response_body_is_limited_after_decompression() {
    let bomb = "return fetch(base + '/bomb').then((r) => r.text()).then((t) => t.length, (e) => e.message)";
    assert_eq!(ask(bomb).await.unwrap(), "the response body is too long");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let refused = "return fetch('http://127.0.0.1:1/').then(() => 'open', (e) => [e.message, e.cause.code])";
    assert_eq!(ask(refused).await.unwrap(), serde_json::json!(["fetch failed", "ECONNREFUSED"]));
}

/// A server that answers one byte at a time, for ever; it counts connections that were closed on it.
async fn dripping(before: &'static [u8]) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let closed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = closed.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 1024]).await;
                let mut outcome = socket.write_all(before).await;
                while outcome.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    outcome = socket.write_all(b"x").await;
                }
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    (url, closed)
}

#[tokio::test]
async fn a_server_that_drips_is_left_at_the_deadline_and_hung_up_on() {
    for before in [&b""[..], b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"] {
        let (url, closed) = dripping(before).await;
        let source = format!("export default async () => (await fetch('{url}')).text()");
        let image = open().compile(Modules::single(source)).await.unwrap();
        let limits = Limits { timeout: Duration::from_millis(400), ..Limits::default() };
        let program = Arc::new(open().program(image, &BTreeMap::new(), limits));
        let request = Request { method: "GET".to_owned(), url: "http://localhost/".to_owned(), ..Request::default() };
        let outcome = open().call(&program, request, Arc::new(Platform::default())).await;
        let left = matches!(outcome, Err(Failure::Timeout)) || (before.is_empty() && outcome.is_err());
        assert!(left, "{outcome:?}");
        for _ in 0..100 {
            if closed.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(closed.load(std::sync::atomic::Ordering::SeqCst), 1, "{}", String::from_utf8_lossy(before));
    }
}

#[tokio::test]
async fn operations_at_a_time_are_limited() {
    let body = "const controller = new AbortController();
        const all = Array.from({ length: 300 }, () => fetch(base + '/endless', { signal: controller.signal }).then((r) => r.text()).catch((e) => String(e.cause?.message ?? e.message ?? e)));
        setTimeout(() => controller.abort(), 300);
        const told = await Promise.all(all);
        return told.filter((text) => text.includes('operations at a time')).length";
    assert_eq!(ask(body).await.unwrap(), 44);
}
