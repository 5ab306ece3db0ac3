//! Whom the gateway believes over TLS to be the application, and who it is itself.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::Protocol;
use super::address::{Address, Place};
use crate::config::reader::{Table, text};

/// What TLS with one application needs.
#[derive(Clone)]
pub struct UpstreamTls {
    /// Its certificates, keys and remembered sessions.
    pub client: Arc<ClientConfig>,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls").finish_non_exhaustive()
    }
}

/// Reads the keys about TLS; `None` when no address is reached over it, or when they are wrong.
pub(super) fn read(table: &mut Table, addresses: &mut [Address], protocol: Protocol) -> Option<UpstreamTls> {
    let ca_file = table.text("ca_file");
    let name = table.optional("tls_name", |value| {
        let given = text(value)?;
        ServerName::try_from(given.clone()).map_err(|_| format!("\"{given}\" is no name that a certificate can be for"))
    });
    let (cert, key) = (table.text("client_cert"), table.text("client_key"));
    if !addresses.iter().any(Address::is_tls) {
        for given in ["ca_file", "tls_name", "client_cert", "client_key"] {
            if table.has(given) && !addresses.is_empty() {
                table.fault(given, "needs an address that begins with https://");
            }
        }
        return None;
    }
    for address in addresses {
        if let (Place::Tls { name: expected, .. }, Some(name)) = (&mut address.place, &name) {
            expected.clone_from(name);
        }
    }
    let roots = match &ca_file {
        Some(file) => roots_from(Path::new(file)),
        None if table.has("ca_file") => return None,
        None => Some(system_roots())
            .filter(|roots| !roots.is_empty())
            .ok_or_else(|| "is missing, and this system has no certificates that it trusts".to_owned()),
    };
    let roots = roots.map_err(|message| table.fault("ca_file", message)).ok();
    let client = match (&cert, &key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(Path::new(cert)).map_err(|message| table.fault("client_cert", message)).ok();
            let key = private_key(Path::new(key)).map_err(|message| table.fault("client_key", message)).ok();
            Some((chain?, key?))
        }
        (None, None) => None,
        (Some(_), None) => {
            table.fault("client_key", "is missing: client_cert needs its private key");
            return None;
        }
        (None, Some(_)) => {
            table.fault("client_cert", "is missing: client_key is the private key of a certificate");
            return None;
        }
    };
    // Named here rather than installed for the whole process, which a library must not do.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| table.fault("url", format!("TLS cannot be used: {error}")))
        .ok()?
        .with_root_certificates(roots?);
    let mut client = match client {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| table.fault("client_key", format!("does not go with client_cert: {error}")))
            .ok()?,
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Some(UpstreamTls { client: Arc::new(client) })
}

fn roots_from(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} has a certificate that cannot be trusted: {error}", file.display()))?;
    }
    Ok(roots)
}

/// The certificates that the system trusts. Single ones that cannot be read are no reason to give up: were one of them the
/// one that is needed, connecting says so.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{} cannot be read as certificates in PEM form: {error}", file.display());
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(format!("{} has no certificate in PEM form", file.display())) } else { Ok(found) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    // The cause names what is wrong with the file, never what is in it.
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| format!("{} cannot be read as a private key in PEM form: {error}", file.display()))
}
