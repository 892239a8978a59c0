use serde_json::json;

use super::*;

fn deployment(change: impl FnOnce(&mut Value)) -> Deployment {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "order"}},
            "template": {
                "metadata": {"labels": {"app": "order", "team": "orders"}},
                "spec": {
                    "containers": [{
                        "name": "web", "image": "shop/order:1", "args": ["--fast"], "imagePullPolicy": "IfNotPresent",
                        "ports": [{"name": "web", "containerPort": 5000, "protocol": "TCP"}],
                        "env": [{"name": "A", "value": "b"}],
                        "resources": {"limits": {"cpu": "300m"}},
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": "web", "scheme": "HTTP"}, "periodSeconds": 5,
                                           "timeoutSeconds": 2, "failureThreshold": 3, "successThreshold": 1, "initialDelaySeconds": 4},
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    }],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                    "nodeSelector": {"disk": "ssd"},
                    "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30,
                },
            },
        },
    });
    change(&mut value["spec"]["template"]["spec"]);
    serde_json::from_value(value).unwrap()
}

fn service(name: &str, port: &Value) -> Service {
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "selector": {"app": "order"}, "ports": [port]},
    });
    serde_json::from_value(value).unwrap()
}

fn web() -> Value {
    json!({"name": "web", "port": 8080, "protocol": "TCP", "targetPort": "web", "nodePort": 30080})
}

fn drafted(change: impl FnOnce(&mut Value)) -> Draft {
    draft(&deployment(change), &service("order", &web()), &[])
}

#[test]
fn every_field_finds_its_place() {
    let drafted = drafted(|_| {});
    assert_eq!(drafted.problems, Vec::<String>::new());
    let expected = json!({
        "image": "shop/order:1", "args": ["--fast"], "env": [{"name": "A", "value": "b"}],
        "resources": {"limits": {"cpu": "300m"}}, "port": 5000, "replicas": 3,
        "probes": {"readiness": {"path": "/ready", "period": "5s", "timeout": "2s", "failures": 3}},
        "service": {"type": "NodePort", "port": 8080, "portName": "web"},
        "pod": {
            "metadata": {"labels": {"team": "orders"}},
            "spec": {
                "containers": [{"name": "app", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "nodeSelector": {"disk": "ssd"},
            },
        },
        "adopt": {"deployment": "web"},
    });
    assert_eq!(drafted.manifest["spec"], expected);
    assert_eq!(drafted.manifest["metadata"]["name"], "order");
    assert!(
        drafted.notes.iter().any(|note| note.contains("initialDelaySeconds is not kept")),
        "{:?}",
        drafted.notes
    );
    assert!(drafted.notes.iter().any(|note| note.contains("selects now (app)")), "{:?}", drafted.notes);
}

#[test]
fn what_has_no_place_is_a_problem() {
    let problem = |change: &dyn Fn(&mut Value), says: &str| {
        let problems = drafted(|pod| change(pod)).problems.join("; ");
        assert!(problems.contains(says), "{problems}");
    };
    problem(
        &|pod| pod["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["true"]}}),
        "is not an HTTP GET",
    );
    problem(
        &|pod| pod["containers"][0]["livenessProbe"] = json!({"httpGet": {"path": "/", "port": 9}}),
        "another port than 5000",
    );
    problem(
        &|pod| pod["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 5000}}),
        "asks the port alone",
    );
    problem(&|pod| pod["containers"][0]["ports"] = json!([]), "has the port that Service order leads to");
    problem(&|pod| pod["hostNetwork"] = json!(true), "hostNetwork");
    let two = draft(&deployment(|_| {}), &serde_json::from_value(json!({
        "metadata": {"name": "order"}, "spec": {"selector": {"app": "order"}, "ports": [web(), {"port": 9090}]},
    })).unwrap(), &[]);
    assert!(two.problems.join("; ").contains("has 2 ports"), "{:?}", two.problems);
}

#[test]
fn an_autoscaler_of_the_deployment_is_a_problem() {
    let scaler = |name: &str| -> HorizontalPodAutoscaler {
        serde_json::from_value(json!({
            "metadata": {"name": "scaler"},
            "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
        })).unwrap()
    };
    let with = |name: &str| draft(&deployment(|_| {}), &service("order", &web()), &[scaler(name)]).problems;
    assert!(with("web").join("").contains("HorizontalPodAutoscaler scaler"));
    assert_eq!(with("other"), Vec::<String>::new());
}

#[test]
fn the_service_is_found_where_it_is_the_only_one() {
    let all = [service("order", &web()), service("order-2", &web())];
    let deployment = deployment(|_| {});
    assert_eq!(users_service(&deployment, &all[..1], None).unwrap(), &all[0]);
    assert_eq!(users_service(&deployment, &all, Some("order-2")).unwrap(), &all[1]);
    assert!(users_service(&deployment, &all, None).unwrap_err().contains("order, order-2"));
    assert!(users_service(&deployment, &[], None).unwrap_err().contains("no Service leads"));
    assert!(users_service(&deployment, &all, Some("x")).unwrap_err().contains("no Service x"));
}
