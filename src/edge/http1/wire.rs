//! The bytes of a connection: what was received and is not understood yet, and what is to be written.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::edge::watched::Watched;
use crate::http::request::{self, Head, Unreadable};

/// How much is read at a time: enough for most heads, …
const LEAST_READ: usize = 8 * 1024;
/// … and, of a client that sends more, for few system calls.
const MOST_READ: usize = 64 * 1024;
/// A piece up to this size is copied behind what is to be written before it; a larger one is written from where it lies.
const COPY: usize = 8 * 1024;
/// No more than this and a read is taken in of what nobody asks for yet.
const AHEAD: usize = 16 * 1024;
/// No more is taken in while so much is to be written.
const FULL: usize = 16 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Wire<T> {
    transport: Watched<T>,
    received: BytesMut,
    /// How much is read next time.
    read_size: usize,
    /// So much of what was received is known to hold no whole head.
    searched: usize,
    /// What is to be written first, from `written` on,
    out: BytesMut,
    written: usize,
    /// then this,
    piece: Bytes,
    /// then this.
    tail: &'static [u8],
    /// Whether the transport may hold back what was written.
    unflushed: bool,
}

impl<T> Wire<T> {
    pub(super) fn new(transport: Watched<T>) -> Self {
        Self {
            transport,
            received: BytesMut::new(),
            read_size: LEAST_READ,
            searched: 0,
            out: BytesMut::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            unflushed: false,
        }
    }

    /// Gives back all memory. Nothing of a request or a response may be on its way.
    pub(super) fn rest(&mut self) {
        (self.received, self.out, self.read_size) = (BytesMut::new(), BytesMut::new(), LEAST_READ);
    }

    /// What the bytes go over.
    pub(super) const fn transport(&mut self) -> &mut Watched<T> {
        &mut self.transport
    }

    /// What the bytes go over, no longer watched, and those that were read from it before.
    pub(super) fn into_transport(self) -> (T, Bytes) {
        self.transport.into_transport(self.received.freeze())
    }

    /// What was received and is not understood yet. Whoever takes something off it leaves it so that the rest begins a message.
    pub(super) const fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Takes a request's head off what was received. `None` when there is not enough yet.
    ///
    /// # Errors
    /// [`Unreadable`] when this can never become a request.
    pub(super) fn take_head(&mut self, longest: usize, room: &mut HeaderMap) -> Result<Option<Head>, Unreadable> {
        if self.received.is_empty() {
            return Ok(None);
        }
        // A head that comes in pieces is not read anew for each of them; what is wrong with it is told when it is whole.
        if self.searched > 0 && !self.has_an_end() {
            self.searched = self.received.len();
            return if self.searched > longest { Err(Unreadable::TooLarge) } else { Ok(None) };
        }
        let head = request::take_head(&mut self.received, longest, room)?;
        self.searched = if head.is_some() { 0 } else { self.received.len() };
        Ok(head)
    }

    /// Whether a head may end in what was not searched yet; the end may have begun before.
    fn has_an_end(&self) -> bool {
        let new = self.received.get(self.searched.saturating_sub(3)..).unwrap_or_default();
        new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
    }

    /// Whether nothing was received that means anything (RFC 9112 section 2.2).
    pub(super) fn holds_nothing_but_line_breaks(&self) -> bool {
        self.received.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// Where what is to be written next is put, behind what waits there already.
    pub(super) const fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Adds a piece, and what stands behind it. There must be [room](Wire::has_room).
    pub(super) fn add(&mut self, piece: Bytes, tail: &'static [u8]) {
        if piece.len() <= COPY {
            self.out.extend_from_slice(&piece);
            self.out.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (piece, tail);
        }
    }

    /// Whether the client has sent so much that nobody asks for yet that the rest is left in the kernel.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.received.len() >= AHEAD
    }

    /// Whether more may be added.
    pub(super) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.out.len() < FULL
    }

    /// Whether nothing is to be written.
    pub(super) fn is_written(&self) -> bool {
        self.out.is_empty() && self.piece.is_empty() && self.tail.is_empty() && !self.unflushed
    }

    fn wrote(&mut self, mut bytes: usize) {
        let mut taken = bytes.min(self.out.len() - self.written);
        self.written += taken;
        bytes -= taken;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        taken = bytes.min(self.piece.len());
        self.piece.advance(taken);
        bytes -= taken;
        self.tail = self.tail.get(bytes..).unwrap_or_default();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Reads something behind what was received. Zero bytes are the end.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.reserve(self.read_size);
        // The future of one read keeps nothing between two polls, so a new one may take its place each time.
        let read = ready!(pin!(self.transport.read_buf(&mut self.received)).poll(cx))?;
        if read >= self.read_size {
            self.read_size = (self.read_size * 2).min(MOST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Ready when the client has left. What it says meanwhile is kept, up to a bound; behind that nothing is heard of it.
    /// `is_body` is whether that is the body of the request that is being served.
    pub(super) fn poll_left(&mut self, is_body: bool, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.received.len() < AHEAD {
            if is_body {
                match ready!(self.poll_receive(cx)) {
                    Ok(0) => return Poll::Ready(io::ErrorKind::ConnectionAborted.into()),
                    Ok(_) => continue,
                    Err(error) => return Poll::Ready(error),
                }
            }
            // On the stack: mostly there is nothing, and the buffer may still be in use by the request.
            let mut scratch = [MaybeUninit::uninit(); 1024];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut self.transport).poll_read(cx, &mut scratch)) {
                Ok(()) if scratch.filled().is_empty() => return Poll::Ready(io::ErrorKind::ConnectionAborted.into()),
                Ok(()) => self.received.extend_from_slice(scratch.filled()),
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// Ready when all that was to be written has left.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let first = self.out.get(self.written..).unwrap_or_default();
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                if first.is_empty() {
                    break;
                }
                // Most responses are one piece, and a plain write is cheaper than a vectored one.
                Pin::new(&mut self.transport).poll_write(cx, first)
            } else {
                let slices = [first, self.piece.as_ref(), self.tail].map(IoSlice::new);
                Pin::new(&mut self.transport).poll_write_vectored(cx, &slices)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.wrote(bytes),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            // What TLS holds back would wait for a next write.
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
