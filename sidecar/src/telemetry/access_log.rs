//! One JSON line per request, sampled, written by a thread of its own: a slow reader of the log costs lines, never requests.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, uri::PathAndQuery};
use serde::Serialize;

use crate::settings::AccessLogSetting;

/// Lines that may wait for the writer.
const QUEUE: usize = 1_024;

/// Where lines go.
#[derive(Debug)]
pub struct AccessLog {
    sample: u64,
    seen: AtomicU64,
    queue: Option<SyncSender<Box<Line>>>,
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
    /// Its path; the query is never logged, it may hold a token.
    pub path: Option<PathAndQuery>,
    /// Status of the answer.
    pub status: u16,
    /// What the caller speaks.
    pub protocol: &'static str,
    /// Address of the client, if the request made enough sense to tell.
    pub client: Option<IpAddr>,
    /// `traceparent`, as it came.
    pub trace: Option<HeaderValue>,
    /// `x-request-id`, as it came or was made.
    pub request_id: Option<HeaderValue>,
    /// The service.
    pub service: std::sync::Arc<str>,
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
}

#[derive(Serialize)]
struct Written<'a> {
    timestamp: String,
    level: &'static str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    message: &'static str,
    method: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: f64,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
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
}

impl AccessLog {
    /// Starts the writer.
    pub fn start(setting: AccessLogSetting) -> std::io::Result<Self> {
        let (sample, queue) = match setting {
            AccessLogSetting::Off => (1, None),
            AccessLogSetting::EveryNth(sample) => {
                let (sender, receiver) = sync_channel(QUEUE);
                std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&receiver))?;
                (sample.max(1), Some(sender))
            }
        };
        Ok(Self { sample, seen: AtomicU64::new(0), queue })
    }

    /// Whether a request with this status is to be logged; counts it.
    pub fn wants(&self, status: u16) -> bool {
        self.queue.is_some()
            && (status >= 500 || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample))
    }

    /// Queues a line; says whether there was room.
    pub fn log(&self, line: Line) -> bool {
        let sent = self.queue.as_ref().map(|queue| queue.try_send(Box::new(line)));
        !matches!(sent, Some(Err(TrySendError::Full(_))))
    }
}

fn write(lines: &Receiver<Box<Line>>) {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut next = lines.recv().ok();
    while let Some(line) = next {
        // A closed stdout is nobody's loss: the container runtime that read it is gone.
        let _ = serde_json::to_writer(&mut out, &written(&line));
        let _ = out.write_all(b"\n");
        next = if let Ok(line) = lines.try_recv() {
            Some(line)
        } else {
            let _ = out.flush();
            lines.recv().ok()
        };
    }
}

fn written(line: &Line) -> Written<'_> {
    Written {
        timestamp: super::log::timestamp(line.at),
        level: if line.status >= 500 { "WARN" } else { "INFO" },
        service: &line.service,
        trace_id: line.trace.as_ref().and_then(trace_id),
        message: "request",
        method: line.method.as_str(),
        path: line.path.as_ref().map_or("/", PathAndQuery::path),
        status: line.status,
        duration_ms: (line.took.as_secs_f64() * 1e6).round() / 1e3,
        protocol: line.protocol,
        client: line.client,
        request_id: line.request_id.as_ref().and_then(|id| id.to_str().ok()),
        revision: line.revision,
        colour: line.colour,
        handed_over: line.handed_over,
        taken_over: line.taken_over,
        mirrored: line.mirrored,
        reason: line.reason,
    }
}

/// The trace id in a `traceparent` (W3C Trace Context): `version-<32 hex>-parent-flags`.
fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &'static str) -> Line {
        Line {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            took: Duration::from_micros(1_234),
            method: Method::GET,
            path: Some(PathAndQuery::from_static(path)),
            status: 503,
            protocol: "http1",
            client: Some([10, 0, 0, 1].into()),
            trace: Some(HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            request_id: Some(HeaderValue::from_static("r1")),
            service: "order".into(),
            revision: 7,
            colour: "green",
            handed_over: false,
            taken_over: true,
            mirrored: false,
            reason: Some("app-unreachable"),
        }
    }

    #[test]
    fn a_line_holds_no_query() {
        let text = serde_json::to_string(&written(&line("/pay?token=secret"))).expect("json");
        let expected = concat!(
            r#"{"timestamp":"1970-01-01T00:00:01.5Z","level":"WARN","service":"order","#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","message":"request","method":"GET","path":"/pay","#,
            r#""status":503,"duration_ms":1.234,"protocol":"http1","client":"10.0.0.1","request_id":"r1","revision":7,"colour":"green","#,
            r#""handed_over":false,"taken_over":true,"reason":"app-unreachable"}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn errors_are_always_wanted() {
        let log = AccessLog::start(AccessLogSetting::EveryNth(10)).expect("started");
        assert_eq!((0..100).filter(|_| log.wants(200)).count(), 10);
        assert!((0..100).all(|_| log.wants(500)));
        assert!(!AccessLog::start(AccessLogSetting::Off).expect("started").wants(500));
    }
}
