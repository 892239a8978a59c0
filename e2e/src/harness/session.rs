//! One test's view of the cluster.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::Client;

use super::audit::{Audit, Request};
use super::install::OPERATOR_USER;
use super::namespace::TestNamespace;
use super::{dump, kubeconform};
use crate::cluster::Cluster;
use crate::images::Images;
use crate::{program, setup};

/// What a test works with.
#[derive(Debug)]
pub struct Session {
    test: String,
    cluster: Cluster,
    images: Images,
    client: ClientDebug,
    namespace: TestNamespace,
    /// Further namespaces of the test, removed with its first one.
    others: Mutex<Vec<TestNamespace>>,
    began: Timestamp,
}

/// A client has nothing to show.
struct ClientDebug(Client);

impl std::fmt::Debug for ClientDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Session {
    pub(super) async fn open(test: &str, cluster: &Cluster, images: &Images) -> Result<Self> {
        let client = cluster.client().await?;
        Ok(Self {
            test: test.to_owned(),
            cluster: cluster.clone(),
            images: images.clone(),
            namespace: TestNamespace::create(&client, test).await?,
            client: ClientDebug(client),
            others: Mutex::new(Vec::new()),
            began: Timestamp::now(),
        })
    }

    /// A client with all rights.
    ///
    /// It belongs to the runtime of the test: use it inside of the test only.
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// The cluster, to kill, freeze and restart parts of. Its methods block: call them by [`Self::blocking`].
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The images that are loaded.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The namespace of the test.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Makes another namespace, which is removed with the test's own.
    pub async fn another_namespace(&self) -> Result<String> {
        let namespace = TestNamespace::create(&self.client.0, &self.test).await?;
        let name = namespace.name().to_owned();
        self.others().push(namespace);
        Ok(name)
    }

    /// Runs what blocks, such as the cluster's methods, beside the test's own runtime.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cluster) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cluster = self.cluster.clone();
        tokio::task::spawn_blocking(move || work(&cluster)).await.context("the blocking work panicked")?
    }

    /// Runs kubectl in the namespace of the test and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments);
        self.blocking(move |_| program::run(&mut command)).await
    }

    /// Applies objects, YAML or JSON, in the namespace of the test.
    pub async fn apply(&self, objects: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(["apply", "--filename=-"]);
        let objects = objects.to_owned();
        self.blocking(move |_| program::run_with_input(&mut command, &objects)).await
    }

    /// Runs helm in the namespace of the test and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.inside(setup::bin().join("helm"));
        command.env("KUBECONFIG", self.cluster.admin_kubeconfig()).arg("--namespace").arg(self.namespace());
        command.args(arguments);
        self.blocking(move |_| program::run(&mut command)).await
    }

    /// Checks objects against the schemas of this cluster, our own kinds included.
    pub async fn kubeconform(&self, objects: &str) -> Result<()> {
        kubeconform(&self.cluster, &self.client.0, objects).await
    }

    /// A command that runs inside of the cluster's network.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        program::inside(self.cluster.name(), program)
    }

    /// A kubectl command for the namespace of the test.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.inside(setup::bin().join("k8s"));
        command.arg("kubectl").arg("--kubeconfig").arg(self.cluster.admin_kubeconfig());
        command.arg("--namespace").arg(self.namespace());
        command
    }

    /// The requests that reached the API server.
    pub fn audit(&self) -> Audit {
        Audit::new(self.cluster.audit_log())
    }

    /// The operator's requests from one time until another.
    pub fn operator_requests(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Request>> {
        self.audit().requests(OPERATOR_USER, None, from, until)
    }

    /// When the test began.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Writes what there is to see of the test and of the operator; returns the folder.
    pub async fn dump(&self, reason: &str) -> Result<PathBuf> {
        let namespaces: Vec<String> = {
            let others = self.others();
            let all = std::iter::once(&self.namespace).chain(others.iter());
            all.map(|namespace| namespace.name().to_owned()).collect()
        };
        let (cluster, test, reason) = (self.cluster.clone(), self.test.clone(), reason.to_owned());
        let dump = move || dump::write(&cluster, &test, &reason, &namespaces);
        tokio::task::spawn_blocking(dump).await.context("the dump panicked")?
    }

    fn others(&self) -> MutexGuard<'_, Vec<TestNamespace>> {
        // A list that was being extended when a thread panicked is still a list.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the test's namespaces. A failure to do so is told and fails nothing: the next test has its own.
    pub(super) async fn close(self) {
        let others = self.others.into_inner().unwrap_or_else(PoisonError::into_inner);
        let namespaces = std::iter::once(self.namespace).chain(others);
        if std::env::var_os("SHOP_KEEP").is_some() {
            let names: Vec<String> = namespaces.map(|namespace| namespace.name().to_owned()).collect();
            eprintln!("kept, as SHOP_KEEP wants it: {}", names.join(" "));
            return;
        }
        for namespace in namespaces {
            if let Err(error) = namespace.remove(&self.client.0).await {
                eprintln!("a namespace of the test is left: {error:#}");
            }
        }
    }
}
