//! Analyses, hooks, Jobs, freeze windows and overlays by chance.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shop_crds::{ShopPolicySpec, service::release::analysis::Analysis};
use shop_release::{FaultPolicy, Policy};

use crate::{
    faults::Fault,
    world::{Dice, World},
};

/// Somebody changes what a release must pass.
pub(crate) fn change(world: &mut World, dice: &mut Dice, fault: Fault) {
    match fault {
        Fault::AnalysisPolicy => {
            let analysis = (!dice.one_in(4)).then(|| analysis(dice));
            world.release(|release| release.analysis = analysis);
        }
        Fault::ConfirmPolicy => {
            let hook = json!({"url": "http://hook.example/may", "interval": "5s", "timeout": "3s"});
            let confirm = dice.one_in(2).then(|| serde_json::from_value(hook).unwrap());
            world.release(|release| release.confirm = confirm);
        }
        Fault::JobsPolicy => {
            let jobs = [
                None,
                Some(json!({"expand": {}})),
                Some(json!({"contract": {}})),
                Some(json!({"expand": {}, "contract": {}})),
            ];
            let jobs = jobs[dice.below(4)].clone().map(|jobs| serde_json::from_value(jobs).unwrap());
            world.release(|release| release.jobs = jobs);
        }
        Fault::Freeze => {
            let gone = dice.one_in(3);
            world.observed.policies = if gone { Vec::new() } else { vec![policy(dice, world.now)] };
            world.observed.faults = if gone { Vec::new() } else { vec![drill(world.now)] };
        }
        Fault::Overlay => {
            let pod = json!({"spec": {"nodeSelector": {"disk": format!("kind-{}", dice.roll(2))}}});
            let pod = dice.one_in(2).then(|| serde_json::from_value(pod).unwrap());
            world.against = dice.one_in(3).then(|| "unknown field".to_owned());
            world.apply(|spec| spec.pod = pod);
        }
        _ => {}
    }
}

/// With short times, and at least one thing to look at.
fn analysis(dice: &mut Dice) -> Analysis {
    let mut value = json!({"duration": "3s", "timeout": "20s", "minRequests": 50});
    let mut checks = Vec::new();
    let checked = |name: &str, asked: Value, dice: &mut Dice| {
        let mut check = json!({"name": name, "interval": "2s", "failures": dice.roll(2)});
        check[name] = asked;
        check
    };
    if dice.one_in(3) {
        let asked = [
            json!({"url": "http://hook.example/"}),
            json!({"url": "http://hook.example/", "jsonPath": "$.x", "max": 0.1}),
            json!({"url": "http://hook.example/", "jsonPath": "$.x", "equals": "ok"}),
        ];
        checks.push(checked("webhook", asked[dice.below(3)].clone(), dice));
    }
    if dice.one_in(3) {
        let asked = json!({"address": "http://prometheus:9090", "query": "up", "max": 0.1});
        checks.push(checked("prometheus", asked, dice));
    }
    if dice.one_in(3) {
        checks.push(checked("job", json!({"image": "smoke:1"}), dice));
    }
    let asks = !checks.is_empty();
    if asks {
        value["checks"] = Value::Array(checks);
    }
    if !asks || dice.one_in(2) {
        let bounds = [
            ("successRate", json!({"min": "99%"})),
            ("successRate", json!({"maxDrop": "1%"})),
            ("latencyP99", json!({"max": "300ms"})),
            ("latencyP99", json!({"maxIncrease": "50%"})),
        ];
        let (name, bound) = bounds[dice.below(4)].clone();
        value[name] = bound;
    }
    let when = [json!(["verifying", "watching"]), json!(["verifying"]), json!(["watching"])];
    if dice.one_in(2) {
        value["when"] = when[dice.below(3)].clone();
    }
    if dice.one_in(3) {
        value["onNoData"] = ["hold", "pass", "abort"][dice.below(3)].into();
    }
    value["dryRun"] = dice.one_in(6).into();
    value["background"] = dice.one_in(2).into();
    serde_json::from_value(value).unwrap()
}

/// A freeze about now: most end by themselves.
fn policy(dice: &mut Dice, now: Timestamp) -> Policy {
    let name = "calendar".to_owned();
    if dice.one_in(12) {
        return Policy { name, spec: Err("freeze[0].duration: not a duration".into()) };
    }
    let start = now + SignedDuration::from_secs(i64::try_from(dice.roll(120)).unwrap() - 60);
    let start = start.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut window = json!({"name": "sale", "start": start, "duration": format!("{}s", 60 + dice.roll(60))});
    match dice.roll(8) {
        0 => window["timeZone"] = "Mars/Base".into(),
        1 => window["allow"] = true.into(),
        2 => window["rrule"] = "FREQ=DAILY".into(),
        3 => window["services"] = json!(["cart"]),
        _ => {}
    }
    let spec: ShopPolicySpec = serde_json::from_value(json!({"freeze": [window]})).unwrap();
    Policy { name, spec: Ok(spec) }
}

/// A fault in one of the two revisions, which ends by itself.
fn drill(now: Timestamp) -> FaultPolicy {
    let spec = json!({"services": ["order"], "share": "5%", "drop": true, "duration": "20s", "match": {"colour": "green"}});
    FaultPolicy { name: "drill".into(), created: now, spec: Ok(serde_json::from_value(spec).unwrap()) }
}

/// Only windows that end by themselves are left, and what runs for ever ends: nothing can rest while it goes on.
pub(crate) fn calm(world: &mut World) {
    world.observed.faults.clear();
    world.observed.policies.retain(|policy| {
        let windows = policy.spec.as_ref().map(|spec| spec.freeze.as_slice());
        windows.is_ok_and(|windows| {
            windows.iter().all(|one| one.rrule.is_none() && !one.allow && one.time_zone == "UTC")
        })
    });
    if world.subject.release().analysis.is_some_and(|analysis| analysis.background) {
        let background = |analysis: &mut Analysis| analysis.background = false;
        world.release(|release| {
            release.analysis.as_mut().map(background);
        });
    }
    if world.against.take().is_some() {
        world.apply(|_| {});
    }
}
