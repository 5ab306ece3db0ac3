//! Where to listen, as the operator writes it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use figment::value::Value;

use super::reader::text;

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; names were resolved when the settings were read.
    Tcp(SocketAddr),
    /// `unix:PATH`: a socket file that the gateway makes and removes.
    Unix(PathBuf),
    /// `fd:NAME`: the sockets that the service manager holds open under this name.
    Passed(String),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Reads one entry, which may stand for several places: a name has all of its addresses.
pub(super) fn parse(value: &Value) -> Result<Vec<Listen>, String> {
    let given = text(value)?;
    match given.split_once(':') {
        Some(("unix", "")) => {
            Err("\"unix:\" lacks the path of the socket, as in \"unix:/run/session-gateway/http\"".to_owned())
        }
        Some(("unix", path)) if path.starts_with('@') => Err(format!(
            "\"{given}\": sockets without a file are not supported, since nothing says who may connect to them"
        )),
        Some(("unix", path)) => Ok(vec![Listen::Unix(PathBuf::from(path))]),
        Some(("fd", name)) if is_name(name) => Ok(vec![Listen::Passed(name.to_owned())]),
        Some(("fd", _)) => Err(format!(
            "\"{given}\" lacks the name that the socket unit gives (FileDescriptorName), as in \"fd:http\""
        )),
        Some(_) | None => addresses(&given),
    }
}

/// systemd's own rule: printable ASCII without the colon that separates names.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn addresses(given: &str) -> Result<Vec<Listen>, String> {
    let resolved: Vec<Listen> = given
        .to_socket_addrs()
        .map_err(|error| {
            format!(
                "\"{given}\" is no address to listen on ({error}); write \"127.0.0.1:8080\", \"unix:PATH\" or \"fd:NAME\""
            )
        })?
        .map(Listen::Tcp)
        .collect();
    if resolved.is_empty() { Err(format!("\"{given}\" has no address")) } else { Ok(resolved) }
}

/// Reads the permissions of socket files: octal digits, as chmod takes them.
pub(super) fn mode(value: &Value) -> Result<u32, String> {
    let wrong = || "must be octal digits in quotes, such as \"0660\", with no more than read and write".to_owned();
    let given = text(value).map_err(|_| wrong())?;
    let digits = given.len() <= 4 && given.bytes().all(|byte| byte.is_ascii_digit());
    let mode = digits.then(|| u32::from_str_radix(&given, 8).ok()).flatten().ok_or_else(wrong)?;
    // Connecting needs the right to write; the owner is the gateway itself.
    if mode & !0o666 != 0 || mode & 0o222 == 0 { Err(wrong()) } else { Ok(mode) }
}
