//! `[[server.tls]]` and what stands beside it: by which certificates the public listeners speak TLS, and to whom.
//!
//! The files are named here and read where TLS is spoken, which reads them again when they change.

use std::path::PathBuf;

use super::reader::{Table, text};

/// How the public listeners speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates, of which the first is for clients that name no host or an unknown one; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those that lead to the authority's.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Whether clients show certificates, and which authorities' are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked; whoever has none gets in too, whoever has a bad one does not.
    Optional(PathBuf),
    /// Nobody gets in without a good one.
    Required(PathBuf),
}

impl ClientAuth {
    /// The file with the authorities' certificates.
    pub const fn authorities(&self) -> Option<&PathBuf> {
        match self {
            Self::Off => None,
            Self::Optional(path) | Self::Required(path) => Some(path),
        }
    }
}

/// Reads what `[server]` says about TLS; `None` is plain HTTP.
pub(super) fn read(server: &mut Table) -> Option<TlsSettings> {
    let tables = server.tables("tls");
    let given = !tables.is_empty();
    let certificates: Vec<_> = tables.into_iter().filter_map(files).collect();
    let min_version =
        server.choice("tls_min_version", TlsVersion::Tls12, &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);
    let client_auth = client_auth(server, given);
    (!certificates.is_empty()).then_some(TlsSettings { certificates, min_version, client_auth })
}

fn files(mut table: Table) -> Option<CertificateFiles> {
    for (key, what) in [("cert", "the certificate and those that lead to its authority"), ("key", "its private key")] {
        if !table.has(key) {
            table.fault(key, format!("is missing: the file with {what}, in PEM form"));
        }
    }
    let cert = table.text("cert").map(PathBuf::from);
    let key = table.text("key").map(PathBuf::from);
    Some(CertificateFiles { cert: cert?, key: key? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Off,
    Optional,
    Required,
}

fn client_auth(server: &mut Table, tls: bool) -> ClientAuth {
    let authorities = server.get("tls_client_ca", None, |value| {
        let path = text(value)?;
        Ok((!path.is_empty()).then(|| PathBuf::from(path)))
    });
    let asked = server.choice(
        "tls_client_auth",
        Asked::Off,
        &[("off", Asked::Off), ("optional", Asked::Optional), ("required", Asked::Required)],
    );
    if asked != Asked::Off && !tls {
        server.fault("tls_client_auth", "needs [[server.tls]]: without TLS no client shows a certificate");
    }
    match (asked, authorities) {
        (Asked::Off, None) => ClientAuth::Off,
        (Asked::Off, Some(_)) => {
            server.fault("tls_client_ca", "does nothing while tls_client_auth is \"off\"; set that, or delete this");
            ClientAuth::Off
        }
        (Asked::Optional, Some(path)) => ClientAuth::Optional(path),
        (Asked::Required, Some(path)) => ClientAuth::Required(path),
        (Asked::Optional | Asked::Required, None) => {
            server
                .fault("tls_client_ca", "is missing: tls_client_auth needs the authorities whose clients may come in");
            ClientAuth::Off
        }
    }
}
