//! The command line: what was typed, and what is done about it.

mod check;
mod demo;
mod serve;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{Config, Invalid, Overrides, Sources};
use crate::store::{Store, StoreError};

/// `EX_CONFIG` of sysexits.h: the settings are wrong, and starting again will not help.
const EXIT_CONFIG: u8 = 78;
/// `EX_TEMPFAIL`: something else is away for now.
const EXIT_TEMPORARY: u8 = 75;

/// A reverse proxy that gives unmodified web apps real sessions.
#[derive(Debug, Parser)]
#[command(name = "session-gateway", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve,
    /// Run the gateway in front of a small sample app, and print what to open and what to curl.
    Demo,
    /// Report every problem of the settings at once, and exit with 0 or 78.
    Check,
    /// Bring the store's schema up to date.
    Migrate,
}

#[derive(Args, Debug)]
struct Settings {
    /// The settings file [default: ./gateway.toml, else /etc/session-gateway/gateway.toml].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The application, instead of those of the file: http://HOST:PORT.
    #[arg(long, global = true, value_name = "URL")]
    upstream: Option<String>,
    /// The address to listen on, instead of those of the file: HOST:PORT.
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// The store, instead of that of the file: sqlite:PATH or postgres://….
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
}

impl Settings {
    fn sources(self) -> Sources {
        let Self { config, upstream, listen, store } = self;
        Sources::discover(config, Overrides { listen, upstream, store })
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let Arguments { command, settings } = Arguments::parse();
    match command {
        None | Some(Command::Serve) => serve::run(&settings.sources()),
        Some(Command::Demo) => demo::run(settings.listen),
        Some(Command::Check) => check::run(&settings.sources()),
        Some(Command::Migrate) => migrate(&settings.sources()),
    }
}

fn migrate(sources: &Sources) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(invalid) => return refuse(&invalid),
    };
    let migrated = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| StoreError::Failed(error.into()))
        .and_then(|runtime| runtime.block_on(async { Store::open(&app::place(&config.store))?.migrate().await }));
    match migrated {
        Ok(migrated) if migrated.from == migrated.to => {
            say(&format!("The store's schema is up to date: version {}.", migrated.to));
            ExitCode::SUCCESS
        }
        Ok(migrated) => {
            say(&format!("The store's schema was brought from version {} to {}.", migrated.from, migrated.to));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&crate::error::causes(&error));
            ExitCode::from(match error {
                StoreError::Settings { .. } | StoreError::Schema(_) => EXIT_CONFIG,
                StoreError::Unreachable(_)
                | StoreError::Timeout(_)
                | StoreError::Overloaded
                | StoreError::Failed(_)
                | StoreError::InUse(_) => EXIT_TEMPORARY,
            })
        }
    }
}

/// One line for each problem of the settings.
fn refuse(invalid: &Invalid) -> ExitCode {
    for fault in &invalid.0 {
        complain(&fault.to_string());
    }
    ExitCode::from(EXIT_CONFIG)
}

/// A line for whoever reads the output. A closed pipe is nobody's problem.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line for whoever has to mend something.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "session-gateway: {line}");
}
