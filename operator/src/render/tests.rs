//! What is rendered, by example.

use serde_json::from_value;
use shop_crds::{ShopServiceSpec, service::auth::MtlsMode, status::Colour};
use shop_release::{
    Fault, FaultEnd, HandOff, Inputs, Jwt, JwtKeys, Match, Mirror, Mtls, Observed, Role, ServiceKind,
    SidecarDocument, Source, SourceKind, SourceState, Sticky,
};

use super::*;

fn owner() -> Owner {
    Owner { namespace: "shop".into(), service: "order".into(), uid: "u-1".into(), epoch: 4 }
}

fn spec() -> ShopServiceSpec {
    from_value(json!({
        "image": "order:1",
        "port": 8080,
        "env": [
            { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "k" } } },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "SHOP_SERVICE", "value": "mine" },
        ],
        "envFrom": [{ "configMapRef": { "name": "settings" } }],
        "config": [{ "secret": "keys", "mountPath": "/etc/keys" }],
        "probes": {
            "readiness": { "path": "/readyz", "period": "2s", "timeout": "3s" },
            "liveness": { "path": "/healthz" },
        },
        "release": { "drain": { "max": "90s" } },
        "service": { "type": "NodePort", "annotations": { "dns": "order.example" } },
    }))
    .unwrap()
}

fn inputs() -> Inputs {
    let found = |kind, name: &str| Source {
        kind,
        name: name.into(),
        state: SourceState::Found { hash: "h".into(), bytes: 1 },
    };
    let sources = vec![found(SourceKind::ConfigMap, "settings"), found(SourceKind::Secret, "keys")];
    Inputs::resolve(&spec(), &Observed { sources, ..Observed::default() }).unwrap()
}

fn template() -> Value {
    let image = SidecarImage { image: "sidecar:1".into(), pull_policy: "IfNotPresent".into() };
    pod_template(&owner(), 7, &inputs(), &image)
}

#[test]
fn the_sidecar_comes_first_stays_and_may_do_nothing_else() {
    let template = template();
    let sidecar = &template["spec"]["initContainers"][0];
    assert_eq!(sidecar["name"], "shop-sidecar");
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["startupProbe"]["httpGet"], json!({ "path": "/livez", "port": 9442 }));
    assert_eq!(sidecar["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": 9442 }));
    assert_eq!(
        (&sidecar["readinessProbe"]["periodSeconds"], &sidecar["readinessProbe"]["timeoutSeconds"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(sidecar["securityContext"]["runAsNonRoot"], true);
    assert_eq!(sidecar["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(
        sidecar["resources"],
        json!({ "requests": { "cpu": "25m", "memory": "24Mi" }, "limits": { "memory": "64Mi" } })
    );
    assert_eq!(sidecar["lifecycle"]["preStop"]["exec"]["command"], json!(["/shop-sidecar", "drain"]));
    assert_eq!(template["spec"]["automountServiceAccountToken"], false);
}

#[test]
fn the_app_is_asked_directly_only_whether_it_lives() {
    let template = template();
    let app = &template["spec"]["containers"][0];
    assert_eq!(app["readinessProbe"], Value::Null);
    assert_eq!(app["livenessProbe"]["httpGet"], json!({ "path": "/healthz", "port": 8080 }));
    assert_eq!(app["livenessProbe"]["terminationGracePeriodSeconds"], 5);
    assert_eq!(app["lifecycle"]["preStop"]["httpGet"], json!({ "path": "/drain", "port": 9442 }));
    assert_eq!(app["resources"]["requests"]["cpu"], "10m");
    assert_eq!(template["spec"]["terminationGracePeriodSeconds"], 120);
}

#[test]
fn every_config_is_the_revisions_copy() {
    let template = template();
    let app = &template["spec"]["containers"][0];
    let variable =
        |name: &str| app["env"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap();
    assert_eq!(variable("KEY")["valueFrom"]["secretKeyRef"]["name"], "order-r7-keys");
    assert_eq!(variable("POD")["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    assert_eq!(variable("SHOP_SERVICE")["value"], "mine");
    assert_eq!(app["envFrom"][0]["configMapRef"]["name"], "order-r7-settings");
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "config-0").unwrap();
    assert_eq!(volume["secret"]["secretName"], "order-r7-keys");
    assert_eq!(
        app["volumeMounts"][0],
        json!({ "name": "config-0", "mountPath": "/etc/keys", "readOnly": true })
    );
}

#[test]
fn pods_carry_service_and_revision_only() {
    let labels = json!({ "shopkeeper.dev/service": "order", "shopkeeper.dev/revision": "7" });
    let template = template();
    assert_eq!(template["metadata"], json!({ "labels": labels }));
    let deployment = deployment(&owner(), 7, &template, 3, Role::Active, Colour::Green, false).value;
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(deployment["spec"]["template"], template);
    assert_eq!(deployment["metadata"]["annotations"]["shopkeeper.dev/role"], "active");
    assert_eq!(deployment["metadata"]["annotations"]["shopkeeper.dev/leader-epoch"], "4");
    assert_eq!(
        deployment["spec"]["strategy"]["rollingUpdate"],
        json!({ "maxUnavailable": 0, "maxSurge": 1 })
    );
}

#[test]
fn what_cannot_run_twice_is_not_rolled() {
    let rendered =
        |recreate| deployment(&owner(), 7, &template(), 1, Role::Active, Colour::Green, recreate).value;
    let (alone, rolled) = (rendered(true), rendered(false));
    assert_eq!(alone["spec"]["strategy"], json!({ "type": "Recreate" }));
    let written = |value: &Value| value["metadata"]["annotations"]["shopkeeper.dev/written"].clone();
    assert_ne!(written(&alone), written(&rolled), "a change of it by others is seen");
}

#[test]
fn the_epoch_of_the_leader_changes_nothing_of_what_is_meant() {
    let written = |epoch| {
        let owner = Owner { epoch, ..owner() };
        let rendered = service(&owner, ServiceKind::Users, 7, &spec(), None);
        rendered.value["metadata"]["annotations"]["shopkeeper.dev/written"].as_str().unwrap().to_owned()
    };
    assert_eq!(written(1), written(2));
    let text = written(1);
    let read = Written::read(&text).unwrap();
    assert_eq!((read.uid, read.detail), ("u-1", "7"));
}

#[test]
fn services_lead_to_the_sidecar() {
    let users = service(&owner(), ServiceKind::Users, 7, &spec(), None).value;
    assert_eq!(users["spec"]["ports"][0]["targetPort"], 9440);
    assert_eq!(users["spec"]["type"], "NodePort");
    assert_eq!(users["metadata"]["annotations"]["dns"], "order.example");
    let pods = service(&owner(), ServiceKind::Pods, 7, &spec(), None).value;
    assert_eq!(
        (&pods["metadata"]["name"], &pods["spec"]["clusterIP"]),
        (&json!("order-pods"), &json!("None"))
    );
    assert_eq!(pods["spec"]["type"], "ClusterIP");
}

#[test]
fn of_tcp_nobody_guesses_http() {
    let mut spec = spec();
    (spec.protocol, spec.probes) = (shop_crds::service::Protocol::Tcp, None);
    for kind in [ServiceKind::Users, ServiceKind::Pods, ServiceKind::Preview] {
        let port = service(&owner(), kind, 7, &spec, None).value["spec"]["ports"][0].take();
        let expected =
            json!({ "name": "tcp", "appProtocol": "tcp", "port": 80, "protocol": "TCP", "targetPort": 9440 });
        assert_eq!(port, expected);
    }
    let users = spec.service.get_or_insert_default();
    (users.port, users.port_name) = (5432, "postgres".into());
    let port = service(&owner(), ServiceKind::Users, 7, &spec, None).value["spec"]["ports"][0].take();
    assert_eq!((&port["name"], &port["port"]), (&json!("postgres"), &json!(5432)));
}

#[test]
fn a_revision_is_read_back_as_it_was_written() {
    let facts = inputs().facts("order", 7);
    let rendered = revision(&owner(), 7, &facts, &template());
    assert_eq!(template_of(&rendered.value), Some((facts, template())));
    assert_eq!(rendered.value["revision"], 7);
}

fn spec_limits() -> shop_crds::service::limits::Limits {
    from_value(json!({
        "concurrency": { "max": 200 },
        "requestTimeout": "15s",
        "maxBodyBytes": "1Mi",
        "priority": [
            { "match": { "path": "/orders", "method": "POST" }, "class": "high" },
            { "match": { "path": "/search" }, "class": "low" },
        ],
        "rate": [
            { "per": "ip", "requests": 100, "window": "1m" },
            { "per": "user", "requests": 60, "window": "1m", "suspend": "5m" },
            { "per": "route", "requests": 100, "window": "1s", "burst": 20, "match": { "path": "/orders" } },
        ],
        "user": { "header": "x-user-id" },
        "allow": ["10.0.0.0/8"],
        "deny": ["192.0.2.0/24"],
    }))
    .unwrap()
}

#[test]
fn no_header_is_refused_by_sidecars_that_the_definition_takes() {
    let rules = shop_crds::definition::rules();
    let rules: Vec<&str> = rules
        .iter()
        .filter(|rule| rule.path == "spec.auth.jwt.headers")
        .map(|rule| rule.rule.as_str())
        .collect();
    for name in shop_contract::RESERVED_HEADERS.iter().chain(&shop_contract::RESERVED_PREFIXES) {
        assert!(rules.iter().any(|rule| rule.contains(&format!("'{name}'"))), "{name}");
    }
}

fn drills() -> Vec<Fault> {
    vec![
        Fault {
            policy: "drill".into(),
            until_unix_ms: 1_795_370_000_000,
            share: 500,
            path: Some("/orders/{id}".into()),
            method: Some("POST".into()),
            headers: vec![("x-drill".into(), "yes".into())],
            dependency: Some("inventory".into()),
            delay: Some((200, 100)),
            end: Some(FaultEnd::Abort { status: 503, grpc: Some(14) }),
        },
        Fault {
            policy: "drop".into(),
            until_unix_ms: 1,
            share: 10_000,
            path: None,
            method: None,
            headers: Vec::new(),
            dependency: None,
            delay: None,
            end: Some(FaultEnd::Drop),
        },
    ]
}

#[test]
fn a_document_is_read_back_as_it_was_planned() {
    let planned = SidecarDocument {
        revision: 7,
        role: Role::Active,
        colour: Colour::Green,
        role_epoch: 3,
        port: 8080,
        protocol: shop_crds::service::Protocol::Http,
        readiness_path: Some("/readyz".into()),
        readiness_timeout_ms: 3_000,
        max_connections: 3_000,
        trusted_hops: vec!["10.0.0.0/8".into()],
        drain_max_ms: 90_000,
        hand_off: Some(HandOff {
            matches: vec![
                Match { header: Some(("user-tier".into(), "premium".into())), cookie: None },
                Match { header: None, cookie: Some(("beta".into(), "1".into())) },
            ],
            sticky: Some(Sticky::Cookie("session".into())),
            ..HandOff::of(25, 8, ServiceKind::Preview, true)
        }),
        mirror: Some(Mirror {
            to_revision: 8,
            share: 1_000,
            fallback: ServiceKind::Preview,
            methods: vec!["GET".into()],
        }),
        limits: spec_limits().resolved(),
        depends_on: serde_json::from_value(json!([
            {
                "name": "inventory", "localPort": 7001, "timeout": "800ms", "tryTimeout": "300ms", "retries": 1,
                "balance": "consistentHash", "hashHeader": "x-user-id", "bulkhead": {"maxInFlight": 64},
                "circuitBreaker": {"requests": 20, "errors": "50%", "window": "10s", "open": "5s", "trials": 3},
                "fallback": {"answer": {"status": 200, "contentType": "text/plain", "body": "none"}},
            },
            {
                "name": "fakepay", "host": "pay.example.com:8443", "tls": true, "timeout": "15s", "retries": 2,
                "fallback": {"lastGood": {"paths": ["/"], "maxAge": "5m"}},
            },
            {
                "name": "ledger", "host": "postgres.example.com:5432", "protocol": "tcp", "localPort": 7003,
                "timeout": "15s", "retries": 2,
            },
        ]))
        .unwrap(),
        telemetry: shop_release::Telemetry {
            tracing: Some(shop_release::Tracing {
                endpoint: "http://otel:4318".into(),
                protocol: shop_release::Otlp::Http,
                errors: 10_000,
                slow: 8_000,
                rest: 500,
            }),
            access_log: Some(shop_release::AccessLog { enabled: true, share: 100 }),
            routes: vec!["/orders/{id}".into()],
        },
        jwt: Some(Jwt {
            issuer: "https://shop.example".into(),
            audience: "shop".into(),
            keys: JwtKeys::Secret("4f1c".into()),
            headers: vec![("tier".into(), "x-user-tier".into())],
            except: vec![("/products".into(), vec!["GET".into()])],
        }),
        mtls: Some(Mtls {
            mode: MtlsMode::Permissive,
            id: "spiffe://cluster.local/ns/shop/svc/order".into(),
            callers: vec!["spiffe://cluster.local/ns/shop/svc/gateway".into()],
        }),
        peers: [("inventory".to_owned(), "spiffe://cluster.local/ns/shop/svc/inventory".to_owned())].into(),
        faults: drills(),
    };
    let keys = Keys { push: "p".into(), handover: "k1".into() };
    let address = |kind: ServiceKind| kind.name("order");
    let document = contract_document(&owner(), &planned, 5, &keys, address);
    assert_eq!(document.validate(), Ok(()));
    assert_eq!((document.leader_epoch, document.generation), (4, 5));
    assert_eq!(stored_document(&document, address), Some((planned.clone(), keys)));
    // Another address of the Service: the document must be written anew.
    assert_eq!(stored_document(&document, |_| "10.0.0.1".into()), None);
    let rendered = sidecar_config(&owner(), &document).unwrap();
    let text = rendered.value["data"]["document.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<shop_contract::Document>(text).unwrap(), document);
}

#[test]
fn the_container_is_told_where_it_calls_what_it_depends_on() {
    let env = |given: Value| {
        let mut spec = spec();
        spec.env = serde_json::from_value(given).unwrap();
        (spec.config, spec.env_from) = (Vec::new(), Vec::new());
        spec.depends_on = serde_json::from_value(json!([
            {"name": "support-chat"}, {"name": "inventory", "localPort": 7001},
            {"name": "ledger", "localPort": 7003, "protocol": "tcp"},
        ]))
        .unwrap();
        let inputs = Inputs::resolve(&spec, &Observed::default()).unwrap();
        let image = SidecarImage { image: "sidecar:1".into(), pull_policy: "IfNotPresent".into() };
        let template = pod_template(&owner(), 7, &inputs, &image);
        let env = template["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        move |name: &str| {
            let found: Vec<_> =
                env.iter().filter(|one| one["name"] == name).map(|one| one["value"].clone()).collect();
            assert!(found.len() <= 1, "{name} twice");
            found.first().and_then(Value::as_str).map(str::to_owned)
        }
    };
    let plain = env(json!([]));
    for name in ["HTTP_PROXY", "http_proxy"] {
        assert_eq!(plain(name).as_deref(), Some("http://127.0.0.1:9441"));
    }
    assert_eq!(plain("no_proxy").as_deref(), Some("localhost,127.0.0.1,::1"));
    assert_eq!(plain("SHOP_INVENTORY_URL").as_deref(), Some("http://127.0.0.1:7001"));
    assert_eq!(plain("SHOP_LEDGER_URL").as_deref(), Some("tcp://127.0.0.1:7003"));
    assert_eq!(plain("SHOP_SUPPORT_CHAT_URL").as_deref(), Some("http://support-chat"));
    let own = env(json!([
        {"name": "http_proxy", "value": "http://mine"}, {"name": "SHOP_INVENTORY_URL", "value": "http://other"},
    ]));
    assert_eq!((own("HTTP_PROXY"), own("http_proxy").as_deref()), (None, Some("http://mine")));
    assert_eq!(own("SHOP_INVENTORY_URL").as_deref(), Some("http://other"));
    let none = template();
    assert!(!none.to_string().contains("HTTP_PROXY"), "who calls nothing is told nothing");
}

#[test]
fn copies_are_immutable_and_know_where_they_come_from() {
    let reference = inputs().facts("order", 7).snapshots.remove(1);
    let source = json!({ "type": "kubernetes.io/tls", "data": { "k": "dg==" }, "metadata": { "labels": { "a": "b" } } });
    let copy = snapshot(&owner(), 7, &reference, &source).value;
    assert_eq!((&copy["kind"], &copy["immutable"]), (&json!("Secret"), &json!(true)));
    assert_eq!((&copy["type"], &copy["data"]), (&source["type"], &source["data"]));
    let annotations = from_value(copy["metadata"]["annotations"].clone()).unwrap();
    assert_eq!(snapshot_ref(SourceKind::Secret, &reference.name, &annotations), Some(reference));
}

#[test]
fn a_restart_changes_the_sidecar_and_nothing_else() {
    let stored = template();
    let image = SidecarImage { image: "sidecar:2".into(), pull_policy: "Always".into() };
    let restarted = restarted_template(&owner(), 7, 3, &stored, &image);
    assert_eq!(restarted["metadata"]["annotations"]["shopkeeper.dev/restart"], "3");
    let sidecar = &restarted["spec"]["initContainers"][0];
    assert_eq!((&sidecar["image"], &sidecar["imagePullPolicy"]), (&json!("sidecar:2"), &json!("Always")));
    let mut back = restarted.clone();
    back["spec"]["initContainers"][0]["image"] = "sidecar:1".into();
    back["spec"]["initContainers"][0]["imagePullPolicy"] = "IfNotPresent".into();
    back["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(back, stored, "the app, the probe, the resources and the volumes stay");
    let deployment = deployment(&owner(), 7, &restarted, 3, Role::Active, Colour::Blue, false);
    assert_eq!(deployment.value["metadata"]["annotations"]["shopkeeper.dev/restart"], "3");
    let rolling = &deployment.value["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*rolling, json!({ "maxUnavailable": 0, "maxSurge": 1 }));
    // One without a sidecar, as an adopted one is, is restarted too.
    let bare = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
    let restarted = restarted_template(&owner(), 0, 1, &bare, &image);
    assert_eq!(restarted["spec"], bare["spec"]);
    assert_eq!(restarted["metadata"]["annotations"]["shopkeeper.dev/restart"], "1");
}
