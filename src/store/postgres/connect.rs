//! From the settings to a pool: the URL, TLS, and what the server is told at the start of every connection.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use super::PostgresSettings;
use super::migrate::SCHEMA;
use crate::store::{Notify, Source, StoreError};

/// A connection URL. It may hold a password, so nothing prints it.
#[derive(Clone)]
pub struct SecretUrl(Zeroizing<String>);

impl SecretUrl {
    /// Takes a URL as it stands in the configuration; it is read when the store is opened.
    pub fn new(url: impl Into<String>) -> Self {
        Self(Zeroizing::new(url.into()))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(redacted)")
    }
}

const URL: &str = "store.url";
const CA_FILE: &str = "store.ca_file";

/// The parameters that are the driver's business. Only names from this list appear in errors: with a password that is
/// not percent-encoded, what looks like a name may be a piece of it.
const PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// What it takes to connect as the settings say.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

/// The part of a connection that has to be read for the other part to get answers.
pub(super) type Wire = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Connector {
    /// A connection beside the pool, by another name in the server's list of connections.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), StoreError> {
        let mut config = self.config.clone();
        config.application_name(format!("{} listen", self.config.get_application_name().unwrap_or_default()));
        config.connect(self.tls.clone()).await.map_err(|error| StoreError::Unreachable(Box::new(error)))
    }
}

/// What it takes to connect as the settings say, and a pool of such connections. Nothing is connected yet. The server is told
/// that it is `sender` who makes the changes.
pub(super) fn pool(settings: &PostgresSettings, sender: &str) -> Result<(Connector, Pool), StoreError> {
    let Target { mut config, root_cert } = parse(&settings.url)?;
    tell_limits(&mut config, settings.timeout);
    tell_sender(&mut config, sender, settings.notify);
    config.connect_timeout(settings.connect_timeout);
    if config.get_application_name().is_none() {
        config.application_name("session-gateway");
    }
    if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        // Of several servers only the primary takes sessions.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let roots = roots(&config, settings.ca_file.as_deref().or(root_cert.as_deref()))?;
    let connector = Connector { config, tls: MakeRustlsConnect::new(tls(roots)?) };
    let manager = Manager::from_config(
        connector.config.clone(),
        connector.tls.clone(),
        // A closed connection is noticed without asking the server; one that breaks later costs one failed call.
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager)
        .max_size(usize::try_from(settings.pool_size.get()).unwrap_or(usize::MAX))
        .create_timeout(Some(settings.connect_timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Failed(Box::new(error)))?;
    Ok((connector, pool))
}

/// A connection to a database that is not ours, on which nothing can be changed. It ends with the client.
pub(in crate::store) async fn read_only(url: &SecretUrl, patience: Duration) -> Result<Client, StoreError> {
    let Target { mut config, root_cert } = parse(url)?;
    let given = config.get_options().unwrap_or_default();
    let options = format!("{given} -c default_transaction_read_only=on");
    config.options(options.trim_start()).connect_timeout(patience);
    let roots = roots(&config, root_cert.as_deref())?;
    let connected = config.connect(MakeRustlsConnect::new(tls(roots)?)).await;
    let (client, connection) = connected.map_err(|error| StoreError::Unreachable(Box::new(error)))?;
    // What goes wrong on it, the client's calls tell.
    drop(tokio::spawn(connection));
    Ok(client)
}

/// The certificates that may vouch for the server.
fn roots(config: &Config, file: Option<&Path>) -> Result<RootCertStore, StoreError> {
    match (config.get_ssl_mode(), file) {
        (SslMode::Disable, _) => Ok(RootCertStore::empty()),
        (_, Some(file)) => roots_from(file),
        (_, None) => Ok(system_roots()),
    }
}

#[derive(Debug)]
struct Target {
    config: Config,
    root_cert: Option<PathBuf>,
}

/// Reads the URL. What the driver's own reader does not know (the verifying `sslmode`s, `sslrootcert`) is taken out
/// before, and none of its errors get out: they may quote the URL.
fn parse(url: &SecretUrl) -> Result<Target, StoreError> {
    let url = url.0.as_str();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("must begin with postgres:// or postgresql://"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut ssl_mode = None;
    let mut root_cert = None;
    let mut drivers = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "sslmode" => ssl_mode = Some(read_ssl_mode(value)?),
            // libpq's word for what is the default here.
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => {
                root_cert = Some(PathBuf::from(percent_decode_str(value).decode_utf8_lossy().into_owned()));
            }
            known if PARAMETERS.contains(&known) => {
                if format!("postgres:///?{parameter}").parse::<Config>().is_err() {
                    return Err(wrong(&format!("the value of the parameter {known} cannot be read")));
                }
                drivers.push(parameter);
            }
            _ => {
                let known = PARAMETERS.join(", ");
                return Err(wrong(&format!(
                    "has an unknown parameter; known are sslmode, sslrootcert, {known} (a ? in a password is written %3F)"
                )));
            }
        }
    }
    let url = Zeroizing::new(format!("{base}?{}", drivers.join("&")));
    let mut config: Config = url
        .parse()
        .map_err(|_| wrong("cannot be read; it has the form postgres://user:password@host:port/database"))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("names no host; for a socket, add ?host=/run/postgresql"));
    }
    config.ssl_mode(ssl_mode.unwrap_or_else(|| default_ssl_mode(&config)));
    Ok(Target { config, root_cert })
}

fn read_ssl_mode(value: &str) -> Result<SslMode, StoreError> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" | "verify-ca" | "verify-full" => Ok(SslMode::Require),
        _ => Err(wrong("sslmode must be disable, prefer, require, verify-ca or verify-full")),
    }
}

/// What does not leave this machine needs no TLS, and PostgreSQL packages come with a certificate that nobody vouches for.
fn default_ssl_mode(config: &Config) -> SslMode {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    };
    let hosts_local = config.get_hosts().iter().all(local);
    if hosts_local && config.get_hostaddrs().iter().all(IpAddr::is_loopback) {
        SslMode::Disable
    } else {
        SslMode::Prefer
    }
}

/// Has the server keep our limits too, from the first statement of a connection on, so that nothing of a call that was
/// given up stays there; and has names mean our own tables.
fn tell_limits(config: &mut Config, timeout: Duration) {
    let millis = timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
    let given = config.get_options().unwrap_or_default();
    let options = format!(
        "{given} -c statement_timeout={millis} -c lock_timeout={millis} \
         -c idle_in_transaction_session_timeout={millis} -c search_path={SCHEMA}"
    );
    config.options(options.trim_start());
}

/// Says who makes the changes of this connection, for the triggers that tell others of them; or that nobody listens.
fn tell_sender(config: &mut Config, sender: &str, notify: Notify) {
    let given = config.get_options().unwrap_or_default();
    let silent = if notify == Notify::Listen { "" } else { " -c session_gateway.notify=off" };
    let options = format!("{given} -c session_gateway.sender={sender}{silent}");
    config.options(options);
}

fn roots_from(file: &Path) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let refused = |source: Source| StoreError::Settings {
        key: CA_FILE,
        problem: format!("{} cannot be read as certificates in PEM form", file.display()),
        source: Some(source),
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(Box::new(error)))? {
        let certificate = certificate.map_err(|error| refused(Box::new(error)))?;
        roots.add(certificate).map_err(|error| refused(Box::new(error)))?;
    }
    if roots.is_empty() {
        return Err(refused("it contains none".into()));
    }
    Ok(roots)
}

/// The certificates that the system trusts. Single ones that cannot be read are no reason to give up: were one of them
/// the one that is needed, connecting says so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, StoreError> {
    // Named here rather than installed for the whole process, which a library must not do.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Failed(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // sslnegotiation=direct requires it; otherwise it is ignored.
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(tls)
}

fn wrong(problem: &str) -> StoreError {
    StoreError::Settings { key: URL, problem: problem.to_owned(), source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, String> {
        parse(&SecretUrl::new(url)).map(|target| target.config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_the_url_is_read() {
        let config = read("postgres://ann:p%40ss@db.example.org:5433/sessions?application_name=x").unwrap();
        assert_eq!((config.get_user(), config.get_dbname()), (Some("ann"), Some("sessions")));
        assert_eq!(config.get_password(), Some(b"p@ss".as_slice()));
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_application_name(), Some("x"));
        let config = read("postgresql:///sessions?host=/run/postgresql").unwrap();
        assert_eq!(config.get_hosts(), [Host::Unix("/run/postgresql".into())]);
    }

    #[test]
    fn tls_is_verified_whenever_it_is_asked_for() {
        for (mode, expected) in [
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::Require),
            ("verify-full", SslMode::Require),
        ] {
            let config = read(&format!("postgres://ann@db/x?sslmode={mode}")).unwrap();
            assert_eq!(config.get_ssl_mode(), expected, "{mode}");
        }
        assert!(read("postgres://ann@db/x?sslmode=maybe").unwrap_err().contains("verify-full"));
    }

    #[test]
    fn only_what_stays_on_this_machine_goes_without_tls_by_default() {
        for local in
            ["postgres://localhost/x", "postgres://127.0.0.1/x", "postgres://[::1]/x", "postgres:///x?host=/run"]
        {
            assert_eq!(read(local).unwrap().get_ssl_mode(), SslMode::Disable, "{local}");
        }
        for remote in ["postgres://db/x", "postgres://localhost,db/x", "postgres://10.0.0.1/x"] {
            assert_eq!(read(remote).unwrap().get_ssl_mode(), SslMode::Prefer, "{remote}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_being_quoted() {
        for url in [
            "postgres://ann:hunter2?x@db/x",
            "postgres://ann:hunter2@db:port/x",
            "postgres://ann:hunter2@db/x?hunter2=1",
            "postgres://ann:hunter2@db/x?port=hunter2",
            "postgres://ann:hunter2@",
            "mysql://ann:hunter2@db/x",
        ] {
            let error = parse(&SecretUrl::new(url)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            assert!(error.to_string().starts_with("store.url: "), "{error}");
        }
        assert!(read("postgres://db/x?port=a").unwrap_err().contains("parameter port"));
        assert!(read("postgres:///x").unwrap_err().contains("names no host"));
    }

    #[test]
    fn the_server_is_told_our_limits_beside_the_options_given() {
        let mut config = read("postgres://db/x?options=-c%20jit%3Doff").unwrap();
        tell_limits(&mut config, Duration::from_secs(2));
        let options = config.get_options().unwrap();
        for part in ["-c jit=off", "statement_timeout=2000", "lock_timeout=2000", "search_path=session_gateway"] {
            assert!(options.contains(part), "{options}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused_by_name() {
        let error = roots_from(Path::new("/nonexistent/ca.pem")).unwrap_err();
        assert!(error.to_string().starts_with("store.ca_file: /nonexistent/ca.pem"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(roots_from(empty.path()).is_err());
    }

    #[test]
    fn the_url_is_never_printed() {
        assert!(!format!("{:?}", SecretUrl::new("postgres://ann:hunter2@db/x")).contains("hunter2"));
    }
}
