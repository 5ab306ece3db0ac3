//! Which address of an application a request goes to.

use super::pool::Group;
use crate::clock::Uptime;
use crate::error::{Code, Problem};

/// The addresses that a request has tried, as bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u64);

impl Tried {
    /// The address at this place has been tried.
    pub(super) fn add(&mut self, at: usize) {
        self.0 |= u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0);
    }

    fn contains(self, at: usize) -> bool {
        u32::try_from(at).ok().and_then(|at| self.0.checked_shr(at)).is_none_or(|bits| bits & 1 == 1)
    }
}

impl Group {
    /// The address that has the fewest requests of this worker on their way, of those that are in use and were not tried. Those
    /// with equally many take turns.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`] when there is none.
    pub(super) fn choose(&self, tried: &mut Tried, now: Uptime) -> Result<usize, Problem> {
        let standings = &self.application.standings;
        if let [only] = standings.as_slice() {
            // There is nothing to be gained by not trying it, unless it is known that it is not well.
            return if only.is_well() && !tried.contains(0) { Ok(0) } else { Err(self.unavailable(now)) };
        }
        let settings = &self.application.settings;
        loop {
            let first = self.turn();
            let mut best: Option<(u64, usize)> = None;
            for at in (first..standings.len()).chain(0..first) {
                let usable = standings.get(at).and_then(|standing| standing.usable_from());
                if tried.contains(at) || usable.is_none_or(|from| from > now) {
                    continue;
                }
                let busy = self.in_flight(at);
                if best.is_none_or(|(least, _)| busy < least) {
                    best = Some((busy, at));
                }
            }
            let Some((_, at)) = best else { return Err(self.unavailable(now)) };
            self.next_turn(if at + 1 < standings.len() { at + 1 } else { 0 });
            if standings.get(at).is_some_and(|standing| standing.claim(now, settings.connect_timeout)) {
                return Ok(at);
            }
            tried.add(at);
        }
    }

    /// Nothing is in use; with the time when something may be again.
    fn unavailable(&self, now: Uptime) -> Problem {
        let settings = &self.application.settings;
        let aside = self.application.standings.iter().filter_map(|standing| standing.usable_from());
        let wait = match (aside.min(), &settings.health) {
            (Some(until), _) => until.since(now),
            (None, Some(health)) => health.interval,
            (None, None) => settings.retry_after,
        };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        tracing::warn!(upstream = settings.name, "no address of the application is in use");
        let seconds = u16::try_from(seconds.max(1)).unwrap_or(u16::MAX);
        Problem { retry_after: Some(seconds), ..Problem::new(Code::UpstreamUnavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_remembered() {
        let mut tried = Tried::default();
        for at in [0, 5, 63] {
            assert!(!tried.contains(at));
            tried.add(at);
            assert!(tried.contains(at) && !tried.contains(1), "{at}");
        }
        assert!(tried.contains(64), "there is no such place to try");
    }
}
