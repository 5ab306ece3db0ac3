//! A throw-away PostgreSQL cluster, started from the installed server programs.
//!
//! One cluster serves all tests of a process; each test gets an empty database of its own in it. A test that stops or
//! freezes the server starts a cluster for itself.
//!
//! The server runs under a small shell that waits for its standard input to end and then stops the server and removes
//! its files. However the test process ends, the operating system closes that pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::{env, fs};

/// Arguments: 1 data directory, 2 directory to remove, rest: the server's command line.
const WATCHDOG: &str = r#"
    trap '' HUP INT TERM
    data=$1 base=$2
    shift 2
    "$@" &
    server=$!
    exec >/dev/null 2>&1
    read -r word
    # A test that failed may have left it stopped, and it would never end.
    kill -CONT "$server" $(pgrep -P "$server")
    kill -INT "$server"
    wait "$server"
    [ "$word" = keep ] || rm -rf "$base"
"#;

/// A running PostgreSQL server with its files.
pub struct Cluster {
    programs: PathBuf,
    base: PathBuf,
    account: Option<Account>,
    port: u16,
    settings: Vec<String>,
    watchdog: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// An empty database.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub port: u16,
    /// The directory of the server's socket.
    pub socket: PathBuf,
}

impl Database {
    /// Its URL over TCP.
    pub fn url(&self) -> String {
        self.url_at("127.0.0.1", self.port)
    }

    /// Its URL through a proxy, or with other parameters to be added.
    pub fn url_at(&self, host: &str, port: u16) -> String {
        format!("postgres://postgres@{host}:{port}/{}", self.name)
    }

    /// Its URL over the server's socket.
    pub fn socket_url(&self) -> String {
        format!("postgres:///{}?host={}&port={}&user=postgres", self.name, self.socket.display(), self.port)
    }

    /// Runs a statement on a connection of the test's own, and gives the first column of its rows.
    pub fn run(&self, sql: &str) -> Vec<Option<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let messages = runtime.block_on(async { self.connect().await.simple_query(sql).await.unwrap() });
        let column = |message| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
            Some(row.get(0).map(str::to_owned))
        };
        messages.into_iter().filter_map(column).collect()
    }

    /// A connection of the test's own, on which unqualified names are the gateway's tables.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let url = format!("{}?options=-c%20search_path%3Dsession_gateway", self.url());
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// The account that the server runs under when the tests run as root, which PostgreSQL refuses.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// The cluster of this process, started at the first call.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&[]))
}

/// An empty database in the cluster of this process.
pub fn fresh_database() -> Database {
    shared().fresh_database()
}

impl Cluster {
    /// Makes a cluster and starts its server with additional settings (`name=value`).
    pub fn start(settings: &[&str]) -> Self {
        let programs = find_programs();
        let account = account();
        // Not below the usual temporary directory when that is deep: a socket's path has 107 bytes at most.
        let base = tempfile::Builder::new().prefix("sg-pg-").tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
        let cluster = Self {
            programs,
            base,
            account,
            port: 0,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            watchdog: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        cluster.give_away(&cluster.base);
        let mut initdb = cluster.program("initdb");
        initdb.arg("-D").arg(cluster.data()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        run(initdb.arg("--no-sync"));
        cluster.on_a_free_port()
    }

    /// Another process may take a free port before the server does, so it is tried a few times.
    fn on_a_free_port(mut self) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            self.port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            match self.launch() {
                Ok(()) => return self,
                Err(output) => said = output,
            }
        }
        panic!("the PostgreSQL server does not start:\n{said}");
    }

    /// Starts the server again after [`Cluster::stop`], on the same port and with the same data.
    pub fn restart(&self) {
        if let Err(said) = self.launch() {
            panic!("the PostgreSQL server does not start again:\n{said}");
        }
    }

    /// Stops the server, breaking off its connections, and keeps its files.
    pub fn stop(&self) {
        self.shut_down("keep\n");
    }

    fn shut_down(&self, word: &str) {
        if let Some(mut watchdog) = self.watchdog.lock().unwrap().take() {
            let mut stdin = watchdog.stdin.take().unwrap();
            stdin.write_all(word.as_bytes()).unwrap();
            drop(stdin);
            watchdog.wait().unwrap();
        }
    }

    /// Sends a signal (`STOP`, `CONT`, `KILL`) to the server and all of its processes.
    pub fn signal(&self, signal: &str) {
        run(Command::new("kill").arg(format!("-{signal}")).args(self.processes()));
    }

    /// The ids of the server and all of its processes; the server is the first.
    pub fn processes(&self) -> Vec<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let postmaster = file.lines().next().unwrap().trim();
        let children = Command::new("pgrep").args(["-P", postmaster]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        std::iter::once(postmaster).chain(children.split_whitespace()).map(str::to_owned).collect()
    }

    pub fn fresh_database(&self) -> Database {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let socket = self.base.display().to_string();
        let port = self.port.to_string();
        let sql = format!("CREATE DATABASE {name}");
        run(self.program("psql").args(["-h", &socket, "-p", &port, "-U", "postgres", "-qc", &sql, "postgres"]));
        Database { name, port: self.port, socket: self.base.clone() }
    }

    /// Puts a file where the server can read it, and nobody else.
    pub fn lend(&self, from: &Path) -> PathBuf {
        let to = self.base.join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        self.give_away(&to);
        to
    }

    /// Changes settings (`name=value`) for the next start.
    pub fn set(&mut self, settings: &[String]) {
        self.settings.extend_from_slice(settings);
    }

    fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    fn give_away(&self, path: &Path) {
        if let Some(account) = self.account {
            chown(path, Some(account.user), Some(account.group)).unwrap();
        }
    }

    /// One of PostgreSQL's programs, to be run as the server's account.
    fn program(&self, name: &str) -> Command {
        self.lowered(Command::new(self.programs.join(name)))
    }

    fn lowered(&self, mut command: Command) -> Command {
        command.current_dir(&self.base);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    /// Starts the server and waits until it takes connections. What it said, if it does not.
    fn launch(&self) -> Result<(), String> {
        let mut shell = self.lowered(Command::new("sh"));
        shell.arg("-c").arg(WATCHDOG).arg("watchdog").arg(self.data()).arg(&self.base);
        shell.arg(self.programs.join("postgres")).arg("-D").arg(self.data());
        shell.args(["-p", &self.port.to_string(), "-k"]).arg(&self.base);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
            shell.args(["-c", setting]);
        }
        for setting in &self.settings {
            shell.args(["-c", setting]);
        }
        // In a process group of its own, so that a Ctrl-C at the tests does not reach it before its work is done.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut watchdog = shell.spawn().unwrap();
        let mut output = BufReader::new(watchdog.stderr.take().unwrap());
        let mut said = String::new();
        let mut line = String::new();
        while output.read_line(&mut line).unwrap() > 0 {
            if line.contains("database system is ready to accept connections") {
                *self.watchdog.lock().unwrap() = Some(watchdog);
                // Read on, so that the server never waits for somebody to take its log.
                std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
                return Ok(());
            }
            said.push_str(&line);
            line.clear();
        }
        drop(watchdog.stdin.take().map(|mut stdin| stdin.write_all(b"keep\n")));
        watchdog.wait().unwrap();
        Err(said)
    }
}

/// Clusters of single tests; the shared one is never dropped, and ends with the process.
impl Drop for Cluster {
    fn drop(&mut self) {
        self.shut_down("\n");
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The directory of the server's programs: where `pg_config` says, where Debian puts them, or on the PATH.
fn find_programs() -> PathBuf {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    places.extend(versions.into_iter().rev());
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let complete = |place: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| place.join(name).is_file());
    places.into_iter().find(complete).unwrap_or_else(|| {
        panic!("these tests need a PostgreSQL server and find none; install one: apt-get install postgresql")
    })
}

fn account() -> Option<Account> {
    // The owner of a file that we make is who we are.
    if tempfile::NamedTempFile::new().unwrap().as_file().metadata().unwrap().uid() != 0 {
        return None;
    }
    let id = |flag: &str, name: &str| {
        let output = Command::new("id").args([flag, name]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    let found =
        ["postgres", "nobody"].iter().find_map(|name| Some(Account { user: id("-u", name)?, group: id("-g", name)? }));
    Some(found.expect("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as"))
}
