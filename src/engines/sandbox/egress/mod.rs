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
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{Method, Uri, body::Frame, body::Incoming};
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
    services::{OutboundRequest, OutboundResponse, ServiceError},
    settings::EgressSettings,
    state::State,
};

/// Chunks of an upload that may wait.
const UPLOAD_QUEUE: usize = 4;
/// Longest chunk handed to the guest at once.
const MAX_CHUNK: usize = 256 * 1024;
/// Bytes of response headers a function accepts.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const POOL_IDLE: Duration = Duration::from_secs(30);

type UploadBody = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, io::Error>>>;
type Outgoing = Either<Full<Bytes>, UploadBody>;

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
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Outgoing>,
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
    let (call, mut parts) = unpack::<FetchCall>(payload)?;
    let body = parts.pop().unwrap_or_default();
    let services = state.services.clone().ok_or_else(|| ServiceError::new("no call is running"))?;
    if services.owns(&call.url) {
        let upload = call.upload.map(|number| receive_upload(state, number));
        state.begin_operation(id, async move {
            let body = match upload {
                Some(mut chunks) => collect(&mut chunks).await?,
                None => body,
            };
            let FetchCall { url, method, headers, .. } = call;
            let answer = services.dispatch(OutboundRequest { method, url, headers, body }).await?;
            let OutboundResponse { status, headers, body } = answer;
            let status_text = reason(status);
            Ok(pack(&FetchHead { status, status_text, headers, handle: None }, &[&body]))
        })?;
        return Ok(Vec::new());
    }
    if !state.egress.policy.enabled {
        return Err(
            ServiceError::new("functions may not use the network on this machine").with_code("ERR_EGRESS_DENIED")
        );
    }
    state.egress.policy.check(&call.url)?;
    let outgoing = match call.upload {
        Some(number) => {
            let chunks = receive_upload(state, number);
            let chunks = stream::unfold(chunks, |mut chunks| async {
                let step = match chunks.recv().await? {
                    Upload::Chunk(bytes) => Ok(Frame::data(bytes)),
                    Upload::Failed => Err(io::Error::other("the body of the request failed")),
                };
                Some((step, chunks))
            });
            Either::Right(StreamBody::new(chunks.boxed()))
        }
        None => Either::Left(Full::new(body)),
    };
    // The number is given now, the body arrives under it: the guest learns it with the head.
    let egress = state.egress.clone();
    let slot = Arc::new(Mutex::new(Body::Waiting));
    let handle = state.bodies.insert(slot.clone())?;
    let started = state.begin_operation(id, async move {
        let request = outgoing_request(&call, outgoing)?;
        let response = egress.client.request(request).await.map_err(|error| connection_error(&error))?;
        let (head, incoming) = response.into_parts();
        let headers = received_headers(&head.headers)?;
        let encoding =
            head.headers.get("content-encoding").map(|value| value.to_str().unwrap_or("").to_ascii_lowercase());
        *slot.lock().await = Body::open(incoming, encoding.as_deref(), egress.max_body);
        let status = head.status.as_u16();
        Ok(pack(&FetchHead { status, status_text: reason(status), headers, handle: Some(handle) }, &[]))
    });
    if let Err(error) = started {
        state.bodies.remove(handle);
        return Err(error);
    }
    Ok(Vec::new())
}

fn outgoing_request(call: &FetchCall, body: Outgoing) -> Result<hyper::Request<Outgoing>, ServiceError> {
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

/// The body of a response, decoded as it arrives.
pub(super) enum Body {
    Waiting,
    Open { incoming: Incoming, decoder: Decoder, left: u64, ready: Bytes },
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
    fn open(incoming: Incoming, encoding: Option<&str>, left: u64) -> Self {
        let decoder = match encoding {
            Some("gzip" | "x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Some("deflate") => Decoder::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
            _ => Decoder::Plain,
        };
        Self::Open { incoming, decoder, left, ready: Bytes::new() }
    }

    /// The next bytes; none at the end.
    async fn read(&mut self) -> Result<Bytes, ServiceError> {
        let broken =
            |error: &dyn std::error::Error| ServiceError::new(format!("terminated: {error}")).with_code("ECONNRESET");
        loop {
            let Self::Open { incoming, decoder, left, ready } = self else { return Ok(Bytes::new()) };
            if !ready.is_empty() {
                return Ok(ready.split_to(ready.len().min(MAX_CHUNK)));
            }
            let arrived = match incoming.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => decoder.push(data).map_err(|error| broken(&error))?,
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    *self = Self::Done;
                    return Err(broken(&error));
                }
                None => {
                    let last = decoder.finish().map_err(|error| broken(&error))?;
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
    state.begin_operation(id, async move { Ok(body.lock().await.read().await?.to_vec()) })?;
    Ok(Vec::new())
}

fn receive_upload(state: &mut State, number: i64) -> mpsc::Receiver<Upload> {
    let (sender, receiver) = mpsc::channel(UPLOAD_QUEUE);
    state.uploads.insert(number, sender);
    receiver
}

async fn collect(chunks: &mut mpsc::Receiver<Upload>) -> Result<Bytes, ServiceError> {
    let mut whole = Vec::new();
    while let Some(step) = chunks.recv().await {
        match step {
            Upload::Chunk(bytes) => whole.extend_from_slice(&bytes),
            Upload::Failed => return Err(ServiceError::new("the body of the request failed")),
        }
    }
    Ok(whole.into())
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
    state.begin_operation(id, async move {
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
    state.begin_operation(id, async move {
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
