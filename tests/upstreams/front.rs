//! Other ways to an application of the test: over TLS, or by a socket of this machine. What comes in goes on to it, byte for
//! byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, Pair};

/// One such way; dropping it closes it and its connections.
pub(crate) struct Front {
    runtime: Option<Runtime>,
    pub(crate) address: Option<SocketAddr>,
    /// Handshakes that went well.
    pub(crate) shaken: Arc<AtomicUsize>,
    /// Those of them that went on with an earlier session.
    pub(crate) resumed: Arc<AtomicUsize>,
}

impl Front {
    /// Over TLS on a free port of 127.0.0.1.
    pub(crate) fn tls(application: SocketAddr, config: ServerConfig) -> Self {
        let (runtime, shaken, resumed) = (runtime(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (all, again) = (shaken.clone(), resumed.clone());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, all, again) = (acceptor.clone(), all.clone(), again.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    all.fetch_add(1, Ordering::SeqCst);
                    if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        again.fetch_add(1, Ordering::SeqCst);
                    }
                    pass(stream, application).await;
                });
            }
        });
        Self { runtime: Some(runtime), address: Some(address), shaken, resumed }
    }

    /// By a socket at `path`.
    pub(crate) fn unix(application: SocketAddr, path: &Path) -> Self {
        let runtime = runtime();
        let _ = std::fs::remove_file(path);
        let listener = runtime.block_on(async { UnixListener::bind(path) }).unwrap();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(stream, application));
            }
        });
        Self { runtime: Some(runtime), address: None, shaken: Arc::default(), resumed: Arc::default() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.unwrap().port()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, application: SocketAddr) {
    let mut onward = TcpStream::connect(application).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// A server with this certificate, which asks clients for one when `clients` is an authority.
pub(crate) fn server(pair: &Pair, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
