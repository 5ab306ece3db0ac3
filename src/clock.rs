//! The only place where time is read.
//!
//! Everything else takes time as an argument, so that a rule about time can be tested by handing it a time. The lint
//! configuration bans `Instant::now` and `SystemTime::now` elsewhere.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in wall-clock time: milliseconds since the Unix epoch, UTC.
///
/// Arithmetic saturates: a lifetime of a million years is "very late", never a panic or a wrap-around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads a moment in RFC 3339, to the millisecond; what is finer is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }

    /// As HTTP has it (RFC 9110 section 5.6.7), to the second; `None` outside the years that this can say.
    pub fn to_http_date(self) -> Option<String> {
        let time = jiff::Timestamp::from_millisecond(self.0).ok()?;
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
    }

    /// This moment moved forward by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment moved back by `by`.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// RFC 3339, UTC, always with milliseconds: `2026-11-20T16:30:04.250Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Beyond the year 9999; nobody set it on purpose, but a list must still be printable.
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(millis(before.duration()).saturating_neg()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        let moved = if time.0 >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
        moved.unwrap_or(UNIX_EPOCH)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Time since the process started, in microseconds, by the monotonic clock: it never jumps and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// The uptime of `micros` microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the process started.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the process started.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// This moment moved forward by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read once for one request: the wall clock for what is stored and compared with an expiry, the monotonic
/// one for durations.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock.
    pub uptime: Uptime,
}

/// A clock that is set by another's: its time is the monotonic clock plus a distance that was measured, so that a step of
/// this machine's wall clock moves it not at all. Not set, it is this machine's wall clock.
#[derive(Debug, Default)]
pub struct Anchored {
    /// How far it is ahead of the uptime, in microseconds; 0 is not set.
    ahead: AtomicI64,
}

impl Anchored {
    /// The same moment as `now`, which was read by [`now`], with this clock's time.
    pub fn at(&self, now: Moment) -> Moment {
        match self.ahead.load(Ordering::Relaxed) {
            0 => now,
            ahead => Moment { wall: ahead_of(now.uptime, ahead), uptime: now.uptime },
        }
    }

    /// This clock's time now.
    pub fn now(&self) -> Moment {
        self.at(now())
    }

    /// Sets it: at `uptime` it is `time`.
    pub fn set(&self, time: Timestamp, uptime: Uptime) {
        let micros = time.as_millis().saturating_mul(1000);
        let ahead = micros.saturating_sub(i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX));
        self.ahead.store(if ahead == 0 { 1 } else { ahead }, Ordering::Relaxed);
    }
}

fn ahead_of(uptime: Uptime, ahead: i64) -> Timestamp {
    let micros = i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX).saturating_add(ahead);
    Timestamp::from_millis(micros.div_euclid(1000))
}

/// How far the wall clock is ahead of the uptime, in microseconds; 0 is not known yet.
static WALL_AHEAD: AtomicI64 = AtomicI64::new(0);

/// Both clocks now, at the price of one: the wall clock is the uptime plus how far it was ahead when [`synchronise`] was
/// last called.
pub fn now() -> Moment {
    let ahead = WALL_AHEAD.load(Ordering::Relaxed);
    if ahead == 0 {
        return Moment { wall: wall(), uptime: uptime() };
    }
    let uptime = uptime();
    Moment { wall: ahead_of(uptime, ahead), uptime }
}

/// Reads both clocks. Workers do this ten times a second, so that a step of the wall clock is followed within a tenth of
/// a second.
pub fn synchronise() {
    let (wall, uptime) = (wall_micros(), uptime().as_micros());
    WALL_AHEAD.store(wall.saturating_sub(i64::try_from(uptime).unwrap_or(i64::MAX)), Ordering::Relaxed);
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The wall clock, for what is stored, shown and compared with an expiry.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn wall() -> Timestamp {
    SystemTime::now().into()
}

/// The monotonic clock, for durations inside this process.
pub fn uptime() -> Uptime {
    static START: LazyLock<Instant> = LazyLock::new(monotonic);
    Uptime(u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// The monotonic clock in the form in which the runtime's timers take a deadline.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_that_of_the_wall_clock() {
        for _ in 0..3 {
            let (before, now, after) = (wall(), now().wall, wall());
            // The synchronised clock keeps microseconds that the wall clock of the rows drops.
            assert!(before.minus(Duration::from_millis(1)) <= now && now <= after.plus(Duration::from_millis(1)));
            synchronise();
        }
    }

    #[test]
    fn a_clock_that_is_set_goes_on_from_there_whatever_the_wall_clock_says() {
        let clock = Anchored::default();
        let moment = |wall, uptime| Moment { wall: Timestamp::from_millis(wall), uptime: Uptime::from_micros(uptime) };
        assert_eq!(clock.at(moment(7, 5_000_000)).wall.as_millis(), 7);
        clock.set(Timestamp::from_millis(1_763_656_204_000), Uptime::from_micros(5_000_000));
        for wall in [0, 7, i64::MAX] {
            assert_eq!(clock.at(moment(wall, 6_500_000)).wall.as_millis(), 1_763_656_205_500);
        }
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_763_656_204_000).to_string(), "2025-11-20T16:30:04.000Z");
        assert_eq!(Timestamp::from_millis(1_763_656_204_250).to_string(), "2025-11-20T16:30:04.250Z");
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_millis(5).since(end), Duration::ZERO);
    }

    #[test]
    fn conversion_to_system_time_and_back_keeps_the_millisecond() {
        for millis in [-1_500, 0, 1, 1_763_656_204_250] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }
}
