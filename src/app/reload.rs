//! Other settings for a gateway that runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{mention_guesses, settings};
use crate::config::Config;
use crate::gate::{Assertions, Current, Gate, Pool, Upstreams};
use crate::metrics::SharedMetrics;
use crate::sessions::Sessions;
use crate::traces::Traces;

/// What has to be known to put other settings in place.
#[derive(Debug)]
pub(super) struct Reloading {
    sessions: Sessions,
    shared: Arc<SharedMetrics>,
    traces: Arc<Traces>,
    /// Of each worker.
    gates: Vec<Arc<Current>>,
    tasks_stopping: watch::Receiver<bool>,
    running: Mutex<Running>,
}

/// What runs under the settings in force.
#[derive(Debug)]
struct Running {
    config: Arc<Config>,
    /// Ends the checks of the applications' addresses.
    stop_watching: watch::Sender<bool>,
}

impl Reloading {
    pub(super) fn new(
        config: Arc<Config>,
        sessions: Sessions,
        shared: Arc<SharedMetrics>,
        traces: Arc<Traces>,
        gates: Vec<Arc<Current>>,
        stop_watching: watch::Sender<bool>,
        tasks_stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { sessions, shared, traces, gates, tasks_stopping, running: Mutex::new(Running { config, stop_watching }) }
    }

    /// Counts settings that could not be put in place.
    pub(super) fn failed(&self) {
        self.shared.reload_failures.increment();
    }

    /// See [`super::App::adopt`].
    pub(super) fn adopt(&self, config: Config, side: &Handle) {
        // Held to the end: of two at a time, one comes after the other.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (config, left) = config.following(&running.config);
        for key in left {
            tracing::warn!(key, "a change of this takes effect at a restart");
        }
        if !config.jwt.keys.is_empty() || config.signing.is_some() {
            tracing::warn!(
                "keys of [jwt] and [signing] are read at the start alone: one that was changed takes a restart"
            );
        }
        let config = Arc::new(config);
        mention_guesses(&config);
        let upstreams = Arc::new(Upstreams::new(&config, self.gates.len()));
        self.shared.show_addresses(upstreams.metrics());
        let (stop_watching, watching_stopped) = watch::channel(false);
        side.spawn(upstreams.clone().watch(watching_stopped.clone()));
        self.sessions.adopt(settings(&config));
        let assertions = Arc::new(Assertions::new(config.signing.as_ref(), self.shared.clone()));
        for (number, current) in self.gates.iter().enumerate() {
            let old = current.gate();
            current.replace(Gate {
                config: config.clone(),
                sessions: old.sessions.clone(),
                keys: old.keys.clone(),
                rates: old.rates.clone(),
                assertions: assertions.clone(),
                pool: Pool::new(&upstreams, number),
                streams: old.streams.clone(),
                deadlines: old.deadlines.clone(),
                metrics: old.metrics.clone(),
                shared: old.shared.clone(),
                access: old.access.clone(),
                traces: old.traces.clone(),
                memo: old.memo.clone(),
                generation: old.generation + 1,
            });
            old.pool.close();
        }
        self.traces.adopt(&config.trace);
        running.stop_watching.send_replace(true);
        if config.max_sessions.enforce_on_reload {
            let limits = config.max_sessions.clone();
            side.spawn(self.sessions.clone().enforce_limits_at_start(
                limits,
                self.tasks_stopping.clone(),
                watching_stopped,
            ));
        }
        *running = Running { config, stop_watching };
        self.shared.reloads.increment();
        tracing::info!("the settings are in force");
    }
}
