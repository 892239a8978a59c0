//! Connections that another revision gets.

use tokio::io::AsyncWriteExt as _;

use super::{App, breaks, connect, ends, hears, say, tcp};
use crate::support::{Keys, Pod, to, until};

struct Two {
    old: Pod,
    new: Pod,
    _apps: [App; 2],
}

async fn two(apps: [App; 2]) -> Two {
    let keys = Keys::new();
    let old = Pod::with(tcp(7, apps[0].port, &keys), &keys).await;
    let new = Pod::with(tcp(8, apps[1].port, &keys), &keys).await;
    Two { old, new, _apps: apps }
}

async fn greeting() -> Two {
    two([App::greeting("v7").await, App::greeting("v8").await]).await
}

async fn answering() -> Two {
    two([App::answering("v7").await, App::answering("v8").await]).await
}

#[tokio::test]
async fn a_share_of_new_connections_goes_and_those_that_are_open_stay() {
    let mut two = greeting().await;
    let mut early = connect(two.old.sidecar.inbound).await;
    hears(&mut early, "v7").await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    two.old.hand_off(Some(to(8, 2_500, "localhost:1", true))).await;
    let (mut open, mut by_new) = (Vec::new(), 0);
    for _ in 0..20 {
        let mut client = connect(two.old.sidecar.inbound).await;
        let mut word = [0; 2];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut word).await.expect("greeted");
        by_new += usize::from(&word == b"v8");
        open.push((client, word));
    }
    assert_eq!(by_new, 5);
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    hears(&mut connect(two.old.sidecar.inbound).await, "v8").await;
    for (client, _) in &mut open {
        say(client, "still").await;
        hears(client, "still").await;
        client.shutdown().await.expect("ended");
        assert!(ends(client).await);
    }
    say(&mut early, "still").await;
    hears(&mut early, "still").await;
    drop(early);
    until("both have counted", async || {
        let (old, new) = (two.old.stats().await, two.new.stats().await);
        (old.served, old.handed_over, old.taken_over, new.served, new.handed_over, new.taken_over)
            == (16, 6, 0, 6, 0, 6)
    })
    .await;
    assert_eq!(two.new.stats().await.errors, 0);
}

#[tokio::test]
async fn the_first_bytes_are_the_clients_own() {
    let mut two = answering().await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    for (hand_off, name) in [(None, "v7"), (Some(to(8, 10_000, "localhost:1", true)), "v8")] {
        two.old.hand_off(hand_off).await;
        for words in ["hello", "\u{f5}\u{9e}", "\0"] {
            let mut client = connect(two.old.sidecar.inbound).await;
            say(&mut client, words).await;
            hears(&mut client, &format!("{words}, says {name}")).await;
            client.shutdown().await.expect("ended");
            assert!(ends(&mut client).await);
        }
    }
}

#[tokio::test]
async fn both_may_hand_everything_to_one_another() {
    for make in [true, false] {
        let mut two = if make { greeting().await } else { answering().await };
        two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
        two.new.endpoints(7, vec![two.old.sidecar.inbound]).await;
        two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
        two.new.hand_off(Some(to(7, 10_000, "localhost:1", false))).await;
        for (pod, name) in [(&two.old, "v8"), (&two.new, "v7")] {
            let mut client = connect(pod.sidecar.inbound).await;
            if make {
                hears(&mut client, name).await;
            } else {
                say(&mut client, "x").await;
                hears(&mut client, &format!("x, says {name}")).await;
            }
        }
    }
}

/// Its sidecar runs, and its app does not: nothing was said to it, so nothing is lost.
#[tokio::test]
async fn a_candidate_without_an_app_loses_nothing() {
    let mut two = answering().await;
    two.new.document.app.port = 1;
    two.new.hand_off(None).await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound, ([127, 0, 0, 1], 1).into()]).await;
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", true))).await;
    let mut client = connect(two.old.sidecar.inbound).await;
    say(&mut client, "hello").await;
    hears(&mut client, "hello, says v7").await;
    // After the switch there is nobody else: it is said as well as it can be.
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    let mut client = connect(two.old.sidecar.inbound).await;
    say(&mut client, "hello").await;
    assert!(breaks(&mut client).await);
    until("it is counted", async || two.old.stats().await.lost == 1).await;
}

#[tokio::test]
async fn the_fallback_may_lead_back() {
    let mut two = answering().await;
    let own = two.old.sidecar.inbound.to_string();
    for may_serve_locally in [false, true] {
        two.old.hand_off(Some(to(8, 10_000, &own, may_serve_locally))).await;
        let mut client = connect(two.old.sidecar.inbound).await;
        say(&mut client, "hello").await;
        hears(&mut client, "hello, says v7").await;
    }
}

#[tokio::test]
async fn a_forged_seal_is_no_way_in() {
    let two = answering().await;
    let mut client = connect(two.new.sidecar.inbound).await;
    let seal = b"\xf5\x9e\x00\r\nshop-seal\r\n\x00\x14c1;k1;7;10.0.0.1;AAAA";
    client.write_all(seal).await.expect("written");
    assert!(breaks(&mut client).await);
    let stats = two.new.stats().await;
    assert_eq!((stats.taken_over, stats.errors), (0, 0));
}
