//! HTTP/1.1, HTTP/2, gRPC and WebSocket on one port, from the first request to the end of the service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_common::faults::Faults;
use shop_common::serve::{Ended, Limits, listen, serve};
use shop_common::{Context, Front, Stop};
use shop_product::routes::{GetProductRequest, GetProductResponse, PriceUpdate, WatchPricesRequest, routes};
use shop_product::store;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Nothing here takes long; the deadline is for machines that are busy with something else.
const DEADLINE: Duration = Duration::from_mins(2);

struct Served {
    address: SocketAddr,
    stop: Stop,
    task: JoinHandle<Ended>,
}

async fn served() -> Served {
    let stop = Stop::new();
    let context = Context { version: "v3".into(), revision: None, stop: stop.clone() };
    let routes = routes(context.clone(), store::load(None).await.unwrap());
    let front = Front::new(&context, Faults::new(&[]), routes).unwrap();
    let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { quiet: Duration::from_millis(100), end: DEADLINE, ..Limits::default() };
    Served { address, stop: stop.clone(), task: tokio::spawn(serve(listener, front, stop, limits)) }
}

async fn stream(address: SocketAddr) -> TokioIo<TcpStream> {
    TokioIo::new(TcpStream::connect(address).await.unwrap())
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(address: SocketAddr) -> Http2 {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream(address).await).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn call(sender: &mut Http2, method: &str, message: &impl prost::Message) -> Response<Incoming> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    let request = Request::post(format!("http://product/shop.product.v1.Catalogue/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(frame.freeze()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-shop-version"], "v3");
    response
}

/// Reads `count` messages from an answer.
async fn messages<M: prost::Message + Default>(body: &mut Incoming, count: usize) -> Vec<M> {
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    while found.len() < count {
        if let Some(head) = buffer.first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if buffer.len() >= 5 + length {
                let frame = buffer.split_to(5 + length);
                found.push(M::decode(&frame[5..]).unwrap());
                continue;
            }
        }
        let frame = body.frame().await.expect("more messages").unwrap();
        buffer.extend_from_slice(&frame.into_data().expect("data before trailers"));
    }
    found
}

/// Reads to the end of an answer and returns its trailers.
async fn trailers(body: &mut Incoming) -> HeaderMap {
    loop {
        let frame = body.frame().await.expect("trailers at the end").unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            return trailers;
        }
    }
}

#[tokio::test]
async fn http1_and_http2_share_the_port() {
    tokio::time::timeout(DEADLINE, async {
        let served = served().await;
        let (mut http1, connection) =
            hyper::client::conn::http1::handshake(stream(served.address).await).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..3 {
            http1.ready().await.unwrap();
            let request =
                Request::get("/products/MUG-0001").header("host", "product").body(Full::<Bytes>::default());
            let response = http1.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["x-shop-version"], "v3");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.starts_with(br#"{"sku":"MUG-0001""#));
        }
        let mut http2 = http2(served.address).await;
        let request = Request::get("http://product/version").body(Full::default()).unwrap();
        let response = http2.send_request(request).await.unwrap();
        assert_eq!(response.headers()["x-shop-version"], "v3");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], br#"{"revision":null,"version":"v3"}"#);
        served.stop.begin();
        assert_eq!(served.task.await.unwrap(), Ended::Clean);
    })
    .await
    .expect("within the deadline");
}

#[tokio::test]
async fn grpc_calls_and_streams() {
    tokio::time::timeout(DEADLINE, async {
        let served = served().await;
        let mut sender = http2(served.address).await;
        let request = GetProductRequest { sku: "MUG-0001".to_owned() };
        let mut body = call(&mut sender, "GetProduct", &request).await.into_body();
        let answer: Vec<GetProductResponse> = messages(&mut body, 1).await;
        let product = answer[0].product.as_ref().unwrap();
        assert_eq!((product.name.as_str(), answer[0].version.as_str()), ("Oak mug", "v3"));
        assert_eq!(trailers(&mut body).await["grpc-status"], "0");

        let missing =
            call(&mut sender, "GetProduct", &GetProductRequest { sku: "MUG-9999".to_owned() }).await;
        assert_eq!(missing.headers()["grpc-status"], "5");
        let unknown = call(&mut sender, "DropTables", &GetProductRequest::default()).await;
        assert_eq!(unknown.headers()["grpc-status"], "12");
        let mut body = call(&mut sender, "GetProduct", &GetProductRequest::default()).await.into_body();
        let first: Vec<GetProductResponse> = messages(&mut body, 1).await;
        assert_eq!(first[0].product.as_ref().unwrap().sku, "BOWL-0001");

        let watched = WatchPricesRequest { skus: vec!["MUG-0001".to_owned(), "PEN-0002".to_owned()] };
        let mut body = call(&mut sender, "WatchPrices", &watched).await.into_body();
        let updates: Vec<PriceUpdate> = messages(&mut body, 4).await;
        let seen: Vec<_> = updates.iter().map(|update| (update.sku.as_str(), update.sequence)).collect();
        assert_eq!(seen, [("MUG-0001", 0), ("PEN-0002", 0), ("MUG-0001", 1), ("PEN-0002", 1)]);
        assert!(updates.iter().all(|update| update.version == "v3"));
        served.stop.begin();
        assert_eq!(trailers(&mut body).await["grpc-status"], "14");
        assert_eq!(served.task.await.unwrap(), Ended::Clean);
    })
    .await
    .expect("within the deadline");
}

#[tokio::test]
async fn a_websocket_sends_prices_and_echoes() {
    tokio::time::timeout(DEADLINE, async {
        let served = served().await;
        let stream = TcpStream::connect(served.address).await.unwrap();
        let (mut socket, answer) =
            tokio_tungstenite::client_async("ws://product/prices/feed", stream).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()["x-shop-version"], "v3");
        socket.send(Message::text("hello")).await.unwrap();
        let (mut echoed, mut sequences) = (false, Vec::new());
        while !echoed || sequences.len() < 2 {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
            if text.as_str() == "hello" {
                echoed = true;
            } else {
                let line: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(line["version"], "v3");
                sequences.push(line["sequence"].as_u64().unwrap());
            }
        }
        assert!(sequences.starts_with(&[0, 1]), "{sequences:?}");
        served.stop.begin();
        let code = loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                break frame.unwrap().code;
            }
        };
        assert_eq!(code, CloseCode::Restart);
        while socket.next().await.is_some() {}
        assert_eq!(served.task.await.unwrap(), Ended::Clean);
    })
    .await
    .expect("within the deadline");
}
