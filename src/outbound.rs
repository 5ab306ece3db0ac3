//! One request to a server that is no application: bounded in time and size, over TLS that is verified, and never led
//! elsewhere.
//!
//! There are few of these, and nobody waits for them: each has a connection of its own.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{WebUrl, system_roots};

/// The largest head of a response.
const LARGEST_HEAD: usize = 64 * 1024;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection.
    #[error("it cannot be connected to")]
    Connect(#[source] io::Error),
    /// TLS was not agreed on.
    #[error("there is no TLS with it")]
    Tls(#[source] io::Error),
    /// The URL's host cannot be in a certificate.
    #[error("the name of the server is no name")]
    Name,
    /// What came is no HTTP.
    #[error("it does not speak HTTP")]
    Http(#[source] hyper::Error),
    /// It does not do what it was asked.
    #[error("it answered {0}; redirects are not followed")]
    Status(StatusCode),
    /// There is more than anybody wants to read.
    #[error("its answer is larger than {} KiB", .0 / 1024)]
    TooLarge(usize),
    /// The connection was closed in the middle.
    #[error("its answer broke off")]
    BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    /// TLS cannot be spoken at all.
    #[error("the TLS library cannot be used")]
    Library(#[source] rustls::Error),
}

/// How much one request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest that it may take, from looking up the name to the last byte.
    pub time: Duration,
    /// The largest answer, in bytes.
    pub size: usize,
}

/// Makes requests.
#[derive(Default)]
pub struct Caller {
    /// Made when it is needed: the certificates of the system are many files.
    tls: OnceLock<Result<TlsConnector, rustls::Error>>,
}

impl Caller {
    /// The answer to this request, if it is a good one. The URL says what the request is for.
    ///
    /// # Errors
    /// Whatever was in the way, an answer that is not 2xx among it.
    pub async fn call(
        &self,
        url: &WebUrl,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, CallError> {
        let called = self.connect_and_call(url, request, bounds.size);
        timeout(bounds.time, called).await.unwrap_or(Err(CallError::Timeout(bounds.time)))
    }

    async fn connect_and_call(
        &self,
        url: &WebUrl,
        request: Request<Full<Bytes>>,
        largest: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(CallError::Connect)?;
        if url.tls {
            let name = ServerName::try_from(url.host.clone()).map_err(|_| CallError::Name)?;
            let tls = self.tls.get_or_init(trusting_the_system).as_ref();
            let tls = tls.map_err(|error| CallError::Library(error.clone()))?;
            exchange(tls.connect(name, stream).await.map_err(CallError::Tls)?, url, request, largest).await
        } else {
            exchange(stream, url, request, largest).await
        }
    }
}

/// TLS with servers whose certificates the system trusts.
fn trusting_the_system() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = builder.with_root_certificates(system_roots()).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &WebUrl,
    mut request: Request<Full<Bytes>>,
    largest: usize,
) -> Result<Response<Bytes>, CallError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(CallError::Http)?;
    // Goes with this function, however it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    *request.uri_mut() = url.path.parse().map_err(|_| CallError::Name)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(url.authority.as_str()).map_err(|_| CallError::Name)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("session-gateway/", env!("CARGO_PKG_VERSION"))));
    let response = sender.send_request(request).await.map_err(CallError::Http)?;
    // What a server says to a request that it does not do is not read.
    if !response.status().is_success() {
        return Err(CallError::Status(response.status()));
    }
    let (head, body) = response.into_parts();
    match Limited::new(body, largest).collect().await {
        Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge(largest)),
        Err(error) => Err(CallError::BrokenOff(error)),
    }
}
