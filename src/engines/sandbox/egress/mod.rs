//! The network as functions reach it.
//!
//! Names are resolved once, by us; addresses that are not public are dropped there, and the connection goes to the
//! address that was checked, so a name that changes its mind between check and connect gains nothing. Redirects are
//! requests of the guest again, and are checked again.

mod policy;

use std::{
    io::{self, Write},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Method, Uri,
    body::{Body as _, Frame},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tower::Service;
use url::Url;

use self::policy::{Denied, Policy};
use super::{
    frame::{pack, unpack},
    services::{OutboundBody, OutboundRequest, OutboundResponse, ServiceError, whole_body},
    settings::EgressSettings,
    state::State,
};

/// Chunks of an upload that may wait.
const UPLOAD_QUEUE: usize = 4;
/// Longest chunk handed to the guest at once.
const MAX_CHUNK: usize = 256 * 1024;
/// Longest body that goes to the guest together with its head, in bytes.
const WORTH_A_HANDLE: u64 = 64 * 1024;
/// Bytes of response headers a function accepts.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const POOL_IDLE: Duration = Duration::from_secs(30);

/// One step of a streamed request body.
pub(super) enum Upload {
    Chunk(Bytes),
    Failed,
}

/// Hands the connector nothing but admitted addresses.
#[derive(Clone)]
struct Resolver(Policy);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.0.clone();
        Box::pin(async move { policy.resolve(name.as_str()).await.map(Vec::into_iter) })
    }
}

/// The client all functions share.
pub(super) struct Egress {
    policy: Policy,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, OutboundBody>,
    max_body: u64,
}

impl Egress {
    pub(super) fn new(settings: &EgressSettings) -> Result<Self, String> {
        let policy = Policy::new(settings)?;
        let mut http = HttpConnector::new_with_resolver(Resolver(policy.clone()));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(settings.connect_seconds.into())));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(4)
            .http1_max_headers(256)
            .build(https);
        Ok(Self { policy, client, max_body: u64::from(settings.max_body_mb) << 20 })
    }

    async fn send(&self, call: &FetchCall, body: OutboundBody) -> Result<OutboundResponse, ServiceError> {
        let request = outgoing_request(call, body)?;
        let response = self.client.request(request).await.map_err(|error| connection_error(&error))?;
        let (head, incoming) = response.into_parts();
        let headers = received_headers(&head.headers)?;
        let body = incoming.map_err(Into::into).boxed_unsync();
        Ok(OutboundResponse { status: head.status.as_u16(), headers, body })
    }
}

#[derive(Deserialize)]
struct FetchCall {
    url: Url,
    method: String,
    headers: Vec<(String, String)>,
    /// The number of the stream that is the body.
    upload: Option<i64>,
    /// Whether there is a body at all.
    body: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FetchHead {
    status: u16,
    status_text: String,
    headers: Vec<(String, String)>,
    /// The number of the body that follows; none when it is in the frame.
    handle: Option<i32>,
}

/// Headers that are the connection's, not the function's.
fn is_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "host"
            | "content-length"
            | "expect"
    )
}

pub(super) fn fetch(state: &mut State, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let size = payload.len();
    let (call, mut parts) = unpack::<FetchCall>(payload)?;
    let services = state.services.clone().ok_or_else(|| ServiceError::new("no call is running"))?;
    let is_own = services.owns(&call.url);
    if !is_own {
        if !state.egress.policy.enabled {
            return Err(
                ServiceError::new("functions may not use the network on this machine").with_code("ERR_EGRESS_DENIED")
            );
        }
        state.egress.policy.check(&call.url)?;
    }
    let body = match call.upload {
        Some(number) => receive_upload(state, number),
        None => whole_body(parts.pop().unwrap_or_default()),
    };
    // The number is given now, the body arrives under it: the guest learns it with the head.
    let egress = state.egress.clone();
    let slot = Arc::new(Mutex::new(Body::Waiting));
    state.bodies.prune(|body| body.try_lock().is_ok_and(|body| matches!(*body, Body::Done)));
    let handle = state.bodies.insert(slot.clone())?;
    let started = state.begin_operation(id, size, async move {
        let answer = if is_own {
            let FetchCall { url, method, headers, .. } = call;
            services.dispatch(OutboundRequest { method, url, headers, body }).await?
        } else {
            egress.send(&call, body).await?
        };
        let OutboundResponse { status, headers, body } = answer;
        let status_text = reason(status);
        let encoding = headers.iter().find(|(name, _)| name == "content-encoding");
        let encoding = encoding.map(|(_, value)| value.to_ascii_lowercase());
        // A short body goes with its head: that saves the guest two questions.
        if encoding.is_none() && body.size_hint().exact().is_some_and(|length| length <= WORTH_A_HANDLE) {
            *slot.lock().await = Body::Done;
            let body = body.collect().await.map_err(|error| broken_off(&*error))?.to_bytes();
            return Ok(pack(&FetchHead { status, status_text, headers, handle: None }, &[&body]));
        }
        *slot.lock().await = Body::open(body, encoding.as_deref(), egress.max_body);
        Ok(pack(&FetchHead { status, status_text, headers, handle: Some(handle) }, &[]))
    });
    if let Err(error) = started {
        state.bodies.remove(handle);
        return Err(error);
    }
    Ok(Vec::new())
}

fn outgoing_request(call: &FetchCall, body: OutboundBody) -> Result<hyper::Request<OutboundBody>, ServiceError> {
    let invalid = |what: &str| ServiceError::named("TypeError", format!("the request has an invalid {what}"));
    if !matches!(call.url.scheme(), "http" | "https") {
        return Err(invalid("scheme"));
    }
    let mut url = call.url.clone();
    url.set_fragment(None);
    let uri: Uri = url.as_str().parse().map_err(|_| invalid("URL"))?;
    let method = Method::from_bytes(call.method.as_bytes()).map_err(|_| invalid("method"))?;
    let empty = !call.body && call.upload.is_none();
    let needs_length = empty && matches!(call.method.as_str(), "POST" | "PUT");
    let mut request = hyper::Request::builder().method(method).uri(uri);
    let mut encoded = false;
    for (name, value) in &call.headers {
        if !is_hop(name) {
            encoded |= name == "accept-encoding";
            // Values are bytes, one a character (checked by the prelude).
            let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
            request = request.header(name, bytes);
        }
    }
    if !encoded {
        request = request.header("accept-encoding", "gzip, deflate");
    }
    if needs_length {
        request = request.header("content-length", "0");
    }
    request.body(body).map_err(|_| invalid("header"))
}

fn received_headers(headers: &hyper::HeaderMap) -> Result<Vec<(String, String)>, ServiceError> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        return Err(ServiceError::new("the headers of the response are too long"));
    }
    // Bytes become characters one to one, as the standard has it.
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    Ok(headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect())
}

fn reason(status: u16) -> String {
    hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("").to_owned()
}

fn connection_error(error: &hyper_util::client::legacy::Error) -> ServiceError {
    let mut cause: &dyn std::error::Error = error;
    let mut code = None;
    loop {
        if let Some(denied) = cause.downcast_ref::<Denied>() {
            return ServiceError::new(denied.to_string()).with_code("ERR_EGRESS_DENIED");
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if let Some(denied) = io.get_ref().and_then(|inner| inner.downcast_ref::<Denied>()) {
                return ServiceError::new(denied.to_string()).with_code("ERR_EGRESS_DENIED");
            }
            code = match io.kind() {
                io::ErrorKind::ConnectionRefused => Some("ECONNREFUSED"),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some("ECONNRESET"),
                io::ErrorKind::TimedOut => Some("ETIMEDOUT"),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("EHOSTUNREACH"),
                _ => code,
            };
        }
        match cause.source() {
            Some(next) => cause = next,
            None => break,
        }
    }
    let text = cause.to_string();
    let unknown = text.contains("lookup") || text.contains("Name or service") || text.contains("resolution");
    match code.or(unknown.then_some("ENOTFOUND")) {
        Some(code) => ServiceError::new(text).with_code(code),
        None => ServiceError::new(text),
    }
}

fn broken_off(error: &dyn std::error::Error) -> ServiceError {
    ServiceError::new(format!("terminated: {error}")).with_code("ECONNRESET")
}

/// The body of a response, decoded as it arrives.
pub(super) enum Body {
    Waiting,
    Open { incoming: OutboundBody, decoder: Decoder, left: u64, ready: Bytes },
    Done,
}

pub(super) enum Decoder {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
}

impl Decoder {
    fn push(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip(decoder) => {
                decoder.write_all(&chunk)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Zlib(decoder) => {
                decoder.write_all(&chunk)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Zlib(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}

impl Body {
    fn open(incoming: OutboundBody, encoding: Option<&str>, left: u64) -> Self {
        let decoder = match encoding {
            Some("gzip" | "x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Some("deflate") => Decoder::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
            _ => Decoder::Plain,
        };
        Self::Open { incoming, decoder, left, ready: Bytes::new() }
    }

    /// The next bytes; none at the end.
    async fn read(&mut self) -> Result<Bytes, ServiceError> {
        loop {
            let Self::Open { incoming, decoder, left, ready } = self else { return Ok(Bytes::new()) };
            if !ready.is_empty() {
                return Ok(ready.split_to(ready.len().min(MAX_CHUNK)));
            }
            let arrived = match incoming.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => decoder.push(data).map_err(|error| broken_off(&error))?,
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    *self = Self::Done;
                    return Err(broken_off(&*error));
                }
                None => {
                    let last = decoder.finish().map_err(|error| broken_off(&error))?;
                    *self = Self::Done;
                    return Ok(last);
                }
            };
            *left = left
                .checked_sub(arrived.len() as u64)
                .ok_or_else(|| ServiceError::new("the response body is too long"))?;
            *ready = arrived;
        }
    }
}

#[derive(Deserialize)]
struct ReadBody {
    handle: i32,
}

pub(super) fn read_body(state: &mut State, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (ReadBody { handle }, _) = unpack(payload)?;
    let body = state.bodies.get(handle).cloned().ok_or_else(|| ServiceError::new("the body is closed"))?;
    state.begin_operation(id, 0, async move { Ok(body.lock().await.read().await?.to_vec()) })?;
    Ok(Vec::new())
}

/// The body that the guest writes under this number, as it comes.
fn receive_upload(state: &mut State, number: i64) -> OutboundBody {
    let (sender, receiver) = mpsc::channel(UPLOAD_QUEUE);
    state.uploads.insert(number, sender);
    let chunks = stream::unfold(receiver, |mut chunks| async {
        let step = match chunks.recv().await? {
            Upload::Chunk(bytes) => Ok(Frame::data(bytes)),
            Upload::Failed => Err("the body of the request failed".into()),
        };
        Some((step, chunks))
    });
    StreamBody::new(chunks).boxed_unsync()
}

#[derive(Deserialize)]
struct UploadStep {
    upload: i64,
    #[serde(default)]
    failed: bool,
}

pub(super) fn write_upload(state: &mut State, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (UploadStep { upload, .. }, parts) = unpack(payload)?;
    let closed = || ServiceError::new("the connection no longer takes the body").with_code("EPIPE");
    let sender = state.uploads.get(&upload).cloned().ok_or_else(closed)?;
    let chunk = parts.into_iter().next().unwrap_or_default();
    state.begin_operation(id, chunk.len(), async move {
        sender.send(Upload::Chunk(chunk)).await.map_err(|_| closed())?;
        Ok(Vec::new())
    })?;
    Ok(Vec::new())
}

pub(super) fn end_upload(state: &mut State, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (UploadStep { upload, failed }, _) = unpack(payload)?;
    if let Some(sender) = state.uploads.remove(&upload)
        && failed
    {
        let _ = sender.try_send(Upload::Failed);
    }
    Ok(Vec::new())
}

#[derive(Deserialize)]
struct Lookup {
    name: String,
}

#[derive(Serialize)]
struct Address {
    address: String,
    family: u8,
}

/// Addresses of a name, only those a function could connect to.
pub(super) fn resolve(state: &mut State, id: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let Lookup { name } =
        serde_json::from_slice(&payload).map_err(|_| ServiceError::named("TypeError", "malformed lookup"))?;
    let policy = state.egress.policy.clone();
    if !policy.enabled {
        return Err(
            ServiceError::new("functions may not use the network on this machine").with_code("ERR_EGRESS_DENIED")
        );
    }
    state.begin_operation(id, 0, async move {
        let found = policy.resolve(&name).await.map_err(|error| {
            let code = if error.kind() == io::ErrorKind::PermissionDenied { "ERR_EGRESS_DENIED" } else { "ENOTFOUND" };
            ServiceError::new(error.to_string()).with_code(code)
        })?;
        let addresses: Vec<Address> = found
            .into_iter()
            .map(|socket| Address { address: socket.ip().to_string(), family: if socket.is_ipv4() { 4 } else { 6 } })
            .collect();
        serde_json::to_vec(&addresses).map_err(|error| ServiceError::new(error.to_string()))
    })?;
    Ok(Vec::new())
}
