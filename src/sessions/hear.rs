//! Hearing of what others change, and forgetting it.
//!
//! # Race: what was missed
//! While nothing is heard, cached sessions are trusted for their time (`cache.ttl`) and no longer than without others. When
//! the ear is in place again, nobody knows what was missed: everything is forgotten then, before it counts as hearing. In
//! this order, since between the two nothing is lost, and the other way round everything would be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Sessions;
use crate::clock::{self, Uptime};
use crate::error::causes;
use crate::store::{Ear, Hearing, News, Notice, StoreError};

/// The pause between two tries to hear again: from here …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … doubling, up to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Whoever has heard for so long tries again at once.
const STEADY: Duration = Duration::from_secs(1);
/// For how long after a call without an answer the own changes are heeded like those of others.
///
/// Longer than an operating system goes on trying to get rid of what a closed connection still had to send.
const DOUBT: Duration = Duration::from_secs(600);
/// No notification takes so long. Whoever may connect to the database can make one up, with any time in it.
const LONGEST_LAG: Duration = Duration::from_secs(600);

/// What is known about hearing.
#[derive(Debug, Default)]
pub(super) struct Ears {
    /// Whether others' changes shall be heard and are not.
    deaf: AtomicBool,
    /// Until when it is in doubt what of the own changes was done: microseconds of uptime.
    doubt_until: AtomicU64,
}

impl Ears {
    /// A change was asked for and no answer came: it may happen at any time from now on. What it changes is then heard of
    /// as if somebody else had done it.
    pub(super) fn doubt(&self, now: Uptime) {
        self.doubt_until.fetch_max(now.plus(DOUBT).as_micros(), Ordering::Relaxed);
    }

    fn is_in_doubt(&self, now: Uptime) -> bool {
        now.as_micros() < self.doubt_until.load(Ordering::Relaxed)
    }
}

impl Sessions {
    /// Whether changes by others do not reach this gateway although they should, for `/readyz`.
    pub fn is_deaf(&self) -> bool {
        self.inner.ears.deaf.load(Ordering::Relaxed)
    }

    /// Hears what others change, until `stop`. From the call on the gateway is deaf until it hears for the first time.
    pub fn hear_others(self, hearing: Hearing, mut stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send {
        let ear = self.inner.store.ear(hearing);
        self.inner.ears.deaf.store(ear.is_some(), Ordering::Relaxed);
        async move {
            let Some(ear) = ear else { return };
            tokio::select! {
                () = self.hear(ear) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn hear(&self, mut ear: Ear) {
        let mut pause = FIRST_PAUSE;
        // The first failures of a store that is down are told by who brings it up.
        let mut told = true;
        loop {
            self.inner.health.until_found().await;
            let error = match ear.attach().await {
                Ok(()) => {
                    let began = clock::uptime();
                    let error = self.heed(&mut ear).await;
                    told = false;
                    self.inner.ears.deaf.store(true, Ordering::Relaxed);
                    self.inner.metrics.listen_up.set(0);
                    if clock::uptime().since(began) >= STEADY {
                        pause = Duration::ZERO;
                    }
                    error
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(
                    error = causes(&error),
                    "changes by others are not heard of; until they are, one holds here after cache.ttl"
                );
            } else {
                tracing::warn!(
                    error = causes(&error),
                    "changes by others cannot be heard of yet; until they are, one holds here after cache.ttl"
                );
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
                // What was in the way is likely to be gone.
                () = self.inner.health.until_back() => pause = FIRST_PAUSE,
            }
        }
    }

    /// Forgets what others change, until nothing can be heard any more.
    async fn heed(&self, ear: &mut Ear) -> StoreError {
        self.inner.cache.clear();
        self.inner.ears.deaf.store(false, Ordering::Relaxed);
        self.inner.metrics.listen_up.set(1);
        tracing::info!("changes by others are heard of");
        loop {
            match ear.next().await {
                Ok(notice) => self.take(&notice),
                Err(error) => return error,
            }
        }
    }

    fn take(&self, Notice { news, own, at }: &Notice) {
        if *own && !self.inner.ears.is_in_doubt(clock::uptime()) {
            return;
        }
        self.inner.metrics.notifications.increment();
        match news {
            News::Sessions(ids) => {
                for id in ids {
                    self.inner.cache.forget_id(*id);
                }
            }
            News::Anything => self.inner.cache.clear(),
        }
        let lag = at.map(|at| self.now().wall.since(at));
        if let Some(lag) = lag.filter(|lag| *lag < LONGEST_LAG) {
            self.inner.metrics.notification_lag.observe(lag);
        }
    }
}
