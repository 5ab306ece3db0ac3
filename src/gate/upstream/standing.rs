//! How the applications stand: what all workers know of their addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::health;
use super::limit::Limit;
use super::names::Names;
use crate::clock::Uptime;
use crate::config::{Address, Config, LONGEST_PAUSE, Place, Upstream};
use crate::metrics::AddressMetrics;

/// All applications, in the order of the settings.
#[derive(Debug)]
pub struct Upstreams {
    pub(super) all: Vec<Arc<Application>>,
}

/// One application.
#[derive(Debug)]
pub(super) struct Application {
    /// Its settings.
    pub(super) settings: Upstream,
    /// Its addresses, in the order of the settings.
    pub(super) standings: Vec<Standing>,
    /// How many requests it may have at a time.
    pub(super) limit: Option<Limit>,
}

/// One address.
#[derive(Debug)]
pub(super) struct Standing {
    /// Where its name leads; `None` for what has none.
    pub(super) names: Option<Names>,
    pub(super) metrics: Arc<AddressMetrics>,
    /// What the checks say; true without any.
    well: AtomicBool,
    /// Until when it is put aside, in microseconds of uptime; 0 is not at all.
    aside_until: AtomicU64,
    /// For how long it was put aside last, in microseconds; 0 once it was reached,
    pause: AtomicU64,
    /// and when.
    aside_since: AtomicU64,
}

impl Upstreams {
    /// The applications of these settings, for so many workers.
    pub fn new(config: &Config, workers: usize) -> Self {
        let application = |settings: &Upstream| {
            let standing = |address: &Address| Standing::new(settings, address, workers);
            Arc::new(Application {
                standings: settings.addresses.iter().map(standing).collect(),
                limit: Limit::new(settings.max_connections, settings.max_pending),
                settings: settings.clone(),
            })
        };
        Self { all: config.upstreams.iter().map(application).collect() }
    }

    /// The figures of all addresses.
    pub fn metrics(&self) -> Vec<Arc<AddressMetrics>> {
        self.all.iter().flat_map(|known| &known.standings).map(|standing| standing.metrics.clone()).collect()
    }

    /// Checks addresses and follows names until `stop`.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut watching = JoinSet::new();
        for application in &self.all {
            for at in 0..application.standings.len() {
                if let Some(names) = application.standings.get(at).and_then(|standing| standing.names.as_ref())
                    && names.refresh.is_some()
                {
                    let application = application.clone();
                    watching.spawn(async move {
                        if let Some(names) = application.standings.get(at).and_then(|standing| standing.names.as_ref())
                        {
                            names.follow(&application.settings.name).await;
                        }
                    });
                }
                if application.settings.health.is_some() {
                    watching.spawn(health::check(application.clone(), at));
                }
            }
        }
        // An error is a sender that is gone: the end too. What is watching ends with the set.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

impl Standing {
    fn new(settings: &Upstream, address: &Address, workers: usize) -> Self {
        let names = match &address.place {
            Place::Tcp { host, port } | Place::Tls { host, port, .. } => {
                Some(Names::new(host.clone(), *port, settings.dns_refresh))
            }
            Place::Unix { .. } => None,
        };
        Self {
            names,
            metrics: Arc::new(AddressMetrics::new(&settings.name, address.to_string(), workers)),
            well: AtomicBool::new(true),
            aside_until: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            aside_since: AtomicU64::new(0),
        }
    }

    /// Whether the checks find it well.
    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// Since when requests may be sent there, or from when on; `None` when the checks say no.
    pub(super) fn usable_from(&self) -> Option<Uptime> {
        self.is_well().then(|| Uptime::from_micros(self.aside_until.load(Ordering::Relaxed)))
    }

    /// Says that a request is about to be sent there. Of those that meet the end of its time aside, one finds out how it is;
    /// the others are told no.
    pub(super) fn claim(&self, now: Uptime, trial: Duration) -> bool {
        let until = self.aside_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let later = now.plus(trial).as_micros();
        until <= now.as_micros()
            && self.aside_until.compare_exchange(until, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It was reached.
    pub(super) fn reached(&self) {
        if self.aside_until.load(Ordering::Relaxed) != 0 {
            self.aside_until.store(0, Ordering::Relaxed);
            self.pause.store(0, Ordering::Relaxed);
            self.metrics.up.set(i64::from(self.is_well()));
        }
    }

    /// It could not be connected to, and is put aside: for twice as long each time.
    pub(super) fn put_aside(&self, now: Uptime, first: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (now, last) = (now.as_micros(), self.pause.load(Ordering::Relaxed));
        if last > 0 && now < self.aside_since.load(Ordering::Relaxed).saturating_add(last) {
            // Requests that were on their way there when it was put aside are no news.
            return;
        }
        let pause = if last == 0 { micros(first) } else { last.saturating_mul(2).min(micros(LONGEST_PAUSE)) };
        self.pause.store(pause, Ordering::Relaxed);
        self.aside_since.store(now, Ordering::Relaxed);
        self.aside_until.store(now.saturating_add(pause).max(1), Ordering::Relaxed);
        self.metrics.up.set(0);
    }

    /// What the checks found.
    pub(super) fn found(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
        if well {
            self.aside_until.store(0, Ordering::Relaxed);
            self.pause.store(0, Ordering::Relaxed);
        }
        self.metrics.up.set(i64::from(well));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);

    fn standing() -> Standing {
        Standing {
            names: None,
            metrics: Arc::new(AddressMetrics::new("app", String::new(), 1)),
            well: AtomicBool::new(true),
            aside_until: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            aside_since: AtomicU64::new(0),
        }
    }

    fn at(millis: u64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    #[test]
    fn an_address_is_put_aside_for_longer_each_time_and_at_most_for_thirty_seconds() {
        let standing = standing();
        let mut now = at(10_000);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            standing.put_aside(now, FIRST);
            now = now.plus(Duration::from_secs(seconds));
            assert_eq!(standing.usable_from(), Some(now), "{seconds}");
            assert!(standing.claim(now, FIRST));
        }
        standing.reached();
        assert_eq!(standing.usable_from(), Some(at(0)));
        standing.put_aside(now, FIRST);
        assert_eq!(standing.usable_from(), Some(now.plus(FIRST)), "it begins anew");
    }

    #[test]
    fn failures_at_the_same_time_count_as_one() {
        let standing = standing();
        for _ in 0..10 {
            standing.put_aside(at(10_000), FIRST);
        }
        assert_eq!(standing.usable_from(), Some(at(11_000)));
    }

    #[test]
    fn of_the_requests_that_meet_the_end_of_its_time_aside_one_goes_there() {
        let standing = standing();
        assert!(standing.claim(at(1), FIRST) && standing.claim(at(1), FIRST), "it is not aside");
        standing.put_aside(at(10_000), FIRST);
        assert!(!standing.claim(at(10_999), FIRST));
        assert!(standing.claim(at(11_000), FIRST));
        assert!(!standing.claim(at(11_000), FIRST));
        assert!(standing.claim(at(12_000), FIRST), "whoever tried may have given up");
    }

    #[test]
    fn a_good_check_ends_the_time_aside_and_a_bad_one_every_use() {
        let standing = standing();
        standing.put_aside(at(10_000), FIRST);
        standing.found(true);
        assert_eq!(standing.usable_from(), Some(at(0)));
        standing.found(false);
        assert_eq!((standing.usable_from(), standing.metrics.up.get()), (None, 0));
    }
}
