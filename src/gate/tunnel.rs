//! WebSockets: who may open one, the application's consent, and the way of the bytes afterwards.
//!
//! The request takes the main line like any other, with its policy, identity and headers. What the client sends behind its head
//! stays where it is until the application has consented: it is handed over with the connection, once the 101 has gone to
//! the client. The connection's own task then moves the bytes (`copy`), so a WebSocket holds its client's place among the
//! connections, stays on its worker, and is dropped with it.

mod copy;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::ResponseBody;
use super::client::Client;
use super::exchange::Exchange;
use super::route::Match;
use super::upstream::Connection;
use crate::config::WebSocketAccess;
use crate::error::{Code, Problem};
use crate::http::credential::{Presented, Source};
use crate::http::websocket::{self, Opening};
use crate::policy::{Auth, Permit};

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub(super) struct Asked {
    opening: Opening,
}

/// The mark of a request whose connection can be used for another protocol, which it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Upgradable;

/// Takes note of it when a request asks for a WebSocket. Other protocols are not asked for: the request goes on without.
///
/// # Errors
/// [`Code::InvalidRequest`] for a WebSocket that cannot be opened like this.
pub(super) fn note(request: &mut request::Parts, exchange: &mut Exchange) -> Result<(), Problem> {
    // The mark is there only where there is an `Upgrade`, so that others are not looked at.
    if request.extensions.remove::<Upgradable>().is_some() {
        exchange.asked = Opening::of(request)?.map(|opening| Box::new(Asked { opening }));
    }
    Ok(())
}

/// What a part of an application asks of a request, which for a WebSocket is more than for others.
pub(super) fn auth(place: &Match<'_>, exchange: &mut Exchange) -> Auth {
    if exchange.asked.is_none() {
        return place.auth;
    }
    auth_of_opening(place).unwrap_or_else(|| {
        exchange.asked = None;
        place.auth
    })
}

/// What it asks of a request that opens a WebSocket; `None` where none is opened.
pub(super) fn auth_of_opening(place: &Match<'_>) -> Option<Auth> {
    match place.upstream.websockets.access {
        WebSocketAccess::Session => Some(Auth::Required),
        WebSocketAccess::Any => Some(place.auth),
        WebSocketAccess::Off => None,
    }
}

/// Whether the WebSocket that a request `opens`, if it does, may be opened by the page that opens it.
///
/// # Errors
/// [`Code::Csrf`].
pub(super) fn check_origin(
    request: &request::Parts,
    shown: Option<Presented<'_>>,
    permit: &Permit,
    (place, located): (&Match<'_>, (crate::http::Scheme, Option<&HeaderValue>)),
    opens: bool,
) -> Result<(), Problem> {
    let by_cookie = permit.session().is_some() && shown.is_some_and(|shown| shown.source == Source::Cookie);
    if !opens || !by_cookie {
        return Ok(());
    }
    let (scheme, host) = located;
    websocket::require_known_origin(&request.headers, scheme, host, &place.upstream.websockets.origins)
}

/// What an application's 101 comes to: the answer to the client, behind which the WebSocket begins.
///
/// # Errors
/// [`Code::UpstreamUnreachable`] when nobody asked for it, or it is not the consent to what was asked for.
pub(super) fn consent(
    exchange: &mut Exchange,
    mut response: Response<()>,
    upstream: Box<Connection>,
    idle_timeout: Option<Duration>,
) -> Result<Response<ResponseBody>, Problem> {
    let refused = |why| Err(Problem::with_detail(Code::UpstreamUnreachable, why));
    let Some(asked) = exchange.asked.take() else {
        return refused("The application switched protocols unasked.");
    };
    let headers = response.headers_mut();
    if !asked.opening.is_accepted(headers) {
        return refused("The application's answer opens no WebSocket.");
    }
    headers.insert(UPGRADE, HeaderValue::from_static(websocket::PROTOCOL));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    exchange.opened = Some(Box::new(Opened { upstream, idle_timeout }));
    Ok(response.map(|()| ResponseBody::whole(Bytes::new())))
}

/// A WebSocket to which the application has consented.
#[derive(Debug)]
pub(super) struct Opened {
    upstream: Box<Connection>,
    idle_timeout: Option<Duration>,
}

/// A WebSocket whose bytes are to be moved, once the client has the answer.
#[derive(Debug)]
pub struct Tunnel {
    opened: Opened,
    exchange: Box<Exchange>,
}

impl Tunnel {
    pub(super) fn new(opened: Opened, exchange: Box<Exchange>) -> Box<Self> {
        Box::new(Self { opened, exchange })
    }

    /// Moves the bytes until the WebSocket is over, over the client's connection. `early` is what was read from it before.
    ///
    /// Cancel safety: dropping this closes both connections.
    pub async fn serve<T>(self: Box<Self>, client: T, early: Bytes)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { opened: Opened { upstream, idle_timeout }, exchange } = *self;
        let (upstream, received, _in_use) = upstream.into_stream();
        copy::both_ways((client, early), (upstream, received), exchange, idle_timeout).await;
    }
}

/// What a connection may be used for besides its requests.
#[derive(Debug, Default)]
pub struct Lifeline {
    severed: AtomicBool,
    tunnel: Mutex<Option<Box<Tunnel>>>,
}

impl Lifeline {
    /// Has the connection closed, in the middle of whatever is being sent.
    pub(super) fn sever(&self, client: &Client) {
        self.severed.store(true, Ordering::Relaxed);
        client.phases.wake_connection();
    }

    /// Whether the connection is to be closed.
    pub fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Relaxed)
    }

    /// What was to be closed is closed; this is for another.
    pub fn mend(&self) {
        self.severed.store(false, Ordering::Relaxed);
    }

    /// Hands the connection over to a WebSocket, once the answer to the client has gone.
    pub(super) fn hand_over(&self, tunnel: Box<Tunnel>) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// What the connection was handed over to. A tunnel knows its connection: it must be taken, whatever becomes of that.
    pub fn take(&self) -> Option<Box<Tunnel>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
