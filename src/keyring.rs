//! The keys that signed tokens are verified with: those of the settings, our own, and those that an issuer publishes.
//!
//! Published keys are fetched at the start and every so often by one task ([`KeyRing::keep_fresh`]), and when a token names
//! a key that is not known, at most once in a while. Verifying never waits, but for that one case, in which all who wait
//! wait for the same fetch. What was fetched last and was good stays until something better comes.

mod fetch;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::clock::{self, Timestamp};
use crate::config::{JwtSettings, KeySetSettings, SigningSettings};
use crate::error::{Code, Problem, causes};
use crate::jwt::{Rejection, Rules, Verified, Verifier, VerifyingKey, jwks};
use crate::metrics::SharedMetrics;
use crate::outbound::{CallError, Caller};

/// All keys. Cloning is cheap; all clones are the same.
#[derive(Clone, Debug)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Our own keys and those of the settings.
    fixed: Vec<VerifyingKey>,
    rules: Rules,
    source: Option<KeySetSettings>,
    current: RwLock<Current>,
    /// Wakes the task before its time.
    wanted: Notify,
    progress: watch::Sender<Progress>,
    metrics: Arc<SharedMetrics>,
}

/// The keys in force.
#[derive(Clone, Debug)]
struct Current {
    verifier: Arc<Verifier>,
    /// How many times the keys have changed.
    generation: u64,
}

/// Where the task stands.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// How many fetches have ended.
    ended: u64,
    /// Whether one of them was good.
    ever_good: bool,
    /// Whether the last one was so short a time ago that there will be no other for now.
    cooling: bool,
}

/// A good token, and under which keys it was found good.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What it says.
    pub verified: Verified,
    /// The keys' generation; when they have another one, the token has to be judged anew.
    pub generation: u64,
}

/// While no set was ever fetched: the pause before the second try, doubled for each one after that.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

impl KeyRing {
    /// The keys of these settings. `None` when there are none, nor a place where some are published: then no token is
    /// good.
    pub fn new(jwt: &JwtSettings, signing: Option<&SigningSettings>, metrics: Arc<SharedMetrics>) -> Option<Self> {
        let own = signing.into_iter().flat_map(SigningSettings::public).map(|key| key.verifying.clone());
        let fixed: Vec<VerifyingKey> = own.chain(jwt.keys.iter().cloned()).collect();
        if fixed.is_empty() && jwt.key_set.is_none() {
            return None;
        }
        let rules = jwt.rules.clone();
        let verifier = Arc::new(Verifier { keys: fixed.clone(), rules: rules.clone() });
        let (progress, _) = watch::channel(Progress { ended: 0, ever_good: false, cooling: false });
        let inner = Inner {
            fixed,
            rules,
            source: jwt.key_set.clone(),
            current: RwLock::new(Current { verifier, generation: 0 }),
            wanted: Notify::new(),
            progress,
            metrics,
        };
        Some(Self { inner: Arc::new(inner) })
    }

    fn current(&self) -> Current {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many times the keys have changed.
    pub fn generation(&self) -> u64 {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Judges a token at `now`. Waits only when it names a key that is not known and a fetch may bring it.
    ///
    /// Cancel safety: may be dropped; the fetch goes on.
    ///
    /// # Errors
    /// [`Code::InvalidToken`] and [`Code::TokenExpired`]; [`Code::KeysUnavailable`] when the key may be one of a set that
    /// was never fetched.
    pub async fn judge(&self, token: &[u8], now: Timestamp) -> Result<Judged, Problem> {
        let before = *self.inner.progress.borrow();
        let judged = self.judge_now(token, now);
        if !matches!(judged, Err(Rejection::UnknownKey)) || self.inner.source.is_none() {
            return judged.map_err(Problem::from);
        }
        self.fetched_after(before).await;
        let never = !self.inner.progress.borrow().ever_good;
        self.judge_now(token, now).map_err(|rejection| match rejection {
            Rejection::UnknownKey if never => Problem::new(Code::KeysUnavailable),
            Rejection::UnknownKey | Rejection::Invalid(_) | Rejection::NoSession(_) | Rejection::Expired => {
                rejection.into()
            }
        })
    }

    fn judge_now(&self, token: &[u8], now: Timestamp) -> Result<Judged, Rejection> {
        let Current { verifier, generation } = self.current();
        self.inner.metrics.jwt_checks.increment();
        verifier.verify(token, now).map(|verified| Judged { verified, generation })
    }

    /// Waits for the end of a fetch that ends after `before`, unless there was one only just now.
    async fn fetched_after(&self, before: Progress) {
        let mut progress = self.inner.progress.subscribe();
        if progress.borrow_and_update().ended == before.ended {
            if before.cooling {
                return;
            }
            self.inner.wanted.notify_waiters();
        }
        // The task ends every fetch within its time. When it is gone, so is its sender, and nobody waits.
        let _ = progress.wait_for(|now| now.ended > before.ended || now.cooling).await;
    }

    /// Fetches the published keys, again and again until `stop`. `changed` is called after every change of the keys.
    pub async fn keep_fresh(self, mut stop: watch::Receiver<bool>, changed: impl Fn() + Send) {
        let Some(source) = self.inner.source.clone() else { return };
        let caller = Caller::default();
        let mut first_pause = FIRST_PAUSE;
        loop {
            let began = clock::uptime();
            let fetched = tokio::select! {
                fetched = fetch::get(&caller, &source.url) => fetched,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let good = self.take(fetched, &source, &changed);
            let ever_good = good || self.inner.progress.borrow().ever_good;
            let cooling = if ever_good { source.cooldown } else { first_pause.min(source.cooldown) };
            first_pause = first_pause.saturating_mul(2);
            self.inner.progress.send_modify(|progress| {
                *progress = Progress { ended: progress.ended + 1, ever_good, cooling: true };
            });
            let cooling = cooling.saturating_sub(clock::uptime().since(began));
            tokio::select! {
                () = sleep(cooling) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            // Ready to be woken before anybody is told that it helps.
            let mut wanted = std::pin::pin!(self.inner.wanted.notified());
            wanted.as_mut().enable();
            self.inner.progress.send_modify(|progress| progress.cooling = false);
            let pause = if good { source.refresh.saturating_sub(clock::uptime().since(began)) } else { Duration::ZERO };
            tokio::select! {
                () = sleep(pause) => {}
                () = wanted => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Nobody fetches any more, so nobody is to wait for it.
        self.inner.progress.send_modify(|progress| progress.cooling = true);
    }

    /// Puts fetched keys into force. Whether they were good.
    fn take(&self, fetched: Result<bytes::Bytes, CallError>, source: &KeySetSettings, changed: &impl Fn()) -> bool {
        let metrics = &self.inner.metrics;
        let host = source.url.authority.as_str();
        let keys = match fetched {
            Ok(text) => jwks::parse(&text, &source.algorithms).map_err(str::to_owned),
            Err(error) => Err(causes(&error)),
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(problem) => {
                metrics.jwks_failures.increment();
                tracing::warn!(host, problem, "the issuer's key set could not be fetched: jwt.jwks_url");
                return false;
            }
        };
        metrics.jwks_fetches.increment();
        metrics.jwks_keys.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let keys: Vec<VerifyingKey> = self.inner.fixed.iter().cloned().chain(keys).collect();
        let mut current = self.inner.current.write().unwrap_or_else(PoisonError::into_inner);
        let known = &current.verifier.keys;
        if known.len() == keys.len() && known.iter().zip(&keys).all(|(known, key)| known.is(key)) {
            return true;
        }
        let names: Vec<&str> = keys.iter().filter_map(|key| key.kid.as_deref()).collect();
        tracing::info!(host, keys = ?names, "the keys for signed tokens have changed");
        *current = Current {
            verifier: Arc::new(Verifier { keys, rules: self.inner.rules.clone() }),
            generation: current.generation + 1,
        };
        drop(current);
        changed();
        true
    }
}
