//! Static files: lookup, headers, conditions, ranges, compression (contract 04 §2).

use std::io::Read;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{get, public_host, raw, send};
use crate::support::{Appliance, Project, content::sha256, deploy};

const INDEX: &str = "<!doctype html><title>home</title>";

/// The site of acceptance check 1, with a script of 10 KiB.
async fn example() -> (Project, String) {
    let project = Appliance::shared().api().provision().await;
    let script = script();
    project
        .deploy_site(&[
            ("index.html", INDEX),
            ("docs.html", "docs"),
            ("dir/index.html", "dir"),
            ("app.js", &script),
            ("css/app-0a1b2c3d.css", "a{}"),
            ("pic.png", "png"),
            (".well-known/x.json", "{}"),
        ])
        .await;
    let host = public_host(&project).await;
    (project, host)
}

fn script() -> String {
    "export const add = (a, b) => a + b;\n".repeat(285)
}

#[tokio::test]
async fn files_are_served_with_their_headers() {
    let appliance = Appliance::shared();
    let (_, host) = example().await;
    let home = get(appliance, &host, "/");
    assert_eq!((home.status, home.text().as_str()), (200, INDEX), "{}", home.head);
    let digest = sha256(INDEX.as_bytes());
    assert_eq!(home.header("etag"), Some(format!("\"sha256-{digest}\"").as_str()));
    assert_eq!(home.header("x-run402-content-sha256"), Some(digest.as_str()));
    let encoded = BASE64_STANDARD.encode(hex::decode(&digest).unwrap());
    assert_eq!(home.header("content-digest"), Some(format!("sha-256=:{encoded}:").as_str()));
    assert_eq!(home.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(home.header("content-length"), Some(INDEX.len().to_string().as_str()));
    assert_eq!(home.header("cache-control"), Some("public, max-age=0, must-revalidate"));
    assert_eq!(home.header("accept-ranges"), Some("bytes"));
    assert_eq!(home.header("x-content-type-options"), Some("nosniff"));
    assert!(home.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
    assert!(home.header("x-run402-release-id").is_some_and(|id| id.starts_with("rel_")));
    for absent in ["set-cookie", "access-control-allow-origin", "content-security-policy", "strict-transport-security"]
    {
        assert_eq!(home.header(absent), None, "{absent}");
    }
    let css = get(appliance, &host, "/css/app-0a1b2c3d.css");
    assert_eq!(css.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(get(appliance, &host, "/app.js").header("cache-control"), Some("public, max-age=0, must-revalidate"));
    assert_eq!(get(appliance, &host, "/.well-known/x.json").status, 200);
}

#[tokio::test]
async fn directories_clean_urls_and_the_spa_fallback_are_served_in_place() {
    let appliance = Appliance::shared();
    let (_, host) = example().await;
    for (target, text) in [
        ("/dir", "dir"),
        ("/dir/", "dir"),
        ("/dir/index.html", "dir"),
        ("/docs", "docs"),
        ("/docs?x=1", "docs"),
        ("/%64ocs", "docs"),
        ("/no/such/page", INDEX),
    ] {
        let answer = get(appliance, &host, target);
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "{target}");
    }
    let missing = get(appliance, &host, "/no/such.png");
    assert_eq!((missing.status, missing.code().as_str()), (404, "STATIC_NOT_FOUND"));
    assert_eq!(missing.header("cache-control"), Some("no-store"));
    for (method, target) in [("POST", "/"), ("DELETE", "/app.js"), ("PUT", "/no/such/page"), ("OPTIONS", "/")] {
        let answer = send(appliance, method, &host, target, "");
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {target}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {target}");
    }
    assert_eq!(send(appliance, "POST", &host, "/no/such.png", "").status, 404);
}

#[tokio::test]
async fn explicit_paths_are_the_only_ones_and_stay_so() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let (files, objects) = deploy::site(&[("events.html", "events"), ("index.html", INDEX)]);
    let paths = json!({"mode": "explicit", "replace": {"/events": {"asset": "events.html"}}});
    project.deploy(&json!({"site": {"replace": files, "public_paths": paths}}), &objects).await;
    let host = public_host(&project).await;
    let check = || {
        for target in ["/events", "/events/"] {
            assert_eq!(get(appliance, &host, target).text(), "events", "{target}");
        }
        for target in ["/events.html", "/", "/index.html", "/anything"] {
            assert_eq!(get(appliance, &host, target).status, 404, "{target}");
        }
    };
    check();
    let (put, objects) = deploy::site(&[("new.html", "new")]);
    project.deploy(&json!({"site": {"patch": {"put": put}}}), &objects).await;
    check();
    assert_eq!(get(appliance, &host, "/new.html").status, 404);
    let public = project.live().await["static_public_paths"].clone();
    let public: Vec<_> = public.as_array().unwrap().iter().map(|row| (&row["public_path"], &row["direct"])).collect();
    assert_eq!(public, [(&json!("/events"), &json!(true))]);
}

#[tokio::test]
async fn hostile_paths_are_400_with_their_reason() {
    let appliance = Appliance::shared();
    let (_, host) = example().await;
    for (target, code) in [
        ("/a/../b", "PATH_DOT_SEGMENT"),
        ("/..", "PATH_DOT_SEGMENT"),
        ("/./x", "PATH_DOT_SEGMENT"),
        ("/%2e%2e/x", "PATH_DOT_SEGMENT"),
        ("/.%2E/x", "PATH_DOT_SEGMENT"),
        ("/a%2fb", "PATH_ENCODED_SEPARATOR"),
        ("/a%5Cb", "PATH_ENCODED_SEPARATOR"),
        ("/a\\..\\b", "PATH_RAW_BACKSLASH"),
        ("/%252e%252e/", "PATH_DOUBLE_DECODE_TRAVERSAL"),
        ("/%252fetc", "PATH_DOUBLE_DECODE_TRAVERSAL"),
        ("/%zz", "PATH_INVALID_PERCENT_ENCODING"),
        ("/%", "PATH_INVALID_PERCENT_ENCODING"),
        ("/%ff", "PATH_INVALID_PERCENT_ENCODING"),
        ("/%c0%ae%c0%ae/x", "PATH_INVALID_PERCENT_ENCODING"),
        ("/%e0%80%ae/x", "PATH_INVALID_PERCENT_ENCODING"),
        ("/a%00b", "PATH_CONTROL_CHARACTER"),
        ("/a%0d%0aX:1", "PATH_CONTROL_CHARACTER"),
        ("/a//b", "PATH_DUPLICATE_SLASH"),
        ("/_run402/x", "PATH_INTERNAL_NAMESPACE"),
        ("/_cas", "PATH_INTERNAL_NAMESPACE"),
        ("/%5fcas/x", "PATH_INTERNAL_NAMESPACE"),
        ("/_blob/../index.html", "PATH_DOT_SEGMENT"),
        ("/_blob/a%2fb", "PATH_ENCODED_SEPARATOR"),
    ] {
        let answer = get(appliance, &host, target);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{target}: {}", answer.head);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    }
    // An origin-form target with two leading slashes is not a network path.
    assert_eq!(get(appliance, &host, "//x").code(), "PATH_DUPLICATE_SLASH");
    // What HTTP itself forbids never gets as far as a path.
    for target in [&b"/a\0b"[..], b"/a\x01b", b"/\xff\xfe"] {
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(target);
        request.extend_from_slice(format!(" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(raw(appliance, &request).status, 400, "{target:?}");
    }
}

#[tokio::test]
async fn conditions_and_ranges_are_honoured() {
    let appliance = Appliance::shared();
    let (_, host) = example().await;
    let ask = |headers: &str| send(appliance, "GET", &host, "/docs.html", headers);
    let whole = ask("");
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let unchanged = ask(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    for name in ["etag", "cache-control", "last-modified"] {
        assert_eq!(unchanged.header(name), whole.header(name), "{name}");
    }
    assert_eq!(ask(&format!("If-None-Match: W/{tag}\r\n")).status, 304);
    assert_eq!(ask("If-None-Match: \"other\"\r\n").status, 200);
    assert_eq!(ask(&format!("If-Modified-Since: {date}\r\n")).status, 304);
    assert_eq!(ask("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n").status, 200);
    let failed = ask("If-Match: \"other\"\r\n");
    assert_eq!((failed.status, failed.code().as_str()), (412, "PRECONDITION_FAILED"));

    let part = ask("Range: bytes=0-2\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, "doc"));
    assert_eq!(part.header("content-range"), Some("bytes 0-2/4"));
    assert_eq!((part.header("content-length"), part.header("content-digest")), (Some("3"), None));
    assert_eq!(ask("Range: bytes=-1\r\n").text(), "s");
    assert_eq!(ask(&format!("Range: bytes=0-2\r\nIf-Range: {tag}\r\n")).status, 206);
    assert_eq!(ask("Range: bytes=0-2\r\nIf-Range: \"other\"\r\n").status, 200);
    assert_eq!(ask("Range: bytes=0-0,2-3\r\n").status, 200);
    let beyond = ask("Range: bytes=999999-\r\n");
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "RANGE_NOT_SATISFIABLE"));
    assert_eq!(beyond.header("content-range"), Some("bytes */4"));
    let many = format!("Range: bytes={}\r\n", "0-0,".repeat(2000));
    assert_eq!(ask(&many).status, 200);

    let head = send(appliance, "HEAD", &host, "/docs.html", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("4"), Some(tag)));
}

#[tokio::test]
async fn text_is_compressed_for_those_who_accept_it() {
    let appliance = Appliance::shared();
    let (_, host) = example().await;
    let script = script();
    let plain = get(appliance, &host, "/app.js");
    assert_eq!((plain.text(), plain.header("vary")), (script.clone(), Some("Accept-Encoding")));
    for (accept, coding) in [("gzip", "gzip"), ("br, gzip", "br"), ("gzip;q=0.5, zstd", "zstd"), ("*", "br")] {
        let answer = send(appliance, "GET", &host, "/app.js", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(answer.header("content-encoding"), Some(coding), "{accept}: {}", answer.head);
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-digest"), None);
        assert_eq!(answer.header("x-run402-content-sha256"), plain.header("x-run402-content-sha256"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert!(answer.body.len() < script.len() / 10);
        let weak = format!("W/{}", plain.header("etag").unwrap());
        assert_eq!(answer.header("etag"), Some(weak.as_str()));
        let again = format!("Accept-Encoding: {accept}\r\nIf-None-Match: {weak}\r\n");
        assert_eq!(send(appliance, "GET", &host, "/app.js", &again).status, 304);
        let head = send(appliance, "HEAD", &host, "/app.js", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(head.header("content-length"), answer.header("content-length"));
    }
    let gzip = send(appliance, "GET", &host, "/app.js", "Accept-Encoding: gzip\r\n");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, script);
    let part = send(appliance, "GET", &host, "/app.js", "Accept-Encoding: br\r\nRange: bytes=0-5\r\n");
    assert_eq!((part.status, part.header("content-encoding"), part.text().as_str()), (206, None, "export"));
    for target in ["/docs.html", "/pic.png"] {
        let answer = send(appliance, "GET", &host, target, "Accept-Encoding: br\r\n");
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None), "{target}");
    }
}

#[tokio::test]
async fn each_deployment_keeps_its_own_host() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let deployed = |answer: &Value| {
        let id = answer["urls"]["deployment_id"].as_str().expect("a deployment id").to_owned();
        let host = format!("{}.sites.localhost", id.replace('_', "-"));
        assert!(answer["urls"]["release"].as_str().is_some_and(|url| url.starts_with(&format!("http://{host}"))));
        host
    };
    let first = deployed(&project.deploy_site(&[("index.html", "one")]).await);
    let second = deployed(&project.deploy_site(&[("index.html", "two")]).await);
    let host = public_host(&project).await;
    assert_eq!(get(appliance, &first, "/").text(), "one");
    assert_eq!(get(appliance, &second, "/").text(), "two");
    assert_eq!(get(appliance, &host, "/").text(), "two");
}

#[tokio::test]
async fn a_large_file_is_streamed_in_whole_and_in_part() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let large: Vec<u8> = (0..6_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let files = json!({"large.txt": deploy::file(&large, "text/plain; charset=utf-8"), "empty.txt": deploy::file(b"", "text/plain")});
    project.deploy(&json!({"site": {"replace": files}}), &[&large, b""]).await;
    let host = public_host(&project).await;
    let whole = send(appliance, "GET", &host, "/large.txt", "Accept-Encoding: br\r\n");
    assert_eq!((whole.status, whole.body == large, whole.header("content-encoding")), (200, true, None));
    let part = send(appliance, "GET", &host, "/large.txt", "Range: bytes=300000-900000\r\n");
    assert_eq!((part.status, part.body == large[300_000..=900_000]), (206, true));
    let empty = get(appliance, &host, "/empty.txt");
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, Some("0"), 0));
    assert_eq!(send(appliance, "GET", &host, "/empty.txt", "Range: bytes=0-\r\n").status, 416);
}

#[tokio::test]
async fn a_function_route_fails_closed_until_functions_run() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let (mut files, mut objects) = deploy::site(&[("index.html", INDEX), ("api.html", "static")]);
    let source = b"export default () => new Response('x')";
    objects.push(source);
    files["spare.txt"] = deploy::file(source, "text/plain");
    let spec = json!({
        "site": {"replace": files},
        "functions": {"replace": {"api": {"runtime": "node22", "source": deploy::file(source, "text/javascript")}}},
        "routes": {"replace": [
            {"pattern": "/api/*", "methods": ["GET", "POST"], "target": {"type": "function", "name": "api"}},
            {"pattern": "/only", "methods": ["POST"], "target": {"type": "function", "name": "api"}},
        ]},
    });
    project.deploy(&spec, &objects).await;
    let host = public_host(&project).await;
    let answer = send(appliance, "GET", &host, "/api/x?y=1", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    assert!(answer.header("x-run402-request-id").is_some_and(|id| id.starts_with("req_") && id.len() == 28));
    assert_eq!(get(appliance, &host, "/api").text(), "static");
    for method in ["GET", "DELETE"] {
        let answer = send(appliance, method, &host, "/only", "");
        assert_eq!((answer.status, answer.code().as_str()), (405, "ROUTE_METHOD_NOT_ALLOWED"), "{method}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")));
    }
}

#[tokio::test]
async fn every_answer_during_an_activation_is_of_one_release() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    project.deploy_site(&[("index.html", "v1"), ("app.js", "v1")]).await;
    let host = public_host(&project).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (stop, host) = (std::sync::Arc::clone(&stop), host.clone());
        move || {
            let mut seen: std::collections::HashMap<String, String> = std::collections::HashMap::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for target in ["/", "/app.js"] {
                    let answer = get(appliance, &host, target);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let release = answer.header("x-run402-release-id").expect("a release").to_owned();
                    let text = answer.text();
                    assert_eq!(*seen.entry(release).or_insert_with(|| text.clone()), text);
                }
            }
            seen.len()
        }
    });
    for version in ["v2", "v3", "v4"] {
        project.deploy_site(&[("index.html", version), ("app.js", version)]).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.join().expect("no answer was mixed") >= 2);
    assert_eq!(get(appliance, &host, "/").text(), "v4");
}
