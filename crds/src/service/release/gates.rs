//! `spec.release.confirm` and `spec.release.jobs`: what must say yes, and what is run, before and after a release.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// A web hook that must answer 200, 201 or 202 before a revision is promoted. It gets a POST with JSON: namespace, service,
/// revision, image, digest and phase. Any other answer, or none, holds the release, and the hook is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Confirm {
    /// Its address, `http://` or `https://`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Longest wait for one answer; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long after an answer that is no yes it is asked again; default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

impl Confirm {
    /// `timeout` or its default.
    pub fn timeout(&self) -> Span {
        self.timeout.unwrap_or(Span::secs(10))
    }

    /// `interval` or its default.
    pub fn interval(&self) -> Span {
        self.interval.unwrap_or(Span::secs(30))
    }
}

/// Jobs that are run once for a revision, as for a database whose schema is first expanded and later contracted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jobs {
    /// Run before the first pod of a revision is started. The release fails with it, as onFailure says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Job>,
    /// Run once the old revision is drained. A failure is reported and moves nothing. From its beginning on there is no way
    /// back to older revisions, except by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Job>,
}

/// A Job. Its container has the environment and the mounted files of the revision's container, in their versions, and no sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Job {
    /// The image; default: the revision's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 32768)))]
    pub args: Vec<String>,
    /// More environment variables, as in a container; of the same name as one of the revision they win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env: Vec<EnvVar>,
    /// More environment from whole ConfigMaps and Secrets, as in a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFromSource>,
    /// Longest time for all tries together; default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often it is tried again; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub retries: Option<i32>,
}

impl Job {
    /// `timeout` or its default.
    pub fn timeout(&self) -> Span {
        self.timeout.unwrap_or(Span::secs(600))
    }
}
