//! The world outside of the cluster's own objects: questions that are asked for a plan, and Jobs that are run for it.
//!
//! A plan never waits. It emits a question or a Job, says when it looks again, and finds the answer in what is observed then.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};

/// Longest text that is kept of an answer, in characters.
pub const MAX_TEXT: usize = 256;

/// A question to somebody else. It is asked in the background; a plan after that finds the answer by the id.
///
/// A question with a known id is not asked again while its answer is kept, so that a plan may emit it until it is answered. After a
/// restart of the operator nothing is kept, and it is asked anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Unique per question within a service, at most 128 characters.
    pub id: String,
    /// What is asked, and whom.
    pub ask: Ask,
    /// Longest wait for the answer, connecting included.
    pub timeout: Duration,
}

/// What is asked, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A web hook. Every status is an answer; redirects are not followed.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// `GET` or `POST`.
        method: String,
        /// Body, sent as `application/json`.
        body: Option<String>,
        /// Which value of the answer's JSON is told, as in `$.checks[0].ratio`; without it only status and text are.
        json_path: Option<String>,
    },
    /// An instant query to a Prometheus.
    Prometheus {
        /// Its address, as in `http://prometheus.monitoring:9090`.
        address: String,
        /// PromQL that gives a scalar or a vector of one element.
        query: String,
    },
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Id of the question.
    pub id: String,
    /// When it came.
    pub at: Timestamp,
    /// The answer; an error where there is none: no connection, no answer in time, nothing that can be read.
    pub outcome: Result<AnswerValue, String>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerValue {
    /// The HTTP status.
    pub status: u16,
    /// The number that was asked for; `None`: there is none, or it is none.
    pub number: Option<f64>,
    /// The value that was asked for, or the beginning of the body; at most [`MAX_TEXT`] characters.
    pub text: String,
}

/// What a Job runs. Its pod has no token, is not restarted in place, and carries no label that a Service or a Deployment selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobTemplate {
    /// The image.
    pub image: String,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Environment from ConfigMaps and Secrets.
    pub env_from: Vec<EnvFromSource>,
    /// How often it is tried again.
    pub retries: i32,
    /// Longest time for all tries together.
    pub timeout: Duration,
}

/// A Job of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSeen {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Number of the revision it was run for.
    pub revision: i64,
    /// What came of it.
    pub state: JobState,
}

/// What came of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    /// It has not ended.
    #[default]
    Running,
    /// A pod of it exited with 0.
    Succeeded,
    /// All tries failed, or it took too long: with the reason.
    Failed(String),
}
