//! Bytes inside of TLS.

use shop_contract::{MtlsMode, Protocol};

use super::*;

#[tokio::test]
async fn bytes_pass_inside_of_tls_and_without_it_only_where_they_may() {
    let authority = Authority::new();
    let cart = authority.issue("cart");
    let (app, keys) = (telling().await, Keys::new());
    for (mode, callers, by_tls, plain) in [
        (MtlsMode::Strict, &["cart"][..], true, false),
        (MtlsMode::Strict, &["gateway"], false, false),
        (MtlsMode::Permissive, &[], true, true),
    ] {
        let mut document = with_mode(&app, &keys, mode, callers);
        document.app.protocol = Protocol::Tcp;
        let secret = secret(&authority.issue("order"), &[&authority]);
        let pod = Pod::around(document, &keys, Around { secret, ..Around::default() }).await;
        // The app hears all that was said, and no word of the sidecar.
        let answer = http1(&pod, Some(&cart)).await.map(|answer| answer.body);
        assert_eq!(answer.as_deref(), by_tls.then_some("by spoofed"), "{mode:?} {callers:?}");
        let answered = async {
            let stream = TcpStream::connect(pod.sidecar.inbound).await.ok()?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            sender.send_request(get("/")).await.ok()
        };
        assert_eq!(within(answered).await.is_some(), plain, "{mode:?} {callers:?}");
    }
}
