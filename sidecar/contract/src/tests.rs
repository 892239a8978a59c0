use super::*;

fn document() -> Document {
    let text = r#"{
      "schema": 1,
      "identity": {"namespace": "shop", "service": "order", "serviceUid": "u-1", "revision": 7},
      "leaderEpoch": 3, "generation": 5, "role": "active", "colour": "green", "roleEpoch": 9,
      "app": {"port": 8080, "protocol": "http", "readiness": {"path": "/readyz", "timeoutMs": 5000}},
      "maxConnections": 10000, "drainMaxMs": 600000,
      "handOff": {"toRevision": 8, "share": 10000, "fallback": "order-preview.shop:80", "mayServeLocally": true},
      "pushKeys": {"current": "a2V5"}, "handoverKeys": {"current": "k1"}
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_document_is_what_its_json_says() {
    let document = document();
    assert_eq!(document.validate(), Ok(()));
    let again: Document = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
    assert_eq!(again, document);
    assert_eq!(document_hash(&again), document_hash(&document));
    assert_eq!(document_hash(&document).len(), 16);
    let other = Document { generation: 6, ..again };
    assert_ne!(document_hash(&other), document_hash(&document));
}

#[test]
fn an_unknown_field_is_refused() {
    let mut value = serde_json::to_value(document()).unwrap();
    value["surprise"] = 1.into();
    assert!(serde_json::from_value::<Document>(value).is_err());
}

#[test]
fn what_makes_no_sense_is_named() {
    type Change = fn(&mut Document);
    let cases: [(Change, &str); 7] = [
        (|document| document.schema = SCHEMA + 1, "newer than this sidecar"),
        (|document| document.generation = 0, "generation must be at least 1"),
        (|document| document.identity.service.clear(), "identity.service"),
        (|document| document.trusted_hops = vec!["10/8".into()], "write one as in 10.0.0.0/8"),
        (|document| document.trusted_hops = vec!["::1".into(); 33], "trustedHops must be at most 32"),
        (|document| document.hand_off.as_mut().unwrap().share = 10_001, "handOff.share must be 0 to 10000"),
        (|document| document.hand_off.as_mut().unwrap().to_revision = 7, "the revision itself"),
    ];
    for (change, expected) in cases {
        let mut changed = document();
        change(&mut changed);
        let error = changed.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn too_many_addresses_are_refused() {
    let mut endpoints = Endpoints {
        identity: document().identity,
        leader_epoch: 1,
        sequence: 1,
        to_revision: 8,
        addresses: vec!["10.0.0.1:9440".parse().unwrap(); 2_000],
    };
    assert_eq!(endpoints.validate(), Ok(()));
    endpoints.addresses.push("10.0.0.2:9440".parse().unwrap());
    assert!(endpoints.validate().is_err());
}

/// Which requests go elsewhere, as the operator writes it.
const TRAFFIC: &str = r#"{
  "handOff": {
    "toRevision": 8, "share": 0, "fallback": "a:80", "mayServeLocally": true,
    "match": [{"header": {"name": "user-tier", "value": "premium"}}, {"cookie": {"name": "beta", "value": "1"}}],
    "sticky": {"cookie": "session"}
  },
  "mirror": {"toRevision": 8, "share": 1000, "fallback": "a:80"}
}"#;

fn with_traffic() -> Document {
    let mut value = serde_json::to_value(document()).unwrap();
    let traffic: serde_json::Value = serde_json::from_str(TRAFFIC).unwrap();
    value["handOff"] = traffic["handOff"].clone();
    value["mirror"] = traffic["mirror"].clone();
    serde_json::from_value(value).unwrap()
}

#[test]
fn matches_stickiness_and_mirror_read_as_they_are_written() {
    let document = with_traffic();
    assert_eq!(document.validate(), Ok(()));
    let hand_off = document.hand_off.clone().unwrap();
    assert_eq!(hand_off.matches.len(), 2);
    assert_eq!(hand_off.matches[0].header.as_ref().unwrap().value, "premium");
    assert_eq!(hand_off.sticky, Some(Sticky::Cookie("session".into())));
    assert_eq!(document.mirror.clone().unwrap().methods, ["GET", "HEAD"]);
    assert_eq!(serde_json::to_string(&Sticky::Client).unwrap(), r#""client""#);
    assert_eq!(serde_json::to_string(&Sticky::User).unwrap(), r#""user""#);
    let again: Document = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
    assert_eq!(again, document);
}

/// What an older sidecar reads must not change while the new fields are not used: it refuses what it does not know.
#[test]
fn unused_fields_are_not_written() {
    let text = serde_json::to_string(&document()).unwrap();
    for field in ["match", "sticky", "mirror", "auth", "telemetry"] {
        assert!(!text.contains(field), "{field} in {text}");
    }
}

#[test]
fn traffic_that_no_request_can_fit_is_named() {
    type Change = fn(&mut HandOff, &mut Mirror);
    let pair = |name: &str, value: &str| Some(Pair { name: name.into(), value: value.into() });
    let cases: [(Change, &str); 9] = [
        (|hand_off, _| hand_off.matches.push(Match::default()), "a header or a cookie"),
        (|hand_off, _| hand_off.matches = vec![hand_off.matches[0].clone(); 17], "at most 16 matches"),
        (|hand_off, _| hand_off.matches[0].header.as_mut().unwrap().name = "a b".into(), "header.name must"),
        (
            |hand_off, _| hand_off.matches[1].cookie.as_mut().unwrap().value = "a;b".into(),
            "cookie.value must",
        ),
        (|hand_off, _| hand_off.sticky = Some(Sticky::Header(String::new())), "sticky.header must"),
        (|_, mirror| mirror.share = 10_001, "mirror.share must be 0 to 10000"),
        (|_, mirror| mirror.methods.clear(), "1 to 16 methods"),
        (|_, mirror| mirror.methods[0] = "GE T".into(), "mirror.methods must be 1 to 32 letters"),
        (|_, mirror| mirror.to_revision = 7, "mirror.toRevision is the revision itself"),
    ];
    for (change, expected) in cases {
        let mut changed = with_traffic();
        change(changed.hand_off.as_mut().unwrap(), changed.mirror.as_mut().unwrap());
        let error = changed.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut spaced = with_traffic();
    spaced.hand_off.as_mut().unwrap().matches[0].header = pair("user-agent", "Mozilla 5.0; (X)");
    assert_eq!(spaced.validate(), Ok(()));
}

/// Who may send requests, as the operator writes it.
const AUTH: &str = r#"{"jwt": {
  "issuer": "https://shop.example", "audience": "shop", "keys": {"jwks": "http://user/.well-known/jwks.json"},
  "headers": [{"claim": "tier", "header": "x-user-tier"}],
  "except": [{"path": "/healthz"}, {"path": "/products", "methods": ["GET", "HEAD"]}]
}}"#;

#[test]
fn tokens_that_cannot_be_asked_for_are_named() {
    let with = |change: &dyn Fn(&mut Jwt)| {
        let mut auth: Auth = serde_json::from_str(AUTH).unwrap();
        change(auth.jwt.as_mut().unwrap());
        let document = Document { auth: Some(auth), ..document() };
        let again: Document = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(again, document);
        document.validate().map_err(|error| error.to_string())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|jwt| jwt.keys = JwtKeys::Secret("jwt-1".into())), Ok(()));
    let refused = |change: &dyn Fn(&mut Jwt), expected: &str| {
        let error = with(change).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    refused(&|jwt| jwt.issuer.clear(), "auth.jwt.issuer must be 1 to 253");
    refused(&|jwt| jwt.keys = JwtKeys::Jwks("ftp://user".into()), "http or https URL");
    refused(&|jwt| jwt.headers = vec![jwt.headers[0].clone(); 17], "at most 16");
    for name in ["authorization", "x-shop-handover", "x-forwarded-for", "X-User", "x_user", "content-length"]
    {
        refused(&|jwt| jwt.headers[0].header = name.into(), "must not set");
    }
    for path in ["products", "/a/../b", "/a//b", "/a?b", "/a%2fb", "/a;b", "/a\\b", ""] {
        refused(&|jwt| jwt.except[0].path = path.into(), "auth.jwt.except.path");
    }
    refused(&|jwt| jwt.except[1].methods[0] = "GE T".into(), "auth.jwt.except.methods must");
}

#[test]
fn callers_and_tls_of_dependencies_are_spiffe_ids() {
    let with = |id: &str, caller: &str, pod: &str| {
        let mtls = Mtls { mode: MtlsMode::Strict, id: id.into(), callers: vec![caller.into()] };
        let tls = Some(DependencyTls::Sidecar(pod.into()));
        let document = Document {
            auth: Some(Auth { mtls: Some(mtls), ..Auth::default() }),
            depends_on: vec![Dependency { tls, ..Dependency::new("inventory") }],
            ..document()
        };
        let again: Document = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(again, document);
        document.validate().map_err(|error| error.to_string())
    };
    let good = "spiffe://cluster.local/ns/shop/svc/order";
    assert_eq!(with(good, good, good), Ok(()));
    for bad in [
        "",
        "order",
        "spiffe://",
        "spiffe://cluster.local",
        "spiffe:///ns",
        "spiffe://a/../b",
        "spiffe://a/b c",
    ] {
        assert!(with(bad, good, good).unwrap_err().contains("auth.mtls.id must be a SPIFFE id"), "{bad}");
        assert!(with(good, bad, good).unwrap_err().contains("auth.mtls.callers"), "{bad}");
        assert!(with(good, good, bad).unwrap_err().contains("dependsOn.tls.sidecar"), "{bad}");
    }
}

fn counters(requests: u64, failures: u64, bucket: usize) -> RevisionCounters {
    let mut counters = RevisionCounters { requests, failures, ..RevisionCounters::default() };
    counters.latency.counts[bucket] = requests;
    counters
}

#[test]
fn counters_are_added_and_taken_from_one_another() {
    let (first, second) = (counters(10, 1, 3), counters(5, 0, 4));
    let both = first.plus(&second).unwrap();
    assert_eq!((both.requests, both.failures, both.latency.total()), (15, 1, 15));
    assert_eq!(both.since(&first), Some(second.clone()));
    assert_eq!(first.since(&both), None, "the sidecar has been restarted");
    let mut other = second;
    other.latency.bounds_us[0] = 7;
    assert_eq!(first.plus(&other), None, "other bounds");
    other.latency.counts.pop();
    assert!(!other.latency.is_sound() && first.latency.is_sound());
}

#[test]
fn an_older_sidecars_stats_are_read() {
    let text = r#"{"revision":7,"connections":0,"upgraded":0,"inFlight":0,"served":0,"handedOver":0,"takenOver":0,
        "errors":0,"draining":false}"#;
    let stats: Stats = serde_json::from_str(text).unwrap();
    assert_eq!((stats.window, stats.mirrored), (None, None));
}

#[test]
fn quantiles_are_interpolated() {
    let mut histogram = Histogram::default();
    assert_eq!(histogram.quantile_us(9_900), None);
    // 90 between 1 and 2 ms, 10 between 100 and 150 ms.
    histogram.counts[1] = 90;
    histogram.counts[10] = 10;
    assert_eq!(histogram.quantile_us(5_000), Some(1_555));
    assert_eq!(histogram.quantile_us(9_000), Some(2_000));
    assert_eq!(histogram.quantile_us(9_900), Some(145_000));
    assert_eq!(histogram.quantile_us(10_000), Some(150_000));
    let beyond = counters(1, 0, LATENCY_BOUNDS_US.len());
    assert_eq!(beyond.latency.quantile_us(9_900), Some(60_000_000));
}

#[test]
fn dependencies_are_checked() {
    type Change = fn(&mut Dependency);
    let cases: [(Change, &str); 9] = [
        (|one| one.protocol = DependencyProtocol::Tcp, "\"inventory\" is spoken to as bytes"),
        (|one| one.name = "In".into(), "dependsOn.name must be 1 to 63 lower-case"),
        (|one| one.timeout_ms = 0, "dependsOn.timeoutMs must be 1 to 3600000"),
        (|one| one.retries = 11, "dependsOn.retries must be at most 10"),
        (|one| one.max_in_flight = Some(0), "dependsOn.maxInFlight must be at least 1"),
        (|one| one.local_port = Some(8080), "is the app's"),
        (
            |one| one.tls = Some(DependencyTls::Host("pay.example.com".into())),
            "tls.host is for a dependency with a host",
        ),
        (|one| one.name = "other".into(), "\"other\" twice"),
        (
            |one| one.fallback = Some(Fallback::LastGood { paths: vec![], max_age_ms: 1 }),
            "dependsOn.fallback.lastGood.paths must be 1 to 16",
        ),
    ];
    let mut document = document();
    document.depends_on = vec![Dependency::new("other"), Dependency::new("inventory")];
    assert_eq!(document.validate(), Ok(()));
    for (change, expected) in cases {
        let mut changed = document.clone();
        change(&mut changed.depends_on[1]);
        let error = changed.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(url_variable("support-chat"), "SHOP_SUPPORT_CHAT_URL");
}

#[test]
fn a_fault_is_bounded_and_does_something() {
    type Change = fn(&mut Fault);
    let fault = r#"{"policy": "drill", "untilUnixMs": 1795000000000, "share": 500, "dependency": "inventory",
      "match": {"path": "/orders/{id}", "method": "POST", "headers": [{"name": "x-drill", "value": "yes"}]},
      "delay": {"fixedMs": 200, "jitterMs": 100}, "end": {"abort": {"status": 503, "grpcStatus": 14}}}"#;
    let fault: Fault = serde_json::from_str(fault).unwrap();
    let with = |faults: Vec<Fault>| Document { faults, ..document() };
    assert_eq!(with(vec![fault.clone()]).validate(), Ok(()));
    assert_eq!(serde_json::to_value(FaultEnd::Drop).unwrap(), "drop");
    assert!(
        !serde_json::to_string(&document()).unwrap().contains("faults"),
        "an older sidecar must accept it"
    );
    let cases: [(Change, &str); 6] = [
        (|fault| fault.share = 0, "faults.share must be 1 to 10000"),
        (
            |fault| fault.delay = Some(Delay { fixed_ms: 60_000, jitter_ms: 1 }),
            "faults.delay must be 1 ms to a minute",
        ),
        (|fault| fault.end = Some(FaultEnd::Abort { status: 200, grpc_status: None }), "400 to 599"),
        (|fault| fault.end = Some(FaultEnd::Abort { status: 503, grpc_status: Some(0) }), "1 to 16"),
        (
            |fault| (fault.delay, fault.end) = (None, None),
            "fault \"drill\" must have a delay, an end, or both",
        ),
        (|fault| fault.matches.as_mut().unwrap().method = Some("GET /".into()), "faults.match.method"),
    ];
    for (change, expected) in cases {
        let mut changed = fault.clone();
        change(&mut changed);
        let error = with(vec![changed]).validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(with(vec![fault; MAX_FAULTS + 1]).validate().unwrap_err().to_string().contains("at most 8"));
}
