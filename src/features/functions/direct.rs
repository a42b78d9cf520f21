//! Direct invocation: `ANY /functions/v1/{name}` (contract 05 §4.1).

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, CONTENT_LENGTH},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::json;

use super::{
    error::{FunctionError, REQUEST_ID, shown, with_request_id},
    executor::{FunctionFailure, FunctionResponse, InvocationKind},
    gate::{Passed, is_gated},
    headers::{self, MINT_DIRECTIVE, Told},
    service::{Call, Functions, MAX_BODY, request_id},
};
use crate::{
    common::{
        ApiError, NestedCall, Verbatim,
        body::{self, BodyError},
    },
    features::{
        identity::{KeyRole, bearer_token},
        projects::Project,
        releases::{FunctionClass, ServedRelease},
        sites::note_spoofing,
        user_keys::Claims,
    },
};

/// Bytes of a body too large that are still read, so that the client gets to see the refusal.
const DRAINED: u64 = 4 * MAX_BODY as u64;

impl Functions {
    /// Answers one request, whatever it is.
    pub(super) async fn direct(self: &Arc<Self>, name: &str, request: Request) -> Response {
        if request.method() == Method::OPTIONS {
            return preflight();
        }
        // No function has this name: what is not a route of runs is nothing.
        if name == "runs" {
            return ApiError::from(FunctionError::NoRunRoute).into_response();
        }
        let request_id = request_id();
        let head_only = request.method() == Method::HEAD;
        match self.invoke(name, request, &request_id).await {
            Ok(answer) => respond(answer, head_only, &request_id),
            Err(Refused { error, release }) => {
                refuse(error, release.as_deref(), name, &request_id, self.settings.show_errors)
            }
        }
    }

    async fn invoke(
        self: &Arc<Self>,
        name: &str,
        request: Request,
        request_id: &str,
    ) -> Result<FunctionResponse, Refused> {
        let project = self.key_project(request.headers())?;
        self.projects.meter(&project, false).map_err(FunctionError::from)?;
        let release = self.release_with(&project.id, name).await?;
        let answer = self.invoke_in(project, Arc::clone(&release), name, request, request_id).await;
        answer.map_err(|error| Refused { error, release: Some(release) })
    }

    async fn invoke_in(
        self: &Arc<Self>,
        project: Arc<Project>,
        release: Arc<ServedRelease>,
        name: &str,
        request: Request,
        request_id: &str,
    ) -> Result<FunctionResponse, FunctionError> {
        let (parts, body) = request.into_parts();
        let body = read_announced(&parts.headers, body).await?;
        let user = self.user(&project, &parts.headers);
        let state = release.state.functions.get(name).ok_or(FunctionError::NotFound)?;
        let subject = if is_gated(state) { self.signed_in(user.clone()).await? } else { None };
        let passed = self.pass_gate(&project, &release, state, subject).await?;
        let body = read_body(body).await?;
        note_spoofing(&parts.headers, &project.id, request_id);
        let mut seen = headers::inbound(&parts.headers);
        let mut told = Told::default();
        if user.is_some()
            && let Some(token) = bearer_token(&parts.headers)
        {
            told = told.with("x-run402-actor-token", token);
        }
        passed_headers(told, passed).write(&mut seen);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let call = Call {
            project,
            release,
            function: name.to_owned(),
            kind: InvocationKind::Direct,
            request_id: request_id.to_owned(),
            method: parts.method,
            url: format!("{}{path}", self.api_base),
            host: self.api_host.clone(),
            headers: seen,
            body,
            route: None,
            actor: None,
            depth: NestedCall::depth_of(&parts.extensions),
            run: None,
        };
        let answer = self.call(call).await?;
        checked(answer, false)
    }

    /// The project of the API key (05 §4.1).
    pub(super) fn key_project(&self, headers: &HeaderMap) -> Result<Arc<Project>, FunctionError> {
        let key = match headers.get("apikey") {
            Some(value) => {
                let token = value.to_str().unwrap_or_default().trim();
                self.identity.verify_project_key(token).ok_or(FunctionError::InvalidKey)?
            }
            None => bearer_token(headers)
                .and_then(|token| self.identity.verify_project_key(token))
                .filter(|key| key.role == KeyRole::Service)
                .ok_or(FunctionError::MissingKey)?,
        };
        self.projects.live(&key.project).filter(|project| !project.archived).ok_or(FunctionError::ProjectGone)
    }

    /// The user whose valid token of this project was sent.
    pub(super) fn user(&self, project: &Project, headers: &HeaderMap) -> Option<Claims> {
        let claims = self.user_keys.verify(bearer_token(headers)?, &project.id)?;
        matches!(claims.role.as_str(), "authenticated" | "project_admin").then_some(claims)
    }

    /// The id of a user whose sign-in still stands.
    pub(super) async fn signed_in(&self, user: Option<Claims>) -> Result<Option<String>, FunctionError> {
        match user {
            Some(claims) if self.sessions.is_signed_in(&claims).await? => Ok(Some(claims.sub)),
            _ => Ok(None),
        }
    }
}

/// Why a request was not answered by a function, and whose release it was for.
struct Refused {
    error: FunctionError,
    release: Option<Arc<ServedRelease>>,
}

impl<E: Into<FunctionError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), release: None }
    }
}

/// What a gate says to the function.
pub(super) fn passed_headers(told: Told, passed: Option<Passed>) -> Told {
    let Some(passed) = passed else { return told };
    let told = told.with("x-run402-user-id", passed.user);
    match passed.role {
        Some(role) => told.with("x-run402-user-role", role),
        None => told,
    }
}

/// What a body says of its length is believed when it is too large: it is thrown away.
async fn read_announced(headers: &HeaderMap, body: Body) -> Result<Body, FunctionError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        body::drain(body, DRAINED, body::PATIENCE).await;
        return Err(FunctionError::BodyTooLarge { limit: MAX_BODY });
    }
    Ok(body)
}

async fn read_body(body: Body) -> Result<Bytes, FunctionError> {
    body::collect(body, MAX_BODY).await.map_err(|error| match error {
        BodyError::TooLarge(limit) => FunctionError::BodyTooLarge { limit },
        BodyError::BrokenOff => FunctionError::BodyBrokeOff,
    })
}

/// What holds for every answer of a function, routed or not.
///
/// # Errors
/// 500 `FUNCTION_INVALID_RESPONSE`, 502 for too large a body, 403 for a session it may not make.
pub(super) fn checked(answer: FunctionResponse, routed: bool) -> Result<FunctionResponse, FunctionError> {
    if !(200..600).contains(&answer.status.as_u16()) {
        let why = format!("The response has the status {}.", answer.status.as_u16());
        return Err(FunctionError::Failed(FunctionFailure::InvalidResponse(why)));
    }
    if answer.body.len() > MAX_BODY {
        return Err(FunctionError::ResponseTooLarge { limit: MAX_BODY, routed });
    }
    if !routed && answer.headers.contains_key(MINT_DIRECTIVE) {
        return Err(FunctionError::UntrustedContext);
    }
    Ok(answer)
}

fn respond(answer: FunctionResponse, head_only: bool, request_id: &str) -> Response {
    let mut headers = headers::outbound(&answer.headers);
    let bodiless = matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // The length of what is sent, whatever the function said; a HEAD keeps the length its GET would have.
    if bodiless {
        headers.remove(CONTENT_LENGTH);
    } else if !(head_only && answer.body.is_empty()) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    let body = if head_only || bodiless { Body::empty() } else { Body::from(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Verbatim);
    response
}

/// The answer in place of a function's. A crash of an SSR function has a form of its own (05 §4.4).
fn refuse(error: FunctionError, release: Option<&ServedRelease>, name: &str, request_id: &str, show: bool) -> Response {
    let ssr = release.filter(|release| {
        release.state.functions.get(name).is_some_and(|function| function.class == FunctionClass::Ssr)
    });
    match (ssr, &error) {
        (Some(release), FunctionError::Failed(failure)) if is_crash(failure) => {
            let body = ssr_crash(release, request_id);
            let code = [("x-run402-error-code", SSR_CRASH)];
            let mut response = (StatusCode::INTERNAL_SERVER_ERROR, code, Json(body)).into_response();
            if let Ok(value) = HeaderValue::from_str(request_id) {
                response.headers_mut().insert(REQUEST_ID, value);
            }
            response
        }
        _ => with_request_id(shown(error, show), request_id).into_response(),
    }
}

pub(super) const SSR_CRASH: &str = "R402_SSR_RUNTIME_ERROR";

pub(super) fn is_crash(failure: &FunctionFailure) -> bool {
    matches!(
        failure,
        FunctionFailure::Threw(_)
            | FunctionFailure::InvalidResponse(_)
            | FunctionFailure::OutOfMemory
            | FunctionFailure::Trap(_)
            | FunctionFailure::Exited(_)
    )
}

pub(super) fn ssr_crash(release: &ServedRelease, request_id: &str) -> serde_json::Value {
    json!({
        "ok": false,
        "code": SSR_CRASH,
        "error": "The page could not be rendered.",
        "message": "The page could not be rendered.",
        "requestId": request_id,
        "releaseId": release.release,
        "docs": "/openapi.json",
    })
}

/// OPTIONS is answered by the platform: the handler does not run.
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("apikey,authorization,content-type,*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
