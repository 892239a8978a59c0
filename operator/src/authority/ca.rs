//! Roots and certificates: pure but for the random numbers that keys are made of.
//!
//! A root is good for a year. After nine months the next one is made and trusted beside it; a week later, when every service has
//! it, certificates come from it; another week later the old one is trusted no more. Services that were not reached for a week have
//! no good certificate anyway.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::render::short_hash;

const DAY: Duration = Duration::from_hours(24);
/// How long a root is good.
const ROOT: Duration = Duration::from_hours(365 * 24);
/// Its age at which the next one is made.
const NEXT: Duration = Duration::from_hours(270 * 24);
/// How long a new root is trusted before certificates come from it, and an old one after the last that did.
const BESIDE: Duration = Duration::from_hours(7 * 24);
/// Certificates begin that much earlier: clocks differ.
const SKEW: Duration = Duration::from_mins(10);
/// Most roots from before a loss.
const MAX_BEFORE: usize = 8;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What a Secret of the authority lacks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it has no good {0:?}")]
pub struct Unreadable(&'static str);

/// A key or a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("certificate: {0}")]
pub struct CaError(#[from] rcgen::Error);

/// A root, with its key.
#[derive(Clone, PartialEq, Eq)]
struct Root {
    certificate: String,
    key: String,
    made: Timestamp,
}

/// The roots, as they are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Ca {
    current: Root,
    next: Option<Root>,
    /// Certificates of roots that are still trusted.
    before: String,
    /// When the trusted roots changed last.
    changed: Timestamp,
    lost: bool,
}

/// A certificate for a service.
#[derive(Clone)]
pub struct Leaf {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS 8.
    pub key: String,
    /// All trusted roots, PEM.
    pub roots: String,
    /// Their hash.
    pub roots_hash: String,
    /// When it was made.
    pub issued: Timestamp,
}

impl Ca {
    /// With a new root. `before`: bundles of roots that services have, where a key was lost.
    pub fn new(now: Timestamp, before: &[String]) -> Result<Self, CaError> {
        let mut kept: Vec<&str> = Vec::new();
        for one in before.iter().flat_map(|bundle| certificates(bundle)) {
            if !kept.contains(&one) && kept.len() < MAX_BEFORE {
                kept.push(one);
            }
        }
        let lost = !kept.is_empty();
        let before = if lost { kept.join("\n") + "\n" } else { String::new() };
        Ok(Self { current: Root::new(now)?, next: None, before, changed: now, lost })
    }

    /// From the texts of its Secret.
    pub fn read(texts: &BTreeMap<String, String>) -> Result<Self, Unreadable> {
        let time = |name: &'static str| {
            texts.get(name).and_then(|text| text.parse::<Timestamp>().ok()).ok_or(Unreadable(name))
        };
        let root = |certificate: &'static str, key: &'static str, made: &'static str| {
            let pem =
                texts.get(certificate).filter(|pem| pem.contains(BEGIN)).ok_or(Unreadable(certificate))?;
            let good = |text: &&String| KeyPair::from_pem(text).is_ok();
            let key = texts.get(key).filter(good).ok_or(Unreadable(key))?;
            Ok(Root { certificate: pem.clone(), key: key.clone(), made: time(made)? })
        };
        let next = texts.contains_key("next.crt");
        Ok(Self {
            current: root("current.crt", "current.key", "current.made")?,
            next: if next { Some(root("next.crt", "next.key", "next.made")?) } else { None },
            before: texts.get("before.crt").cloned().unwrap_or_default(),
            changed: time("changed")?,
            lost: texts.contains_key("lost"),
        })
    }

    /// As its Secret has it.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let mut set = |name: &str, text: String| drop(texts.insert(name.to_owned(), text));
        for (name, root) in [("current", Some(&self.current)), ("next", self.next.as_ref())] {
            let Some(root) = root else { continue };
            set(&format!("{name}.crt"), root.certificate.clone());
            set(&format!("{name}.key"), root.key.clone());
            set(&format!("{name}.made"), root.made.to_string());
        }
        if !self.before.is_empty() {
            set("before.crt", self.before.clone());
        }
        if self.lost {
            set("lost", "true".to_owned());
        }
        set("changed", self.changed.to_string());
        texts
    }

    /// What has come about by time, if anything.
    pub fn step(&self, now: Timestamp) -> Result<Option<Self>, CaError> {
        let due = |since: Timestamp, after: Duration| since.checked_add(after).is_ok_and(|at| at <= now);
        let mut next = Self { changed: now, lost: false, ..self.clone() };
        if let Some(promoted) = self.next.as_ref().filter(|one| due(one.made, BESIDE)) {
            next.before = format!("{}{}", self.before, self.current.certificate);
            next.current = promoted.clone();
            next.next = None;
            return Ok(Some(next));
        }
        if self.next.is_none() && due(self.current.made, NEXT) {
            next.next = Some(Root::new(now)?);
            return Ok(Some(next));
        }
        if self.next.is_none() && !self.before.is_empty() && due(self.changed, BESIDE) {
            next.before.clear();
            return Ok(Some(next));
        }
        Ok(None)
    }

    /// Everything that is trusted, PEM.
    pub fn roots(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| &next.certificate);
        format!("{}{next}{}", self.current.certificate, self.before)
    }

    /// What plans are made with.
    pub fn view(&self) -> shop_release::Authority {
        let roots = short_hash(self.roots().as_bytes());
        shop_release::Authority { roots, since: self.changed, lost: self.lost }
    }

    /// A certificate for this id, with a key of its own.
    pub fn issue(&self, id: &str, now: Timestamp) -> Result<Leaf, CaError> {
        let issuer = KeyPair::from_pem(&self.current.key)?;
        let issuer = Issuer::new(root_parameters(&issuer, self.current.made), issuer);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut wanted = CertificateParams::default();
        // SPIFFE: who it is stands in the one URI, and nowhere else.
        wanted.distinguished_name = DistinguishedName::new();
        wanted.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        lasts(&mut wanted, now, SKEW, shop_release::LIFETIME);
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        wanted.use_authority_key_identifier_extension = true;
        let certificate = wanted.signed_by(&key, &issuer)?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            roots: self.roots(),
            roots_hash: self.view().roots,
            issued: now,
        })
    }
}

impl Root {
    fn new(now: Timestamp) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root_parameters(&key, now).self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), made: now })
    }
}

// Of the same key always the same: what issues a certificate must be named as the root is.
fn root_parameters(key: &KeyPair, made: Timestamp) -> CertificateParams {
    let mut root = CertificateParams::default();
    root.distinguished_name = DistinguishedName::new();
    let name = format!("Shopkeeper {}", short_hash(key.public_key_raw()));
    root.distinguished_name.push(DnType::CommonName, name);
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut root, made, DAY, ROOT);
    root
}

// In the calendar of certificates, which knows whole seconds.
fn lasts(certificate: &mut CertificateParams, from: Timestamp, before: Duration, after: Duration) {
    let from = Duration::from_secs(u64::try_from(from.as_second()).unwrap_or(0));
    let at = |since: Duration| rcgen::date_time_ymd(1970, 1, 1) + since;
    certificate.not_before = at(from.saturating_sub(before));
    certificate.not_after = at(from.saturating_add(after));
}

/// The certificates of a bundle, each as PEM.
fn certificates(bundle: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = bundle;
    while let Some(begin) = rest.find(BEGIN) {
        let Some(end) = rest.get(begin..).and_then(|tail| tail.find(END)) else { break };
        let end = begin + end + END.len();
        found.extend(rest.get(begin..end));
        rest = rest.get(end..).unwrap_or_default();
    }
    found
}
