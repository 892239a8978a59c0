//! HTTP/2 with prior knowledge, plain and gRPC: many streams on a few connections.
//!
//! On the `h2` crate itself, because its errors tell a stream that was refused unprocessed from one that was cut. After a
//! `GOAWAY` it fails exactly the streams above the last one the peer named; the others go on.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, client::SendRequest};
use http::{HeaderMap, Method, Request, Version};
use tokio::{sync::Mutex, task::JoinSet};

use super::{Context, Failure, Kind, Progress, Queue, SENT_AGAIN_AT_MOST, check_status};

/// At most so many streams of one kind are under way.
const AT_ONCE: usize = 128;

/// A few connections, each opened when it is first needed and again after it has ended.
struct Pool {
    context: Arc<Context>,
    kind: Kind,
    slots: Vec<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    sender: Option<SendRequest<Bytes>>,
    /// Counts the connections, so that one that failed is not taken for its successor.
    number: u64,
}

/// Why a stream has no answer.
enum Unanswered {
    /// The connection takes no new streams; nothing was sent.
    Unsent,
    /// The peer says that it was not processed.
    Unprocessed,
    Failed(Failure),
}

/// Starts the workers of one kind.
pub(super) fn start(tasks: &mut JoinSet<()>, context: &Arc<Context>, queue: &Queue, kind: Kind) {
    let slots = (0..context.plan.http2.max(1)).map(|_| Mutex::default()).collect();
    let pool = Arc::new(Pool { context: Arc::clone(context), kind, slots });
    for worker in 0..AT_ONCE {
        let (pool, queue) = (Arc::clone(&pool), queue.clone());
        tasks.spawn(async move {
            while let Some(job) = queue.next().await {
                let work = async |progress: &mut Progress| pool.request(worker, progress).await;
                pool.context.finish(kind, job, work).await;
            }
        });
    }
}

impl Pool {
    async fn request(&self, worker: usize, progress: &mut Progress) -> Result<(), Failure> {
        let slot = self.slots.get(worker % self.slots.len()).expect("a remainder is within the slots");
        for _ in 0..=SENT_AGAIN_AT_MOST {
            let (sender, number) = self.connection(slot).await?;
            match self.exchange(sender, progress).await {
                Ok(()) => return Ok(()),
                Err(Unanswered::Failed(failure)) => return Err(failure),
                Err(Unanswered::Unsent) => {}
                Err(Unanswered::Unprocessed) => {
                    self.context.recorder.connections(self.kind, |count| count.sent_again += 1);
                    self.leave(slot, number).await;
                }
            }
        }
        Err(Failure::GoawayUnprocessed)
    }

    /// A connection that takes new streams.
    async fn connection(&self, slot: &Mutex<Slot>) -> Result<(SendRequest<Bytes>, u64), Failure> {
        let mut slot = slot.lock().await;
        if let Some(sender) = slot.sender.take() {
            match sender.ready().await {
                Ok(sender) => {
                    slot.sender = Some(sender.clone());
                    return Ok((sender, slot.number));
                }
                Err(error) => self.ended(&error),
            }
        }
        let stream = self.context.connect(self.kind).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22).enable_push(false);
        let (sender, connection) = builder.handshake(stream).await.map_err(|_| Failure::ConnectFailed)?;
        // Ends when the slot has let go of it and its last stream has ended.
        tokio::spawn(async {
            let _ = connection.await;
        });
        slot.sender = Some(sender.clone());
        slot.number += 1;
        Ok((sender, slot.number))
    }

    /// Takes no further stream to a connection; those that are under way go on.
    async fn leave(&self, slot: &Mutex<Slot>, number: u64) {
        let mut slot = slot.lock().await;
        if slot.number == number
            && let Some(sender) = slot.sender.take()
            && let Err(error) = sender.ready().await
        {
            self.ended(&error);
        }
    }

    /// Counts how a connection ended that was asked for a new stream.
    fn ended(&self, error: &h2::Error) {
        let goaway = error.is_go_away() && error.is_remote();
        self.context.recorder.connections(self.kind, |count| {
            if goaway {
                count.goaway += 1;
            } else {
                count.closed_idle += 1;
            }
        });
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Bytes>,
        progress: &mut Progress,
    ) -> Result<(), Unanswered> {
        let grpc = self.kind == Kind::Grpc;
        progress.sent = Some(self.context.now());
        let (answer, mut upload) = sender.send_request(self.head(), !grpc).map_err(|_| Unanswered::Unsent)?;
        // Only this request's own hold on the connection is left, so that it can end after a GOAWAY.
        drop(sender);
        if grpc {
            // An error shows at the answer too, with its reason.
            let _ = upload.send_data(grpc_frame(&self.context.plan.grpc_message), true);
        }
        let answer = answer.await.map_err(|error| unanswered(&error, Failure::ResetBeforeAnswer))?;
        let (head, mut body) = answer.into_parts();
        progress.version = self.context.version(&head.headers);
        let received = read(&mut body).await.map_err(|error| unanswered(&error, Failure::ResetInAnswer))?;
        check_status(head.status).map_err(Unanswered::Failed)?;
        if grpc {
            let trailers = body.trailers().await;
            let trailers = trailers.map_err(|error| unanswered(&error, Failure::ResetInAnswer))?;
            check_grpc(&head.headers, trailers.as_ref(), received).map_err(Unanswered::Failed)?;
        }
        Ok(())
    }

    fn head(&self) -> Request<()> {
        let plan = &self.context.plan;
        let path = if self.kind == Kind::Grpc { &plan.grpc_path } else { &plan.path };
        let mut request =
            Request::builder().version(Version::HTTP_2).uri(format!("http://{}{path}", plan.authority));
        if self.kind == Kind::Grpc {
            let request = std::mem::take(&mut request).method(Method::POST);
            return request
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .expect("path and authority are checked by the first request of the plan's author");
        }
        request.body(()).expect("path and authority are checked by the first request of the plan's author")
    }
}

/// Reads a body to its end; says how many bytes it had.
async fn read(body: &mut RecvStream) -> Result<usize, h2::Error> {
    let mut received = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        received += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(received)
}

/// Whether an error says that the stream was not processed; otherwise it is the failure given.
fn unanswered(error: &h2::Error, failure: Failure) -> Unanswered {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // The crate gives a remote GOAWAY as the error of those streams only that are above the last one it names.
    let above_last = error.is_go_away();
    if error.is_remote() && (refused || above_last) {
        Unanswered::Unprocessed
    } else if error.is_library() {
        Unanswered::Failed(Failure::BadAnswer)
    } else {
        Unanswered::Failed(failure)
    }
}

/// A message with gRPC's prefix: not compressed, its length.
fn grpc_frame(message: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a plan's message is small"));
    frame.extend_from_slice(message);
    frame.freeze()
}

/// A call went well with status 0 and a message. The status is in the trailers, or in the headers of an answer without body.
fn check_grpc(headers: &HeaderMap, trailers: Option<&HeaderMap>, received: usize) -> Result<(), Failure> {
    let status =
        trailers.and_then(|trailers| trailers.get("grpc-status")).or_else(|| headers.get("grpc-status"));
    match status {
        Some(status) if status == "0" && received >= 5 => Ok(()),
        _ => Err(Failure::GrpcStatus),
    }
}
