//! A running gateway with an application, and the program to be run beside it.

use std::io::Write as _;
use std::process::Stdio;

use rusqlite::types::ValueRef;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::postgres::{self, Database};
use crate::support::program::{self, Ran};
use crate::support::upstream::Upstream;

/// A gateway, its store, and what stands behind it.
pub struct Site {
    pub gateway: Gateway,
    pub upstream: Upstream,
    pub store: String,
    database: Option<Database>,
}

impl Site {
    pub fn sqlite(settings: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
        Self::start(directory, store, None, settings)
    }

    pub fn postgres(settings: &str) -> Self {
        let database = postgres::fresh_database();
        Self::start(TempDir::new().unwrap(), database.url(), Some(database), settings)
    }

    fn start(directory: TempDir, store: String, database: Option<Database>, settings: &str) -> Self {
        let upstream = Upstream::hello();
        let gateway = Gateway::start_in(directory, &upstream.url(), &store, settings);
        Self { gateway, upstream, store, database }
    }

    /// Runs a command on the gateway's settings and store.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "")
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = program::command(self.gateway.directory.path());
        command.args(arguments).args(["--config", "gateway.toml", "--store", &self.store]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Ran {
            status: output.status.code().expect("the program was killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must end with this status and print one JSON document.
    pub fn json(&self, status: i32, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.status, status, "{arguments:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Every row of sessions, users and events as text.
    pub fn rows(&self) -> Vec<String> {
        let tables = ["sessions", "users", "events"];
        match &self.database {
            Some(database) => tables
                .iter()
                .flat_map(|table| database.run(&format!("SELECT t::text FROM session_gateway.{table} t ORDER BY 1")))
                .flatten()
                .collect(),
            None => {
                let db = self.sqlite_file();
                let mut rows = Vec::new();
                for table in tables {
                    let mut statement = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
                    let columns = statement.column_count();
                    let show = |value: ValueRef<'_>| match value {
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                        other @ (ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_)) => format!("{other:?}"),
                    };
                    let row = |row: &rusqlite::Row<'_>| {
                        let cells: Vec<_> = (0..columns).map(|column| show(row.get_ref(column).unwrap())).collect();
                        Ok(cells.join(","))
                    };
                    rows.extend(statement.query_map([], row).unwrap().map(Result::unwrap));
                }
                rows
            }
        }
    }

    /// Changes the tables behind everybody's back. `sessions` and the others are named without a schema.
    pub fn execute(&self, sql: &str) {
        match &self.database {
            Some(database) => {
                database.run(&format!("SET search_path = session_gateway; {sql}"));
            }
            None => self.sqlite_file().execute_batch(sql).unwrap(),
        }
    }

    /// Changes tables of another schema of a PostgreSQL store's database.
    pub fn execute_in(&self, schema: &str, sql: &str) {
        self.database.as_ref().unwrap().run(&format!("SET search_path = {schema}; {sql}"));
    }

    pub const fn on_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// The id of a session as a literal of the database.
    pub fn id(&self, id: &str) -> String {
        match &self.database {
            Some(_) => format!("'{id}'"),
            None => format!("x'{}'", id.replace('-', "")),
        }
    }

    /// A moment as a literal of the database.
    pub fn moment(&self, millis: i64) -> String {
        match &self.database {
            Some(_) => format!("to_timestamp({millis} / 1000.0)"),
            None => millis.to_string(),
        }
    }

    fn sqlite_file(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.store.strip_prefix("sqlite:").unwrap()).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db
    }
}
