//! Key sets over https: who the server must prove to be.

use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::support::issuer::Issuer;
use crate::support::program::{Program, command};
use crate::support::wait_until;

/// A server with a certificate of an authority that only this test knows: `openssl s_server`, which serves files.
struct Tls {
    child: std::process::Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Tls {
    fn serve(keys: &Value) -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let openssl = |arguments: &str| {
            let mut command = std::process::Command::new("openssl");
            command.current_dir(&directory).args(arguments.split(' ')).stderr(std::process::Stdio::null());
            command
        };
        let run = |arguments: &str| {
            let ran = openssl(arguments).stdout(std::process::Stdio::null()).status();
            assert!(ran.is_ok_and(|status| status.success()), "openssl is needed (apt install openssl): {arguments}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        run(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
        run(&format!("req {key} -keyout tls.key -out tls.csr -subj /CN=localhost"));
        std::fs::write(directory.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        run("x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tls.pem -days 2 -extfile names");
        std::fs::write(directory.path().join("jwks"), json!({ "keys": [keys] }).to_string()).unwrap();
        // A port that was free a moment ago: this server cannot be asked for one.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = openssl(&format!("s_server -accept 127.0.0.1:{port} -key tls.key -cert tls.pem -WWW -quiet"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, directory, port }
    }

    /// The program with this server's key set, which trusts the certificates of this file.
    fn program(&self, host: &str, trusted: &str) -> Program {
        let place = self.directory.path().join(host.replace('.', "-") + &trusted.replace('/', "-"));
        std::fs::create_dir(&place).unwrap();
        let port = self.port;
        let toml =
            format!("[[upstream]]\nurl = \"http://127.0.0.1:9\"\n[jwt]\njwks_url = \"https://{host}:{port}/jwks\"\n");
        std::fs::write(place.join("gateway.toml"), toml).unwrap();
        Program::start(command(&place).env("SSL_CERT_FILE", self.directory.path().join(trusted)))
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn over_https_the_server_must_be_the_one_that_the_system_s_certificates_vouch_for() {
    let server = Tls::serve(&Issuer::new(Algorithm::EdDsa, Some("k")).jwk());
    let figure = |program: &Program, line: &str| program.ops_get("/metrics").text().lines().any(|found| found == line);

    let good = server.program("localhost", "ca.pem");
    wait_until("the keys were fetched", || figure(&good, "gateway_jwks_keys 1"));

    for (host, trusted) in [("localhost", "names"), ("127.0.0.1", "ca.pem")] {
        let bad = server.program(host, trusted);
        wait_until("a fetch failed", || bad.log().contains("there is no TLS with it"));
        assert!(figure(&bad, "gateway_jwks_keys 0"), "{host} {trusted}");
    }
}
