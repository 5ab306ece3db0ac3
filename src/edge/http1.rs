//! One client connection on which one request comes after the other (RFC 9112).
//!
//! [`serve`] is the connection's life. It has one task, in which its requests run too: the bytes of a request's body are
//! read when that asks for them ([`upload`]), and those of its response are written as they come ([`sending`]). [`wire`] keeps
//! what was received and not yet understood, and what is to be written. In a long pause all of that is given back.

mod sending;
mod upload;
mod wire;

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HeaderMap;
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use self::sending::Behind;
use self::upload::Upload;
use self::wire::Wire;
use super::conn::Ended;
use super::resting;
use super::watched::Watched;
use crate::gate::body::ResponseBody;
use crate::gate::client::{Client, UpToDate};
use crate::gate::tunnel::Upgradable;
use crate::gate::{self, Current, Medium, UNHURRIED};
use crate::http::reply;
use crate::http::request::{Head, Unreadable};

/// Serves requests on a connection until it is closed, by either side, by a limit of time, or by a drain.
pub(super) async fn serve<T>(transport: Watched<T>, client: Arc<Client>, current: Arc<Current>) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = UpToDate::new(client.clone(), current);
    let mut wire = Wire::new(transport);
    let _leaving = Leaving(client.clone());
    loop {
        // Boxed, so that a connection that rests has no room for a request.
        match Box::pin(requests(&mut wire, &client, &serving)).await {
            Stretch::Gone(ended) => return ended,
            Stretch::Closes(ended) => {
                close(wire.transport(), &client).await;
                return ended;
            }
            Stretch::Switched => break,
            Stretch::Rests => {}
        }
        wire.rest();
        if let Some(ended) = resting::wait(wire.transport(), &client).await {
            return ended;
        }
    }
    if let Some(tunnel) = client.lifeline.take() {
        let (transport, early) = wire.into_transport();
        // Most connections never become one, and need no room for it.
        Box::pin(tunnel.serve(transport, early)).await;
    }
    Ended::InOrder
}

/// Why requests are not served for now.
enum Stretch {
    /// The client has not asked for anything for a while.
    Rests,
    /// The connection is to be closed in order.
    Closes(Ended),
    /// There is nobody to close it with, or it must not look as if it were in order.
    Gone(Ended),
    /// It is a WebSocket from now on.
    Switched,
}

/// Serves requests until the connection is over, or rests.
async fn requests<T>(wire: &mut Wire<T>, client: &Arc<Client>, serving: &UpToDate) -> Stretch
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // The memory of one request's fields is the next one's.
    let mut room = HeaderMap::new();
    loop {
        let head = match poll_fn(|cx| poll_head(wire, client, &mut room, cx)).await {
            Ok(head) => head,
            Err(NoRequest::Unreadable(why)) => {
                sending::refuse(wire, why);
                let told = poll_fn(|cx| {
                    // Before the write, which could set the limit anew.
                    if client.phases.has_passed() {
                        return Poll::Ready(Err(Ended::TimedOut));
                    }
                    match wire.poll_write(cx) {
                        Poll::Ready(told) => Poll::Ready(told.map_err(Ended::Broke)),
                        Poll::Pending => poll_ended(client, cx).map(Err),
                    }
                });
                return match told.await {
                    Ok(()) => Stretch::Closes(Ended::Unreadable(why)),
                    Err(ended) => Stretch::Gone(ended),
                };
            }
            Err(NoRequest::Over(stretch)) => return stretch,
        };
        let served = serve_one(wire, client, serving, head, &mut room).await;
        match served {
            Ok(Served::Open) => {}
            Ok(Served::Slowed) => {
                if let Some(ended) = let_wait(client).await {
                    return Stretch::Gone(ended);
                }
            }
            Ok(Served::Last) => return Stretch::Closes(Ended::InOrder),
            Ok(Served::Switched) => return Stretch::Switched,
            Err(ended) => return Stretch::Gone(ended),
        }
    }
}

/// Why there is no next request.
enum NoRequest {
    /// What came is none.
    Unreadable(Unreadable),
    /// There is none, or not now.
    Over(Stretch),
}

/// Waits for the head of the next request.
fn poll_head<T>(
    wire: &mut Wire<T>,
    client: &Client,
    room: &mut HeaderMap,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, NoRequest>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let longest = client.gate.config.server.max_header_bytes;
    let over = |stretch| Poll::Ready(Err(NoRequest::Over(stretch)));
    loop {
        match wire.take_head(longest, room) {
            Ok(Some(head)) => return Poll::Ready(Ok(head)),
            // What is here of it may have come behind the last request.
            Ok(None) if !wire.received().is_empty() => client.phases.bytes_read(),
            Ok(None) => {}
            Err(why) => {
                client.phases.bytes_read();
                return Poll::Ready(Err(NoRequest::Unreadable(why)));
            }
        }
        match wire.poll_receive(cx) {
            Poll::Ready(Ok(0)) if wire.holds_nothing_but_line_breaks() => return over(Stretch::Closes(Ended::InOrder)),
            Poll::Ready(Ok(0)) => return over(Stretch::Gone(Ended::Broke(std::io::ErrorKind::UnexpectedEof.into()))),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return over(Stretch::Gone(Ended::Broke(error))),
            Poll::Pending => break,
        }
    }
    // What the client had sent is answered before this. A request that has begun has its time.
    if client.gate.deadlines.is_closing() && wire.received().is_empty() {
        return over(Stretch::Closes(Ended::InOrder));
    }
    if client.phases.poll_connection_limit(cx).is_ready() {
        return over(if client.phases.begins_to_rest() { Stretch::Rests } else { Stretch::Gone(Ended::TimedOut) });
    }
    if client.lifeline.is_severed() {
        return over(Stretch::Gone(Ended::Severed));
    }
    Poll::Pending
}

/// What becomes of a connection behind a response.
enum Served {
    /// It is there for the next request.
    Open,
    /// It is there for the next request, which is not read for a moment.
    Slowed,
    /// That was the last one.
    Last,
    /// It is a WebSocket.
    Switched,
}

/// Serves one request: its answer is waited for while its body is handed over, and then sent.
///
/// # Errors
/// The connection has ended in the middle of it.
async fn serve_one<T>(
    wire: &mut Wire<T>,
    client: &Client,
    serving: &UpToDate,
    head: Head,
    room: &mut HeaderMap,
) -> Result<Served, Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Head { mut request, framing, mut terms, expects_continue, upgrades } = head;
    if upgrades {
        request.extensions_mut().insert(Upgradable);
    }
    let mut upload = Upload::new(framing, expects_continue);
    let client_now = serving.client();
    client_now.interim.begin(if terms.is_http_10 { Medium::None } else { Medium::Http1 });
    let request = request.map(|()| upload.incoming());
    // It is large, so it stays where it is made.
    let handling = pin!(gate::handle(client_now.clone(), request));
    let response = answer(wire, client, &client_now, &mut upload, handling).await?;

    if upload.is_abandoned() {
        if poll_fn(|cx| Poll::Ready(upload.discard(wire, cx))).await {
            client.phases.body_discarded();
        } else {
            // Told now, so that the client need not find out.
            terms.keep_alive = false;
        }
    }
    terms.keep_alive &= !client.gate.deadlines.is_draining();
    let behind = sending::send(wire, client, &mut upload, response, terms, room).await?;
    Ok(match behind {
        Behind::Switched => Served::Switched,
        Behind::Closed => Served::Last,
        Behind::Open | Behind::Slowed => {
            // An answer may come before all of the request has: what is left of it would be taken for the next one.
            if !poll_fn(|cx| Poll::Ready(upload.discard(wire, cx))).await {
                return Ok(Served::Last);
            }
            client.phases.body_discarded();
            if matches!(behind, Behind::Slowed) { Served::Slowed } else { Served::Open }
        }
    })
}

/// Lets a client wait that asks too often: what it sends meanwhile stays in the kernel. `Some` when the connection ends instead.
async fn let_wait(client: &Client) -> Option<Ended> {
    let mut moment = pin!(sleep(UNHURRIED));
    poll_fn(|cx| {
        if moment.as_mut().poll(cx).is_ready() || client.gate.deadlines.is_closing() {
            return Poll::Ready(None);
        }
        poll_ended(client, cx).map(Some)
    })
    .await
}

/// Waits for the answer to a request, whose body is handed over meanwhile.
async fn answer<T>(
    wire: &mut Wire<T>,
    client: &Client,
    client_now: &Client,
    upload: &mut Upload,
    mut answer: Pin<&mut impl Future<Output = Response<ResponseBody>>>,
) -> Result<Response<ResponseBody>, Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        // Before anything that could set the limit anew.
        if client.phases.has_passed() {
            return Poll::Ready(Err(Ended::TimedOut));
        }
        loop {
            let answered = answer.as_mut().poll(cx);
            if wire.has_room() {
                for headers in client_now.interim.take() {
                    reply::write_interim(wire.out(), StatusCode::EARLY_HINTS, &headers);
                }
            }
            if let Poll::Ready(response) = answered {
                return Poll::Ready(Ok(response));
            }
            let moved = upload.feed(wire, true, cx);
            if !wire.is_written()
                && let Poll::Ready(Err(error)) = wire.poll_write(cx)
            {
                return Poll::Ready(Err(Ended::Broke(error)));
            }
            if !moved {
                break;
            }
        }
        poll_gone(wire, client, (upload, false), cx).map(Err)
    })
    .await
}

/// Ready when a request need not be served on, because its client has left or has lost its connection. `answered` is whether the
/// response has begun.
fn poll_gone<T>(
    wire: &mut Wire<T>,
    client: &Client,
    (upload, answered): (&Upload, bool),
    cx: &mut Context<'_>,
) -> Poll<Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let is_read = upload.is_read();
    if let Poll::Ready(error) = wire.poll_left(is_read, cx) {
        return Poll::Ready(Ended::Broke(error));
    }
    // Behind so much that nobody takes, the end of the connection is not seen. While the application has not answered it may be
    // about to read it, and has a limit of its own; otherwise something has to move now and then.
    if wire.is_far_ahead() && (answered || !is_read) {
        client.phases.write_blocked();
    }
    poll_ended(client, cx)
}

/// Ready when a limit of time or the end of the session ends the connection.
fn poll_ended(client: &Client, cx: &mut Context<'_>) -> Poll<Ended> {
    if client.phases.poll_connection_limit(cx).is_ready() {
        return Poll::Ready(Ended::TimedOut);
    }
    if client.lifeline.is_severed() { Poll::Ready(Ended::Severed) } else { Poll::Pending }
}

/// Closes a connection in order. Nobody waits for anything then: an error would change nothing.
pub(super) async fn close<T>(transport: &mut Watched<T>, client: &Client)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut closing = pin!(transport.shutdown());
    poll_fn(|cx| {
        // A client that takes nothing does not keep it; while it lingers, that has a limit of its own.
        if !client.phases.is_lingering() && client.phases.poll_connection_limit(cx).is_ready() {
            return Poll::Ready(());
        }
        closing.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// Takes away what the connection was to be handed over to, however it ends: that knows the connection too.
struct Leaving(Arc<Client>);

impl Drop for Leaving {
    fn drop(&mut self) {
        drop(self.0.lifeline.take());
    }
}
