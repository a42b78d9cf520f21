//! Routes beside static files, and releases whose bytes or rows are damaged (contract 04 §2.5, §2.10, §3, §4.2; checks
//! 8-10 of its list).

use serde_json::{Value, json};

use super::{get, public_host, send};
use crate::support::{Appliance, Project, content::sha256, control, deploy};

fn alias(pattern: &str, file: &str) -> Value {
    json!({"pattern": pattern, "methods": ["GET", "HEAD"], "target": {"type": "static", "file": file}})
}

fn route(pattern: &str, methods: &[&str]) -> Value {
    json!({"pattern": pattern, "methods": methods, "target": {"type": "function", "name": "api"}})
}

/// A site with a function `api` and these routes.
async fn routed(project: &Project, files: &[(&str, &str)], routes: &[Value]) -> String {
    let (replace, mut objects) = deploy::site(files);
    let source = b"export default () => new Response('from the function')";
    objects.push(source);
    let spec = json!({
        "site": {"replace": replace},
        "functions": {"replace": {"api": {"runtime": "node22", "source": deploy::file(source, "text/javascript")}}},
        "routes": {"replace": routes},
    });
    project.deploy(&spec, &objects).await;
    public_host(project).await
}

#[tokio::test]
async fn aliases_that_name_each_other_do_not_go_round() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let (replace, objects) = deploy::site(&[("a.html", "page a"), ("b.html", "page b")]);
    let routes =
        json!({"replace": [alias("/a.html", "b.html"), alias("/b.html", "a.html"), alias("/c", "c/../a.html")]});
    let public = json!({"mode": "explicit", "replace": {}});
    let mut spec = json!({"site": {"replace": replace, "public_paths": public}, "routes": routes});
    let refused = project.plan(&spec).await.refused(400, "INVALID_SPEC");
    assert_eq!(refused["resource"], "routes.replace.2.target.file");
    spec["routes"]["replace"].as_array_mut().unwrap().pop();
    project.deploy(&spec, &objects).await;
    let host = public_host(&project).await;
    for (path, text) in [("/a.html", "page b"), ("/b.html", "page a"), ("/b.html/", "page a")] {
        let answer = get(appliance, &host, path);
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "an alias names a file, not a path: {path}");
    }
    // Where the files are public themselves, an alias with other content contradicts them.
    spec["site"]["public_paths"] = json!({"mode": "implicit"});
    assert_eq!(project.plan(&spec).await.refused(400, "INVALID_SPEC")["resource"], "routes");
}

#[tokio::test]
async fn a_method_miss_serves_the_file_of_that_path_and_nothing_else() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let files = [("index.html", "home"), ("both.html", "file")];
    let host = routed(&project, &files, &[route("/only", &["POST"]), route("/both", &["POST"])]).await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let answer = send(appliance, method, &host, "/only", "");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
        assert!(!answer.text().contains("home"), "{method}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method}");
    }
    assert_eq!(get(appliance, &host, "/only").code(), "ROUTE_METHOD_NOT_ALLOWED");
    let file = get(appliance, &host, "/both");
    assert_eq!((file.status, file.text().as_str()), (200, "file"));
    let other = send(appliance, "DELETE", &host, "/both", "");
    assert_eq!((other.status, other.header("allow")), (405, Some("GET, HEAD, POST")));
}

#[tokio::test]
async fn a_body_over_six_mebibytes_never_reaches_a_function() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let host = routed(&project, &[("index.html", "home")], &[route("/api/*", &["POST"])]).await;
    let call = project.api.post("/api/x").header("host", &host);
    let answer = call.clone().body("application/octet-stream", vec![b'x'; 6 * 1024 * 1024 + 1]).send().await;
    assert_eq!(answer.status, 413, "{answer}");
    let body = answer.json();
    assert_eq!(body["code"], "REQUEST_BODY_TOO_LARGE");
    assert_eq!(body["request_id"].as_str(), answer.header("x-run402-request-id"));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n";
    let refused = send(appliance, "POST", &host, "/api/x", upgrade);
    assert_eq!((refused.status, refused.code().as_str()), (501, "NOT_IMPLEMENTED"));
}

#[tokio::test]
async fn overlong_paths_are_answered_and_served_nothing() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    project.deploy_site(&[("index.html", "home")]).await;
    let host = public_host(&project).await;
    for length in [1_024, 8_000, 60_000, 200_000] {
        let answer = get(appliance, &host, &format!("/{}.png", "a".repeat(length)));
        assert!([404, 414, 431].contains(&answer.status), "{length}: {}", answer.head);
        let dots = get(appliance, &host, &"/..".repeat(length / 3));
        assert!([400, 414, 431].contains(&dots.status), "{length}: {}", dots.head);
        let escapes = get(appliance, &host, &format!("/{}", "%2e%2e%2f".repeat(length / 9)));
        assert!([400, 414, 431].contains(&escapes.status), "{length}: {}", escapes.head);
    }
    let long = format!("{}.txt", "a".repeat(1_021));
    let spec = json!({"site": {"replace": {long.as_str(): deploy::file(b"x", "text/plain")}}});
    project.plan(&spec).await.refused(400, "INVALID_SPEC");
}

#[tokio::test]
async fn a_release_whose_bytes_or_row_are_damaged_fails_closed() {
    let mut appliance = Appliance::plan().boot();
    let (project, other) = (appliance.api().provision().await, appliance.api().provision().await);
    let files =
        [("index.html", "home"), ("lost.txt", "lost bytes"), ("size.txt", "a size of 17 b."), ("ours.txt", "o")];
    let made = project.deploy_site(&files).await;
    other.deploy_site(&[("index.html", "their bytes of another project")]).await;
    let broken = other.deploy_site(&[("index.html", "row")]).await;
    let edit = |release: &Value, from: &str, to: &str| {
        let release = release["release_id"].as_str().unwrap();
        format!("update releases set state = replace(state::text, '{from}', '{to}')::json where id = '{release}';")
    };
    let sql = [
        edit(&made, &sha256(b"lost bytes"), &"ab".repeat(32)),
        edit(&made, "\"size\":15", "\"size\":16"),
        edit(&made, &sha256(b"o"), &sha256(b"their bytes of another project")),
        edit(&made, "\"size\":1,", "\"size\":30,"),
        format!("update releases set state = '7' where id = '{}';", broken["release_id"].as_str().unwrap()),
    ];
    control::sql(&appliance, &sql.concat()).await;
    // What was read before is in memory.
    appliance.stop();
    appliance.start_again();
    let (project, other) = (project.through(&appliance.api()), other.through(&appliance.api()));
    let host = |made: &Value| {
        let url: url::Url = made["urls"]["project"].as_str().unwrap().parse().unwrap();
        url.host_str().unwrap().to_owned()
    };
    let site = host(&made);
    assert_eq!(get(&appliance, &site, "/").text(), "home", "the rest is served");
    let resolved = async |path: &str| {
        let call = project.api.get(&format!("/apply/v1/resolve?host={site}&path={path}")).api_key(&project.anon_key);
        call.send().await.is(200)
    };
    for (path, code, authorization, exists) in [
        ("/lost.txt", "CONTENT_DIGEST_MISSING", "missing_cas_object", false),
        ("/size.txt", "CONTENT_DIGEST_MISSING", "size_mismatch", true),
        ("/ours.txt", "", "unauthorized_cas_object", true),
    ] {
        let answer = get(&appliance, &site, path);
        if !code.is_empty() {
            assert_eq!((answer.status, answer.code().as_str()), (500, code), "{path}: {}", answer.text());
            assert!(!answer.text().contains("home"), "{path}");
        }
        let told = resolved(path).await;
        assert_eq!((&told["match"], &told["result"]), (&json!("static_exact"), &json!(200)), "{path}: {told}");
        assert_eq!(told["authorization_result"], authorization, "{path}: {told}");
        assert_eq!(told["cas_object"]["exists"], exists, "{path}: {told}");
    }
    let answer = get(&appliance, &host(&broken), "/");
    assert_eq!((answer.status, answer.code().as_str()), (502, "ROUTE_MANIFEST_LOAD_FAILED"), "{}", answer.text());
    let read = other.api.get("/apply/v1/releases/active").api_key(&other.anon_key).send().await;
    assert!(read.status.is_server_error(), "{read}");
}
