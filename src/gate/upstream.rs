//! Sending a request to an application and getting the head of its response.
//!
//! Every worker keeps its own connections. A connection has no task: the request that uses it drives it (`connection`),
//! so that a request, its client's connection and its upstream connection are one task on one thread. Between two requests
//! it rests in the worker's [`pool`].

mod connect;
mod connection;
mod pool;
mod stream;
mod tls;

use http::{Method, Response};

use self::connection::Failure;
pub(super) use self::connection::{Connection, Outgoing};
pub use self::pool::Pool;
use super::client::Client;
use crate::clock::Uptime;
use crate::error::{Code, Problem};
use crate::policy::Permit;

/// Sends a request on its way. It takes the proof that the policy let it pass.
///
/// A request is sent a second time in one case only: it was put on a kept-alive connection that turned out to be closed,
/// and nothing of it had been sent, its body included.
///
/// Cancel safety: dropping this closes the connection, since an HTTP/1 exchange cannot be abandoned otherwise.
///
/// # Errors
/// [`Code::UpstreamUnreachable`] and [`Code::UpstreamTimeout`]; [`Code::RequestTimeout`] and [`Code::InvalidRequest`] when
/// the client does not send its body.
pub(super) async fn send(
    client: &Client,
    upstream: usize,
    method: &Method,
    mut outgoing: Outgoing,
    _permit: &Permit,
    now: Uptime,
) -> Result<(Response<()>, Box<Connection>), Problem> {
    let gate = &client.gate;
    let settings = gate.config.upstreams.get(upstream).ok_or_else(|| Problem::new(Code::Internal))?;
    client.phases.response_awaited(settings.response_timeout);

    if let Some(mut connection) = gate.pool.take(upstream, now) {
        gate.metrics.upstream_reused.increment();
        match connection.exchange(outgoing, method, &client.phases).await {
            Ok(response) => return Ok((response, connection)),
            Err(Failure::Unstarted(unsent)) => {
                gate.metrics.upstream_retried.increment();
                outgoing = *unsent;
            }
            Err(failure) => return Err(failed(&settings.name, failure)),
        }
    }
    let mut connection = Box::pin(connect::open(upstream, settings)).await?;
    gate.metrics.upstream_opened.increment();
    match connection.exchange(outgoing, method, &client.phases).await {
        Ok(response) => Ok((response, connection)),
        Err(failure) => Err(failed(&settings.name, failure)),
    }
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
