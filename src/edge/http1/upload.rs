//! The body of a request, from its connection to whoever reads it.

use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;
use crate::gate::body::{Cause, Handover, Incoming};
use crate::http::framing::{Broken, Framing, Piece};
use crate::http::reply::CONTINUE;

/// The most that is read of a body which nobody wants, to keep its connection.
const MOST_DISCARDED: usize = 64 * 1024;

/// What of a request's body is still on the connection.
#[derive(Debug)]
pub(super) struct Upload {
    framing: Framing,
    /// Where it is handed over; `None` for a request without a body.
    handover: Option<Arc<Handover>>,
    /// Whether the client waits for a word before it sends the body.
    waits: bool,
    /// Whether it cannot be read on.
    broken: bool,
}

impl Upload {
    pub(super) fn new(framing: Framing, waits: bool) -> Self {
        let handover = (!framing.is_done()).then(|| Handover::new(framing.remaining()));
        Self { framing, handover, waits, broken: false }
    }

    /// What the request sees of it.
    pub(super) fn incoming(&self) -> Incoming {
        self.handover.as_ref().map_or(Incoming::None, |handover| Incoming::Alone(handover.clone()))
    }

    /// Hands the next piece over if that is asked for, which it says. `may_ask` is whether the client may still be told to send it.
    pub(super) fn feed<T>(&mut self, wire: &mut Wire<T>, may_ask: bool, cx: &mut Context<'_>) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(handover) = &self.handover else { return false };
        if self.broken || self.framing.is_done() || !handover.is_wanted() {
            return false;
        }
        let piece = if self.waits && wire.received().is_empty() && !may_ask {
            // The answer has begun: whether the client sends the body all the same, it alone knows.
            Some(Err(Cause::from("the client was not asked for the body")))
        } else {
            if std::mem::take(&mut self.waits) && wire.received().is_empty() {
                wire.out().extend_from_slice(CONTINUE);
            }
            loop {
                match self.framing.take(wire.received(), false) {
                    Ok(Some(Piece::Data(data))) => break Some(Ok(Frame::data(data))),
                    Ok(Some(Piece::Trailers(trailers))) => break Some(Ok(Frame::trailers(trailers))),
                    Ok(Some(Piece::End)) => break None,
                    Ok(None) => {}
                    Err(broken) => break Some(Err(Cause::from(broken))),
                }
                match wire.poll_receive(cx) {
                    Poll::Ready(Ok(0)) => break Some(Err(Cause::from(Broken::Incomplete))),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => break Some(Err(Cause::from(error))),
                    Poll::Pending => return false,
                }
            }
        };
        self.broken = matches!(piece, Some(Err(_)));
        handover.put(piece, self.broken || self.framing.is_done(), cx);
        true
    }

    /// Whether nobody will read the rest.
    pub(super) fn is_abandoned(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.is_abandoned())
    }

    /// Whether somebody reads it, now or later.
    pub(super) fn is_read(&self) -> bool {
        !self.framing.is_done() && !self.broken && !self.is_abandoned()
    }

    /// Throws the rest of it away, as far as it is here. Says whether the next request begins behind that.
    pub(super) fn discard<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut read = 0;
        // Who waits for a word may send the body or not, so that where the next request begins is not known.
        while !self.framing.is_done() && !self.broken && !self.waits {
            match self.framing.take(wire.received(), false) {
                Ok(Some(_)) => {}
                Ok(None) if read > MOST_DISCARDED => break,
                Ok(None) => match wire.poll_receive(cx) {
                    Poll::Ready(Ok(bytes @ 1..)) => read += bytes,
                    Poll::Ready(Ok(0) | Err(_)) | Poll::Pending => break,
                },
                Err(_) => self.broken = true,
            }
        }
        self.framing.is_done() && !self.broken
    }
}
