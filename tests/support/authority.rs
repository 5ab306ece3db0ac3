//! An authority that issues certificates, and the files in which servers keep them.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SanType, date_time_ymd,
};

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority with a fresh key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its key, both in PEM form.
#[derive(Clone)]
pub struct Leaf {
    pub cert: String,
    pub key: String,
}

/// The kinds of keys and how they are written down.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, for a year.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_with(names, &KeyPair::generate().unwrap(), now() + 365 * DAY)
    }

    /// A certificate that ends at this time since the Unix epoch.
    pub fn issue_until(&self, names: &[&str], end: Duration) -> Leaf {
        self.issue_with(names, &KeyPair::generate().unwrap(), end)
    }

    /// A certificate whose key is written in this form.
    pub fn issue_in(&self, form: Form, names: &[&str]) -> Leaf {
        let end = now() + 365 * DAY;
        match form {
            Form::Pkcs8 => self.issue(names),
            Form::Pkcs1 => {
                let pem = super::issuer::rsa(aws_lc_rs::rsa::KeySize::Rsa2048).0;
                let leaf =
                    self.issue_with(names, &KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).unwrap(), end);
                // PKCS #8 is a header of 26 bytes around the older form, for a key of this size.
                let pkcs8 = der(&pem);
                Leaf { key: super::issuer::pem("RSA PRIVATE KEY", &pkcs8[26..]), ..leaf }
            }
            Form::Sec1 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
                let pkcs8 = super::issuer::pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
                let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
                let leaf = self.issue_with(names, &KeyPair::from_pem(&pkcs8).unwrap(), end);
                Leaf { key: super::issuer::pem("EC PRIVATE KEY", sec1.as_ref()), ..leaf }
            }
        }
    }

    fn issue_with(&self, names: &[&str], key: &KeyPair, end: Duration) -> Leaf {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        params.distinguished_name.push(DnType::CommonName, "a certificate of a test");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + end;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(key, &self.issuer).unwrap();
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }
}

impl Leaf {
    /// Writes both files as `NAME.pem` and `NAME.key`, each in one step.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let paths = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        replace(&paths.0, &self.cert);
        replace(&paths.1, &self.key);
        paths
    }

    /// The same, as a table of settings.
    pub fn table(&self, directory: &Path, name: &str) -> String {
        let (cert, key) = self.write(directory, name);
        format!("[[server.tls]]\ncert = {cert:?}\nkey = {key:?}\n")
    }
}

/// Writes a file that nobody else reads, beside its place, and moves it there.
pub fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// The time since the Unix epoch.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The first section of a PEM text.
pub fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().skip(1).take_while(|line| !line.starts_with("-----"));
    base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>()).unwrap()
}
