//! A body on a stream of HTTP/2: a client's, and an application's.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Frame;

/// What of it is still to come.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    remaining: Option<u64>,
}

impl Received {
    /// The body behind these headers, whose length h2 has found good and holds the other side to.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let remaining = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { stream, remaining }
    }

    /// The next frame. A stream that the other side resets, for whatever reason, ends with an error: what came may be half of what
    /// was to be said, and nobody must take that for the whole.
    pub(in crate::gate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Poll::Ready(match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                let length = data.len();
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length as u64));
                // The next piece is asked for when this one is on its way, so the window is what its reader may be behind.
                let released = self.stream.flow_control().release_capacity(length);
                Some(released.map(|()| Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => match ready!(self.stream.poll_trailers(cx)) {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            },
        })
    }

    pub(in crate::gate) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(in crate::gate) fn remaining(&self) -> Option<u64> {
        if self.is_over() { Some(0) } else { self.remaining }
    }
}
