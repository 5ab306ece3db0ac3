//! `check`: every problem of the settings at once. It opens no store and no socket.

use std::process::ExitCode;

use super::{refuse, say};
use crate::config::{Config, Sources};

pub(super) fn run(sources: &Sources) -> ExitCode {
    let file = sources.file.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    match Config::load(sources) {
        Ok(config) => {
            let upstreams = config.upstreams.len();
            say(&format!("{file}: good ({upstreams} upstream(s), {} service(s)).", config.services.len()));
            ExitCode::SUCCESS
        }
        Err(invalid) => refuse(&invalid),
    }
}
