//! TLS between sidecars: as a plan says it, as sidecars read it; and back.

use shop_contract::{Auth, DependencyTls, Document};
use shop_crds::service::auth::MtlsMode;
use shop_release::{Mtls, SidecarDocument};

pub(super) fn auth(document: &SidecarDocument) -> Option<Auth> {
    let jwt = document.jwt.as_ref().map(super::tokens::jwt);
    let mtls = document.mtls.as_ref().map(|mtls| shop_contract::Mtls {
        mode: match mtls.mode {
            MtlsMode::Off => shop_contract::MtlsMode::Off,
            MtlsMode::Permissive => shop_contract::MtlsMode::Permissive,
            MtlsMode::Strict => shop_contract::MtlsMode::Strict,
        },
        id: mtls.id.clone(),
        callers: mtls.callers.clone(),
    });
    (jwt.is_some() || mtls.is_some()).then_some(Auth { jwt, mtls })
}

pub(super) fn stored(document: &Document) -> Option<Mtls> {
    let mtls = document.auth.as_ref()?.mtls.as_ref()?;
    Some(Mtls {
        mode: match mtls.mode {
            shop_contract::MtlsMode::Off => MtlsMode::Off,
            shop_contract::MtlsMode::Permissive => MtlsMode::Permissive,
            shop_contract::MtlsMode::Strict => MtlsMode::Strict,
        },
        id: mtls.id.clone(),
        callers: mtls.callers.clone(),
    })
}

/// Dependencies whose sidecars are called by TLS, with their ids.
pub(super) fn stored_peers(document: &Document) -> std::collections::BTreeMap<String, String> {
    let peer = |one: &shop_contract::Dependency| match &one.tls {
        Some(DependencyTls::Sidecar(id)) => Some((one.name.clone(), id.clone())),
        _ => None,
    };
    document.depends_on.iter().filter_map(peer).collect()
}
