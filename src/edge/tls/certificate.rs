//! One certificate with its key, as its files have it: read, checked, and asked for its names and its time.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::CertificateFiles;

/// The largest file that is read. A chain of four is some ten kilobytes; a whole bundle of authorities is 300.
const LARGEST: u64 = 1024 * 1024;

/// What is wrong with a file, under the key of the setting that names it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {} {wrong}", path.display())]
pub struct TlsFault {
    /// The setting.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub wrong: Wrong,
}

/// What can be wrong with a file of certificates or a key.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It is not there, or not for us.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is something else altogether.
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// It has the beginning of PEM, and then something else.
    #[error("is broken PEM: {0}")]
    BrokenPem(#[source] rustls::pki_types::pem::Error),
    /// There is none in it.
    #[error("has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// There is none in it.
    #[error("has no private key in PEM form (-----BEGIN PRIVATE KEY-----, RSA or EC PRIVATE KEY)")]
    NoKey,
    /// It would need somebody to type a password.
    #[error("has a key under a password; take it off: openssl pkey -in FILE -out NEW")]
    EncryptedKey,
    /// It is PEM of something that is no certificate.
    #[error("has a certificate that cannot be understood: {0}")]
    BadCertificate(#[source] x509_cert::der::Error),
    /// The library does not take it.
    #[error("cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
    /// It belongs to another certificate.
    #[error("is not the key of the certificate {}", .0.display())]
    OtherKey(PathBuf),
    /// It is no certificate of an authority.
    #[error("has a certificate that no client's can be checked by: {0}")]
    NoAuthority(#[source] rustls::Error),
    /// The authorities cannot be used.
    #[error("cannot be used: {0}")]
    NoVerifier(#[source] rustls::server::VerifierBuilderError),
}

/// A certificate in use.
#[derive(Debug)]
pub(super) struct Certificate {
    /// What handshakes are made with.
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case.
    pub(super) names: Vec<String>,
    /// From when on it is good.
    pub(super) not_before: Timestamp,
    /// Until when it is good.
    pub(super) not_after: Timestamp,
    /// What an operator should know.
    pub(super) remarks: Vec<String>,
    /// Of the contents of both files: whether they changed.
    pub(super) digest: [u8; 32],
}

impl Certificate {
    /// Reads a certificate and its key; `at` is its place in the settings.
    pub(super) fn load(at: usize, files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsFault> {
        let of_cert = |wrong| TlsFault { key: format!("server.tls[{at}].cert"), path: files.cert.clone(), wrong };
        let of_key = |wrong| TlsFault { key: format!("server.tls[{at}].key"), path: files.key.clone(), wrong };
        let cert_pem = read(&files.cert).map_err(of_cert)?;
        let chain = chain(&cert_pem).map_err(of_cert)?;
        let read_chain: Result<Vec<_>, _> =
            chain.iter().map(|der| x509_cert::Certificate::from_der(der.as_ref())).collect();
        let read_chain = read_chain.map_err(|error| of_cert(Wrong::BadCertificate(error)))?;
        let leaf = read_chain.first().ok_or(Wrong::NoCertificate).map_err(of_cert)?;
        let names = names(leaf).map_err(|error| of_cert(Wrong::BadCertificate(error)))?;
        let validity = &leaf.tbs_certificate.validity;
        let (not_before, not_after) = (moment(validity.not_before), moment(validity.not_after));

        let key_pem = read(&files.key).map_err(of_key)?;
        let key = private_key(&key_pem).map_err(of_key)?;
        let mut remarks = Vec::new();
        remarks.extend(told_to_others(&files.key));
        remarks.extend(out_of_order(&read_chain));
        if names.is_empty() {
            remarks.push(
                "the certificate has no host name in its subjectAltName: no client asks for it by name".to_owned(),
            );
        }
        let unusable = |error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                of_key(Wrong::OtherKey(files.cert.clone()))
            } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
                // What only the library finds wrong with a certificate shows when the two are compared.
                of_cert(Wrong::Unusable(error))
            } else {
                of_key(Wrong::Unusable(error))
            }
        };
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
        let digest = Sha256::new().chain_update(Sha256::digest(&*cert_pem)).chain_update(Sha256::digest(&*key_pem));
        Ok(Self {
            certified: Arc::new(certified),
            names,
            not_before,
            not_after,
            remarks,
            digest: digest.finalize().into(),
        })
    }
}

/// The authorities whose clients may come in.
#[derive(Debug)]
pub(super) struct Authorities {
    /// Their certificates.
    pub(super) roots: Arc<RootCertStore>,
    /// Of the file's contents: whether it changed.
    pub(super) digest: [u8; 32],
}

impl Authorities {
    /// Reads the file that `server.tls_client_ca` names.
    pub(super) fn load(path: &Path) -> Result<Self, TlsFault> {
        let fault = |wrong| Self::fault(path, wrong);
        let pem = read(path).map_err(fault)?;
        let mut roots = RootCertStore::empty();
        for certificate in chain(&pem).map_err(fault)? {
            roots.add(certificate).map_err(|error| fault(Wrong::NoAuthority(error)))?;
        }
        Ok(Self { roots: Arc::new(roots), digest: Sha256::digest(&*pem).into() })
    }

    /// What is wrong with that file.
    pub(super) fn fault(path: &Path, wrong: Wrong) -> TlsFault {
        TlsFault { key: "server.tls_client_ca".to_owned(), path: path.to_owned(), wrong }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    let mut content = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut content)).map_err(Wrong::Unreadable)?;
    if content.len() as u64 > LARGEST { Err(Wrong::TooLarge) } else { Ok(content) }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Wrong::BrokenPem)?;
    if chain.is_empty() { Err(Wrong::NoCertificate) } else { Ok(chain) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    let has = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    // PKCS #8 says it in the label, the older forms in a header of the section.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(Wrong::EncryptedKey);
    }
    let none = |error: &_| matches!(error, rustls::pki_types::pem::Error::NoItemsFound);
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| if none(&error) { Wrong::NoKey } else { Wrong::BrokenPem(error) })
}

/// The host names of a certificate. Its common name does not count: no client has looked at it for years (RFC 9525).
fn names(leaf: &x509_cert::Certificate) -> Result<Vec<String>, x509_cert::der::Error> {
    let Some((_, SubjectAltName(names))) = leaf.tbs_certificate.get::<SubjectAltName>()? else {
        return Ok(Vec::new());
    };
    let names =
        names.into_iter().filter_map(|name| if let GeneralName::DnsName(name) = name { Some(name) } else { None });
    Ok(names.map(|name| name.as_str().trim_end_matches('.').to_ascii_lowercase()).collect())
}

/// Until when a certificate is good; `None` when it cannot be understood.
pub(super) fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = x509_cert::Certificate::from_der(certificate.as_ref()).ok()?;
    Some(moment(certificate.tbs_certificate.validity.not_after))
}

fn moment(time: x509_cert::time::Time) -> Timestamp {
    let millis = time.to_unix_duration().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Whether others than the gateway can read its key.
fn told_to_others(path: &Path) -> Option<String> {
    const GROUP: u32 = 0o040;
    const OTHERS: u32 = 0o004;

    let file = fs::metadata(path).ok()?;
    let own = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == file.uid());
    if file.mode() & OTHERS != 0 {
        Some("every user of this machine can read the key: chmod 0600 it".to_owned())
    } else if file.mode() & GROUP != 0 && own {
        // The key of another user is read by way of the group: that is what it is for.
        Some("the file's group can read the key: chmod 0600 it".to_owned())
    } else {
        None
    }
}

/// Each certificate is to be followed by the one that vouches for it, and that of an authority comes last or not at all.
fn out_of_order(chain: &[x509_cert::Certificate]) -> Option<String> {
    let name = |name: &x509_cert::name::Name| name.to_der().ok();
    let broken = chain.windows(2).any(|pair| match pair {
        [of, above] => name(&of.tbs_certificate.issuer) != name(&above.tbs_certificate.subject),
        _ => false,
    });
    broken.then(|| "the certificates do not follow one another: some clients will not trust them".to_owned())
}
