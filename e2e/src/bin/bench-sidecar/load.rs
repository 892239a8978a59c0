//! Requests over kept-alive connections, at a fixed rate or without pause, a thread for each connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::proxies::Running;
use crate::requests::{Requests, Sender};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a load found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) requests: u64,
    /// From when each request was due to the end of its answer, in nanoseconds; empty without a rate.
    pub(crate) latencies: Vec<u64>,
    /// The 99th percentile of how late requests were sent, in nanoseconds.
    pub(crate) late: u64,
    connections: Vec<Connection>,
}

impl Found {
    /// The proxy's memory while all connections are still open.
    pub(crate) fn rss_while(&self, running: &Running) -> Result<u64> {
        if self.connections.is_empty() {
            bail!("the load has no connections");
        }
        running.rss()
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    sender: Sender,
}

impl Connection {
    fn open(address: SocketAddr, sender: Sender) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; 8 * 1024], sender })
    }

    /// One request and its whole answer, which must be a 200.
    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.sender.next())?;
        let mut have = 0;
        loop {
            let room = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.stream.read(room).context("no answer in time")?;
            if read == 0 {
                bail!("the connection was closed, or the answer is too long: {:?}", self.text(have));
            }
            have += read;
            let whole = self.buffer.get(..have).unwrap_or_default();
            if answer_length(whole)?.is_some_and(|length| have >= length) {
                return Ok(());
            }
        }
    }

    fn text(&self, have: usize) -> String {
        String::from_utf8_lossy(self.buffer.get(..have.min(200)).unwrap_or_default()).into_owned()
    }
}

/// Bytes of an answer, as soon as its head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        bail!("answered {:?}", head.lines().next().unwrap_or_default());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("an answer without content-length")?.trim().parse()?;
    Ok(Some(end + 4 + length))
}

/// So many requests in a second, spread over connections, each sent when it is due or as soon as its connection is free.
pub(crate) fn at_rate(
    address: SocketAddr,
    requests: &Requests,
    rate: u32,
    connections: usize,
    duration: Duration,
) -> Result<Found> {
    let interval = Duration::from_secs(1) / rate;
    let begin = Instant::now() + Duration::from_millis(20);
    let workers = (0..connections).map(|worker| {
        let sender = requests.sender(worker);
        thread::spawn(move || -> Result<(Vec<u64>, Vec<u64>, Connection)> {
            let mut connection = Connection::open(address, sender)?;
            let (mut latencies, mut late) = (Vec::new(), Vec::new());
            let mut number = u32::try_from(worker)?;
            while interval * number < duration {
                let due = begin + interval * number;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                late.push(nanos(due.elapsed()));
                connection.ask()?;
                latencies.push(nanos(due.elapsed()));
                number += u32::try_from(connections)?;
            }
            Ok((latencies, late, connection))
        })
    });
    let (mut found, mut late) = (Found::default(), Vec::new());
    for (latencies, lates, connection) in joined(workers)? {
        found.requests += latencies.len() as u64;
        found.latencies.extend(latencies);
        late.extend(lates);
        found.connections.push(connection);
    }
    late.sort_unstable();
    found.late = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
    Ok(found)
}

/// As many requests as come back, one at a time on each connection.
pub(crate) fn without_pause(
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    duration: Duration,
) -> Result<Found> {
    let barrier = std::sync::Arc::new(Barrier::new(connections));
    let workers = (0..connections).map(|worker| {
        let barrier = std::sync::Arc::clone(&barrier);
        let sender = requests.sender(worker);
        thread::spawn(move || -> Result<(u64, Connection)> {
            let connection = Connection::open(address, sender);
            barrier.wait();
            let mut connection = connection?;
            let end = Instant::now() + duration;
            let mut requests = 0;
            while Instant::now() < end {
                connection.ask()?;
                requests += 1;
            }
            Ok((requests, connection))
        })
    });
    let mut found = Found::default();
    for (requests, connection) in joined(workers)? {
        found.requests += requests;
        found.connections.push(connection);
    }
    Ok(found)
}

/// Every request once.
pub(crate) fn each_once(address: SocketAddr, requests: &Requests, connections: usize) -> Result<()> {
    let workers = (0..connections).map(|worker| {
        let (sender, count) = requests.share(worker, connections);
        thread::spawn(move || -> Result<()> {
            let mut connection = Connection::open(address, sender)?;
            (0..count).try_for_each(|_| connection.ask())
        })
    });
    joined(workers).map(drop)
}

/// Starts all of them before it waits for the first.
fn joined<T>(workers: impl Iterator<Item = JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let workers: Vec<_> = workers.collect();
    let join = |worker: JoinHandle<Result<T>>| {
        worker.join().unwrap_or_else(|_| Err(anyhow!("a worker of the load panicked")))
    };
    workers.into_iter().map(join).collect()
}

/// Looks at something while so many connections are open that have had one request each.
pub(crate) fn with_idle<T>(
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    look: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut connection = Connection::open(address, requests.sender(number))?;
        connection.ask()?;
        connection.buffer = Vec::new();
        open.push(connection);
    }
    let seen = look();
    drop(open);
    seen
}

/// Looks at something while so many WebSockets are open.
pub(crate) fn with_websockets<T>(
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    look: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&requests.handshake())?;
        let (mut answer, mut have) = ([0; 1024], 0);
        while !answer.get(..have).unwrap_or_default().ends_with(b"\r\n\r\n") {
            let read = stream.read(answer.get_mut(have..).unwrap_or_default()).context("no handshake")?;
            ensure!(read > 0, "the handshake was not answered: {:?}", String::from_utf8_lossy(&answer));
            have += read;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101"), "no WebSocket: {:?}", String::from_utf8_lossy(&answer));
        open.push(stream);
    }
    let seen = look();
    drop(open);
    seen
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
