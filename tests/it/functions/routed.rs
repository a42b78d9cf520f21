//! Functions on paths of a site (contract 05 §4.2, 04 §3; checks 20, 22, 23).

use reqwest::Method;
use serde_json::{Value, json};

use super::{api, function, request_id};
use crate::support::{Answer, Call, Project, deploy::site};

/// A project whose site routes these patterns to one function.
struct Site {
    project: Project,
    host: String,
}

impl Site {
    async fn new(code: &str, routes: Value) -> Self {
        Self::with(code, &json!({}), routes).await
    }

    async fn with(code: &str, more: &Value, routes: Value) -> Self {
        let project = api().provision().await;
        let (files, mut objects) = site(&[("index.html", "<h1>home</h1>"), ("login.html", "<h1>login</h1>")]);
        objects.push(code.as_bytes());
        let spec = json!({
            "site": {"replace": files}, "functions": {"replace": {"f": function(code, more)}},
            "routes": {"replace": routes},
        });
        project.deploy(&spec, &objects).await;
        let host = project.host().await;
        Self { project, host }
    }

    fn call(&self, method: Method, path: &str) -> Call {
        api().call(method, path).header("host", &self.host)
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send().await
    }
}

fn to_function(pattern: &str) -> Value {
    json!([{"pattern": pattern, "target": {"type": "function", "name": "f"}}])
}

fn to_function_for(pattern: &str, methods: &[&str]) -> Value {
    json!([{"pattern": pattern, "methods": methods, "target": {"type": "function", "name": "f"}}])
}

#[tokio::test]
async fn a_route_runs_its_function_with_the_browsers_url() {
    let code = "export default async (req) => Response.json({ m: req.method, u: req.url, b: await req.text(),
                  h: Object.fromEntries(req.headers) })";
    let site = Site::new(code, to_function("/api/*")).await;
    let answer = site
        .call(Method::POST, "/api/x/y?z=1")
        .header("cookie", "a=1; b=2")
        .header("x-run402-user-id", "evil")
        .header("x-forwarded-for", "6.6.6.6")
        .header("authorization", "Bearer t")
        .text("hello")
        .send()
        .await;
    let seen = answer.is(200);
    assert_eq!((&seen["m"], &seen["b"]), (&json!("POST"), &json!("hello")));
    assert_eq!(seen["u"], format!("http://{}/api/x/y?z=1", site.host));
    let headers = &seen["h"];
    assert_eq!((&headers["cookie"], &headers["authorization"]), (&json!("a=1; b=2"), &json!("Bearer t")));
    assert!(headers["x-run402-user-id"].is_null() && headers["x-forwarded-for"].is_null(), "{headers}");
    assert_eq!(headers["x-run402-route-pattern"], "/api/*");
    assert_eq!(headers["x-run402-host"], site.host);
    assert_eq!(headers["x-run402-request-id"], request_id(&answer));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert_eq!(answer.header("x-run402-cache"), Some("dynamic-bypass"));
    assert!(answer.header("access-control-allow-origin").is_none(), "no CORS headers are added");
}

#[tokio::test]
async fn methods_of_a_route_and_the_files_beside_it() {
    let code = "export default (req) => req.method === 'OPTIONS' ? new Response(null, { status: 204 })
                  : new Response('made', { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2']] })";
    let site = Site::new(code, to_function_for("/api/x", &["POST", "OPTIONS"])).await;
    let options = site.call(Method::OPTIONS, "/api/x").send().await;
    assert_eq!(options.status, 204, "answered by the function");
    let post = site.call(Method::POST, "/api/x").send().await;
    let cookies: Vec<_> = post.headers.get_all("set-cookie").iter().collect();
    assert_eq!((post.status.as_u16(), &*post.text()), (200, "made"));
    assert_eq!(cookies, ["a=1", "b=2"]);
    let get = site.get("/api/x").await;
    assert_eq!((get.status.as_u16(), get.json()["code"].as_str()), (405, Some("ROUTE_METHOD_NOT_ALLOWED")));
    assert_eq!(site.get("/").await.text(), "<h1>home</h1>");
}

#[tokio::test]
async fn a_form_may_post_where_a_page_is() {
    let site = Site::new("export default () => 'posted'", to_function_for("/login", &["POST"])).await;
    assert_eq!(site.get("/login").await.text(), "<h1>login</h1>");
    assert_eq!(site.call(Method::POST, "/login").send().await.is(200), "posted");
}

#[tokio::test]
async fn a_head_runs_the_function_and_keeps_its_length() {
    let code = "export default (req) => new Response(req.method === 'HEAD' ? 'headed' : 'got')";
    let site = Site::new(code, to_function_for("/x", &["GET"])).await;
    let head = site.call(Method::HEAD, "/x").send().await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("content-length")), (200, 0, Some("6")));
}

#[tokio::test]
async fn what_is_too_large_goes_neither_in_nor_out() {
    let code = "export default async (req) => { console.log('ran'); return 'x'.repeat(Number((await req.text()) || 7 * 1024 * 1024)) }";
    let site = Site::new(code, to_function("/big")).await;
    let out = site.call(Method::POST, "/big").send().await;
    assert_eq!((out.status.as_u16(), out.json()["code"].as_str()), (502, Some("ROUTED_RESPONSE_TOO_LARGE")));
    let sent = site.call(Method::POST, "/big").body("text/plain", vec![b'9'; 7 * 1024 * 1024]).send().await;
    assert_eq!((sent.status.as_u16(), sent.json()["code"].as_str()), (413, Some("REQUEST_BODY_TOO_LARGE")));
    assert_eq!(site.project.console("f", "", 1).await.len(), 1, "the second did not run");
}

#[tokio::test]
async fn a_routed_failure_has_its_code_and_never_becomes_a_page_of_the_site() {
    let code = "export default (req) => { if (req.url.endsWith('loop')) for (;;) {} throw new Error('s3cret-detail') }";
    let site = Site::with(code, &json!({"config": {"timeout_seconds": 1}}), to_function("/api/*")).await;
    let thrown = site.get("/api/x").await;
    assert_eq!((thrown.status.as_u16(), thrown.json()["code"].as_str()), (500, Some("FUNCTION_RUNTIME_ERROR")));
    assert!(!thrown.text().contains("s3cret-detail"));
    assert_eq!(thrown.json()["request_id"], request_id(&thrown));
    let slow = site.get("/api/loop").await;
    assert_eq!((slow.status.as_u16(), slow.json()["code"].as_str()), (504, Some("FUNCTION_TIMEOUT")));
}

#[tokio::test]
async fn a_thrown_auth_error_leads_a_browser_to_its_page_and_tells_a_program() {
    let code = "const codes = { '/p/a': ['R402_AUTH_REQUIRED', 401], '/p/fresh': ['R402_AUTH_FRESHNESS_REQUIRED', 401],
                  '/p/bad': ['R402_AUTH_INVALID_CREDENTIALS', 401], '/p/role': ['R402_AUTH_INSUFFICIENT_ROLE', 403] };
                export default (req) => { const [code, status] = codes[new URL(req.url).pathname];
                  throw Object.assign(new Error('no'), { code, status }) }";
    let site = Site::new(code, to_function("/p/*")).await;
    let asked = async |path: &str, accept: &str| site.call(Method::GET, path).header("accept", accept).send().await;
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    let page = asked("/p/a?q=1", html).await;
    assert_eq!((page.status.as_u16(), page.header("location")), (303, Some("/auth/sign-in?returnTo=%2Fp%2Fa%3Fq%3D1")));
    let fresh = asked("/p/fresh", html).await;
    assert_eq!((fresh.status.as_u16(), fresh.header("location")), (303, Some("/auth/re-auth?returnTo=%2Fp%2Ffresh")));
    for (path, accept, status, code) in [
        ("/p/a", "application/json", 401, "R402_AUTH_REQUIRED"),
        ("/p/bad", html, 401, "R402_AUTH_INVALID_CREDENTIALS"),
        ("/p/role", "application/json", 403, "R402_AUTH_INSUFFICIENT_ROLE"),
    ] {
        let answer = asked(path, accept).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        if accept == "application/json" {
            assert_eq!(answer.json()["code"], code);
        }
    }
}

#[tokio::test]
async fn a_page_that_crashes_has_the_form_of_its_class() {
    let code = "export default () => { throw new Error('s3cret-detail') }";
    let site = Site::with(code, &json!({"class": "ssr"}), to_function("/page")).await;
    let crashed = site.get("/page").await;
    let body = crashed.is(500);
    assert_eq!((&body["ok"], &body["code"]), (&json!(false), &json!("R402_SSR_RUNTIME_ERROR")));
    assert_eq!(crashed.header("x-run402-error-code"), Some("R402_SSR_RUNTIME_ERROR"));
    assert_eq!(body["requestId"], request_id(&crashed));
    assert!(!crashed.text().contains("s3cret-detail"));
}

#[tokio::test]
async fn an_old_deployment_runs_its_own_code() {
    let site = Site::new("export default () => 'one'", to_function("/f")).await;
    let first = site.project.live().await["release_id"].clone();
    let operations = site.project.operations().await;
    let url = operations[0]["urls"]["deployment"].as_str().or(operations[0]["urls"]["deployment_url"].as_str());
    let host = url.map(|url| url.trim_start_matches("http://").to_owned());
    let changed = "export default () => 'two'";
    let spec = json!({"functions": {"patch": {"set": {"f": function(changed, &json!({}))}}}});
    site.project.deploy(&spec, &[changed.as_bytes()]).await;
    assert_eq!(site.get("/f").await.is(200), "two");
    if let Some(host) = host {
        let old = api().get("/f").header("host", &host).send().await;
        assert_eq!(old.is(200), "one");
    }
    site.project.promote(&first, &[]).await.is(200);
    assert_eq!(site.get("/f").await.is(200), "one");
}
