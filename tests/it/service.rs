//! What every caller meets first: service endpoints, unknown paths, headers, limits (contract 01 §1, §10).

use std::{io::Write, net::TcpStream, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Appliance, Wallet, eventually};

#[tokio::test]
async fn health_is_200_with_every_check_ok() {
    let answer = Appliance::shared().api().get("/health").send().await;
    let body = answer.is(200);
    assert_eq!(body["status"], "healthy");
    for check in ["postgres", "postgrest", "s3", "cloudfront"] {
        assert_eq!(body["checks"][check], "ok", "{body}");
    }
    assert!(body["version"].as_str().is_some_and(|version| !version.is_empty()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn status_has_the_union_of_what_both_generations_of_readers_want() {
    let answer = Appliance::shared().api().get("/status").send().await;
    let body = answer.is(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=30"));
    assert_eq!(body["status"], "ok");
    assert!(body["uptime_seconds"].is_u64());
    assert_eq!(body["deployment"]["topology"], "single-node");
    assert!(body["deployment"]["version"].is_string());
    let capabilities = body["capabilities"].as_array().expect("capabilities must be an array");
    for capability in ["x402", "siwx", "postgres"] {
        assert!(capabilities.contains(&Value::from(capability)), "{body}");
    }
    for key in ["name", "contact", "legal_name"] {
        assert!(body["operator"].get(key).is_some(), "operator.{key} in {body}");
    }
    assert_eq!(body["schema_version"], "run402-status-v1");
    assert_eq!(body["service"], "Run402");
    assert_eq!(body["current_status"], "operational");
    for window in ["last_24h", "last_7d", "last_30d"] {
        assert!(body["availability"][window]["uptime_pct"].is_number(), "{body}");
        assert!(body["availability"][window]["total_probes"].is_u64(), "{body}");
    }
    assert!(body["capability_status"].is_object());
    assert!(body["links"]["health"].as_str().is_some_and(|link| link.ends_with("/health")));
    assert_eq!(body["payments"]["mode"], "simulated");
    assert_eq!(body["payments"]["networks"][0], "eip155:84532");
}

#[tokio::test]
async fn the_openapi_document_names_the_routes_that_exist() {
    let body = Appliance::shared().api().get("/openapi.json").send().await.is(200);
    assert!(body["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let paths = body["paths"].as_object().expect("paths");
    for (path, method) in [
        ("/health", "get"),
        ("/status", "get"),
        ("/faucet/v1", "post"),
        ("/tiers/v1", "get"),
        ("/tiers/v1/status", "get"),
        ("/tiers/v1/{tier}", "post"),
        ("/projects/v1", "post"),
        ("/projects/v1", "get"),
        ("/projects/v1/{id}", "delete"),
        ("/projects/v1/admin/{id}/sql", "post"),
        ("/projects/v1/admin/{id}/schema", "get"),
        ("/projects/v1/admin/{id}/usage", "get"),
    ] {
        assert!(paths.get(path).is_some_and(|entry| entry.get(method).is_some()), "{method} {path} is not documented");
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text_on_loopback() {
    let answer = Appliance::shared().api().get("/metrics").send().await;
    assert_eq!(answer.status, 200, "{answer}");
    let text = String::from_utf8(answer.body.clone()).expect("text");
    assert!(text.contains("# TYPE "), "{answer}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain") || kind.starts_with("application/openmetrics-text"), "{kind}");
}

/// Requests that are being answered, this one about it among them.
async fn in_flight(api: &Api) -> u32 {
    let answer = api.get("/metrics").send().await;
    let text = String::from_utf8(answer.body.clone()).expect("text");
    let gauge = text.lines().find_map(|line| line.strip_prefix("run402_http_in_flight "));
    gauge.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no gauge: {text}"))
}

#[tokio::test]
async fn a_request_whose_client_went_away_is_no_longer_in_flight() {
    let appliance = Appliance::plan().boot();
    let api = appliance.api();
    let project = api.provision().await;
    project.sql("create table slow (id int primary key)").await.is(200);
    assert_eq!(in_flight(&api).await, 1);
    let sql = "select pg_sleep(30)";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{sql}",
        project.path("sql"),
        appliance.address(),
        project.service_key,
        sql.len()
    );
    let mut client = TcpStream::connect(appliance.address()).expect("it listens");
    client.write_all(head.as_bytes()).expect("it reads");
    let until = async |wanted: u32| {
        eventually("the end or begin of a request", Duration::from_secs(10), async || {
            (in_flight(&api).await == wanted).then_some(())
        })
        .await;
    };
    until(2).await;
    drop(client);
    until(1).await;
}

#[tokio::test]
async fn an_unknown_path_is_404_in_the_envelope() {
    let body = Appliance::shared().api().get("/nope").send().await.refused(404, "RESOURCE_NOT_FOUND");
    assert_eq!(body["error"], "Cannot GET /nope");
    assert_eq!(body["category"], "not_found");
    assert_eq!(body["retryable"], false);
    assert_eq!(body["mutation_state"], "none");
}

#[tokio::test]
async fn a_known_path_with_another_method_is_the_same_404() {
    let api = Appliance::shared().api();
    let body = api.get("/faucet/v1").send().await.refused(404, "RESOURCE_NOT_FOUND");
    assert_eq!(body["error"], "Cannot GET /faucet/v1");
    api.delete("/tiers/v1").send().await.refused(404, "RESOURCE_NOT_FOUND");
    api.call(Method::PUT, "/projects/v1").json(&json!({})).send().await.refused(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn every_answer_has_a_trace_id_of_its_own() {
    let api = Appliance::shared().api();
    let first = api.get("/nope").send().await.refused(404, "RESOURCE_NOT_FOUND");
    let second = api.get("/nope").send().await.refused(404, "RESOURCE_NOT_FOUND");
    assert_ne!(first["trace_id"], second["trace_id"]);
    assert!(api.get("/tiers/v1").send().await.header("x-run402-trace-id").is_some());
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let api = Appliance::shared().api();
    for (path, status) in [("/health", 200), ("/tiers/v1", 200), ("/nope", 404)] {
        let answer = api.call(Method::HEAD, path).send().await;
        assert_eq!(answer.status, status, "{answer}");
        assert!(answer.body.is_empty(), "{answer}");
        assert!(answer.header("content-type").unwrap_or_default().starts_with("application/json"), "{path}");
    }
}

#[tokio::test]
async fn a_preflight_is_204_without_a_credential_and_allows_what_clients_send() {
    let answer = Appliance::shared()
        .api()
        .call(Method::OPTIONS, "/tiers/v1/prototype")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "sign-in-with-x,payment-signature,access-control-expose-headers,content-type",
        )
        .send()
        .await;
    assert_eq!(answer.status, 204, "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    for name in ["sign-in-with-x", "payment-signature", "access-control-expose-headers", "content-type"] {
        assert!(allowed.contains(name), "{name} not in {allowed}");
    }
    let methods = answer.header("access-control-allow-methods").unwrap_or_default();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert!(methods.contains(method), "{method} not in {methods}");
    }
    assert!(answer.header("access-control-allow-credentials").is_none());
}

#[tokio::test]
async fn payment_headers_are_exposed_to_browsers() {
    let answer = Appliance::shared().api().get("/tiers/v1").header("origin", "https://example.com").send().await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_ascii_uppercase();
    for name in ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE", "RETRY-AFTER", "X-RUN402-TRACE-ID"] {
        assert!(exposed.contains(name), "{name} not in {exposed}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let api = Appliance::shared().api();
    let padding = "x".repeat(70 * 1024);
    let body = json!({"address": Wallet::random().checksummed(), "padding": padding});
    api.post("/faucet/v1").json(&body).send().await.refused(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let api = Appliance::shared().api();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"] {
        let answer = api.post("/faucet/v1").body(kind, b"{}".to_vec()).send().await;
        answer.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn parameters_of_the_content_type_are_welcome() {
    let body = json!({"address": Wallet::random().checksummed()}).to_string().into_bytes();
    let answer =
        Appliance::shared().api().post("/faucet/v1").body("application/json; charset=utf-8", body).send().await;
    answer.is(200);
}

#[tokio::test]
async fn broken_json_is_400_invalid_json() {
    let api = Appliance::shared().api();
    for text in ["{", "{\"address\":}", "\u{0}", "{\"address\":\"0x\"} trailing"] {
        let answer = api.post("/faucet/v1").body("application/json", text.as_bytes().to_vec()).send().await;
        answer.refused(400, "INVALID_JSON");
    }
    let not_utf8 = b"{\"address\":\"\xff\xfe\"}".to_vec();
    api.post("/faucet/v1").body("application/json", not_utf8).send().await.refused(400, "INVALID_JSON");
}

#[tokio::test]
async fn json_that_is_not_an_object_is_400_invalid_request() {
    let api = Appliance::shared().api();
    for text in ["[]", "\"text\"", "7", "null", "true"] {
        let answer = api.post("/faucet/v1").body("application/json", text.as_bytes().to_vec()).send().await;
        answer.refused(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn deeply_nested_json_is_refused_and_harms_nobody() {
    let api = Appliance::shared().api();
    let bomb = format!("{{\"address\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let answer = api.post("/faucet/v1").body("application/json", bomb.into_bytes()).send().await;
    assert_eq!(answer.status, 400, "{}", answer.status);
    api.get("/health").send().await.is(200);
}

#[tokio::test]
async fn a_post_without_a_body_counts_as_an_empty_object() {
    Appliance::shared().api().post("/faucet/v1").send().await.refused(400, "INVALID_ADDRESS");
}

#[tokio::test]
async fn credentials_on_open_routes_are_ignored() {
    let api = Appliance::shared().api();
    for path in ["/health", "/status", "/tiers/v1"] {
        let answer = api.get(path).bearer("nonsense").header("sign-in-with-x", "e30=").send().await;
        assert_eq!(answer.status, 200, "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_built_yet_is_501_and_says_so() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let organisation = uuid::Uuid::new_v4();
    for (method, path) in [
        (Method::POST, format!("/orgs/v1/{organisation}/checkouts")),
        (Method::POST, format!("/orgs/v1/{organisation}/wallets")),
        (Method::PATCH, format!("/orgs/v1/{organisation}/billing/auto-recharge")),
        (Method::POST, "/orgs/v1/email".to_owned()),
        (Method::POST, "/generate-image/v1".to_owned()),
        (Method::POST, "/message/v1".to_owned()),
    ] {
        let answer = api.call(method, &path).wallet(&wallet).json(&json!({})).send().await;
        let body = answer.refused(501, "NOT_IMPLEMENTED");
        assert_eq!(body["retryable"], false, "{answer}");
        assert_eq!(body["mutation_state"], "none", "{answer}");
    }
}

#[tokio::test]
async fn hostile_paths_are_refused_in_the_envelope() {
    let api = Appliance::shared().api();
    for path in ["//health", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/projects/v1/%00", "/tiers/v1/%ff%fe"] {
        let answer = api.get(path).send().await;
        assert!(answer.status.is_client_error(), "{answer}");
        let body = answer.json();
        assert!(body["code"].is_string() && body["trace_id"].is_string(), "{answer}");
    }
}
