//! A socket file: made with its permissions, in the place of one that a dead process left, and removed at the end.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket; dropping it removes it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Listens on `path`.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    // Nobody can connect before there is somebody who listens: the permissions come in time.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from(socket), file))
}

/// Removes what a dead process left; leaves alone what is in use or is no socket.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket; it is left alone",
        ));
    }
    match UnixStream::connect(path) {
        // Nobody listens.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")),
        // It may be there and have no time, or be for others than us.
        Err(error) => Err(error),
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Not if somebody has put another one there meanwhile.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a socket file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_permissions_and_goes_with_its_owner() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("http");
        let (_socket, file) = bind(&path, 0o620, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_a_live_one_and_one_that_is_no_socket_are_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("http");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "what a killed process leaves");
        let (_socket, file) = bind(&path, 0o660, 16).unwrap();
        assert_eq!(bind(&path, 0o660, 16).unwrap_err().to_string(), "another program listens there");
        UnixStream::connect(&path).unwrap();

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(bind(&path, 0o660, 16).unwrap_err().to_string().contains("no socket"));
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious", "it is not the file that was made");
    }

    #[test]
    fn a_path_that_is_too_long_or_leads_nowhere_is_an_error() {
        let directory = tempfile::TempDir::new().unwrap();
        assert!(bind(&directory.path().join("x".repeat(120)), 0o660, 16).is_err());
        assert!(bind(&directory.path().join("no/such/folder"), 0o660, 16).is_err());
    }
}
