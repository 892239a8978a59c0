//! Against a sidecar on the loopback that checks signatures.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::{Router, http::HeaderMap, routing::get, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use shop_contract::Identity;
use tokio::net::TcpListener;

use super::*;

// Only ever waited for when something is wrong.
const WITHIN: Duration = Duration::from_mins(1);

fn identity() -> Identity {
    Identity { namespace: "shop".into(), service: "order".into(), service_uid: "u".into(), revision: 7 }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn sidecars(address: SocketAddr) -> Sidecars {
    let signer = Arc::new(Signer::from_seed(&[7; 32]).unwrap());
    Sidecars::located(signer, Arc::new(Metrics::new().unwrap()), Arc::new(move |_| address))
}

fn sidecar(public_key: String) -> Router {
    let answer = move |headers: HeaderMap, body: Bytes| {
        let signature = STANDARD.decode(headers[SIGNATURE_HEADER].as_bytes()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, STANDARD.decode(&public_key).unwrap());
        let refused = key.verify(&body, &signature).err().map(|_| "not signed by the operator".to_owned());
        let acknowledged =
            Acknowledgement { revision: 7, generation: 3, refused, ..Acknowledgement::default() };
        async move { axum::Json(acknowledged) }
    };
    Router::new()
        .route(paths::CONFIG, post(answer))
        .route(paths::STATS, get(|| async { axum::Json(Stats { connections: 5, ..Stats::default() }) }))
}

#[tokio::test]
async fn pushes_are_signed_and_acknowledged_in_order() {
    let key = Signer::from_seed(&[7; 32]).unwrap().public_key();
    let sidecars = sidecars(listen(sidecar(key)).await);
    let to = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
    let answers = sidecars.push(&Push::Query(identity()), &to, WITHIN).await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let acknowledged = answer.unwrap();
        assert_eq!((acknowledged.generation, acknowledged.refused), (3, None));
    }
    assert_eq!(sidecars.stats(&to).await.remove(0).unwrap().connections, 5);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let other = Signer::from_seed(&[8; 32]).unwrap().public_key();
    let sidecars = sidecars(listen(sidecar(other)).await);
    let answers = sidecars.push(&Push::Query(identity()), &[IpAddr::from([10, 0, 0, 1])], WITHIN).await;
    assert!(answers[0].as_ref().unwrap().refused.is_some());
}

#[tokio::test]
async fn what_is_no_sidecar_is_an_error() {
    let sidecars = sidecars(listen(Router::new().route(paths::STATS, get(|| async { "hello" }))).await);
    let answers = sidecars.stats(&[IpAddr::from([10, 0, 0, 1])]).await;
    assert!(matches!(answers[0], Err(SidecarError::NotASidecar { .. })), "{answers:?}");
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answers = sidecars(address).stats(&[IpAddr::from([10, 0, 0, 1])]).await;
    assert!(matches!(answers[0], Err(SidecarError::Connect(_))), "{answers:?}");
}
