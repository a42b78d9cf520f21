//! The box's own hosts as functions reach them: the front door, without a socket (contract 05 §8.8).

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock, Weak},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
    response::Response,
};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::{runtime::Handle, task::JoinHandle};
use url::{Host, Url};

use super::answer;
use crate::{
    common::{NestedCall, ProjectId, sealing::sha256_hex},
    engines::sandbox::{OutboundRequest, OutboundResponse, ServiceError},
    features::hosts::{Bound, Hostname, Hosts},
};

/// The API of the cloud, which published apps name outright.
const CLOUD_API: &str = "api.run402.com";

/// What a name is bound to.
type Find = Box<dyn Fn(&Hostname<'_>) -> Arc<Bound> + Send + Sync>;

/// Answers a request as if it had come through a socket.
pub trait FrontDoor: Send + Sync + 'static {
    fn answer(self: Arc<Self>, request: Request, peer: SocketAddr) -> BoxFuture<'static, Response>;
}

/// Which hosts are this box's, and the door to them.
pub struct OwnHosts {
    find: Find,
    api: Url,
    /// Whether `localhost` is a name of this box, not of the machine.
    is_local: bool,
    /// Whether the cloud's API means this one.
    cloud_alias: bool,
    /// Set when everything behind it exists. Weak: what is behind it holds us.
    door: OnceLock<Weak<dyn FrontDoor>>,
}

impl OwnHosts {
    /// `api`: base URL of the API. `domain`: base domain of managed hosts.
    pub fn new(hosts: Arc<Hosts>, api: Url, domain: &str, cloud_alias: bool) -> Self {
        Self::with(Box::new(move |name| hosts.find(name)), api, domain, cloud_alias)
    }

    fn with(find: Find, api: Url, domain: &str, cloud_alias: bool) -> Self {
        let is_local = domain == "localhost" || api.host_str() == Some("localhost");
        Self { find, api, is_local, cloud_alias, door: OnceLock::new() }
    }

    /// From now on requests are answered. Only the first door counts.
    pub fn open(&self, door: Weak<dyn FrontDoor>) {
        let _ = self.door.set(door);
    }

    /// The `Host` under which this box answers the URL; none when it is somebody else's. Port and scheme do not
    /// matter.
    pub(super) fn authority(&self, url: &Url) -> Option<String> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let host = match url.host()? {
            Host::Domain(name) => name,
            // An address is a machine's; it is ours only as the name of the API.
            Host::Ipv4(_) | Host::Ipv6(_) => return (url.host() == self.api.host()).then(|| authority_of(&self.api)),
        };
        if self.cloud_alias && host == CLOUD_API {
            return Some(authority_of(&self.api));
        }
        let name = Hostname::parse(host).ok()?;
        let is_own = match &*(self.find)(&name) {
            Bound::Api => self.is_local || name.as_str() != "localhost",
            Bound::Project(_) | Bound::Deployment(_) | Bound::Subdomain { .. } => true,
            // A name below the base domain that nobody claimed may be another machine's.
            Bound::UnknownManaged | Bound::Foreign => false,
        };
        is_own.then(|| authority_of(url))
    }

    /// Sends a request of a function of `project` through the front door.
    ///
    /// # Errors
    /// What the guest throws: the request is none, or the box is stopping.
    pub(super) async fn dispatch(
        &self,
        request: OutboundRequest,
        project: &ProjectId,
        depth: u8,
        runtime: &Handle,
    ) -> Result<OutboundResponse, ServiceError> {
        let request = self.request(request, depth)?;
        let door = self.door.get().and_then(Weak::upgrade);
        let door = door.ok_or_else(|| ServiceError::new("the server is stopping").with_code("ECONNREFUSED"))?;
        // On the server's own runtime: what it starts there must not end with the sandbox.
        let answering = Aborting(runtime.spawn(door.answer(request, peer(project))));
        let response = answering.answer().await?;
        let (parts, body) = response.into_parts();
        Ok(OutboundResponse {
            status: parts.status.as_u16(),
            headers: answer::text_headers(&parts.headers),
            body: body.map_err(Into::into).boxed_unsync(),
        })
    }

    fn request(&self, given: OutboundRequest, depth: u8) -> Result<Request, ServiceError> {
        let invalid = |what: &str| ServiceError::named("TypeError", format!("the request has an invalid {what}"));
        let authority = self.authority(&given.url).ok_or_else(|| invalid("host"))?;
        let target = match given.url.query() {
            Some(query) => format!("{}?{query}", given.url.path()),
            None => given.url.path().to_owned(),
        };
        let method = Method::from_bytes(given.method.as_bytes()).map_err(|_| invalid("method"))?;
        let length = given.body.size_hint().exact();
        let mut request = Request::new(Body::new(given.body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| invalid("URL"))?;
        let headers = request.headers_mut();
        for (name, value) in &given.headers {
            let (name, value) = answer::header(name, value).ok_or_else(|| invalid("header"))?;
            if !is_ours(&name) {
                headers.try_append(name, value).map_err(|_| invalid("header"))?;
            }
        }
        headers.insert(header::HOST, HeaderValue::from_str(&authority).map_err(|_| invalid("host"))?);
        if let Some(length) = length.filter(|length| *length > 0) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        request.extensions_mut().insert(NestedCall { depth });
        Ok(request)
    }
}

/// Host, and port when it is not the scheme's.
fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Headers that the transport sets, or that only a proxy may: a function is neither. Compressing for a neighbour in
/// the same process is a waste.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 12] = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::ACCEPT_ENCODING,
        header::FORWARDED,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("x-real-ip"),
    ];
    OURS.contains(name) || name.as_str().starts_with("x-forwarded-")
}

/// The address a project's functions call from: one of their own, so that what counts by address counts them apart, and
/// never the machine's, which may see more than others.
fn peer(project: &ProjectId) -> SocketAddr {
    let digest = sha256_hex(project.as_str().as_bytes());
    let prefix = u64::from_str_radix(&digest[..14], 16).unwrap_or_default();
    // fd00::/8, unique local addresses (RFC 4193).
    let bits = (0xfd_u128 << 120) | (u128::from(prefix) << 64) | 1;
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), 0)
}

/// An answer being made; it ends with who waits for it.
struct Aborting(JoinHandle<Response>);

impl Aborting {
    async fn answer(mut self) -> Result<Response, ServiceError> {
        (&mut self.0).await.map_err(|error| ServiceError::new(error.to_string()).with_code("ECONNRESET"))
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::sandbox::whole_body;

    /// A box with the host of one project.
    fn own(api: &str, domain: &'static str, cloud_alias: bool) -> OwnHosts {
        let api: Url = api.parse().unwrap();
        let api_host = api.host_str().unwrap().to_owned();
        let find = move |name: &Hostname<'_>| {
            let name = name.as_str();
            Arc::new(match name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')) {
                _ if name == "localhost" || name == api_host => Bound::Api,
                Some("pr-alpha1") => Bound::Project("prj_alpha".parse().unwrap()),
                Some("dpl-1-a.sites") => Bound::Deployment("dpl_1_a".parse().unwrap()),
                Some(_) => Bound::UnknownManaged,
                None => Bound::Foreign,
            })
        };
        OwnHosts::with(Box::new(find), api, domain, cloud_alias)
    }

    #[test]
    fn own_hosts_are_known_by_name_whatever_the_port_and_scheme() {
        let local = own("http://localhost:4020/", "localhost", true);
        let public = own("https://api.example.com/", "example.com", false);
        let address = own("http://10.0.0.1:8080/", "example.com", true);
        for (own, url, expected) in [
            (&local, "http://localhost:4020/x", Some("localhost:4020")),
            (&local, "https://localhost/x", Some("localhost")),
            (&local, "http://pr-alpha1.localhost:9/x", Some("pr-alpha1.localhost:9")),
            (&local, "http://dpl-1-a.sites.localhost/", Some("dpl-1-a.sites.localhost")),
            (&local, "https://api.run402.com/rest/v1/x", Some("localhost:4020")),
            (&local, "http://127.0.0.1:4020/", None),
            (&local, "http://[::1]:4020/", None),
            (&local, "http://unknown.localhost/", None),
            (&local, "https://example.com/", None),
            (&local, "ftp://localhost/", None),
            (&public, "https://api.example.com/", Some("api.example.com")),
            (&public, "http://PR-alpha1.example.com/", Some("pr-alpha1.example.com")),
            (&public, "http://localhost/", None),
            (&public, "https://api.run402.com/", None),
            (&public, "https://mail.example.com/", None),
            (&address, "http://10.0.0.1/", Some("10.0.0.1:8080")),
            (&address, "http://10.0.0.2/", None),
        ] {
            assert_eq!(own.authority(&url.parse().unwrap()).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_request_carries_its_depth_and_nothing_a_proxy_would_say() {
        let own = own("http://localhost:4020/", "localhost", true);
        let pairs = [
            ("x-forwarded-for", "1.2.3.4"),
            ("X-Forwarded-Host", "evil"),
            ("forwarded", "for=1"),
            ("host", "evil"),
            ("accept-encoding", "br"),
            ("authorization", "Bearer x"),
            ("x-name", "b\u{fc}cher"),
        ];
        let headers = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let url = "https://api.run402.com/a%20b?q=1#f".parse().unwrap();
        let given = OutboundRequest { method: "POST".into(), url, headers, body: whole_body("four") };
        let request = own.request(given, 3).unwrap();
        assert_eq!(request.uri().to_string(), "/a%20b?q=1");
        assert_eq!(NestedCall::depth_of(request.extensions()), 3);
        let mut names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-length", "host", "x-name"]);
        assert_eq!(request.headers()["host"], "localhost:4020");
        assert_eq!(request.headers()["x-name"].as_bytes(), b"b\xfccher");
    }

    #[test]
    fn projects_call_from_addresses_of_their_own_that_are_no_machines() {
        let (one, two) = (peer(&"prj_a".parse().unwrap()), peer(&"prj_b".parse().unwrap()));
        let network = |address: SocketAddr| match address.ip() {
            IpAddr::V6(v6) => v6.segments()[..4].to_vec(),
            IpAddr::V4(_) => Vec::new(),
        };
        assert_ne!(network(one), network(two));
        assert!(!one.ip().is_loopback() && !one.ip().is_unspecified());
        assert_eq!(network(one)[0] >> 8, 0xfd);
    }
}
