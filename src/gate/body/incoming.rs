//! A request's body on the way from its connection to whoever reads it.
//!
//! Over HTTP/1.1 the connection's own task runs the request too, so nothing is sent from one to the other: who wants a piece says
//! so in a place that both can see, and the connection, which looks there whenever the request waits, reads one and puts it
//! there. It holds one piece at a time, so the client sends no faster than the application takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Cause, Received};

/// The body of a request, as it comes in.
#[derive(Debug)]
pub enum Incoming {
    /// There is none.
    None,
    /// On a connection that carries one request at a time.
    Alone(Arc<Handover>),
    /// On a stream of a connection that carries many.
    Shared(Received),
}

impl Incoming {
    /// The next frame.
    ///
    /// Cancel safety: no piece is lost.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match self {
            Self::None => Poll::Ready(None),
            Self::Alone(handover) => handover.poll_frame(cx),
            Self::Shared(received) => received.poll_frame(cx).map_err(Cause::from),
        }
    }

    /// Whether nothing of it is still to come.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::None => true,
            Self::Alone(handover) => handover.is_over(),
            Self::Shared(received) => received.is_over(),
        }
    }

    /// How long it still is.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Alone(handover) => handover.size_hint(),
            Self::Shared(received) => received.remaining().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Self::Alone(handover) = self {
            handover.abandon();
        }
    }
}

/// Where a connection hands over the body of its request.
#[derive(Debug)]
pub struct Handover(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What is here for whoever reads the body.
    piece: Option<Result<Frame<Bytes>, Cause>>,
    /// Whether nothing comes after the piece.
    is_last: bool,
    /// Whether it ended before its end. It is never over then.
    broke: bool,
    /// How much is still to come, the piece included, when that is known.
    remaining: Option<u64>,
    /// Who waits for a piece.
    reader: Option<Waker>,
    abandoned: bool,
}

impl State {
    const fn is_over(&mut self) -> bool {
        self.is_last && self.piece.is_none() && !self.broke
    }
}

impl Handover {
    /// Of a body of this length, when it is known.
    pub fn new(length: Option<u64>) -> Arc<Self> {
        let state =
            State { piece: None, is_last: false, broke: false, remaining: length, reader: None, abandoned: false };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Whether somebody waits for a piece.
    pub fn is_wanted(&self) -> bool {
        self.with(|state| state.reader.is_some() && state.piece.is_none() && !state.is_last)
    }

    /// Whether nobody will read the rest.
    pub fn is_abandoned(&self) -> bool {
        self.with(|state| state.abandoned)
    }

    /// Hands a piece over, which may be the last one. Whoever waits for it in the task of `cx` is to be polled again by the caller.
    pub fn put(&self, piece: Option<Result<Frame<Bytes>, Cause>>, is_last: bool, cx: &Context<'_>) {
        let reader = self.with(|state| {
            state.broke |= matches!(piece, Some(Err(_)));
            state.piece = piece;
            state.is_last = is_last;
            state.reader.take()
        });
        if let Some(reader) = reader.filter(|reader| !reader.will_wake(cx.waker())) {
            reader.wake();
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        self.with(|state| {
            let Some(piece) = state.piece.take() else {
                if state.broke {
                    return Poll::Ready(Some(Err("the body broke off".into())));
                }
                if state.is_last {
                    return Poll::Ready(None);
                }
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if let Ok(frame) = &piece {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                state.remaining = state.remaining.map(|remaining| remaining.saturating_sub(length));
            }
            Poll::Ready(Some(piece))
        })
    }

    fn is_over(&self) -> bool {
        self.with(State::is_over)
    }

    fn size_hint(&self) -> SizeHint {
        match self.with(|state| if state.is_over() { Some(0) } else { state.remaining }) {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }

    fn abandon(&self) {
        self.with(|state| {
            state.abandoned = true;
            state.piece = None;
            state.reader = None;
        });
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(frame: Poll<Option<Result<Frame<Bytes>, Cause>>>) -> Option<Option<Bytes>> {
        match frame {
            Poll::Pending => None,
            Poll::Ready(frame) => Some(frame.map(|frame| frame.unwrap().into_data().unwrap())),
        }
    }

    #[test]
    fn a_piece_is_asked_for_handed_over_and_counted_off_the_length() {
        let cx = &mut Context::from_waker(Waker::noop());
        let handover = Handover::new(Some(3));
        let mut body = Incoming::Alone(handover.clone());
        assert!(!handover.is_wanted());
        assert_eq!(data(body.poll_frame(cx)), None);
        assert!(handover.is_wanted());
        handover.put(Some(Ok(Frame::data(Bytes::from_static(b"ab")))), false, cx);
        assert!(!handover.is_wanted(), "one at a time");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(data(body.poll_frame(cx)), Some(Some(Bytes::from_static(b"ab"))));
        assert_eq!((body.size_hint().exact(), body.is_over()), (Some(1), false));
        assert_eq!(data(body.poll_frame(cx)), None);
        handover.put(Some(Ok(Frame::data(Bytes::from_static(b"c")))), true, cx);
        assert!(!body.is_over(), "the last piece is still here");
        assert_eq!(data(body.poll_frame(cx)), Some(Some(Bytes::from_static(b"c"))));
        assert_eq!((data(body.poll_frame(cx)), body.is_over()), (Some(None), true));
    }

    #[test]
    fn a_body_that_broke_off_is_never_over() {
        let cx = &mut Context::from_waker(Waker::noop());
        let handover = Handover::new(Some(3));
        let mut body = Incoming::Alone(handover.clone());
        handover.put(Some(Err("gone".into())), true, cx);
        for _ in 0..3 {
            assert!(matches!(body.poll_frame(cx), Poll::Ready(Some(Err(_)))));
            assert!(!body.is_over() && body.size_hint().exact() == Some(3));
        }
    }

    #[test]
    fn who_lets_go_of_a_body_lets_the_connection_know() {
        let handover = Handover::new(None);
        let mut body = Incoming::Alone(handover.clone());
        let _ = body.poll_frame(&mut Context::from_waker(Waker::noop()));
        drop(body);
        assert!(handover.is_abandoned() && !handover.is_wanted());
    }
}
