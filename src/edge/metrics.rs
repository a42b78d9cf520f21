//! Prometheus metrics of the HTTP surface.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::{
    common::ApiError,
    features::{functions::SandboxExecutor, identity::Identity},
};

/// Headers a reverse proxy adds: with one of them a loopback peer is not the operator himself.
const FORWARDING: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: Cow<'static, str>,
    route: Cow<'static, str>,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SiteLabels {
    class: &'static str,
}

/// Counters of the edge, and the registry others add theirs to.
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteLabels, Counter>,
    latency: Histogram,
    in_flight: Gauge,
    /// By the first digit of the status, 2 to 5.
    sites: [Counter; 4],
}

impl Metrics {
    pub fn new(functions: &Arc<SandboxExecutor>) -> Self {
        let mut registry = Registry::with_prefix("run402");
        let requests = Family::default();
        let latency = Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0]);
        let in_flight = Gauge::default();
        registry.register("http_requests", "Requests answered, by route", requests.clone());
        registry.register("http_request_seconds", "Time to answer", latency.clone());
        registry.register("http_in_flight", "Requests being answered", in_flight.clone());
        let sites = Family::<SiteLabels, Counter>::default();
        let classes = ["2xx", "3xx", "4xx", "5xx"].map(|class| sites.get_or_create(&SiteLabels { class }).clone());
        registry.register_collector(Box::new(FunctionFigures(Arc::clone(functions))));
        registry.register("site_requests", "Requests answered on tenant hosts, by class of status", sites);
        Self { registry, requests, latency, in_flight, sites: classes }
    }

    /// On the path of every file served: one atomic addition.
    pub(super) fn site_answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2).min(self.sites.len() - 1);
        self.sites[class].inc();
    }

    /// A request is being answered until what this returns is dropped: also when its client goes away before.
    pub(super) fn started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// `route` is the pattern, never the path: ids must not become labels.
    pub(super) fn finished(&self, method: &Method, route: Cow<'static, str>, status: StatusCode, took: Duration) {
        self.latency.observe(took.as_secs_f64());
        let labels = RouteLabels { method: name(method), route, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
    }
}

/// A request among those that are being answered.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Without a copy for the methods that are used.
fn name(method: &Method) -> Cow<'static, str> {
    Cow::Borrowed(match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        ref other => return Cow::Owned(other.as_str().to_owned()),
    })
}

/// Figures of the function engine, read when they are asked for.
#[derive(Debug)]
struct FunctionFigures(Arc<SandboxExecutor>);

impl Collector for FunctionFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = self.0.figures();
        for (name, help, count) in [
            ("function_calls_cold", "Calls of functions that an instance was made for", figures.cold),
            ("function_calls_warm", "Calls of functions that found an instance, or failed", figures.warm),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let idle = ConstGauge::new(i64::try_from(figures.idle).unwrap_or(i64::MAX));
        let help = "Instances of functions between calls";
        idle.encode(encoder.encode_descriptor("function_instances_idle", help, None, idle.metric_type())?)
    }
}

/// `GET /metrics`: for a caller on this machine, or one with the admin key.
pub(super) fn answer(metrics: &Metrics, identity: &Arc<Identity>, peer: IpAddr, headers: &HeaderMap) -> Response {
    let local = peer.is_loopback() && !FORWARDING.iter().any(|name| headers.contains_key(name));
    if !local {
        match identity.admin(headers) {
            Ok(Some(_)) => {}
            Ok(None) => {
                return ApiError::authentication_required(
                    "Metrics are for callers on this machine, or with X-Admin-Key.",
                )
                .into_response();
            }
            Err(error) => return error.into_response(),
        }
    }
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}
