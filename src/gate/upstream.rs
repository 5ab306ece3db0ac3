//! Sending a request to an application and getting the head of its response.
//!
//! Every worker keeps its own connections. A connection has no task: the request that uses it drives it (`connection`),
//! so that a request, its client's connection and its upstream connection are one task on one thread. Between two requests
//! it rests in the worker's [`pool`]. Applications that speak HTTP/2 have connections with a task, which carry many requests at a
//! time (`shared`). What all workers know of an application lies in its `standing`: which addresses are well
//! (`health`), which could not be connected to lately, and where their names lead (`names`).

mod answering;
mod choose;
mod connect;
mod connection;
mod health;
mod limit;
mod names;
mod outgoing;
mod pause;
mod pool;
mod shared;
mod standing;
mod stream;
mod tls;

use std::io;

use http::{Method, Response};

pub(super) use self::answering::Answering;
use self::choose::Tried;
pub(super) use self::connection::Connection;
use self::connection::Failure;
use self::limit::Room;
pub(super) use self::outgoing::Outgoing;
use self::pause::Pause;
use self::pool::Group;
pub use self::pool::Pool;
pub use self::standing::Upstreams;
use super::client::Client;
use crate::clock::{self, Uptime};
use crate::config::Protocol;
use crate::error::{Code, Problem, causes};
use crate::policy::Permit;

/// Sends a request on its way. It takes the proof that the policy let it pass.
///
/// A request goes to another connection in two cases only: it was put on a kept-alive connection that turned out to be closed,
/// and nothing of it had been sent, its body included; or there was no connection to send it on, since an address of the
/// application could not be connected to. Each address is tried once.
///
/// Cancel safety: dropping this closes the connection, since an HTTP/1 exchange cannot be abandoned otherwise.
///
/// # Errors
/// [`Code::UpstreamUnavailable`], [`Code::UpstreamUnreachable`] and [`Code::UpstreamTimeout`]; [`Code::RequestTimeout`] and
/// [`Code::InvalidRequest`] when the client does not send its body.
pub(super) async fn send(
    client: &Client,
    upstream: usize,
    method: &Method,
    mut outgoing: Outgoing,
    _permit: &Permit,
    now: Uptime,
) -> Result<(Response<()>, Answering), Problem> {
    let gate = &client.gate;
    let group = gate.pool.group(upstream).ok_or_else(|| Problem::new(Code::Internal))?;
    let settings = &group.application.settings;
    let mut room = match &group.application.limit {
        None => None,
        Some(limit) => Some(Box::pin(limit.enter(settings.connect_timeout)).await?),
    };
    let mut tried = Tried::default();
    let address = group.choose(&mut tried, now)?;
    if settings.protocol == Protocol::Http2 {
        return Box::pin(shared::send(client, (group, address), outgoing, (room, tried))).await;
    }
    client.phases.response_awaited(settings.response_timeout);
    if let Some(mut connection) = group.take(address, now) {
        match on_kept(client, group, &mut connection, method, outgoing, room).await {
            Ok(response) => return Ok((response, Answering::Alone(connection))),
            Err(Failure::Unstarted(unsent)) => (outgoing, room) = (*unsent, connection.give_up()),
            Err(failure) => return Err(failed(&settings.name, failure)),
        }
    }
    let (response, connection) =
        Box::pin(on_new(client, (upstream, address), group, method, outgoing, (room, tried))).await?;
    Ok((response, Answering::Alone(connection)))
}

/// Sends it on a connection that was kept.
async fn on_kept(
    client: &Client,
    group: &Group,
    connection: &mut Connection,
    method: &Method,
    mut outgoing: Outgoing,
    room: Option<Room>,
) -> Result<Response<()>, Failure> {
    let metrics = &client.gate.metrics;
    metrics.upstream_reused.increment();
    connection.begin(room);
    // Also the first one: it may have been written for another address before.
    if let Some(address) = group.application.settings.addresses.get(connection.address) {
        outgoing.address(&address.host);
    }
    let answered = connection.exchange(outgoing, method, client).await;
    match &answered {
        Ok(_) => {
            if let Some(standing) = group.application.standings.get(connection.address) {
                standing.reached();
            }
        }
        Err(Failure::Unstarted(_)) => metrics.upstream_retried.increment(),
        Err(_) => {}
    }
    answered
}

/// Connects to an address and sends it there; when that fails, to the next.
async fn on_new(
    client: &Client,
    (upstream, mut at): (usize, usize),
    group: &Group,
    method: &Method,
    mut outgoing: Outgoing,
    (mut room, mut tried): (Option<Room>, Tried),
) -> Result<(Response<()>, Box<Connection>), Problem> {
    let gate = &client.gate;
    let application = &group.application;
    let settings = &application.settings;
    loop {
        let known = settings.addresses.get(at).zip(application.standings.get(at)).zip(group.use_of(at));
        let ((address, standing), mut using) = known.ok_or_else(|| Problem::new(Code::Internal))?;
        let error = match connect::open(application, at, settings.connect_timeout).await {
            Ok(stream) => {
                standing.reached();
                gate.metrics.upstream_opened.increment();
                using.begin(room);
                let pause = Pause::new(&gate.deadlines, settings.body_timeout);
                let mut connection = Box::new(Connection::new(stream, (upstream, at), using, pause));
                outgoing.address(&address.host);
                client.phases.response_awaited(settings.response_timeout);
                return match connection.exchange(outgoing, method, client).await {
                    Ok(response) => Ok((response, connection)),
                    Err(failure) => Err(failed(&settings.name, failure)),
                };
            }
            Err(error) => error,
        };
        drop(using);
        at = unreachable(group, at, &error, &mut tried)?;
        if let Some(mut connection) = group.take(at, clock::uptime()) {
            client.phases.response_awaited(settings.response_timeout);
            match on_kept(client, group, &mut connection, method, outgoing, room).await {
                Ok(response) => return Ok((response, connection)),
                Err(Failure::Unstarted(unsent)) => (outgoing, room) = (*unsent, connection.give_up()),
                Err(failure) => return Err(failed(&settings.name, failure)),
            }
        }
    }
}

/// An address could not be connected to. Which one is next?
///
/// # Errors
/// [`Code::UpstreamUnreachable`] when there is none.
fn unreachable(group: &Group, at: usize, error: &io::Error, tried: &mut Tried) -> Result<usize, Problem> {
    let application = &group.application;
    let settings = &application.settings;
    let known = settings.addresses.get(at).zip(application.standings.get(at));
    let (address, standing) = known.ok_or_else(|| Problem::new(Code::Internal))?;
    standing.metrics.failures.increment();
    tracing::warn!(
        upstream = settings.name,
        %address,
        error = causes(error),
        hint = tls::hint(error),
        "the application cannot be reached"
    );
    let now = clock::uptime();
    tried.add(at);
    if application.standings.len() > 1 {
        standing.put_aside(now, settings.retry_after);
    }
    // Who has found something out tells that, and not that there is nothing more to try.
    group.choose(tried, now).map_err(|_| Problem::new(Code::UpstreamUnreachable))
}

/// The client is told whose fault it is; the address and the cause stay in the log.
fn failed(upstream: &str, failure: Failure) -> Problem {
    match failure {
        Failure::TimedOut => {
            tracing::warn!(upstream, "the application did not answer in time");
            Problem::new(Code::UpstreamTimeout)
        }
        Failure::ClientStalled => Problem::new(Code::RequestTimeout),
        Failure::ClientBroke(error) => {
            tracing::debug!(upstream, %error, "the client broke off its request");
            Problem::with_detail(Code::InvalidRequest, "The request's body broke off.")
        }
        Failure::Broke(error) => {
            tracing::warn!(upstream, %error, hint = tls::hint(&error), "the application broke off before it answered");
            Problem::with_detail(Code::UpstreamUnreachable, "The application broke off before it answered.")
        }
        Failure::Malformed(error) => {
            tracing::warn!(upstream, %error, "the application's answer cannot be understood");
            Problem::with_detail(Code::UpstreamUnreachable, "The application's answer cannot be understood.")
        }
        Failure::Unstarted(_) => {
            tracing::warn!(upstream, "a new connection to the application was closed before the request was sent");
            Problem::with_detail(Code::UpstreamUnreachable, "The application closed the connection.")
        }
    }
}
