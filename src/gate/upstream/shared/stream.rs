//! One request and its response on a connection that carries others too.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::link::Request;
use crate::gate::body::{Cause, RequestBody};
use crate::gate::upstream::connection::BodyFailure;
use crate::gate::upstream::pause::Pause;
use crate::gate::upstream::pool::Use;
use crate::http::http2;

/// How far a request's body is: the connection's task sends it, whoever waits for the response wants to know.
#[derive(Debug, Default)]
struct Progress {
    over: AtomicBool,
    broke: AtomicBool,
    abandoned: AtomicBool,
    sender: AtomicWaker,
}

/// The end of it that whoever waits for the response has. Dropping it abandons the body, or else the connection's task would
/// send on what the client sends: neither of the two streams is reset before all of it is let go of.
#[derive(Debug)]
pub(super) struct Uploading(Arc<Progress>);

impl Uploading {
    /// Whether the client broke it off.
    pub(super) fn is_broken(&self) -> bool {
        self.0.broke.load(Ordering::Relaxed)
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Release);
        self.0.sender.wake();
    }
}

/// A request's body on its way.
#[derive(Debug)]
pub(super) struct Upload {
    body: Option<RequestBody>,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new(body: Option<RequestBody>) -> (Self, Uploading) {
        let progress = Arc::new(Progress::default());
        (Self { body, progress: progress.clone() }, Uploading(progress))
    }

    /// The body, of which nothing was sent.
    pub(super) fn take_back(mut self) -> Option<RequestBody> {
        self.body.take()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // Registered first, so that nothing is missed in between.
        this.progress.sender.register(cx.waker());
        if this.progress.abandoned.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            this.progress.broke.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.over.store(true, Ordering::Relaxed);
    }
}

/// A response whose body is still to come. Dropping it before its end resets the stream.
#[derive(Debug)]
pub(in crate::gate) struct Stream {
    pub(super) body: Incoming,
    pub(super) upload: Uploading,
    pub(super) pause: Pause,
    /// What counts it at its address,
    pub(super) _using: Use,
    /// and at its connection.
    pub(super) _request: Request,
}

impl Stream {
    pub(in crate::gate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            // While the client still sends, the application is not waited for alone.
            if !self.upload.0.over.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            ready!(self.pause.poll(cx));
            return Poll::Ready(Some(Err(BodyFailure::Stalled)));
        };
        self.pause.moved();
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame?;
            if let Some(trailers) = frame.trailers_mut() {
                http2::strip_hop_by_hop(trailers);
            }
            Ok(frame)
        }))
    }

    pub(in crate::gate::upstream) fn remaining(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    pub(in crate::gate::upstream) fn is_done(&self) -> bool {
        self.body.is_end_stream()
    }
}
