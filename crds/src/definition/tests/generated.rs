//! The YAML in `yaml/` and in the chart is what the types say. `UPDATE_GENERATED=1 cargo test -p shop-crds` writes it anew.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::definitions;

#[test]
fn yaml_is_what_the_types_say() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chart = crate_folder.join("../charts/shopkeeper/templates/crds");
    for mut definition in definitions() {
        let name = definition["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let plain = serde_yaml::to_string(&definition).unwrap();
        assert_eq!(
            serde_yaml::from_str::<Value>(&plain).unwrap(),
            definition,
            "a writer that folds lines must not change them"
        );
        same(
            &crate_folder.join(format!("yaml/{name}.yaml")),
            &format!("# Generated from crds/src.\n{plain}"),
        );

        definition["metadata"]["annotations"] = json!({ "helm.sh/resource-policy": "keep" });
        let kept = serde_yaml::to_string(&definition).unwrap();
        assert!(!kept.contains("{{"), "Helm would take it for a template");
        let template = format!(
            "{{{{- /* Generated from crds/src. */}}}}\n{{{{- if .Values.crds.install }}}}\n{kept}{{{{- end }}}}\n"
        );
        same(&chart.join(format!("{name}.yaml")), &template);
    }
}

fn same(file: &Path, wanted: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(file, wanted).unwrap();
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    assert!(found == wanted, "{} is old: run UPDATE_GENERATED=1 cargo test -p shop-crds", file.display());
}
