//! Assets on tenant hosts: `/_blob/*` (contract 04 §6.6, §6.8; checks 16-18, 22 and 24 of its list).

use serde_json::{Value, json};

use super::{get, public_host, send};
use crate::support::{Answer, Appliance, Project, content::sha256};

async fn put(project: &Project, key: &str, content_type: &str, bytes: &[u8], headers: &[(&str, &str)]) -> Value {
    let call = project.api.post("/apply/v1/service-asset-put").bearer(&project.service_key);
    let call = call.header("x-run402-asset-key", key).body(content_type, bytes.to_vec());
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await.is(200)
}

async fn delete(project: &Project, key: &str) -> Answer {
    project.api.delete(&format!("/storage/v1/blob/{key}")).api_key(&project.service_key).send().await
}

/// Path and query of a URL.
fn target(url: &Value) -> String {
    let url: url::Url = url.as_str().expect("a URL").parse().expect("a URL");
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

#[tokio::test]
async fn an_asset_is_served_on_its_projects_hosts_and_on_no_other() {
    let appliance = Appliance::shared();
    let (project, other) = (appliance.api().provision().await, appliance.api().provision().await);
    let script = "export const add = (a, b) => a + b;\n".repeat(100);
    let made = put(&project, "js/app.js", "text/javascript", script.as_bytes(), &[]).await;
    let (host, foreign) = (public_host(&project).await, public_host(&other).await);
    let digest = sha256(script.as_bytes());

    // Fetchable as soon as the put has answered, before anything was deployed.
    let path = target(&made["cdn_immutable_url"]);
    assert_eq!(path, format!("/_blob/js/app-{}.js", &digest[..8]));
    let immutable = get(appliance, &host, &path);
    assert_eq!((immutable.status, immutable.text() == script), (200, true), "{}", immutable.head);
    for (name, value) in [
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-run402-blob-cache-kind", "immutable"),
        ("content-type", "text/javascript"),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "ETag, Content-Length, Content-Digest, X-Run402-Content-Sha256"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-run402-content-sha256", digest.as_str()),
        ("etag", made["etag"].as_str().unwrap()),
        ("content-digest", made["content_digest"].as_str().unwrap()),
    ] {
        assert_eq!(immutable.header(name), Some(value), "{name}");
    }
    assert_eq!((immutable.header("set-cookie"), immutable.header("content-security-policy")), (None, None));
    let mutable = get(appliance, &host, "/_blob/js/app.js");
    assert_eq!((mutable.status, mutable.text() == script), (200, true));
    assert_eq!(mutable.header("x-run402-blob-cache-kind"), Some("mutable"));
    assert_eq!(mutable.header("cache-control"), Some("public, max-age=300, stale-while-revalidate=3600"));

    let deployed = project.deploy_site(&[("index.html", "home"), ("_blob.html", "file")]).await;
    let deployment = deployed["urls"]["deployment_id"].as_str().unwrap().replace('_', "-");
    assert_eq!(get(appliance, &format!("{deployment}.sites.localhost"), &path).status, 200);
    let short = &digest[..8];
    for unknown in [
        format!("/_blob/js/app-{}.js", &"0123456789abcdef".repeat(4)[..8]),
        format!("/_blob/js/app-{}.js", &digest[..7]),
        format!("/_blob/js/other-{short}.js"),
        format!("/_blob/{digest}"),
        format!("/_blob/{short}"),
        "/_blob/js/APP.js".to_owned(),
        "/_blob/js/".to_owned(),
        "/_blob/".to_owned(),
        "/_blob".to_owned(),
    ] {
        let answer = get(appliance, &host, &unknown);
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_NOT_FOUND"), "{unknown}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{unknown}");
    }
    for path in [path.as_str(), "/_blob/js/app.js"] {
        let answer = get(appliance, &foreign, path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_NOT_FOUND"), "another project's {path}");
    }
}

#[tokio::test]
async fn assets_answer_conditions_ranges_and_other_methods() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let made = put(&project, "a.txt", "text/plain", b"0123456789", &[]).await;
    let (host, path) = (public_host(&project).await, target(&made["cdn_url"]));
    let tag = format!("If-None-Match: {}\r\n", made["etag"].as_str().unwrap());
    let unchanged = send(appliance, "GET", &host, &path, &tag);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let part = send(appliance, "GET", &host, &path, "Range: bytes=2-4\r\n");
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    assert_eq!(send(appliance, "GET", &host, &path, "Range: bytes=10-\r\n").status, 416);
    let head = send(appliance, "HEAD", &host, &path, "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = send(appliance, method, &host, &path, "");
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    let preflight = send(appliance, "OPTIONS", &host, &path, "Origin: http://example.com\r\n");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
}

#[tokio::test]
async fn uploaded_markup_cannot_act_for_the_site() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let host = public_host(&project).await;
    for (key, content_type) in [
        ("x.html", "text/html; charset=utf-8"),
        ("x.htm", "TEXT/HTML"),
        ("x.xhtml", "application/xhtml+xml"),
        ("x.svg", "image/svg+xml"),
        ("x.xml", "application/xml"),
    ] {
        put(&project, key, content_type, b"<svg xmlns='http://www.w3.org/2000/svg'/>", &[]).await;
        let answer = get(appliance, &host, &format!("/_blob/{key}"));
        assert_eq!((answer.status, answer.header("content-security-policy")), (200, Some("sandbox")), "{key}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{key}");
        assert_eq!(answer.header("content-type"), Some(content_type), "stored as it was said");
    }
}

#[tokio::test]
async fn old_immutable_urls_are_served_after_overwriting_and_deleting() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let host = public_host(&project).await;
    let first = put(&project, "v.txt", "text/plain", b"one", &[]).await;
    let second = put(&project, "v.txt", "text/plain", b"two", &[]).await;
    let read = |url: &Value| get(appliance, &host, &target(url));
    assert_eq!(read(&first["cdn_immutable_url"]).text(), "one");
    assert_eq!(read(&second["cdn_immutable_url"]).text(), "two");
    assert_eq!(read(&second["cdn_url"]).text(), "two", "new bytes at once");
    delete(&project, "v.txt").await.is(200);
    assert_eq!(read(&second["cdn_url"]).code(), "BLOB_NOT_FOUND");
    assert_eq!(read(&first["cdn_immutable_url"]).text(), "one");
    assert_eq!(read(&second["cdn_immutable_url"]).text(), "two");
}

#[tokio::test]
async fn a_private_asset_is_served_to_holders_of_a_signature_only() {
    let appliance = Appliance::shared();
    let (project, other) = (appliance.api().provision().await, appliance.api().provision().await);
    let private = [("x-run402-asset-visibility", "private")];
    put(&project, "p.txt", "text/plain", b"secret", &private).await;
    put(&project, "q.txt", "text/plain", b"other secret", &private).await;
    let (host, foreign) = (public_host(&project).await, public_host(&other).await);
    let deployed = project.deploy_site(&[("index.html", "home")]).await;
    let deployment = deployed["urls"]["deployment_id"].as_str().unwrap().replace('_', "-");
    let hidden = format!("/_blob/p-{}.txt", &sha256(b"secret")[..8]);
    for host in [host.as_str(), &format!("{deployment}.sites.localhost"), &foreign] {
        for path in ["/_blob/p.txt", &hidden] {
            assert_eq!(get(appliance, host, path).code(), "BLOB_NOT_FOUND", "{path} on {host}");
        }
    }
    let sign = project.api.post("/storage/v1/blob/p.txt/sign").api_key(&project.service_key);
    let signed = sign.json(&json!({"ttl_seconds": 60})).send().await.is(200);
    let path = target(&signed["signed_url"]);
    let answer = get(appliance, &host, &path);
    assert_eq!((answer.status, answer.text().as_str()), (200, "secret"), "{}", answer.head);
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    let changed = |from: &str, to: &str| path.replacen(from, to, 1);
    let last = if path.ends_with('A') { "B" } else { "A" };
    for forged in [
        format!("{}{last}", &path[..path.len() - 1]),
        changed("expires=", "expires=9"),
        changed("/p.txt", "/q.txt"),
        format!("{}&signature=AAAA", path.split("&signature").next().unwrap()),
    ] {
        let answer = get(appliance, &host, &forged);
        assert_eq!((answer.status, answer.code().as_str()), (403, "SIGNATURE_INVALID"), "{forged}");
    }
    assert_eq!(get(appliance, &foreign, &path).status, 404, "on another project's host it names nothing");
    let stale = changed("expires=", "expires=1&x=");
    assert_eq!(get(appliance, &host, &stale).status, 403, "long past");
    // New bytes under the key end what was signed for the old ones.
    put(&project, "p.txt", "text/plain", b"newer", &private).await;
    assert_eq!(get(appliance, &host, &path).code(), "SIGNATURE_INVALID");
}
