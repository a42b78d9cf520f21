//! Releases that flip under load (contract 03 §8, what flips together; check 17 of §17, check 14 of 04).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use crate::support::{
    Answer, Appliance, Project,
    content::sha256,
    deploy::{migration, site},
};

const DEPLOYS: u32 = 50;
/// Readers of the live host, each on a connection of its own; as many more read deployment hosts.
const READERS: usize = 4;

/// A release of which every part says its number: page, script, function and table.
fn spec(number: u32) -> (Value, Vec<Vec<u8>>) {
    let text = number.to_string();
    let (replace, objects) = site(&[("index.html", text.as_str()), ("app.js", text.as_str())]);
    let source = format!("export default () => new Response('{number}')").into_bytes();
    let code = json!({"sha256": sha256(&source), "size": source.len()});
    let sql = match number {
        1 => "create table v(n int); insert into v values (1)".to_owned(),
        _ => format!("update v set n = {number}"),
    };
    let mut spec = json!({
        "site": {"replace": replace},
        "functions": {"replace": {"version": {"runtime": "node22", "source": code}}},
        "routes": {"replace": [{"pattern": "/version", "target": {"type": "function", "name": "version"}}]},
        "database": {"migrations": [migration(&text, &sql)]},
    });
    if number == 1 {
        let table = json!({"name": "v", "expose": true, "policy": "public_read_authenticated_write"});
        spec["database"]["expose"] = json!({"version": "1", "tables": [table]});
    }
    let mut objects: Vec<Vec<u8>> = objects.into_iter().map(<[u8]>::to_vec).collect();
    objects.push(source);
    (spec, objects)
}

/// What the readers share.
struct Watch {
    project: Project,
    host: String,
    /// Whether this box runs functions.
    has_functions: bool,
    /// Hosts of the deployments so far, with their numbers.
    deployments: Mutex<Vec<(String, u32)>>,
    /// The number every release was seen with.
    releases: Mutex<HashMap<String, u32>>,
    over: AtomicBool,
    /// Page sets that began and ended with one release.
    whole: AtomicU32,
    /// Answers of a closed gate.
    gated: AtomicU32,
}

impl Watch {
    async fn ask(&self, host: &str, path: &str) -> Answer {
        self.project.api.get(path).header("host", host).api_key(&self.project.anon_key).send().await
    }

    /// The number a part of a release says.
    async fn number(&self, host: &str, path: &str) -> u32 {
        let answer = self.ask(host, path).await;
        assert_eq!(answer.status, 200, "{host}: {answer}");
        let number = answer.text().parse().unwrap_or_else(|_| panic!("no number: {answer}"));
        if let Some(release) = answer.header("x-run402-release-id") {
            let mut releases = self.releases.lock().expect("no reader failed");
            let known = *releases.entry(release.to_owned()).or_insert(number);
            assert_eq!(known, number, "{release} has two versions: {answer}");
        }
        number
    }

    /// The number in the table; a closed gate is waited out.
    async fn row(&self) -> u32 {
        loop {
            let answer = self.ask(&self.host, "/rest/v1/v?select=n").await;
            if answer.status != 503 {
                return u32::try_from(answer.is(200)[0]["n"].as_u64().expect("a number")).expect("small");
            }
            answer.refused(503, "MIGRATE_GATE_ACTIVE");
            self.gated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Reads page sets of the live host. A set may meet a flip; then the later parts belong to the later release, and
    /// no part to an earlier one than a part read before.
    async fn read_live(self: Arc<Self>) {
        while !self.over.load(Ordering::Relaxed) {
            let mut set = vec![self.number(&self.host, "/").await, self.number(&self.host, "/app.js").await];
            if self.has_functions {
                set.push(self.number(&self.host, "/version").await);
            }
            set.push(self.row().await);
            set.push(self.number(&self.host, "/").await);
            assert!(set.is_sorted(), "an older release after a newer one: {set:?}");
            if set.first() == set.last() {
                self.whole.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reads page sets of deployment hosts: exactly one release each, for ever.
    async fn read_deployments(self: Arc<Self>, reader: usize) {
        let mut turn = reader;
        while !self.over.load(Ordering::Relaxed) {
            let (host, number) = {
                let deployments = self.deployments.lock().expect("no reader failed");
                // The newest one every other time.
                let index = if turn.is_multiple_of(2) { deployments.len() - 1 } else { turn % deployments.len() };
                deployments[index].clone()
            };
            turn += 1;
            for path in ["/", "/app.js", "/version"] {
                if self.has_functions || path != "/version" {
                    assert_eq!(self.number(&host, path).await, number, "{path} of {host}");
                }
            }
        }
    }
}

async fn deploy(project: &Project, number: u32) -> Value {
    let (spec, objects) = spec(number);
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    project.deploy(&spec, &objects).await
}

/// The host of one of the URLs of a deploy, with its port.
fn host(deployed: &Value, key: &str) -> String {
    let url: url::Url = deployed["urls"][key].as_str().expect("a URL").parse().expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

#[tokio::test]
async fn fifty_flips_under_load_never_show_two_releases_as_one() {
    let project = Appliance::shared().api().provision().await;
    let first = deploy(&project, 1).await;
    let live = host(&first, "project");
    let probe = project.api.get("/version").header("host", &live).send().await;
    assert!(probe.status == 200 || probe.status == 501, "{probe}");
    let watch = Arc::new(Watch {
        has_functions: probe.status == 200,
        deployments: Mutex::new(vec![(host(&first, "release"), 1)]),
        host: live,
        project: project.clone(),
        releases: Mutex::default(),
        over: AtomicBool::new(false),
        whole: AtomicU32::new(0),
        gated: AtomicU32::new(0),
    });
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..READERS {
        readers.spawn(Arc::clone(&watch).read_live());
        readers.spawn(Arc::clone(&watch).read_deployments(reader));
    }
    for number in 2..=DEPLOYS + 1 {
        let deployed = deploy(&project, number).await;
        watch.deployments.lock().expect("no reader failed").push((host(&deployed, "release"), number));
        assert_eq!(watch.number(&watch.host, "/").await, number, "live when its commit answers");
        if readers.try_join_next().is_some() {
            break;
        }
    }
    watch.over.store(true, Ordering::Relaxed);
    while let Some(ended) = readers.join_next().await {
        ended.expect("no page set was mixed");
    }
    let seen = watch.releases.lock().expect("no reader failed").len();
    let (whole, gated) = (watch.whole.load(Ordering::Relaxed), watch.gated.load(Ordering::Relaxed));
    println!("{seen} releases seen, {whole} page sets of one release, {gated} answers of the gate");
    assert!(whole > DEPLOYS, "the readers were there: {whole}");
    assert_eq!(watch.row().await, DEPLOYS + 1);
    assert_eq!(project.live().await["release_generation"], DEPLOYS + 1);
}
