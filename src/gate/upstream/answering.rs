//! An application that is answering: the body of its response, over whatever protocol it comes.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::connection::{BodyFailure, Connection};
use super::shared::Stream;

/// What the rest of a response comes on.
#[derive(Debug)]
pub(in crate::gate) enum Answering {
    /// A connection that serves this request alone for now.
    Alone(Box<Connection>),
    /// A stream among others of its connection.
    Shared(Box<Stream>),
}

impl Answering {
    /// The next piece of the response's body; `None` is its end.
    pub(in crate::gate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match self {
            Self::Alone(connection) => connection.poll_body(cx),
            Self::Shared(stream) => stream.poll_body(cx),
        }
    }

    /// How many bytes of the body are still to come, when that is known.
    pub(in crate::gate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Alone(connection) => connection.framing().remaining(),
            Self::Shared(stream) => stream.remaining(),
        }
    }

    /// Whether the body has come to its end.
    pub(in crate::gate) fn is_done(&self) -> bool {
        match self {
            Self::Alone(connection) => connection.framing().is_done(),
            Self::Shared(stream) => stream.is_done(),
        }
    }
}
