//! The parts of a cluster: each is a process of its own, so that each can fail on its own.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::bail;

/// One process of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store of the API server.
    Etcd,
    /// The Kubernetes API.
    ApiServer,
    /// Deployments, endpoints, garbage collection and the other built-in controllers.
    ControllerManager,
    /// Binds pods to the node.
    Scheduler,
    /// Runs the containers.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// Service addresses on the node, in nftables.
    Proxy,
    /// The cluster's DNS.
    Dns,
    /// CPU and memory of pods, for autoscaling.
    Metrics,
    /// The host's way to the API server.
    Forward,
}

impl Part {
    /// All parts, in the order in which they start.
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::Proxy,
        Self::Dns,
        Self::Metrics,
        Self::Forward,
    ];

    /// Its name in commands, log files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Dns => "coredns",
            Self::Metrics => "metrics-server",
            Self::Forward => "forward",
        }
    }

    /// Where it listens. A new process is started only when these are free, and is up only when these answer.
    pub(super) fn listens(self, forward: SocketAddr) -> Vec<SocketAddr> {
        let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let node = |port: u16| SocketAddr::from(([10, 200, 0, 1], port));
        let any = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        match self {
            Self::Etcd => vec![loopback(2379), loopback(2380)],
            Self::ApiServer => vec![any(6443)],
            Self::ControllerManager => vec![loopback(10257)],
            Self::Scheduler => vec![loopback(10259)],
            Self::Containerd => Vec::new(),
            Self::Kubelet => vec![any(10250), loopback(10248)],
            Self::Proxy => vec![any(10256), loopback(10249)],
            Self::Dns => vec![node(53), node(8181)],
            Self::Metrics => vec![any(4443)],
            Self::Forward => vec![forward],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::ALL.into_iter().find(|part| part.name() == text) {
            Some(part) => Ok(part),
            None => {
                bail!("there is no part `{text}`; the parts are {}", Self::ALL.map(Self::name).join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for part in Part::ALL {
            assert_eq!(part.name().parse::<Part>().unwrap(), part);
        }
        let error = "api".parse::<Part>().unwrap_err().to_string();
        assert!(error.contains("apiserver, controller-manager"), "{error}");
    }
}
