//! Checking manifests against the schemas of the running API server, our own kinds included.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{program, setup};

/// Checks objects, YAML or JSON, strictly: unknown fields and kinds without a schema are errors.
pub async fn kubeconform(cluster: &Cluster, client: &Client, objects: &str) -> Result<()> {
    let folder = tempfile::tempdir_in(cluster.state()).context("make a folder for schemas")?;
    dump_schemas(client, folder.path()).await?;
    let mut command = Command::new(setup::bin().join("kubeconform"));
    let location = folder.path().join("{{.ResourceKind}}{{.KindSuffix}}.json");
    command.args(["-strict", "-summary", "-schema-location"]).arg(location).arg("-");
    let objects = objects.to_owned();
    let checked = tokio::task::spawn_blocking(move || program::run_with_input(&mut command, &objects));
    checked.await.context("the check panicked")?.map(drop)
}

/// Writes a schema per kind, named as kubeconform looks for it: `deployment-apps-v1.json`.
async fn dump_schemas(client: &Client, folder: &Path) -> Result<()> {
    let index = get(client, "/openapi/v3").await?;
    let Some(paths) = index.get("paths").and_then(Value::as_object) else {
        bail!("/openapi/v3 lists no paths")
    };
    for (path, entry) in paths {
        if !(path.starts_with("api/") || path.starts_with("apis/")) {
            continue;
        }
        let Some(url) = entry.get("serverRelativeURL").and_then(Value::as_str) else { continue };
        let document = get(client, url).await?;
        let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
        for (file, name) in kinds(&schemas) {
            let schema =
                json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": schemas}});
            let path: PathBuf = folder.join(file);
            fs::write(&path, serde_json::to_vec(&strict(schema))?)
                .with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

async fn get(client: &Client, path: &str) -> Result<Value> {
    let request = http::Request::get(path).body(Vec::new()).with_context(|| format!("ask for {path}"))?;
    client.request(request).await.with_context(|| format!("read {path}"))
}

/// The schemas that are objects of their own, with their file names.
fn kinds(schemas: &Value) -> Vec<(String, String)> {
    let mut kinds = Vec::new();
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        let of = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        for kind in of.into_iter().flatten() {
            let field = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
            let group = field("group").split('.').next().unwrap_or_default();
            let parts: Vec<&str> = [field("kind"), group, field("version")]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            kinds.push((format!("{}.json", parts.join("-").to_lowercase()), name.clone()));
        }
    }
    kinds
}

/// An object whose fields are listed has no others: what the API server would prune is an error here.
fn strict(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                *value = strict(value.take());
            }
            let open = fields.contains_key("additionalProperties")
                || fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            // A field may itself be called `properties`: only where it holds schemas is it a list of fields.
            let lists_fields = fields.get("type").is_some_and(|kind| kind == "object")
                && fields.get("properties").is_some_and(Value::is_object);
            if lists_fields && !open {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = strict(value.take());
            }
        }
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_they_are_looked_for() {
        let of = |group: &str, kind: &str| {
            json!({"x-kubernetes-group-version-kind": [
                {"group": group, "version": "v1", "kind": kind},
            ]})
        };
        let schemas = json!({"a": of("", "Pod"), "b": of("rbac.authorization.k8s.io", "Role"), "c": {}});
        let files: Vec<_> = kinds(&schemas).into_iter().map(|(file, _)| file).collect();
        assert_eq!(files, ["pod-v1.json", "role-rbac-v1.json"]);
    }

    #[test]
    fn only_closed_objects_refuse_other_fields() {
        let closed = strict(json!({"type": "object", "properties": {"a": {"type": "object"}}}));
        assert_eq!(closed["additionalProperties"], false);
        assert_eq!(closed["properties"]["a"].get("additionalProperties"), None);
        let open = json!({"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": true});
        assert_eq!(strict(open.clone()), open);
    }
}
