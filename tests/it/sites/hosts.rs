//! Which host is whose (contract 04 §1).

use serde_json::Value;

use super::{get, public_host, raw, send};
use crate::support::Appliance;

#[test]
fn names_bound_to_nothing_are_404_in_the_envelope_and_never_stored() {
    let appliance = Appliance::shared();
    let managed =
        ["nope.localhost", "pr-zzzzzz.localhost", "dpl-x-1a.sites.localhost", "a.b.localhost", "NOPE.localhost.:1"];
    for host in managed {
        for (method, target) in [("GET", "/"), ("POST", "/rest/v1/x"), ("GET", "/health"), ("DELETE", "/_blob/x")] {
            let answer = send(appliance, method, host, target, "");
            assert_eq!((answer.status, answer.code().as_str()), (404, "SUBDOMAIN_NOT_CONFIGURED"), "{method} {host}");
            assert_eq!(answer.header("x-run402-edge"), Some("kvs-miss"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    for host in ["example.org", "localhost.example.org", "xlocalhost"] {
        let answer = get(appliance, host, "/health");
        assert_eq!((answer.status, answer.code().as_str()), (404, "HOST_NOT_CONFIGURED"), "{host}");
        assert_eq!(answer.header("x-run402-edge"), Some("kv-miss"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn the_api_answers_on_its_own_hosts() {
    let appliance = Appliance::shared();
    for host in ["localhost", "LOCALHOST:1", "localhost.", "api.localhost", "127.0.0.1:80", "[::1]:4020", "10.1.2.3"] {
        assert_eq!(get(appliance, host, "/health").status, 200, "{host}");
    }
}

#[test]
fn a_host_that_is_none_is_400_bad_host() {
    let appliance = Appliance::shared();
    let long = format!("{}.localhost", "a.".repeat(150));
    for host in [
        "bad host",
        "a..b",
        ".localhost",
        "a_b.localhost",
        "-a.localhost",
        "x.localhost:99999",
        "x.localhost:a",
        "x.localhost:80:80",
        "user@x.localhost",
        "x.localhost/y",
        "x.localhost, y.localhost",
        "[::1",
        "*.localhost",
        "1.2.3.4.5",
        "\u{fffd}.localhost",
        &long,
    ] {
        let answer = get(appliance, host, "/");
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_HOST"), "{host:?}: {}", answer.head);
    }
    let cases: [(&str, &[u8]); 7] = [
        ("none", b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ("none in HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n"),
        ("empty", b"GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"),
        ("two", b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ("two kinds", b"GET http://nope.localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ("credentials", b"GET http://a:b@localhost/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ("not UTF-8", b"GET /health HTTP/1.1\r\nHost: \xff\xfe.localhost\r\nConnection: close\r\n\r\n"),
    ];
    for (what, request) in cases {
        let answer = raw(appliance, request);
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_HOST"), "{what}: {}", answer.head);
    }
    let absolute = b"GET http://localhost:4020/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(appliance, absolute).status, 200);
}

#[tokio::test]
async fn a_fresh_projects_own_host_is_bound_at_once_and_empty() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let host = public_host(&project).await;
    let answer = get(appliance, &host, "/");
    assert_eq!((answer.status, answer.code().as_str()), (404, "NO_SITE_DEPLOYED"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let missing = get(appliance, &host, "/_blob/x.js");
    assert_eq!(missing.header("access-control-allow-origin"), Some("*"), "{}", missing.head);
    let purge = appliance.api().delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key);
    purge.send().await.ok();
    assert_eq!(get(appliance, &host, "/").code(), "SUBDOMAIN_NOT_CONFIGURED");
}

#[tokio::test]
async fn the_data_api_answers_on_tenant_hosts_and_the_control_plane_does_not() {
    let appliance = Appliance::shared();
    let project = appliance.api().provision().await;
    let host = public_host(&project).await;
    let key = format!("apikey: {}\r\n", project.anon_key);
    let answer = send(appliance, "GET", &host, "/rest/v1/nope", &key);
    assert_ne!(answer.code(), "NO_SITE_DEPLOYED", "{}", answer.text());
    assert_eq!(get(appliance, &host, "/projects/v1").code(), "NO_SITE_DEPLOYED");
    assert_eq!(get(appliance, &host, "/health").code(), "NO_SITE_DEPLOYED");
    assert_eq!(get(appliance, &host, "/metrics").code(), "NO_SITE_DEPLOYED");
    project.deploy_site(&[("index.html", "home"), ("rest/v1/nope.html", "file")]).await;
    assert_eq!(get(appliance, &host, "/").text(), "home");
    let refused = send(appliance, "GET", &host, "/rest/v1/nope", "");
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(get(appliance, &host, "/projects/v1").text(), "home", "a path like any other");
}

#[tokio::test]
async fn a_name_is_compared_without_case_dot_and_port_and_strangers_cannot_forward_another() {
    let appliance = Appliance::shared();
    let (alpha, beta) = (appliance.api().provision().await, appliance.api().provision().await);
    let (one, two) = (public_host(&alpha).await, public_host(&beta).await);
    alpha.deploy_site(&[("index.html", "alpha")]).await;
    beta.deploy_site(&[("index.html", "beta")]).await;
    for host in [one.to_uppercase(), format!("{one}."), format!("{one}:9999"), format!("{}.:9999", one.to_uppercase())]
    {
        assert_eq!(get(appliance, &host, "/").text(), "alpha", "{host}");
    }
    for header in [
        format!("X-Forwarded-Host: {two}"),
        format!("Forwarded: host={two}"),
        format!("X-Host: {two}"),
        format!("X-Original-Host: {two}"),
        format!("X-HTTP-Host-Override: {two}"),
    ] {
        let answer = send(appliance, "GET", &one, "/", &format!("{header}\r\n"));
        assert_eq!(answer.text(), "alpha", "{header}");
    }
}

#[test]
fn forwarding_headers_of_strangers_change_nothing() {
    let appliance = Appliance::shared();
    let answer = send(
        appliance,
        "GET",
        "nope.localhost",
        "/health",
        "X-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n",
    );
    assert_eq!(answer.code(), "SUBDOMAIN_NOT_CONFIGURED");
    let answer = send(appliance, "GET", "localhost", "/health", "X-Forwarded-Host: nope.localhost\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn the_host_a_trusted_proxy_forwards_is_believed() {
    let appliance = Appliance::plan().set("trusted_proxies", "[\"127.0.0.1\"]").boot();
    let answer = send(&appliance, "GET", "localhost", "/health", "X-Forwarded-Host: nope.localhost\r\n");
    assert_eq!(answer.code(), "SUBDOMAIN_NOT_CONFIGURED");
    let twice = "X-Forwarded-Host: nope.localhost\r\nX-Forwarded-Host: localhost\r\n";
    assert_eq!(send(&appliance, "GET", "localhost", "/health", twice).code(), "BAD_HOST");
}

#[test]
fn a_browser_reads_html_and_a_program_json() {
    let appliance = Appliance::shared();
    let page = send(appliance, "GET", "nope.localhost", "/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("SUBDOMAIN_NOT_CONFIGURED") && page.text().starts_with("<!doctype html>"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let json = send(appliance, "GET", "nope.localhost", "/", "Accept: */*\r\n");
    let body: Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(body["code"], "SUBDOMAIN_NOT_CONFIGURED");
    let head = send(appliance, "HEAD", "nope.localhost", "/", "");
    assert_eq!((head.status, head.body.len()), (404, 0));
}

#[test]
fn floods_of_headers_are_refused() {
    let appliance = Appliance::shared();
    let many: String = (0..300).map(|number| format!("X-Flood-{number}: 1\r\n")).collect();
    assert_eq!(send(appliance, "GET", "nope.localhost", "/", &many).status, 431);
    let long = format!("X-Flood: {}\r\n", "a".repeat(1024 * 1024));
    assert_eq!(send(appliance, "GET", "nope.localhost", "/", &long).status, 431);
    let target = format!("/{}", "a".repeat(100_000));
    assert!([404, 414, 431].contains(&get(appliance, "nope.localhost", &target).status));
    assert_eq!(get(appliance, "localhost", "/health").status, 200);
}

#[test]
fn the_api_host_greets_people_and_programs() {
    let appliance = Appliance::shared();
    let page = send(appliance, "GET", "localhost", "/", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let data_dir = appliance.data_dir().display().to_string();
    assert!(!page.text().contains(&data_dir) && page.text().contains("/openapi.json"));
    let json = send(appliance, "GET", "localhost", "/", "");
    assert_eq!(json.header("content-type"), Some("application/json"));
    let facts: Value = serde_json::from_slice(&json.body).expect("JSON");
    assert!(facts["openapi"].as_str().is_some_and(|url| url.ends_with("/openapi.json")), "{facts}");
    assert_eq!(send(appliance, "HEAD", "localhost", "/", "").status, 200);
    assert_eq!(send(appliance, "DELETE", "localhost", "/", "").status, 404);
}
