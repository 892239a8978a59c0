//! One `OpenAPI` document of those of all services.

use serde_json::{Map, Value, json};

/// Most paths of the whole.
const MOST_PATHS: usize = 500;

/// The documents of services by name (absent: it did not tell one) as one: paths begin with `/api/v1`, schemas with the service's
/// name, and `x-missing` names those without.
pub fn merge(version: &str, documents: &[(&str, Option<Value>)]) -> Value {
    let (mut paths, mut schemas, mut tags, mut missing) = (Map::new(), Map::new(), Vec::new(), Vec::new());
    for (name, document) in documents {
        let Some(document) = document else {
            missing.push(json!(name));
            continue;
        };
        tags.push(json!({"name": name, "description": document.pointer("/info/title")}));
        let mut document = document.clone();
        rename(&mut document, name);
        if let Some(Value::Object(own)) = document.get_mut("paths").map(Value::take) {
            let room = MOST_PATHS.saturating_sub(paths.len());
            for (path, mut item) in own.into_iter().take(room) {
                tag(&mut item, name);
                paths.insert(format!("/api/v1{path}"), item);
            }
        }
        if let Some(Value::Object(own)) = document.pointer_mut("/components/schemas").map(Value::take) {
            schemas.extend(own.into_iter().map(|(key, schema)| (format!("{name}.{key}"), schema)));
        }
    }
    let bearer = json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "The shop", "version": version},
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": bearer}},
        "x-missing": missing,
    })
}

/// References to schemas begin with the service's name, so that two services may have one of the same name.
fn rename(value: &mut Value, name: &str) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "$ref" => {
                        *text =
                            text.replace("#/components/schemas/", &format!("#/components/schemas/{name}."));
                    }
                    _ => rename(value, name),
                }
            }
        }
        Value::Array(array) => array.iter_mut().for_each(|value| rename(value, name)),
        _ => {}
    }
}

fn tag(item: &mut Value, name: &str) {
    let operations = item.as_object_mut().into_iter().flat_map(|item| item.values_mut());
    for operation in operations.filter_map(Value::as_object_mut) {
        operation.insert("tags".to_owned(), json!([name]));
    }
}
