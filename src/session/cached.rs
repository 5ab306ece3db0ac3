//! The compact form of a session that the cache holds.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::{Format, Identity, Record, SessionId, State, sooner};
use crate::clock::{Timestamp, Uptime};
use crate::token::Digest;
use crate::user_agent::Fingerprint;

/// A session as the cache holds it: all that a request needs and nothing else, in few bytes.
///
/// Everything in it is fixed when it is loaded, but for a few atomics: the time of last use, which only moves forward, the
/// memory of the last User-Agent that was found good, and the times at which the store confirmed it and was asked to.
#[derive(Debug)]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// Its owner, ready to be set as headers.
    pub identity: Identity,
    /// Its state when it was loaded.
    pub state: State,
    /// The digest that it was loaded for: its token's, or the [`Digest::of_id`] of its id.
    pub digest: Digest,
    /// Whether its user may have sessions at all.
    pub user_enabled: bool,
    /// What its user holds.
    pub format: Format,
    /// Seconds without use after which it is over; 0 is never.
    slide_secs: u32,
    /// [`NEVER`] for never.
    expires_at: Timestamp,
    /// All zeros for none, which no SHA-256 is.
    user_agent: Fingerprint,
    /// IPv4 as IPv4-mapped; the unspecified address for none, which no client has.
    bound_ip: [u8; 16],
    last_seen_millis: AtomicI64,
    accepted_agent: AtomicU64,
    confirmed_micros: AtomicU64,
    /// Wraps after seven weeks, which at worst delays one confirmation by its pause.
    confirming_millis: AtomicU32,
}

/// The expiry of a session that never expires.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

impl Session {
    /// The cached form of a stored session, read at `read_at` for `digest`. `user_agent` is the fingerprint of the record's
    /// User-Agent under the policy in force.
    pub fn new(record: &Record, digest: Digest, user_agent: Option<Fingerprint>, read_at: Uptime) -> Self {
        Self {
            id: record.id,
            identity: Identity::new(record.id, &record.principal),
            state: record.state,
            digest,
            user_enabled: record.user_enabled,
            format: record.format,
            slide_secs: seconds(record.slide),
            expires_at: record.expires_at.unwrap_or(NEVER),
            user_agent: user_agent.unwrap_or(Fingerprint::NONE),
            bound_ip: octets(record.bound_ip),
            last_seen_millis: AtomicI64::new(record.last_seen_at.as_millis()),
            accepted_agent: AtomicU64::new(0),
            confirmed_micros: AtomicU64::new(read_at.as_micros()),
            confirming_millis: AtomicU32::new(0),
        }
    }

    /// When it expires; `None` is never.
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != NEVER).then_some(self.expires_at)
    }

    /// After how long without use it is over; `None` is never.
    pub fn slide(&self) -> Option<Duration> {
        (self.slide_secs != 0).then(|| Duration::from_secs(self.slide_secs.into()))
    }

    /// When it is over unless it is used before; `None` is never.
    pub fn over_at(&self) -> Option<Timestamp> {
        sooner(self.expires_at(), self.last_seen(), self.slide())
    }

    /// The User-Agent that it is bound to, in the form that the policy compares.
    pub fn user_agent(&self) -> Option<Fingerprint> {
        (self.user_agent != Fingerprint::NONE).then_some(self.user_agent)
    }

    /// The client address that it is bound to.
    pub fn bound_ip(&self) -> Option<IpAddr> {
        let address = Ipv6Addr::from(self.bound_ip);
        (!address.is_unspecified()).then(|| IpAddr::V6(address).to_canonical())
    }

    /// When it was last used, as far as this instance knows.
    pub fn last_seen(&self) -> Timestamp {
        Timestamp::from_millis(self.last_seen_millis.load(Ordering::Relaxed))
    }

    /// Moves the time of last use from `seen` to `now`. Only one of several callers with the same `seen` succeeds, so
    /// that one use is written down once.
    pub fn advance_last_seen(&self, seen: Timestamp, now: Timestamp) -> bool {
        now > seen
            && self
                .last_seen_millis
                .compare_exchange(seen.as_millis(), now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// When the store last said that the session is as it stands here.
    pub fn confirmed_at(&self) -> Uptime {
        Uptime::from_micros(self.confirmed_micros.load(Ordering::Relaxed))
    }

    /// Says to one caller every `pause` that it may ask the store for a confirmation.
    pub fn claim_confirmation(&self, now: Uptime, pause: Duration) -> bool {
        let last = self.confirming_millis.load(Ordering::Relaxed);
        // Zero is "never asked"; the low bits of a time that is zero by chance are moved by a millisecond.
        let millis = low_bits(now.as_millis()).max(1);
        (last == 0 || u128::from(millis.wrapping_sub(last)) >= pause.as_millis())
            && self.confirming_millis.compare_exchange(last, millis, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Compares the session with a row read at `read_at`. When nothing that a request could notice has changed, the
    /// session is confirmed as of then; otherwise it must be forgotten and loaded anew.
    pub fn confirm(&self, record: &Record, user_agent: Option<Fingerprint>, read_at: Uptime) -> bool {
        let same = self.state == record.state
            && self.expires_at() == record.expires_at
            && self.user_enabled == record.user_enabled
            && self.slide_secs == seconds(record.slide)
            && self.user_agent() == user_agent
            && self.bound_ip == octets(record.bound_ip)
            && self.identity.is_of(record.id, &record.principal);
        if same {
            // Another instance may have seen the session later than this one did.
            self.last_seen_millis.fetch_max(record.last_seen_at.as_millis(), Ordering::Relaxed);
            self.confirmed_micros.fetch_max(read_at.as_micros(), Ordering::Relaxed);
        }
        same
    }

    /// Whether the User-Agent with this memo was found good before. Zero is no memo.
    pub fn remembers_agent(&self, memo: u64) -> bool {
        memo != 0 && self.accepted_agent.load(Ordering::Relaxed) == memo
    }

    /// Remembers that the User-Agent with this memo was found good.
    pub fn remember_agent(&self, memo: u64) {
        self.accepted_agent.store(memo, Ordering::Relaxed);
    }
}

/// A length of time in whole seconds, at least one; longer than a century is a century. 0 is none.
fn seconds(slide: Option<Duration>) -> u32 {
    slide.map_or(0, |slide| u32::try_from(slide.as_secs()).unwrap_or(u32::MAX).max(1))
}

/// What an optional address is stored as.
fn octets(address: Option<IpAddr>) -> [u8; 16] {
    match address {
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(v6)) => v6.octets(),
        None => Ipv6Addr::UNSPECIFIED.octets(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
const fn low_bits(millis: u64) -> u32 {
    millis as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_a_block_of_160_bytes_with_its_two_counters() {
        assert!(size_of::<Session>() + 2 * size_of::<usize>() <= 160, "{}", size_of::<Session>());
    }

    #[test]
    fn an_address_reads_back_as_it_was() {
        for text in ["192.0.2.7", "2001:db8::7"] {
            let address: IpAddr = text.parse().unwrap();
            let back = IpAddr::V6(Ipv6Addr::from(octets(Some(address)))).to_canonical();
            assert_eq!(back, address);
        }
    }
}
