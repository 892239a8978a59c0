//! What passes, what is refused, and how it ends.

use std::time::Duration;

use shop_contract::{Limits, Per, Rate};
use shop_sidecar::control;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{App, breaks, connect, ends, hears, pod, say, tcp};
use crate::support::client::get;
use crate::support::{Keys, Pod, until, within};

#[tokio::test]
async fn bytes_pass_whoever_speaks_first() {
    let app = App::greeting("hello").await;
    let pod = pod(7, app.port).await;
    let mut client = connect(pod.sidecar.inbound).await;
    hears(&mut client, "hello").await;
    // What would be HTTP, TLS or nothing known elsewhere.
    for words in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01", "\0"] {
        say(&mut client, words).await;
        hears(&mut client, words).await;
    }
    assert_eq!(pod.readiness().await, 200);
    client.shutdown().await.expect("ended");
    assert!(ends(&mut client).await);
    until("it is counted", async || pod.stats().await.served == 1).await;
    let metrics = pod.metrics().await;
    for line in [
        r#"shop_sidecar_requests_total{code_class="2xx",colour="blue",protocol="tcp",revision="7",role="active"} 1"#,
        r#"shop_sidecar_tcp_bytes_total{direction="received"} 46"#,
        r#"shop_sidecar_tcp_bytes_total{direction="sent"} 51"#,
        "shop_sidecar_tcp_connection_duration_seconds_count 1",
        "shop_sidecar_in_flight 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let window = pod.stats().await.window.expect("told");
    assert_eq!((window.requests, window.failures, window.latency.total()), (1, 0, 0));
}

#[tokio::test]
async fn either_side_may_end_before_the_other() {
    let app = App::serve(|mut stream| async move {
        let mut heard = String::new();
        let _ = stream.read_to_string(&mut heard).await;
        // Its last word comes after the client's.
        let _ = stream.write_all(format!("{heard}!").as_bytes()).await;
    })
    .await;
    let one = pod(7, app.port).await;
    let mut client = connect(one.sidecar.inbound).await;
    say(&mut client, "done").await;
    client.shutdown().await.expect("ended");
    hears(&mut client, "done!").await;
    assert!(ends(&mut client).await);

    let (heard, mut told) = tokio::sync::mpsc::channel(1);
    let app = App::serve(move |mut stream| {
        let heard = heard.clone();
        async move {
            let _ = stream.shutdown().await;
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest).await;
            let _ = heard.send(rest).await;
        }
    })
    .await;
    let other = pod(7, app.port).await;
    let mut client = connect(other.sidecar.inbound).await;
    assert!(ends(&mut client).await);
    say(&mut client, "still here").await;
    drop(client);
    assert_eq!(within(told.recv()).await.expect("heard"), "still here");
}

#[tokio::test]
async fn who_reads_slowly_slows_the_other_down() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let app = App::serve(move |mut stream| {
        let mut gone = gone.clone();
        async move {
            let _ = gone.wait_for(|gone| *gone).await;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let _ = stream.write_all(all.len().to_string().as_bytes()).await;
        }
    })
    .await;
    let pod = pod(7, app.port).await;
    let mut client = connect(pod.sidecar.inbound).await;
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    // Until nothing more is taken: the system's own buffers hold some megabytes.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), client.write(&piece)).await {
        sent += written.expect("written");
        assert!(sent < 64 * 1024 * 1024, "the sidecar takes everything");
    }
    go.send(true).expect("somebody waits");
    within(client.write_all(b"end")).await.expect("written");
    client.shutdown().await.expect("ended");
    hears(&mut client, &(sent + 3).to_string()).await;
}

#[tokio::test]
async fn a_reset_stays_one_and_counts_as_the_apps() {
    let app = App::serve(|mut stream| async move {
        let _ = stream.read(&mut [0]).await;
        let _ = stream.set_zero_linger();
    })
    .await;
    let mut pod = pod(7, app.port).await;
    let mut client = connect(pod.sidecar.inbound).await;
    say(&mut client, "x").await;
    assert!(breaks(&mut client).await);
    // Nobody listens.
    pod.document.app.port = 1;
    pod.hand_off(None).await;
    assert!(breaks(&mut connect(pod.sidecar.inbound).await).await);
    until("both are counted", async || pod.stats().await.served == 2).await;
    let stats = pod.stats().await;
    let window = stats.window.expect("told");
    assert_eq!((stats.errors, window.requests, window.failures), (2, 2, 2));
    let metrics = pod.metrics().await;
    for line in [
        r#"shop_sidecar_self_answered_total{reason="app-unreachable"} 1"#,
        r#"code_class="5xx",colour="blue",protocol="tcp",revision="7",role="active"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_is_not_the_apps_fault() {
    let (broken, mut told) = tokio::sync::mpsc::channel(1);
    let app = App::serve(move |mut stream| {
        let broken = broken.clone();
        async move {
            let _ = stream.write_all(b"hello").await;
            let _ = broken.send(stream.read(&mut [0]).await.is_err()).await;
        }
    })
    .await;
    let pod = pod(7, app.port).await;
    let mut client = connect(pod.sidecar.inbound).await;
    hears(&mut client, "hello").await;
    client.set_zero_linger().expect("set");
    drop(client);
    assert_eq!(within(told.recv()).await, Some(true), "the app is told as it was");
    until("it is counted", async || pod.stats().await.served == 1).await;
    assert_eq!(pod.stats().await.window.expect("told").requests, 0);
}

#[tokio::test]
async fn there_are_only_so_many() {
    let app = App::greeting("hello").await;
    let keys = Keys::new();
    let mut document = tcp(7, app.port, &keys);
    document.max_connections = 2;
    let pod = Pod::with(document, &keys).await;
    let mut open = [connect(pod.sidecar.inbound).await, connect(pod.sidecar.inbound).await];
    for client in &mut open {
        hears(client, "hello").await;
    }
    assert!(breaks(&mut connect(pod.sidecar.inbound).await).await);
    let [first, _] = open;
    drop(first);
    until("there is room again", async || pod.stats().await.connections == 1).await;
    hears(&mut connect(pod.sidecar.inbound).await, "hello").await;
    assert!(pod.metrics().await.contains(r#"self_answered_total{reason="too-many-connections"} 1"#));
}

#[tokio::test]
async fn addresses_have_limits() {
    let app = App::greeting("hello").await;
    let keys = Keys::new();
    let mut document = tcp(7, app.port, &keys);
    let rate = Rate {
        per: Per::Ip,
        requests: 2,
        window_ms: 3_600_000,
        burst: None,
        suspend_ms: None,
        matches: None,
        sticky: false,
    };
    document.limits = Some(Limits { rate: vec![rate], ..Limits::default() });
    let mut pod = Pod::with(document, &keys).await;
    for _ in 0..2 {
        hears(&mut connect(pod.sidecar.inbound).await, "hello").await;
    }
    assert!(breaks(&mut connect(pod.sidecar.inbound).await).await);
    pod.document.limits = Some(Limits { deny: vec!["127.0.0.0/8".into()], ..Limits::default() });
    pod.hand_off(None).await;
    assert!(breaks(&mut connect(pod.sidecar.inbound).await).await);
    let metrics = pod.metrics().await;
    for reason in ["rate-limited", "address-denied"] {
        assert!(metrics.contains(&format!(r#"self_answered_total{{reason="{reason}"}} 1"#)), "{metrics}");
    }
    assert_eq!(pod.stats().await.errors, 0);
}

#[tokio::test]
async fn a_drain_waits_for_connections_and_ends_what_is_left() {
    let app = App::greeting("hello").await;
    let keys = Keys::new();
    let mut document = tcp(7, app.port, &keys);
    document.drain_max_ms = 8_000;
    let pod = Pod::with(document, &keys).await;
    let [mut one, mut other] = [connect(pod.sidecar.inbound).await, connect(pod.sidecar.inbound).await];
    hears(&mut one, "hello").await;
    hears(&mut other, "hello").await;
    let admin = pod.sidecar.admin;
    let hook = tokio::spawn(async move { get(admin, "/drain").await });
    within(control::begin_drain(pod.state_dir.path())).await.expect("begun");
    // What is open goes on, and who has not heard of the drain comes in.
    say(&mut one, "more").await;
    hears(&mut one, "more").await;
    hears(&mut connect(pod.sidecar.inbound).await, "hello").await;
    drop(one);
    assert!(!hook.is_finished());
    // In order, not broken.
    assert!(ends(&mut other).await);
    let (status, body) = within(hook).await.expect("answer");
    assert_eq!(status, 200, "{body:?}");
    until("nothing is open", async || pod.stats().await.connections == 0).await;
    within(pod.sidecar.stop()).await;
}
