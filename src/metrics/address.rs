//! What is counted of one address of an application.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Counter, Gauge};

/// A number that goes up and down, written by one thread; alone on its cache line, since its neighbours are other threads'.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LocalGauge(AtomicU64);

impl LocalGauge {
    /// Adds one. Two threads that do this at once may lose it, hence one worker each.
    pub fn increment(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Takes one away, under the same condition.
    pub fn decrement(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one address of an application.
#[derive(Debug)]
pub struct AddressMetrics {
    /// The application's name.
    pub upstream: String,
    /// The address.
    pub address: String,
    /// 1 while requests are sent there.
    pub up: Gauge,
    /// Connections that could not be made, health checks included.
    pub failures: Counter,
    /// Requests on their way, by worker.
    pub in_flight: Box<[LocalGauge]>,
}

impl AddressMetrics {
    /// An address that is used by so many workers.
    pub fn new(upstream: &str, address: String, workers: usize) -> Self {
        let up = Gauge::default();
        up.set(1);
        let in_flight = (0..workers).map(|_| LocalGauge::default()).collect();
        Self { upstream: upstream.to_owned(), address, up, failures: Counter::default(), in_flight }
    }
}
