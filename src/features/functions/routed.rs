//! Routed invocation: what the sites ask for on a path of a tenant host (contract 04 §3.4-3.5, 05 §4.2, §9). The
//! sites strip and add the headers of the envelope; here are gates, users, places and failures.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    direct::{SSR_CRASH, checked, is_crash, passed_headers, ssr_crash},
    error::{FunctionError, shown},
    executor::{Actor, AuthThrown, FunctionFailure, FunctionResponse, InvocationKind, RouteContext},
    gate::is_gated,
    headers::{MINT_DIRECTIVE, Told},
    service::{Call, Functions, MAX_BODY},
};
use crate::{
    common::{ApiError, ApiResult},
    features::{
        auth::{Minted, RoutedRequest, RoutedVisitor},
        projects::Project,
        releases::{FunctionClass, SESSION_MINT},
        sites::{FunctionRunner, Invocation},
    },
};

/// Where hosted sign-in lives on every tenant host.
const SIGN_IN: &str = "/auth/sign-in";
const RE_AUTH: &str = "/auth/re-auth";

/// Runs functions for the sites.
pub struct Routed(pub Arc<Functions>);

impl FunctionRunner for Routed {
    fn run(&self, invocation: Invocation) -> BoxFuture<'_, ApiResult<Response<Bytes>>> {
        Box::pin(async move {
            let functions = &self.0;
            let visit = Visit::of(&invocation, functions.settings.show_errors);
            let answer = functions.routed(invocation).await;
            match answer {
                Ok(answer) => Ok(answer_of(answer)),
                Err(error) => visit.refused(error),
            }
        })
    }
}

impl Functions {
    async fn routed(self: &Arc<Self>, invocation: Invocation) -> Result<FunctionResponse, FunctionError> {
        let release = Arc::clone(&invocation.release);
        let project = self.projects.live(&release.project).filter(|project| !project.archived);
        let project = project.ok_or(FunctionError::ProjectGone)?;
        self.projects.meter(&project, false).map_err(out_of_quota)?;
        let state = release.state.functions.get(&invocation.function).ok_or(FunctionError::NotFound)?;
        let request = RoutedRequest {
            project: &release.project,
            request_id: &invocation.request_id,
            method: &invocation.method,
            url: &invocation.url,
            headers: &invocation.headers,
            client_ip: invocation.client_ip,
        };
        let visitor = self.sessions.visitor(request, i64::from(state.timeout_seconds)).await?;
        let (actor, stale) = match visitor {
            RoutedVisitor::Anonymous => (None, None),
            RoutedVisitor::Stale(cookie) => (None, Some(cookie)),
            RoutedVisitor::SignedIn(actor) => (Some(actor), None),
        };
        let user = actor.as_ref().map(|actor| actor.user.to_string());
        // A Bearer says nothing to a function without a gate (06 §10.2); beside a cookie it was looked at already.
        let subject =
            if is_gated(state) { self.subject(&project, &invocation.headers, user.as_deref()).await? } else { None };
        let passed = self.pass_gate(&project, &release, state, subject).await?;
        let mut headers = invocation.headers.clone();
        let mut told = Told::default();
        if let Some(actor) = &actor {
            told = told.with("x-run402-actor-context", &*actor.context).with("x-run402-actor-token", &*actor.token);
        }
        passed_headers(told, passed).write(&mut headers);
        let route = RouteContext {
            pattern: invocation.pattern,
            deployment: release.deployment.to_string(),
            client_ip: invocation.client_ip.to_string(),
        };
        let call = Call {
            project,
            release: Arc::clone(&release),
            function: invocation.function.clone(),
            kind: InvocationKind::Routed,
            request_id: invocation.request_id.clone(),
            method: invocation.method.clone(),
            url: invocation.url.clone(),
            host: invocation.host,
            headers,
            body: invocation.body,
            route: Some(route),
            actor: actor.as_deref().map(Actor::from),
            depth: invocation.depth,
            run: None,
        };
        let answer = self.call(call).await.map_err(|error| match error {
            FunctionError::Failed(FunctionFailure::ResponseTooLarge) => {
                FunctionError::ResponseTooLarge { limit: MAX_BODY, routed: true }
            }
            error => error,
        })?;
        let mut answer = checked(answer, true)?;
        if let Some(directive) = answer.headers.get(MINT_DIRECTIVE) {
            if !state.capabilities.iter().any(|capability| capability == SESSION_MINT) {
                return Err(FunctionError::UntrustedContext);
            }
            return Ok(minted(self.sessions.mint(request, directive).await?));
        }
        match (actor, stale) {
            (Some(actor), _) => self.sessions.settle(request, actor.session, &answer.headers).await?,
            (None, Some(cookie)) => drop(answer.headers.append(header::SET_COOKIE, cookie)),
            (None, None) => {}
        }
        Ok(answer)
    }

    /// Who is asking a gated function: the Bearer or the session, which must agree.
    async fn subject(
        &self,
        project: &Project,
        headers: &HeaderMap,
        session: Option<&str>,
    ) -> Result<Option<String>, FunctionError> {
        let bearer = self.signed_in(self.user(project, headers)).await?;
        match (bearer, session) {
            (Some(bearer), Some(session)) if bearer != session => Err(FunctionError::TwoUsers),
            (bearer, session) => Ok(bearer.or_else(|| session.map(str::to_owned))),
        }
    }
}

/// The answer of a function that had a session made: nothing of what it said itself.
fn minted(minted: Minted) -> FunctionResponse {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::SET_COOKIE, minted.cookie),
    ]);
    FunctionResponse {
        status: StatusCode::OK,
        headers,
        body: Bytes::from(minted.body.to_string()),
        cache_bypass_tainted: true,
        cold: false,
    }
}

/// A browser is never offered payment, and a quota is the site's trouble, not the visitor's (04 §3.8).
fn out_of_quota(error: ApiError) -> FunctionError {
    if error.status() == StatusCode::FORBIDDEN {
        let message = "This site has used all calls of its period.";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "QUOTA_EXCEEDED", message).retryable(false).into();
    }
    error.into()
}

fn answer_of(answer: FunctionResponse) -> Response<Bytes> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// What is left of a request when its answer is an error.
struct Visit {
    /// A page was asked for: GET or HEAD, and HTML is welcome.
    wants_page: bool,
    /// Raw path and query.
    target: String,
    /// Where the gate sends who is not signed in; none: it answers.
    sign_in: Option<String>,
    is_ssr: bool,
    request_id: String,
    release: Arc<crate::features::releases::ServedRelease>,
    show_errors: bool,
}

impl Visit {
    fn of(invocation: &Invocation, show_errors: bool) -> Self {
        let state = invocation.release.state.functions.get(&invocation.function);
        let gate = state.and_then(|state| state.require_role.as_ref()).filter(|gate| gate.on_deny == "redirect");
        Self {
            wants_page: matches!(invocation.method, Method::GET | Method::HEAD) && prefers_html(&invocation.headers),
            target: target_of(&invocation.url).to_owned(),
            sign_in: gate.map(|gate| gate.sign_in_path.clone().unwrap_or_else(|| SIGN_IN.to_owned())),
            is_ssr: state.is_some_and(|state| state.class == FunctionClass::Ssr),
            request_id: invocation.request_id.clone(),
            release: Arc::clone(&invocation.release),
            show_errors,
        }
    }

    /// A page for a browser where there is one, else the error (05 §8.7, §9).
    fn refused(&self, error: FunctionError) -> ApiResult<Response<Bytes>> {
        match &error {
            FunctionError::SignInRequired if self.wants_page => {
                if let Some(sign_in) = &self.sign_in {
                    return Ok(self.redirect(sign_in));
                }
            }
            FunctionError::Failed(FunctionFailure::Auth(thrown)) if self.wants_page => {
                if let Some(page) = page_for(thrown) {
                    return Ok(self.redirect(page));
                }
            }
            FunctionError::Failed(failure) if self.is_ssr && is_crash(failure) => {
                let body = ssr_crash(&self.release, &self.request_id).to_string();
                let mut response = Response::new(Bytes::from(body));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert("x-run402-error-code", HeaderValue::from_static(SSR_CRASH));
                return Ok(response);
            }
            _ => {}
        }
        Err(shown(error, self.show_errors))
    }

    /// 303 to a page of this host that leads back.
    fn redirect(&self, page: &str) -> Response<Bytes> {
        let joint = if page.contains('?') { '&' } else { '?' };
        let back = utf8_percent_encode(&self.target, NON_ALPHANUMERIC);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Ok(location) = HeaderValue::from_str(&format!("{page}{joint}returnTo={back}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// The page that helps against a thrown auth error, if one does.
fn page_for(thrown: &AuthThrown) -> Option<&'static str> {
    match thrown.code.as_str() {
        // A form answers this one itself.
        "R402_AUTH_INVALID_CREDENTIALS" => None,
        "R402_AUTH_FRESHNESS_REQUIRED" => Some(RE_AUTH),
        _ if thrown.status == 401 => Some(SIGN_IN),
        _ => None,
    }
}

/// Whether HTML is named in `Accept`, and before JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accept = accept.to_ascii_lowercase();
    match (accept.find("text/html"), accept.find("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

/// Raw path and query of an absolute URL.
fn target_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, target) in
            [("http://a.localhost:4020/x/y?z=1", "/x/y?z=1"), ("https://a.b", "/"), ("https://a.b/?q=/c", "/?q=/c")]
        {
            assert_eq!(target_of(url), target, "{url}");
        }
    }

    #[test]
    fn browsers_are_told_from_programs() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json", false),
            ("application/json, text/html", false),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(prefers_html(&headers), html, "{accept}");
        }
    }

    #[test]
    fn only_errors_that_signing_in_mends_lead_to_a_page() {
        let thrown = |code: &str, status| AuthThrown {
            code: code.into(),
            status,
            message: String::new(),
            details: serde_json::Value::Null,
            suggested_fix: None,
            docs: None,
        };
        let cases = [
            ("R402_AUTH_REQUIRED", 401, Some(SIGN_IN)),
            ("R402_AUTH_FRESHNESS_REQUIRED", 401, Some(RE_AUTH)),
            ("R402_AUTH_INVALID_CREDENTIALS", 401, None),
            ("R402_AUTH_INSUFFICIENT_ROLE", 403, None),
            ("R402_AUTH_ROLE_GATE_NOT_CONFIGURED", 500, None),
        ];
        for (code, status, page) in cases {
            assert_eq!(page_for(&thrown(code, status)), page, "{code}");
        }
    }
}
