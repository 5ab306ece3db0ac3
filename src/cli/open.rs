//! The store, opened for one command beside the gateways that run on it, and how a command can fail.

use std::io;
use std::process::ExitCode;

use super::{EXIT_CONFIG, EXIT_REFUSED, EXIT_TEMPORARY, EXIT_USAGE, complain, refuse};
use crate::app;
use crate::config::{Config, Invalid, Sources};
use crate::error::causes;
use crate::store::{self, Store, StoreError};

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    /// The settings are wrong.
    Settings(Invalid),
    /// The store is away, or not as it should be.
    Store(StoreError),
    /// There is nothing there, or it may not be done.
    Refused(String),
    /// Something else than the store is away.
    Away(String),
    /// What was typed cannot be meant.
    Usage(String),
    /// The operating system.
    System(io::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Settings(invalid)
    }
}

impl Failure {
    /// Tells it, and gives the status to exit with.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Settings(invalid) => refuse(invalid),
            Self::Store(error) => {
                complain(&causes(error));
                ExitCode::from(match error {
                    StoreError::Settings { .. } | StoreError::Schema(_) => EXIT_CONFIG,
                    StoreError::Unreachable(_)
                    | StoreError::Timeout(_)
                    | StoreError::Overloaded
                    | StoreError::Failed(_)
                    | StoreError::InUse(_) => EXIT_TEMPORARY,
                })
            }
            Self::Refused(sentence) => {
                complain(sentence);
                ExitCode::from(EXIT_REFUSED)
            }
            Self::Away(sentence) => {
                complain(sentence);
                ExitCode::from(EXIT_TEMPORARY)
            }
            Self::Usage(sentence) => {
                complain(sentence);
                ExitCode::from(EXIT_USAGE)
            }
            Self::System(error) => {
                complain(&error.to_string());
                ExitCode::from(EXIT_TEMPORARY)
            }
        }
    }
}

/// Runs a command to its end.
pub(super) fn run(command: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.map_err(Failure::System).and_then(|runtime| runtime.block_on(command));
    done.unwrap_or_else(|failure| failure.report())
}

/// The settings, and the store that they name.
pub(super) async fn settings_and_store(sources: &Sources) -> Result<(Config, Store), Failure> {
    let config = Config::load(sources)?;
    let store = store(&config).await?;
    Ok((config, store))
}

/// The store of these settings, beside whatever gateways run on it.
///
/// # Errors
/// Also when its schema is not the one that this program needs: bringing it up to date is for `migrate` and for a gateway.
pub(super) async fn store(config: &Config) -> Result<Store, Failure> {
    let mut place = app::place(&config.store);
    if let store::Settings::Sqlite(settings) = &mut place {
        // Opening it would make an empty one.
        if !settings.path.exists() {
            return Err(Failure::Refused(format!(
                "there is no database file {}: no gateway has run with these settings (store.url, or --store); start it \
                 once, or run `session-gateway migrate`",
                settings.path.display()
            )));
        }
        settings.exclusive = false;
    }
    let store = Store::open(&place)?;
    store.check().await?;
    Ok(store)
}
