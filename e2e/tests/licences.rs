//! Every dependency may be used under terms that this repository accepts.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shop_e2e::{images, program};

/// Licences whose terms are met by naming them. Whatever asks for more is not in this list.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_has_an_allowed_licence() -> Result<()> {
    let mut command = images::cargo();
    let metadata = program::run(command.args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo lists packages")?;
    ensure!(packages.len() > 100, "cargo lists {} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .map(|package| (text(&package["name"]), text(&package["license"])))
        .filter(|(_, licence)| !allowed(licence))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    ensure!(refused.is_empty(), "not in the list of allowed licences: {refused:#?}");
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Evaluates an SPDX expression: of an `OR` one side, of an `AND` both must be allowed. `AND` binds tighter. A slash is
/// an old way to write `OR`.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let tokens: Vec<&str> = expression.split_whitespace().collect();
    // Parentheses stand at names' edges: each choice in parentheses is replaced by its own value first.
    let text = tokens.join(" ");
    if let Some(open) = text.rfind('(')
        && let Some(close) = text[open..].find(')')
    {
        let inner = allowed(&text[open + 1..open + close]);
        let value = if inner { "MIT" } else { "refused" };
        return allowed(&format!("{}{value}{}", &text[..open], &text[open + close + 1..]));
    }
    text.split(" OR ").any(|choice| choice.split(" AND ").all(|name| ALLOWED.contains(&name.trim())))
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for good in [
        "MIT",
        "GPL-2.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "ISC AND (Apache-2.0 OR ISC)",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT"] {
        assert!(!allowed(bad), "{bad}");
    }
}
