//! Ids that look random and come without a lock, a system call or an allocation.
//!
//! They are no secrets: whoever has one may guess others. What counts is that no two are alike, and that the last bits of
//! a trace's id, by which it is sampled, are spread evenly.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::trace_context::{SpanId, TraceId};

/// Two sequences of one worker, each at a random place of its own: splitmix64 (Steele, Lea, Flood 2014), which comes to the
/// same number again after 2^64 others.
#[derive(Debug)]
pub(super) struct Ids {
    high: Sequence,
    low: Sequence,
}

#[derive(Debug)]
struct Sequence(AtomicU64);

impl Sequence {
    fn seeded() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        Ok(Self(AtomicU64::new(u64::from_ne_bytes(seed))))
    }

    /// The next number but zero, which is no id. One thread draws: a load and a store are enough, as with its counters.
    fn next(&self) -> u64 {
        loop {
            let state = self.0.load(Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.0.store(state, Ordering::Relaxed);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let number = mixed ^ (mixed >> 31);
            if number != 0 {
                return number;
            }
        }
    }
}

impl Ids {
    /// Sequences at a random place.
    pub(super) fn seeded() -> Result<Self, getrandom::Error> {
        Ok(Self { high: Sequence::seeded()?, low: Sequence::seeded()? })
    }

    /// The id of a trace.
    pub(super) fn trace(&self) -> TraceId {
        loop {
            let bits = (u128::from(self.high.next()) << 64) | u128::from(self.low.next());
            if let Some(id) = TraceId::new(bits) {
                return id;
            }
        }
    }

    /// The id of a span.
    pub(super) fn span(&self) -> SpanId {
        loop {
            if let Some(id) = SpanId::new(self.low.next()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_of_many_ids_are_alike_at_one_worker_or_two() {
        let workers = [Ids::seeded().unwrap(), Ids::seeded().unwrap()];
        let traces: HashSet<_> = (0..20_000).map(|n| workers[n % 2].trace().hex()).collect();
        let spans: HashSet<_> = (0..20_000).map(|n| workers[n % 2].span().hex()).collect();
        assert_eq!((traces.len(), spans.len()), (20_000, 20_000));
    }

    #[test]
    fn every_bit_is_set_in_about_half_of_them() {
        let ids = Ids::seeded().unwrap();
        let drawn: Vec<u128> = (0..4_000).map(|_| ids.trace().bits()).collect();
        for bit in 0..128 {
            let set = drawn.iter().filter(|id| (*id >> bit) & 1 == 1).count();
            // Six standard deviations.
            assert!((1_810..=2_190).contains(&set), "bit {bit}: {set} of 4000");
        }
    }
}
