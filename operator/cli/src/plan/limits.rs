//! Whether quotas and budgets leave room for a release.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{core::v1::ResourceQuota, policy::v1::PodDisruptionBudget};
use kube::ResourceExt as _;
use shop_crds::{
    Amount, ShopServiceSpec,
    names::{LABEL_REVISION, LABEL_SERVICE},
    service::Resources,
};

use crate::doctor::{Finding, Level};

/// What a quota may limit, in the two ways in which it may be written.
const LIMITED: [(&str, &str); 5] = [
    ("pods", "count/pods"),
    ("requests.cpu", "cpu"),
    ("requests.memory", "memory"),
    ("limits.cpu", "limits.cpu"),
    ("limits.memory", "limits.memory"),
];

/// What the peak needs beyond what is there, in thousandths.
pub(super) type Needs = BTreeMap<&'static str, f64>;

/// What the worst moment needs more than the first one. Revisions in `old` are of the spec before.
pub(super) fn growth(
    sizes: &[BTreeMap<i64, i32>],
    old: &BTreeSet<i64>,
    before: &ShopServiceSpec,
    after: &ShopServiceSpec,
    exists: bool,
) -> Needs {
    let (before, after) = (pod(before), pod(after));
    let at = |size: &BTreeMap<i64, i32>| -> Needs {
        let mut sum = Needs::new();
        for (revision, count) in size {
            for (what, amount) in if old.contains(revision) { &before } else { &after } {
                *sum.entry(what).or_default() += amount * f64::from(*count);
            }
        }
        sum
    };
    let first = if exists { sizes.first().map(at).unwrap_or_default() } else { Needs::new() };
    let mut growth = Needs::new();
    for size in sizes {
        for (what, amount) in at(size) {
            let more = amount - first.get(what).copied().unwrap_or(0.0);
            let most = growth.entry(what).or_default();
            *most = most.max(more);
        }
    }
    growth
}

/// What one pod needs, in thousandths.
fn pod(spec: &ShopServiceSpec) -> Needs {
    let app = spec.resources.clone().unwrap_or_default();
    let sidecar = spec.sidecar.as_ref().and_then(|sidecar| sidecar.resources.clone()).unwrap_or_default();
    let mut needs = Needs::from([("pods", 1000.0)]);
    let mut add = |what, amount: Option<f64>| {
        *needs.entry(what).or_default() += amount.unwrap_or(0.0);
    };
    // Where only a limit is set, Kubernetes takes it for the request.
    let request =
        |of: &Resources, what: &str| of.requests.get(what).or_else(|| of.limits.get(what)).and_then(amount);
    add("requests.cpu", request(&app, "cpu"));
    add("requests.memory", request(&app, "memory"));
    add("limits.cpu", app.limits.get("cpu").and_then(amount));
    add("limits.memory", app.limits.get("memory").and_then(amount));
    add("requests.cpu", request(&sidecar, "cpu").or_else(|| milli("25m")));
    add("requests.memory", request(&sidecar, "memory").or_else(|| milli("24Mi")));
    add("limits.cpu", sidecar.limits.get("cpu").and_then(amount));
    add("limits.memory", sidecar.limits.get("memory").and_then(amount).or_else(|| milli("64Mi")));
    needs
}

fn amount(amount: &Amount) -> Option<f64> {
    milli(&amount.0)
}

/// A quantity of Kubernetes in thousandths.
fn milli(text: &str) -> Option<f64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "Ki" => 1_024e3,
        "Mi" => 1_048_576e3,
        "Gi" => 1_073_741_824e3,
        "Ti" => 1_099_511_627_776e3,
        exponent => 1e3 * 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Each limit of each quota that counts for the pods.
pub(super) fn quotas(quotas: &[ResourceQuota], growth: &Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    for quota in quotas {
        let spec = quota.spec.clone().unwrap_or_default();
        // With scopes it is for other pods, or for some.
        if spec.scopes.is_some() || spec.scope_selector.is_some() {
            continue;
        }
        let used = quota.status.as_ref().and_then(|status| status.used.clone()).unwrap_or_default();
        let hard = spec.hard.unwrap_or_default();
        for (what, other) in LIMITED {
            let Some((key, limit)) = [what, other].into_iter().find_map(|key| Some((key, hard.get(key)?)))
            else {
                continue;
            };
            let more = growth.get(what).copied().unwrap_or(0.0);
            let taken = used.get(key).map_or("0", |used| used.0.as_str());
            let (Some(limit_milli), Some(used_milli)) = (milli(&limit.0), milli(taken)) else { continue };
            let subject = format!("quota {}", quota.name_any());
            let message =
                format!("{key}: {taken} of {} used, {} more at the peak", limit.0, shown(what, more));
            findings.push(if used_milli + more <= limit_milli + 0.5 {
                Finding::ok(subject, message)
            } else {
                let missing = shown(what, used_milli + more - limit_milli);
                let remedy = format!(
                    "raise the quota by {missing}, or release with fewer replicas or smaller requests"
                );
                Finding::not(Level::Fail, subject, message, remedy)
            });
        }
    }
    findings
}

/// An amount as people write it.
fn shown(what: &str, amount: f64) -> String {
    let units = (amount / 1e3).ceil();
    if what.ends_with("memory") {
        return format!("{}Mi", (units / 1_048_576.0).ceil());
    }
    let whole = (amount % 1e3).abs() < 0.5;
    if what == "pods" || whole { format!("{units}") } else { format!("{}m", amount.ceil()) }
}

/// Budgets of somebody else that are for the pods too, and budgets that cannot protect.
pub(super) fn budgets(found: &[PodDisruptionBudget], service: &str, replicas: i32) -> Vec<Finding> {
    let mut findings = Vec::new();
    for budget in found {
        let owned = budget.owner_references().iter().any(|owner| owner.kind == "ShopService");
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let labels = selector.match_labels.unwrap_or_default();
        let fits = |name: &str, value: &str| match name {
            LABEL_SERVICE => value == service,
            LABEL_REVISION => true,
            _ => false,
        };
        let selects =
            labels.iter().all(|(name, value)| fits(name, value)) && selector.match_expressions.is_none();
        if !owned && selects {
            let name = budget.name_any();
            let message = "it selects the pods of this service, which have a budget each: a pod with two cannot be evicted";
            let remedy = format!("kubectl delete poddisruptionbudget {name}, or give it another selector");
            findings.push(Finding::not(Level::Fail, format!("budget {name}"), message, remedy));
        }
    }
    if replicas == 1 {
        let message = "with one replica, an eviction leaves users without a pod until the next one is ready";
        findings.push(Finding::not(Level::Warn, "budget", message, "set spec.replicas to 2 or more"));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok("budget", "every revision gets its own, and no other one selects its pods"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", 1e3),
            ("300m", 300.0),
            ("2Gi", 2_147_483_648e3),
            ("1500M", 1.5e12),
            ("1e3", 1e6),
            ("0.5", 500.0),
        ] {
            assert_eq!(milli(text).map(f64::round), Some(expected), "{text}");
        }
        assert_eq!(milli("many"), None);
        assert_eq!(shown("requests.cpu", 1500.0), "1500m");
        assert_eq!(shown("requests.memory", 1_048_576e3 * 24.0), "24Mi");
        assert_eq!(shown("pods", 3000.0), "3");
    }
}
