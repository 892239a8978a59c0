//! `spec.release.canary`: users move to a new revision a share at a time.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Percent, Span, span::InvalidSpan};

/// How users move to the new revision a share at a time. It may be changed while a release runs: the step that the release is at
/// keeps its place in the list, and the share that was reached stays until the next `weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// What is done one after the other. After the last step all requests go to the new revision.
    #[schemars(length(min = 1, max = 50))]
    pub steps: Vec<Step>,
    /// Requests that go to the new revision whatever the share is, as soon as the steps begin: those that fit any of these.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(rename = "match", length(max = 16))]
    pub matches: Vec<Match>,
    /// What the requests of one user have in common: then the share is one of users, by hash, and each stays on one side. Left
    /// out, the share is one of requests, exact by counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Copies of requests that the new revision gets while it waits to be promoted; its answers are thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// One step: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// This share of requests goes to the new revision: `0.1%` and any other share works with any number of
    /// pods. Done when the new revision has the pods for it, and all sidecars know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Percent>,
    /// Nothing changes for this long, counted from the step before, or with `manual` until somebody decides to promote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// The new revision gets this share of `spec.replicas`, rounded up; it is never made smaller by a step, and always has the
    /// pods that the share of requests needs. As the first step it is how the new revision begins; without that it begins at full
    /// size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Percent>,
    /// The analysis of `release.analysis` runs here: the step is done when it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<StepAnalysis>,
}

/// That the release's analysis runs at this step. Written as `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepAnalysis {}

/// How long a step waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Until somebody decides.
    Manual,
    /// So long.
    For(Span),
}

/// The word for [`Pause::Manual`].
const MANUAL: &str = "manual";
const PAUSE: &str = r"^(manual|([0-9]{1,9}(ms|s|m|h|d))+)$";

impl FromStr for Pause {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        if text == MANUAL { Ok(Self::Manual) } else { text.parse().map(Self::For) }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => out.write_str(MANUAL),
            Self::For(span) => span.fmt(out),
        }
    }
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Pause {
    fn schema_name() -> Cow<'static, str> {
        "Pause".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PAUSE, "maxLength": 40 })
    }
}

/// What a request must have; with both, both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// A header field and its value, as in `{user-tier: premium}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    pub header: Option<BTreeMap<String, String>>,
    /// A cookie and its value, as in `{beta: "1"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    pub cookie: Option<BTreeMap<String, String>>,
}

/// What the requests of one user have in common: exactly one of these. Requests without it are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sticky {
    /// The value of this header, as in `x-user-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// The value of this cookie, as in `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub cookie: Option<String>,
    /// `true`: the caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<bool>,
    /// `true`: the user of the verified token; needs `auth.jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<bool>,
}

/// Copies of requests for the new revision, marked with the header `x-shop-mirror: 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// How many of the requests with these methods are copied.
    pub share: Percent,
    /// Methods whose requests are copied; default GET and HEAD. Requests with side effects have them twice: list no others
    /// unless the service leaves them out for copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32)))]
    pub methods: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_time_or_a_decision() {
        for (text, pause) in [("manual", Pause::Manual), ("1m30s", Pause::For(Span::secs(90)))] {
            assert_eq!(text.parse::<Pause>().unwrap(), pause);
            assert_eq!(pause.to_string(), text);
        }
        assert!("auto".parse::<Pause>().is_err());
    }
}
