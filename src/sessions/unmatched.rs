//! Logins that the application took and nobody could be matched with, in the audit log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Sessions;
use crate::clock::{self, Uptime};
use crate::store::Event;

impl Sessions {
    /// Writes such a login down, unless there were too many: nobody has to be logged in for them. Where the application
    /// names the user in its answer, each wrong password is one, and guessing must not fill the audit log.
    pub async fn record_unmatched(&self, event: Event) {
        if self.inner.unmatched.is_due(clock::uptime()) {
            tracing::warn!(detail = %event.detail, client = ?event.ip, "a login succeeded, but no session was created");
            // Nothing depends on it; a store that is away has its own lines.
            let _ = self.record(event).await;
        }
    }
}

/// How many there were in this minute.
#[derive(Debug, Default)]
pub(super) struct Unmatched(Mutex<Option<(Uptime, u32)>>);

impl Unmatched {
    const PERIOD: Duration = Duration::from_secs(60);
    const MOST: u32 = 60;

    fn is_due(&self, now: Uptime) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *minute {
            Some((began, count)) if now.since(*began) < Self::PERIOD => {
                *count = count.saturating_add(1);
                *count <= Self::MOST
            }
            begun => {
                *begun = Some((now, 1));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_are_written_down() {
        let unmatched = Unmatched::default();
        let second = |number: u64| Uptime::from_micros(number * 1_000_000);
        assert_eq!((0..1000).filter(|_| unmatched.is_due(second(5))).count(), 60);
        assert!(!unmatched.is_due(second(64)));
        assert_eq!((0..1000).filter(|_| unmatched.is_due(second(65))).count(), 60);
    }
}
