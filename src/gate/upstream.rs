//! Sending a request to an application and getting the head of its response.
//!
//! Every worker keeps its own connections. A connection has no task: the request that uses it drives it ([`line`]), so that
//! a request, its client's connection and its upstream connection are one task on one thread. Between two requests it
//! rests in the worker's [`pool`].

mod connect;
mod line;
mod pool;

use http::{Request, Response};
use hyper::body::Incoming;

pub(super) use self::line::Line;
pub use self::pool::Pool;
use super::body::RequestBody;
use super::client::Client;
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
/// [`Code::UpstreamUnreachable`] and [`Code::UpstreamTimeout`].
pub(super) async fn send(
    client: &Client,
    upstream: usize,
    mut request: Request<RequestBody>,
    _permit: &Permit,
) -> Result<(Response<Incoming>, Line), Problem> {
    let gate = &client.gate;
    let settings = gate.config.upstreams.get(upstream).ok_or_else(|| Problem::new(Code::Internal))?;
    client.phases.response_awaited(settings.response_timeout);

    if let Some(mut line) = gate.pool.take(upstream) {
        gate.metrics.upstream_reused.increment();
        match line.exchange(request, &client.phases).await {
            Ok(response) => return Ok((response, line)),
            Err(line::Failure::Unstarted(unsent)) => {
                gate.metrics.upstream_retried.increment();
                request = *unsent;
            }
            Err(failure) => return Err(failed(&settings.name, failure)),
        }
    }
    let mut line = Box::pin(connect::open(gate, upstream, settings)).await?;
    gate.metrics.upstream_opened.increment();
    match line.exchange(request, &client.phases).await {
        Ok(response) => Ok((response, line)),
        Err(failure) => Err(failed(&settings.name, failure)),
    }
}

/// The client is told whose fault it is; the address and the cause stay in the log.
fn failed(upstream: &str, failure: line::Failure) -> Problem {
    match failure {
        line::Failure::TimedOut => {
            tracing::warn!(upstream, "the application did not answer in time");
            Problem::new(Code::UpstreamTimeout)
        }
        line::Failure::ClientStalled => Problem::new(Code::RequestTimeout),
        line::Failure::ClientBroke(error) => {
            tracing::debug!(upstream, %error, "the client broke off its request");
            Problem::with_detail(Code::InvalidRequest, "The request's body broke off.")
        }
        line::Failure::Broke(error) => {
            tracing::warn!(upstream, error = crate::sessions::causes(&error), "the application broke off");
            Problem::with_detail(Code::UpstreamUnreachable, "The application broke off before it answered.")
        }
        line::Failure::Unstarted(_) => {
            tracing::warn!(upstream, "a new connection to the application was closed before the request was sent");
            Problem::with_detail(Code::UpstreamUnreachable, "The application closed the connection.")
        }
    }
}
