//! What telling who asks adds to a request of a function: `cargo bench --bench sessions`.
//!
//! One client, one request at a time, the kinds taken in turns, so that what else the machine does falls on all alike.
//! The bar is 0.2 ms of the median.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Api, Appliance, Call, control, deploy::file};

const ROUNDS: usize = 2_000;
const WARM_UP: usize = 100;
const PASSWORD: &str = "correct horse battery";
const CODE: &str = "export default () => new Response('hello')";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let appliance = Appliance::plan().boot();
    runtime.block_on(measure(&appliance));
}

async fn measure(appliance: &Appliance) {
    let api = appliance.api();
    let project = api.provision().await;
    let spec = json!({
        "functions": {"replace": {"f": {"runtime": "node22", "source": file(CODE.as_bytes(), "text/javascript")}}},
        "routes": {"replace": [{"pattern": "/f", "target": {"type": "function", "name": "f"}}]},
    });
    project.deploy(&spec, &[CODE.as_bytes()]).await;
    let public: String = control::control(appliance)
        .await
        .query_one("select public_id from projects where id = $1", &[&project.id])
        .await
        .expect("the project")
        .get(0);
    let host = format!("pr-{public}.localhost:{}", appliance.address().rsplit_once(':').expect("a port").1);
    let credentials = json!({"email": "ann@example.com", "password": PASSWORD});
    api.post("/auth/v1/signup").api_key(&project.anon_key).json(&credentials).send().await.is(201);
    let tokens = api.post("/auth/v1/token").api_key(&project.anon_key).json(&credentials).send().await.is(200);
    let bearer = tokens["access_token"].as_str().expect("a token").to_owned();
    let cookie = sign_in(&api, &host).await;

    let routed = || api.get("/f").header("host", &host);
    let direct = || api.get("/functions/v1/f").api_key(&project.anon_key);
    let mut times = [const { Vec::new() }; 4];
    for round in 0..WARM_UP + ROUNDS {
        let calls: [Call; 4] =
            [routed(), routed().header("cookie", &cookie), direct(), direct().bearer(&bearer)];
        for (call, times) in calls.into_iter().zip(&mut times) {
            let started = Instant::now();
            let answer = call.send().await;
            assert_eq!(answer.status, 200, "{answer}");
            if round >= WARM_UP {
                times.push(started.elapsed());
            }
        }
    }
    let names = ["routed, anonymous", "routed, session cookie", "direct, anon key", "direct, user's token"];
    let medians: Vec<f64> = names.iter().zip(&mut times).map(|(name, times)| report(name, times)).collect();
    println!("a session adds {:>8.3} ms at the median", medians[1] - medians[0]);
    println!("a token adds   {:>8.3} ms at the median", medians[3] - medians[2]);
}

/// A browser's cookie.
async fn sign_in(api: &Api, host: &str) -> String {
    let form = format!("email=ann%40example.com&password={}", PASSWORD.replace(' ', "+"));
    let answer = api
        .post("/auth/sign-in")
        .header("host", host)
        .header("origin", &format!("http://{host}"))
        .body("application/x-www-form-urlencoded", form.into_bytes())
        .send()
        .await;
    let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer}"));
    cookie.split(';').next().expect("a pair").to_owned()
}

/// Prints and answers the median, in milliseconds.
fn report(what: &str, times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{what:<28} p50 {:>8.3} ms   p95 {:>8.3} ms   n {}", at(50), at(95), times.len());
    at(50)
}
