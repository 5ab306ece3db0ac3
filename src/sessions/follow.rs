//! Whose clock decides: the database's, for all gateways on it alike.
//!
//! Each gateway measures how far its own monotonic clock is from the database's clock, and from then on goes by the
//! monotonic one. What its wall clock says, and that somebody sets it, counts for nothing but the logs. The measurement may
//! be wrong by half the round trip of the question, and by what the two clocks drift apart until the next one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Sessions;
use crate::clock::{self, Moment, Timestamp};
use crate::store::StoreError;

/// How often the clocks are compared.
const PERIOD: Duration = Duration::from_secs(10);
/// A round trip longer than this is tried again, …
const LONG: Duration = Duration::from_millis(20);
/// … so many times in all; the shortest counts.
const TRIES: usize = 3;
/// A change of the distance between the two clocks that somebody should know of.
const REMARKABLE: Duration = Duration::from_secs(1);

impl Sessions {
    /// The time that decides about sessions.
    pub fn now(&self) -> Moment {
        self.inner.clock.now()
    }

    /// A moment of this machine with the time that decides about sessions.
    pub fn at(&self, now: Moment) -> Moment {
        self.inner.clock.at(now)
    }

    /// Compares the clocks every so often, until `stop`.
    pub async fn follow_clock(self, mut stop: watch::Receiver<bool>) {
        let follow = async {
            loop {
                sleep(PERIOD).await;
                if self.inner.health.is_up()
                    && let Err(error) = self.measure_clock().await
                {
                    self.failed(&error);
                }
            }
        };
        tokio::select! {
            () = follow => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Sets the clock by the store's, if that has one.
    pub(super) async fn measure_clock(&self) -> Result<(), StoreError> {
        let mut best: Option<(Duration, Timestamp, clock::Uptime)> = None;
        for _ in 0..TRIES {
            let asked = clock::uptime();
            let Some(time) = self.inner.store.clock().await? else { return Ok(()) };
            let trip = clock::uptime().since(asked);
            if best.is_none_or(|(shortest, ..)| trip < shortest) {
                best = Some((trip, time, asked.plus(trip / 2)));
            }
            if trip <= LONG {
                break;
            }
        }
        if let Some((trip, time, uptime)) = best {
            self.set_clock(time, uptime, trip);
        }
        Ok(())
    }

    fn set_clock(&self, time: Timestamp, uptime: clock::Uptime, trip: Duration) {
        let before = self.now().wall;
        let here = clock::now().wall;
        self.inner.clock.set(time, uptime);
        let after = self.now().wall;
        self.inner.metrics.clock_offset_millis.set(after.as_millis().saturating_sub(here.as_millis()));
        let (forward, back) = (after.since(before), before.since(after));
        if forward.max(back) > REMARKABLE + trip {
            tracing::warn!(
                database = %after,
                assumed = %before,
                here = %here,
                "the database's clock is not where it was expected; sessions go by it from now on"
            );
        }
    }
}
