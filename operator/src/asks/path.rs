//! `$.checks[0].ratio`: the part of `JSONPath` that names one value.

use serde_json::Value;

/// The value that a path names: `$`, then `.name`, `['name']` or `[number]` any number of times.
pub(super) fn find<'a>(value: &'a Value, path: &str) -> Result<&'a Value, String> {
    let wrong = || format!("jsonPath {path} cannot be read; write it as in $.checks[0].ratio");
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    let mut found = value;
    while !rest.is_empty() {
        let (step, next) = if let Some(after) = rest.strip_prefix("['") {
            after.split_once("']").map(|(name, next)| (found.get(name), next)).ok_or_else(wrong)?
        } else if let Some(after) = rest.strip_prefix('[') {
            let (number, next) = after.split_once(']').ok_or_else(wrong)?;
            (found.get(number.parse::<usize>().map_err(|_| wrong())?), next)
        } else {
            let after = rest.strip_prefix('.').ok_or_else(wrong)?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            if name.is_empty() {
                return Err(wrong());
            }
            (found.get(name), next)
        };
        found = step.ok_or_else(|| format!("the answer has nothing at {path}"))?;
        rest = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_one_value() {
        let value = serde_json::json!({ "checks": [{ "ratio": 0.5 }, { "a b": "yes" }], "ok": true });
        for (path, expected) in [
            ("$.checks[0].ratio", Some("0.5")),
            ("$.checks[1]['a b']", Some("\"yes\"")),
            ("$.ok", Some("true")),
            ("$['ok']", Some("true")),
            ("$.checks[2]", None),
            ("$.checks.ratio", None),
            ("ok", None),
            ("$..ok", None),
            ("$.checks[x]", None),
            ("$.checks[0", None),
        ] {
            let found = find(&value, path).ok().map(Value::to_string);
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
