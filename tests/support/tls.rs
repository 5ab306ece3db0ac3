//! A client that speaks TLS, with a library's defaults unless a test says otherwise.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};

use super::authority::Leaf;
use super::client::{Connection, PATIENCE};

pub const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
pub const ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// A client that remembers its sessions.
#[derive(Clone)]
pub struct Client {
    pub config: Arc<ClientConfig>,
}

impl Client {
    /// One that trusts this authority.
    pub fn trusting(authority: &str) -> Self {
        Self::new(authority, BOTH, None, &[])
    }

    pub fn new(
        authority: &str,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Leaf>,
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.resumption = Resumption::in_memory_sessions(16);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    /// A connection on which TLS is agreed on.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Connection {
        self.try_connect(address, name).unwrap_or_else(|error| panic!("no TLS: {error}"))
    }

    /// The same, or why not.
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Connection::secure(stream, session))
    }
}

/// What was agreed on.
pub fn agreed(connection: &Connection) -> (ProtocolVersion, HandshakeKind) {
    let session = connection.session().unwrap();
    (session.protocol_version().unwrap(), session.handshake_kind().unwrap())
}

/// The certificate that the server showed.
pub fn shown(connection: &Connection) -> Vec<u8> {
    connection.session().unwrap().peer_certificates().unwrap()[0].to_vec()
}

/// Whether this program is there to be asked.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("version").output().is_ok();
    if !found {
        eprintln!("{program} is not installed: not asked");
    }
    found
}
