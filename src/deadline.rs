//! Time limits at the price of a store to memory.
//!
//! A timer of the runtime costs a lock and a place in its wheel each time it is armed, and a proxy arms several for every
//! request. Here a limit is a number in a slot; a task of each worker looks over all slots ten times a second and wakes
//! the owners of those that have passed. Limits are therefore up to two tenths of a second late, never early.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::clock::Uptime;

/// How often the slots are looked over.
pub const TICK: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

const DRAINING: u8 = 1;
const CLOSING: u8 = 2;

/// The slots of one worker.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// The time of the last look, in milliseconds of uptime: the clock by which limits are set.
    now: AtomicU64,
    stopping: AtomicU8,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    used: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    at: AtomicU64,
    passed: AtomicBool,
    owner: AtomicWaker,
}

/// One limit, which its owner arms and disarms as it goes along.
#[derive(Debug)]
pub struct Deadline {
    slot: Arc<Slot>,
    place: usize,
    all: Arc<Deadlines>,
}

impl Deadlines {
    /// A limit that is not armed yet.
    pub fn limit(self: &Arc<Self>) -> Deadline {
        let slot =
            Arc::new(Slot { at: AtomicU64::new(NEVER), passed: AtomicBool::new(false), owner: AtomicWaker::new() });
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = slots.free.pop().unwrap_or_else(|| {
            slots.used.push(None);
            slots.used.len() - 1
        });
        if let Some(entry) = slots.used.get_mut(place) {
            *entry = Some(slot.clone());
        }
        drop(slots);
        Deadline { slot, place, all: self.clone() }
    }

    /// Looks over all slots and wakes the owners of those whose time has passed.
    pub fn tick(&self, now: Uptime) {
        self.now.store(now.as_millis(), Ordering::Relaxed);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.used.iter().flatten() {
            if slot.at.load(Ordering::Relaxed) <= now.as_millis() {
                slot.at.store(NEVER, Ordering::Relaxed);
                slot.passed.store(true, Ordering::Release);
                slot.owner.wake();
            }
        }
    }

    /// Tells every owner that the worker is draining, which [`Deadlines::is_draining`] then says.
    pub fn drain(&self) {
        self.stop(DRAINING);
    }

    /// Tells every owner that those who wait for nothing in particular shall end, which [`Deadlines::is_closing`] then says.
    pub fn close_idle(&self) {
        self.stop(CLOSING);
    }

    fn stop(&self, stage: u8) {
        self.stopping.store(stage, Ordering::Release);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.used.iter().flatten() {
            slot.owner.wake();
        }
    }

    /// Whether the worker is draining: each request that is answered is the last of its connection.
    pub fn is_draining(&self) -> bool {
        self.stopping.load(Ordering::Acquire) >= DRAINING
    }

    /// Whether it no longer waits for requests either.
    pub fn is_closing(&self) -> bool {
        self.stopping.load(Ordering::Acquire) == CLOSING
    }
}

impl Deadline {
    /// Lets the limit pass `after` from now, in place of what it was armed for before.
    pub fn arm(&self, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(NEVER);
        // The last look may be a whole tick ago; adding one keeps the promise of "never early".
        let tick = u64::try_from(TICK.as_millis()).unwrap_or(0);
        let at = self.all.now.load(Ordering::Relaxed).saturating_add(after).saturating_add(tick);
        self.set(at);
    }

    /// The limit will not pass.
    pub fn disarm(&self) {
        self.set(NEVER);
    }

    /// Also forgets that the limit has passed: that belonged to what it was armed for before.
    fn set(&self, at: u64) {
        self.slot.at.store(at, Ordering::Relaxed);
        self.slot.passed.store(false, Ordering::Relaxed);
    }

    /// Whether the limit is armed.
    pub fn is_armed(&self) -> bool {
        self.slot.at.load(Ordering::Relaxed) != NEVER
    }

    /// Wakes the owner, whatever the time.
    pub fn wake(&self) {
        self.slot.owner.wake();
    }

    /// Whether the limit has passed; once.
    pub fn has_passed(&self) -> bool {
        self.slot.passed.load(Ordering::Acquire) && self.slot.passed.swap(false, Ordering::Acquire)
    }

    /// Ready, once, when the limit has passed; until then the caller is woken when it does, or when the worker drains.
    pub fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.owner.register(cx.waker());
        if self.has_passed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.all.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = slots.used.get_mut(self.place) {
            *entry = None;
        }
        slots.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(millis: u64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn polled(limit: &Deadline, waker: &Waker) -> bool {
        limit.poll_passed(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn a_limit_passes_once_late_by_at_most_two_ticks_and_never_early() {
        let all = Arc::new(Deadlines::default());
        let (limit, count) = (all.limit(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        all.tick(at(1_000));
        limit.arm(Duration::from_millis(500));
        for early in [1_100, 1_499, 1_599] {
            all.tick(at(early));
            assert!(!polled(&limit, &waker), "{early}");
        }
        all.tick(at(1_600));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "the owner is woken");
        assert!(polled(&limit, &waker));
        all.tick(at(9_000));
        assert!(!polled(&limit, &waker), "only once");
    }

    #[test]
    fn a_disarmed_or_rearmed_limit_does_not_pass_at_its_old_time() {
        let all = Arc::new(Deadlines::default());
        let limit = all.limit();
        limit.arm(Duration::from_millis(100));
        limit.disarm();
        all.tick(at(5_000));
        assert!(!polled(&limit, Waker::noop()));
        limit.arm(Duration::from_millis(100));
        limit.arm(Duration::from_millis(10_000));
        all.tick(at(6_000));
        assert!(!polled(&limit, Waker::noop()));
    }

    #[test]
    fn a_dropped_limit_gives_its_place_back() {
        let all = Arc::new(Deadlines::default());
        for _ in 0..1_000 {
            let _limit = all.limit();
        }
        assert_eq!(all.slots.lock().unwrap().used.len(), 1);
    }

    #[test]
    fn draining_wakes_every_owner() {
        let all = Arc::new(Deadlines::default());
        let (limit, count) = (all.limit(), Arc::new(Count::default()));
        assert!(!polled(&limit, &Waker::from(count.clone())));
        all.drain();
        assert!(all.is_draining() && !all.is_closing());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!polled(&limit, &Waker::from(count.clone())));
        all.close_idle();
        assert!(all.is_draining() && all.is_closing());
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
