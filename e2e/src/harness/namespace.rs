//! A namespace for one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use super::wait::eventually;

/// The label of every namespace that a test made.
const LABEL: &str = "shopkeeper.dev/test";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A namespace that no other test uses.
#[derive(Debug, Clone)]
pub struct TestNamespace {
    name: String,
}

impl TestNamespace {
    /// Makes a namespace whose name begins with that of the test. It is usable when this returns: pods can be made.
    pub async fn create(client: &Client, test: &str) -> Result<Self> {
        let name = unique_name(test);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let labels = [(LABEL.to_owned(), "true".to_owned())].into();
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("create {name}"))?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(client.clone(), &name);
        let account = async || accounts.get("default").await.context("get the default service account");
        eventually("the namespace has its default service account", account).await?;
        Ok(Self { name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins its removal with everything in it, and does not wait for the end.
    pub async fn remove(self, client: &Client) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .delete(&self.name, &DeleteParams::background())
            .await
            .with_context(|| format!("delete {}", self.name))?;
        Ok(())
    }
}

/// Short, because names of objects are put together with it, and told apart from those of other runs.
fn unique_name(test: &str) -> String {
    let readable: String = test
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(32)
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("t-{}-{:x}-{process:x}-{counter}", readable.trim_matches('-'), now & 0xfff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_labels() {
        let long = "a_test::with a very long name that would not fit into a label at all, never";
        let (one, other) = (unique_name(long), unique_name(long));
        assert_ne!(one, other);
        assert!(one.len() <= 63, "{one}");
        assert!(
            one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{one}"
        );
    }
}
