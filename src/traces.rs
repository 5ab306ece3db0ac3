//! The traces that requests are part of: ids for what begins here, and the spans that say what became of a request.
//!
//! Each worker has a [`Recorder`]: it draws ids without a lock, and keeps the spans of sampled requests until one side task
//! ([`Traces::export`]) takes them away, once a second or when there are many. What finds no room is dropped and counted; a
//! request never waits for whoever collects spans.

mod encode;
mod export;
mod ids;
mod span;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use self::ids::Ids;
pub use self::span::{Call, Span};
use crate::config::{Collector, TraceSettings};
use crate::http::trace_context::{SpanId, TraceId};
use crate::metrics::SharedMetrics;

/// The most requests whose spans wait at one worker: about two megabytes.
const MOST_WAITING: usize = 2048;
/// As many are taken away before the second is over.
const MANY: usize = MOST_WAITING / 2;

/// All traces of one gateway.
#[derive(Debug)]
pub struct Traces {
    recorders: Vec<Arc<Recorder>>,
    collector: watch::Sender<Option<Arc<Collector>>>,
    many: Arc<Notify>,
    metrics: Arc<SharedMetrics>,
}

/// One worker's part of it.
#[derive(Debug)]
pub struct Recorder {
    ids: Ids,
    spans: Mutex<Vec<Span>>,
    many: Arc<Notify>,
    metrics: Arc<SharedMetrics>,
}

impl Traces {
    /// The traces of so many workers.
    ///
    /// # Errors
    /// When the operating system gives no random numbers.
    pub fn new(
        settings: &TraceSettings,
        workers: usize,
        metrics: Arc<SharedMetrics>,
    ) -> Result<Self, getrandom::Error> {
        let many = Arc::new(Notify::new());
        let recorder = || Ok(Arc::new(Recorder::new(Ids::seeded()?, many.clone(), metrics.clone())));
        let recorders = (0..workers).map(|_| recorder()).collect::<Result<_, getrandom::Error>>()?;
        let (collector, _) = watch::channel(settings.collector.clone());
        Ok(Self { recorders, collector, many, metrics })
    }

    /// The workers' parts.
    pub fn recorders(&self) -> &[Arc<Recorder>] {
        &self.recorders
    }

    /// Sends spans to whom these settings name, from now on.
    pub fn adopt(&self, settings: &TraceSettings) {
        self.collector.send_if_modified(|collector| {
            let changed = *collector != settings.collector;
            if changed {
                collector.clone_from(&settings.collector);
            }
            changed
        });
    }
}

impl Recorder {
    fn new(ids: Ids, many: Arc<Notify>, metrics: Arc<SharedMetrics>) -> Self {
        Self { ids, spans: Mutex::default(), many, metrics }
    }

    /// The id of a new trace.
    pub fn new_trace(&self) -> TraceId {
        self.ids.trace()
    }

    /// The id of a new span.
    pub fn new_span(&self) -> SpanId {
        self.ids.span()
    }

    /// Keeps the spans of a request, if there is room.
    pub fn record(&self, span: Span) {
        // The side task comes here once in a while and stays for a moment.
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() >= MOST_WAITING {
            drop(spans);
            self.metrics.spans_dropped.add(span.count());
            return;
        }
        spans.push(span);
        if spans.len() == MANY {
            drop(spans);
            self.many.notify_one();
        }
    }

    fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_is_kept() {
        let metrics = Arc::new(SharedMetrics::default());
        let recorder = Recorder::new(Ids::seeded().unwrap(), Arc::default(), metrics.clone());
        for _ in 0..MOST_WAITING + 3 {
            recorder.record(span::tests::span());
        }
        assert_eq!(metrics.spans_dropped.get(), 3 * span::tests::span().count());
        assert_eq!(recorder.take().len(), MOST_WAITING);
        recorder.record(span::tests::span());
        assert_eq!(recorder.take().len(), 1, "there is room again");
    }
}
