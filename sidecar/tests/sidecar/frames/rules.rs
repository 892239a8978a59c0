//! One row for each rule: the frames, and the answer that the rule asks for.

use super::*;
use crate::support::{Keys, Pod, TestApp};

/// What must become of a connection or a stream.
#[derive(Clone, Copy, Debug)]
enum Required {
    /// The connection ends with this code, or with the general one: h2 has it for most errors of a frame's form.
    Connection(u32),
    /// Stream 1 is reset with this code, and the connection goes on.
    Stream(u32),
    /// One of the two: the rule leaves it to the server.
    Either(u32),
    /// Stream 1 is answered with this status, and the connection goes on.
    Status(u16),
    /// The connection goes on.
    Ignored,
}

use Required::{Connection, Either, Ignored, Status, Stream};

type Row = (&'static str, Vec<u8>, Required);

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Sections 4 and 5: sizes, states and numbers of streams.
fn states() -> Vec<Row> {
    vec![
        ("4.2 a frame that is too large", frame(DATA, 0, 1, &[0; 16_385]), Connection(FRAME_SIZE_ERROR)),
        ("5.1 DATA on an idle stream", frame(DATA, 0, 1, b"x"), Connection(PROTOCOL_ERROR)),
        ("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &number(8)), Connection(PROTOCOL_ERROR)),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &number(1)),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "5.1 CONTINUATION on an idle stream",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            Connection(PROTOCOL_ERROR),
        ),
        ("5.1 DATA after the end", [get(1), frame(DATA, 0, 1, b"x")].concat(), Either(STREAM_CLOSED)),
        (
            "5.1 DATA after a reset",
            [post(1, &[]), frame(RST_STREAM, 0, 1, &number(8)), frame(DATA, 0, 1, b"x")].concat(),
            Either(STREAM_CLOSED),
        ),
        ("5.1.1 an even number", get(2), Connection(PROTOCOL_ERROR)),
        ("5.1.1 a lower number", [post(5, &[]), get(3)].concat(), Connection(PROTOCOL_ERROR)),
        ("5.5 an unknown frame", frame(0x42, 0xff, 0, b"whatever"), Ignored),
        (
            "5.5 an unknown frame in a field block",
            [frame(HEADERS, END_STREAM, 1, &block(&request("GET", &[]))), frame(0x42, 0, 1, b"x")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
    ]
}

/// Section 6: each kind of frame.
fn kinds() -> Vec<Row> {
    let whole = block(&request("GET", &[]));
    vec![
        ("6.1 DATA on no stream", frame(DATA, 0, 0, b"x"), Connection(PROTOCOL_ERROR)),
        (
            "6.1 DATA with more padding than payload",
            [post(1, &[]), frame(DATA, PADDED, 1, &[9, 1])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.2 HEADERS on no stream", frame(HEADERS, WHOLE, 0, &whole), Connection(PROTOCOL_ERROR)),
        (
            "6.2 HEADERS with more padding than payload",
            frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82]),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.4 RST_STREAM on no stream", frame(RST_STREAM, 0, 0, &number(8)), Connection(PROTOCOL_ERROR)),
        (
            "6.4 RST_STREAM of another size",
            [post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Connection(FRAME_SIZE_ERROR),
        ),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Connection(PROTOCOL_ERROR)),
        (
            "6.5 an acknowledgement with settings",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            Connection(FRAME_SIZE_ERROR),
        ),
        ("6.5 half of a setting", frame(SETTINGS, 0, 0, &[0; 5]), Connection(FRAME_SIZE_ERROR)),
        ("6.5.2 push neither on nor off", frame(SETTINGS, 0, 0, &setting(2, 2)), Connection(PROTOCOL_ERROR)),
        (
            "6.5.2 a window above the largest",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "6.5.2 frames below the smallest",
            frame(SETTINGS, 0, 0, &setting(5, 16_383)),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.5.2 frames above the largest",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.5.2 an unknown setting", frame(SETTINGS, 0, 0, &setting(0x4242, 1)), Ignored),
        (
            "6.6 PUSH_PROMISE of a client",
            [post(1, &[]), frame(PUSH_PROMISE, END_HEADERS, 1, &[&number(2)[..], &whole].concat())].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), Connection(PROTOCOL_ERROR)),
        ("6.7 PING of another size", frame(PING, 0, 0, &[0; 7]), Connection(FRAME_SIZE_ERROR)),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Connection(PROTOCOL_ERROR)),
        ("6.9 a window of nothing more", frame(WINDOW_UPDATE, 0, 0, &number(0)), Connection(PROTOCOL_ERROR)),
        (
            "6.9 a stream's window of nothing more",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, &number(0))].concat(),
            Either(PROTOCOL_ERROR),
        ),
        (
            "6.9 WINDOW_UPDATE of another size",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "6.9.1 a window beyond the largest",
            frame(WINDOW_UPDATE, 0, 0, &number((1 << 31) - 1)),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1 a stream's window beyond the largest",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, &number((1 << 31) - 1))].concat(),
            Stream(FLOW_CONTROL_ERROR),
        ),
        (
            "6.10 CONTINUATION after the end of the fields",
            [post(1, &[]), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10 CONTINUATION on another stream",
            [frame(HEADERS, END_STREAM, 1, &whole), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10 DATA before the end of the fields",
            [frame(HEADERS, 0, 1, &whole), frame(DATA, 0, 1, b"x")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10 fields in several frames",
            [frame(HEADERS, END_STREAM, 1, &whole[..5]), frame(CONTINUATION, END_HEADERS, 1, &whole[5..])]
                .concat(),
            Status(200),
        ),
    ]
}

/// Section 8: requests.
fn requests() -> Vec<Row> {
    let head = |fields: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &block(fields));
    let with = |field: (&'static str, &'static str)| head(&request("GET", &[field]));
    let without = |name: &str| {
        let fields: Vec<_> = request("GET", &[]).into_iter().filter(|(field, _)| *field != name).collect();
        head(&fields)
    };
    let many: Vec<(&str, &str)> = vec![("x", "y"); 101];
    let long = "y".repeat(15_000);
    let large = block(&request("GET", &[("x", &long), ("y", &long), ("z", &long)]));
    let large = [
        frame(HEADERS, END_STREAM, 1, &large[..16_000]),
        frame(CONTINUATION, 0, 1, &large[16_000..32_000]),
        frame(CONTINUATION, END_HEADERS, 1, &large[32_000..]),
    ]
    .concat();
    vec![
        (
            "8.1 fields in the middle of a body",
            [post(1, &[]), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))].concat(),
            Stream(PROTOCOL_ERROR),
        ),
        // h2 drops them, and the app sees no trailers.
        (
            "8.1 pseudo-fields after the body",
            [post(1, &[]), frame(HEADERS, WHOLE, 1, &block(&[(":method", "GET")]))].concat(),
            Status(200),
        ),
        (
            "8.1.1 a body longer than told",
            [post(1, &[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"xy")].concat(),
            Stream(PROTOCOL_ERROR),
        ),
        (
            "8.1.1 a body shorter than told",
            [post(1, &[("content-length", "3")]), frame(DATA, END_STREAM, 1, b"xy")].concat(),
            Stream(PROTOCOL_ERROR),
        ),
        ("8.2 a name with a capital letter", with(("X-Far", "1")), Either(PROTOCOL_ERROR)),
        ("8.2 a name with a space", with(("x far", "1")), Either(PROTOCOL_ERROR)),
        ("8.2.1 a line feed in a value", with(("x", "a\nb")), Either(PROTOCOL_ERROR)),
        ("8.2.1 a carriage return in a value", with(("x", "a\rb")), Either(PROTOCOL_ERROR)),
        ("8.2.1 a zero byte in a value", with(("x", "a\0b")), Either(PROTOCOL_ERROR)),
        ("8.2.2 connection", with(("connection", "close")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 keep-alive", with(("keep-alive", "1")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 proxy-connection", with(("proxy-connection", "close")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 transfer-encoding", with(("transfer-encoding", "chunked")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 upgrade", with(("upgrade", "websocket")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 te", with(("te", "gzip")), Stream(PROTOCOL_ERROR)),
        ("8.2.2 te: trailers", with(("te", "trailers")), Status(200)),
        ("8.3 an unknown pseudo-field", with((":x", "1")), Either(PROTOCOL_ERROR)),
        ("8.3 a status in a request", with((":status", "200")), Stream(PROTOCOL_ERROR)),
        ("8.3 a pseudo-field twice", with((":path", "/b")), Stream(PROTOCOL_ERROR)),
        (
            "8.3 a pseudo-field after a field",
            head(&[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":authority", "a"), (":path", "/")]),
            Stream(PROTOCOL_ERROR),
        ),
        ("8.3.1 no method", without(":method"), Stream(PROTOCOL_ERROR)),
        ("8.3.1 no scheme", without(":scheme"), Stream(PROTOCOL_ERROR)),
        ("8.3.1 no path", without(":path"), Stream(PROTOCOL_ERROR)),
        (
            "8.3.1 an empty path",
            head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")]),
            Stream(PROTOCOL_ERROR),
        ),
        ("8.3.1 no authority and no host", without(":authority"), Status(400)),
        ("8.3.1 another host than the authority", with(("host", "other")), Status(400)),
        ("8.3.1 the same host as the authority", with(("host", "order")), Status(200)),
        ("8.5 a tunnel", head(&[(":method", "CONNECT"), (":authority", "a:443")]), Status(501)),
        ("more fields than allowed", head(&request("GET", &many)), Status(431)),
        ("more bytes of fields than allowed", large, Status(431)),
    ]
}

/// RFC 7541: field blocks that are none.
fn blocks() -> Vec<Row> {
    let with = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, &[&block(&request("GET", &[]))[..], bytes].concat());
    [
        ("6.1 index 0", &[0x80][..]),
        ("2.3.3 an index beyond the table", &[0xff, 0x40]),
        ("5.1 an integer that never ends", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("5.2 a text longer than the block", &[0x00, 0x05, b'x']),
        ("5.2 padding of more than seven bits", &[0x00, 0x01, b'x', 0x82, 0x1f, 0xff]),
        ("5.2 padding of zeros", &[0x00, 0x01, b'x', 0x81, 0x18]),
        ("5.2 the end-of-string code", &[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ("4.2 a table above the limit", &[0x3f, 0xe2, 0x1f]),
    ]
    .map(|(name, bytes)| (name, with(bytes), Connection(COMPRESSION_ERROR)))
    .to_vec()
}

async fn all(rows: Vec<Row>) {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut wrong = Vec::new();
    for (name, bytes, required) in rows {
        let mut caller = Caller::connect(pod.sidecar.inbound).await;
        caller.send(&bytes).await;
        let goes_on = !matches!(required, Connection(_));
        if goes_on {
            caller.send(&get(101)).await;
        }
        let (mut seen, mut after) = (Vec::new(), false);
        loop {
            let back = caller.next().await;
            match back {
                Back::End => break,
                Back::Status(101, 200) => after = true,
                Back::Status(1, _) | Back::Reset(1, _) | Back::Goaway(_) => seen.push(back),
                _ => {}
            }
            let told = !seen.is_empty() || matches!(required, Ignored);
            if after && told {
                break;
            }
        }
        let says = |back: Back| seen.contains(&back);
        let ends = |code| says(Back::Goaway(code)) || says(Back::Goaway(PROTOCOL_ERROR));
        let fits = match required {
            Connection(code) => ends(code),
            Stream(code) => says(Back::Reset(1, code)) && after,
            Either(code) => ends(code) || says(Back::Reset(1, code)) && after,
            Status(status) => says(Back::Status(1, status)) && after,
            Ignored => after && seen.is_empty(),
        };
        if !fits {
            wrong.push(format!("{name}: {required:?}, but {seen:?}, and afterwards {after}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn states_of_streams() {
    all(states()).await;
}

#[tokio::test]
async fn kinds_of_frames() {
    all(kinds()).await;
}

#[tokio::test]
async fn requests_in_frames() {
    all(requests()).await;
}

#[tokio::test]
async fn field_blocks() {
    all(blocks()).await;
}
