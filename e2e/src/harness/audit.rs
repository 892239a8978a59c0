//! Questions to the API server's audit log: who asked for what, and how often.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// The audit log of one cluster, rotated files included.
#[derive(Debug, Clone)]
pub struct Audit {
    log: PathBuf,
}

/// One request to the API server, without its content. A watch is one request, logged when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Event")]
pub struct Request {
    /// When the API server received it.
    pub at: Timestamp,
    /// Who made it: for a service account `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// The program that made it, by its own words.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The resource in the plural, with its subresource: `deployments`, `pods/status`.
    pub resource: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The object; empty for lists.
    pub name: String,
    /// The HTTP status of the answer; 0 while there is none.
    pub code: i32,
}

impl Audit {
    /// The audit log at this path.
    pub fn new(log: PathBuf) -> Self {
        Self { log }
    }

    /// The requests of a user from one time until another, in the order in which they were logged. Users and user
    /// agents are compared as a whole; an agent may be left open.
    pub fn requests(
        &self,
        user: &str,
        agent: Option<&str>,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Request>> {
        let mut found = Vec::new();
        for path in self.files()? {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            for line in BufReader::new(file).lines() {
                let line = line.with_context(|| format!("read {}", path.display()))?;
                // Most lines are of others: only the rest is parsed. The last line may be half written.
                if !line.contains(user) {
                    continue;
                }
                let Ok(request) = serde_json::from_str::<Request>(&line) else { continue };
                let of_agent = agent.is_none_or(|agent| request.user_agent == agent);
                if request.user == user && of_agent && (from..until).contains(&request.at) {
                    found.push(request);
                }
            }
        }
        Ok(found)
    }

    /// How many requests there were of each verb and resource.
    pub fn count(requests: &[Request]) -> BTreeMap<(&str, &str), usize> {
        let mut counts = BTreeMap::new();
        for request in requests {
            *counts.entry((request.verb.as_str(), request.resource.as_str())).or_insert(0) += 1;
        }
        counts
    }

    /// The log and its rotated copies, `audit-<time>.log`, the oldest first.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let folder = self.log.parent().context("the audit log is in a folder")?;
        let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let rotated = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("audit-") && path.extension().is_some_and(|extension| extension == "log")
        };
        let mut files: Vec<PathBuf> = paths.filter(rotated).collect();
        files.sort();
        files.push(self.log.clone());
        Ok(files)
    }
}

/// An `audit.k8s.io/v1` event, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    request_received_timestamp: Timestamp,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: i32,
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let Object { resource, subresource, namespace, name } = event.object_ref;
        Self {
            at: event.request_received_timestamp,
            user: event.user.username,
            user_agent: event.user_agent,
            verb: event.verb,
            resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
            namespace,
            name,
            code: event.response_status.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, user: &str, subresource: &str) -> String {
        format!(
            r#"{{"kind":"Event","verb":"patch","user":{{"username":"{user}"}},"userAgent":"shop","objectRef":{{"resource":"pods",
            "namespace":"a","name":"b"{subresource}}},"responseStatus":{{"code":200}},
            "requestReceivedTimestamp":"2026-01-01T00:00:{second:02}.000000Z"}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn requests_are_found_by_user_and_time_in_rotated_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let old = [line(1, "me", ""), line(2, "me", ""), line(2, "me-too", "")].join("\n");
        fs::write(folder.path().join("audit-2026-01-01T00-00-02.log"), old).unwrap();
        let new =
            [line(3, "me", r#","subresource":"status""#), line(9, "me", ""), "{\"user\":\"me".to_owned()];
        fs::write(&log, new.join("\n")).unwrap();

        let [from, until] =
            ["2026-01-01T00:00:02Z", "2026-01-01T00:00:09Z"].map(|time| time.parse().unwrap());
        let requests = Audit::new(log).requests("me", Some("shop"), from, until).unwrap();
        let counts = Audit::count(&requests);
        assert_eq!(counts, BTreeMap::from([(("patch", "pods"), 1), (("patch", "pods/status"), 1)]));
        assert_eq!(requests[1].code, 200);
    }
}
