//! Where a cluster keeps what it needs: everything of `name` is below `target/cluster/<name>` and `/run/<name>-containerd`.

use std::path::{Path, PathBuf};

use crate::workspace;

/// The files and folders of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) name: String,
    pub(super) state: PathBuf,
}

impl Layout {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: workspace::state().join(name) }
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    pub(super) fn conf(&self, file: &str) -> PathBuf {
        self.state.join("conf").join(file)
    }

    /// The kubeconfig of a client inside of the namespace; its name is that of the client's certificate.
    pub(super) fn kubeconfig(&self, client: &str) -> PathBuf {
        self.conf(&format!("{client}.kubeconfig"))
    }

    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.state.join("log").join(format!("{part}.log"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.state.join("log/audit.log")
    }

    pub(super) fn pid(&self, part: &str) -> PathBuf {
        self.state.join("pids").join(part)
    }

    /// What failed tests left to be read; kept when the cluster goes down.
    pub(super) fn dumps(&self) -> PathBuf {
        self.state.join("dumps")
    }

    /// containerd's sockets, mounts and sandboxes' namespaces; short, because a socket's path is at most 107 bytes.
    pub(super) fn runtime(&self) -> PathBuf {
        Path::new("/run").join(format!("{}-containerd", self.name))
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.runtime().join("containerd.sock")
    }
}
