//! `serve`: run the gateway until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
        Ok(app) => until_stopped(app, OnHangup::Reload(sources), announce),
        Err(error) => {
            for line in error.to_string().lines() {
                complain(line);
            }
            match error {
                // It may be the one that this one is to take the place of.
                StartError::Store(StoreError::InUse(_)) => ExitCode::from(EXIT_TEMPORARY),
                StartError::Listen { .. }
                | StartError::Tls(_)
                | StartError::Store(_)
                | StartError::AccessLog { .. } => ExitCode::from(EXIT_CONFIG),
                StartError::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn announce(app: &App) {
    for address in app.addresses() {
        tracing::info!(%address, "listening");
    }
    for address in app.redirect_addresses() {
        tracing::info!(%address, "sending to https");
    }
    if let Some(address) = app.ops_address() {
        tracing::info!(%address, "metrics and health");
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

/// What SIGHUP does.
#[derive(Clone, Copy, Debug)]
pub(super) enum OnHangup<'s> {
    /// Lets the gateway read again what can change while it runs: these settings, and the files of certificates.
    Reload(&'s Sources),
    /// Ends it, as it ends any program whose terminal is closed.
    End,
}

/// Serves until SIGTERM or SIGINT, then drains. `announce` is called when a signal would be heard: whoever learns that we
/// are ready may stop us at once, and a signal without a handler would end us without a drain.
pub(super) fn until_stopped(app: App, on_hangup: OnHangup<'_>, announce: impl FnOnce(&App)) -> ExitCode {
    let signals = match app.within(|| Signals::receive(on_hangup)) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("signals cannot be received: {error}"));
            app.stop();
            return ExitCode::FAILURE;
        }
    };
    announce(&app);
    let told = app.wait(signals.until_stop(|| {
        if let OnHangup::Reload(sources) = on_hangup {
            tracing::info!("SIGHUP: reading settings and certificates again");
            reload(&app, sources);
        }
    }));
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

/// Reads everything again that can change while the gateway runs. Settings with a fault in them are not taken at all.
fn reload(app: &App, sources: &Sources) {
    match Config::load(sources) {
        Ok(config) => app.adopt(config),
        Err(invalid) => {
            for fault in invalid.0 {
                tracing::error!(%fault, "the settings stay as they were");
            }
            app.reload_failed();
        }
    }
    app.reload();
}

/// The signals that we answer to. They are received from the beginning on, not only from the first look at them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn receive(on_hangup: OnHangup<'_>) -> std::io::Result<Self> {
        let hangup = match on_hangup {
            OnHangup::Reload(_) => Some(signal(SignalKind::hangup())?),
            OnHangup::End => None,
        };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup })
    }

    /// Ready when SIGTERM or SIGINT has come; `reload` is called for each SIGHUP before that.
    async fn until_stop(mut self, reload: impl Fn()) {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = hangup => reload(),
            }
        }
    }
}

/// Tells systemd, when it is there.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
