//! TLS with the server: who it must prove to be.

use std::fs;
use std::path::Path;
use std::process::Command;

use session_gateway::store::{PostgresSettings, StoreError};
use tempfile::TempDir;

use super::open;
use crate::fixture::postgres_settings;
use crate::support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tls_the_server_must_prove_its_name_to_a_trusted_authority() {
    let certificates = Certificates::make();
    let mut cluster = Cluster::start(&[]);
    let plain = cluster.fresh_database();
    let tls = |mode: &str, host: &str, ca: &str| {
        let url = format!("{}?sslmode={mode}", plain.url_at(host, plain.port));
        open(PostgresSettings { ca_file: Some(certificates.path(ca)), ..postgres_settings(url) })
    };

    // The server has no TLS yet: required is refused, preferred goes without.
    let error = tls("require", "127.0.0.1", "ca.pem").migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    tls("prefer", "127.0.0.1", "ca.pem").migrate().await.unwrap();

    let (certificate, key) = (certificates.path("server.pem"), certificates.path("server.key"));
    let (certificate, key) = (cluster.lend(&certificate), cluster.lend(&key));
    cluster.set(&[
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
    ]);
    cluster.stop();
    cluster.restart();

    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        tls(mode, "localhost", "ca.pem").check().await.unwrap_or_else(|error| panic!("{mode}: {error:?}"));
        for (host, ca) in [("localhost", "foreign.pem"), ("127.0.0.1", "ca.pem")] {
            let error = tls(mode, host, ca).check().await.unwrap_err();
            let StoreError::Unreachable(cause) = &error else { panic!("{mode} {host} {ca}: {error:?}") };
            assert!(format!("{cause:?}").contains("InvalidCertificate"), "{mode} {host} {ca}: {cause:?}");
        }
    }
    let url = format!("{}&sslrootcert={}", "?sslmode=verify-full", certificates.path("ca.pem").display());
    let store = open(postgres_settings(format!("{}{url}", plain.url_at("localhost", plain.port))));
    store.check().await.unwrap();
    let secured = plain.connect().await;
    let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'session-gateway'";
    assert!(secured.query_one(sql, &[]).await.unwrap().get::<_, bool>(0), "the gateway's connection is not encrypted");
}

/// Two authorities, and a certificate of the first for a server named localhost.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for authority in ["ca", "foreign"] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={authority} \
                 -addext basicConstraints=critical,CA:TRUE -keyout {authority}.key -out {authority}.pem"
            ));
        }
        made.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key \
             -out server.csr",
        );
        fs::write(made.path("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
        made.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
             -out server.pem",
        );
        made
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split_whitespace()).current_dir(Path::new(self.0.path())).output();
        let output = output.expect("the openssl program is needed to make certificates");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
