//! The function sandbox without HTTP: compiling, cold and warm calls, memory of live instances.
//! `cargo bench --bench sandbox`; figures go to README by hand.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use run402::engines::sandbox::{
    HostServices, Limits, LogLine, Modules, OutboundRequest, OutboundResponse, Program, Request, Sandbox,
    SandboxSettings, ServiceError, whole_body,
};
use url::Url;

struct Silent;

#[async_trait]
impl HostServices for Silent {
    fn log(&self, _: LogLine) {}

    fn owns(&self, _: &Url) -> bool {
        true
    }

    async fn dispatch(&self, _: OutboundRequest) -> Result<OutboundResponse, ServiceError> {
        Ok(OutboundResponse { status: 200, headers: Vec::new(), body: whole_body("own") })
    }

    async fn call(&self, name: &str, _: serde_json::Value, _: Vec<Bytes>) -> Result<Vec<u8>, ServiceError> {
        Err(ServiceError::new(name))
    }
}

const HELLO: &str = "export default (req) => new Response('hello ' + new URL(req.url).pathname)";
const FETCH: &str = "export default async () => new Response(await (await fetch('http://own.test/')).text())";

fn line(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |share: usize| samples[(samples.len() - 1) * share / 100].as_secs_f64() * 1e6;
    println!("{what:<32} p50 {:>8.0} µs   p99 {:>8.0} µs   n {}", at(50), at(99), samples.len());
}

fn private_dirty_kb() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let found = maps.lines().find(|line| line.starts_with("Private_Dirty:"));
    found.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

async fn call(sandbox: &Sandbox, program: &Arc<Program>) -> Duration {
    let request = Request { method: "GET".into(), url: "http://localhost/x".into(), ..Request::default() };
    let began = Instant::now();
    let answer = sandbox.call(program, request, Arc::new(Silent)).await.expect("the function answers");
    assert_eq!(answer.status, 200);
    began.elapsed()
}

fn main() {
    let cache = std::env::temp_dir().join(format!("run402-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let began = Instant::now();
        let sandbox = Sandbox::start(
            SandboxSettings { max_instances: 1100, ..SandboxSettings::default() },
            cache.clone(),
            [1; 32],
        )
        .expect("the sandbox starts");
        sandbox.ready().await.expect("the guest compiles");
        println!("first boot (Cranelift)           {:>8.0} ms", began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let again = Sandbox::start(SandboxSettings::default(), cache.clone(), [1; 32]).expect("the sandbox starts");
        again.ready().await.expect("the guest loads");
        println!("later boot (cache)               {:>8.1} ms", began.elapsed().as_secs_f64() * 1e3);
        drop(again);

        let limits = Limits { timeout: Duration::from_secs(60), ..Limits::default() };
        let program = |image| Arc::new(sandbox.program(image, &BTreeMap::new(), limits.clone()));
        let mut compiled = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            sandbox.compile(Modules::single(HELLO)).await.expect("hello compiles");
            compiled.push(began.elapsed());
        }
        line("compile hello", compiled);
        for (name, source) in [("hello", HELLO), ("own fetch", FETCH)] {
            let image = sandbox.compile(Modules::single(source)).await.expect("it compiles");
            println!("image of {name:<23} {:>8} KiB", image.size() / 1024);
            let mut cold = Vec::new();
            for _ in 0..500 {
                let fresh = program(image.clone());
                cold.push(call(&sandbox, &fresh).await);
                sandbox.forget(&fresh);
            }
            line(&format!("{name}, cold"), cold);
            let warm_program = program(image);
            let mut warm = Vec::new();
            for _ in 0..3000 {
                warm.push(call(&sandbox, &warm_program).await);
            }
            line(&format!("{name}, warm"), warm);
        }
        let image = sandbox.compile(Modules::single(HELLO)).await.expect("hello compiles");
        let before = private_dirty_kb();
        let alive: Vec<_> = (0..1000).map(|_| program(image.clone())).collect();
        for one in &alive {
            call(&sandbox, one).await;
        }
        let each = private_dirty_kb().saturating_sub(before) / 1000;
        println!("{} idle instances               {each:>8} KiB private each", sandbox.idle_instances());
    });
    let _ = fs::remove_dir_all(cache);
}
