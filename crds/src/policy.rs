//! `ShopPolicy`: what holds for every ShopService of a namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Span,
    service::telemetry::{AccessLog, Tracing},
};

/// Rules for every ShopService of the namespace. Several policies add up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shopkeeper.dev",
    version = "v1alpha1",
    kind = "ShopPolicy",
    plural = "shoppolicies",
    singular = "shoppolicy",
    category = "shopkeeper",
    namespaced,
    status = "ShopPolicyStatus",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether every window can be read; one that cannot stops promotions."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].message",
        description = "What is wrong, and what to write instead."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ShopPolicySpec {
    /// Times in which no revision is promoted. A rollback, an abort, a return to a proven revision and the first revision of a
    /// service are never stopped. `kubectl shop promote --force` passes a window, and is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub freeze: Vec<FreezeWindow>,
    /// true: no FaultPolicy of the namespace counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forbid_faults: bool,
    /// What holds for ShopServices that do not say it themselves; of several policies that say it the first by name counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
}

/// Fields of ShopServices that leave them out. Changes are live, and make no revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Defaults {
    /// `spec.tracing`: where spans go, and which are kept. A service that wants none writes an endpoint with shares of 0%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// `spec.accessLog`: which requests are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
}

/// A time in which releases are stopped, or the only time in which they are allowed. Time and rule follow RFC 5545.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct FreezeWindow {
    /// Name of the window, once per policy.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Why, for those who have to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// When it begins, on the clock of `timeZone`: `2026-11-27T18:00:00`. With a rule: the earliest time, and the time of day of
    /// each window. Where clocks are set forward over it, the window begins as much later.
    #[schemars(length(max = 32))]
    pub start: String,
    /// How long it lasts, from 1m to 31d. Whole days (24h) are counted on the local clock, the rest is exact.
    pub duration: Span,
    /// How it repeats, as an RRULE of RFC 5545: `FREQ=WEEKLY;BYDAY=FR`. FREQ is DAILY, WEEKLY, MONTHLY or YEARLY; INTERVAL,
    /// BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS, WKST, COUNT and UNTIL may follow. Without it the window comes once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rrule: Option<String>,
    /// IANA name of the time zone, as in Europe/Berlin. Changes of the clock are followed.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// false: nothing is promoted inside of the window. true: something is promoted only inside of it, or of another window
    /// with `allow`.
    #[serde(default)]
    pub allow: bool,
    /// ShopServices that it is for; all of the namespace when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 40)))]
    pub services: Vec<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Whether the policy can be followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename_all = "camelCase")]
pub struct ShopPolicyStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Epoch of the operator's leader that wrote it.
    pub leader_epoch: i64,
    /// Condition `Accepted`: False names the window and the field that cannot be read. Until it is corrected, the services that
    /// the window is for are not promoted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
