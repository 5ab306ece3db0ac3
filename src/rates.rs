//! How often somebody may do something: a bound for each client or session, over all workers of this process.
//!
//! A bound of 60 a minute is a bucket of 60 that gains one each second. What is kept for each is one moment: when the bucket
//! will be full again (the "generic cell rate algorithm"). Who has a full bucket is forgotten, and there are never more than
//! ten thousand entries: where there is no room, those go first whose buckets are nearest to full, who lose a mark in their
//! favour and no more.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Uptime;
use crate::config::{Rate, RateLimits};
use crate::error::{Code, Problem};
use crate::http::client::counted_as;
use crate::session::SessionId;

const STRIPES: usize = 16;
/// The most that one table keeps, over its stripes.
const MOST: usize = 10_000;

/// All bounds of one process.
#[derive(Debug)]
pub struct Rates {
    unknown_tokens: Bound<IpAddr>,
    wrong_keys: Bound<IpAddr>,
    rotations: Bound<SessionId>,
}

impl Rates {
    /// Nobody has done anything yet.
    pub fn new(limits: &RateLimits) -> Self {
        Self {
            unknown_tokens: Bound::new(limits.unknown_tokens),
            wrong_keys: Bound::new(limits.wrong_keys),
            rotations: Bound::new(limits.rotations),
        }
    }

    /// Whether `client` may present another token that is not known.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub fn may_guess_token(&self, client: IpAddr, now: Uptime) -> Result<(), Problem> {
        self.unknown_tokens.check(counted_as(client), now)
    }

    /// A token of `client` was of no session.
    pub fn guessed_token(&self, client: IpAddr, now: Uptime) {
        self.unknown_tokens.count(counted_as(client), now);
    }

    /// Whether `client` may present another service key.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub fn may_guess_key(&self, client: IpAddr, now: Uptime) -> Result<(), Problem> {
        self.wrong_keys.check(counted_as(client), now)
    }

    /// A service key of `client` was none.
    pub fn guessed_key(&self, client: IpAddr, now: Uptime) {
        self.wrong_keys.count(counted_as(client), now);
    }

    /// Counts a new token of `session`, if it may have one.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub fn rotate(&self, session: SessionId, now: Uptime) -> Result<(), Problem> {
        self.rotations.check(session, now)?;
        self.rotations.count(session, now);
        Ok(())
    }
}

#[derive(Debug)]
struct Bound<K> {
    /// The bucket's size, as the time in which it fills, and what one costs of it, both in microseconds; `None` is no bound.
    cost: Option<(u64, u64)>,
    hasher: ahash::RandomState,
    stripes: [Mutex<HashMap<K, u64, ahash::RandomState>>; STRIPES],
}

impl<K: Copy + Eq + Hash> Bound<K> {
    fn new(rate: Option<Rate>) -> Self {
        let hasher = ahash::RandomState::new();
        let cost = rate.map(|rate| {
            let whole = u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX);
            (whole, whole / u64::from(rate.count.get()))
        });
        Self { cost, stripes: std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))), hasher }
    }

    /// Whether there is one left.
    fn check(&self, key: K, now: Uptime) -> Result<(), Problem> {
        let (Some((whole, one)), Some(stripe)) = (self.cost, self.stripe(&key)) else { return Ok(()) };
        let full_at = stripe.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let owed = full_at.map_or(0, |at| at.saturating_sub(now.as_micros()));
        match (owed + one).checked_sub(whole) {
            None | Some(0) => Ok(()),
            Some(too_much) => Err(refusal(Duration::from_micros(too_much))),
        }
    }

    /// Takes one, if there is one or not.
    fn count(&self, key: K, now: Uptime) {
        let (Some((whole, one)), Some(stripe)) = (self.cost, self.stripe(&key)) else { return };
        let now = now.as_micros();
        let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if stripe.len() >= MOST / STRIPES && !stripe.contains_key(&key) {
            make_room(&mut stripe, now);
        }
        let full_at = stripe.entry(key).or_insert(now);
        // What was under way when the bucket ran empty makes no debt beyond it.
        *full_at = ((*full_at).max(now) + one).min(now + whole);
    }

    fn stripe(&self, key: &K) -> Option<&Mutex<HashMap<K, u64, ahash::RandomState>>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        self.stripes.get(hash % STRIPES)
    }
}

/// Forgets whoever has a full bucket, and if there are too few of them an eighth of the rest.
fn make_room<K: Copy + Eq + Hash>(stripe: &mut HashMap<K, u64, ahash::RandomState>, now: u64) {
    stripe.retain(|_, full_at| *full_at > now);
    let keep = MOST / STRIPES * 7 / 8;
    if stripe.len() <= keep {
        return;
    }
    let mut moments: Vec<u64> = stripe.values().copied().collect();
    let last_to_go = stripe.len() - keep - 1;
    let (_, bar, _) = moments.select_nth_unstable(last_to_go);
    let bar = *bar;
    let mut to_go = stripe.len() - keep;
    stripe.retain(|_, full_at| {
        let goes = *full_at <= bar && to_go > 0;
        to_go -= usize::from(goes);
        !goes
    });
}

fn refusal(wait: Duration) -> Problem {
    let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).saturating_add(1);
    Problem { retry_after: Some(seconds), ..Problem::new(Code::RateLimited) }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn at(seconds: f64) -> Uptime {
        Uptime::from_micros((seconds * 1e6) as u64 + 1_000_000_000)
    }

    fn bound<K: Copy + Eq + Hash>(count: u32, seconds: u64) -> Bound<K> {
        Bound::new(NonZeroU32::new(count).map(|count| Rate { count, per: Duration::from_secs(seconds) }))
    }

    #[test]
    fn a_bucket_runs_empty_and_gains_one_after_another() {
        let bound = bound::<u8>(3, 30);
        for _ in 0..3 {
            bound.check(1, at(0.0)).unwrap();
            bound.count(1, at(0.0));
        }
        let refused = bound.check(1, at(0.0)).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::RateLimited, Some(11)));
        assert_eq!(bound.check(1, at(9.5)).unwrap_err().retry_after, Some(1));
        assert!(bound.check(2, at(0.0)).is_ok(), "others have their own");
        bound.check(1, at(10.0)).unwrap();
        bound.count(1, at(10.0));
        assert!(bound.check(1, at(10.0)).is_err());
        assert!(bound.check(1, at(40.0)).is_ok());
    }

    #[test]
    fn what_was_under_way_makes_no_debt() {
        let bound = bound::<u8>(3, 30);
        for _ in 0..1000 {
            bound.count(1, at(0.0));
        }
        assert!(bound.check(1, at(9.9)).is_err());
        assert!(bound.check(1, at(10.0)).is_ok());
    }

    #[test]
    fn zero_is_no_bound_and_keeps_nothing() {
        let bound = Bound::<u8>::new(None);
        for _ in 0..1000 {
            bound.count(1, at(0.0));
        }
        assert!(bound.check(1, at(0.0)).is_ok());
        assert!(bound.stripes.iter().all(|stripe| stripe.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_table_is_bounded_and_those_with_the_most_to_answer_for_stay() {
        let bound = bound::<u32>(10, 60);
        for _ in 0..10 {
            bound.count(0, at(0.0));
        }
        for key in 1..100_000 {
            bound.count(key, at(0.0));
        }
        let kept: usize = bound.stripes.iter().map(|stripe| stripe.lock().unwrap().len()).sum();
        assert!(kept <= MOST, "{kept}");
        assert!(bound.check(0, at(0.0)).is_err(), "the one that is at its bound is not forgotten for the others");
        bound.count(100_000, at(1000.0));
    }
}
