//! The distribution's packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::program;

/// Packages, and the files of which one shows that it is there.
type Packages = &'static [(&'static str, &'static [&'static str])];

/// What a node needs.
const OF_A_NODE: Packages = &[
    ("containerd", &["/usr/bin/containerd", "/usr/local/bin/containerd"]),
    ("runc", &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"]),
    ("containernetworking-plugins", &["/usr/lib/cni/bridge"]),
    ("iptables", &["/usr/sbin/iptables"]),
    ("nftables", &["/usr/sbin/nft"]),
    ("iproute2", &["/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip"]),
    ("util-linux", &["/usr/bin/nsenter"]),
    ("ca-certificates", &["/etc/ssl/certs/ca-certificates.crt"]),
    ("gcc", &["/usr/bin/cc", "/usr/bin/gcc"]),
    ("libc6-dev", &["/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib/aarch64-linux-gnu/libc.a"]),
];

/// What tests need: those of the shop's stores start a server of their own.
const OF_TESTS: Packages = &[(
    "postgresql",
    &[
        "/usr/lib/postgresql/15/bin/initdb",
        "/usr/lib/postgresql/16/bin/initdb",
        "/usr/lib/postgresql/17/bin/initdb",
        "/usr/lib/postgresql/18/bin/initdb",
    ],
)];

/// Installs what a node lacks; says nothing when that is nothing.
pub(super) fn ensure() -> Result<()> {
    install(OF_A_NODE)
}

/// Installs what tests lack. A database server that the distribution starts by itself is not used.
pub(super) fn ensure_for_tests() -> Result<()> {
    install(OF_TESTS)
}

fn install(packages: Packages) -> Result<()> {
    let missing = missing(packages, |file| Path::new(file).exists());
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("install these packages first (their names on Debian 12): {}", missing.join(" "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("packages are missing; as root: apt-get install {}", missing.join(" "));
    }
    eprintln!("setup: installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Acquire::Retries=3"]);
        command.args(arguments);
        program::run(&mut command)
    };
    apt(&["update"])?;
    let install = ["install", "-y", "--no-install-recommends"];
    apt(&[&install, missing.as_slice()].concat())?;
    Ok(())
}

fn missing(packages: Packages, exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let absent = packages.iter().filter(|(_, files)| !files.iter().any(|file| exists(file)));
    absent.map(|(package, _)| *package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(missing(OF_A_NODE, |_| true).is_empty());
        assert_eq!(missing(OF_A_NODE, |file| !file.contains("nft")), ["nftables"]);
        assert!(missing(OF_TESTS, |file| file.contains("/16/")).is_empty());
    }
}
