//! The command line of each part.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::NODE;
use super::layout::Layout;
use super::part::Part;
use crate::{netns, setup};

/// The program of a part and its arguments.
pub(super) fn of(part: Part, layout: &Layout, forward: SocketAddr) -> (PathBuf, Vec<OsString>) {
    let k8s = || setup::bin().join("k8s");
    let (program, arguments) = match part {
        Part::Etcd => (k8s(), etcd(layout)),
        Part::ApiServer => (k8s(), apiserver(layout)),
        Part::ControllerManager => (k8s(), controller_manager(layout)),
        Part::Scheduler => (k8s(), scheduler(layout)),
        Part::Containerd => {
            (PathBuf::from("containerd"), vec![flag("--config", layout.conf("containerd.toml"))])
        }
        Part::Kubelet => (k8s(), kubelet(layout)),
        Part::Proxy => (k8s(), vec!["kube-proxy".to_owned(), flag("--config", layout.conf("proxy.yaml"))]),
        Part::Dns => (setup::bin().join("coredns"), vec![flag("-conf", layout.conf("Corefile"))]),
        Part::Metrics => (setup::bin().join("metrics-server"), metrics(layout)),
        Part::Forward => {
            let namespace = netns::path(&layout.name).display().to_string();
            (k8s(), vec!["forward".to_owned(), namespace, forward.to_string(), "10.200.0.1:6443".to_owned()])
        }
    };
    (program, arguments.into_iter().map(OsString::from).collect())
}

fn flag(name: &str, path: impl AsRef<Path>) -> String {
    format!("{name}={}", path.as_ref().display())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn etcd(layout: &Layout) -> Vec<String> {
    // The store outlives its process, not the machine: writes need not reach the disk.
    let mut arguments = words(
        "etcd --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
         --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380
         --initial-cluster=default=http://127.0.0.1:2380 --unsafe-no-fsync --log-level=warn",
    );
    arguments.push(flag("--data-dir", layout.state.join("etcd")));
    arguments
}

fn apiserver(layout: &Layout) -> Vec<String> {
    let mut arguments = words(
        "kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443
         --advertise-address=10.200.0.1 --service-cluster-ip-range=10.96.0.0/16
         --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
         --kubelet-preferred-address-types=InternalIP --enable-aggregator-routing=true
         --service-account-issuer=https://kubernetes.default.svc.cluster.local
         --requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User
         --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra-
         --audit-log-maxsize=200 --audit-log-maxbackup=2",
    );
    for (name, file) in [
        ("--client-ca-file", "ca.crt"),
        ("--tls-cert-file", "apiserver.crt"),
        ("--tls-private-key-file", "apiserver.key"),
        ("--kubelet-certificate-authority", "ca.crt"),
        ("--kubelet-client-certificate", "apiserver-kubelet.crt"),
        ("--kubelet-client-key", "apiserver-kubelet.key"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
        ("--requestheader-client-ca-file", "front-ca.crt"),
        ("--proxy-client-cert-file", "front.crt"),
        ("--proxy-client-key-file", "front.key"),
    ] {
        arguments.push(flag(name, layout.pki().join(file)));
    }
    arguments.push(flag("--audit-policy-file", layout.conf("audit.yaml")));
    arguments.push(flag("--audit-log-path", layout.audit_log()));
    arguments
}

/// The three ways a component uses its one kubeconfig.
fn kubeconfigs(layout: &Layout, client: &str) -> Vec<String> {
    let path = layout.kubeconfig(client);
    ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"]
        .map(|name| flag(name, &path))
        .to_vec()
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    // One of each: nobody to elect. Autoscaling looks often, so that a test need not wait for it.
    let mut arguments = words(
        "kube-controller-manager --use-service-account-credentials=true --leader-elect=false
         --bind-address=127.0.0.1 --kube-api-qps=200 --kube-api-burst=400
         --horizontal-pod-autoscaler-sync-period=2s --horizontal-pod-autoscaler-downscale-stabilization=10s
         --node-monitor-grace-period=20s",
    );
    arguments.extend(kubeconfigs(layout, "controller-manager"));
    let pki = layout.pki();
    arguments.push(flag("--service-account-private-key-file", pki.join("sa.key")));
    arguments.push(flag("--root-ca-file", pki.join("ca.crt")));
    arguments.push(flag("--cluster-signing-cert-file", pki.join("ca.crt")));
    arguments.push(flag("--cluster-signing-key-file", pki.join("ca.key")));
    arguments
}

fn scheduler(layout: &Layout) -> Vec<String> {
    let mut arguments = words("kube-scheduler --leader-elect=false --bind-address=127.0.0.1");
    arguments.extend(kubeconfigs(layout, "scheduler"));
    arguments
}

fn kubelet(layout: &Layout) -> Vec<String> {
    let root = layout.state.join("kubelet");
    vec![
        "kubelet".to_owned(),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", netns::NODE_ADDRESS),
        flag("--config", layout.conf("kubelet.yaml")),
        flag("--kubeconfig", layout.kubeconfig("kubelet")),
        flag("--cert-dir", root.join("pki")),
        flag("--root-dir", &root),
    ]
}

fn metrics(layout: &Layout) -> Vec<String> {
    let mut arguments = words(
        "--secure-port=4443 --kubelet-preferred-address-types=InternalIP --kubelet-insecure-tls
         --metric-resolution=10s --kubelet-request-timeout=5s",
    );
    arguments.extend(kubeconfigs(layout, "metrics"));
    arguments.push(flag("--cert-dir", layout.state.join("metrics-server")));
    arguments
}
