//! One connection to an application, driven by the request that uses it.
//!
//! There is no task and no channel: whoever waits for a response or for a piece of its body moves the bytes of both
//! directions as it polls, and is what the socket wakes. The request's body is sent on while the response is read, so that an
//! application may answer before it has read everything.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::limit::Room;
use super::outgoing::{Outgoing, Upload};
use super::pause::Pause;
use super::pool::Use;
use super::stream::Stream;
use crate::clock::Uptime;
use crate::config::EarlyHints;
use crate::gate::body::Cause;
use crate::gate::client::Client;
use crate::http::framing::{Broken, Framing, Piece};
use crate::http::response::{self, Head, Malformed};

/// How much is read at a time: enough for a head and a small body, and few system calls for a large one.
const READ: usize = 16 * 1024;
const READ_BODY: usize = 128 * 1024;
/// One connection to an application.
#[derive(Debug)]
pub(in crate::gate) struct Connection {
    stream: Stream,
    received: BytesMut,
    closed: bool,
    upload: Upload,
    framing: Framing,
    keep_alive: bool,
    /// The application this connection leads to, by its place in the configuration,
    pub(super) upstream: usize,
    /// and the address, by its place among those of the application.
    pub(super) address: usize,
    /// The other end, unless it is on this machine.
    pub(super) peer: Option<SocketAddr>,
    using: Use,
    pause: Pause,
    /// When it was put into the pool.
    pub(super) resting_since: Uptime,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was closed before anything of the request was sent. Here it is again.
    Unstarted(Box<Outgoing>),
    /// The application did not answer in time.
    TimedOut,
    /// The client did not send its body in time.
    ClientStalled,
    /// The client's body broke off.
    ClientBroke(Cause),
    /// The application broke off.
    Broke(io::Error),
    /// The application answered something that cannot be understood.
    Malformed(Malformed),
}

/// Why a response's body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::gate) enum BodyFailure {
    /// The connection broke.
    #[error("the connection to the application broke")]
    Broke(#[from] io::Error),
    /// The client broke off its request, to which this is the answer.
    #[error("the client broke off its request")]
    Upload,
    /// Nothing came for too long.
    #[error("nothing came for longer than body_timeout")]
    Stalled,
    /// Its framing is broken.
    #[error(transparent)]
    Framing(#[from] Broken),
    /// Its trailers cannot be passed on.
    #[error(transparent)]
    Trailers(#[from] Malformed),
    /// Its stream was reset, or the connection with it.
    #[error("the application ended the stream")]
    Reset(#[from] h2::Error),
}

impl Connection {
    /// A connection over `stream` to an application and one of its addresses, by their places.
    pub(super) fn new(
        (stream, peer): (Stream, Option<SocketAddr>),
        (upstream, address): (usize, usize),
        using: Use,
        pause: Pause,
    ) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
            closed: false,
            upload: Upload::default(),
            framing: Framing::Length(0),
            keep_alive: true,
            upstream,
            address,
            peer,
            using,
            pause,
            resting_since: Uptime::from_micros(0),
        }
    }

    /// It is about to serve a request, which holds this place.
    pub(super) fn begin(&mut self, room: Option<Room>) {
        self.using.begin(room);
    }

    /// It is not going to serve the request; the place is for another connection.
    pub(super) fn give_up(mut self: Box<Self>) -> Option<Room> {
        self.using.end()
    }

    /// It has served its request.
    pub(super) fn rest(&mut self, now: Uptime) {
        drop(self.using.end());
        // Trailers end a body too, and the pause before them is not the next response's.
        self.pause.moved();
        self.resting_since = now;
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// Cancel safety: the connection must be dropped when this is dropped; the pool only takes it back after a whole
    /// response.
    pub(super) async fn exchange(
        &mut self,
        outgoing: Outgoing,
        method: &Method,
        client: &Client,
    ) -> Result<Response<()>, Failure> {
        let Outgoing { head, body, chunked, owed, names_address } = outgoing;
        self.keep_alive = false;
        self.upload =
            Upload { head, body, chunked, owed, names_address, sent_before: self.stream.sent(), ..Upload::default() };
        let head = poll_fn(|cx| match self.poll_head(cx, method, client) {
            Poll::Pending => client.phases.poll_response_limit(cx).map(|waiting_for_client| {
                Err(if waiting_for_client { Failure::ClientStalled } else { Failure::TimedOut })
            }),
            ready => ready,
        });
        let Head { response, framing, keep_alive } = head.await?;
        self.framing = framing;
        self.keep_alive = keep_alive;
        Ok(response)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method, client: &Client) -> Poll<Result<Head, Failure>> {
        let uploaded = self.poll_upload(cx);
        if let Poll::Ready(Err(failure)) = uploaded {
            return Poll::Ready(Err(failure));
        }
        let settings = client.gate.config.upstreams.get(self.upstream);
        let interim = |head: Response<()>| {
            let (parts, ()) = head.into_parts();
            let hints = settings.map_or(EarlyHints::Off, |settings| settings.early_hints);
            client.interim.offer(hints, parts.status, parts.headers);
        };
        loop {
            match response::take_head(&mut self.received, method, interim) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(Failure::Malformed(malformed))),
            }
            if self.closed {
                return Poll::Ready(Err(Failure::Broke(io::ErrorKind::UnexpectedEof.into())));
            }
            match ready!(self.poll_receive(cx, READ)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(Err(Failure::Broke(error))),
            }
        }
    }

    /// The next piece of the response's body; `None` is its end.
    pub(in crate::gate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match self.poll_upload(cx) {
            // The application may wait for the rest of it before it goes on, and it would wait for ever.
            Poll::Ready(Err(Failure::ClientBroke(_))) => {
                self.keep_alive = false;
                return Poll::Ready(Some(Err(BodyFailure::Upload)));
            }
            // Another failure costs the connection, but not the response.
            Poll::Ready(Err(_)) => {
                self.keep_alive = false;
                self.upload = Upload { cut_short: true, ..Upload::default() };
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            match self.framing.take(&mut self.received, self.closed) {
                Ok(Some(Piece::Data(data))) => {
                    self.pause.moved();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Some(Piece::Trailers(trailers))) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Some(Piece::End)) => {
                    self.pause.moved();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken.into()))),
            }
            match self.poll_receive(cx, READ_BODY) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                // While the client still sends, the application is not waited for alone.
                Poll::Pending if self.upload.body.is_some() => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.pause.poll(cx));
                    return Poll::Ready(Some(Err(BodyFailure::Stalled)));
                }
            }
        }
    }

    /// The connection itself, for something else than requests, what was received behind the last response's head, and what
    /// counts it as in use until that is dropped.
    pub(in crate::gate) fn into_stream(self) -> (impl AsyncRead + AsyncWrite + Unpin + Send, BytesMut, Use) {
        (self.stream, self.received, self.using)
    }

    /// How much of the response's body is still to come.
    pub(in crate::gate) const fn framing(&self) -> &Framing {
        &self.framing
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
        self.received.reserve(wanted);
        // The future of one read keeps nothing between two polls, so a new one may take its place each time.
        let read = ready!(pin!(self.stream.read_buf(&mut self.received)).poll(cx))?;
        self.closed = read == 0;
        Poll::Ready(Ok(()))
    }

    /// Sends on as much of the request as goes now; ready when all of it is sent, or the application takes no more.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let upload = &mut self.upload;
        loop {
            while upload.is_pending() {
                // Most requests are one piece, and a plain write is cheaper than a vectored one.
                let written = if upload.piece.is_empty() && upload.tail.is_empty() {
                    Pin::new(&mut self.stream).poll_write(cx, &upload.head)
                } else {
                    let slices = [upload.head.as_ref(), upload.piece.as_ref(), upload.tail].map(IoSlice::new);
                    Pin::new(&mut self.stream).poll_write_vectored(cx, &slices)
                };
                match ready!(written) {
                    Ok(0) => return Poll::Ready(Err(Failure::Broke(io::ErrorKind::WriteZero.into()))),
                    Ok(written) => upload.written(written),
                    Err(_) if !upload.begun && self.stream.sent() == upload.sent_before => {
                        let Upload { head, body, chunked, owed, names_address, .. } = std::mem::take(upload);
                        let unsent = Outgoing { head, body, chunked, owed, names_address };
                        return Poll::Ready(Err(Failure::Unstarted(Box::new(unsent))));
                    }
                    // It closed, but may have said why before: the response is read to its end.
                    Err(_) => {
                        *upload = Upload { cut_short: true, ..Upload::default() };
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            // What TLS holds back would wait for a next write.
            if ready!(Pin::new(&mut self.stream).poll_flush(cx)).is_err() {
                *upload = Upload { cut_short: true, ..Upload::default() };
            }
            let Some(body) = &mut upload.body else { return Poll::Ready(Ok(())) };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => upload.add(frame),
                Some(Err(cause)) => return Poll::Ready(Err(Failure::ClientBroke(cause))),
                None => upload.finish(None),
            }
        }
    }

    /// Whether the connection can serve another request: the last one is over on both sides without a doubt.
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive
            && !self.closed
            && self.framing.is_done()
            && self.received.is_empty()
            && !self.upload.is_pending()
            && self.upload.body.is_none()
            && self.upload.owed == 0
            && !self.upload.cut_short
            && !self.stream.is_unflushed()
    }

    /// Whether the application has left the connection open, as far as can be known before something is sent on it.
    ///
    /// What the runtime has heard of is known for free; after a rest the kernel is asked too, because a close may have
    /// come in since the runtime last listened.
    pub(super) fn is_open(&mut self, now: Uptime) -> bool {
        const REST: Duration = Duration::from_secs(1);

        let may_trust = !self.stream.has_heard() && now.since(self.resting_since) < REST;
        may_trust || self.stream.is_quiet()
    }
}
