//! What a cluster test sees: a client, a namespace of its own, the tools, the audit log, and a dump when it fails.
//!
//! A test is one call of [`test()`]:
//!
//! ```no_run
//! # use shop_e2e::harness::{eventually, test};
//! test("a_service_gets_ready", async |session| {
//!     session.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}").await?;
//!     eventually("the settings are there", async || session.kubectl(&["get", "cm", "settings"]).await).await?;
//!     Ok(())
//! });
//! ```

mod audit;
mod dump;
mod install;
mod kubeconform;
mod namespace;
mod session;
mod wait;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::cluster::{Cluster, DEFAULT_NAME, Part, State};
use crate::images::{self, Images};
use crate::netns;

pub use audit::{Audit, Request};
pub use install::{OPERATOR_NAMESPACE, OPERATOR_USER, RELEASE, Values, ensure_installed, install};
pub use kubeconform::kubeconform;
pub use namespace::TestNamespace;
pub use session::Session;
pub use wait::{DEADLINE, eventually, eventually_within};

/// A test that has not ended by then never will; its dump says where it stands.
const TEST_LIMIT: Duration = Duration::from_mins(20);

/// The cluster and the images that all tests of a process use.
static PREPARED: OnceLock<Result<(Cluster, Images), String>> = OnceLock::new();

/// Runs a cluster test: inside of the cluster's network, with a namespace of its own.
///
/// The cluster is started and the operator installed if need be. When the test fails, what there is to see is written
/// to `target/cluster/<cluster>/dumps/<name>`; the namespace is removed unless `SHOP_KEEP` is set.
///
/// # Panics
/// When the test fails: that is how a test tells.
pub fn test<F>(name: &str, body: F)
where
    F: AsyncFnOnce(&Session) -> Result<()> + Send,
{
    if let Err(error) = run(name, body) {
        #[expect(clippy::panic, reason = "a test fails by a panic")]
        {
            panic!("{name}: {error:#}");
        }
    }
}

/// The cluster `shop0`, up, with the images loaded and the operator installed. Done once per process.
pub fn prepared() -> Result<&'static (Cluster, Images)> {
    let prepared = PREPARED.get_or_init(|| prepare().map_err(|error| format!("{error:#}")));
    prepared.as_ref().map_err(|error| anyhow!("the cluster could not be prepared: {error}"))
}

fn prepare() -> Result<(Cluster, Images)> {
    let cluster = Cluster::named(DEFAULT_NAME)?;
    cluster.up()?;
    let images = images::build()?;
    cluster.load_all(&images)?;
    ensure_installed(&cluster, &images)?;
    Ok((cluster, images))
}

fn run<F>(name: &str, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Session) -> Result<()> + Send,
{
    let (cluster, images) = prepared()?;
    // An earlier test may have broken the cluster and failed before it mended it.
    if Part::ALL.iter().any(|part| cluster.state_of(*part) != State::Running) {
        cluster.up()?;
    }
    // One runtime for the whole test: a client lives no longer than the runtime it was made on.
    let runtime = netns::runtime(cluster.name())?;
    let session = netns::within(cluster.name(), || runtime.block_on(Session::open(name, cluster, images)))?
        .context("make the test's namespace")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        netns::within(cluster.name(), || {
            // Boxed because a test's future may be large.
            runtime.block_on(async { tokio::time::timeout(TEST_LIMIT, Box::pin(body(&session))).await })
        })
    }));
    let outcome = match outcome {
        Ok(Ok(Ok(outcome))) => outcome,
        Ok(Ok(Err(_))) => Err(anyhow!("the test has not ended after {} s", TEST_LIMIT.as_secs())),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(anyhow!("panicked: {}", panic_text(panic.as_ref()))),
    };
    let outcome = outcome.map_err(|error| {
        let dumped = runtime.block_on(session.dump(&format!("{error:#}")));
        match dumped {
            Ok(folder) => error.context(format!("what there was to see is in {}", folder.display())),
            Err(failed) => error.context(format!("the dump failed too: {failed:#}")),
        }
    });
    netns::within(cluster.name(), || runtime.block_on(session.close()))?;
    runtime.shutdown_background();
    outcome
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with no message")
}
