//! Moving the bytes of a WebSocket, both ways at once, until either it ends or it is cut.
//!
//! Bytes go straight from one connection to the other. Only what the receiver does not take is kept, and nothing more is read from
//! the sender until it has gone; a silent WebSocket holds no buffer at all.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use crate::gate::exchange::Exchange;
use crate::http::websocket::{CloseCode, Frames, close_frame};
use crate::metrics::{Cut, WorkerMetrics};

/// The most that is read at a time, and kept when it cannot be passed on.
const PIECE: usize = 32 * 1024;
/// How long a client has to take our last word and to say its own.
const LINGER: Duration = Duration::from_millis(500);
/// The most that a client may still send then.
const MOST_IGNORED: u64 = 64 * 1024;

/// How it ends.
enum Ended {
    /// Both sides have said all they had to say.
    InOrder,
    /// A connection broke.
    Broken(io::Error),
    /// We end it.
    Cut(Cut),
}

/// Moves the bytes between a client and an application. What was read from either before goes first.
pub(super) async fn both_ways<C, U>(
    (mut client, early): (C, Bytes),
    (mut upstream, received): (U, BytesMut),
    mut exchange: Box<Exchange>,
    idle_timeout: Option<Duration>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let gate = exchange.gate().clone();
    let metrics = gate.metrics.clone();
    let _open = Open::new(&metrics);
    let watched = exchange.watch_tunnel();
    let silence = gate.deadlines.limit();
    let (mut up, mut down) = (Half::new(BytesMut::from(early)), Half::new(received));
    let mut frames = Frames::default();
    if let Some(limit) = idle_timeout {
        silence.arm(limit);
    }
    let ended = poll_fn(|cx| {
        if let Some(Poll::Ready(cut)) = watched.as_ref().map(|watched| watched.poll_cut(cx)) {
            return Poll::Ready(Ended::Cut(cut));
        }
        // Also what wakes us when the worker drains.
        if silence.poll_passed(cx).is_ready() {
            return Poll::Ready(Ended::Cut(Cut::Silent));
        }
        if gate.deadlines.is_draining() {
            return Poll::Ready(Ended::Cut(Cut::Drain));
        }
        let sent = up.poll(cx, &mut client, &mut upstream, |_| {});
        let answered = down.poll(cx, &mut upstream, &mut client, |bytes| frames.pass(bytes));
        let (from_client, from_upstream) = (up.take_moved(), down.take_moved());
        if from_client > 0 {
            metrics.tunnel_to_upstream.add(from_client);
            exchange.received_through_tunnel(from_client);
            if let Some(watched) = &watched {
                watched.moved();
            }
        }
        if from_upstream > 0 {
            metrics.tunnel_to_client.add(from_upstream);
            exchange.sent_through_tunnel(from_upstream);
        }
        if let Some(limit) = idle_timeout
            && from_client + from_upstream > 0
        {
            silence.arm(limit);
        }
        match (sent, answered) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Ended::Broken(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ended::InOrder),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    })
    .await;

    match ended {
        Ended::InOrder => exchange.end(true, None),
        Ended::Broken(error) => {
            tracing::debug!(%error, "a WebSocket broke");
            exchange.end(false, None);
        }
        Ended::Cut(cut) => {
            // Nothing more goes to the application from here on.
            drop(upstream);
            exchange.cut = Some(cut);
            exchange.end(false, None);
            drop((exchange, watched));
            if frames.takes_another() {
                // Whether the client takes it is up to the client.
                let _ = timeout(LINGER, say_goodbye(&mut client, cut)).await;
            }
        }
    }
}

/// Says why, and waits for the client's own last word: a connection that is closed with bytes unread is reset, and a reset may
/// destroy what we said.
async fn say_goodbye<C: AsyncRead + AsyncWrite + Unpin>(client: &mut C, cut: Cut) -> io::Result<()> {
    let code = match cut {
        Cut::Drain | Cut::Silent => CloseCode::GoingAway,
        Cut::StoreUnavailable => CloseCode::TryAgainLater,
        Cut::Revoked
        | Cut::Suspended
        | Cut::Evicted
        | Cut::Expired
        | Cut::Idle
        | Cut::UserDisabled
        | Cut::Unknown
        | Cut::Changed => CloseCode::Policy,
    };
    client.write_all(&close_frame(code, cut.name())).await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client.take(MOST_IGNORED), &mut tokio::io::sink()).await.map(drop)
}

/// One direction.
#[derive(Debug)]
struct Half {
    /// What was read and not taken yet.
    kept: BytesMut,
    moved: u64,
    unflushed: bool,
    /// The sender has said all.
    finished: bool,
    /// The receiver knows.
    told: bool,
}

impl Half {
    const fn new(kept: BytesMut) -> Self {
        Self { kept, moved: 0, unflushed: false, finished: false, told: false }
    }

    /// Moves what can be moved now. Ready when the sender has said all and the receiver has it and knows; the other direction may
    /// go on. `passed` sees what the receiver took.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        mut passed: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.told {
            while !self.kept.is_empty() {
                let length = ready!(write(cx, to, &self.kept))?;
                passed(self.kept.get(..length).unwrap_or_default());
                self.kept.advance(length);
                self.wrote(length);
            }
            if self.kept.capacity() > 0 {
                self.kept = BytesMut::new();
            }
            if self.finished {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.told = true;
                break;
            }
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            if Pin::new(&mut *from).poll_read(cx, &mut piece)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            let mut bytes = piece.filled();
            self.finished = bytes.is_empty();
            while !bytes.is_empty() {
                match write(cx, to, bytes)? {
                    Poll::Ready(length) => {
                        let (taken, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
                        passed(taken);
                        self.wrote(taken.len());
                        bytes = rest;
                    }
                    Poll::Pending => {
                        self.kept = BytesMut::from(bytes);
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    const fn wrote(&mut self, length: usize) {
        self.moved += length as u64;
        self.unflushed = true;
    }

    /// How much was moved since this was asked last.
    const fn take_moved(&mut self) -> u64 {
        std::mem::replace(&mut self.moved, 0)
    }
}

fn write<W: AsyncWrite + Unpin>(cx: &mut Context<'_>, to: &mut W, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(to).poll_write(cx, bytes).map(|written| match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    })
}

/// Counts a WebSocket in, and out, however it ends.
struct Open(Arc<WorkerMetrics>);

impl Open {
    fn new(metrics: &Arc<WorkerMetrics>) -> Self {
        metrics.tunnels.increment();
        metrics.open_tunnels.add(1);
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_tunnels.add(-1);
    }
}
