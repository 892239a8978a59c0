//! One JSON line per request, sampled, written by a thread of its own: a slow reader of the log costs lines, never requests.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, uri::PathAndQuery};
use serde::Serialize;

use crate::settings::AccessLogSetting;

/// Lines that may wait for the writer.
const QUEUE: usize = 1_024;
/// How long the first line waits for others: waking a thread for each line costs more CPU than all else that a request needs.
const GATHER: Duration = Duration::from_millis(4);

/// Longest path that is logged.
const LONGEST_PATH: usize = 1_024;
/// One request, in parts of which a share is so many.
const ONE: u64 = 1 << 32;

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of those that did not fail, in parts of [`ONE`]; `None`: nothing is logged.
    of_others: Option<u64>,
}

impl Share {
    /// What a document says.
    pub fn of(told: shop_contract::AccessLog) -> Self {
        let share = (u64::from(told.share) * ONE).div_ceil(10_000);
        Self { of_others: told.enabled.then_some(share) }
    }
}

impl From<AccessLogSetting> for Share {
    fn from(setting: AccessLogSetting) -> Self {
        let of_others = match setting {
            AccessLogSetting::Off => None,
            AccessLogSetting::EveryNth(n) => Some(ONE.div_ceil(n.max(1))),
        };
        Self { of_others }
    }
}

/// Where lines go.
#[derive(Debug)]
pub struct AccessLog {
    default: Share,
    /// Shares of the requests that did not fail add up; each whole one is logged.
    sum: AtomicU64,
    queue: SyncSender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Line(Box<Line>),
    /// Tells when everything before it is written.
    Flush(SyncSender<()>),
}

/// What is logged of a request.
#[derive(Debug)]
pub struct Line {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The request's method.
    pub method: Method,
    /// Its path, cut off by [`shown_path`].
    pub path: Box<str>,
    /// The template that its path fits.
    pub route: Option<Arc<str>>,
    /// Status of the answer.
    pub status: u16,
    /// What the caller speaks.
    pub protocol: &'static str,
    /// Address of the client, if the request made enough sense to tell.
    pub client: Option<IpAddr>,
    /// SPIFFE id of the service that sent it, if that is known.
    pub caller: Option<HeaderValue>,
    /// The trace it belongs to.
    pub trace_id: Option<u128>,
    /// This sidecar's span.
    pub span_id: Option<u64>,
    /// `x-request-id`, as it came or was made.
    pub request_id: Option<HeaderValue>,
    /// The service.
    pub service: Arc<str>,
    /// This pod's revision.
    pub revision: i64,
    /// Its colour.
    pub colour: &'static str,
    /// Whether another revision answered.
    pub handed_over: bool,
    /// Whether another revision handed it to this one.
    pub taken_over: bool,
    /// Whether it is a copy, whose answer nobody waits for.
    pub mirrored: bool,
    /// Why the sidecar itself answered.
    pub reason: Option<&'static str>,
    /// The FaultPolicy that had to do with it.
    pub fault: Option<Arc<str>>,
    /// Of a connection that is not HTTP, how much was passed on: then it has neither method nor path.
    pub passed: Option<Passed>,
}

/// Bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    timestamp: String,
    level: &'static str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    status: u16,
    duration_ms: f64,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    revision: i64,
    colour: &'static str,
    handed_over: bool,
    taken_over: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mirrored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_bytes: Option<u64>,
}

impl AccessLog {
    /// Starts the writer. The setting holds until a document says something else.
    pub fn start(setting: AccessLogSetting) -> std::io::Result<Self> {
        let (queue, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&receiver))?;
        Ok(Self { default: setting.into(), sum: AtomicU64::new(0), queue })
    }

    /// What holds unless a document says something else.
    pub fn default_share(&self) -> Share {
        self.default
    }

    /// Whether a request is to be logged; counts it.
    pub fn wants(&self, share: Share, failed: bool) -> bool {
        let Some(share) = share.of_others else { return false };
        failed || self.sum.fetch_add(share, Ordering::Relaxed) % ONE + share >= ONE
    }

    /// Queues a line; says whether there was room.
    pub fn log(&self, line: Line) -> bool {
        !matches!(self.queue.try_send(Entry::Line(Box::new(line))), Err(TrySendError::Full(_)))
    }

    /// Waits until everything is written that was logged before. Blocks.
    pub fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

/// A path as it is told: without query, which may hold a token, and not as long as a caller likes.
pub fn shown_path(path: Option<&PathAndQuery>) -> Box<str> {
    let path = path.map_or("/", PathAndQuery::path);
    let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or_default()).unwrap_or_default().into()
}

fn write(entries: &Receiver<Entry>) {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut next = entries.recv().ok();
    while let Some(entry) = next {
        match entry {
            Entry::Line(line) => {
                // A closed stdout is nobody's loss: the container runtime that read it is gone.
                let _ = serde_json::to_writer(&mut out, &written(&line));
                let _ = out.write_all(b"\n");
            }
            Entry::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        next = if let Ok(entry) = entries.try_recv() {
            Some(entry)
        } else {
            let _ = out.flush();
            let first = entries.recv().ok();
            if matches!(first, Some(Entry::Line(_))) {
                std::thread::sleep(GATHER);
            }
            first
        };
    }
}

fn written(line: &Line) -> Written<'_> {
    Written {
        timestamp: super::log::timestamp(line.at),
        level: if line.status >= 500 { "WARN" } else { "INFO" },
        service: &line.service,
        trace_id: line.trace_id.map(|id| format!("{id:032x}")),
        span_id: line.span_id.map(|id| format!("{id:016x}")),
        message: if line.passed.is_some() { "connection" } else { "request" },
        method: line.passed.is_none().then(|| line.method.as_str()),
        path: line.passed.is_none().then_some(&*line.path),
        route: line.route.as_deref(),
        status: line.status,
        duration_ms: (line.took.as_secs_f64() * 1e6).round() / 1e3,
        protocol: line.protocol,
        client: line.client,
        caller: line.caller.as_ref().and_then(|caller| caller.to_str().ok()),
        request_id: line.request_id.as_ref().and_then(|id| id.to_str().ok()),
        revision: line.revision,
        colour: line.colour,
        handed_over: line.handed_over,
        taken_over: line.taken_over,
        mirrored: line.mirrored,
        reason: line.reason,
        fault: line.fault.as_deref(),
        received_bytes: line.passed.map(|passed| passed.received),
        sent_bytes: line.passed.map(|passed| passed.sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &'static str) -> Line {
        Line {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            took: Duration::from_micros(1_234),
            method: Method::GET,
            path: shown_path(Some(&PathAndQuery::from_static(path))),
            route: None,
            status: 503,
            protocol: "http1",
            client: Some([10, 0, 0, 1].into()),
            caller: Some(HeaderValue::from_static("spiffe://a/svc/cart")),
            trace_id: Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            span_id: Some(0x00f0_67aa_0ba9_02b7),
            request_id: Some(HeaderValue::from_static("r1")),
            service: "order".into(),
            revision: 7,
            colour: "green",
            handed_over: false,
            taken_over: true,
            mirrored: false,
            reason: Some("app-unreachable"),
            fault: None,
            passed: None,
        }
    }

    #[test]
    fn a_connection_has_no_path() {
        let passed = Some(Passed { received: 5, sent: 7 });
        let line =
            Line { passed, protocol: "tcp", trace_id: None, span_id: None, request_id: None, ..line("/") };
        let text = serde_json::to_string(&written(&line)).expect("json");
        let expected = concat!(
            r#"{"timestamp":"1970-01-01T00:00:01.5Z","level":"WARN","service":"order","message":"connection","#,
            r#""status":503,"duration_ms":1.234,"protocol":"tcp","client":"10.0.0.1","caller":"spiffe://a/svc/cart","#,
            r#""revision":7,"colour":"green","handed_over":false,"taken_over":true,"reason":"app-unreachable","received_bytes":5,"sent_bytes":7}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_holds_no_query() {
        let text = serde_json::to_string(&written(&line("/pay?token=secret"))).expect("json");
        let expected = concat!(
            r#"{"timestamp":"1970-01-01T00:00:01.5Z","level":"WARN","service":"order","#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"00f067aa0ba902b7","message":"request","method":"GET","path":"/pay","#,
            r#""status":503,"duration_ms":1.234,"protocol":"http1","client":"10.0.0.1","caller":"spiffe://a/svc/cart","request_id":"r1","revision":7,"colour":"green","#,
            r#""handed_over":false,"taken_over":true,"reason":"app-unreachable"}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn errors_are_always_wanted() {
        let log = AccessLog::start(AccessLogSetting::EveryNth(10)).expect("started");
        let told = |enabled, share| Share::of(shop_contract::AccessLog { enabled, share });
        for (share, of_100) in [
            (log.default_share(), 10),
            (told(true, 2_500), 25),
            (told(true, 0), 0),
            (told(true, 10_000), 100),
        ] {
            assert_eq!((0..100).filter(|_| log.wants(share, false)).count(), of_100);
            assert!((0..100).all(|_| log.wants(share, true)));
        }
        for off in [told(false, 10_000), AccessLogSetting::Off.into()] {
            assert!(!log.wants(off, true) && !log.wants(off, false));
        }
    }

    #[test]
    fn a_long_path_is_cut_off() {
        let long = PathAndQuery::try_from(format!("/{}?q", "\u{e9}".repeat(2_000))).expect("path");
        let shown = shown_path(Some(&long));
        assert!((LONGEST_PATH - 1..=LONGEST_PATH).contains(&shown.len()));
        assert_eq!((&*shown_path(None), &*shown_path(Some(&PathAndQuery::from_static("/a?b")))), ("/", "/a"));
    }
}
