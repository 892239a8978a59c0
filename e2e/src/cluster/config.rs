//! The configuration files of the parts.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::layout::Layout;
use super::{NODE, cgroup};
use crate::images::PAUSE;

/// The clients that read a kubeconfig.
const CLIENTS: [&str; 7] =
    ["kubelet", "controller-manager", "scheduler", "proxy", "coredns", "metrics", "admin"];

/// Writes every configuration file. JSON is YAML, so that no text needs quoting.
pub(super) fn write_all(layout: &Layout, forward: SocketAddr) -> Result<()> {
    for client in CLIENTS {
        let config = kubeconfig(layout, client, "https://10.200.0.1:6443")?;
        write_json(&layout.kubeconfig(client), &config)?;
    }
    let host = kubeconfig(layout, "admin", &format!("https://{forward}"))?;
    write_json(&layout.state.join("kubeconfig"), &host)?;
    write_json(&layout.conf("audit.yaml"), &audit_policy())?;
    write_json(&layout.conf("kubelet.yaml"), &kubelet(layout))?;
    write_json(&layout.conf("proxy.yaml"), &proxy(layout))?;
    write_json(&layout.conf("metrics.yaml"), &metrics_objects())?;
    write_json(&layout.conf("cni/10-cluster.conflist"), &network(layout))?;
    write(&layout.conf("Corefile"), &corefile(layout))?;
    write(&layout.conf("containerd.toml"), &containerd(layout)?)
}

/// The name that pods' addresses are remembered under, apart from those of other clusters.
pub(super) fn network_name(cluster: &str) -> String {
    format!("cluster-{cluster}")
}

fn kubeconfig(layout: &Layout, client: &str, server: &str) -> Result<Value> {
    let data = |file: String| -> Result<String> {
        let path = layout.pki().join(file);
        Ok(BASE64.encode(fs::read(&path).with_context(|| format!("read {}", path.display()))?))
    };
    let name = &layout.name;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server, "certificate-authority-data": data("ca.crt".to_owned())?,
        }}],
        "users": [{"name": client, "user": {
            "client-certificate-data": data(format!("{client}.crt"))?,
            "client-key-data": data(format!("{client}.key"))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": client}}],
        "current-context": name,
    }))
}

/// Every request is logged once, a watch when it begins and others when they end; those of the cluster's own parts
/// are not.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "Panic"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/*"]},
            {"level": "None", "userGroups": ["system:nodes"]},
            {"level": "None", "users": ["system:kube-controller-manager", "system:kube-scheduler", "metrics-server"]},
            {"level": "None", "users": ["system:kube-proxy", "system:apiserver", "coredns"]},
            {"level": "Metadata", "verbs": ["watch"], "omitStages": ["ResponseComplete"]},
            {"level": "Metadata", "omitStages": ["ResponseStarted"]},
        ],
    })
}

fn kubelet(layout: &Layout) -> Value {
    let pki = layout.pki();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join("kubelet.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.socket().display()),
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup::path(&layout.name),
        "enforceNodeAllocatable": ["pods"],
        // The processes may lack the right to lower scores, or to raise limits.
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "failSwapOn": false,
        "maxPods": 400,
        "clusterDomain": "cluster.local",
        "clusterDNS": ["10.200.0.1"],
        "resolvConf": "",
        // A mounted ConfigMap follows its object after at most this long.
        "syncFrequency": "10s",
        "serializeImagePulls": false,
        // Images are imported by hand: none of them may be collected, nor may a full disk evict a pod of a test.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "0%",
        },
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        // Everything below the state folder, where taking the cluster down finds it.
        "podLogsDir": layout.state.join("pod-logs"),
        "volumePluginDir": layout.state.join("volume-plugins"),
        "shutdownGracePeriod": "0s",
    })
}

fn proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": "10.244.0.0/16",
        "hostnameOverride": NODE,
        "oomScoreAdj": 0,
        // Zero leaves the machine's connection tracking as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "clientConnection": {"kubeconfig": layout.kubeconfig("proxy")},
    })
}

/// metrics-server runs as a process of the node: a service without selector leads to it.
fn metrics_objects() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "metrics-server", "namespace": "kube-system"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 4443}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "metrics-server-1",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "metrics-server"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.200.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 4443, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": {"name": "metrics-server", "namespace": "kube-system"},
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "insecureSkipTLSVerify": true,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]})
}

fn network(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": network_name(&layout.name),
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.state.join("ipam"),
                    "ranges": [[{"subnet": "10.244.0.0/22"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn corefile(layout: &Layout) -> String {
    format!(
        ".:53 {{
  bind 10.200.0.1
  errors
  ready 10.200.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {}
    ttl 2
  }}
  cache 2
}}
",
        layout.kubeconfig("coredns").display()
    )
}

/// Every path of containerd is the cluster's own, so that several clusters do not meet and nothing is left behind.
fn containerd(layout: &Layout) -> Result<String> {
    let state = layout.state.join("containerd");
    let run = layout.runtime();
    Ok(format!(
        r#"version = 2
root = "{root}"
state = "{run}"
# What the cluster does not use is not loaded; some of it complains on machines without its devices.
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # The score of a pod may be below what this process is allowed to give.
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{run}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"
"#,
        root = state.join("root").display(),
        opt = state.join("opt").display(),
        run = run.display(),
        socket = layout.socket().display(),
        snapshotter = snapshotter(&layout.state)?,
        cni = layout.conf("cni").display(),
    ))
}

/// Layers are stacked by the kernel, unless the state folder itself is such a stack: they cannot be stacked twice.
fn snapshotter(folder: &Path) -> Result<&'static str> {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    let filesystem = rustix::fs::statfs(folder).with_context(|| format!("look at {}", folder.display()))?;
    Ok(if filesystem.f_type == OVERLAYFS_MAGIC { "native" } else { "overlayfs" })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, &serde_json::to_string_pretty(value)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a configuration file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
