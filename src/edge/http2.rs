//! One client connection that carries many requests at a time (RFC 9113).
//!
//! h2 keeps the protocol and its bounds. [`serve`] is the connection's life; a request has a task of its own ([`streams`]), which
//! answers it and sends the response as the client gives room for it ([`respond`]). A client that says nothing is asked whether it
//! is there ([`presence`]).
//!
//! What is ours besides is the time: the connection has a limit while no request is on it, and each request has the limits that it
//! would have on a connection of its own. A client that stalls one stream loses that stream alone. And the number: a request
//! beside the first counts as a connection of its own would.
//!
//! Server push is not used, and an extended CONNECT (RFC 8441) is not offered.

mod presence;
mod respond;
mod streams;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use self::presence::{Presence, Silence};
use self::streams::Streams;
use super::conn::Ended;
use super::place::Places;
use super::watched::Watched;
use crate::config::Server;
use crate::gate::Current;
use crate::gate::client::Client;

/// What a client may send on one stream before we have passed on the first of it …
const STREAM_WINDOW: u32 = 256 * 1024;
/// … and on all of them. It bounds what a connection makes us hold of uploads.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of a response waits to be written at most, when the client has given room for more than it takes: as much as a piece of it.
/// The request is over for us when the last of it waits here.
const SEND_BUFFER: usize = 16 * 1024;
/// The largest frame that a client may send: the least that there is.
const FRAME: u32 = 16 * 1024;

/// Serves requests on a connection until it is closed, by either side, by a limit of time, or by a drain.
pub(super) async fn serve<T>(transport: Watched<T>, client: Arc<Client>, current: Arc<Current>, places: Places) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.phases.multiplexed();
    let server = &client.gate.config.server;
    let streams = Streams::of(client.clone(), current, server.http2_max_streams, places);
    let mut limits = Limits { client: &client, told_to_leave: false };
    let mut handshake = settings(server).handshake::<_, Bytes>(transport);
    let shaken = poll_fn(|cx| match limits.poll(cx) {
        Demand::End => Poll::Ready(Err(Ended::TimedOut)),
        // It is told when there is a connection to say it on.
        Demand::Leave | Demand::Nothing => {
            Pin::new(&mut handshake).poll(cx).map_err(|error| Ended::Multiplexed(Err(error)))
        }
    });
    let mut connection: Connection<_, Bytes> = match shaken.await {
        Ok(connection) => connection,
        Err(ended) => return ended,
    };
    if limits.told_to_leave {
        connection.graceful_shutdown();
    }
    let mut presence = Presence::new(&client.gate.deadlines, server.idle_timeout, connection.ping_pong());
    let mut is_silent = false;
    poll_fn(|cx| {
        match limits.poll(cx) {
            Demand::End => return Poll::Ready(Ended::TimedOut),
            Demand::Leave => connection.graceful_shutdown(),
            Demand::Nothing => {}
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, reply)))) => {
                    streams.serve(request, reply);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Ended::Multiplexed(Err(error))),
                Poll::Ready(None) if is_silent => {
                    let silent = io::Error::new(io::ErrorKind::TimedOut, "the client does not answer a ping");
                    return Poll::Ready(Ended::Broke(silent));
                }
                Poll::Ready(None) => return Poll::Ready(Ended::Multiplexed(Ok(()))),
                Poll::Pending if is_silent => return Poll::Pending,
                Poll::Pending => {}
            }
            // After what the client has said is read. What is to be said to it goes out in the next round.
            match presence.poll_silence(client.phases.has_spoken(), cx) {
                Poll::Ready(Silence::Begins) => {}
                Poll::Ready(Silence::Lasts) => {
                    is_silent = true;
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// What is not set here is as h2 has it, which bounds what a client can make us do for nothing: the streams that it resets or has us
/// reset, field blocks without end, frames without content.
fn settings(server: &Server) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(server.http2_max_streams)
        .max_header_list_size(u32::try_from(server.max_header_bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// The limits of time that the connection itself is under.
struct Limits<'a> {
    client: &'a Client,
    /// Whether the client is to know that no more requests are taken.
    told_to_leave: bool,
}

/// What these ask for.
enum Demand {
    Nothing,
    /// The client is told to leave. Requests that are on their way already are still answered (RFC 9113 section 6.8).
    Leave,
    /// The connection is closed as it is.
    End,
}

impl Limits<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Demand {
        let phases = &self.client.phases;
        if phases.poll_write_limit(cx).is_ready() {
            return Demand::End;
        }
        // While it lingers, that has a limit of its own.
        let passed = !phases.is_lingering() && phases.poll_connection_limit(cx).is_ready();
        if passed && self.told_to_leave {
            return Demand::End;
        }
        if passed {
            phases.closing();
        }
        if !self.told_to_leave && (passed || self.client.gate.deadlines.is_draining()) {
            self.told_to_leave = true;
            return Demand::Leave;
        }
        Demand::Nothing
    }
}
