//! What a sidecar tells about its traffic: `GET /stats`.

use serde::{Deserialize, Serialize};

/// Traffic of one pod. Counters start at zero with the sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Of the document in use; 0 before the first.
    pub revision: i64,
    /// Inbound connections that are open, idle ones too.
    pub connections: i64,
    /// Of those, WebSockets and other upgraded ones.
    pub upgraded: i64,
    /// Requests and streams that were begun and have not ended.
    pub in_flight: i64,
    /// Requests answered here, by the app or by the sidecar itself.
    pub served: i64,
    /// Requests that another revision answered.
    pub handed_over: i64,
    /// Requests that another revision handed to this one.
    pub taken_over: i64,
    /// Answers with status 500 and above, of those served here.
    pub errors: i64,
    /// Milliseconds since the last request began; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Whether the pod drains.
    pub draining: bool,
}
