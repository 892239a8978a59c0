//! The certificates and keys of a cluster: made once when it comes up, gone when it goes down.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

const NODE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// Who a certificate is for: file name, groups, user name.
struct Identity {
    file: &'static str,
    group: Option<&'static str>,
    user: &'static str,
}

/// The clients of the API server; each gets a certificate and a kubeconfig.
const CLIENTS: &[Identity] = &[
    Identity { file: "apiserver-kubelet", group: Some("system:masters"), user: "apiserver-kubelet-client" },
    Identity { file: "controller-manager", group: None, user: "system:kube-controller-manager" },
    Identity { file: "scheduler", group: None, user: "system:kube-scheduler" },
    Identity { file: "proxy", group: None, user: "system:kube-proxy" },
    Identity { file: "coredns", group: Some("system:masters"), user: "coredns" },
    Identity { file: "metrics", group: Some("system:masters"), user: "metrics-server" },
    Identity { file: "admin", group: Some("system:masters"), user: "admin" },
];

const SERVER_NAMES: &[&str] = &[
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];
const SERVER_ADDRESSES: &[Ipv4Addr] = &[Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 96, 0, 1), NODE];

/// Writes all certificates and keys to the folder, unless it has them.
pub(super) fn create(folder: &Path, node: &str) -> Result<()> {
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let ca = authority(folder, "ca", "kubernetes-ca")?;
    let front = authority(folder, "front-ca", "front-proxy-ca")?;
    issue(folder, &ca, "apiserver", None, "kube-apiserver", server_names()?)?;
    let node_names = vec![name(node)?, SanType::IpAddress(IpAddr::V4(NODE))];
    issue(folder, &ca, "kubelet", Some("system:nodes"), &format!("system:node:{node}"), node_names)?;
    for Identity { file, group, user } in CLIENTS {
        issue(folder, &ca, file, *group, user, Vec::new())?;
    }
    issue(folder, &front, "front", None, "front-proxy-client", Vec::new())?;
    let accounts = KeyPair::generate().context("make the key of service accounts")?;
    write(folder, "sa.key", &accounts.serialize_pem())?;
    write(folder, "sa.pub", &accounts.public_key_pem())?;
    write(folder, "complete", "")
}

fn authority(folder: &Path, file: &str, common_name: &str) -> Result<Authority> {
    let mut params = params(None, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().with_context(|| format!("make the key of {file}"))?;
    let authority = CertifiedIssuer::self_signed(params, key).with_context(|| format!("sign {file}"))?;
    write(folder, &format!("{file}.crt"), &authority.pem())?;
    write(folder, &format!("{file}.key"), &authority.key().serialize_pem())?;
    Ok(authority)
}

fn issue(
    folder: &Path,
    authority: &Authority,
    file: &str,
    group: Option<&str>,
    user: &str,
    names: Vec<SanType>,
) -> Result<()> {
    let mut params = params(group, user);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().with_context(|| format!("make the key of {file}"))?;
    let certificate = params.signed_by(&key, authority).with_context(|| format!("sign {file}"))?;
    write(folder, &format!("{file}.crt"), &certificate.pem())?;
    write(folder, &format!("{file}.key"), &key.serialize_pem())
}

fn params(group: Option<&str>, user: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params
}

fn server_names() -> Result<Vec<SanType>> {
    let addresses = SERVER_ADDRESSES.iter().map(|address| Ok(SanType::IpAddress(IpAddr::V4(*address))));
    SERVER_NAMES.iter().map(|text| name(text)).chain(addresses).collect()
}

fn name(text: &str) -> Result<SanType> {
    Ok(SanType::DnsName(text.try_into().with_context(|| format!("`{text}` is no name for a certificate"))?))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
