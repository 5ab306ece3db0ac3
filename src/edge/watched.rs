//! A transport whose progress sets the connection's limits of time, and which closes without destroying what it sent.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gate::client::Client;

/// The most that is read and thrown away from a client that goes on sending after our last word.
const MOST_IGNORED: usize = 1024 * 1024;

/// A head and a body that are no longer than this together are joined and written with a plain write, which costs the
/// kernel less than a vectored one.
const JOINED: usize = 1024;

/// A transport that tells the client's phases when bytes come in, and when they do not go out.
#[derive(Debug)]
pub(super) struct Watched<T> {
    transport: T,
    client: Arc<Client>,
    closing: Closing,
    /// What was read to find out which protocol is spoken, and is still to be handed over.
    ahead: Bytes,
    /// Whether the transport has bytes of ours that the client does not take. TLS has: it takes ours before it writes its own.
    held_up: bool,
}

/// How far a close on our side has come.
#[derive(Clone, Copy, Debug)]
enum Closing {
    NotYet,
    /// The client knows; these many bytes of what it still sends may be read.
    Lingering(usize),
    Done,
}

impl<T> Watched<T> {
    pub(super) const fn new(transport: T, client: Arc<Client>) -> Self {
        Self { transport, client, closing: Closing::NotYet, ahead: Bytes::new(), held_up: false }
    }

    /// Hands these bytes over first: they were read before.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        // They were read before what waits here.
        self.ahead =
            if self.ahead.is_empty() { bytes } else { [bytes, std::mem::take(&mut self.ahead)].concat().into() };
    }

    /// What the bytes go over, no longer watched, and those that were read from it before: `taken` by the protocol, or still
    /// to be handed over.
    pub(super) fn into_transport(self, taken: Bytes) -> (T, Bytes) {
        let early = if self.ahead.is_empty() { taken } else { [taken, self.ahead].concat().into() };
        (self.transport, early)
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.client.phases.write_blocked(),
            Poll::Ready(_) => self.client.phases.write_moved(),
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            this.client.phases.bytes_read();
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let written = if length <= JOINED {
            let mut joined = [0; JOINED];
            let mut end = 0;
            for slice in slices {
                // Their sum was taken above: there is room for each.
                if let Some(place) = joined.get_mut(end..end + slice.len()) {
                    place.copy_from_slice(slice);
                    end += slice.len();
                }
            }
            Pin::new(&mut this.transport).poll_write(cx, joined.get(..length).unwrap_or_default())
        } else {
            Pin::new(&mut this.transport).poll_write_vectored(cx, slices)
        };
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        if this.held_up {
            // Polled again because the client took something, or because everything went out.
            this.client.phases.write_moved();
        }
        this.held_up = flushed.is_pending();
        if this.held_up {
            this.client.phases.write_blocked();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.closing, Closing::NotYet) {
            ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
            this.closing = if this.client.phases.linger() { Closing::Lingering(MOST_IGNORED) } else { Closing::Done };
        }
        while let Closing::Lingering(left) = this.closing {
            if this.client.phases.poll_connection_limit(cx).is_ready() {
                this.closing = Closing::Done;
                break;
            }
            let mut scratch = [MaybeUninit::uninit(); 8 * 1024];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            let read =
                ready!(Pin::new(&mut this.transport).poll_read(cx, &mut scratch)).map(|()| scratch.filled().len());
            this.closing = match read {
                // An error is as good as an end: the client is gone.
                Ok(0) | Err(_) => Closing::Done,
                Ok(length) => left.checked_sub(length).map_or(Closing::Done, Closing::Lingering),
            };
        }
        Poll::Ready(Ok(()))
    }
}
