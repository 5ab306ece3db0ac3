//! One request and its response on a connection that carries others too.
//!
//! Whoever waits for the response, or for a piece of its body, sends the request's body on as it polls. So all of a stream is in
//! one hand, and h2 resets it when that lets go before its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::link::Request;
use crate::gate::body::{Cause, Received, RequestBody, flow};
use crate::gate::upstream::connection::BodyFailure;
use crate::gate::upstream::pause::Pause;
use crate::gate::upstream::pool::Use;
use crate::http::http2;

/// A request's body on its way.
#[derive(Debug)]
pub(super) struct Upload {
    /// What the client still sends; `None` when all of it went out, or the application takes no more.
    body: Option<RequestBody>,
    /// What of it waits for room.
    piece: Bytes,
    stream: SendStream<Bytes>,
}

impl Upload {
    pub(super) const fn new(body: Option<RequestBody>, stream: SendStream<Bytes>) -> Self {
        Self { body, piece: Bytes::new(), stream }
    }

    const fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// Sends on as much as goes now; ready when all of it is sent, or the application takes no more.
    ///
    /// # Errors
    /// When the client breaks off: the stream is then reset.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            if !self.piece.is_empty() {
                let Some(room) = ready!(flow::room(&mut self.stream, self.piece.len(), cx)) else {
                    // What it has to say about that, the response says.
                    self.body = None;
                    return Poll::Ready(Ok(()));
                };
                let part = self.piece.split_to(room.min(self.piece.len()));
                let last = self.piece.is_empty() && body.is_end_stream();
                if self.stream.send_data(part, last).is_err() || last {
                    self.body = None;
                }
                continue;
            }
            let trailers = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.piece = data;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
                Some(Err(cause)) => {
                    self.stream.send_reset(flow::reason(&cause).unwrap_or(Reason::CANCEL));
                    self.body = None;
                    return Poll::Ready(Err(cause));
                }
                None => None,
            };
            // An error is an application that takes no more.
            let _ = match trailers {
                Some(trailers) => self.stream.send_trailers(trailers),
                None => self.stream.send_data(Bytes::new(), true),
            };
            self.body = None;
        }
    }
}

/// A response whose body is still to come. Dropping it before its end resets the stream.
#[derive(Debug)]
pub(in crate::gate) struct Stream {
    body: Received,
    /// Whether its trailers cannot be passed on, so that it never comes to its end.
    broken: bool,
    upload: Upload,
    pause: Pause,
    /// What counts it at its address,
    _using: Use,
    /// and at its connection.
    _request: Request,
}

impl Stream {
    /// The body behind these headers.
    pub(super) fn new(
        headers: &HeaderMap,
        (body, upload): (RecvStream, Upload),
        pause: Pause,
        (using, request): (Use, Request),
    ) -> Self {
        let body = Received::new(body, headers);
        Self { body, broken: false, upload, pause, _using: using, _request: request }
    }

    pub(in crate::gate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        // Whether the client breaks off shows in the response too: the stream is reset then.
        let _ = self.upload.poll(cx);
        let frame = match self.body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            // While the client still sends, the application is not waited for alone.
            Poll::Pending if !self.upload.is_over() => return Poll::Pending,
            Poll::Pending => {
                ready!(self.pause.poll(cx));
                return Poll::Ready(Some(Err(BodyFailure::Stalled)));
            }
        };
        self.pause.moved();
        Poll::Ready(frame.map(|frame| self.pass_on(frame?)))
    }

    fn pass_on(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFailure> {
        let mut trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(data) => return Ok(data),
        };
        let passed_on = http2::trailers_to_client(&mut trailers);
        self.broken = passed_on.is_err();
        passed_on?;
        Ok(Frame::trailers(trailers))
    }

    pub(in crate::gate::upstream) fn remaining(&self) -> Option<u64> {
        if self.broken { None } else { self.body.remaining() }
    }

    pub(in crate::gate::upstream) fn is_done(&self) -> bool {
        !self.broken && self.body.is_over()
    }
}
