//! Answering requests on tenant hosts.

use std::{net::IpAddr, ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_LENGTH, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::{
    SiteSettings,
    accept::{self, Encoding},
    cache::{FileError, Files, Form},
    conditional::{Part, Verdict, evaluate, part},
    error::SiteError,
    head::{Head, Heads},
    routed::{self, FunctionRunner, Invocation, MAX_BODY, Told},
};
use crate::{
    common::{ApiResult, DeploymentId, NestedCall, ProjectId, body, path::is_at},
    engines::blobs::BlobStore,
    features::{
        assets::Assets,
        content::Content,
        hosts::{Bound, Hosts},
        identity::Identity,
        projects::Projects,
        releases::{Outcome, ReleaseSource, SSR_PATTERN, ServedRelease, canonicalise, lookup},
    },
};

/// First segment of asset URLs.
pub(super) const BLOB_PREFIX: &str = "/_blob";
/// Bytes of a body too large that are still read, so that the client gets to see the refusal.
const DRAINED: u64 = 4 * MAX_BODY as u64;

/// What the service is built from.
pub struct Dependencies {
    pub hosts: Arc<Hosts>,
    pub identity: Arc<Identity>,
    pub projects: Arc<Projects>,
    pub content: Arc<Content>,
    pub assets: Arc<Assets>,
    pub releases: Arc<dyn ReleaseSource>,
    pub functions: Arc<dyn FunctionRunner>,
    pub store: Arc<dyn BlobStore>,
    pub settings: SiteSettings,
}

/// The service.
pub struct Sites {
    pub(super) hosts: Arc<Hosts>,
    pub(super) identity: Arc<Identity>,
    pub(super) projects: Arc<Projects>,
    pub(super) content: Arc<Content>,
    pub(super) assets: Arc<Assets>,
    pub(super) releases: Arc<dyn ReleaseSource>,
    functions: Arc<dyn FunctionRunner>,
    pub(super) files: Files,
    heads: Heads,
    pub(super) settings: SiteSettings,
}

/// Where a request to a tenant host comes from and where it goes.
#[derive(Clone, Debug)]
pub struct Visit {
    pub bound: Arc<Bound>,
    /// The normalised host.
    pub host: String,
    pub client_ip: IpAddr,
    /// Whether a trusted proxy sent it.
    pub trusted_peer: bool,
    /// `X-Forwarded-Proto` of a trusted proxy.
    pub forwarded_scheme: Option<&'static str>,
}

/// What a host leads to.
pub(super) struct Place {
    pub project: ProjectId,
    /// None: nothing was deployed.
    pub release: Option<Arc<ServedRelease>>,
}

/// What to send of a file.
enum Reply {
    NotModified(Option<Encoding>),
    Failed,
    Unsatisfiable,
    Part(Range<u64>),
    Whole(Option<Encoding>),
}

/// The releases of a box that cannot deploy.
pub struct NoReleases;

impl ReleaseSource for NoReleases {
    fn cached(&self, _: &ProjectId) -> Option<Arc<ServedRelease>> {
        None
    }

    fn live<'a>(&'a self, _: &'a ProjectId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async { Ok(None) })
    }

    fn of_deployment<'a>(&'a self, _: &'a DeploymentId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async { Ok(None) })
    }
}

impl Sites {
    pub fn new(parts: Dependencies) -> Self {
        let capacity = u64::from(parts.settings.cache_mb) * 1024 * 1024;
        Self {
            hosts: parts.hosts,
            identity: parts.identity,
            projects: parts.projects,
            content: parts.content,
            assets: parts.assets,
            releases: parts.releases,
            functions: parts.functions,
            files: Files::new(parts.store, capacity),
            heads: Heads::new(),
            settings: parts.settings,
        }
    }

    /// The answer to a read of a static file, when everything it takes is in memory. Never waits.
    pub fn now(&self, bound: &Bound, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if !matches!(*method, Method::GET | Method::HEAD) || is_blob(uri.path()) {
            return None;
        }
        let release = match bound {
            Bound::Project(project) | Bound::Subdomain { project, pin: None, .. } => self.releases.cached(project)?,
            Bound::Subdomain { pin: Some(deployment), .. } | Bound::Deployment(deployment) => {
                self.releases.cached_deployment(deployment)?
            }
            Bound::Api | Bound::UnknownManaged | Bound::Foreign => return None,
        };
        if self.projects.is_archived(&release.project)? {
            return None;
        }
        let path = canonicalise(uri.path()).ok()?;
        let Outcome::Static { public_path, file, .. } = lookup(&release.state, &path, method.as_str()) else {
            return None;
        };
        let head = self.heads.of(&release, public_path, file, self.files.keeps(file.size));
        self.file_now(&head, *method == Method::HEAD, headers)
    }

    /// Answers any request. Errors travel in the response's extensions, for the edge to render.
    pub async fn answer(&self, visit: Visit, request: Request) -> Response {
        self.serve(visit, request).await.unwrap_or_else(IntoResponse::into_response)
    }

    async fn serve(&self, visit: Visit, request: Request) -> ApiResult<Response> {
        let (parts, body) = request.into_parts();
        let place = self.place(&visit.bound).await?;
        let path = parts.uri.path();
        if is_blob(path) {
            return self.blob(&place.project, &parts).await;
        }
        let path = canonicalise(path).map_err(SiteError::from)?.into_owned();
        let release = place.release.ok_or(SiteError::NothingDeployed)?;
        match lookup(&release.state, &path, parts.method.as_str()) {
            Outcome::Static { public_path, file, .. } => {
                let head = self.heads.of(&release, public_path, file, self.files.keeps(file.size));
                self.file(&head, parts.method == Method::HEAD, &parts.headers).await
            }
            Outcome::Function { route, name } => {
                let pattern = route.map_or(SSR_PATTERN, |route| route.pattern.as_str());
                self.run(&release, name, pattern, visit, &parts, body).await
            }
            Outcome::RouteMethodMiss { allow, .. } => Err(SiteError::RouteMethodNotAllowed(allow).into()),
            Outcome::StaticMethodMiss { allow } => Err(SiteError::MethodNotAllowed(allow).into()),
            Outcome::AliasTargetMissing { .. } => Err(SiteError::AliasTargetMissing.into()),
            Outcome::SpaFallbackMissing | Outcome::Nothing(_) | Outcome::ManifestMissing => {
                Err(SiteError::NotFound.into())
            }
        }
    }

    /// What a host leads to (contract 04 §1.4-1.5).
    ///
    /// # Errors
    /// [`SiteError`] for hosts that lead nowhere.
    pub(super) async fn place(&self, bound: &Bound) -> ApiResult<Place> {
        let (project, deployment) = match bound {
            Bound::Api | Bound::Foreign => return Err(SiteError::Foreign.into()),
            Bound::UnknownManaged => return Err(SiteError::UnknownManaged.into()),
            Bound::Project(project) => (Some(project), None),
            Bound::Subdomain { project, pin, .. } => (Some(project), pin.as_ref()),
            Bound::Deployment(deployment) => (None, Some(deployment)),
        };
        if let Some(project) = project {
            self.check_serving(project)?;
        }
        let read = match (deployment, project) {
            (Some(deployment), _) => self.releases.of_deployment(deployment).await,
            (None, Some(project)) => self.releases.live(project).await,
            (None, None) => Ok(None),
        };
        let release = read.map_err(SiteError::ManifestUnavailable)?;
        let project = match (project, &release) {
            (Some(project), _) => project.clone(),
            (None, Some(release)) => {
                self.check_serving(&release.project)?;
                release.project.clone()
            }
            (None, None) => return Err(SiteError::UnknownManaged.into()),
        };
        Ok(Place { project, release })
    }

    /// Whether a host leads to a project that serves.
    ///
    /// # Errors
    /// As [`Sites::answer`] for a host that leads nowhere.
    pub async fn check_host(&self, bound: &Bound) -> ApiResult<()> {
        match bound {
            Bound::Project(project) | Bound::Subdomain { project, .. } => Ok(self.check_serving(project)?),
            _ => self.place(bound).await.map(|_| ()),
        }
    }

    /// A purged project is unknown; an archived one keeps its data and serves nothing.
    fn check_serving(&self, project: &ProjectId) -> Result<(), SiteError> {
        match self.projects.is_archived(project) {
            Some(false) => Ok(()),
            Some(true) => Err(SiteError::Archived),
            None => Err(SiteError::UnknownManaged),
        }
    }

    /// The answer to a read of a file, reading and compressing it if need be.
    ///
    /// # Errors
    /// 412, 416, 500 `CONTENT_DIGEST_MISSING`, 503 when the store fails.
    pub(super) async fn file(&self, head: &Head, head_only: bool, asked: &HeaderMap) -> ApiResult<Response> {
        if let Some(answer) = self.file_now(head, head_only, asked) {
            return Ok(answer);
        }
        match decide(head, head_only, asked) {
            Reply::NotModified(encoding) => Ok(bare(StatusCode::NOT_MODIFIED, head.not_modified(encoding))),
            Reply::Failed => Err(SiteError::PreconditionFailed.into()),
            Reply::Unsatisfiable => Err(SiteError::RangeNotSatisfiable { size: head.size }.into()),
            Reply::Part(range) => {
                let headers = head.part(range.start, range.end);
                let body = self.body(head, Some(range)).await?;
                Ok(with(StatusCode::PARTIAL_CONTENT, headers, body))
            }
            Reply::Whole(Some(encoding)) => {
                let form = self.files.packed(head.digest, head.size, encoding).await;
                match form.map_err(SiteError::ContentMissing)? {
                    Form::Bytes(bytes) => Ok(packed(head, encoding, bytes, head_only)),
                    Form::NotSmaller => Ok(with(StatusCode::OK, head.plain(), self.body(head, None).await?)),
                }
            }
            Reply::Whole(None) => Ok(with(StatusCode::OK, head.plain(), self.body(head, None).await?)),
        }
    }

    /// As [`Sites::file`], from memory only.
    fn file_now(&self, head: &Head, head_only: bool, asked: &HeaderMap) -> Option<Response> {
        match decide(head, head_only, asked) {
            Reply::NotModified(encoding) => Some(bare(StatusCode::NOT_MODIFIED, head.not_modified(encoding))),
            Reply::Whole(None) if head_only => Some(bare(StatusCode::OK, head.plain())),
            Reply::Whole(None) => self.plain_now(head),
            Reply::Whole(Some(encoding)) => match self.files.cached(head.digest, Some(encoding))? {
                Form::Bytes(bytes) => Some(packed(head, encoding, bytes, head_only)),
                Form::NotSmaller if head_only => Some(bare(StatusCode::OK, head.plain())),
                Form::NotSmaller => self.plain_now(head),
            },
            Reply::Failed | Reply::Unsatisfiable | Reply::Part(_) => None,
        }
    }

    fn plain_now(&self, head: &Head) -> Option<Response> {
        match self.files.cached(head.digest, None)? {
            Form::Bytes(bytes) => Some(with(StatusCode::OK, head.plain(), Body::from(bytes))),
            Form::NotSmaller => None,
        }
    }

    /// The bytes of a file or of a part of it: from memory when it is small, else as a stream.
    async fn body(&self, head: &Head, range: Option<Range<u64>>) -> Result<Body, SiteError> {
        if self.files.keeps(head.size) {
            let bytes = self.files.plain(head.digest, head.size).await.map_err(SiteError::ContentMissing)?;
            // A kept file fits into memory, and so do its offsets.
            let cut = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len());
            return Ok(Body::from(match range {
                Some(range) => bytes.slice(cut(range.start)..cut(range.end)),
                None => bytes,
            }));
        }
        let blob = self.files.store().get(head.digest, range).await;
        let blob = blob.map_err(|error| SiteError::ContentMissing(FileError::Store(Arc::new(error))))?;
        let blob = blob.ok_or(SiteError::ContentMissing(FileError::Missing(head.digest)))?;
        if blob.meta.size != head.size {
            let wrong = FileError::Size { digest: head.digest, expected: head.size, actual: blob.meta.size };
            return Err(SiteError::ContentMissing(wrong));
        }
        Ok(Body::from_stream(blob.content))
    }

    /// Runs a function for a matched route (contract 04 §3.4-3.5).
    async fn run(
        &self,
        release: &Arc<ServedRelease>,
        function: &str,
        pattern: &str,
        visit: Visit,
        parts: &Parts,
        body: Body,
    ) -> ApiResult<Response> {
        let request_id = routed::request_id();
        let fail = |error| routed::failure(error, &request_id);
        if routed::wants_websocket(&parts.headers) {
            return Err(fail(SiteError::Upgrade.into()));
        }
        let body = collect(&parts.headers, body).await.map_err(|error| fail(error.into()))?;
        let (origin, host) = self.hosts.origin(&visit.host, visit.forwarded_scheme);
        let told =
            Told { release, function, pattern, request_id: &request_id, host: &host, trusted_peer: visit.trusted_peer };
        routed::note_spoofing(&parts.headers, &release.project, &request_id);
        let head_only = parts.method == Method::HEAD;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let invocation = Invocation {
            release: Arc::clone(release),
            function: function.to_owned(),
            pattern: pattern.to_owned(),
            url: format!("{origin}{target}"),
            headers: routed::request_headers(&parts.headers, &told),
            method: parts.method.clone(),
            body,
            host,
            client_ip: visit.client_ip,
            depth: NestedCall::depth_of(&parts.extensions),
            request_id: request_id.clone(),
        };
        let answer = self.functions.run(invocation).await.map_err(fail)?;
        Ok(routed::response(answer, head_only, &request_id).map_err(fail)?.map(Body::from))
    }
}

/// Whether a raw path asks for an asset.
pub(super) fn is_blob(path: &str) -> bool {
    is_at(path, BLOB_PREFIX)
}

fn decide(head: &Head, head_only: bool, asked: &HeaderMap) -> Reply {
    // Ranges are of the bytes as they are stored, and only a GET has them (RFC 9110 §14.2).
    let ranged = !head_only && asked.contains_key(axum::http::header::RANGE);
    let encoding = if head.compressible && !ranged { accept::encoding(asked) } else { None };
    let validators = head.validators(encoding);
    match evaluate(asked, validators) {
        Verdict::NotModified => return Reply::NotModified(encoding),
        Verdict::Failed => return Reply::Failed,
        Verdict::Proceed => {}
    }
    if !ranged {
        return Reply::Whole(encoding);
    }
    match part(asked, head.size, validators) {
        Part::Whole => Reply::Whole(None),
        Part::Range(range) => Reply::Part(range),
        Part::Unsatisfiable => Reply::Unsatisfiable,
    }
}

fn packed(head: &Head, encoding: Encoding, bytes: Bytes, head_only: bool) -> Response {
    let headers = head.packed(encoding, bytes.len());
    if head_only { bare(StatusCode::OK, headers) } else { with(StatusCode::OK, headers, Body::from(bytes)) }
}

fn bare(status: StatusCode, headers: HeaderMap) -> Response {
    with(status, headers, Body::empty())
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The whole body of a request, within the limit.
async fn collect(headers: &HeaderMap, mut body: Body) -> Result<Bytes, SiteError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(MAX_BODY));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| SiteError::BodyBrokeOff)?.into_data() else { continue };
        if whole.len() + data.len() > MAX_BODY {
            body::drain(body, DRAINED, body::LONG_PATIENCE).await;
            return Err(SiteError::BodyTooLarge { limit: MAX_BODY });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
