//! `serve`: run the gateway until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_CONFIG, EXIT_TEMPORARY, complain, refuse};
use crate::app::{App, StartError};
use crate::config::{Config, Sources};
use crate::log;
use crate::store::StoreError;

pub(super) fn run(sources: &Sources) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(invalid) => return refuse(&invalid),
    };
    log::start(&config.log);
    if let Some(file) = &sources.file {
        tracing::info!(file = %file.display(), "settings read");
    }
    match App::start(config) {
        Ok(app) => until_stopped(app, announce),
        Err(error) => {
            complain(&error.to_string());
            match error {
                // It may be the one that this one is to take the place of.
                StartError::Store(StoreError::InUse(_)) => ExitCode::from(EXIT_TEMPORARY),
                StartError::Listen { .. } | StartError::Store(_) | StartError::AccessLog { .. } => {
                    ExitCode::from(EXIT_CONFIG)
                }
                StartError::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn announce(app: &App) {
    for address in app.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = app.ops_address() {
        tracing::info!(%address, "metrics and health");
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Serves until SIGTERM or SIGINT, then drains. `announce` is called when a signal would be heard: whoever learns that we
/// are ready may stop us at once, and a signal without a handler would end us without a drain.
pub(super) fn until_stopped(app: App, announce: impl FnOnce(&App)) -> ExitCode {
    let asked_to_stop = match app.within(asked_to_stop) {
        Ok(asked_to_stop) => asked_to_stop,
        Err(error) => {
            complain(&format!("signals cannot be received: {error}"));
            app.stop();
            return ExitCode::FAILURE;
        }
    };
    announce(&app);
    let told = app.wait(asked_to_stop);
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: no new connections; requests in flight may finish");
    app.stop();
    tracing::info!("stopped");
    if told {
        ExitCode::SUCCESS
    } else {
        complain("a worker died; see the log");
        ExitCode::FAILURE
    }
}

/// Ready when SIGTERM or SIGINT has come. They are received from the call on, not only from the first poll.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Tells systemd, when it is there.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
