//! Static files against nginx and Caddy, side by side: `cargo bench --bench static`.
//!
//! Every server gets one worker on CPU 0, the client CPU 1; runs alternate and the medians count. nginx and Caddy are
//! taken from `PATH`, or from `NGINX` and `CADDY`; without one its column is left out. nginx has its open-file cache
//! on and both serve files that were compressed beforehand, as the appliance does.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::json;
use support::{Appliance, appliance::temporary_dir, deploy, process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);
/// CPU of the servers and of the client.
const SERVERS: usize = 0;
const CLIENT: usize = 1;

struct Server {
    name: &'static str,
    address: SocketAddr,
    host: String,
    /// Processes whose CPU time counts.
    pids: Vec<u32>,
    _child: Option<Guarded>,
}

/// Ends with us.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        process::signal(self.0.id(), nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
        process::release(self.0.id());
    }
}

/// One kind of request.
struct Ask {
    name: &'static str,
    path: &'static str,
    headers: &'static str,
    /// Repeats the tag of the first answer in `If-None-Match`.
    revalidate: bool,
}

const ASKS: [Ask; 6] = [
    Ask { name: "4 KiB", path: "/small.bin", headers: "", revalidate: false },
    Ask { name: "4 KiB, 304", path: "/small.bin", headers: "", revalidate: true },
    Ask { name: "4 KiB html, gzip", path: "/page.html", headers: "Accept-Encoding: gzip\r\n", revalidate: false },
    Ask { name: "256 KiB", path: "/large.bin", headers: "", revalidate: false },
    Ask { name: "256 KiB js, br", path: "/app.js", headers: "Accept-Encoding: br\r\n", revalidate: false },
    Ask { name: "256 KiB js, gzip", path: "/app.js", headers: "Accept-Encoding: gzip\r\n", revalidate: false },
];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dir = temporary_dir();
    let files = files(dir.path());
    let appliance = Appliance::plan().set("http.threads", "1").boot();
    let host = runtime.block_on(publish(&appliance, &files));
    let mut servers = vec![Server {
        name: "run402",
        address: appliance.address().parse().expect("an address"),
        host,
        pids: vec![appliance.pid()],
        _child: None,
    }];
    servers.extend(nginx(dir.path()));
    servers.extend(caddy(dir.path()));
    for server in &servers {
        server.pids.iter().for_each(|pid| pin(*pid, SERVERS));
    }
    pin(std::process::id(), CLIENT);

    println!("{:<18} {:<8} {:>10} {:>9} {:>12} {:>10}", "", "", "requests/s", "of run402", "CPU µs each", "MiB/s");
    for ask in &ASKS {
        let mut results: BTreeMap<usize, Vec<Sample>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for (index, server) in servers.iter().enumerate() {
                if let Some(sample) = runtime.block_on(load(server, ask)) {
                    results.entry(index).or_default().push(sample);
                }
            }
        }
        let ours = results.get(&0).map_or(0.0, |samples| median(samples, |sample| sample.rate));
        for (index, samples) in &results {
            let rate = median(samples, |sample| sample.rate);
            println!(
                "{:<18} {:<8} {:>10.0} {:>8.2}× {:>12.1} {:>10.1}",
                ask.name,
                servers[*index].name,
                rate,
                rate / ours,
                median(samples, |sample| sample.cpu_micros),
                median(samples, |sample| sample.mib),
            );
        }
    }
}

/// The files every server has, and their compressed forms.
fn files(dir: &Path) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let noise = |length: usize| -> Vec<u8> { (0..length).map(|_| rand::random()).collect() };
    let words = ["export ", "const ", "value", " = ", "function", "(a, b)", " => ", "{ return ", " }", ";\n", "42"];
    let text = |length: usize| -> Vec<u8> {
        let mut text = String::new();
        while text.len() < length {
            text.push_str(words[rand::random_range(0..words.len())]);
        }
        text.truncate(length);
        text.into_bytes()
    };
    let files = vec![
        ("small.bin", "application/octet-stream", noise(4096)),
        ("large.bin", "application/octet-stream", noise(256 * 1024)),
        ("page.html", "text/html; charset=utf-8", text(4096)),
        ("app.js", "text/javascript; charset=utf-8", text(256 * 1024)),
    ];
    for (name, _, bytes) in &files {
        fs::write(dir.join(name), bytes).expect("the directory is ours");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).expect("memory");
        fs::write(dir.join(format!("{name}.gz")), gzip.finish().expect("memory")).expect("the directory is ours");
        let mut packed = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
        packed.write_all(bytes).expect("memory");
        fs::write(dir.join(format!("{name}.br")), packed.into_inner()).expect("the directory is ours");
    }
    files
}

async fn publish(appliance: &Appliance, files: &[(&str, &str, Vec<u8>)]) -> String {
    let api = appliance.api();
    let project = api.provision().await;
    let map: serde_json::Map<String, serde_json::Value> = files
        .iter()
        .map(|(name, content_type, bytes)| ((*name).to_owned(), deploy::file(bytes, content_type)))
        .collect();
    let objects: Vec<&[u8]> = files.iter().map(|(_, _, bytes)| bytes.as_slice()).collect();
    project.deploy(&json!({"site": {"replace": map}}), &objects).await;
    let detail = api.get(&format!("/projects/v1/{}", project.id)).wallet(&project.owner).send().await.is(200);
    format!("pr-{}.localhost", detail["public_id"].as_str().expect("a public id"))
}

fn program(variable: &str, name: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from).or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
    });
    if found.is_none() {
        println!("no {name}: install it or name it in {variable} to compare with it");
    }
    found
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("an address").port()
}

fn start(name: &'static str, command: &mut Command, port: u16) -> Option<Server> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    process::guard(child.id());
    let guarded = Guarded(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            println!("{name} does not start; it is left out");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut pids = process::descendants(guarded.0.id());
    pids.push(guarded.0.id());
    Some(Server { name, address, host: "localhost".to_owned(), pids, _child: Some(guarded) })
}

fn nginx(dir: &Path) -> Option<Server> {
    let program = program("NGINX", "nginx")?;
    let (port, root) = (free_port(), dir.display());
    let config = format!(
        "daemon off; worker_processes 1; pid {root}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;\n\
         open_file_cache max=100; gzip_static on; default_type application/octet-stream;\n\
         types {{ text/html html; text/javascript js; }}\n\
         server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).expect("the directory is ours");
    start("nginx", Command::new(program).arg("-c").arg(&file).args(["-e", "/dev/null"]), port)
}

fn caddy(dir: &Path) -> Option<Server> {
    let program = program("CADDY", "caddy")?;
    let (port, root) = (free_port(), dir.display());
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\nhttp://localhost:{port} {{\n bind 127.0.0.1\n root * {root}\n \
         file_server {{\n  precompressed br gzip\n }}\n}}\n"
    );
    let file = dir.join("Caddyfile");
    fs::write(&file, config).expect("the directory is ours");
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("GOMAXPROCS", "1").env("HOME", dir);
    start("caddy", &mut command, port)
}

/// Every thread of the process.
fn pin(pid: u32, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU");
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for task in tasks.flatten() {
        if let Some(id) = task.file_name().to_str().and_then(|id| id.parse().ok()) {
            // A machine with one CPU has nothing to pin.
            let _ = sched_setaffinity(Pid::from_raw(id), &set);
        }
    }
}

#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_micros: f64,
    mib: f64,
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// User and system time, in microseconds.
fn cpu_micros(pids: &[u32]) -> f64 {
    pids.iter()
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        })
        .sum::<f64>()
        * 10_000.0
}

/// Keeps every connection busy for one round; none when the server does not have the file in that form.
async fn load(server: &Server, ask: &Ask) -> Option<Sample> {
    let mut request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", ask.path, server.host, ask.headers);
    let mut first = TcpStream::connect(server.address).await.expect("it listens");
    let (_, head) = exchange(&mut first, request.as_bytes()).await;
    if ask.revalidate {
        let tag = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with("etag:").then(|| line[5..].trim().to_owned()))?;
        request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nIf-None-Match: {tag}\r\n\r\n", ask.path, server.host);
    }
    let (length, head) = exchange(&mut first, request.as_bytes()).await;
    let coding = ask.headers.strip_prefix("Accept-Encoding: ").map(str::trim_end);
    let packed = head.to_ascii_lowercase().contains("content-encoding:");
    assert!(head.starts_with(if ask.revalidate { "HTTP/1.1 304" } else { "HTTP/1.1 200" }), "{}: {head}", server.name);
    if coding.is_some() != packed || coding.is_some_and(|coding| !head.contains(coding)) {
        return None;
    }
    let before = cpu_micros(&server.pids);
    let started = Instant::now();
    let deadline = started + ROUND;
    let local = tokio::task::LocalSet::new();
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (address, request) = (server.address, request.clone().into_bytes());
        workers.push(local.spawn_local(async move {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket option");
            let mut buffer = vec![0; 64 * 1024];
            let mut done = 0_u64;
            while Instant::now() < deadline {
                stream.write_all(&request).await.expect("it reads");
                let mut left = length;
                while left > 0 {
                    let read = stream.read(&mut buffer).await.expect("it answers");
                    assert!(read > 0 && read <= left, "an answer of another length");
                    left -= read;
                }
                done += 1;
            }
            done
        }));
    }
    let mut done = 0;
    local
        .run_until(async {
            for worker in workers {
                done += worker.await.expect("no worker fails");
            }
        })
        .await;
    let took = started.elapsed().as_secs_f64();
    let rate = done as f64 / took;
    let cpu = (cpu_micros(&server.pids) - before) / done as f64;
    Some(Sample { rate, cpu_micros: cpu, mib: rate * length as f64 / 1_048_576.0 })
}

/// One request; the length of the whole answer and its head.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> (usize, String) {
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    loop {
        let mut buffer = vec![0; 64 * 1024];
        let read = stream.read(&mut buffer).await.expect("it answers");
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let body: usize = if head.starts_with("HTTP/1.1 304") {
            0
        } else {
            head.lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")
                        .map(|n| n.trim().parse().expect("a number"))
                })
                .expect("a length")
        };
        let length = end + 4 + body;
        if answer.len() >= length {
            return (length, head);
        }
    }
}
