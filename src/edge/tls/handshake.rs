//! One client's handshake: within its time, without a warning for whoever fails at it.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{OFFERED, Tls, certificate};
use crate::clock;
use crate::deadline::Deadline;
use crate::edge::conn::{Open, Protocol};
use crate::gate::Gate;
use crate::metrics::{Handshake, HandshakeFailure};

impl Tls {
    /// Agrees on TLS with a client that was just accepted, and on what is spoken inside. `None` when that fails, which is
    /// counted; the connection is closed then.
    pub(in crate::edge) async fn accept<T>(
        &self,
        transport: T,
        peer: Option<IpAddr>,
        gate: &Gate,
    ) -> Option<(TlsStream<FirstLook<T>>, Protocol)>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        gate.metrics.open_connections.add(1);
        let _open = Open(gate.metrics.clone());
        let limit = gate.deadlines.limit();
        limit.arm(gate.config.server.header_timeout);
        let acceptor = TlsAcceptor::from(self.current());
        let accepting = acceptor.accept(FirstLook { transport, passed: false }).into_fallible();
        let ended = within(&limit, gate, pin!(accepting)).await;
        let (failure, turned_away) = match ended {
            Ended::Done(Ok(stream)) if outlives_its_certificate(stream.get_ref().1) => {
                failed(gate, peer, HandshakeFailure::ClientCertificate, Some(&"the client's certificate has ended"));
                limit.arm(LAST_WORD);
                within(&limit, gate, Box::pin(part(stream, b"")).as_mut()).await;
                return None;
            }
            Ended::Done(Ok(stream)) => {
                let session = stream.get_ref().1;
                let version = session.protocol_version();
                gate.metrics.tls_established(Handshake::of(
                    version == Some(ProtocolVersion::TLSv1_3),
                    session.handshake_kind() == Some(HandshakeKind::Resumed),
                ));
                let agreed = spoken(session.alpn_protocol());
                // At the end it is waited a moment for a request that may be on its way, where the first bytes are waited for.
                let leaving = gate.deadlines.is_draining() && agreed == Protocol::Http1 && gate.config.server.http2;
                return Some((stream, if leaving { Protocol::Either } else { agreed }));
            }
            Ended::Done(Err((error, look))) => (why(&error), Some((error, look.transport))),
            Ended::TimedOut => (HandshakeFailure::Timeout, None),
        };
        failed(gate, peer, failure, turned_away.as_ref().map(|(error, _)| error as &dyn fmt::Display));
        if let Some((_, transport)) = turned_away
            && failure != HandshakeFailure::Closed
        {
            let words: &[u8] = if failure == HandshakeFailure::PlainHttp { IN_PLAIN } else { b"" };
            limit.arm(LAST_WORD);
            within(&limit, gate, pin!(part(transport, words))).await;
        }
        None
    }
}

/// How long a client that is turned away has to take its answer and to stop sending: what it sends to a socket that is closed
/// would destroy the answer on its way.
const LAST_WORD: Duration = Duration::from_secs(2);
/// The most that is read and thrown away meanwhile.
const MOST_IGNORED: usize = 64 * 1024;

/// For whoever speaks HTTP to a port that speaks TLS.
const IN_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 56\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks TLS: write https:// instead of http://\n";

/// What is spoken inside, by the name that both sides agreed on.
fn spoken(name: Option<&[u8]>) -> Protocol {
    let agreed = OFFERED.iter().find(|(offered, _)| Some(offered.as_bytes()) == name);
    agreed.map_or(Protocol::Http1, |(_, protocol)| *protocol)
}

/// Whether a session was resumed whose client would not get in anew, since its certificate has ended. The library takes the
/// certificate over from the ticket without a look, and gives out a new ticket with it: whoever comes back before each one is
/// too old would stay for ever.
fn outlives_its_certificate(session: &ServerConnection) -> bool {
    if session.handshake_kind() != Some(HandshakeKind::Resumed) {
        return false;
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    certificate.is_some_and(|certificate| certificate::end(certificate).is_none_or(|end| end < clock::wall()))
}

/// Counts a handshake that came to nothing.
fn failed(gate: &Gate, peer: Option<IpAddr>, failure: HandshakeFailure, error: Option<&dyn fmt::Display>) {
    gate.metrics.connections.increment();
    gate.metrics.tls_failed(failure);
    // Anybody can bring this about as often as they like: no louder.
    tracing::debug!(client = ?peer, reason = failure.name(), error = error.map(tracing::field::display), "no TLS");
}

enum Ended<T> {
    Done(T),
    TimedOut,
}

/// Waits for `future` until its time has passed, of which little is left when the worker drains.
async fn within<F: Future>(limit: &Deadline, gate: &Gate, mut future: Pin<&mut F>) -> Ended<F::Output> {
    let mut draining = false;
    poll_fn(|cx| {
        if limit.poll_passed(cx).is_ready() {
            return Poll::Ready(Ended::TimedOut);
        }
        if !draining && gate.deadlines.is_draining() {
            draining = true;
            limit.arm(LAST_WORD.min(gate.config.server.header_timeout));
        }
        future.as_mut().poll(cx).map(Ended::Done)
    })
    .await
}

/// Closes our side, after these words, and waits until the client has closed its own.
async fn part<T: AsyncRead + AsyncWrite + Unpin>(mut transport: T, words: &[u8]) -> io::Result<()> {
    transport.write_all(words).await?;
    transport.shutdown().await?;
    let mut scratch = [0; 4 * 1024];
    let mut left = MOST_IGNORED;
    loop {
        match transport.read(&mut scratch).await? {
            0 => return Ok(()),
            length => left = left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?,
        }
    }
}

/// Why a handshake failed.
fn why(error: &io::Error) -> HandshakeFailure {
    let Some(cause) = error.get_ref() else { return HandshakeFailure::Closed };
    if let Some(NotTls(first)) = cause.downcast_ref() {
        return if first.is_ascii_uppercase() { HandshakeFailure::PlainHttp } else { HandshakeFailure::NotTls };
    }
    match cause.downcast_ref() {
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::Refused,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            HandshakeFailure::ClientCertificate
        }
        Some(_) => HandshakeFailure::Protocol,
        None => HandshakeFailure::Closed,
    }
}

/// A transport whose first byte is looked at: every handshake begins with the same one (RFC 8446 section 5.1). What begins
/// otherwise never gets to the library, which would answer with bytes that no browser shows.
#[derive(Debug)]
pub(in crate::edge) struct FirstLook<T> {
    transport: T,
    passed: bool,
}

/// The first byte of a handshake record.
const HANDSHAKE: u8 = 22;

/// What came is no TLS; it began with this byte.
#[derive(Debug)]
struct NotTls(u8);

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it began with {:?}", char::from(self.0))
    }
}

impl std::error::Error for NotTls {}

impl<T: AsyncRead + Unpin> AsyncRead for FirstLook<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.passed {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        match buffer.filled().get(before) {
            Some(&first) if first != HANDSHAKE => Poll::Ready(Err(io::Error::other(NotTls(first)))),
            found => {
                self.passed = found.is_some();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FirstLook<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_plain_has_the_length_that_it_says() {
        let text = std::str::from_utf8(IN_PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    }

    #[test]
    fn what_was_agreed_on_is_spoken_and_http_1_with_whoever_names_nothing() {
        assert_eq!(spoken(None), Protocol::Http1);
        for (name, protocol) in OFFERED {
            assert_eq!(spoken(Some(name.as_bytes())), *protocol);
        }
    }
}
