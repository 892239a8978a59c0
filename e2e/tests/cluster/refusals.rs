//! What cannot work is refused when it is applied, with the field's path and a sentence that says what to write; what can is
//! accepted without a warning, and every field is explained.

#![allow(clippy::indexing_slicing, reason = "a field that JSON does not have is null")]

use std::{fs, process::Output};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use shop_e2e::{
    harness::{Session, test},
    workspace,
};

const EXAMPLES: &str = "crds/examples";

/// An example of the API, as JSON.
fn example(file: &str) -> Result<Value> {
    let path = workspace::root().join(EXAMPLES).join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Runs kubectl with objects in a file, whatever comes of it. The harness' own `apply` cuts long errors.
async fn kubectl_file(session: &Session, arguments: &[&str], objects: &[Value]) -> Result<Output> {
    // One document each: of a `List` kubectl takes none when it doubts one.
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    let file = tempfile::NamedTempFile::new().context("make a file")?;
    fs::write(file.path(), documents.join("\n---\n")).context("write the objects")?;
    let mut command = session.kubectl_command();
    command.args(arguments).arg("--filename").arg(file.path());
    session
        .blocking(move |_| {
            let output = command.output().context("start kubectl");
            drop(file);
            output
        })
        .await
}

/// The answers of the API server, one for each object; of several lines those after the first are starred.
fn answers(stderr: &str) -> Vec<String> {
    let mut answers: Vec<String> = Vec::new();
    for line in stderr.lines() {
        match answers.last_mut() {
            Some(answer) if !line.starts_with("The ") && !line.starts_with("Error from server") => {
                answer.push('\n');
                answer.push_str(line);
            }
            _ => answers.push(line.to_owned()),
        }
    }
    answers
}

/// The cases of the table as objects, each under a name of its own unless the name is what is wrong.
fn refused_objects() -> Result<Vec<(String, Value, Value)>> {
    let bases = [
        ("ShopService", example("smallest.yaml")?),
        ("ReleaseDecision", example("decision.yaml")?),
        ("ShopPolicy", example("policy.yaml")?),
        ("FaultPolicy", example("fault.yaml")?),
    ];
    let table = example("refused.yaml")?;
    let mut objects = Vec::new();
    for (number, case) in table.as_array().context("the table is a list")?.iter().enumerate() {
        let (_, base) = bases
            .iter()
            .find(|(kind, _)| case["kind"] == *kind)
            .with_context(|| format!("the kind of {case}"))?;
        let mut object = base.clone();
        object["metadata"]["name"] = json!(format!("case-{number}"));
        merge(&mut object, &case["patch"]);
        let name = object["metadata"]["name"].as_str().context("it has a name")?.to_owned();
        objects.push((name, object, case.clone()));
    }
    Ok(objects)
}

#[test]
fn what_cannot_work_is_refused_with_words() {
    test("what_cannot_work_is_refused_with_words", async |session| {
        let cases = refused_objects()?;
        let objects: Vec<Value> = cases.iter().map(|(_, object, _)| object.clone()).collect();
        let output = kubectl_file(session, &["apply"], &objects).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let answers = answers(&stderr);
        let mut wrong = Vec::new();
        for (name, _, case) in &cases {
            let about = format!("\"{name}\" is invalid: ");
            let answer =
                answers.iter().find(|answer| answer.contains(&about)).map_or("no answer", String::as_str);
            let (field, says) = (case["field"].as_str().unwrap_or("?"), case["says"].as_str().unwrap_or("?"));
            if !(answer.contains(&format!("{field}: ")) && answer.contains(says)) {
                wrong.push(format!("{case}: {answer}"));
            }
        }
        ensure!(wrong.is_empty(), "not refused at their fields with their words:\n{}", wrong.join("\n"));
        let accepted = String::from_utf8_lossy(&output.stdout);
        ensure!(accepted.trim().is_empty(), "accepted: {accepted}");
        Ok(())
    });
}

#[test]
fn a_field_that_does_not_exist_is_refused_with_its_path() {
    test("a_field_that_does_not_exist_is_refused_with_its_path", async |session| {
        let mut object = example("smallest.yaml")?;
        merge(&mut object, &json!({"spec": {"release": {"keepold": "5s"}}}));
        let Err(error) = session.apply(&object.to_string()).await else { bail!("it was accepted") };
        let text = format!("{error:#}");
        ensure!(text.contains("unknown field \"spec.release.keepold\""), "{text}");
        Ok(())
    });
}

#[test]
fn a_decision_stays_as_it_was_made() {
    test("a_decision_stays_as_it_was_made", async |session| {
        let mut decision = example("decision.yaml")?;
        decision["spec"]["actor"] = json!(whoami(session).await?);
        session.apply(&decision.to_string()).await?;
        decision["spec"]["revision"] = json!(8);
        let Err(error) = session.apply(&decision.to_string()).await else { bail!("it was changed") };
        let text = format!("{error:#}");
        ensure!(text.contains("spec: Invalid value") && text.contains("create another one"), "{text}");
        Ok(())
    });
}

async fn whoami(session: &Session) -> Result<String> {
    session.kubectl(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).await
}

#[test]
fn what_is_shown_is_accepted_without_a_warning() {
    test("what_is_shown_is_accepted_without_a_warning", async |session| {
        let mut decision = example("decision.yaml")?;
        decision["spec"]["actor"] = json!(whoami(session).await?);
        let mut objects = vec![decision];
        for (file, name) in
            [("smallest.yaml", "smallest"), ("full.yaml", "full"), ("policy.yaml", "calendar")]
        {
            let mut object = example(file)?;
            object["metadata"] = json!({"name": name});
            objects.push(object);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        session.kubeconform(&list.to_string()).await.context("the examples are valid by their schema")?;
        quiet(&kubectl_file(session, &["apply", "--dry-run=server"], &objects).await?)?;

        let definitions = shop_crds::definitions();
        let manner =
            ["apply", "--server-side", "--force-conflicts", "--field-manager=test", "--dry-run=server"];
        quiet(&kubectl_file(session, &manner, &definitions).await?)?;
        for plural in ["shopservices", "releasedecisions", "shoppolicies", "faultpolicies"] {
            let name = format!("{plural}.shopkeeper.dev");
            let conditions = session
                .kubectl(&["get", "crd", &name, "--output=jsonpath={.status.conditions[*].type}"])
                .await?;
            ensure!(!conditions.contains("NonStructuralSchema"), "{name}: {conditions}");
        }
        Ok(())
    });
}

/// It succeeded, and said nothing beside.
fn quiet(output: &Output) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && stderr.trim().is_empty(), "{}: {stderr}", output.status);
    Ok(())
}

#[test]
fn every_field_is_explained() {
    test("every_field_is_explained", async |session| {
        let document = session.kubectl(&["get", "--raw", "/openapi/v3/apis/shopkeeper.dev/v1alpha1"]).await?;
        let document: Value = serde_json::from_str(&document).context("parse the API server's schemas")?;
        for kind in ["ShopService", "ReleaseDecision", "ShopPolicy", "FaultPolicy"] {
            let pointer = format!("/components/schemas/dev.shopkeeper.v1alpha1.{kind}");
            let schema = document.pointer(&pointer).with_context(|| format!("{kind} has a schema"))?;
            let mut silent = Vec::new();
            unexplained(kind, schema, &mut silent);
            ensure!(silent.is_empty(), "without a description: {silent:?}");
        }
        let explained = session.kubectl(&["explain", "shopservice.spec.release.drain.max"]).await?;
        ensure!(explained.contains("Longest wait for requests and connections"), "{explained}");
        Ok(())
    });
}

fn unexplained(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        unexplained(&path, field, found);
        unexplained(&path, &field["items"], found);
        unexplained(&path, &field["additionalProperties"], found);
    }
}

#[test]
fn two_lines_get_defaults_columns_and_a_scale() {
    test("two_lines_get_defaults_columns_and_a_scale", async |session| {
        let mut object = example("smallest.yaml")?;
        object["spec"]["image"] = json!(session.images().shopd[0]);
        session.apply(&object.to_string()).await?;
        let spec = session.kubectl(&["get", "shop", "order", "--output=jsonpath={.spec}"]).await?;
        let spec: Value = serde_json::from_str(&spec).context("parse the spec")?;
        ensure!(spec["replicas"] == 1 && spec["protocol"] == "http", "the API server wrote {spec}");

        let table = session.kubectl(&["get", "shop"]).await?;
        let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
        let wanted = ["NAME", "READY", "ACTIVE", "CANDIDATE", "PHASE", "MESSAGE", "AGE"];
        ensure!(head == wanted, "{head:?}");
        session.kubectl(&["scale", "shopservice", "order", "--replicas=2"]).await?;
        let replicas =
            session.kubectl(&["get", "shop", "order", "--output=jsonpath={.spec.replicas}"]).await?;
        ensure!(replicas == "2", "scaled to {replicas}");
        Ok(())
    });
}
