//! `check`: every problem of the settings at once. It connects to nothing and listens on nothing.

use std::process::ExitCode;
use std::sync::Arc;

use super::{EXIT_CONFIG, complain, refuse, say};
use crate::app;
use crate::config::{Config, Sources};
use crate::edge::tls::Tls;
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
            if let Some(settings) = &config.server.tls {
                match Tls::load(settings, config.server.http2, Arc::default()) {
                    Ok(tls) => tls.remarks().iter().for_each(|remark| complain(&format!("warning: {remark}"))),
                    Err(error) => {
                        error.to_string().lines().for_each(complain);
                        return ExitCode::from(EXIT_CONFIG);
                    }
                }
            }
            let upstreams = config.upstreams.len();
            say(&format!("{file}: good ({upstreams} upstream(s), {} service(s)).", config.services.len()));
            ExitCode::SUCCESS
        }
        Err(invalid) => refuse(&invalid),
    }
}
