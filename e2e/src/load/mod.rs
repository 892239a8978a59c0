//! Open-loop load: requests at a constant rate over every kind of connection that users have, by a client that does not retry.
//!
//! A request is due at a fixed time and its latency counts from then, so that a server that stalls cannot slow the measurement
//! down with it. The client does what a correct one does without retries, and nothing more: it opens another connection after
//! `Connection: close`, begins no stream after a `GOAWAY`, and sends again only what HTTP/2 says was not processed
//! (RFC 9113, 6.8 and 8.7). Everything else that goes wrong is a failed request, by kind.

mod http1;
mod http2;
mod outcome;
mod record;
mod report;
mod websocket;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use record::Recorder;
pub use {
    outcome::{Connections, Failure, Kind, Sample, VersionId},
    record::{Clock, Live},
    report::{KindCount, Latency, Overlap, Report, window},
};

/// Header by which an answer names the version that gave it.
pub const VERSION_HEADER: &str = "x-shop-version";
/// How often a request that was refused unprocessed is sent again.
const SENT_AGAIN_AT_MOST: usize = 3;
/// How long establishing a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at a load that runs.
const LOOK: Duration = Duration::from_millis(20);
/// How long a load that was told to stop waits for its last answers beyond a request's own time.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// `Host` and `:authority`.
    pub authority: String,
    /// Requests in a second.
    pub rate: u32,
    /// End by itself after so many requests.
    pub requests: Option<u64>,
    /// Shares of the kinds of connections.
    pub mix: Mix,
    /// Kept-alive HTTP/1 connections.
    pub keep_alive: usize,
    /// HTTP/2 connections, for plain requests and for gRPC each.
    pub http2: usize,
    /// WebSocket connections.
    pub web_sockets: usize,
    /// Path of plain requests; answers 200.
    pub path: String,
    /// Path of the unary gRPC call.
    pub grpc_path: String,
    /// Its message, encoded.
    pub grpc_message: Bytes,
    /// Path of the WebSocket that sends back the text it gets.
    pub web_socket_path: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// How many samples are kept; further requests are only counted.
    pub samples: usize,
}

impl Plan {
    /// All kinds of connections against a product service.
    pub fn new(target: SocketAddr, authority: &str, rate: u32) -> Self {
        Self {
            target,
            authority: authority.to_owned(),
            rate,
            requests: None,
            mix: Mix::default(),
            keep_alive: 32,
            http2: 4,
            web_sockets: 4,
            path: "/version".to_owned(),
            grpc_path: "/shop.product.v1.Catalogue/GetProduct".to_owned(),
            grpc_message: Bytes::new(),
            web_socket_path: "/prices/feed".to_owned(),
            timeout: Duration::from_secs(10),
            samples: 1_000_000,
        }
    }
}

/// Shares of the kinds of connections, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix(pub [u32; 5]);

impl Default for Mix {
    fn default() -> Self {
        Self([60, 10, 15, 10, 5])
    }
}

impl Mix {
    /// One kind only.
    pub fn only(kind: Kind) -> Self {
        let mut shares = [0; 5];
        for (share, candidate) in shares.iter_mut().zip(Kind::ALL) {
            *share = u32::from(*candidate == kind);
        }
        Self(shares)
    }
}

/// Picks kinds by their shares, evenly spread: the smooth weighted round-robin of nginx.
#[derive(Debug)]
struct Picker {
    mix: Mix,
    credit: [i64; 5],
}

impl Picker {
    fn new(mix: Mix) -> Self {
        Self { mix, credit: [0; 5] }
    }

    fn next(&mut self) -> Kind {
        let total: i64 = self.mix.0.iter().copied().map(i64::from).sum();
        let mut best: Option<(&mut i64, Kind)> = None;
        for ((credit, share), kind) in self.credit.iter_mut().zip(self.mix.0).zip(Kind::ALL) {
            *credit += i64::from(share);
            if share > 0 && best.as_ref().is_none_or(|(most, _)| *credit > **most) {
                best = Some((credit, *kind));
            }
        }
        best.map_or(Kind::KeepAlive, |(credit, kind)| {
            *credit -= total;
            kind
        })
    }
}

/// A request that is due.
#[derive(Clone, Copy, Debug)]
struct Job {
    scheduled: u64,
}

/// The requests of one kind that wait for a worker. The lock is fair, so that the workers, and with them the connections, take
/// turns.
#[derive(Clone, Debug)]
struct Queue(Arc<Mutex<mpsc::Receiver<Job>>>);

impl Queue {
    async fn next(&self) -> Option<Job> {
        self.0.lock().await.recv().await
    }
}

/// What all workers share.
#[derive(Debug)]
struct Context {
    plan: Plan,
    recorder: Recorder,
}

/// How far a request has come: survives its being given up at its timeout.
#[derive(Clone, Copy, Debug)]
struct Progress {
    begun: Option<u64>,
    sent: Option<u64>,
    version: VersionId,
}

impl Context {
    fn now(&self) -> u64 {
        self.recorder.clock.now()
    }

    async fn connect(&self, kind: Kind) -> Result<TcpStream, Failure> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(self.plan.target)).await {
            Err(_) => return Err(Failure::ConnectTimeout),
            Ok(Err(error)) => {
                return Err(match error.kind() {
                    io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
                    io::ErrorKind::TimedOut => Failure::ConnectTimeout,
                    _ => Failure::ConnectFailed,
                });
            }
            Ok(Ok(stream)) => stream,
        };
        // Without it a failure to set the option is only slower.
        let _ = stream.set_nodelay(true);
        self.recorder.connections(kind, |count| count.opened += 1);
        Ok(stream)
    }

    /// The version that an answer names.
    fn version(&self, headers: &HeaderMap) -> VersionId {
        let name = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        name.map_or(VersionId::NONE, |name| self.recorder.version(name))
    }

    /// Runs one request to its end or its timeout, and takes it down. Says whether it went well.
    async fn finish(
        &self,
        kind: Kind,
        job: Job,
        work: impl AsyncFnOnce(&mut Progress) -> Result<(), Failure>,
    ) -> bool {
        let started = self.now();
        let mut progress = Progress { begun: None, sent: None, version: VersionId::NONE };
        let result = timeout(self.plan.timeout, work(&mut progress)).await;
        let failure = result.unwrap_or(Err(Failure::Timeout)).err();
        let sent = progress.sent.unwrap_or(started);
        self.recorder.take(Sample {
            kind,
            failure,
            version: progress.version,
            scheduled: job.scheduled,
            begun: progress.begun.unwrap_or(sent),
            sent,
            ended: self.now(),
        });
        failure.is_none()
    }

    /// Takes down a request that could not be tried, or a failure that no request had.
    fn failed(&self, kind: Kind, scheduled: u64, failure: Failure) {
        let now = self.now();
        let version = VersionId::NONE;
        self.recorder.take(Sample {
            kind,
            failure: Some(failure),
            version,
            scheduled,
            begun: now,
            sent: now,
            ended: now,
        });
    }
}

/// Whether a status is the expected one.
fn check_status(status: http::StatusCode) -> Result<(), Failure> {
    if status == http::StatusCode::OK {
        Ok(())
    } else if status.is_server_error() {
        Err(Failure::Status5xx)
    } else {
        Err(Failure::StatusOther)
    }
}

/// What can be seen of a load while it runs.
#[derive(Clone, Debug)]
pub struct View(Arc<Context>);

impl View {
    /// Microseconds since it began: marks moments that the report is asked about.
    pub fn now(&self) -> u64 {
        self.0.now()
    }

    /// What happened since this was last called, on any view.
    pub fn live(&self) -> Live {
        self.0.recorder.live()
    }

    /// Everything so far.
    pub fn report(&self) -> Report {
        self.0.recorder.report()
    }

    /// Waits for an answer of a version that ends after `since`, and says when that was; `None` if none comes in time.
    pub async fn first_answer(&self, version: &str, since: u64, within: Duration) -> Option<u64> {
        let deadline = Instant::now() + within;
        loop {
            let found = self.0.recorder.first_answer(version, since);
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until so many requests have ended, over all; says whether they have in time.
    pub async fn requests(&self, count: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if self.0.recorder.requests() >= count {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until so many microseconds have passed since it began.
    pub async fn until(&self, at: u64) {
        sleep_until(self.0.recorder.clock.instant(at).into()).await;
    }
}

/// A load that runs. Dropping it ends it at once.
#[derive(Debug)]
pub struct Load {
    view: View,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Load {
    /// Begins, on the current runtime: its threads are what reaches the target.
    pub fn start(plan: Plan) -> Self {
        let recorder = Recorder::new(Clock::start(), plan.samples);
        let context = Arc::new(Context { plan, recorder });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut queues = Vec::with_capacity(Kind::ALL.len());
        for kind in Kind::ALL {
            // Ten seconds of everything: what is longer in coming is lost to the machine, not to the server.
            let rate = usize::try_from(context.plan.rate).unwrap_or(1_000);
            let (sender, receiver) = mpsc::channel(rate.saturating_mul(10).clamp(100, 50_000));
            queues.push((*kind, sender));
            let queue = Queue(Arc::new(Mutex::new(receiver)));
            match kind {
                Kind::KeepAlive => http1::keep_alive(&mut tasks, &context, &queue),
                Kind::NewConnection => http1::new_connection(&mut tasks, &context, &queue),
                Kind::Http2 | Kind::Grpc => http2::start(&mut tasks, &context, &queue, *kind),
                Kind::WebSocket => websocket::start(&mut tasks, &context, &queue),
            }
        }
        tasks.spawn(dispatch(Arc::clone(&context), queues, stop.clone()));
        Self { view: View(context), stop, tasks }
    }

    /// What can be seen of it.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Sends nothing more, waits for the answers that are still due, and reports.
    pub async fn stop(mut self) -> Report {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until the plan's number of requests has been sent and answered, and reports.
    pub async fn finish(mut self) -> Report {
        let plan = &self.view.0.plan;
        if let Some(requests) = plan.requests {
            let sending = requests.saturating_mul(1_000_000) / u64::from(plan.rate.max(1));
            let left = Duration::from_micros(sending.saturating_sub(self.view.now()));
            let patience = left + plan.timeout + STOP_SLACK;
            let _ = timeout(patience, self.workers_end()).await;
        }
        self.stop.cancel();
        self.ended().await
    }

    async fn workers_end(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    async fn ended(&mut self) -> Report {
        let patience = self.view.0.plan.timeout + STOP_SLACK;
        let _ = timeout(patience, self.workers_end()).await;
        self.tasks.shutdown().await;
        self.view.report()
    }
}

/// Puts each request into its queue when it is due.
async fn dispatch(context: Arc<Context>, queues: Vec<(Kind, mpsc::Sender<Job>)>, stop: CancellationToken) {
    let mut picker = Picker::new(context.plan.mix);
    let rate = u64::from(context.plan.rate.max(1));
    for index in 0..context.plan.requests.unwrap_or(u64::MAX) {
        let scheduled = index.saturating_mul(1_000_000) / rate;
        let due = context.recorder.clock.instant(scheduled);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_until(due.into()) => {}
        }
        context.recorder.late(context.now().saturating_sub(scheduled));
        let kind = picker.next();
        let queue = queues.iter().find(|(candidate, _)| *candidate == kind);
        if queue.is_none_or(|(_, queue)| queue.try_send(Job { scheduled }).is_err()) {
            context.failed(kind, scheduled, Failure::NotSent);
        }
    }
}

#[cfg(test)]
mod tests;
