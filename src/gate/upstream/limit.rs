//! How many requests an application has at a time, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Code, Problem};

/// The room of one application, which all workers share.
#[derive(Debug)]
pub(super) struct Limit {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_pending: usize,
}

/// The place of one request; dropping it lets the next in.
pub(super) type Room = OwnedSemaphorePermit;

impl Limit {
    /// Room for so many; `None` when there is no limit.
    pub(super) fn new(most: usize, max_pending: usize) -> Option<Self> {
        let room = || Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        (most > 0).then(|| Self { room: room(), waiting: AtomicUsize::new(0), max_pending })
    }

    /// Goes in, after those who came before, within `longest`.
    ///
    /// Cancel safety: whoever gives up leaves the queue.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`] when there are too many in the queue, or it took too long.
    pub(super) async fn enter(&self, longest: Duration) -> Result<Room, Problem> {
        // It does not push in: who waits is given what comes free before anybody can take it.
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            return Ok(room);
        }
        let full =
            || Problem::with_detail(Code::UpstreamUnavailable, "The application is busy. Try again in a moment.");
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _leaving = Leaving(&self.waiting);
        if before >= self.max_pending {
            return Err(full());
        }
        match timeout(longest, self.room.clone().acquire_owned()).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }
}

struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
