//! The command line: what was typed, and what is done about it.

mod check;
mod demo;
mod events;
mod explain;
mod import;
mod migrate;
mod open;
mod secret;
mod serve;
mod sessions;
mod show;
mod table;
mod users;
mod when;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Invalid, Overrides, Sources};

/// There was nothing to be found, or it was refused.
const EXIT_REFUSED: u8 = 1;
/// What was typed cannot be meant; clap's own status for it.
const EXIT_USAGE: u8 = 2;
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
    Migrate(migrate::Asked),
    /// Say which way a request would go and why, without doing anything: exit with 0 (it would pass) or 1 (refused).
    Explain(explain::Asked),
    /// List, show, create, end, suspend and reactivate sessions.
    #[command(subcommand)]
    Sessions(sessions::Asked),
    /// Show and change what is known about a user.
    #[command(subcommand)]
    Users(users::Asked),
    /// Show the audit log.
    Events(events::Asked),
    /// Take over the sessions of an application, so that its users stay logged in.
    #[command(subcommand)]
    Import(import::Asked),
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
    /// The store, instead of that of the file: sqlite:PATH or postgres://…, or where that stands: env:NAME, file:PATH.
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
        Some(Command::Migrate(asked)) => open::run(migrate::run(&settings.sources(), asked)),
        Some(Command::Sessions(asked)) => open::run(sessions::run(&settings.sources(), asked)),
        Some(Command::Users(asked)) => open::run(users::run(&settings.sources(), asked)),
        Some(Command::Events(asked)) => open::run(events::run(&settings.sources(), asked)),
        Some(Command::Import(asked)) => open::run(import::run(&settings.sources(), asked)),
        Some(Command::Explain(asked)) => open::run(explain::run(&settings.sources(), asked)),
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
