//! Removing what has been over for long enough, beside the requests and never in their way.
//!
//! A sweep goes through the store in small batches and rests after each for several times as long as it took. The first
//! one after the start, and one a day, looks at everything; the others at what ended or grew old since the last. Gateways
//! of one PostgreSQL sweep at different moments, and where they meet, one batch waits for the other.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Sessions;
use crate::clock::{self, Timestamp, Uptime};
use crate::error::causes;
use crate::metrics::StoreCall;
use crate::store::{Retention, Stage, StoreError, Sweep, Swept};

/// When the first sweep is, unless sweeps are more frequent.
const FIRST: Duration = Duration::from_secs(60);
/// How often everything is looked at: what no index knows, and rows of users whose own limit was lowered.
const FULL_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How far a sweep goes back behind the beginning of the last one: for what had ended too short a time before, for changes
/// that were under way then, and for clocks of other gateways that are behind.
const OVERLAP: Duration = Duration::from_secs(1200);
/// The rest after a batch, in times of what the batch took: the sweep has at most a fifth of one connection.
const REST: u32 = 4;
const SHORTEST_REST: Duration = Duration::from_millis(5);
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How long to wait for another gateway's batch, and how often, before this sweep is left to it.
const BUSY_REST: Duration = Duration::from_millis(200);
const BUSY_TRIES: u32 = 50;

/// How long what is over is kept, and how often it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sweeping {
    /// From the end of one sweep to the next.
    pub interval: Duration,
    /// How long after its end a session stays; `None` is for ever.
    pub keep_for: Option<Duration>,
    /// How many ended sessions of one user stay; `None` is all.
    pub keep_per_user: Option<u32>,
}

impl Sessions {
    /// Sweeps the store every so often, until `stop`.
    pub async fn sweep(self, sweeping: Sweeping, mut stop: watch::Receiver<bool>) {
        let interval = sweeping.interval;
        let mut sweeper = Sweeper { sessions: self, sweeping, last: None, last_full: None, failing: false };
        let swept = async {
            // Before the first one too, so that gateways that start together do not sweep together; but soon, so that one
            // that is started anew every day sweeps at all.
            sleep(jittered(interval.min(FIRST))).await;
            loop {
                sweeper.sweep().await;
                sleep(jittered(interval)).await;
            }
        };
        tokio::select! {
            () = swept => {}
            // A batch under way then happens whole or not at all.
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// What is known from one sweep to the next.
struct Sweeper {
    sessions: Sessions,
    sweeping: Sweeping,
    /// When the last sweep began that came to its end.
    last: Option<Timestamp>,
    last_full: Option<Uptime>,
    failing: bool,
}

impl Sweeper {
    async fn sweep(&mut self) {
        let began = clock::uptime();
        // What is swept is gone for good, so both clocks have to say that its time has come: the database's, by which
        // sessions go, may have been set wrong, or be another one after a fail-over.
        let now = self.sessions.now().wall.min(clock::now().wall);
        let full = self.last_full.is_none_or(|last| began.since(last) >= FULL_EVERY);
        let since = if full { None } else { self.last.map(|last| last.minus(OVERLAP)) };
        if !self.go_through(now, since).await {
            return;
        }
        self.last = Some(now);
        if since.is_none() {
            self.last_full = Some(began);
        }
        self.sessions.inner.metrics.sweeps.observe(clock::uptime().since(began));
    }

    /// Whether it came to its end.
    async fn go_through(&mut self, now: Timestamp, since: Option<Timestamp>) -> bool {
        let inner = &self.sessions.inner;
        let batch = inner.store.sweep_batch();
        let (mut next, mut tries) = (Some(Stage::FIRST), 0);
        while let Some(stage) = next {
            if !inner.health.is_up() {
                return false;
            }
            let began = clock::uptime();
            // Asked for each batch: a reload may have made a session live that was unused for too long a moment ago.
            let retention = Retention {
                keep_for: self.sweeping.keep_for,
                keep_per_user: self.sweeping.keep_per_user,
                idle_timeout: self.sessions.rules().idle_timeout,
            };
            let swept = inner.store.sweep(Sweep { retention, now, since, batch, stage }).await;
            let took = clock::uptime().since(began);
            inner.metrics.store_call(StoreCall::Sweep, took);
            match swept {
                Ok(Swept { busy: true, .. }) => {
                    tries += 1;
                    if tries >= BUSY_TRIES {
                        return false;
                    }
                    sleep(jittered(BUSY_REST)).await;
                }
                Ok(swept) => {
                    tries = 0;
                    self.failing = false;
                    inner.metrics.swept_sessions.add(swept.sessions);
                    inner.metrics.swept_events.add(swept.events);
                    inner.metrics.swept_tokens.add(swept.tokens);
                    next = swept.next;
                    sleep((took * REST).clamp(SHORTEST_REST, LONGEST_REST)).await;
                }
                Err(error) => {
                    let news = !std::mem::replace(&mut self.failing, true);
                    self.sessions.sweep_failed(&error, news);
                    return false;
                }
            }
        }
        true
    }
}

impl Sessions {
    /// A batch that was too slow, or had no connection left, says nothing about whether requests find their sessions: the
    /// store is lost only when it cannot be reached.
    fn sweep_failed(&self, error: &StoreError, news: bool) {
        match error {
            StoreError::Unreachable(_) | StoreError::Schema(_) | StoreError::InUse(_) => {
                self.failed(error);
            }
            StoreError::Timeout(_) | StoreError::Overloaded | StoreError::Failed(_) | StoreError::Settings { .. } => {
                self.inner.metrics.store_errors.increment();
                if news {
                    tracing::error!(error = causes(error), "old sessions and events could not be removed");
                }
            }
        }
    }
}

/// Three to five quarters of this time.
fn jittered(time: Duration) -> Duration {
    let mut random = [0];
    // Without randomness it is four quarters.
    let part = getrandom::fill(&mut random).map_or(128, |()| u32::from(random[0]));
    time.saturating_mul(384 + part) / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_start_together_do_not_sweep_together() {
        let interval = Duration::from_secs(60);
        let times: Vec<_> = (0..200).map(|_| jittered(interval)).collect();
        let (shortest, longest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(
            *shortest >= Duration::from_secs(45) && *longest <= Duration::from_secs(75),
            "{shortest:?} {longest:?}"
        );
        assert!(*longest - *shortest > Duration::from_secs(15), "{shortest:?} {longest:?}");
        assert!(jittered(Duration::MAX) > Duration::from_secs(1), "nothing overflows");
    }
}
