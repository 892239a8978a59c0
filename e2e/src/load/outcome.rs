//! What can become of a request: the closed lists that samples, reports and tables share.

use serde::Serialize;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// All of them, in the order of the variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it in tables and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// How a request travels.
    Kind {
        /// HTTP/1.1 on a connection that is used again and again.
        KeepAlive = "keep_alive",
        /// HTTP/1.1 on a connection of its own.
        NewConnection = "new_connection",
        /// HTTP/2 with prior knowledge, many streams on few connections.
        Http2 = "http2",
        /// A unary gRPC call, its trailers checked.
        Grpc = "grpc",
        /// A message on a long-lived WebSocket, and its echo.
        WebSocket = "web_socket",
    }
}

words! {
    /// Why a request failed.
    Failure {
        /// Nobody listened at the address.
        ConnectRefused = "connect_refused",
        /// The connection was not established in time.
        ConnectTimeout = "connect_timeout",
        /// The connection could not be established for another reason: unreachable, or reset in its handshake.
        ConnectFailed = "connect_failed",
        /// The connection or stream was cut after the request was sent, before its answer had begun.
        ResetBeforeAnswer = "reset_before_answer",
        /// The connection or stream was cut within the answer.
        ResetInAnswer = "reset_in_answer",
        /// The answer's status was 500 or more.
        Status5xx = "status_5xx",
        /// The answer's status was neither the expected one nor 500 or more.
        StatusOther = "status_other",
        /// The call ended with another `grpc-status` than 0, or without one.
        GrpcStatus = "grpc_status",
        /// A WebSocket ended without a close frame of code 1012 (service restart).
        WsCut = "ws_cut",
        /// Refused unprocessed (`REFUSED_STREAM`, or above the last stream of a `GOAWAY`) more often than it was sent again.
        GoawayUnprocessed = "goaway_unprocessed",
        /// No complete answer within the request's time.
        Timeout = "timeout",
        /// The answer broke its protocol.
        BadAnswer = "bad_answer",
        /// The generator itself had no room for it: nothing was sent.
        NotSent = "not_sent",
    }
}

/// One request that has ended. Times are microseconds since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How it travelled.
    pub kind: Kind,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Which version answered.
    pub version: VersionId,
    /// When it was due: latency counts from here, so that waiting for a stalled server is not left out.
    pub scheduled: u64,
    /// When its stream began. For a message on a WebSocket that is the handshake, for everything else the same as `sent`.
    pub begun: u64,
    /// When it was sent.
    pub sent: u64,
    /// When its answer was complete, or it had failed.
    pub ended: u64,
}

impl Sample {
    /// From when it was due until its answer was complete.
    pub fn latency(&self) -> u64 {
        self.ended.saturating_sub(self.scheduled)
    }
}

/// Index into the versions that a recorder has seen; see [`super::Report::version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub u8);

impl VersionId {
    /// No answer, or one that does not say its version.
    pub const NONE: Self = Self(0);
}

/// What happened to the connections of one kind, beside the requests. None of these is a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Connections opened.
    pub opened: u64,
    /// HTTP/1 answers with `Connection: close`: the next request opens another connection.
    pub closed_by_answer: u64,
    /// Kept connections that the server had closed before the next request was sent on them.
    pub closed_idle: u64,
    /// HTTP/2 connections ended by a `GOAWAY`.
    pub goaway: u64,
    /// WebSocket connections closed by a close frame of code 1012.
    pub closed_1012: u64,
    /// Requests that the server had refused unprocessed, and that were sent again on another connection.
    pub sent_again: u64,
}
