//! `FaultPolicy`: faults that sidecars inject, for a while.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Percent, Span, status::Colour};

/// A fault that the sidecars of some services inject into requests: a delay, an answer in the app's place, or none at all. It always
/// has an end, which the sidecars keep by themselves. What is injected counts as what users saw, in an analysis too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shopkeeper.dev",
    version = "v1alpha1",
    kind = "FaultPolicy",
    plural = "faultpolicies",
    singular = "faultpolicy",
    shortname = "fault",
    category = "shopkeeper",
    namespaced,
    status = "FaultPolicyStatus",
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status",
        description = "Whether sidecars inject it."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].reason",
        description = "Why, or why not."
    ),
    printcolumn(
        name = "Until",
        type_ = "string",
        json_path = ".status.until",
        description = "When it is over."
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = ".status.services",
        description = "Services whose sidecars inject it."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].message",
        description = "What is injected, or what to write instead."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct FaultPolicySpec {
    /// Names of ShopServices of the namespace; or write `selector`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 40)))]
    pub services: Vec<String>,
    /// ShopServices by their labels; or write `services`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Calls of those services to this dependency (a name of `dependsOn`) instead of requests that come in: retries, circuit breaker
    /// and fallback do what they would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub dependency: Option<String>,
    /// Which requests; all unless said. A request must have all of it.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "match")]
    pub matches: Option<FaultMatch>,
    /// Share of these requests.
    pub share: Percent,
    /// They wait first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelay>,
    /// Then the sidecar answers in the place of the app, with `x-shop-reason: fault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbort>,
    /// Then the connection is closed without an answer; of HTTP/2 the stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop: bool,
    /// When it is over, at most 24 h after the policy was created; or write `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// How long after its creation it is over, from 1s to 24h; or write `expires`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
}

/// ShopServices by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Those that have all of these.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    pub match_labels: BTreeMap<String, String>,
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultMatch {
    /// This path and all below it; `{name}` stands for any one segment, as in `/orders/{id}/pay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub path: Option<String>,
    /// This method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub method: Option<String>,
    /// Header fields and their values, as in `{x-drill: "yes"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 4))]
    pub header: Option<BTreeMap<String, String>>,
    /// Only in revisions of this colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Only in the revision that is this now: `active`, the one that users have, or `candidate`, the one that is being released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<FaultRole>,
}

/// What a revision is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FaultRole {
    /// Users have it.
    Active,
    /// It is being released.
    Candidate,
}

/// How long requests wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultDelay {
    /// At least so long, from 0s to 30s.
    pub fixed: Span,
    /// And so much more at random, from 0s to 30s; default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
}

/// An answer in the place of the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultAbort {
    /// Status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub status: i32,
    /// Status for gRPC callers, as 14 (UNAVAILABLE); default: what stands for `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub grpc_status: Option<i32>,
}

/// Whether a fault is injected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename_all = "camelCase")]
pub struct FaultPolicyStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Epoch of the operator's leader that wrote it.
    pub leader_epoch: i64,
    /// ShopServices whose sidecars inject it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// When it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Condition `Active`; False says why: it is over (`FaultsEnded`), it is not allowed (`FaultsRefused`), or there is no such
    /// service (`FaultsUnused`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
