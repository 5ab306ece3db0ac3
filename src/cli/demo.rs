//! `demo`: the gateway as it is, in front of a small sample app, with everything it needs made up for the occasion.
//!
//! Nothing is left behind: the settings, the store and the cookie jars of the printed commands lie in one fresh directory,
//! which is removed at the end.

mod pages;
mod sample;
mod tour;

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use self::sample::SampleApp;
use super::serve::{OnHangup, until_stopped};
use super::{EXIT_CONFIG, complain, refuse, say};
use crate::app::{App, StartError};
use crate::config::{Config, Invalid, Overrides, Sources};
use crate::edge::listen::Address;
use crate::log;

/// How long the store may take to be there, in steps of [`STEP`].
const STEPS: usize = 200;
const STEP: Duration = Duration::from_millis(25);

/// Runs the demo on `listen`, or on the usual address, or on a free port when that is taken.
pub(super) fn run(listen: Option<String>) -> ExitCode {
    let (directory, sample) = match Directory::create().and_then(|made| Ok((made, SampleApp::start()?))) {
        Ok(made) => made,
        Err(error) => {
            complain(&format!("the demo cannot be prepared: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let started = match (start(&directory, &sample, listen.as_deref()), &listen) {
        (Err(NotStarted::Start(error)), None) if is_taken(&error) => {
            say("127.0.0.1:8080 is in use by another program; a free port is used instead.\n");
            start(&directory, &sample, Some("127.0.0.1:0"))
        }
        (started, _) => started,
    };
    match started {
        Ok(app) => {
            if !wait_until_ready(&app) {
                complain("the store does not come up; see the messages above");
            }
            until_stopped(app, OnHangup::End, |app| {
                let gateway = app.addresses().iter().find_map(Address::tcp).map_or_else(|| sample.address(), reachable);
                for line in tour::introduction(
                    gateway,
                    app.ops_address().and_then(Address::tcp),
                    sample.address(),
                    directory.path(),
                ) {
                    say(&line);
                }
            })
        }
        Err(NotStarted::Settings(invalid)) => refuse(&invalid),
        Err(NotStarted::Write(error)) => {
            complain(&format!("the demo's settings cannot be written: {error}"));
            ExitCode::FAILURE
        }
        Err(NotStarted::Start(error)) => {
            complain(&error.to_string());
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

enum NotStarted {
    Write(io::Error),
    Settings(Invalid),
    Start(StartError),
}

fn is_taken(error: &StartError) -> bool {
    matches!(error, StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

fn start(directory: &Directory, sample: &SampleApp, listen: Option<&str>) -> Result<App, NotStarted> {
    let file = directory.path().join("gateway.toml");
    fs::write(&file, settings(sample.address(), &directory.path().join("sessions.db"))).map_err(NotStarted::Write)?;
    let overrides = Overrides { listen: listen.map(str::to_owned), ..Overrides::default() };
    // Without the environment: what is set for a real gateway has no place here.
    let sources = Sources { file: Some(file), environment: Vec::new(), overrides };
    let config = Config::load(&sources).map_err(NotStarted::Settings)?;
    log::start(&config.log);
    App::start(config).map_err(NotStarted::Start)
}

/// What an operator would write for the sample app, but for the cookie, which a demo without TLS needs to be insecure.
fn settings(sample: SocketAddr, store: &Path) -> String {
    format!(
        r#"[server]
listen = ["127.0.0.1:8080"]
ops_listen = "127.0.0.1:0"
workers = 1
drain = "1s"

[[upstream]]
name = "sample"
url = "http://{sample}"

  [[upstream.route]]
  path = "/static/"
  auth = "off"

  [[upstream.login]]
  path = "/login"
  user = {{ form = "username" }}

  [[upstream.logout]]
  path = "/logout"

[token]
cookie = "session"        # the default, __Host-session, needs TLS
cookie_secure = false     # never where there is TLS

[store]
url = {store:?}

[log]
level = "warn"
access = "off"
"#,
        store = format!("sqlite:{}", store.display()),
    )
}

/// The address under which this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())) } else { address }
}

/// Waits for `/readyz`, so that the first login finds the store.
fn wait_until_ready(app: &App) -> bool {
    let Some(address) = app.ops_address().and_then(Address::tcp) else { return true };
    (0..STEPS).any(|_| {
        let ready = is_ready(address).unwrap_or(false);
        if !ready {
            sleep(STEP);
        }
        ready
    })
}

fn is_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A fresh directory that only this user may enter: tokens lie in it.
struct Directory(PathBuf);

impl Directory {
    fn create() -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("gateway-demo-{:08x}", u32::from_be_bytes(random));
        let path = std::env::temp_dir().join(name);
        // Not `create_all`: a directory that is there already is somebody else's.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            complain(&format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_private_and_gone_at_the_end() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = Directory::create().unwrap();
        let path = directory.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:81".parse().unwrap()), "127.0.0.1:81".parse().unwrap());
        assert_eq!(reachable("192.0.2.1:81".parse().unwrap()), "192.0.2.1:81".parse().unwrap());
    }
}
