//! The `ShopService` that a scenario applies.

use serde_json::{Map, Value, json};

/// A product service: built by what differs from the smallest one.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    tag: u8,
    fields: Value,
    faults: Vec<String>,
}

impl Spec {
    /// The image of a tag; tags 1 to 4 are the same program under the versions `v1` to `v4`.
    pub fn image(tag: u8) -> String {
        format!("registry.local/shop/shopd:{tag}")
    }

    /// The version that answers of a tag name.
    pub fn version(tag: u8) -> String {
        format!("v{tag}")
    }

    /// That tag with three pods. A change is released as soon as it is seen, and pods are asked every second: what people wait
    /// for in a scenario is the release, not the defaults' patience.
    pub fn new(tag: u8) -> Self {
        let fields = json!({
            "port": 8080,
            "replicas": 3,
            "probes": {
                "readiness": {"path": "/readyz", "period": "1s"},
                "liveness": {"path": "/healthz", "period": "10s", "timeout": "5s"},
            },
            "release": {"settle": "200ms"},
        });
        Self { tag, fields, faults: Vec::new() }
    }

    /// The image and port alone: everything else is the default.
    pub fn smallest(tag: u8) -> Self {
        Self { tag, fields: json!({"port": 8080}), faults: Vec::new() }
    }

    /// Another tag of the image.
    #[must_use]
    pub fn tag(mut self, tag: u8) -> Self {
        self.tag = tag;
        self
    }

    /// So many pods.
    #[must_use]
    pub fn replicas(self, replicas: i32) -> Self {
        self.patch(json!({"replicas": replicas}))
    }

    /// A fault of the program, as `error-rate=0.5`.
    #[must_use]
    pub fn fault(mut self, fault: &str) -> Self {
        self.faults.push(fault.to_owned());
        self
    }

    /// A revision is cut after this long without a further change.
    #[must_use]
    pub fn settle(self, span: &str) -> Self {
        self.patch(json!({"release": {"settle": span}}))
    }

    /// How long the old revision stays warm.
    #[must_use]
    pub fn keep_old(self, span: &str) -> Self {
        self.patch(json!({"release": {"keepOld": span}}))
    }

    /// Longest drain of a pod that stops.
    #[must_use]
    pub fn drain(self, span: &str) -> Self {
        self.patch(json!({"release": {"drain": {"max": span}}}))
    }

    /// Longest wait for pods, acknowledgements and endpoints.
    #[must_use]
    pub fn progress_deadline(self, span: &str) -> Self {
        self.patch(json!({"release": {"progressDeadline": span}}))
    }

    /// Promoted by a decision only.
    #[must_use]
    pub fn manual(self) -> Self {
        self.patch(json!({"release": {"promote": "manual"}}))
    }

    /// Promoted by the operator.
    #[must_use]
    pub fn automatic(self) -> Self {
        self.patch(json!({"release": {"promote": "automatic"}}))
    }

    /// Any change of `spec`, as a merge patch (RFC 7386).
    #[must_use]
    pub fn patch(mut self, patch: Value) -> Self {
        merge(&mut self.fields, patch);
        self
    }

    /// The whole object.
    pub fn object(&self, namespace: &str, name: &str) -> Value {
        let mut spec = self.fields.clone();
        let mut own = json!({"image": Self::image(self.tag)});
        if !self.faults.is_empty() {
            let mut env = spec.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
            env.push(json!({"name": "SHOP_FAULT", "value": self.faults.join(",")}));
            merge(&mut own, json!({"env": env}));
        }
        merge(&mut spec, own);
        json!({
            "apiVersion": format!("{}/{}", shop_crds::GROUP, shop_crds::VERSION),
            "kind": "ShopService",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    }
}

/// Applies a merge patch (RFC 7386).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use shop_crds::ShopService;

    use super::*;

    #[test]
    fn builds_what_the_types_read() {
        let spec = Spec::new(2).manual().keep_old("4s").drain("5s").fault("not-ready").fault("latency=10ms");
        let object = spec.patch(json!({"env": [{"name": "A", "value": "b"}]})).object("shop", "product");
        let service: ShopService = serde_json::from_value(object).unwrap();
        assert_eq!(service.spec.image, "registry.local/shop/shopd:2");
        assert_eq!(service.spec.replicas, 3);
        let env: Vec<_> =
            service.spec.env.iter().map(|env| (env.name.as_str(), env.value.as_deref())).collect();
        assert_eq!(env, [("A", Some("b")), ("SHOP_FAULT", Some("not-ready,latency=10ms"))]);
        let release = service.spec.release.unwrap();
        assert_eq!(release.keep_old().duration().as_secs(), 4);
        assert_eq!(release.drain_max().duration().as_secs(), 5);
        assert_eq!(release.settle().duration().as_millis(), 200);
    }

    #[test]
    fn the_smallest_has_two_fields() {
        let object = Spec::smallest(1).object("shop", "product");
        assert_eq!(object.get("spec").unwrap().as_object().unwrap().len(), 2);
    }

    #[test]
    fn null_takes_a_field_away() {
        let object = Spec::new(1).patch(json!({"probes": null})).object("shop", "product");
        assert!(object.pointer("/spec/probes").is_none());
        assert_eq!(object.pointer("/spec/release/settle"), Some(&json!("200ms")));
    }
}
