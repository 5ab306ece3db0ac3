//! Writing down when and from where sessions were last used, off the request's path.
//!
//! A request that finds its session's last written use older than the interval puts a [`Touch`] into a bounded queue; a
//! task takes the queue whole every so often and writes it in batches. When the store is slow and the queue fills up,
//! the oldest touches are dropped and counted: a newer one of the same session says more.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::metrics::SharedMetrics;
use crate::store::Touch;

/// The most touches that wait at once; at 72 bytes each that is under a megabyte.
const QUEUE: usize = 10_000;
/// The most touches in one statement.
pub(super) const BATCH: usize = 500;

/// The queue of touches.
#[derive(Debug, Default)]
pub(super) struct Touches {
    queue: Mutex<VecDeque<Touch>>,
}

impl Touches {
    /// Queues a touch, dropping the oldest one when the queue is full.
    pub(super) fn push(&self, touch: Touch, metrics: &SharedMetrics) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= QUEUE {
            queue.pop_front();
            metrics.touches_dropped.increment();
        }
        queue.push_back(touch);
        let waiting = queue.len();
        drop(queue);
        metrics.touches_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Takes up to one batch out of the queue.
    pub(super) fn take(&self, metrics: &SharedMetrics) -> Vec<Touch> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let size = queue.len().min(BATCH);
        let batch = queue.drain(..size).collect();
        let waiting = queue.len();
        drop(queue);
        metrics.touches_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        batch
    }

    /// Puts a batch back that could not be written, as far as there is room: what came meanwhile is newer and stays.
    pub(super) fn put_back(&self, batch: Vec<Touch>, metrics: &SharedMetrics) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for touch in batch.into_iter().rev() {
            if queue.len() < QUEUE {
                queue.push_front(touch);
            } else {
                metrics.touches_dropped.increment();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::session::SessionId;

    fn touch(at: i64) -> Touch {
        let ip = "192.0.2.1".parse().unwrap();
        Touch { id: SessionId::generate().unwrap(), at: Timestamp::from_millis(at), ip }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_touch_and_counts_it() {
        let (touches, metrics) = (Touches::default(), SharedMetrics::default());
        for at in 0..=QUEUE as i64 {
            touches.push(touch(at), &metrics);
        }
        assert_eq!(metrics.touches_dropped.get(), 1);
        assert_eq!(touches.take(&metrics)[0].at, Timestamp::from_millis(1), "the touch at 0 was dropped");
    }

    #[test]
    fn a_batch_that_could_not_be_written_comes_back_in_its_order() {
        let (touches, metrics) = (Touches::default(), SharedMetrics::default());
        for at in 0..3 {
            touches.push(touch(at), &metrics);
        }
        let batch = touches.take(&metrics);
        touches.push(touch(3), &metrics);
        touches.put_back(batch, &metrics);
        let order: Vec<i64> = touches.take(&metrics).iter().map(|touch| touch.at.as_millis()).collect();
        assert_eq!(order, [0, 1, 2, 3]);
    }
}
