//! Names, labels and annotations of everything the operator makes. Pure functions of service and revision, so that nobody has
//! to look a name up.

/// Longest name of a ShopService: leaves room for the suffixes below.
pub const MAX_SERVICE_NAME: usize = 40;
/// Field manager of server-side apply.
pub const FIELD_MANAGER: &str = "shopkeeper";

/// Label: name of the ShopService. With [`LABEL_REVISION`] the selector of a revision's pods.
pub const LABEL_SERVICE: &str = "shopkeeper.dev/service";
/// Label: number of the revision.
pub const LABEL_REVISION: &str = "shopkeeper.dev/revision";
/// Label of every object: `shopkeeper`.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label of every object: name of the ShopService.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";

/// Annotation of the records, Deployments and pods of a restart: which restart of the revision it is, 1, 2, 3, …
pub const ANNOTATION_RESTART: &str = "shopkeeper.dev/restart";
/// Annotation: epoch of the leader that touched the object last, the fence against a late write of an older one.
pub const ANNOTATION_LEADER_EPOCH: &str = "shopkeeper.dev/leader-epoch";
/// Annotation of Deployments: `candidate`, `active` or `retiring`.
pub const ANNOTATION_ROLE: &str = "shopkeeper.dev/role";
/// Annotation of Deployments: `blue` or `green`.
pub const ANNOTATION_COLOUR: &str = "shopkeeper.dev/colour";
/// Annotation: hash of what the operator wrote, by which it sees whether somebody else changed it.
pub const ANNOTATION_WRITTEN: &str = "shopkeeper.dev/written";
/// Number of the revision that is an adopted Deployment: no other has it.
pub const ADOPTED: i64 = 0;
/// Annotation by which an administrator passes the admission policy: the reason for doing so.
pub const ANNOTATION_BREAK_GLASS: &str = "shopkeeper.dev/break-glass";

/// Name of the app's container.
pub const APP_CONTAINER: &str = "app";
/// Name of the sidecar's container.
pub const SIDECAR_CONTAINER: &str = "shop-sidecar";

/// `order-r7`: the revision's Deployment, ControllerRevision and PodDisruptionBudget.
pub fn revision(service: &str, number: i64) -> String {
    format!("{service}-r{number}")
}

/// `order-r7-sidecar`: the ConfigMap with the revision's sidecar document.
pub fn sidecar_config(service: &str, number: i64) -> String {
    format!("{service}-r{number}-sidecar")
}

/// `order-r7-settings`: the revision's copy of the ConfigMap or Secret `settings`. Longer than 253 characters is cut, with a hash.
pub fn snapshot(service: &str, number: i64, source: &str) -> String {
    let name = format!("{service}-r{number}-{source}");
    if name.len() <= 253 {
        return name;
    }
    // FNV-1a: stable over versions of the compiler, which std's hasher is not.
    let hash = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept: String = name.chars().take(236).collect();
    format!("{}-{hash:016x}", kept.trim_end_matches(['-', '.']))
}

/// `order-r7-expand`: the Job before the first pod of a revision.
pub fn expand_job(service: &str, number: i64) -> String {
    format!("{service}-r{number}-expand")
}

/// `order-r7-contract`: the Job after the last pod of the revision before.
pub fn contract_job(service: &str, number: i64) -> String {
    format!("{service}-r{number}-contract")
}

/// `order-r7-s1`: the ControllerRevision with the template of the first restart of revision 7.
pub fn restart(service: &str, number: i64, ordinal: i64) -> String {
    format!("{}-s{ordinal}", revision(service, number))
}

/// `order`: the Service that users reach.
pub fn users_service(service: &str) -> String {
    service.to_owned()
}

/// `order-pods`: the headless Service of the active revision.
pub fn pods_service(service: &str) -> String {
    format!("{service}-pods")
}

/// `order-preview`: the Service of the candidate; without one, of the active revision.
pub fn preview_service(service: &str) -> String {
    format!("{service}-preview")
}

/// `order-sidecar-keys`: the Secret with the MAC keys of the service's sidecars.
pub fn sidecar_keys(service: &str) -> String {
    format!("{service}-sidecar-keys")
}

/// `order-shop`: the NetworkPolicy of the pods.
pub fn network_policy(service: &str) -> String {
    format!("{service}-shop")
}

/// `spiffe://cluster.local/ns/shop/svc/order`: who a service is, in its certificate.
pub fn spiffe_id(trust_domain: &str, namespace: &str, service: &str) -> String {
    format!("spiffe://{trust_domain}/ns/{namespace}/svc/{service}")
}

/// `order-shop`: the ServiceAccount of the pods, without rights and without a token.
pub fn service_account(service: &str) -> String {
    format!("{service}-shop")
}
