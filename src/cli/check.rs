//! `check`: every problem of the settings at once. It connects to nothing and listens on nothing.

use std::process::ExitCode;

use super::{EXIT_CONFIG, complain, refuse, say};
use crate::app;
use crate::config::{Config, Sources};
use crate::store::Store;

pub(super) fn run(sources: &Sources) -> ExitCode {
    let file = sources.file.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    match Config::load(sources) {
        Ok(config) => {
            // Reads the store's URL and certificates, and goes no further.
            if let Err(error) = Store::open(&app::place(&config.store)) {
                complain(&crate::error::causes(&error));
                return ExitCode::from(EXIT_CONFIG);
            }
            let upstreams = config.upstreams.len();
            say(&format!("{file}: good ({upstreams} upstream(s), {} service(s)).", config.services.len()));
            ExitCode::SUCCESS
        }
        Err(invalid) => refuse(&invalid),
    }
}
