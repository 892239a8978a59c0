//! Whether an installation is whole: pure, from what was read of it. Each finding that is not well says what to do.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        coordination::v1::Lease,
        core::v1::Pod,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use shop_crds::{ShopService, VERSION, Verb, definition, names};

use crate::{adopt, client::Right, exit::Exit, report, verdict};

#[cfg(test)]
mod tests;

/// Environment variable of the operator with the image of new sidecars.
const SIDECAR_IMAGE: &str = "SHOP_SIDECAR_IMAGE";
/// Policies that the chart installs.
pub const POLICIES: [&str; 3] =
    ["shopkeeper-generated-objects", "shopkeeper-generated-scale", "shopkeeper-decisions"];
/// What the verbs need, what it is for, and a `ClusterRole` that has it.
pub fn rights() -> Vec<(Right, &'static str, &'static str)> {
    let apps = |verb, resource| Right { verb, group: "apps", resource };
    let mut rights = vec![
        (Right::of("get", "shopservices"), "every verb", "shop-viewer"),
        (Right::of("list", "shopservices"), "get", "shop-viewer"),
        (Right::of("watch", "shopservices"), "hearing of changes at once", "shop-viewer"),
        (Right::of("list", "shoppolicies"), "plan, which looks at freeze windows", "shop-viewer"),
        (apps("list", "controllerrevisions"), "plan and diff", "view"),
        (Right::of("patch", "shopservices"), "set image", "shop-editor"),
        (Right::of("create", "releasedecisions"), "every verb that decides", "shop-promoter"),
    ];
    let deciding = |verb: Verb| (Right::of(verb.as_str(), "shopservices"), verb.as_str(), "shop-promoter");
    rights.extend(Verb::ALL.map(deciding));
    rights
}

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Well.
    Ok,
    /// It works; something is missing, old, or cannot be seen.
    Warn,
    /// It must be put right.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The word for the exit code.
    pub result: Exit,
    /// The exit code: 1 if something must be put right.
    pub exit_code: u8,
    /// In the order in which they should be put right.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of these findings.
    pub fn of(findings: Vec<Finding>) -> Self {
        let failed = findings.iter().any(|finding| finding.level == Level::Fail);
        let result = if failed { Exit::Error } else { Exit::Done };
        Self { result, exit_code: result.code(), findings }
    }
}

impl Finding {
    /// That it is well.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), message: message.into(), remedy: None }
    }

    /// That it is not, and what to do.
    pub fn not(
        level: Level,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level, subject: subject.into(), message: message.into(), remedy: Some(remedy.into()) }
    }

    /// That something could not be looked at.
    pub fn unseen(subject: impl Into<String>, why: &dyn std::fmt::Display) -> Self {
        let remedy = "run it again as somebody who may read it, or leave it to an administrator";
        Self::not(Level::Warn, subject, format!("not checked: {why}"), remedy)
    }
}

/// The adopted Deployment that users of the service still have.
pub fn adopted(service: &ShopService) -> Option<&str> {
    let active = service.status.as_ref()?.active.as_ref()?;
    let adopt = service.spec.adopt.as_ref().filter(|_| active.revision == names::ADOPTED)?;
    Some(&adopt.deployment)
}

/// Autoscalers that change the size of adopted Deployments, which is the ShopService's.
pub fn autoscalers(services: &[ShopService], found: &[HorizontalPodAutoscaler]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in services {
        let Some(deployment) = adopted(service) else { continue };
        for autoscaler in found.iter().filter(|one| adopt::targets(one, deployment)) {
            let (scaler, name) = (autoscaler.name_any(), service.name_any());
            let message =
                format!("it changes the size of Deployment {deployment}, which the operator puts back");
            let remedy = format!("let its scaleTargetRef be the ShopService {name}, or delete it");
            findings.push(Finding::not(Level::Fail, format!("autoscaler {scaler}"), message, remedy));
        }
    }
    findings
}

/// The operator's Deployment.
pub fn operator(found: &[Deployment]) -> Finding {
    let subject = "operator";
    let [operator] = found else {
        if found.is_empty() {
            let remedy =
                "install it: helm install shopkeeper charts/shopkeeper -n shopkeeper --create-namespace";
            return Finding::not(Level::Fail, subject, "no operator runs in this cluster", remedy);
        }
        let places: Vec<String> = found.iter().filter_map(ResourceExt::namespace).collect();
        let message = format!("there are {} operators, in {}", found.len(), places.join(" and "));
        return Finding::not(Level::Fail, subject, message, "keep one: helm uninstall the others");
    };
    let (namespace, name) = (operator.namespace().unwrap_or_default(), operator.name_any());
    let wanted = operator.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = operator.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let message = format!("Deployment {namespace}/{name} has {ready}/{wanted} pods ready");
    if ready > 0 && ready >= wanted {
        return Finding::ok(subject, message);
    }
    let level = if ready == 0 { Level::Fail } else { Level::Warn };
    Finding::not(level, subject, message, format!("kubectl describe deployment {name} -n {namespace}"))
}

/// The definition of a kind, against the one that this program was built with.
pub fn definition_of(name: &str, found: Option<&CustomResourceDefinition>) -> Finding {
    let subject = format!("definition {name}");
    let upgrade = "upgrade: helm upgrade shopkeeper charts/shopkeeper -n shopkeeper";
    let Some(found) = found else {
        return Finding::not(Level::Fail, subject, "the cluster does not have it", upgrade);
    };
    let Some(version) = found.spec.versions.iter().find(|version| version.name == VERSION && version.served)
    else {
        return Finding::not(Level::Fail, subject, format!("version {VERSION} is not served"), upgrade);
    };
    let installed =
        version.schema.as_ref().and_then(|schema| serde_json::to_value(&schema.open_api_v3_schema).ok());
    let definitions = definition::definitions();
    let own =
        definitions.iter().find(|one| one.pointer("/metadata/name").and_then(Value::as_str) == Some(name));
    let (mut has, mut knows) = (Vec::new(), Vec::new());
    paths("", installed.as_ref().unwrap_or(&Value::Null), &mut has);
    paths("", own.map_or(&Value::Null, definition::schema), &mut knows);
    let missing: Vec<&String> = knows.iter().filter(|path| !has.contains(path)).collect();
    let newer: Vec<&String> = has.iter().filter(|path| !knows.contains(path)).collect();
    if let Some(first) = missing.first() {
        let message =
            format!("{VERSION}, older than this program: without {first} and {} more", missing.len() - 1);
        return Finding::not(Level::Warn, subject, message, upgrade);
    }
    if let Some(first) = newer.first() {
        let message = format!(
            "{VERSION}, newer than this program: {first} and {} more are not known here",
            newer.len() - 1
        );
        return Finding::not(
            Level::Warn,
            subject,
            message,
            "install the kubectl-shop of the operator's version",
        );
    }
    Finding::ok(subject, format!("{VERSION}, the same as this program's"))
}

/// Paths of all fields of a schema.
fn paths(path: &str, schema: &Value, found: &mut Vec<String>) {
    for below in ["items", "additionalProperties"].into_iter().filter_map(|word| schema.get(word)) {
        paths(path, below, found);
    }
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        paths(&path, below, found);
        found.push(path);
    }
}

/// A policy and its binding.
pub fn policy(
    name: &str,
    policy: Option<&ValidatingAdmissionPolicy>,
    binding: Option<&ValidatingAdmissionPolicyBinding>,
) -> Finding {
    let subject = format!("policy {name}");
    let remedy = "install it: helm upgrade shopkeeper charts/shopkeeper -n shopkeeper --set admissionPolicies.enabled=true";
    if policy.is_none() {
        let message = "it does not exist: nothing refuses what it should";
        return Finding::not(Level::Warn, subject, message, remedy);
    }
    let spec = binding.and_then(|binding| binding.spec.as_ref());
    let actions = spec.and_then(|spec| spec.validation_actions.clone()).unwrap_or_default();
    let bound = spec.is_some_and(|spec| spec.policy_name.as_deref() == Some(name));
    if bound && actions.iter().any(|action| action == "Deny") {
        return Finding::ok(subject, "it exists and is bound");
    }
    Finding::not(Level::Warn, subject, "it exists, and no binding of its name makes it deny", remedy)
}

/// A right of the user.
pub fn right(right: Right, used_for: &str, role: &str, allowed: bool, namespace: &str) -> Finding {
    let subject = format!("right to {} {}", right.verb, right.resource);
    if allowed {
        return Finding::ok(subject, format!("you have it in namespace {namespace:?}"));
    }
    let message = format!("you do not have it in namespace {namespace:?}; it is for {used_for}");
    let remedy = format!("kubectl create rolebinding {role} --clusterrole={role} --user=YOU -n {namespace}");
    let level = if right.verb == "get" { Level::Fail } else { Level::Warn };
    Finding::not(level, subject, message, remedy)
}

/// Whether the leader renews its lease.
pub fn lease(found: Option<&Lease>, now: Timestamp) -> Finding {
    let subject = "lease";
    let look = "read the operator's log: kubectl logs -l app.kubernetes.io/name=shopkeeper --all-containers -n shopkeeper";
    let spec = found.and_then(|lease| lease.spec.as_ref());
    let Some((spec, renewed)) = spec.and_then(|spec| Some((spec, spec.renew_time.as_ref()?.0))) else {
        return Finding::not(Level::Fail, subject, "no operator has ever led", look);
    };
    let holder = spec.holder_identity.clone().unwrap_or_else(|| "nobody".to_owned());
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(10)));
    let age = now.duration_since(renewed);
    let message = format!("{holder} renewed it {} s ago", age.as_secs().max(0));
    if age <= lasts {
        Finding::ok(subject, message)
    } else {
        Finding::not(Level::Fail, subject, message, look)
    }
}

/// Sidecars' images against the one that new revisions get.
pub fn sidecars(operators: &[Deployment], pods: &[Pod], namespace: &str) -> Finding {
    let subject = "sidecars";
    let Some(image) = operators.first().and_then(sidecar_image) else {
        return Finding::unseen(subject, &"the operator's image for sidecars is not known");
    };
    let mut older: Vec<String> = pods
        .iter()
        .filter(|pod| runs(pod).is_some_and(|runs| runs != image))
        .filter_map(|pod| pod.labels().get(names::LABEL_SERVICE).cloned())
        .collect();
    older.sort();
    let count = older.len();
    older.dedup();
    if count == 0 {
        return Finding::ok(subject, format!("all {} in namespace {namespace:?} have {image}", pods.len()));
    }
    let message =
        format!("{count} of {} pods have another image than {image}: {}", pods.len(), older.join(", "));
    Finding::not(
        Level::Warn,
        subject,
        message,
        "kubectl shop restart NAME brings the new one; so does the next revision of each",
    )
}

fn sidecar_image(operator: &Deployment) -> Option<String> {
    let pod = operator.spec.as_ref()?.template.spec.as_ref()?;
    let variables = pod.containers.iter().flat_map(|container| container.env.iter().flatten());
    variables.into_iter().find(|one| one.name == SIDECAR_IMAGE)?.value.clone()
}

fn runs(pod: &Pod) -> Option<String> {
    let containers = pod.spec.as_ref()?.init_containers.as_ref()?;
    containers.iter().find(|one| one.name == names::SIDECAR_CONTAINER)?.image.clone()
}

/// Faults that sidecars inject because somebody wants it: what else goes wrong may be that.
pub fn faults(found: &[ShopService]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in found {
        let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
        let Some(status) = &service.status else { continue };
        for (fault, message) in status.faults.iter().zip(report::faults(status)) {
            let remedy =
                format!("if it is not wanted: kubectl delete faultpolicy {} -n {namespace}", fault.policy);
            findings.push(Finding::not(
                Level::Warn,
                format!("faults in {namespace}/{name}"),
                message,
                remedy,
            ));
        }
    }
    findings
}

/// Services that do not go on by themselves.
pub fn services(found: &[ShopService]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in found {
        let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
        let now = verdict::current(service);
        let stuck = now.state.shown() != Exit::Done || is_wrong(service);
        if stuck {
            let remedy = service
                .status
                .as_ref()
                .and_then(|status| status.blocked.as_ref()?.command.clone())
                .unwrap_or_else(|| format!("kubectl shop why {name} -n {namespace}"));
            findings.push(Finding::not(
                Level::Warn,
                format!("service {namespace}/{name}"),
                now.message,
                remedy,
            ));
        }
    }
    if findings.is_empty() {
        let message = format!("{} ShopServices, none is blocked", found.len());
        findings.push(Finding::ok("services", message));
    }
    findings
}

/// What a service depends on and has not called.
pub fn calls(name: &str, silent: Vec<String>) -> Vec<Finding> {
    warnings(&format!("calls of {name}"), silent)
}

/// What keeps TLS between sidecars from being in force.
pub fn tls(name: &str, waits: Vec<String>) -> Vec<Finding> {
    warnings(&format!("TLS of {name}"), waits)
}

/// Sentences with what to do behind their semicolon.
fn warnings(subject: &str, sentences: Vec<String>) -> Vec<Finding> {
    let finding = |sentence: String| {
        let (message, remedy) =
            sentence.split_once("; ").unwrap_or((&sentence, "look at its container's log"));
        Finding::not(Level::Warn, subject, message, remedy)
    };
    sentences.into_iter().map(finding).collect()
}

/// Whether something must be put right before it goes on.
fn is_wrong(service: &ShopService) -> bool {
    use shop_crds::Reason;
    let blocked = service.status.as_ref().and_then(|status| status.blocked.as_ref());
    blocked.is_some_and(|blocked| {
        matches!(
            blocked.reason,
            Reason::NameTaken
                | Reason::ConfigMissing
                | Reason::ConfigTooLarge
                | Reason::ObjectRefused
                | Reason::ImageChanged
                | Reason::StateUnknown
                | Reason::InvalidSpec
                | Reason::SidecarUnreachable
        )
    })
}
