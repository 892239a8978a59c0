//! What a sidecar is started with: environment for its identity and folders, flags for its addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use shop_contract::{Identity, env, ports};

/// Everything that does not change while a sidecar runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom documents must be for.
    pub identity: Identity,
    /// Folder with the mounted document.
    pub config_dir: PathBuf,
    /// Folder with one file per MAC key.
    pub keys_dir: PathBuf,
    /// Folder for the last accepted document and the control socket.
    pub state_dir: PathBuf,
    /// Where requests of callers come in.
    pub inbound: SocketAddr,
    /// Where probes, metrics and configuration come in.
    pub admin: SocketAddr,
    /// Where the app's calls to all its dependencies come in; on 127.0.0.1.
    pub outbound: SocketAddr,
    /// DNS server to ask in place of those of the system.
    pub dns: Option<SocketAddr>,
    /// A PEM file with roots that hosts outside are believed by, beside those that browsers trust.
    pub more_roots: Option<PathBuf>,
    /// What becomes of access log lines.
    pub access_log: AccessLogSetting,
    /// The pod's name, empty if it is not known: only where counting begins depends on it.
    pub pod: String,
}

/// What becomes of access log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogSetting {
    /// None is written.
    Off,
    /// Errors are always written, of the others every n-th.
    EveryNth(u64),
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable that the operator always sets.
    #[error("environment variable {0} is not set; the operator sets it in every pod it makes")]
    Missing(&'static str),
    /// A variable that cannot be read.
    #[error("environment variable {name} must be {expected}, but is {found:?}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Environment variables that only the sidecar reads.
pub(crate) const NAMESPACE: &str = "SHOP_NAMESPACE";
pub(crate) const SERVICE: &str = "SHOP_SERVICE";
pub(crate) const SERVICE_UID: &str = "SHOP_SERVICE_UID";
pub(crate) const REVISION: &str = "SHOP_REVISION";
/// Names a file with more roots, to this program as to others.
const MORE_ROOTS: &str = "SSL_CERT_FILE";
/// Set by the container runtime: the pod's name.
const HOSTNAME: &str = "HOSTNAME";
const ACCESS_LOG: &str = "SHOP_ACCESS_LOG";
const ACCESS_LOG_SAMPLE: &str = "SHOP_ACCESS_LOG_SAMPLE";

/// Of the requests without error, one in this many is logged unless told otherwise.
const DEFAULT_SAMPLE: u64 = 100;

impl Settings {
    /// Reads the environment through `variable`.
    pub fn read(
        inbound: SocketAddr,
        admin: SocketAddr,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let required =
            |name| variable(name).filter(|value| !value.is_empty()).ok_or(SettingsError::Missing(name));
        let revision = required(REVISION)?;
        let revision = revision.parse().ok().filter(|number| *number >= 1).ok_or(SettingsError::Invalid {
            name: REVISION,
            expected: "a number from 1",
            found: revision,
        })?;
        Ok(Self {
            identity: Identity {
                namespace: required(NAMESPACE)?,
                service: required(SERVICE)?,
                service_uid: required(SERVICE_UID)?,
                revision,
            },
            config_dir: required(env::CONFIG_DIR)?.into(),
            keys_dir: required(env::KEYS_DIR)?.into(),
            state_dir: state_dir(&variable),
            inbound,
            admin,
            outbound: SocketAddr::from((Ipv4Addr::LOCALHOST, ports::OUTBOUND)),
            dns: dns(&variable)?,
            more_roots: variable(MORE_ROOTS).filter(|value| !value.is_empty()).map(Into::into),
            access_log: access_log(&variable)?,
            pod: variable(HOSTNAME).unwrap_or_default(),
        })
    }
}

/// The folder with the control socket, which `shop-sidecar drain` needs too.
pub fn state_dir(variable: &impl Fn(&'static str) -> Option<String>) -> PathBuf {
    variable(env::STATE_DIR)
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "/var/lib/shop".to_owned())
        .into()
}

fn dns(variable: &impl Fn(&'static str) -> Option<String>) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(found) = variable(env::DNS).filter(|value| !value.is_empty()) else { return Ok(None) };
    let parsed = found.parse().map(Some);
    parsed.map_err(|_| SettingsError::Invalid {
        name: env::DNS,
        expected: "an address with a port, as in 10.96.0.10:53",
        found,
    })
}

fn access_log(variable: &impl Fn(&'static str) -> Option<String>) -> Result<AccessLogSetting, SettingsError> {
    match variable(ACCESS_LOG).as_deref() {
        Some("off") => return Ok(AccessLogSetting::Off),
        None | Some("" | "json") => {}
        Some(other) => {
            let found = other.to_owned();
            return Err(SettingsError::Invalid { name: ACCESS_LOG, expected: "off or json", found });
        }
    }
    let Some(sample) = variable(ACCESS_LOG_SAMPLE).filter(|value| !value.is_empty()) else {
        return Ok(AccessLogSetting::EveryNth(DEFAULT_SAMPLE));
    };
    let parsed = sample.parse().ok().filter(|n| *n >= 1).map(AccessLogSetting::EveryNth);
    parsed.ok_or(SettingsError::Invalid {
        name: ACCESS_LOG_SAMPLE,
        expected: "a number from 1",
        found: sample,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let any = "127.0.0.1:0".parse().expect("address");
        Settings::read(any, any, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ALL: [(&str, &str); 6] = [
        ("SHOP_NAMESPACE", "shop"),
        ("SHOP_SERVICE", "order"),
        ("SHOP_SERVICE_UID", "u1"),
        ("SHOP_REVISION", "7"),
        ("SHOP_CONFIG_DIR", "/etc/shop/config"),
        ("SHOP_KEYS_DIR", "/etc/shop/keys"),
    ];

    #[test]
    fn the_operators_environment_is_enough() {
        let settings = read(&ALL).expect("settings");
        assert_eq!(settings.identity.revision, 7);
        assert_eq!(settings.access_log, AccessLogSetting::EveryNth(100));
        assert_eq!(settings.state_dir, PathBuf::from("/var/lib/shop"));
    }

    #[test]
    fn every_variable_is_missed_by_name() {
        for (missing, _) in ALL {
            let rest: Vec<_> = ALL.into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(read(&rest).expect_err("missing").to_string().contains(missing));
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (name, value) in [
            ("SHOP_REVISION", "0"),
            ("SHOP_ACCESS_LOG", "loud"),
            ("SHOP_ACCESS_LOG_SAMPLE", "0"),
            ("SHOP_DNS", "dns"),
        ] {
            let mut all: Vec<_> = ALL.into_iter().filter(|(other, _)| *other != name).collect();
            all.push((name, value));
            assert!(read(&all).expect_err("wrong").to_string().contains(name));
        }
        let mut quiet = ALL.to_vec();
        quiet.push(("SHOP_ACCESS_LOG", "off"));
        assert_eq!(read(&quiet).expect("settings").access_log, AccessLogSetting::Off);
    }
}
