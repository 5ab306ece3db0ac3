//! Whether the store answers, as one flag that a request reads without waiting.
//!
//! A call that finds the store unreachable lowers the flag, and requests that need the store then fail at once instead of
//! each waiting for its own timeout. Only the prober raises it again, after it has asked the store itself and emptied
//! the cache, since nobody knows what was revoked meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether the store answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    up: AtomicBool,
    changed: Notify,
    back: Notify,
}

impl Health {
    /// Whether the store answered when it was last asked. It starts as not yet.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// The store did not answer. Says whether that is news.
    pub(super) fn lost(&self) -> bool {
        let news = self.up.swap(false, Ordering::AcqRel);
        if news {
            self.changed.notify_one();
        }
        news
    }

    /// The store answers (again).
    pub(super) fn found(&self) {
        self.up.store(true, Ordering::Release);
        self.back.notify_waiters();
    }

    /// Resolves when the store is found the next time. Cancel safe.
    pub(super) async fn until_back(&self) {
        self.back.notified().await;
    }

    /// Resolves when the store is up. Cancel safe.
    pub(super) async fn until_found(&self) {
        loop {
            // Counted as waiting before the look: what happens between the two wakes it.
            let mut back = std::pin::pin!(self.back.notified());
            back.as_mut().enable();
            if self.is_up() {
                return;
            }
            back.await;
        }
    }

    /// Resolves when the store is not up. Cancel safe.
    pub(super) async fn until_lost(&self) {
        while self.is_up() {
            self.changed.notified().await;
        }
    }
}
