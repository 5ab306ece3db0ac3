//! Connections that carry many requests at a time: HTTP/2 with an application (RFC 9113).
//!
//! h2, the library under hyper, keeps the protocol. A connection has a task of its own, on the worker that opened it; a request
//! is a stream of one of the worker's connections, driven by whoever waits for it (hyper's own client sends a body from a task
//! that nobody can end, so that a stream whose application takes nothing would stay for good). Bodies go both ways at once,
//! and trailers with them, which is all that gRPC asks for.

mod link;
mod stream;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use h2::RecvStream;
use http::{Response, StatusCode, Version};
use http_body::Body;

use self::link::Link;
pub(super) use self::link::Links;
pub(super) use self::stream::Stream;
use self::stream::Upload;
use super::answering::Answering;
use super::choose::Tried;
use super::connection::Failure;
use super::limit::Room;
use super::outgoing::Outgoing;
use super::pause::Pause;
use super::pool::Group;
use super::{failed, unreachable};
use crate::config::EarlyHints;
use crate::error::{Code, Problem};
use crate::gate::client::Client;
use crate::http::response::Malformed;
use crate::http::{Scheme, http2};

/// Why there is no response.
enum Trouble {
    /// The application has not taken the request up, and it can be sent once more.
    Untouched,
    /// Any other.
    Failed(Failure),
}

/// Sends a request as a stream of a connection to the address at this place; when that cannot be connected to, to the next.
///
/// # Errors
/// As for [`send`](super::send).
pub(super) async fn send(
    client: &Client,
    (group, mut at): (&Group, usize),
    mut outgoing: Outgoing,
    (mut room, mut tried): (Option<Room>, Tried),
) -> Result<(Response<()>, Answering), Problem> {
    let gate = &client.gate;
    let application = &group.application;
    let settings = &application.settings;
    let mut repeated = false;
    loop {
        let known = settings.addresses.get(at).zip(application.standings.get(at)).zip(group.links(at));
        let ((address, standing), links) = known.ok_or_else(|| Problem::new(Code::Internal))?;
        let (mut link, request, is_new) = match links.link(application, at).await {
            Ok(link) => link,
            Err(error) => {
                at = unreachable(group, at, &error, &mut tried)?;
                continue;
            }
        };
        let metrics = &gate.metrics;
        let counter = if is_new { &metrics.upstream_opened } else { &metrics.upstream_reused };
        counter.increment();
        let mut using = group.use_of(at).ok_or_else(|| Problem::new(Code::Internal))?;
        using.begin(room.take());
        outgoing.address(&address.host);
        client.phases.response_awaited(settings.response_timeout);
        match exchange(client, &mut link, &mut outgoing, (address.scheme(), settings.early_hints)).await {
            Ok((response, upload)) => {
                standing.reached();
                let (head, body) = response.into_parts();
                let pause = Pause::new(&gate.deadlines, settings.body_timeout);
                let stream = Stream::new(&head.headers, (body, upload), pause, (using, request));
                return Ok((Response::from_parts(head, ()), Answering::Shared(Box::new(stream))));
            }
            Err(Trouble::Untouched) if !is_new && !repeated => {
                metrics.upstream_retried.increment();
                (room, repeated) = (using.end(), true);
            }
            Err(Trouble::Untouched) => {
                return Err(failed(&settings.name, Failure::Broke(io::ErrorKind::ConnectionRefused.into())));
            }
            Err(Trouble::Failed(failure)) => return Err(failed(&settings.name, failure)),
        }
    }
}

/// Sends a request and waits for the head of its response. A body that was not touched stays where it is.
///
/// Cancel safety: dropping this resets the stream.
async fn exchange(
    client: &Client,
    link: &mut Link,
    outgoing: &mut Outgoing,
    (scheme, hints): (Scheme, EarlyHints),
) -> Result<(Response<RecvStream>, Upload), Trouble> {
    let broke = |error: io::Error| Trouble::Failed(Failure::Broke(error));
    let head = http2::request(&outgoing.head, scheme)
        .ok_or_else(|| broke(io::Error::other("the request has no form in HTTP/2")))?;
    let bodiless = outgoing.body.as_ref().is_none_or(Body::is_end_stream);
    // What has no body and changes nothing may be sent once more, should the application say that it did not look at it.
    let is_repeatable = bodiless && head.method().is_safe();
    // An error is a connection that takes no more requests.
    let (mut response, stream) = link.sender.send_request(head, bodiless).map_err(|_| Trouble::Untouched)?;
    let body = outgoing.body.take().filter(|_| !bodiless);
    let mut upload = Upload::new(body, stream);
    let answered = poll_fn(|cx| {
        if let Poll::Ready(Err(cause)) = upload.poll(cx) {
            return Poll::Ready(Err(Trouble::Failed(Failure::ClientBroke(cause))));
        }
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            let (mut parts, ()) = interim.into_parts();
            http2::strip_hop_by_hop(&mut parts.headers);
            client.interim.offer(hints, parts.status, parts.headers);
        }
        match Pin::new(&mut response).poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(error)) if is_repeatable && is_refused(&error) => Poll::Ready(Err(Trouble::Untouched)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broke(io::Error::other(error)))),
            Poll::Pending => client.phases.poll_response_limit(cx).map(|waiting_for_client| {
                Err(Trouble::Failed(if waiting_for_client { Failure::ClientStalled } else { Failure::TimedOut }))
            }),
        }
    });
    let mut response = answered.await?;
    // There is no such switch in HTTP/2 (RFC 9113 section 8.6).
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Trouble::Failed(Failure::Malformed(Malformed::Head)));
    }
    *response.version_mut() = Version::HTTP_11;
    http2::strip_hop_by_hop(response.headers_mut());
    Ok((response, upload))
}

/// Whether the application says that it has not looked at the request: it refused the stream, or was about to leave when the
/// request came (RFC 9113 section 8.7).
fn is_refused(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}
