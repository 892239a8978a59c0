//! How the operator is started: flags, each of which can be an environment variable.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// Runs the services of a shop: watches ShopServices and makes them so.
#[derive(Debug, Parser)]
#[command(name = "shop-operator", version, about)]
pub struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator until SIGTERM or SIGINT.
    Run(Box<Settings>),
    /// Prints the table of metrics as Markdown, as in README.md.
    Metrics,
}

/// Settings of `shop-operator run`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Namespace the operator runs in: its lease and its signing key are there.
    #[arg(long, env = "SHOP_OPERATOR_NAMESPACE")]
    pub namespace: String,
    /// Name of this pod: who holds the lease.
    #[arg(long, env = "SHOP_POD_NAME")]
    pub pod_name: String,
    /// Image of the sidecar that new revisions get.
    #[arg(long, env = "SHOP_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    /// When nodes pull that image: `Always`, `IfNotPresent` or `Never`.
    #[arg(long, env = "SHOP_SIDECAR_PULL_POLICY", default_value = "IfNotPresent",
          value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: String,
    /// Least level of log lines, or a filter such as `info,shop_operator=debug`.
    #[arg(long, env = "SHOP_LOG", default_value = "info")]
    pub log: String,
    /// Address of /metrics, /livez and /readyz.
    #[arg(long, env = "SHOP_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// First part of the SPIFFE ids of services, as in `spiffe://cluster.local/ns/shop/svc/order`.
    #[arg(long, env = "SHOP_TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,
    /// Namespace whose pods may read the metrics of services that have a `NetworkPolicy`.
    #[arg(long, env = "SHOP_MONITORING_NAMESPACE", default_value = "monitoring")]
    pub monitoring_namespace: String,
    /// Services that are worked on at the same time.
    #[arg(long, env = "SHOP_CONCURRENCY", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
}

// As SPIFFE has it (SPIFFE-ID section 2.1).
fn trust_domain(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if (1..=255).contains(&text.len()) && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err("write lower-case letters, digits, '-', '.' and '_', as in cluster.local".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let program = Program::try_parse_from([
            "shop-operator",
            "run",
            "--namespace=shopkeeper",
            "--pod-name=shopkeeper-0",
            "--sidecar-image=sidecar:1",
        ])
        .unwrap();
        let Command::Run(settings) = program.command else { panic!("another command") };
        assert_eq!(settings.listen.port(), 8080);
        assert_eq!(settings.sidecar_pull_policy, "IfNotPresent");
        assert_eq!(settings.concurrency, 16);
    }

    #[test]
    fn refuses_a_pull_policy_that_kubernetes_does_not_have() {
        let arguments = [
            "shop-operator",
            "run",
            "--namespace=a",
            "--pod-name=b",
            "--sidecar-image=c",
            "--sidecar-pull-policy=Sometimes",
        ];
        assert!(Program::try_parse_from(arguments).is_err());
    }
}
