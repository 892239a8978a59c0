//! `spec.tracing`, `spec.accessLog`, `spec.metrics`: what the sidecar tells of requests. All of it changes live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Percent;

/// Spans of requests, and where they go. Trace context is read from `traceparent` and B3, and passed on as `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// Address of an OTLP receiver, as `http://otel.monitoring:4317`.
    #[schemars(length(min = 1, max = 256))]
    pub endpoint: String,
    /// What is spoken there: `grpc`, or `http` with protobuf. Default: `http` for port 4318 and for an endpoint with a path,
    /// otherwise `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TracingProtocol>,
    /// Shares of requests whose spans are kept. It is decided when a request has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TracingProtocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as protobuf.
    Http,
}

/// Shares of requests whose spans are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Of those that failed: status 500 and above, answers that broke off, gRPC calls with a server's error. Default 100%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Percent>,
    /// Of those that took longer than 99 of 100 of the same route lately. Default 80%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Percent>,
    /// Of all others, by the trace's id: services with the same share keep the same traces, whole. Default 5%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Percent>,
}

/// One line of JSON per request on the sidecar's standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Whether there is one.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Share of the requests with a status below 500 that are logged; the others always are. Default 1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Percent>,
}

fn yes() -> bool {
    true
}

/// By what requests are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Paths, as `/orders/{id}`: requests, durations and slow requests are told apart by them, and spans are named after them.
    /// `{name}` stands for one segment, `{*name}` at the end for all that follow. A path that fits none counts as `other`.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 256)))]
    pub routes: Vec<String>,
}
