//! TLS on the public listeners.
//!
//! All workers share one [`Tls`]: the certificates, and the keys of the tickets by which clients resume their sessions, which are
//! therefore good at every worker and outlive a renewed certificate. `handshake` is one client's, [`certificate`] one
//! certificate's files, `choice` which of them a client gets. `files` reads them again when they change.

pub mod certificate;
mod choice;
mod files;
mod handshake;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use self::certificate::{Authorities, TlsFault, Wrong};
use self::choice::Choice;
use super::conn::Protocol;
use crate::config::{ClientAuth, TlsSettings, TlsVersion};
use crate::metrics::SharedMetrics;

/// What may be spoken inside TLS, best first, by its name (ALPN, RFC 7301). With whoever names nothing it is HTTP/1.1.
const OFFERED: &[(&str, Protocol)] = &[("h2", Protocol::Http2), ("http/1.1", Protocol::Http1)];

/// How the public listeners speak TLS: what new connections are met with, and the means to change it.
pub struct Tls {
    settings: TlsSettings,
    /// What may be spoken inside, best first.
    offered: Vec<(&'static str, Protocol)>,
    provider: Arc<CryptoProvider>,
    shared: Arc<SharedMetrics>,
    /// What new connections are met with. It is held for the moment of a copy.
    current: RwLock<Arc<ServerConfig>>,
    /// What that was made from. Only who reads files holds it.
    loaded: Mutex<files::Loaded>,
}

/// Why TLS cannot be spoken as the settings have it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Files that cannot be used; never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Files(Vec<TlsFault>),
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl Tls {
    /// Reads the certificates; `http2` is whether clients may choose it.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(settings: &TlsSettings, http2: bool, shared: Arc<SharedMetrics>) -> Result<Self, TlsError> {
        let offers = |protocol| http2 || protocol != Protocol::Http2;
        let offered: Vec<_> = OFFERED.iter().copied().filter(|(_, protocol)| offers(*protocol)).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let loaded = files::Loaded::first(settings, &provider)?;
        let config = config(settings, &offered, &provider, &loaded)?;
        let tls = Self {
            settings: settings.clone(),
            offered,
            provider,
            shared,
            current: RwLock::new(Arc::new(config)),
            loaded: Mutex::new(loaded),
        };
        tls.loaded.lock().unwrap_or_else(PoisonError::into_inner).count(&tls.shared);
        Ok(tls)
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Without the certificates: they are long.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// New keys for tickets. They are changed every six hours and understood for twelve.
fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

/// What connections are met with that begin from now on.
fn config(
    settings: &TlsSettings,
    offered: &[(&str, Protocol)],
    provider: &Arc<CryptoProvider>,
    loaded: &files::Loaded,
) -> Result<ServerConfig, TlsError> {
    const FROM_12: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    const FROM_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

    let versions = match settings.min_version {
        TlsVersion::Tls12 => FROM_12,
        TlsVersion::Tls13 => FROM_13,
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let verifier = match (&settings.client_auth, &loaded.authorities) {
        (ClientAuth::Off, _) | (_, None) => WebPkiClientVerifier::no_client_auth(),
        (ClientAuth::Optional(path), Some(authorities)) => {
            verifier(authorities, provider).allow_unauthenticated().build().map_err(|error| unusable(path, error))?
        }
        (ClientAuth::Required(path), Some(authorities)) => {
            verifier(authorities, provider).build().map_err(|error| unusable(path, error))?
        }
    };
    let choice = Arc::new(Choice::of(&loaded.certificates));
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(choice);
    config.alpn_protocols = offered.iter().map(|(name, _)| name.as_bytes().to_vec()).collect();
    // A session is in its ticket, which every worker can read; a memory of sessions would need a lock that they share.
    config.ticketer = loaded.tickets.clone();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // What comes before the handshake is complete can be sent again by whoever recorded it (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok(config)
}

fn verifier(authorities: &Authorities, provider: &Arc<CryptoProvider>) -> rustls::server::ClientCertVerifierBuilder {
    WebPkiClientVerifier::builder_with_provider(authorities.roots.clone(), provider.clone())
}

fn unusable(path: &std::path::Path, error: rustls::server::VerifierBuilderError) -> TlsError {
    TlsError::Files(vec![Authorities::fault(path, Wrong::NoVerifier(error))])
}
