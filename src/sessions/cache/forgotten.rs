//! Which sessions were forgotten lately, for loads that were under way.

use std::collections::VecDeque;

use super::Cache;
use crate::session::SessionId;

/// The last sessions that were forgotten, in order.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    ids: VecDeque<SessionId>,
    /// How many there were ever.
    count: u64,
}

impl Forgotten {
    /// How many are kept. A load that was under way while more were forgotten does not land, whatever it loaded.
    const KEPT: usize = 4096;

    /// Where the record stands now.
    pub(super) const fn now(&self) -> u64 {
        self.count
    }

    /// A session was forgotten.
    pub(super) fn push(&mut self, id: SessionId) {
        if self.ids.len() == Self::KEPT {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
        self.count += 1;
    }

    /// Sessions were forgotten of which nobody knows the ids: what is being loaded now may be one of them.
    pub(super) const fn push_unknown(&mut self) {
        // So many that the record does not go back to before them.
        self.count += Self::KEPT as u64 + 1;
    }

    /// Whether this session was forgotten, or may have been, since the record stood there.
    pub(super) fn since(&self, then: u64, id: SessionId) -> bool {
        let Ok(news) = usize::try_from(self.count.saturating_sub(then)) else { return true };
        news > self.ids.len() || self.ids.iter().rev().take(news).any(|forgotten| *forgotten == id)
    }
}

impl Cache {
    /// How far the record of what was forgotten has come.
    pub(in crate::sessions) fn forgotten_so_far(&self) -> u64 {
        self.in_step().now()
    }

    /// Whether this session was forgotten, or may have been, since the record stood there.
    pub(in crate::sessions) fn forgot_since(&self, then: u64, id: SessionId) -> bool {
        self.in_step().since(then, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> SessionId {
        SessionId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn what_was_forgotten_before_a_load_began_does_not_concern_it() {
        let mut forgotten = Forgotten::default();
        forgotten.push(id(1));
        let began = forgotten.now();
        assert!(!forgotten.since(began, id(1)));
        forgotten.push(id(2));
        assert!(forgotten.since(began, id(2)));
        assert!(!forgotten.since(began, id(1)));
    }

    #[test]
    fn what_was_forgotten_without_its_id_may_be_any_load_under_way_and_none_that_begins_afterwards() {
        let mut forgotten = Forgotten::default();
        forgotten.push(id(1));
        let before = forgotten.now();
        forgotten.push_unknown();
        let after = forgotten.now();
        assert!(forgotten.since(before, id(1)) && forgotten.since(before, id(2)));
        assert!(!forgotten.since(after, id(1)));
        forgotten.push(id(2));
        assert!(!forgotten.since(after, id(1)) && forgotten.since(after, id(2)));
    }

    #[test]
    fn a_load_that_took_longer_than_the_record_goes_back_is_not_trusted() {
        let mut forgotten = Forgotten::default();
        let began = forgotten.now();
        for number in 0..Forgotten::KEPT as u128 {
            forgotten.push(id(number));
        }
        assert!(!forgotten.since(began, id(1 << 100)));
        forgotten.push(id(0));
        assert!(forgotten.since(began, id(1 << 100)));
        assert_eq!(forgotten.ids.len(), Forgotten::KEPT);
    }
}
