//! Bodies on their way through: streamed frame by frame, never collected, watched for stalls and counted.

pub mod flow;
mod incoming;
mod received;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

pub use self::incoming::{Handover, Incoming};
pub use self::received::Received;
use super::client::Client;
use super::exchange::Exchange;
use super::upstream::Answering;
use crate::error::{Code, Problem, causes};
use crate::http::forwarding;

/// The cause of a body's failure.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to the application: what was looked at already, then the rest as it comes.
#[derive(Debug)]
pub struct RequestBody {
    seen: Bytes,
    rest: Incoming,
    finished: bool,
    client: Arc<Client>,
}

impl RequestBody {
    /// The body of a request of `client`.
    pub fn new(rest: Incoming, client: Arc<Client>) -> Self {
        client.phases.body_is_open(!rest.is_over());
        Self { seen: Bytes::new(), rest, finished: false, client }
    }

    /// Reads on until there is more than `bound`; says whether that was all of it.
    ///
    /// # Errors
    /// [`Code::RequestTimeout`] when the client stalls, [`Code::InvalidRequest`] when it breaks off.
    pub(super) async fn read(&mut self, bound: usize) -> Result<(Bytes, bool), Problem> {
        let client = self.client.clone();
        client.phases.body_inspected();
        let mut seen = BytesMut::new();
        while seen.len() <= bound {
            let frame = poll_fn(|cx| match Pin::new(&mut *self).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                Poll::Pending => client.phases.poll_response_limit(cx).map(|_| Err(Problem::new(Code::RequestTimeout))),
            });
            match frame.await? {
                None => return Ok((seen.freeze(), true)),
                Some(Ok(frame)) => seen.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref)),
                Some(Err(_)) => {
                    return Err(Problem::with_detail(Code::InvalidRequest, "The request's body broke off."));
                }
            }
        }
        Ok((seen.freeze(), false))
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] when it is more than `bound`, and those of [`RequestBody::read`].
    pub(super) async fn read_whole(mut self, bound: usize) -> Result<Bytes, Problem> {
        if self.size_hint().lower() > bound as u64 {
            return Err(Problem::new(Code::PayloadTooLarge));
        }
        match self.read(bound).await? {
            (whole, true) if whole.len() <= bound => Ok(whole),
            _ => Err(Problem::new(Code::PayloadTooLarge)),
        }
    }

    /// Puts the part that was taken out of it for a look back in front.
    pub(super) fn put_back(&mut self, seen: Bytes) {
        self.seen = seen;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = self.get_mut();
        if this.seen.has_remaining() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.seen)))));
        }
        match this.rest.poll_frame(cx) {
            Poll::Pending => {
                this.client.phases.body_awaited();
                Poll::Pending
            }
            Poll::Ready(frame) => {
                this.client.phases.body_moved();
                match frame {
                    Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                        Ok(mut trailers) => {
                            let config = &this.client.gate.config;
                            let rewritten = config.trace.rewritten();
                            match forwarding::trailers_to_upstream(&mut trailers, &config.identity, rewritten) {
                                Ok(()) => Frame::trailers(trailers),
                                // As when they cannot be read at all: the body has no end.
                                Err(too_many) => return Poll::Ready(Some(Err(too_many.into()))),
                            }
                        }
                        Err(data) => data,
                    }))),
                    Some(Err(error)) => Poll::Ready(Some(Err(error))),
                    None => {
                        this.finished = true;
                        this.client.phases.body_is_open(false);
                        Poll::Ready(None)
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.seen.has_remaining() && self.rest.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        add(self.rest.size_hint(), self.seen.len())
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.rest.is_over() {
            self.client.phases.body_is_open(false);
        } else {
            self.client.phases.body_left();
        }
    }
}

/// A response's body on its way to the client. Dropping it ends the exchange: the connection to the application goes back
/// to its pool if the body was read to its end, and the access log gets its line.
#[derive(Debug)]
pub struct ResponseBody {
    seen: Bytes,
    /// The application, which is still sending.
    rest: Option<Answering>,
    exchange: Option<Box<Exchange>>,
}

impl ResponseBody {
    /// A body that is there already.
    pub const fn whole(bytes: Bytes) -> Self {
        Self { seen: bytes, rest: None, exchange: None }
    }

    /// A body that an application is sending.
    pub(super) const fn streaming(rest: Answering) -> Self {
        Self { seen: Bytes::new(), rest: Some(rest), exchange: None }
    }

    /// Puts the part that was taken out of it for a look back in front.
    pub(super) fn put_back(&mut self, seen: Bytes) {
        self.seen = seen;
    }

    /// Lets go of what the body came on, if all of it is here. What was handed out may still wait for the client.
    pub fn release(&mut self) {
        if let Some(rest) = self.rest.take_if(|rest| rest.is_done())
            && let Some(exchange) = &self.exchange
        {
            exchange.release(rest);
        }
    }

    /// Takes back what was handed out last, or the end of that: it did not go out, so the response ends before its end.
    pub fn take_back(&mut self, piece: Bytes) {
        if let Some(exchange) = &mut self.exchange {
            exchange.unsent(piece.len());
        }
        self.seen = piece;
    }

    /// The same without what is there of it already.
    #[must_use]
    pub(super) fn without_content(mut self) -> Self {
        self.seen = Bytes::new();
        self
    }

    /// Ends this exchange when the body is dropped.
    #[must_use]
    pub fn ending(mut self, exchange: Box<Exchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = self.get_mut();
        let exchange = &mut this.exchange;
        if let Some(exchange) = exchange {
            exchange.piece_wanted();
        }
        if this.seen.has_remaining() {
            let most = exchange.as_ref().map_or(usize::MAX, |exchange| exchange.largest_piece());
            let seen = this.seen.split_to(this.seen.len().min(most));
            if let Some(exchange) = exchange {
                exchange.sent(seen.len());
            }
            return Poll::Ready(Some(Ok(Frame::data(seen))));
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        if let Some(exchange) = exchange
            && let Poll::Ready(cut) = exchange.poll_cut(cx)
        {
            return Poll::Ready(Some(Err(format!("the response is cut: {}", cut.name()).into())));
        }
        let Poll::Ready(frame) = rest.poll_body(cx) else {
            if let Some(exchange) = exchange {
                exchange.lasts(rest.remaining().is_some());
                // It was watched a moment ago at most: this is for being woken.
                let _ = exchange.poll_cut(cx);
            }
            return Poll::Pending;
        };
        Poll::Ready(match frame {
            Some(Ok(mut frame)) => {
                let most = exchange.as_ref().map_or(usize::MAX, |exchange| exchange.largest_piece());
                if let Some(data) = frame.data_mut().filter(|data| data.len() > most) {
                    this.seen = data.split_off(most);
                }
                if let (Some(exchange), Some(data)) = (exchange, frame.data_ref()) {
                    exchange.sent(data.len());
                    if exchange.is_long() {
                        exchange.lasts(rest.remaining().is_some());
                    }
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                // Too late for another status, but not for the log.
                tracing::warn!(error = causes(&error), "the application broke off in the middle of a response");
                Some(Err(error.into()))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.seen.has_remaining() && self.rest.as_ref().is_none_or(Answering::is_done)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match self.rest.as_ref().map(Answering::remaining) {
            None => SizeHint::with_exact(0),
            Some(Some(remaining)) => SizeHint::with_exact(remaining),
            Some(None) => SizeHint::new(),
        };
        add(rest, self.seen.len())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let sent = self.is_end_stream();
        if let Some(mut exchange) = self.exchange.take() {
            // Nobody reads the body that an answer to HEAD would have had.
            let complete = sent || exchange.is_head();
            exchange.end(complete, self.rest.take());
        }
    }
}

fn add(hint: SizeHint, more: usize) -> SizeHint {
    if more == 0 {
        return hint;
    }
    let more = more as u64;
    let mut sum = SizeHint::new();
    sum.set_lower(hint.lower().saturating_add(more));
    if let Some(upper) = hint.upper() {
        sum.set_upper(upper.saturating_add(more));
    }
    sum
}
