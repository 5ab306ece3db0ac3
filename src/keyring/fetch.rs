//! One GET of a key set: bounded in time and size, over TLS that is verified, and never led elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::KeySetUrl;

/// The longest that a fetch may take, from looking up the name to the last byte.
const LONGEST: Duration = Duration::from_secs(5);
/// The largest set. Large issuers publish some ten kilobytes.
const LARGEST: usize = 256 * 1024;
/// The largest head of a response.
const LARGEST_HEAD: usize = 64 * 1024;

/// Why a key set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("there is no TLS with it")]
    Tls(#[source] io::Error),
    #[error("the name of the server is no name")]
    Name,
    #[error("it does not speak HTTP")]
    Http(#[source] hyper::Error),
    #[error("it answered {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("its answer is larger than 256 KiB")]
    TooLarge,
    #[error("its answer broke off")]
    BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it did not answer within {LONGEST:?}")]
    Timeout,
    #[error("the TLS library cannot be used")]
    Library(#[source] rustls::Error),
}

/// Fetches key sets.
pub(super) struct Fetcher {
    tls: Result<TlsConnector, rustls::Error>,
}

impl Fetcher {
    /// A fetcher that trusts the certificates of the system.
    pub(super) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map(|builder| {
            let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(tls))
        });
        Self { tls }
    }

    /// The answer to a GET, if it is 200.
    pub(super) async fn get(&self, url: &KeySetUrl) -> Result<Bytes, FetchError> {
        timeout(LONGEST, self.connect_and_get(url)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn connect_and_get(&self, url: &KeySetUrl) -> Result<Bytes, FetchError> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(FetchError::Connect)?;
        if !url.tls {
            return get(stream, url).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|_| FetchError::Name)?;
        let tls = self.tls.as_ref().map_err(|error| FetchError::Library(error.clone()))?;
        get(tls.connect(name, stream).await.map_err(FetchError::Tls)?, url).await
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &KeySetUrl,
) -> Result<Bytes, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
    // Goes with this function, however it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(url.path.as_str())
        .header(HOST, url.authority.as_str())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("session-gateway/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Name)?;
    let response = sender.send_request(request).await.map_err(FetchError::Http)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    match Limited::new(response.into_body(), LARGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(error) => Err(FetchError::BrokenOff(error)),
    }
}
