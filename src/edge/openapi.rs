//! `GET /openapi.json`: the document the routes wrote about themselves.

use axum::{
    body::Bytes,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    HttpMethod, OpenApi, ResponseBuilder,
    path::OperationBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// Adds what no single route knows and prints the document once.
pub(super) fn render(mut document: OpenApi) -> Bytes {
    document.info.title = "Run402, the appliance".into();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.description =
        Some("A backend that agents provision and pay for by themselves, in one binary.".into());
    for (path, summary, description) in [
        ("/openapi.json", "This document", "OpenAPI 3.1"),
        ("/metrics", "Metrics, for callers on this machine or with the admin key", "Prometheus text"),
    ] {
        let operation = OperationBuilder::new()
            .tag("service")
            .summary(Some(summary))
            .response("200", ResponseBuilder::new().description(description))
            .build();
        document.paths.add_path_operation(path, vec![HttpMethod::Get], operation);
    }
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("wallet", header("SIGN-IN-WITH-X"));
    components.add_security_scheme("admin_key", header("X-Admin-Key"));
    components.add_security_scheme("apikey", header("apikey"));
    components.add_security_scheme(
        "project_key",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build()),
    );
    document.to_json().map(Bytes::from).unwrap_or_default()
}

pub(super) fn answer(document: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}
