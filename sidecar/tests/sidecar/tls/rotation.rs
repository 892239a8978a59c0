//! Certificates and roots that change while requests are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shop_contract::MtlsMode::Strict;

use super::authority::{Authority, Leaf, from_now, id, mount, secret};
use super::outbound::{call, callee, caller};
use super::{http1, pod, telling};
use crate::support::client::{Http1, Http2};
use crate::support::{Pod, until};

/// A certificate that is told apart by its end.
struct Issued {
    leaf: Leaf,
    end: i64,
}

fn issue(authority: &Authority, service: &str, more: i64) -> Issued {
    let end = from_now(3_600 + more);
    Issued { leaf: authority.issue_for(service, from_now(-60), end), end }
}

/// Mounts a certificate with roots, and waits until it is in use.
async fn renew(pod: &Pod, issued: &Issued, roots: &[&Authority]) {
    mount(&pod.keys_dir, &secret(&issued.leaf, roots));
    until("the new certificate is in use", async || {
        let certificate = pod.stats().await.certificate.unwrap_or_default();
        certificate.not_after == Some(issued.end) && certificate.refused.is_none()
    })
    .await;
}

#[tokio::test]
async fn nothing_fails_while_certificates_and_roots_change() {
    let (app, first, second) = (telling().await, Authority::new(), Authority::new());
    let (order, dns) = callee(&app, &first, Strict).await;
    let cart = caller(&dns, "order", secret(&first.issue("cart"), &[&first])).await;
    let by_cart = format!("by {}", id("cart"));
    assert_eq!(call(&cart).await.body, by_cart);
    let door = cart.sidecar.outbound().expect("open");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let kept = {
        let (stop, done, by_cart) = (Arc::clone(&stop), Arc::clone(&done), by_cart.clone());
        tokio::spawn(async move {
            let mut http1 = Http1::connect(door).await;
            let mut http2 = Http2::connect(door).await;
            while !stop.load(Ordering::SeqCst) {
                http1.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
                let answer = http1.answer().await;
                assert_eq!((answer.status, &answer.body), (200, &by_cart));
                assert_eq!(http2.get("/").await, (200, by_cart.clone()));
                done.fetch_add(2, Ordering::SeqCst);
            }
        })
    };
    let both = [&first, &second];
    for (step, (by, roots)) in
        [(&first, &[&first][..]), (&first, &both), (&second, &both), (&second, &[&second])]
            .into_iter()
            .enumerate()
    {
        let more = 60 * (i64::try_from(step).expect("few") + 1);
        // One after the other, as the kubelets do it.
        renew(&order, &issue(by, "order", more), roots).await;
        renew(&cart, &issue(by, "cart", more), roots).await;
        let before = done.load(Ordering::SeqCst);
        until("requests go on", async || done.load(Ordering::SeqCst) >= before + 20).await;
        // New connections too.
        let fresh = by.issue("user");
        assert_eq!(http1(&order, Some(&fresh)).await.expect("answer").status, 200);
    }
    stop.store(true, Ordering::SeqCst);
    kept.await.expect("no request failed");
    assert!(
        http1(&order, Some(&first.issue("user"))).await.is_none(),
        "the first root is not believed any more"
    );
    assert_eq!(order.stats().await.errors, 0);
}

#[tokio::test]
async fn what_is_not_good_is_refused_and_the_last_good_goes_on() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Strict, &[]).await;
    let cart = authority.issue("cart");
    let good = pod.stats().await.certificate.expect("told");
    assert!(good.not_after.is_some_and(|end| end > from_now(0)) && good.refused.is_none(), "{good:?}");
    let own = authority.issue("order");
    let with = |name: &'static str, content: String| {
        let mut files = secret(&own, &[&authority]);
        files.iter_mut().filter(|(known, _)| *known == name).for_each(|file| file.1.clone_from(&content));
        files
    };
    for (files, why) in [
        (with("tls.key", cart.key.clone()), "tls.key is not the key"),
        (with("tls.crt", String::new()), "tls.crt holds no PEM"),
        (with("ca.crt", "nonsense".to_owned()), "ca.crt holds no PEM"),
        (with("ca.crt", Authority::new().root()), "not good as a server's"),
        (secret(&cart, &[&authority]), "is for spiffe://cluster.local/ns/shop/svc/cart, but auth.mtls.id is"),
        (
            secret(&authority.issue_for("order", from_now(-60), from_now(-30)), &[&authority]),
            "not good as a server's",
        ),
    ] {
        mount(&pod.keys_dir, &files);
        until(why, async || {
            let told = pod.stats().await.certificate.expect("told");
            assert_eq!(told.not_after, good.not_after);
            told.refused.is_some_and(|refused| refused.contains(why))
        })
        .await;
        assert_eq!(http1(&pod, Some(&cart)).await.expect("answer").status, 200, "{why}");
    }
    std::fs::remove_file(pod.keys_dir.path().join("tls.key")).expect("removed");
    until("a file is missing", async || {
        let refused = pod.stats().await.certificate.expect("told").refused;
        refused.is_some_and(|refused| refused.contains("tls.key is missing"))
    })
    .await;
    mount(&pod.keys_dir, &secret(&own, &[&authority]));
    until("the next good one", async || pod.stats().await.certificate.expect("told").refused.is_none()).await;
}
