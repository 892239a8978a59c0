//! The NetworkPolicy of a service's pods: there when `spec.auth` says who may send requests.

use std::fmt;

use shop_crds::service::auth::MtlsMode;

use crate::{
    view::View,
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// Who gets to the inbound port of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; tokens or certificates are asked for there.
    Everybody,
    /// The pods of these ShopServices, by namespace and name, and its own.
    Callers(Vec<(String, String)>),
}

impl Access {
    /// From the words of [`fmt::Display`].
    pub fn from_words(words: &str) -> Option<Self> {
        if words == "everybody" {
            return Some(Self::Everybody);
        }
        let pair = |word: &str| {
            word.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        };
        words.split(' ').map(pair).collect::<Option<Vec<_>>>().map(Self::Callers)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => out.write_str("everybody"),
            Self::Callers(callers) => {
                let words: Vec<String> =
                    callers.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
                out.write_str(&words.join(" "))
            }
        }
    }
}

/// The NetworkPolicy that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// What was meant by the last write; `None`: something the operator does not write.
    pub access: Option<Access>,
    /// Whether it differs from what the operator last wrote.
    pub drifted: bool,
    /// Whether it would be written differently now.
    pub outdated: bool,
}

fn wanted(view: &View<'_>) -> Option<Access> {
    let auth = view.subject.spec.auth.as_ref()?;
    if auth.callers.is_empty() {
        return (auth.jwt.is_some() || auth.mtls() == MtlsMode::Strict).then_some(Access::Everybody);
    }
    let own = &view.subject.namespace;
    let mut callers: Vec<(String, String)> = auth
        .callers
        .iter()
        .map(|one| (one.namespace.clone().unwrap_or_else(|| own.clone()), one.name.clone()))
        .collect();
    callers.sort();
    callers.dedup();
    Some(Access::Callers(callers))
}

/// The write that brings it in line, and whether somebody else had changed it.
pub(crate) fn write(view: &View<'_>) -> Option<(Write, bool)> {
    let found = view.observed.network_policy.as_ref();
    let version = found.map(|found| Precondition::version(&found.uid, &found.resource_version));
    match (wanted(view), found, version) {
        (Some(access), found, replaces) => {
            let current = |one: &NetworkPolicy| one.access.as_ref() == Some(&access) && !one.outdated;
            if found.is_some_and(|found| current(found) && !found.drifted) {
                return None;
            }
            let drifted = found.is_some_and(|found| found.drifted);
            Some((Write::WriteNetworkPolicy { access, replaces }, drifted))
        }
        (None, Some(_), Some(precondition)) => {
            let name = shop_crds::names::network_policy(&view.subject.name);
            let object = ObjectRef::new(ObjectKind::NetworkPolicy, name);
            Some((Write::Delete { object, precondition }, false))
        }
        _ => None,
    }
}
