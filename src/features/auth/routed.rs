//! Users of routed functions (contract 05 §8.5-8.6, 06 §9.4, §10): who visits, what the function is told of him, and
//! what its answer does to his session.
//!
//! The session is looked up for every request with a cookie and nothing is kept of it, so that a revoked one is dead at
//! once. Requests without a cookie ask nothing.

use std::{collections::BTreeMap, net::IpAddr};

use axum::http::{
    HeaderMap, HeaderValue, Method,
    header::{HOST, SET_COOKIE, USER_AGENT},
};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{
    error::AuthError,
    hosted::{
        Site, Visit, Visitor,
        cookie::{self, Kind},
        forgery,
    },
    service::Auth,
    types::Client,
};
use crate::{
    common::{ApiResult, ProjectId},
    features::hosts::{Hostname, TenantHost},
};

/// A request on a host of its project that a function answers.
#[derive(Clone, Copy, Debug)]
pub struct RoutedRequest<'a> {
    pub project: &'a ProjectId,
    /// As in `x-run402-request-id`.
    pub request_id: &'a str,
    pub method: &'a Method,
    /// Absolute, as the function sees it.
    pub url: &'a str,
    /// The client's, with `Cookie`, `Authorization`, `Origin` and `Host` as they came.
    pub headers: &'a HeaderMap,
    pub client_ip: IpAddr,
}

/// Who sent it.
#[derive(Clone, Debug)]
pub enum RoutedVisitor {
    Anonymous,
    /// A cookie came that is good no more: this `Set-Cookie` takes it away.
    Stale(HeaderValue),
    SignedIn(Box<RoutedActor>),
}

/// A signed-in visitor, as a function learns of him.
#[derive(Clone, Debug)]
pub struct RoutedActor {
    pub user: Uuid,
    pub session: Uuid,
    /// Empty when there is none.
    pub email: String,
    pub email_verified: bool,
    pub is_test: bool,
    /// Seconds since 1970.
    pub auth_time: i64,
    pub amr: Vec<String>,
    /// Method → seconds since 1970.
    pub amr_times: BTreeMap<String, i64>,
    pub authz_version: i64,
    /// `x-run402-actor-context`
    pub context: String,
    /// `x-run402-actor-token`: ES256 under a published key.
    pub token: String,
}

/// What a function's answer is replaced by when it had a session made.
#[derive(Debug)]
pub struct Minted {
    /// `{ok: true, user: {id, email}}`
    pub body: Value,
    pub cookie: HeaderValue,
}

impl Auth {
    /// Who visits. `function_seconds`: how long the function may run; the token lives a little longer.
    ///
    /// # Errors
    /// 403 `R402_AUTH_CSRF_ORIGIN_MISMATCH` when another site had a browser send an unsafe method with the cookie;
    /// 400 `R402_AUTH_BEARER_COOKIE_MISMATCH`, 401 `R402_AUTH_INVALID_BEARER`.
    pub async fn routed_visitor(&self, request: &RoutedRequest<'_>, function_seconds: i64) -> ApiResult<RoutedVisitor> {
        // A host without sessions has no users either.
        let Ok(site) = self.routed_site(request) else { return Ok(RoutedVisitor::Anonymous) };
        if cookie::find(request.headers, Kind::Session, site.secure).is_none() {
            return Ok(RoutedVisitor::Anonymous);
        }
        if !matches!(*request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            forgery::check_origin(request.headers, &site.origin)?;
        }
        match self.visitor(&site, request.headers).await? {
            Visitor::Anonymous => Ok(RoutedVisitor::Anonymous),
            Visitor::Stale(_) => Ok(RoutedVisitor::Stale(Self::cleared(&site)?)),
            Visitor::SignedIn(visit) => {
                let actor = self.routed_actor(&visit, request, function_seconds).await?;
                Ok(RoutedVisitor::SignedIn(Box::new(actor)))
            }
        }
    }

    async fn routed_actor(
        &self,
        visit: &Visit,
        request: &RoutedRequest<'_>,
        function_seconds: i64,
    ) -> ApiResult<RoutedActor> {
        let (user, session) = (&visit.user, &visit.session);
        // A page rendered with the envelope alone makes its forms' tokens of the request's id.
        self.forms.remember(session.id, forgery::token(request.request_id, session.auth_time), self.clock.now());
        Ok(RoutedActor {
            user: user.id,
            session: session.id,
            email: user.email_text(),
            email_verified: user.email_verified_at.is_some(),
            is_test: user.is_test,
            auth_time: session.auth_time.as_seconds(),
            amr: session.amr.clone(),
            amr_times: session.amr_times.clone(),
            authz_version: user.authz_version,
            context: self.actor_context(visit, request),
            token: self.actor_token(visit, function_seconds).await?,
        })
    }

    /// Sessions that a function's answer ends: one that takes the session cookie away means the visitor's, whom the
    /// function could not name to `/auth/v1/sessions/end` (06 §10.5).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_sign_out(
        &self,
        request: &RoutedRequest<'_>,
        session: Uuid,
        answer: &HeaderMap,
    ) -> ApiResult<()> {
        if !answer.contains_key(SET_COOKIE) {
            return Ok(());
        }
        let Ok(site) = self.routed_site(request) else { return Ok(()) };
        let clears = |value: &HeaderValue| cookie::is_cleared(value, Kind::Session, site.secure);
        if answer.get_all(SET_COOKIE).iter().any(clears) {
            self.end_session(session).await?;
        }
        Ok(())
    }

    /// Makes the session that a function asked for with `x-run402-mint-directive` (06 §10.6). Whether the function
    /// may is for the caller to decide first.
    ///
    /// # Errors
    /// 400 `R402_AUTH_TENANT_SUBJECT_INVALID`, 400 `R402_AUTH_RESERVED_EMAIL_DOMAIN`, 403
    /// `R402_AUTH_TENANT_SUFFIX_REQUIRED`, 403 `R402_AUTH_UNTRUSTED_CONTEXT` for methods only the box can prove.
    pub async fn mint_session(&self, request: &RoutedRequest<'_>, directive: &HeaderValue) -> ApiResult<Minted> {
        let assertion = super::tenants::Assertion::parse(directive.as_bytes())?;
        let site = self.routed_site(request)?;
        let user_agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let client = Client { ip: request.client_ip, user_agent };
        self.assert_user(&site, request.headers, &assertion, &client).await
    }

    /// The site of a routed request.
    fn routed_site(&self, request: &RoutedRequest<'_>) -> Result<Site, AuthError> {
        let refused = |_| AuthError::TenantSuffixRequired;
        let url = Url::parse(request.url).map_err(|_| AuthError::TenantSuffixRequired)?;
        let host = url.host_str().ok_or(AuthError::TenantSuffixRequired)?;
        let bound = self.hosts.find(&Hostname::parse(host).map_err(refused)?);
        let tenant = TenantHost { bound, host: host.to_owned(), scheme: None };
        let mut site = self.site(Some(&tenant), Some(url.scheme()), request.headers)?;
        // HTTP/2 has no Host header; the URL was made of what stands in its place.
        if !request.headers.contains_key(HOST) {
            site.origin = url.origin().ascii_serialization();
        }
        if site.project == *request.project { Ok(site) } else { Err(AuthError::TenantSuffixRequired) }
    }
}
