//! Names to addresses.
//!
//! By hickory and not by the C library: that resolves in threads which nobody can stop, and a static program of it needs the
//! very libraries that an image made of nothing does not have. Nothing is cached: the cluster's DNS answers for 30 s what it
//! knows better already, and each dependency asks once every few seconds anyway.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;

/// How the system says whom to ask.
const SYSTEM: &str = "/etc/resolv.conf";
/// How long one try at one server may take.
const TRY: Duration = Duration::from_millis(700);
/// How long resolving a name may take.
const LONGEST: Duration = Duration::from_secs(2);
/// Addresses of one name that are used.
pub(super) const MOST: usize = 1_000;

/// Asks DNS.
#[derive(Clone)]
pub(crate) struct Resolver {
    dns: Option<Arc<TokioResolver>>,
    /// What a `svc` name gets to be whole: `cluster.local`.
    domain: Option<String>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Resolver").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Resolver {
    /// With the servers of the system, or this one.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        let (config, mut options) = match server {
            Some(server) => (one_server(server), ResolverOpts::default()),
            None => std::fs::read(SYSTEM).ok().and_then(|text| parse_resolv_conf(text).ok()).unwrap_or_else(
                || {
                    tracing::warn!("{SYSTEM} cannot be read: no name is resolved");
                    (ResolverConfig::default(), ResolverOpts::default())
                },
            ),
        };
        options.timeout = TRY;
        options.attempts = 2;
        options.cache_size = 0;
        options.edns0 = true;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        let domain = config.search().iter().find_map(|name| {
            let name = name.to_utf8();
            Some(name.strip_prefix("svc.")?.trim_end_matches('.').to_owned())
        });
        let dns = build(config, options).map(Arc::new);
        let dns = dns.inspect_err(|error| tracing::warn!(error = %error, "no name is resolved")).ok();
        Self { dns, domain }
    }

    /// Addresses of a host; `None` if there are none, or nobody can tell now.
    pub(crate) async fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Some(vec![address]);
        }
        // One question instead of one for each domain of the pod's search list.
        let whole = match (&self.domain, host.strip_suffix(".svc")) {
            (Some(domain), Some(_)) => Some(format!("{host}.{domain}.")),
            _ => None,
        };
        let asked = self.dns.as_ref()?.lookup_ip(whole.as_deref().unwrap_or(host));
        let found = tokio::time::timeout(LONGEST, asked).await.ok()?.ok()?;
        let mut found: Vec<IpAddr> = found.iter().take(MOST).collect();
        found.sort_unstable();
        found.dedup();
        Some(found).filter(|found| !found.is_empty())
    }
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, NetError> {
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

fn one_server(server: SocketAddr) -> ResolverConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    ResolverConfig::from_parts(None, Vec::new(), vec![config])
}
