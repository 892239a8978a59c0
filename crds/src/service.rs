//! `ShopService`: one service of the shop, as its owner writes it.

pub mod auth;
pub mod dependency;
pub mod limits;
pub mod pod;
pub mod release;
pub mod telemetry;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, ShopServiceStatus, Span};
use auth::Auth;
use dependency::Dependency;
use limits::Limits;
use pod::PodOverlay;
use release::Release;
use telemetry::{AccessLog, Metrics, Tracing};

/// One service of the shop: the operator makes Deployments and Services from it, and releases new versions of it. `image`
/// and `port` are enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shopkeeper.dev",
    version = "v1alpha1",
    kind = "ShopService",
    plural = "shopservices",
    singular = "shopservice",
    shortname = "shop",
    category = "shopkeeper",
    namespaced,
    status = "ShopServiceStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Ready pods of the active revision, and how many are wanted."
    ),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.active.label",
        description = "The revision that users reach."
    ),
    printcolumn(
        name = "Candidate",
        type_ = "string",
        json_path = ".status.candidate.label",
        description = "The revision that is being released."
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the release is."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        description = "What happens, or what it waits for."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ShopServiceSpec {
    /// The container image. With a fixed tag or a digest every pod of a revision runs the same code.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Port on which the container listens. 9440 to 9442 are the sidecar's.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// What the container speaks: `http` is HTTP/1.1 (WebSocket too) with gRPC over HTTP/2 on the same port, `grpc` is always
    /// HTTP/2 without TLS, `tcp` is bytes of which nothing is known. Of tcp a release moves new connections, and those that are
    /// open stay until they end or `release.drain.max` is over; a connection that is refused or reset counts as a failed request.
    #[serde(default)]
    pub protocol: Protocol,
    /// How many pods the active revision has. Fewer that come together with new inputs (an image, a setting) are those of the new
    /// revision: the one before keeps its own until users have left it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
    /// Environment variables, as in a container. ConfigMaps and Secrets named here are snapshotted with the revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,
    /// Environment from whole ConfigMaps and Secrets, as in a container. They are snapshotted with the revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub env_from: Vec<EnvFromSource>,
    /// CPU and memory of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// ConfigMaps and Secrets mounted as files. Each revision keeps its own immutable copy, which comes back with a rollback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub config: Vec<ConfigSource>,
    /// What the container calls through its sidecar, which finds the pods, tries again where that does no harm, and gives up in time.
    /// With one, `HTTP_PROXY` and `NO_PROXY` are set in the container unless `env` sets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub depends_on: Vec<Dependency>,
    /// When the container counts as ready, alive and started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
    /// What the sidecar lets in: requests at once, bodies, times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Who may send requests; everybody when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How a new revision reaches the users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Spans of requests, made by the sidecar. Left out, none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// The sidecar's log of requests. Left out, those with a status of 500 and above are logged, and 1% of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// By what the sidecar counts requests. Left out, by nothing but the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The Service that users reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<UserService>,
    /// The proxy beside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Anything else of a pod template, laid over the one that the operator makes: objects are merged field by field, containers,
    /// volumes and variables by name, mounts by path, ports by number; every other list is replaced. A change makes a new
    /// revision. The API server is asked, by a dry run, before one is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverlay>,
    /// A Deployment that was there before: with the Service of this ShopService's name it becomes revision 0 as it stands, and the
    /// first release takes its place. Without effect once a revision was made of it. `kubectl shop adopt` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// Gives back what users have, once no release runs: the active revision's Deployment and the Services become plain objects,
    /// untouched but for labels, annotations and owner. Nothing else is done from then on. `kubectl shop eject` writes it, waits,
    /// and deletes the ShopService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eject: Option<bool>,
}

/// What is taken over as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// Name of the Deployment, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub deployment: String,
}

fn one() -> i32 {
    1
}

/// What a container speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1, WebSocket, and gRPC by content type.
    #[default]
    Http,
    /// HTTP/2 without TLS.
    Grpc,
    /// Bytes.
    Tcp,
}

/// CPU and memory, as in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Amount>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Amount>,
}

/// A ConfigMap or a Secret, and where its files appear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ConfigSource {
    /// Name of a ConfigMap in the same namespace. Either this or `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map: Option<String>,
    /// Name of a Secret in the same namespace. Either this or `configMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret: Option<String>,
    /// Directory in the container, absolute.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:]+$"))]
    pub mount_path: String,
}

/// When the container counts as ready, alive and started. All three ask the app itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Whether it may get requests; asked through the sidecar. Without it a TCP connection to `port` is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Whether it must be restarted. Without it the container is restarted only when it exits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
    /// Whether it has started; the other two wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
}

/// A GET that must be answered with a status from 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Path of the GET.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: String,
    /// How often it is asked, in whole seconds; default 5s (readiness), 10s (the others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Span>,
    /// Longest wait for an answer, in whole seconds; default 5s (readiness), 2s (the others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many failures in a row count; default 3, startup 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: Option<i32>,
}

/// The Service that users reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct UserService {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Annotations of the Service, for load balancers and DNS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Port of the Service.
    #[serde(default = "http_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of that port; empty: it has none. With `protocol: tcp` the default is `tcp`.
    #[serde(default = "http_name")]
    #[schemars(length(max = 15))]
    pub port_name: String,
}

impl Default for UserService {
    fn default() -> Self {
        let (kind, annotations) = (ServiceType::default(), BTreeMap::new());
        Self { kind, annotations, port: http_port(), port_name: http_name() }
    }
}

fn http_port() -> i32 {
    80
}

fn http_name() -> String {
    "http".to_owned()
}

/// How a Service is reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From inside of the cluster.
    #[default]
    ClusterIP,
    /// On a port of every node too.
    NodePort,
    /// Through a load balancer of the cloud too.
    LoadBalancer,
}

impl ServiceType {
    /// The word that Kubernetes has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The proxy beside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Sidecar {
    /// Its CPU and memory; default requests 25m and 24Mi, memory limit 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Connections that it takes at once; beyond it answers 503, with `protocol: tcp` by a reset. Default: derived from its memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<i32>,
    /// Proxies in front of the service, by range of addresses, as in 10.0.0.0/8: what they say in X-Forwarded-For or Forwarded
    /// about whom a request came from is believed. From anybody else these fields, X-Forwarded-* and X-Real-IP are removed. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 43)))]
    pub trusted_hops: Vec<String>,
}
