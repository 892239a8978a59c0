//! The container that serves: which one it is, and its fields as those of a ShopService.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};
use shop_crds::names::APP_CONTAINER;

use super::Draft;

/// Fields that a ShopService has under the same name.
const SAME: [&str; 6] = ["image", "command", "args", "env", "envFrom", "resources"];
/// Fields that say nothing when they have these values.
const IDLE: [(&str, &str); 3] = [
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("imagePullPolicy", "IfNotPresent"),
];

/// The container that listens on the port of the Service, and the number of that port.
pub(super) fn serving<'a>(containers: &'a [Value], target: Option<&IntOrString>) -> Option<(&'a Value, i64)> {
    let ports = |container: &'a Value| container["ports"].as_array().into_iter().flatten();
    let named = |container: &'a Value| {
        let mut ports = ports(container);
        let port = match target? {
            IntOrString::Int(number) => ports.find(|port| port["containerPort"] == *number)?,
            IntOrString::String(name) => ports.find(|port| port["name"] == *name)?,
        };
        Some((container, port["containerPort"].as_i64()?))
    };
    let alone = || match (containers, target?) {
        // A port need not be listed.
        ([only], IntOrString::Int(number)) => Some((only, i64::from(*number))),
        _ => None,
    };
    containers.iter().find_map(named).or_else(alone)
}

/// Takes the container's fields into the spec; what is left of it is laid over the app's container.
pub(super) fn carry(app: &Value, port: i64, spec: &mut Map<String, Value>, draft: &mut Draft) -> Value {
    let mut rest = app.as_object().cloned().unwrap_or_default();
    let name = rest.remove("name").unwrap_or_default();
    if name != APP_CONTAINER {
        draft
            .notes
            .push(format!("the container {name} is named {APP_CONTAINER:?} from the first release on"));
    }
    for field in SAME {
        let value = rest.remove(field);
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        if let Some(value) = value.filter(|value| !empty(value)) {
            spec.insert(field.to_owned(), value);
        }
    }
    let mut probes = Map::new();
    for (field, own) in
        [("readinessProbe", "readiness"), ("livenessProbe", "liveness"), ("startupProbe", "startup")]
    {
        let Some(found) = rest.remove(field) else { continue };
        match probe(&found, port, rest.get("ports")) {
            Ok(Some((probe, lost))) => {
                probes.insert(own.to_owned(), probe);
                draft.notes.extend(lost.into_iter().map(|lost| format!("{field}.{lost} is not kept")));
            }
            // The default asks the port as well.
            Ok(None) if own == "readiness" => {}
            Ok(None) => draft.problems.push(format!(
                "{field} asks the port alone, and spec.probes.{own} asks a path: give it an httpGet, or take it away"
            )),
            Err(why) => draft.problems.push(format!("{field} {why}")),
        }
    }
    if !probes.is_empty() {
        spec.insert("probes".into(), probes.into());
    }
    if rest.remove("lifecycle").is_some() {
        let note = "lifecycle is not kept: pods are drained by their sidecars, at most for release.drain.max";
        draft.notes.push(note.to_owned());
    }
    rest.retain(|field, value| {
        let idle = IDLE.iter().any(|(name, idle)| name == field && value == idle);
        let empty = value.as_object().is_some_and(Map::is_empty);
        !idle && !empty
    });
    // The port of the app is the ShopService's to say.
    if let Some(ports) = rest.get_mut("ports").and_then(Value::as_array_mut) {
        ports.retain(|one| one["containerPort"] != port);
    }
    rest.retain(|field, value| field != "ports" || value.as_array().is_some_and(|ports| !ports.is_empty()));
    rest.insert("name".into(), APP_CONTAINER.into());
    rest.into()
}

/// A probe of a ShopService, and what of the old one has no place in it; `None`: one that asks the port alone.
fn probe(
    found: &Value,
    port: i64,
    ports: Option<&Value>,
) -> Result<Option<(Value, Vec<&'static str>)>, String> {
    let is_app = |asked: &Value| {
        let mut listed = ports.and_then(Value::as_array).into_iter().flatten();
        *asked == port || listed.any(|one| one["name"] == *asked && one["containerPort"] == port)
    };
    if found.get("tcpSocket").is_some_and(|socket| is_app(&socket["port"])) {
        return Ok(None);
    }
    let Some(get) = found.get("httpGet") else {
        return Err(
            "is not an HTTP GET, which a ShopService's is: give it an httpGet, or take it away".to_owned()
        );
    };
    if !is_app(&get["port"]) {
        return Err(format!("asks another port than {port}, on which users are served: let it ask that one"));
    }
    let plain =
        get["scheme"].as_str().is_none_or(|scheme| scheme == "HTTP") && get.get("httpHeaders").is_none();
    if !plain || get.get("host").is_some() {
        return Err("has a scheme, a host or headers: let it be a plain GET".to_owned());
    }
    let number = |field: &str, without: i64| found[field].as_i64().unwrap_or(without);
    let made = json!({
        "path": get["path"].as_str().unwrap_or("/"),
        "period": format!("{}s", number("periodSeconds", 10)),
        "timeout": format!("{}s", number("timeoutSeconds", 1)),
        "failures": number("failureThreshold", 3),
    });
    let beyond = [("initialDelaySeconds", 0), ("successThreshold", 1), ("terminationGracePeriodSeconds", 5)];
    let lost =
        beyond.into_iter().filter(|(field, idle)| found[*field].as_i64().is_some_and(|value| value != *idle));
    Ok(Some((made, lost.map(|(field, _)| field).collect())))
}
