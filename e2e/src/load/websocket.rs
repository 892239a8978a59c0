//! Long-lived WebSocket connections: each message is a request, its echo the answer.
//!
//! A server that restarts says so with a close frame of code 1012 (RFC 6455, 7.4 and its registry): the client opens another
//! WebSocket, and sends again the message that had no echo yet. Any other end is a failure, with a message under way or not.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use super::{Context, Failure, Kind, Progress, Queue, SENT_AGAIN_AT_MOST, VersionId};

const KIND: Kind = Kind::WebSocket;

/// A WebSocket, with what all its echoes have in common.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    begun: u64,
    version: VersionId,
}

/// How a WebSocket ended.
enum End {
    /// By a close frame of code 1012.
    Restart,
    Cut,
}

/// Starts the workers, one for each WebSocket.
pub(super) fn start(tasks: &mut JoinSet<()>, context: &Arc<Context>, queue: &Queue) {
    for worker in 0..context.plan.web_sockets.max(1) {
        tasks.spawn(work(Arc::clone(context), queue.clone(), worker));
    }
}

async fn work(context: Arc<Context>, queue: Queue, worker: usize) {
    let mut socket: Option<Socket> = None;
    let mut number = 0_u64;
    loop {
        let job = match &mut socket {
            None => queue.next().await,
            Some(open) => tokio::select! {
                biased;
                end = open.until_end() => {
                    if let Some(ended) = socket.take() {
                        ended.after(&context, &end);
                    }
                    if matches!(end, End::Cut) {
                        context.failed(KIND, context.now(), Failure::WsCut);
                    }
                    continue;
                }
                job = queue.next() => job,
            },
        };
        let Some(job) = job else { break };
        number += 1;
        let text = format!("load {worker} {number}");
        let echo = async |progress: &mut Progress| echo(&context, &mut socket, &text, progress).await;
        if !context.finish(KIND, job, echo).await {
            socket = None;
        }
    }
    if let Some(mut open) = socket {
        let _ = timeout(Duration::from_secs(1), open.stream.close(None)).await;
    }
}

/// Sends a text and waits for its echo, over another WebSocket where the server restarts.
async fn echo(
    context: &Context,
    socket: &mut Option<Socket>,
    text: &str,
    progress: &mut Progress,
) -> Result<(), Failure> {
    for _ in 0..=SENT_AGAIN_AT_MOST {
        let mut open = match socket.take() {
            Some(open) => open,
            None => open(context).await?,
        };
        progress.begun = Some(open.begun);
        progress.sent = Some(context.now());
        match open.exchange(text).await {
            Ok(()) => {
                progress.version = open.version;
                *socket = Some(open);
                return Ok(());
            }
            Err(end) => {
                open.after(context, &end);
                if matches!(end, End::Cut) {
                    return Err(Failure::WsCut);
                }
                context.recorder.connections(KIND, |count| count.sent_again += 1);
            }
        }
    }
    Err(Failure::WsCut)
}

async fn open(context: &Context) -> Result<Socket, Failure> {
    let url = format!("ws://{}{}", context.plan.authority, context.plan.web_socket_path);
    let request = url.into_client_request().map_err(|_| Failure::BadAnswer)?;
    let stream = context.connect(KIND).await?;
    let begun = context.now();
    match client_async(request, stream).await {
        Ok((stream, answer)) => Ok(Socket { stream, begun, version: context.version(answer.headers()) }),
        Err(tungstenite::Error::Http(answer)) if answer.status().is_server_error() => Err(Failure::Status5xx),
        Err(tungstenite::Error::Http(_)) => Err(Failure::StatusOther),
        Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete)) => {
            Err(Failure::ResetBeforeAnswer)
        }
        Err(tungstenite::Error::Io(_)) => Err(Failure::ResetBeforeAnswer),
        Err(_) => Err(Failure::BadAnswer),
    }
}

impl Socket {
    async fn exchange(&mut self, text: &str) -> Result<(), End> {
        if self.stream.send(Message::text(text)).await.is_err() {
            // The close frame that explains it may be there to be read.
            return Err(self.until_end().await);
        }
        loop {
            match self.read().await? {
                Message::Text(received) if received.as_str() == text => return Ok(()),
                _ => {}
            }
        }
    }

    /// Reads what the server sends by itself until the WebSocket ends.
    async fn until_end(&mut self) -> End {
        loop {
            if let Err(end) = self.read().await {
                return end;
            }
        }
    }

    async fn read(&mut self) -> Result<Message, End> {
        match self.stream.next().await {
            Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Restart => Err(End::Restart),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Cut),
            Some(Ok(message)) => Ok(message),
        }
    }

    /// Answers the server's close frame in the background, and counts it.
    fn after(mut self, context: &Context, end: &End) {
        if matches!(end, End::Restart) {
            context.recorder.connections(KIND, |count| count.closed_1012 += 1);
            tokio::spawn(async move {
                let _ = timeout(Duration::from_secs(2), self.until_end()).await;
            });
        }
    }
}
