//! The pod template of a revision: the app's container, and the sidecar before it.

use serde_json::{Map, Value, json};
use shop_contract::{env, paths, ports, url_variable};
use shop_crds::{
    names::{self, APP_CONTAINER, SIDECAR_CONTAINER},
    service::{Probe, Protocol, Resources, dependency::DependencyProtocol},
};
use shop_release::Inputs;

use super::Owner;

/// Where the sidecar's document, keys and last accepted document are.
const CONFIG_DIR: &str = "/etc/shop/config";
const KEYS_DIR: &str = "/etc/shop/keys";
const STATE_DIR: &str = "/var/lib/shop";
/// What the container calls without its sidecar.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";
/// The user of the sidecar's image.
const SIDECAR_USER: i64 = 65_532;
/// Seconds that a container may take to stop after a failed liveness or startup probe.
const PROBE_GRACE: i64 = 5;
/// Seconds of a pod's grace beyond drain.max.
const GRACE_BEYOND_DRAIN: i64 = 30;

/// The sidecar that new revisions get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarImage {
    /// The image.
    pub image: String,
    /// When nodes pull it.
    pub pull_policy: String,
}

/// Renders the template of a revision. What it names of ConfigMaps and Secrets are the revision's copies.
pub fn pod_template(owner: &Owner, revision: i64, inputs: &Inputs, sidecar: &SidecarImage) -> Value {
    let spread = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": owner.selector(revision) },
        })
    };
    let mut template = json!({
        "metadata": { "labels": owner.selector(revision) },
        "spec": {
            "serviceAccountName": names::service_account(&owner.service),
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": inputs.drain_max.whole_secs().saturating_add(GRACE_BEYOND_DRAIN),
            "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
            "initContainers": [sidecar_container(owner, revision, Some(inputs), sidecar)],
            "containers": [app_container(owner, revision, inputs)],
            "volumes": volumes(owner, revision, inputs),
        },
    });
    if let Some(overlay) = &inputs.pod {
        super::overlay::lay(&mut template, overlay);
    }
    template
}

/// The template of a revision with the sidecar that new revisions get. The app's part is the same byte for byte; the sidecar
/// keeps its resources and its probe, which come from the revision's inputs.
pub fn restarted_template(
    owner: &Owner,
    revision: i64,
    ordinal: i64,
    stored: &Value,
    sidecar: &SidecarImage,
) -> Value {
    let mut template = stored.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        // Makes it another template even where the sidecar is the same.
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(names::ANNOTATION_RESTART.to_owned(), ordinal.to_string().into());
        }
    }
    let Some(spec) = template.get_mut("spec") else { return template };
    let fresh = sidecar_container(owner, revision, None, sidecar);
    let old = entry(spec, "initContainers", SIDECAR_CONTAINER);
    if let (Some(old), Value::Object(fresh)) = (old, fresh) {
        let kept = ["resources", "readinessProbe"];
        old.extend(fresh.into_iter().filter(|(field, _)| !kept.contains(&field.as_str())));
        for volume in own_volumes(owner, revision) {
            let name = volume.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            match (entry(spec, "volumes", &name), volume) {
                (Some(old), Value::Object(new)) => *old = new,
                (_, volume) => {
                    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
                        volumes.push(volume);
                    }
                }
            }
        }
    }
    template
}

// The entry of a list by its name.
fn entry<'a>(spec: &'a mut Value, list: &str, name: &str) -> Option<&'a mut Map<String, Value>> {
    let list = spec.get_mut(list)?.as_array_mut()?;
    list.iter_mut().find(|entry| entry.get("name").is_some_and(|known| known == name))?.as_object_mut()
}

fn sidecar_container(owner: &Owner, revision: i64, inputs: Option<&Inputs>, sidecar: &SidecarImage) -> Value {
    let readiness = inputs.and_then(|inputs| inputs.probes.as_ref()?.readiness.as_ref());
    let is_tcp = inputs.is_some_and(|inputs| inputs.protocol == Protocol::Tcp);
    json!({
        "name": SIDECAR_CONTAINER,
        "image": sidecar.image,
        "imagePullPolicy": sidecar.pull_policy,
        // Makes an init container a sidecar: it starts first, stays, and is stopped last.
        "restartPolicy": "Always",
        "args": ["run"],
        "env": [
            variable(env::CONFIG_DIR, CONFIG_DIR),
            variable(env::KEYS_DIR, KEYS_DIR),
            variable(env::STATE_DIR, STATE_DIR),
            variable("SHOP_NAMESPACE", &owner.namespace),
            variable("SHOP_SERVICE", &owner.service),
            variable("SHOP_SERVICE_UID", &owner.uid),
            variable("SHOP_REVISION", &revision.to_string()),
        ],
        "ports": [
            { "name": if is_tcp { "tcp" } else { "http" }, "containerPort": ports::INBOUND, "protocol": "TCP" },
            { "name": "admin", "containerPort": ports::ADMIN, "protocol": "TCP" },
        ],
        "resources": sidecar_resources(inputs.and_then(|inputs| inputs.sidecar_resources.as_ref())),
        "startupProbe": {
            "httpGet": { "path": paths::LIVE, "port": ports::ADMIN },
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": 60,
        },
        "readinessProbe": {
            "httpGet": { "path": paths::READY, "port": ports::ADMIN },
            "periodSeconds": seconds(readiness.and_then(|probe| probe.period), 5),
            // One more than the sidecar itself waits for the app, so that its answer is heard.
            "timeoutSeconds": seconds(readiness.and_then(|probe| probe.timeout), 5).saturating_add(1),
            "failureThreshold": readiness.and_then(|probe| probe.failures).unwrap_or(3),
        },
        "lifecycle": { "preStop": { "exec": { "command": ["/shop-sidecar", "drain"] } } },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": SIDECAR_USER,
            "runAsGroup": SIDECAR_USER,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": "shop-config", "mountPath": CONFIG_DIR, "readOnly": true },
            { "name": "shop-keys", "mountPath": KEYS_DIR, "readOnly": true },
            { "name": "shop-state", "mountPath": STATE_DIR },
        ],
    })
}

fn app_container(owner: &Owner, revision: i64, inputs: &Inputs) -> Value {
    let mut container = Map::new();
    let mut set = |name: &str, value: Value| drop(container.insert(name.to_owned(), value));
    set("name", APP_CONTAINER.into());
    set("image", inputs.image.clone().into());
    if !inputs.command.is_empty() {
        set("command", inputs.command.clone().into());
    }
    if !inputs.args.is_empty() {
        set("args", inputs.args.clone().into());
    }
    set("env", variables(owner, revision, inputs));
    if !inputs.env_from.is_empty() {
        set(
            "envFrom",
            inputs.env_from.iter().map(|from| from_copies(owner, revision, json!(from))).collect(),
        );
    }
    set("ports", json!([{ "name": "app", "containerPort": inputs.port, "protocol": "TCP" }]));
    set("resources", app_resources(inputs.resources.as_ref()));
    let probes = inputs.probes.as_ref();
    if let Some(probe) = probes.and_then(|probes| probes.liveness.as_ref()) {
        set("livenessProbe", probe_of_app(probe, inputs.port, 3));
    }
    if let Some(probe) = probes.and_then(|probes| probes.startup.as_ref()) {
        set("startupProbe", probe_of_app(probe, inputs.port, 30));
    }
    set("lifecycle", json!({ "preStop": { "httpGet": { "path": paths::DRAIN, "port": ports::ADMIN } } }));
    if !inputs.config.is_empty() {
        let mounts = inputs.config.iter().enumerate();
        let mounts = mounts.map(|(at, source)| {
            json!({ "name": config_volume(at), "mountPath": source.mount_path, "readOnly": true })
        });
        set("volumeMounts", mounts.collect());
    }
    Value::Object(container)
}

// The user's variables win over ours of the same name.
fn variables(owner: &Owner, revision: i64, inputs: &Inputs) -> Value {
    let ours = [
        ("SHOP_NAMESPACE".to_owned(), owner.namespace.clone()),
        ("SHOP_SERVICE".to_owned(), owner.service.clone()),
        ("SHOP_REVISION".to_owned(), revision.to_string()),
    ];
    let ours = ours.into_iter().chain(called(inputs));
    let unset = ours.filter(|(name, _)| inputs.env.iter().all(|set| set.name != *name));
    let users = inputs.env.iter().map(|one| {
        let mut one = json!(one);
        if let Some(from) = one.get_mut("valueFrom") {
            *from = from_copies(owner, revision, from.take());
        }
        one
    });
    unset.map(|(name, value)| variable(&name, &value)).chain(users).collect()
}

// Where the container finds what it calls. A proxy that the user names in either spelling stays the only one.
fn called(inputs: &Inputs) -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://127.0.0.1:{}", ports::OUTBOUND);
    let pairs = [["HTTP_PROXY", "http_proxy"], ["NO_PROXY", "no_proxy"]];
    let ours = pairs.into_iter().zip([proxy, NO_PROXY.to_owned()]).filter(|(pair, _)| {
        !inputs.depends_on.is_empty() && inputs.env.iter().all(|set| !pair.contains(&set.name.as_str()))
    });
    let proxies = ours.flat_map(|(pair, value)| pair.map(|name| (name.to_owned(), value.clone())));
    let urls = inputs.depends_on.iter().map(|called| {
        let url = match called.local_port {
            Some(port) if called.protocol == Some(DependencyProtocol::Tcp) => {
                format!("tcp://127.0.0.1:{port}")
            }
            Some(port) => format!("http://127.0.0.1:{port}"),
            None => format!("http://{}", called.name),
        };
        (url_variable(&called.name), url)
    });
    proxies.chain(urls.collect::<Vec<_>>())
}

// Renames every ConfigMap and Secret that a variable or a list of them comes from to the revision's copy. An optional one that
// did not exist is renamed as well: what appears later belongs to the next revision.
fn from_copies(owner: &Owner, revision: i64, mut from: Value) -> Value {
    for reference in ["configMapRef", "secretRef", "configMapKeyRef", "secretKeyRef"] {
        if let Some(name) = from.get_mut(reference).and_then(|reference| reference.get_mut("name")) {
            *name = names::snapshot(&owner.service, revision, name.as_str().unwrap_or_default()).into();
        }
    }
    from
}

fn volumes(owner: &Owner, revision: i64, inputs: &Inputs) -> Value {
    let mut volumes = own_volumes(owner, revision).to_vec();
    for (at, source) in inputs.config.iter().enumerate() {
        let copy = |name: &str| names::snapshot(&owner.service, revision, name);
        let (kind, copied) = match (&source.config_map, &source.secret) {
            (Some(name), _) => ("configMap", json!({ "name": copy(name) })),
            (None, Some(name)) => ("secret", json!({ "secretName": copy(name) })),
            // Refused by the API server.
            (None, None) => continue,
        };
        volumes.push(json!({ "name": config_volume(at), kind: copied }));
    }
    volumes.into()
}

// The sidecar's.
fn own_volumes(owner: &Owner, revision: i64) -> [Value; 3] {
    [
        json!({
            "name": "shop-config",
            "configMap": { "name": names::sidecar_config(&owner.service, revision) },
        }),
        json!({ "name": "shop-keys", "secret": { "secretName": names::sidecar_keys(&owner.service) } }),
        json!({ "name": "shop-state", "emptyDir": { "sizeLimit": "16Mi" } }),
    ]
}

fn config_volume(at: usize) -> String {
    format!("config-{at}")
}

fn variable(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

// A signal for liveness and startup: the app itself is asked, and a container that hangs is not drained.
fn probe_of_app(probe: &Probe, port: i32, failures: i32) -> Value {
    json!({
        "httpGet": { "path": probe.path, "port": port },
        "periodSeconds": seconds(probe.period, 10),
        "timeoutSeconds": seconds(probe.timeout, 2),
        "failureThreshold": probe.failures.unwrap_or(failures),
        "terminationGracePeriodSeconds": PROBE_GRACE,
    })
}

fn seconds(span: Option<shop_crds::Span>, default: i64) -> i64 {
    span.map_or(default, shop_crds::Span::whole_secs).max(1)
}

// An autoscaler needs a CPU request on every container. Where there is a limit, Kubernetes takes it as the request.
fn app_resources(resources: Option<&Resources>) -> Value {
    let mut resources = resources.cloned().unwrap_or_default();
    if !resources.limits.contains_key("cpu") {
        resources.requests.entry("cpu".into()).or_insert_with(|| shop_crds::Amount("10m".into()));
    }
    json!(resources)
}

fn sidecar_resources(resources: Option<&Resources>) -> Value {
    let mut resources = resources.cloned().unwrap_or_default();
    let amount = |text: &str| shop_crds::Amount(text.into());
    if !resources.limits.contains_key("cpu") {
        resources.requests.entry("cpu".into()).or_insert_with(|| amount("25m"));
    }
    resources.requests.entry("memory".into()).or_insert_with(|| amount("24Mi"));
    resources.limits.entry("memory".into()).or_insert_with(|| amount("64Mi"));
    json!(resources)
}
