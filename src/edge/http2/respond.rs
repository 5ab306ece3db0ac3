//! One request and the response to it. Letting go of the stream before the response's end resets it.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, DATE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::time::sleep;

use super::streams::{Refusal, Running};
use crate::gate::body::{Incoming, Received, ResponseBody, flow};
use crate::gate::client::Client;
use crate::gate::{self, UNHURRIED, Unhurried};
use crate::http::forwarding::MOST_FIELDS;
use crate::http::{http2, reply};

/// Pieces up to this size are copied.
const COPY: usize = 8 * 1024;

/// Serves one request, from its head to the end of its response.
pub(super) async fn serve(
    running: Running,
    request: Request<RecvStream>,
    refusal: Option<Refusal>,
    mut reply: SendResponse<Bytes>,
) {
    let response = {
        // It is large, so it stays where it is made.
        let mut answer = pin!(answer(running.client().clone(), request, refusal));
        let answered = poll_fn(|cx| {
            if running.poll_ended(cx).is_ready() {
                return Poll::Ready(None);
            }
            let answered = answer.as_mut().poll(cx);
            let hints = running.client().interim.take();
            // An error is a connection that is gone. It is asked for before hints too, which h2 would send on a stream that is reset.
            if (answered.is_pending() || !hints.is_empty()) && reply.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            for headers in hints {
                hint(&mut reply, headers);
            }
            answered.map(Some)
        });
        answered.await
    };
    if let Some(response) = response {
        send(&running, reply, response).await;
    }
}

/// The answer to a request. It may still be reading the request's body when it is there.
async fn answer(client: Arc<Client>, request: Request<RecvStream>, refusal: Option<Refusal>) -> Response<ResponseBody> {
    if let Some(Refusal { full, told }) = refusal {
        return gate::refuse(client, request, &full.problem(), told);
    }
    // Browsers send each cookie as a field of its own.
    let cookies = request.headers().get_all(COOKIE).iter().count();
    if request.headers().len() - cookies > MOST_FIELDS {
        let mut response = Response::new(ResponseBody::whole(Bytes::new()));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return response;
    }
    let (head, stream) = request.into_parts();
    // What follows a CONNECT is no body (RFC 9113 section 8.5), and it is refused.
    let body = if stream.is_end_stream() || head.method == Method::CONNECT {
        Incoming::None
    } else {
        Incoming::Shared(Received::new(stream, &head.headers))
    };
    let response = gate::handle(client, Request::from_parts(head, body)).await;
    // There is no not listening to one client's requests alone: each takes its time instead.
    if response.extensions().get::<Unhurried>().is_some() {
        sleep(UNHURRIED).await;
    }
    response
}

/// Tells the client what the application says before it has an answer.
fn hint(reply: &mut SendResponse<Bytes>, headers: HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::EARLY_HINTS;
    *response.headers_mut() = headers;
    // It may be lost: the answer is what counts.
    if let Err(error) = reply.send_informational(response) {
        tracing::debug!(%error, "early hints cannot be sent");
    }
}

/// Sends a response, as far as the client takes it.
async fn send(running: &Running, mut reply: SendResponse<Bytes>, response: Response<ResponseBody>) {
    let (mut head, body) = response.into_parts();
    let is_whole = body.is_end_stream();
    // It has no content, and says nothing of any (RFC 9110 section 8.6).
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
    }
    complete(&mut head.headers, body.size_hint().exact().filter(|_| !is_whole));
    let stream = match reply.send_response(Response::from_parts(head, ()), is_whole) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a response cannot be sent");
            return reply.send_reset(Reason::INTERNAL_ERROR);
        }
    };
    if is_whole {
        return;
    }
    let mut sending = Sending { client: running.client(), stream, body, piece: Bytes::new() };
    poll_fn(|cx| if running.poll_ended(cx).is_ready() { Poll::Ready(()) } else { sending.poll(cx) }).await;
}

/// Makes the headers of a response those of a message in HTTP/2. `length` is that of a body which follows, when it is known.
fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    http2::strip_hop_by_hop(headers);
    if let Some(length) = length.filter(|_| !headers.contains_key(CONTENT_LENGTH)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    // RFC 9110 section 6.6.1: who passes a response on adds the date that it lacks.
    if !headers.contains_key(DATE)
        && let Some(date) = reply::date()
    {
        headers.insert(DATE, date);
    }
}

/// A response's body on its way. It is let go of when the client has room for the last of it, which ends the exchange with the
/// application.
struct Sending<'a> {
    client: &'a Client,
    stream: SendStream<Bytes>,
    body: ResponseBody,
    /// What of it waits for room.
    piece: Bytes,
}

impl Sending<'_> {
    /// Ready when all of it is sent, or no more of it will be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Also for being woken, whatever is waited for below.
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            if !self.piece.is_empty() {
                let room = match flow::room(&mut self.stream, self.piece.len(), cx) {
                    Poll::Ready(Some(room)) => room,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {
                        // Others need the application's connection more than a client that does not take its answer.
                        self.body.release();
                        return Poll::Pending;
                    }
                };
                let part = self.piece.split_to(room.min(self.piece.len()));
                let is_last = self.piece.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
                if !self.piece.is_empty() {
                    self.client.phases.piece_offered();
                }
                continue;
            }
            let trailers = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    // What the end of a body brings may be nothing at all.
                    Ok(data) if data.is_empty() && self.body.is_end_stream() => None,
                    Ok(data) => {
                        // A small one would keep all of the buffer that it was read into, for as long as it waits.
                        self.piece = if data.len() <= COPY { Bytes::copy_from_slice(&data) } else { data };
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
                Some(Err(cause)) => {
                    self.stream.send_reset(flow::reason(&cause).unwrap_or(Reason::INTERNAL_ERROR));
                    return Poll::Ready(());
                }
                None => None,
            };
            let sent = match trailers {
                Some(mut trailers) => {
                    http2::strip_hop_by_hop(&mut trailers);
                    reply::keep_what_may_trail(&mut trailers);
                    self.stream.send_trailers(trailers)
                }
                None => self.stream.send_data(Bytes::new(), true),
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "the end of a response cannot be sent");
            }
            return Poll::Ready(());
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.piece.is_empty() {
            self.body.take_back(std::mem::take(&mut self.piece));
        }
    }
}
