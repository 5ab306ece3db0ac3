//! TLS with an application, and in which words its failure is told.

use std::io;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::{Counted, Stream};
use crate::config::UpstreamTls;

/// What HTTP/2 is called in the handshake.
const HTTP2: &[u8] = b"h2";

/// Shakes hands on a connected stream, with whom its certificate must be for.
///
/// Cancel safety: may be dropped at any time.
///
/// # Errors
/// Those of the network, and those of TLS, which [`hint`] explains.
pub(super) async fn shake(stream: TcpStream, name: &ServerName<'static>, tls: &UpstreamTls) -> io::Result<Stream> {
    let connector = TlsConnector::from(tls.client.clone());
    let stream = connector.connect(name.clone(), Counted::new(stream)).await?;
    // Those of HTTP/1.1 that do not know how to agree speak it all the same. HTTP/2 has to be agreed upon (RFC 9113 section 3.2).
    if tls.client.alpn_protocols.iter().any(|protocol| protocol == HTTP2)
        && stream.get_ref().1.alpn_protocol() != Some(HTTP2)
    {
        return Err(io::Error::other("it does not agree to HTTP/2: see protocol"));
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// What an operator may do about a failure of TLS, where that is known.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are open; these have a hint of their own")]
pub(super) fn hint(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    match error {
        Error::InvalidCertificate(error) => Some(match error {
            // The second: it names the right authority, or one that is called the same.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of an authority that is not trusted: see ca_file"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: look at both clocks"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name: see tls_name"
            }
            _ => "its certificate cannot be accepted",
        }),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => Some("it does not accept the gateway's own certificate, or misses one: see client_cert"),
        Error::InvalidMessage(_) => Some("it does not speak TLS there: is the address one of plain http?"),
        _ => None,
    }
}
