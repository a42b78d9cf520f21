//! `GET /` of the API host: where things are, for a person who opens the box's address in a browser.
//!
//! It tells nothing that is not public: no paths of the machine, no settings, no projects.

use axum::{
    Json,
    http::{
        HeaderMap, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::features::sites::prefers_html;

const TEMPLATE: &str = include_str!("../../web/greeting/index.html");

/// The page, made once.
#[derive(Clone)]
pub struct Greeting {
    page: Bytes,
    policy: HeaderValue,
    facts: Value,
}

impl Greeting {
    /// `domain`: the base domain of sites.
    pub fn new(public_url: &Url, domain: &str) -> Self {
        let base = public_url.as_str().trim_end_matches('/');
        let port = public_url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let example = format!("{}://my-app.{domain}{port}", public_url.scheme());
        let page = [
            ("{{version}}", env!("CARGO_PKG_VERSION")),
            ("{{base}}", base),
            ("{{domain}}", domain),
            ("{{example}}", &example),
        ]
        .into_iter()
        .fold(TEMPLATE.to_owned(), |page, (name, value)| page.replace(name, &escape(value)));
        let facts = json!({
            "name": "run402",
            "version": env!("CARGO_PKG_VERSION"),
            "api_base": base,
            "health": format!("{base}/health"),
            "status": format!("{base}/status"),
            "openapi": format!("{base}/openapi.json"),
            "tiers": format!("{base}/tiers/v1"),
        });
        Self { policy: policy(&page), page: page.into(), facts }
    }

    /// HTML for whoever ranks it above JSON.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = if prefers_html(asked) {
            let mut response = self.page.clone().into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        } else {
            Json(&self.facts).into_response()
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// The policy of a page of ours: nothing but its own style, by its digest.
pub(super) fn policy(page: &str) -> HeaderValue {
    let style =
        page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).map_or("", |(style, _)| style);
    let digest = BASE64_STANDARD.encode(Sha256::digest(style.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use super::*;

    fn greeting() -> Greeting {
        Greeting::new(&Url::parse("http://localhost:4020").unwrap(), "localhost")
    }

    #[test]
    fn every_gap_of_the_page_is_filled() {
        let page = String::from_utf8(greeting().page.to_vec()).unwrap();
        assert!(!page.contains("{{") && page.contains("RUN402_API_BASE=http://localhost:4020\n"));
        assert!(page.contains("http://my-app.localhost:4020"));
    }

    #[test]
    fn only_the_pages_own_style_may_run() {
        let policy = greeting().policy;
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
        assert!(!TEMPLATE.contains("style=\"") && !TEMPLATE.contains("<script"), "nothing the policy would refuse");
    }

    #[test]
    fn programs_get_json() {
        let browser = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"))]);
        let content_type = |asked: &HeaderMap| greeting().answer(asked).headers()[CONTENT_TYPE].clone();
        assert_eq!(content_type(&browser), "text/html; charset=utf-8");
        assert_eq!(content_type(&HeaderMap::new()), "application/json");
    }
}
