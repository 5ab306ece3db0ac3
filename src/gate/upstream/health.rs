//! Asking an address of an application whether it is well.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connect;
use super::standing::Application;
use super::tls;
use crate::config::{Address, Health, Protocol};
use crate::error::causes;

/// The largest head of an answer.
const LARGEST_HEAD: usize = 64 * 1024;

/// Why an address is not well.
#[derive(Debug, thiserror::Error)]
enum Ailment {
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("it does not answer in HTTP")]
    Http(#[source] hyper::Error),
    #[error("health.host cannot be asked for")]
    Host(#[source] http::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it did not answer within health.timeout")]
    Late,
}

/// Checks the address at this place again and again. Must be dropped to end.
pub(super) async fn check(application: Arc<Application>, at: usize) {
    let settings = &application.settings;
    let (Some(health), Some(address), Some(standing)) =
        (&settings.health, settings.addresses.get(at), application.standings.get(at))
    else {
        return;
    };
    // It is taken to be well until it has proved otherwise: a gateway that starts has work to do.
    let (mut well, mut contrary) = (true, 0);
    loop {
        let asked = timeout(health.timeout, ask(&application, at, address, health)).await;
        let answer = asked.unwrap_or(Err(Ailment::Late));
        if answer.is_err() {
            standing.metrics.failures.increment();
        }
        contrary = if answer.is_ok() == well { 0 } else { contrary + 1 };
        let enough = if well { health.unhealthy_after } else { health.healthy_after };
        if contrary >= enough {
            (well, contrary) = (!well, 0);
            match &answer {
                Ok(()) => tracing::info!(upstream = settings.name, %address, "the address is well again"),
                Err(ailment) => {
                    let hint = if let Ailment::Unreachable(error) = ailment { tls::hint(error) } else { None };
                    let error = causes(ailment);
                    tracing::warn!(upstream = settings.name, %address, error, hint, "the address is not well");
                }
            }
        }
        match (&answer, well) {
            (Ok(()), true) => standing.found(true),
            (Ok(()) | Err(_), false) => standing.found(false),
            // One bad check is nothing yet.
            (Err(_), true) => {}
        }
        sleep(health.interval).await;
    }
}

async fn ask(application: &Application, at: usize, address: &Address, health: &Health) -> Result<(), Ailment> {
    let (stream, _) = connect::open(application, at, health.timeout).await.map_err(Ailment::Unreachable)?;
    let stream = TokioIo::new(stream);
    let mut request = Request::new(Empty::<Bytes>::new());
    const AGENT: HeaderValue =
        HeaderValue::from_static(concat!("session-gateway/", env!("CARGO_PKG_VERSION"), " (health check)"));
    request.headers_mut().insert(USER_AGENT, AGENT);
    let host = health.host.as_ref().unwrap_or(&address.host);
    // Goes with this function, however it ends.
    let mut driver = JoinSet::new();
    let answered = match application.settings.protocol {
        Protocol::Http1 => {
            *request.uri_mut() = health.target.clone().into();
            request.headers_mut().insert(HOST, host.clone());
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            let mut builder = http1::Builder::new();
            builder.max_buf_size(LARGEST_HEAD);
            let (mut sender, connection) = builder.handshake(stream).await.map_err(Ailment::Http)?;
            driver.spawn(connection);
            sender.send_request(request).await
        }
        Protocol::Http2 => {
            let uri = Uri::builder().scheme(address.scheme().as_str()).authority(host.as_bytes());
            *request.uri_mut() = uri.path_and_query(health.target.clone()).build().map_err(Ailment::Host)?;
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(Ailment::Http)?;
            driver.spawn(connection);
            sender.send_request(request).await
        }
    };
    let status = answered.map_err(Ailment::Http)?.status();
    if health.expect.contains(status.as_u16()) { Ok(()) } else { Err(Ailment::Status(status)) }
}
