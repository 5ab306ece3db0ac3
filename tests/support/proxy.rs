//! A proxy of somebody else's (nginx, Caddy, haproxy) as a process of its own, in front of a gateway.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// Runs a program, and ends it when standard input ends: however the test process ends, the system closes that pipe.
const WATCHDOG: &str = r#"
    "$@" </dev/null &
    proxy=$!
    read -r _
    kill -TERM "$proxy"
    wait "$proxy"
"#;

/// A running proxy; dropping it stops it.
pub struct Proxy {
    watchdog: Child,
    log: Arc<Mutex<String>>,
    pub address: SocketAddr,
    _directory: TempDir,
}

impl Proxy {
    /// Starts `program` of the Debian package of the same name in `directory`, and waits until it accepts on `address`.
    pub fn start<S: AsRef<OsStr>>(program: &str, arguments: &[S], directory: TempDir, address: SocketAddr) -> Self {
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(find(program))
            .args(arguments)
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .env("XDG_DATA_HOME", directory.path())
            .env("XDG_CONFIG_HOME", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(watchdog.stderr.take().unwrap());
        let written = log.clone();
        thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap_or(0) > 0 {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let began = super::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed().as_secs() < 20, "{program} does not listen:\n{}", log.lock().unwrap());
            thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { watchdog, log, address, _directory: directory }
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// An address that is free: these programs do not tell which one they got. It is below those that the system gives to
/// whoever asks for any, so that nobody else gets it before the program listens.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let candidate = std::process::id().wrapping_mul(101).wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        let port = 20_000 + u16::try_from(candidate).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// The installed program. Accounts without administration do not have all places in their `PATH`.
fn find(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let places =
        env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(|place| Path::new(place).to_owned()));
    places.map(|place| place.join(program)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{program} is not installed: `apt-get install {program}`, or run scripts/test, which does that")
    })
}
