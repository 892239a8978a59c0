//! What is kept of a failed test: objects, events, logs, and the state of the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::install::OPERATOR_NAMESPACE;
use crate::cluster::{Cluster, Part};
use crate::{program, setup};

/// What is asked for in each namespace. Secrets are listed without their content.
const KINDS: &[&str] = &[
    "events",
    "pods",
    "deployments",
    "replicasets",
    "services",
    "endpointslices",
    "configmaps",
    "controllerrevisions",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "networkpolicies",
];
/// The kinds of Shopkeeper, which may not be installed.
const OWN_GROUP: &str = "shopkeeper.dev";
const LOG_LINES: &str = "--tail=5000";

/// Writes the dump of a test and returns its folder. What cannot be had is told in the file that would hold it.
pub(super) fn write(cluster: &Cluster, test: &str, reason: &str, namespaces: &[String]) -> Result<PathBuf> {
    let name: String =
        test.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let folder = cluster.dumps().join(name);
    // A dump is of one failure: what an earlier one left would mislead.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let dump = Dump { cluster, folder: &folder };
    dump.save("reason.txt", reason)?;
    for namespace in namespaces {
        dump.namespace(namespace)?;
    }
    dump.operator()?;
    dump.kubectl("nodes.txt", &["describe", "nodes"])?;
    dump.parts()?;
    Ok(folder)
}

struct Dump<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
}

impl Dump<'_> {
    fn namespace(&self, namespace: &str) -> Result<()> {
        let in_namespace = ["--namespace", namespace];
        for kind in KINDS {
            let file = format!("{namespace}/{kind}.yaml");
            self.kubectl(&file, &[&in_namespace[..], &["get", kind, "--output=yaml"]].concat())?;
        }
        for kind in self.own_kinds() {
            let file = format!("{namespace}/{kind}.yaml");
            self.kubectl(&file, &[&in_namespace[..], &["get", &kind, "--output=yaml"]].concat())?;
        }
        let overview = ["get", "pods,services,deployments,secrets", "--output=wide"];
        self.kubectl(&format!("{namespace}/overview.txt"), &[&in_namespace[..], &overview].concat())?;
        self.logs(namespace)
    }

    fn operator(&self) -> Result<()> {
        let in_namespace = ["--namespace", OPERATOR_NAMESPACE];
        let overview = ["get", "pods,deployments,leases,configmaps", "--output=yaml"];
        self.kubectl("operator/objects.yaml", &[&in_namespace[..], &overview].concat())?;
        self.kubectl(
            "operator/events.yaml",
            &[&in_namespace[..], &["get", "events", "--output=yaml"]].concat(),
        )?;
        self.logs(OPERATOR_NAMESPACE).and_then(|()| {
            self.kubectl(
                "policies.yaml",
                &["get", "validatingadmissionpolicies,validatingadmissionpolicybindings", "--output=yaml"],
            )
        })
    }

    /// The logs of every container, and of the one before it if there was one.
    fn logs(&self, namespace: &str) -> Result<()> {
        let template = "--output=go-template={{range .items}}{{$pod := .metadata.name}}\
                        {{range .status.initContainerStatuses}}{{$pod}} {{.name}} {{.restartCount}}\n{{end}}\
                        {{range .status.containerStatuses}}{{$pod}} {{.name}} {{.restartCount}}\n{{end}}{{end}}";
        let listed = program::run(self.command().args(["--namespace", namespace, "get", "pods", template]));
        for line in listed.unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(pod), Some(container), Some(restarts)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let logs = ["--namespace", namespace, "logs", pod, "--container", container, LOG_LINES];
            self.kubectl(&format!("{namespace}/logs/{pod}.{container}.log"), &logs)?;
            if restarts != "0" {
                let file = format!("{namespace}/logs/{pod}.{container}.previous.log");
                self.kubectl(&file, &[&logs[..], &["--previous"]].concat())?;
            }
        }
        Ok(())
    }

    /// What each part of the cluster did, and the end of its log.
    fn parts(&self) -> Result<()> {
        let states = Part::ALL.map(|part| format!("{part}: {:?}\n", self.cluster.state_of(part)));
        self.save("cluster/parts.txt", &states.concat())?;
        for part in Part::ALL {
            let log = fs::read(self.cluster.log(part)).unwrap_or_default();
            let text = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = text.lines().rev().take(500).collect();
            let end: Vec<&str> = lines.into_iter().rev().collect();
            self.save(&format!("cluster/{part}.log"), &end.join("\n"))?;
        }
        Ok(())
    }

    fn own_kinds(&self) -> Vec<String> {
        let group = format!("--api-group={OWN_GROUP}");
        let kinds = ["api-resources", &group, "--namespaced=true", "--output=name"];
        program::run(self.command().args(kinds)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn kubectl(&self, file: &str, arguments: &[&str]) -> Result<()> {
        let text = program::run(self.command().args(arguments)).unwrap_or_else(|error| format!("{error:#}"));
        self.save(file, &text)
    }

    fn command(&self) -> Command {
        let mut command = program::inside(self.cluster.name(), setup::bin().join("k8s"));
        command
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.cluster.admin_kubeconfig())
            .arg("--request-timeout=20s");
        command
    }

    fn save(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}
