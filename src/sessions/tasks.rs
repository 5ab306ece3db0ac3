//! What goes on beside the requests: keeping the store's state known, and writing touches down.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Sessions;
use crate::config::MaxSessions;
use crate::error::causes;
use crate::store::{Migrated, StoreError};

/// The pause between two tries to reach a store that is down: from here …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … doubling, up to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the last touches may take to be written when the gateway stops.
const LAST_FLUSH: Duration = Duration::from_secs(5);

impl Sessions {
    /// Brings the store up, at start and whenever it was lost, until `stop`.
    ///
    /// While it is down it is asked again and again with growing pauses. When it answers, everything cached is forgotten
    /// before it is trusted again: what was revoked by others meanwhile is not known here.
    pub async fn keep_store_up(self, mut stop: watch::Receiver<bool>) {
        let watched = async {
            loop {
                self.bring_up().await;
                self.inner.health.until_lost().await;
            }
        };
        tokio::select! {
            () = watched => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn bring_up(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.prepare_store().await {
                Ok(migrated) => {
                    if let Some(Migrated { from, to }) = migrated.filter(|migrated| migrated.from != migrated.to) {
                        tracing::info!(from, to, "the store's schema was brought up to date");
                    }
                    self.inner.cache.clear();
                    self.inner.health.found();
                    self.inner.metrics.store_up.set(1);
                    tracing::info!(store = self.inner.store.kind(), "the session store is up");
                    return;
                }
                Err(error) => {
                    self.inner.metrics.store_errors.increment();
                    tracing::error!(
                        error = causes(&error),
                        "the session store is not usable; trying again in {pause:?}"
                    );
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn prepare_store(&self) -> Result<Option<Migrated>, StoreError> {
        let migrated = if self.inner.settings.load().migrate { Some(self.inner.store.migrate().await?) } else { None };
        self.inner.store.check().await?;
        self.measure_clock().await?;
        Ok(migrated)
    }

    /// Enforces the limits once, as soon as the store is up; again from the beginning when it is lost before the end. Ends at
    /// `stop`, and as soon as other settings are in force: `superseded` says so.
    pub async fn enforce_limits_at_start(
        self,
        limits: MaxSessions,
        mut stop: watch::Receiver<bool>,
        mut superseded: watch::Receiver<bool>,
    ) {
        let enforced = async {
            loop {
                self.inner.health.until_found().await;
                match self.enforce_limits(&limits, self.now().wall).await {
                    Ok(evicted) => {
                        tracing::info!(evicted, "the limits on sessions are enforced");
                        return;
                    }
                    Err(_) => sleep(FIRST_PAUSE).await,
                }
            }
        };
        tokio::select! {
            () = enforced => {}
            _ = stop.wait_for(|stop| *stop) => {}
            _ = superseded.wait_for(|superseded| *superseded) => {}
        }
    }

    /// Writes touches and what is overdue down until `stop`, and what is left then.
    pub async fn write_touches(self, mut stop: watch::Receiver<bool>) {
        let period = self.flush_period();
        while !*stop.borrow() {
            tokio::select! {
                () = sleep(period) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            self.flush().await;
            self.count_cached();
        }
        if timeout(LAST_FLUSH, self.flush()).await.is_err() {
            tracing::warn!("the last uses of some sessions were not written down: the store was too slow");
        }
        let overdue = self.inner.overdue.count();
        if overdue > 0 {
            tracing::error!(
                overdue,
                "sessions that were to be suspended or to end are not: the session store did not come back in time"
            );
        }
    }

    /// A second, or a quarter of the touch interval if that is less, so that an idle timeout is judged on fresh times.
    fn flush_period(&self) -> Duration {
        (self.inner.settings.load().touch_interval / 4).clamp(Duration::from_millis(25), Duration::from_secs(1))
    }

    async fn flush(&self) {
        self.write_overdue().await;
        while self.inner.health.is_up() {
            let batch = self.inner.touches.take(&self.inner.metrics);
            if batch.is_empty() {
                return;
            }
            let began = crate::clock::uptime();
            let written = self.inner.store.touch(&batch).await;
            let call = crate::metrics::StoreCall::Touch;
            self.inner.metrics.store_call(call, crate::clock::uptime().since(began));
            if let Err(error) = written {
                self.inner.touches.put_back(batch, &self.inner.metrics);
                self.failed(&error);
                return;
            }
        }
    }

    fn count_cached(&self) {
        let (found, absent) = self.inner.cache.len();
        self.inner.metrics.cached.set(i64::try_from(found).unwrap_or(i64::MAX));
        self.inner.metrics.cached_absent.set(i64::try_from(absent).unwrap_or(i64::MAX));
    }
}
