//! The header with which a proxy introduces its client, before anything else on the connection.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::gate::Gate;
use crate::http::proxy_line::{self, Step};
use crate::metrics::TurnedAway;

/// Reads the header of a connection from `peer`, and says whose connection it is from then on. `None` in the answer: it is not
/// to be served, and was counted.
pub(super) async fn by_proxy<T>(transport: &mut T, peer: Option<IpAddr>, gate: &Gate) -> Option<Option<IpAddr>>
where
    T: AsyncRead + Unpin,
{
    // Anybody else could be whoever he likes.
    if !gate.config.server.trusted_proxies.trusts(peer) {
        if gate.metrics.turned_away(TurnedAway::NoProxy) == 1 {
            tracing::warn!(
                ?peer,
                "a connection was closed: server.proxy_protocol is on and its peer is not in server.trusted_proxies; \
                 later ones are counted only"
            );
        }
        return None;
    }
    let limit = gate.deadlines.limit();
    limit.arm(gate.config.server.header_timeout);
    let mut reading = pin!(read(transport));
    let read = poll_fn(|cx| {
        if limit.poll_passed(cx).is_ready() || gate.deadlines.is_closing() {
            return Poll::Ready(None);
        }
        reading.as_mut().poll(cx).map(Some)
    })
    .await;
    match read {
        Some(Ok(client)) => Some(client.or(peer)),
        // A health check that only connects, among others.
        Some(Err(Trouble::Gone(error))) => {
            tracing::debug!(%error, ?peer, "a connection ended before its PROXY header did");
            None
        }
        Some(Err(Trouble::Malformed(error))) => {
            if gate.metrics.turned_away(TurnedAway::BadProxyHeader) == 1 {
                tracing::warn!(
                    %error,
                    ?peer,
                    "a connection was closed: it does not begin with a PROXY header as server.proxy_protocol wants it; \
                     later ones are counted only"
                );
            }
            None
        }
        None => {
            gate.metrics.timed_out.increment();
            None
        }
    }
}

enum Trouble {
    Gone(io::Error),
    Malformed(proxy_line::Malformed),
}

/// Reads exactly the header.
async fn read<T: AsyncRead + Unpin>(transport: &mut T) -> Result<Option<IpAddr>, Trouble> {
    let mut header = Vec::with_capacity(128);
    loop {
        match proxy_line::parse(&header).map_err(Trouble::Malformed)? {
            Step::Complete(client) => return Ok(client),
            Step::Wants(more) => {
                let more = u64::try_from(more).unwrap_or(u64::MAX);
                let length = header.len();
                let read = (&mut *transport).take(more).read_buf(&mut header).await;
                if read.map_err(Trouble::Gone)? == 0 && header.len() == length {
                    return Err(Trouble::Gone(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}
