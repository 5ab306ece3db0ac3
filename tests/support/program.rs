//! The real program as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::client::{Connection, Response};
use super::wait_until;

/// A command that runs the program in `directory`, with no settings of this process's environment.
pub fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_session-gateway"));
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

/// What a run of the program that ends by itself said.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        status: output.status.code().expect("the program was killed by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The program serving; dropping it kills it.
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub address: SocketAddr,
    pub ops: SocketAddr,
}

impl Program {
    /// Starts it on free ports and waits until it listens; its store may not be up yet.
    pub fn start(command: &mut Command) -> Self {
        command.env("GATEWAY_SERVER__LISTEN", "127.0.0.1:0").env("GATEWAY_SERVER__OPS_LISTEN", "127.0.0.1:0");
        Self::launch(command.stdout(Stdio::null()))
    }

    /// Starts it where its settings say, at least on TCP and with the operator's listener.
    pub fn launch(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let written = log.clone();
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap_or(0) > 0 {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let address = |sentence: &str| {
            let log = log.lock().unwrap();
            let mut lines = log.lines().filter(|line| line.contains(sentence));
            lines.find_map(|line| line.split_once("address=")?.1.split_whitespace().next()?.parse().ok())
        };
        let mut found = None;
        wait_until("the program listens", || {
            found = address(" listening ").zip(address("metrics and health"));
            found.is_some() || child.try_wait().unwrap().is_some()
        });
        let (address, ops) = found.unwrap_or_else(|| panic!("it ended at once:\n{}", log.lock().unwrap()));
        Self { child, log, reader: Some(reader), address, ops }
    }

    /// The same, and waits until its store is up.
    pub fn start_ready(command: &mut Command) -> Self {
        let program = Self::start(command);
        wait_until("the store is up", || program.ops_get("/readyz").text() == "ok\n");
        program
    }

    pub fn ops_get(&self, path: &str) -> Response {
        let mut connection = Connection::open(self.ops);
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"));
        connection.read("GET")
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, waits, and says how it ended and what it had written.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let log = self.log();
        (status, log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sockets as a service manager passes them.
pub struct Activated {
    /// Becomes descriptor 3 …
    pub first: OwnedFd,
    /// … and this one 4.
    pub second: Option<OwnedFd>,
    /// Their names, with a colon between them.
    pub names: &'static str,
}

impl Activated {
    /// A command that runs the program in `directory` with them. They go by way of a shell's standard input and output, since a
    /// process that passes others needs unsafe code, and knows its own id only when it is there.
    pub fn command(self, directory: &Path) -> Command {
        let count = if self.second.is_some() { 2 } else { 1 };
        let second = if self.second.is_some() { "4>&1 >/dev/null" } else { "" };
        let script = format!(
            "exec 3<&0 </dev/null {second}; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={} exec {}",
            self.names,
            env!("CARGO_BIN_EXE_session-gateway")
        );
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).current_dir(directory).env_clear();
        command.stdin(Stdio::from(self.first));
        command.stdout(self.second.map_or_else(Stdio::null, Stdio::from));
        command
    }
}
