//! Which requests go to another revision: as a plan says it, as sidecars read it; and back.

use shop_contract::Pair;
use shop_release::{HandOff, Match, Mirror, ServiceKind, Sticky};

/// `host:port` of a Service.
fn place(kind: ServiceKind, address: impl Fn(ServiceKind) -> String) -> String {
    format!("{}:80", address(kind))
}

/// The Service with this `host:port`.
fn kind_of(place_of: &str, address: impl Fn(ServiceKind) -> String) -> Option<ServiceKind> {
    ServiceKind::ALL.into_iter().find(|kind| place_of == place(*kind, &address))
}

pub(super) fn hand_off(
    hand_off: &HandOff,
    address: impl Fn(ServiceKind) -> String,
) -> shop_contract::HandOff {
    let pair = |pair: &Option<(String, String)>| {
        pair.as_ref().map(|(name, value)| Pair { name: name.clone(), value: value.clone() })
    };
    let fits = |one: &Match| shop_contract::Match { header: pair(&one.header), cookie: pair(&one.cookie) };
    shop_contract::HandOff {
        to_revision: hand_off.to_revision,
        share: hand_off.share,
        fallback: place(hand_off.fallback, address),
        may_serve_locally: hand_off.may_serve_locally,
        matches: hand_off.matches.iter().map(fits).collect(),
        sticky: hand_off.sticky.as_ref().map(|sticky| match sticky {
            Sticky::Header(name) => shop_contract::Sticky::Header(name.clone()),
            Sticky::Cookie(name) => shop_contract::Sticky::Cookie(name.clone()),
            Sticky::Client => shop_contract::Sticky::Client,
            Sticky::User => shop_contract::Sticky::User,
        }),
    }
}

pub(super) fn stored_hand_off(
    hand_off: &shop_contract::HandOff,
    address: impl Fn(ServiceKind) -> String,
) -> Option<HandOff> {
    let pair = |pair: &Option<Pair>| pair.as_ref().map(|pair| (pair.name.clone(), pair.value.clone()));
    let fits = |one: &shop_contract::Match| Match { header: pair(&one.header), cookie: pair(&one.cookie) };
    Some(HandOff {
        to_revision: hand_off.to_revision,
        share: hand_off.share,
        fallback: kind_of(&hand_off.fallback, address)?,
        may_serve_locally: hand_off.may_serve_locally,
        matches: hand_off.matches.iter().map(fits).collect(),
        sticky: hand_off.sticky.as_ref().map(|sticky| match sticky {
            shop_contract::Sticky::Header(name) => Sticky::Header(name.clone()),
            shop_contract::Sticky::Cookie(name) => Sticky::Cookie(name.clone()),
            shop_contract::Sticky::Client => Sticky::Client,
            shop_contract::Sticky::User => Sticky::User,
        }),
    })
}

pub(super) fn mirror(mirror: &Mirror, address: impl Fn(ServiceKind) -> String) -> shop_contract::Mirror {
    shop_contract::Mirror {
        to_revision: mirror.to_revision,
        share: mirror.share,
        fallback: place(mirror.fallback, address),
        methods: mirror.methods.clone(),
    }
}

pub(super) fn stored_mirror(
    mirror: &shop_contract::Mirror,
    address: impl Fn(ServiceKind) -> String,
) -> Option<Mirror> {
    Some(Mirror {
        to_revision: mirror.to_revision,
        share: mirror.share,
        fallback: kind_of(&mirror.fallback, address)?,
        methods: mirror.methods.clone(),
    })
}
