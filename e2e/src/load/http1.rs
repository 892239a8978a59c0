//! HTTP/1.1: connections that are kept, and connections for one request.

use std::{error::Error as _, io, sync::Arc};

use bytes::Bytes;
use http::{
    Request,
    header::{CONNECTION, HOST},
};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{Context, Failure, Kind, Progress, Queue, check_status};

type Sender = SendRequest<Empty<Bytes>>;

/// At most so many requests on connections of their own are under way.
const NEW_AT_ONCE: usize = 256;

/// Starts the workers of the kept connections, one each.
pub(super) fn keep_alive(tasks: &mut JoinSet<()>, context: &Arc<Context>, queue: &Queue) {
    for _ in 0..context.plan.keep_alive.max(1) {
        let (context, queue) = (Arc::clone(context), queue.clone());
        tasks.spawn(async move {
            let mut kept: Option<Sender> = None;
            while let Some(job) = queue.next().await {
                let work = async |progress: &mut Progress| over_kept(&context, &mut kept, progress).await;
                if !context.finish(Kind::KeepAlive, job, work).await {
                    kept = None;
                }
            }
        });
    }
}

/// Starts the workers for requests on connections of their own.
pub(super) fn new_connection(tasks: &mut JoinSet<()>, context: &Arc<Context>, queue: &Queue) {
    for _ in 0..NEW_AT_ONCE {
        let (context, queue) = (Arc::clone(context), queue.clone());
        tasks.spawn(async move {
            while let Some(job) = queue.next().await {
                let work = async |progress: &mut Progress| {
                    let mut sender = open(&context, Kind::NewConnection).await?;
                    exchange(&context, &mut sender, progress).await.map(|_| ()).map_err(Unanswered::failure)
                };
                context.finish(Kind::NewConnection, job, work).await;
            }
        });
    }
}

/// One request over the kept connection, or over another one where that has ended in the meantime.
async fn over_kept(
    context: &Context,
    kept: &mut Option<Sender>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    // Out of its place while it is used: a request that is given up takes its connection with it.
    if let Some(mut sender) = kept.take() {
        match exchange(context, &mut sender, progress).await {
            Ok(keep) => {
                *kept = kept_if(context, keep, sender);
                return Ok(());
            }
            Err(Unanswered::Unsent) => {
                context.recorder.connections(Kind::KeepAlive, |count| count.closed_idle += 1);
            }
            Err(Unanswered::Failed(failure)) => return Err(failure),
        }
    }
    let mut sender = open(context, Kind::KeepAlive).await?;
    let keep = exchange(context, &mut sender, progress).await.map_err(Unanswered::failure)?;
    *kept = kept_if(context, keep, sender);
    Ok(())
}

/// The connection, unless its last answer asked for another one.
fn kept_if(context: &Context, keep: bool, sender: Sender) -> Option<Sender> {
    if !keep {
        context.recorder.connections(Kind::KeepAlive, |count| count.closed_by_answer += 1);
    }
    keep.then_some(sender)
}

/// Why there is no answer.
enum Unanswered {
    /// The connection had ended before a byte of the request was written.
    Unsent,
    Failed(Failure),
}

impl Unanswered {
    /// On a connection that was opened for the request, an early end is a failure too.
    fn failure(self) -> Failure {
        match self {
            Self::Unsent => Failure::ResetBeforeAnswer,
            Self::Failed(failure) => failure,
        }
    }
}

async fn open(context: &Context, kind: Kind) -> Result<Sender, Failure> {
    let stream = context.connect(kind).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Failure::BadAnswer)?;
    // Ends with the sender. How it ended is told to the request that was under way.
    tokio::spawn(async {
        let _ = connection.await;
    });
    Ok(sender)
}

/// One request and its answer. Says whether the connection can be used again.
async fn exchange(
    context: &Context,
    sender: &mut Sender,
    progress: &mut Progress,
) -> Result<bool, Unanswered> {
    sender.ready().await.map_err(|_| Unanswered::Unsent)?;
    let request = Request::get(&context.plan.path)
        .header(HOST, &context.plan.authority)
        .body(Empty::new())
        .expect("path and authority are checked by the first request of the plan's author");
    progress.sent = Some(context.now());
    let answer = match sender.try_send_request(request).await {
        Ok(answer) => answer,
        Err(mut error) => {
            return Err(match error.take_message() {
                Some(_) => Unanswered::Unsent,
                None => Unanswered::Failed(before_answer(error.error())),
            });
        }
    };
    let (head, body) = answer.into_parts();
    progress.version = context.version(&head.headers);
    body.collect().await.map_err(|_| Unanswered::Failed(Failure::ResetInAnswer))?;
    let closes = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
    };
    let close = head.headers.get_all(CONNECTION).iter().any(closes);
    check_status(head.status).map_err(Unanswered::Failed)?;
    Ok(!close)
}

/// What an error before the answer's head was complete means.
fn before_answer(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::BadAnswer;
    }
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Failure::Timeout,
        _ => Failure::ResetBeforeAnswer,
    }
}
