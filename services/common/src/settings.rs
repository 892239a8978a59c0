//! What every service can be told by flags and environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use crate::faults::{Fault, FaultList, describe};

/// Flags that all services share.
///
/// Flags for the address have no environment variable: in Kubernetes a Service named `shop` sets `SHOP_PORT` in every container.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// The port to listen on; 0 takes a free one and logs it
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub host: IpAddr,
    /// The version that every answer names in `x-shop-version`
    #[arg(long, env = "SHOP_VERSION", default_value = "dev")]
    pub shop_version: String,
    /// The revision that `/version` names, where it is known
    #[arg(long, env = "SHOP_REVISION")]
    pub revision: Option<String>,
    /// What is logged: a level, or target=level joined by commas
    #[arg(long, env = "SHOP_LOG", default_value = "info")]
    pub log: String,
    /// A fault to serve with; may be repeated (`--help` lists them)
    #[arg(long = "fault", env = "SHOP_FAULT", value_name = "FAULT", long_help = describe())]
    pub faults: Vec<FaultList>,
}

impl Settings {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// The faults of all flags, in their order.
    pub fn asked_faults(&self) -> Vec<Fault> {
        self.faults.iter().flat_map(|list| list.0.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn faults_are_repeated_or_joined() {
        let cli = Cli::try_parse_from(["x", "--fault", "not-ready,switchable", "--fault", "error-rate=0.25"])
            .unwrap();
        assert_eq!(cli.settings.asked_faults(), [Fault::NotReady, Fault::Switchable, Fault::ErrorRate(0.25)]);
    }

    #[test]
    fn a_wrong_fault_lists_what_there_is() {
        let error = Cli::try_parse_from(["x", "--fault", "slow"]).err().unwrap().to_string();
        assert!(error.contains("there is no fault `slow`") && error.contains("latency=200ms"), "{error}");
    }

    #[test]
    fn help_documents_every_fault() {
        let help = Cli::try_parse_from(["x", "--help"]).err().unwrap().to_string();
        for name in ["not-ready-after=10s", "never-listen", "/faults/crash", "SHOP_FAULT", "SHOP_VERSION"] {
            assert!(help.contains(name), "{name} is missing in {help}");
        }
    }
}
