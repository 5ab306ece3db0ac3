//! `migrate`: the store's schema, brought up to date.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::open::Failure;
use super::{say, table};
use crate::app;
use crate::config::{Config, Sources};
use crate::store::Store;

/// How `migrate` answers.
#[derive(Args, Debug)]
pub(super) struct Asked {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let config = Config::load(sources)?;
    let migrated = Store::open(&app::place(&config.store))?.migrate().await?;
    if asked.json {
        table::json(&json!({ "from": migrated.from, "to": migrated.to, "migrated": migrated.from != migrated.to }));
    } else if migrated.from == migrated.to {
        say(&format!("The store's schema is up to date: version {}.", migrated.to));
    } else {
        say(&format!("The store's schema was brought from version {} to {}.", migrated.from, migrated.to));
    }
    Ok(ExitCode::SUCCESS)
}
