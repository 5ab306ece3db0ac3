//! A response on its way to the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::poll_gone;
use super::upload::Upload;
use super::wire::Wire;
use crate::edge::conn::Ended;
use crate::gate::Unhurried;
use crate::gate::body::ResponseBody;
use crate::gate::client::Client;
use crate::http::reply::{self, Delimited};
use crate::http::request::{Terms, Unreadable};

/// What is behind a response.
pub(super) enum Behind {
    /// The next request.
    Open,
    /// The next request, after a moment.
    Slowed,
    /// The connection's end.
    Closed,
    /// The bytes of a WebSocket.
    Switched,
}

/// Answers what is no request; nothing else on the connection is read.
pub(super) fn refuse<T>(wire: &mut Wire<T>, why: Unreadable) {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = why.status();
    let terms = Terms { is_http_10: false, is_head: false, keep_alive: false, takes_trailers: false };
    reply::write_head(wire.out(), &parts, Some(0), terms);
}

/// Sends a response, while the rest of the request's body is handed over to whoever still reads it. `room` gets the memory of
/// its fields.
///
/// # Errors
/// It did not get there whole, which the client must see: the connection is not to be closed in order.
pub(super) async fn send<T>(
    wire: &mut Wire<T>,
    client: &Client,
    upload: &mut Upload,
    response: Response<ResponseBody>,
    terms: Terms,
    room: &mut HeaderMap,
) -> Result<Behind, Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut parts, body) = response.into_parts();
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let (delimited, keep_alive) = reply::write_head(wire.out(), &parts, body.size_hint().exact(), terms);
    let announced = if terms.takes_trailers && delimited == Delimited::Chunks {
        reply::announced(&parts.headers)
    } else {
        Vec::new()
    };
    let slowed = parts.extensions.get::<Unhurried>().is_some();
    parts.headers.clear();
    *room = parts.headers;

    let mut content = Content { body: Some(body), delimited, announced, broke: false };
    if delimited == Delimited::Bodiless || content.is_at_end() {
        content.end(wire, None);
    }
    poll_fn(|cx| {
        // Before anything that could set the limit anew.
        if client.phases.has_passed() {
            return Poll::Ready(Err(Ended::TimedOut));
        }
        loop {
            let waits = content.poll_into(wire, cx).is_pending();
            let writes = !wire.is_written();
            match wire.poll_write(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Broke(error))),
                Poll::Ready(Ok(())) if content.broke => return Poll::Ready(Err(Ended::Cut)),
                Poll::Ready(Ok(())) if content.body.is_none() => return Poll::Ready(Ok(())),
                // There is room now; and what waited before this was written sets its limit of time anew.
                Poll::Ready(Ok(())) if !waits || writes => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !upload.feed(wire, false, cx) {
                break;
            }
        }
        poll_gone(wire, client, (upload, true), cx).map(Err)
    })
    .await?;
    Ok(match (switches, keep_alive) {
        (true, _) => Behind::Switched,
        (false, true) if slowed => Behind::Slowed,
        (false, true) => Behind::Open,
        (false, false) => Behind::Closed,
    })
}

/// What a response says.
struct Content {
    /// What is still to come of it. It is dropped as soon as all of it is here, which ends the exchange with the application.
    body: Option<ResponseBody>,
    delimited: Delimited,
    /// The trailers that the client is told of, if it takes any.
    announced: Vec<HeaderName>,
    /// Whether it ended before its end.
    broke: bool,
}

impl Content {
    fn is_at_end(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    /// Takes in what there is room for. Ready when there is no more room, or nothing more comes.
    fn poll_into<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<()> {
        while wire.has_room() {
            let Some(body) = &mut self.body else { break };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Poll::Pending };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.add(wire, data),
                Some(Ok(Err(frame))) => self.end(wire, frame.into_trailers().ok()),
                None => self.end(wire, None),
                Some(Err(_)) => {
                    (self.broke, self.body) = (true, None);
                }
            }
        }
        Poll::Ready(())
    }

    fn add<T>(&mut self, wire: &mut Wire<T>, data: Bytes) {
        // An empty chunk would be the last one.
        if !data.is_empty() {
            let tail: &[u8] = match &mut self.delimited {
                Delimited::Chunks => {
                    reply::write_chunk_size(wire.out(), data.len());
                    b"\r\n"
                }
                Delimited::Length(owed) => {
                    *owed = owed.saturating_sub(data.len() as u64);
                    b""
                }
                Delimited::ByClose | Delimited::Bodiless => b"",
            };
            wire.add(data, tail);
        }
        // What is behind a large piece has to wait for it.
        if self.is_at_end() && wire.has_room() {
            self.end(wire, None);
        }
    }

    fn end<T>(&mut self, wire: &mut Wire<T>, trailers: Option<HeaderMap>) {
        match self.delimited {
            Delimited::Chunks => {
                reply::write_last_chunk(wire.out(), &trailers.unwrap_or_default(), &self.announced);
            }
            // It was to be longer: the next response would be taken for its rest.
            Delimited::Length(1..) => self.broke = true,
            Delimited::Length(0) | Delimited::ByClose | Delimited::Bodiless => {}
        }
        self.body = None;
    }
}
