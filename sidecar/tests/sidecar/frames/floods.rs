//! Frames that break no rule, in numbers that do. Each flood ends or is borne, and a client on another connection notices nothing.

use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::*;
use crate::support::client::Http2;
use crate::support::{Keys, Pod, TestApp, until};

/// What is sent over and over.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Resets,
    OwnErrors,
    EmptyData,
    TinyData,
    Continuations,
    Pings,
    Settings,
    Priorities,
    Bombs,
}

use Flood::{Bombs, Continuations, EmptyData, OwnErrors, Pings, Priorities, Resets, Settings, TinyData};

/// Frames that are sent of each: far more than any limit.
const FRAMES: u32 = 20_000;

impl Flood {
    /// How the connection must end; `None`: it may go on.
    fn ends_with(self) -> Option<u32> {
        match self {
            Resets | OwnErrors | EmptyData | TinyData | Continuations => Some(ENHANCE_YOUR_CALM),
            Pings | Settings | Priorities | Bombs => None,
        }
    }

    fn first(self) -> Vec<u8> {
        match self {
            EmptyData | TinyData => post(1, &[]),
            Continuations => frame(HEADERS, END_STREAM, 1, &block(&request("GET", &[]))),
            // Puts a large field into the table that later blocks name with one byte.
            Bombs => {
                let value = "y".repeat(4_000);
                let mut bytes = block(&request("GET", &[]));
                bytes.extend([0x40, 1, b'x']);
                put_length(&mut bytes, value.len());
                bytes.extend_from_slice(value.as_bytes());
                frame(HEADERS, WHOLE, 1, &bytes)
            }
            _ => Vec::new(),
        }
    }

    fn nth(self, n: u32) -> Vec<u8> {
        let stream = 2 * n + 3;
        match self {
            Resets => [get(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat(),
            // MadeYouReset (CVE-2025-8671): the server resets the stream, and the request's work goes on.
            OwnErrors => [get(stream), frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat(),
            EmptyData => frame(DATA, 0, 1, b""),
            TinyData => frame(DATA, 0, 1, b"x"),
            Continuations => frame(CONTINUATION, 0, 1, &block(&[("x", "y")])),
            Pings => frame(PING, 0, 0, &[0; 8]),
            Settings => frame(SETTINGS, 0, 0, &[]),
            Priorities => frame(2, 0, stream, &[0, 0, 0, 0, 1]),
            Bombs if n < 200 => {
                let mut bytes = block(&request("GET", &[]));
                bytes.extend([0xbe; 8_000]);
                frame(HEADERS, WHOLE, stream, &bytes)
            }
            Bombs => Vec::new(),
        }
    }
}

async fn attack(address: SocketAddr, flood: Flood) {
    let mut caller = Caller::connect(address).await;
    caller.send(&flood.first()).await;
    let Caller { stream, buffer } = caller;
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move {
        for n in 0..FRAMES {
            if write.write_all(&flood.nth(n)).await.is_err() {
                break;
            }
        }
        write
    });
    // What is answered is read: a flood that waits for room is none.
    let mut all = buffer;
    let reading = async {
        while matches!(read.read_buf(&mut all).await, Ok(1..)) {
            let ended = all.windows(4).any(|window| window == [0, 0, 0, 11]);
            if ended && flood.ends_with().is_some() {
                break;
            }
        }
    };
    match flood.ends_with() {
        Some(code) => {
            within(reading).await;
            // The connection may be reset before the last word is read; that it ends is what counts.
            let told = all.windows(4).any(|window| window == code.to_be_bytes());
            let ended = writing.is_finished() || told;
            assert!(ended, "{flood:?}");
        }
        None => {
            tokio::select! {
                () = reading => {}
                _ = within(writing) => {}
            }
        }
    }
}

#[tokio::test]
async fn floods_harm_nobody_else() {
    let app = TestApp::http1(|request: http::Request<hyper::body::Incoming>| async move {
        let _ = request.into_body().collect().await;
        crate::support::text("hello")
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut good = Http2::connect(pod.sidecar.inbound).await;
    for flood in [Resets, OwnErrors, EmptyData, TinyData, Continuations, Pings, Settings, Priorities, Bombs] {
        let address = pod.sidecar.inbound;
        let mut attack = tokio::spawn(attack(address, flood));
        let mut served = 0;
        loop {
            tokio::select! {
                ended = &mut attack => {
                    ended.unwrap_or_else(|error| panic!("{flood:?}: {error}"));
                    break;
                }
                answer = good.get("/") => {
                    assert_eq!(answer, (200, "hello".to_owned()), "{flood:?}");
                    served += 1;
                }
            }
        }
        assert_eq!(good.get("/").await.0, 200, "{flood:?}, after {served}");
    }
    until("nothing is left of them", async || {
        let stats = pod.stats().await;
        (stats.in_flight, stats.connections) == (0, 1)
    })
    .await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let app = TestApp::http1(|request: http::Request<hyper::body::Incoming>| async move {
        let _ = request.into_body().collect().await;
        crate::support::text("hello")
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Caller::connect(pod.sidecar.inbound).await;
    for n in 0..=250 {
        caller.send(&post(2 * n + 1, &[])).await;
    }
    let refused = caller.until(|back| matches!(back, Back::Reset(..))).await;
    assert_eq!(refused, Back::Reset(501, REFUSED_STREAM));
    // One that ends makes room.
    caller.send(&frame(DATA, END_STREAM, 1, b"")).await;
    assert_eq!(caller.until(|back| matches!(back, Back::Status(..))).await, Back::Status(1, 200));
    assert!(caller.serves(503).await);
}

/// Memory of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("statm");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4_096
}

#[tokio::test]
async fn windows_that_stay_closed_hold_no_answers() {
    // 32 MiB each, of which nothing may leave.
    let app = TestApp::http1(|_| async {
        let pieces = futures::stream::iter(
            (0..2_048).map(|_| Ok(Frame::data(bytes::Bytes::from_static(&[b'x'; 16 * 1_024])))),
        );
        http::Response::new(StreamBody::new(pieces).boxed_unsync())
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let before = resident();
    let window = [&4_u16.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    let mut caller = Caller::with_settings(pod.sidecar.inbound, &window).await;
    for n in 0..100 {
        caller.send(&get(2 * n + 1)).await;
    }
    for _ in 0..100 {
        let back = caller.until(|back| matches!(back, Back::Status(..) | Back::Data(..))).await;
        assert!(matches!(back, Back::Status(_, 200)), "{back:?}");
    }
    let grown = resident().saturating_sub(before);
    // 3.2 GiB wait, most of them unmade. Other tests of this program need some memory meanwhile.
    assert!(grown < 256 * 1_024 * 1_024, "{} MiB", grown >> 20);
    let mut good = Http2::connect(pod.sidecar.inbound).await;
    let request = http::Request::get("http://order/").body(http_body_util::Empty::<bytes::Bytes>::new());
    let mut answer = good.send(request.expect("request")).await;
    assert!(within(answer.body_mut().frame()).await.is_some_and(|frame| frame.is_ok()));
    // Some of one leaves when its window opens a little.
    let more = 10_u32.to_be_bytes();
    caller.send(&frame(WINDOW_UPDATE, 0, 1, &more)).await;
    assert_eq!(caller.until(|back| matches!(back, Back::Data(..))).await, Back::Data(1, 10));
}
