//! Ways through a schema: by the path of a field, and over everything below a level.

use serde_json::{Map, Value};

/// The level of a field: `spec.config[].mountPath`; `[]` is an item of a list, `{}` a value of a map, an empty path the root.
pub(super) fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(schema, |level, part| {
        let name = part.trim_end_matches("[]").trim_end_matches("{}");
        let field = level.get_mut("properties")?.get_mut(name)?;
        match part.get(name.len()..)? {
            "[]" => field.get_mut("items"),
            "{}" => field.get_mut("additionalProperties"),
            _ => Some(field),
        }
    })
}

/// Calls `visit` with each schema directly below this one.
pub(super) fn below(level: &mut Map<String, Value>, visit: fn(&mut Value)) {
    if let Some(fields) = level.get_mut("properties").and_then(Value::as_object_mut) {
        fields.values_mut().for_each(visit);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = level.get_mut(inner) {
            visit(inner);
        }
    }
}
