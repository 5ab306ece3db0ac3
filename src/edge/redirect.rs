//! What a listener without TLS does for those that have one: every request is sent to the same place at https.
//!
//! A connection is for one request. Its body is not read, nothing of it reaches an application, and all of it has
//! `header_timeout`, from connecting to the end of our answer.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::conn::Open;
use super::watched::Watched;
use crate::config::Config;
use crate::error::{Code, Problem};
use crate::gate::Gate;
use crate::gate::client::Client;
use crate::http::problem::{self, RequestContext};
use crate::http::{Host, Scheme, Target};

/// Answers the request of a connection, and closes it.
pub(super) async fn serve<T>(transport: T, peer: Option<IpAddr>, gate: Arc<Gate>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = gate.metrics.clone();
    metrics.connections.increment();
    metrics.open_connections.add(1);
    let _open = Open(metrics.clone());

    let max_header_bytes = gate.config.server.max_header_bytes;
    // The request is never said to have begun: the limit for its head goes on, and the close waits for what is still sent.
    let client = Arc::new(Client::new(gate.clone(), peer, Scheme::Http));
    let io = TokioIo::new(Watched::new(transport, client.clone()));
    let service = service_fn(|request| {
        let answer = answer(&gate, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes)
        .half_close(false)
        .keep_alive(false)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut closing = false;
    let ended = poll_fn(|cx| {
        if !client.phases.is_lingering() && client.phases.poll_connection_limit(cx).is_ready() {
            return Poll::Ready(None);
        }
        // Who has just connected has a moment to say what for.
        if !closing && gate.deadlines.is_closing() {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(Some)
    })
    .await;
    match ended {
        None => metrics.timed_out.increment(),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            if error.is_parse() {
                metrics.unparsable.increment();
            }
            tracing::debug!(%error, client = ?peer, "a connection ended early");
        }
    }
}

fn answer(gate: &Gate, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = match location(&gate.config, request) {
        Ok(location) => {
            gate.metrics.https_redirects.increment();
            let mut response = Response::new(Full::default());
            // Unlike 301 it keeps the method and the body of whatever is sent again.
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(problem) => {
            gate.metrics.refused(problem.code);
            let (method, headers) = (request.method(), request.headers());
            let context = RequestContext { presented: false, dialect: gate.config.dialect(), method, headers };
            problem::respond(&problem, &context).map(Full::new)
        }
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The same place at https, on its own port. The host is the request's, in canonical form, and one that we answer for: whoever
/// makes up a host cannot have anybody sent there by us.
fn location<B>(config: &Config, request: &Request<B>) -> Result<HeaderValue, Problem> {
    let target = Target::parse(request.method(), request.uri())?;
    let host = Host::of(request.version(), request.headers(), target.authority())?
        .ok_or_else(|| Problem::invalid("Host", "The request names no host."))?;
    let ours = |pattern: &crate::http::HostPattern| pattern.matches(&host);
    if !config.upstreams.iter().any(|upstream| upstream.hosts.is_empty() || upstream.hosts.iter().any(ours)) {
        return Err(Problem::with_detail(Code::NotFound, "No application answers for this host."));
    }
    HeaderValue::try_from(format!("https://{}{}", host.name(), target.path_and_query()))
        .map_err(|_| Problem::invalid("target", "The target has a character that no header has."))
}
