//! The operator's listener: `/metrics`, `/livez`, `/readyz`. Never on a public address.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use super::accept::{PAUSE, Source, Taken};
use super::listen::Listener;
use crate::metrics::{self, SharedMetrics, WorkerMetrics};
use crate::sessions::Sessions;

/// The most scrapes and probes at a time.
const MAX_CONNECTIONS: usize = 64;

/// What the operator's listener tells.
#[derive(Clone, Debug)]
pub struct Ops {
    /// The workers' figures.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// The figures that all workers share.
    pub shared: Arc<SharedMetrics>,
    /// The sessions, for whether their store answers.
    pub sessions: Sessions,
    /// True when the gateway is stopping.
    pub stop: watch::Receiver<bool>,
}

impl Ops {
    /// Serves as long as the runtime does: a scrape during the drain shall still see it.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub async fn serve(self, listener: Listener) -> io::Result<()> {
        let source = Source::new(listener)?;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
            match source.accept().await {
                Ok(Taken::Tcp(stream, _)) => tokio::spawn(self.clone().converse(stream, permit)),
                Ok(Taken::Unix(stream)) => tokio::spawn(self.clone().converse(stream, permit)),
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
        }
    }

    async fn converse<T>(self, stream: T, permit: OwnedSemaphorePermit)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the ops listener ended early");
        }
        drop(permit);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let mut response = text(StatusCode::OK, metrics::render(&self.workers, &self.shared));
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if *self.stop.borrow() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
            "/readyz" if !self.sessions.store_is_up() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the session store does not answer\n".to_owned())
            }
            "/readyz" if self.sessions.is_deaf() => {
                text(StatusCode::OK, "degraded: changes by others are not heard of\n".to_owned())
            }
            "/readyz" => text(StatusCode::OK, "ok\n".to_owned()),
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /livez and /readyz\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
