//! The files of the certificates over time: read at the start, again when they change or when somebody says so, and watched for
//! the day on which they end.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::{Authorities, Certificate, TlsFault};
use super::{Tls, TlsError, config, tickets};
use crate::clock::{self, Timestamp};
use crate::config::TlsSettings;
use crate::metrics::SharedMetrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What was read from the files, and what they looked like then.
pub(super) struct Loaded {
    pub(super) certificates: Vec<Certificate>,
    pub(super) authorities: Option<Authorities>,
    pub(super) tickets: Arc<dyn ProducesTickets>,
    /// How many files could not be used the last time, so that older contents are in force.
    outdated: usize,
    /// The files when they were read last.
    read: Vec<Stamp>,
    /// The files at the last look.
    seen: Vec<Stamp>,
    /// For each certificate, of which end it was warned last.
    warned: Vec<Option<(Ending, Timestamp)>>,
}

/// By what a change of a file shows; `None` when there is no such file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<[i64; 6]>);

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    InTwoWeeks,
    InThreeDays,
    Over,
}

impl Loaded {
    /// Reads everything, and goes on after a file that cannot be used to find the others.
    pub(super) fn first(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let read = stamps(settings);
        let mut faults = Vec::new();
        let mut certificates = Vec::new();
        for (at, files) in settings.certificates.iter().enumerate() {
            match Certificate::load(at, files, provider) {
                Ok(certificate) => certificates.push(certificate),
                Err(fault) => faults.push(fault),
            }
        }
        let authorities = settings
            .client_auth
            .authorities()
            .and_then(|path| Authorities::load(path).map_err(|fault| faults.push(fault)).ok());
        if !faults.is_empty() {
            return Err(TlsError::Files(faults));
        }
        // What is near its end is told with the other remarks of the start.
        let now = clock::wall();
        let warned = certificates.iter().map(|certificate| step(certificate, now)).collect();
        let seen = read.clone();
        Ok(Self { certificates, authorities, tickets: tickets()?, outdated: 0, read, seen, warned })
    }

    /// What an operator should know of the certificates, each with the setting it is about.
    fn remarks(&self, now: Timestamp) -> Vec<String> {
        let of = |(at, certificate): (usize, &Certificate)| {
            let end = step(certificate, now).map(|(ending, end)| ending.sentence(end));
            let early =
                (certificate.not_before > now).then(|| format!("is not good before {}", certificate.not_before));
            let remarks = certificate.remarks.iter().cloned().chain(end).chain(early);
            remarks.map(|remark| format!("server.tls[{at}]: {remark}")).collect::<Vec<_>>()
        };
        self.certificates.iter().enumerate().flat_map(of).collect()
    }

    /// Sets the figures that tell of it.
    pub(super) fn count(&self, shared: &SharedMetrics) {
        let soonest = self.certificates.iter().map(|certificate| certificate.not_after.as_millis() / 1000).min();
        shared.tls_expiry.set(soonest.unwrap_or(0));
        shared.tls_outdated.set(i64::try_from(self.outdated).unwrap_or(i64::MAX));
    }
}

impl Tls {
    /// What is wrong with the certificates without being in the way: a key that others can read, an end that is near.
    pub fn remarks(&self) -> Vec<String> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).remarks(clock::wall())
    }

    /// Looks at the files again and again, until `stop`.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let tls = self.clone();
            // Disks may be slow. It does not panic, and a runtime that is going down ends here too.
            let _ = tokio::task::spawn_blocking(move || tls.look(clock::wall())).await;
        }
    }

    fn look(&self, now: Timestamp) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.settings);
        if stamps != loaded.read && stamps == loaded.seen {
            // A certificate and its key are two files, written one after the other: they have stood still since the last look.
            self.read_again(&mut loaded);
        }
        loaded.seen = stamps;
        warn_of_ends(&mut loaded, now);
    }

    /// Reads the files again. What cannot be used leaves in force what was read before; connections go on as they are.
    pub fn reload(&self) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.read_again(&mut loaded);
    }

    fn read_again(&self, loaded: &mut Loaded) {
        // Taken before they are read: a change in between shows at the next look.
        loaded.read = stamps(&self.settings);
        let mut faults: Vec<TlsFault> = Vec::new();
        let mut changed = false;
        for (at, (files, old)) in self.settings.certificates.iter().zip(&mut loaded.certificates).enumerate() {
            match Certificate::load(at, files, &self.provider) {
                Ok(new) => {
                    if new.digest != old.digest {
                        changed = true;
                        tracing::info!(cert = %files.cert.display(), until = %new.not_after, "a certificate was renewed");
                        for remark in &new.remarks {
                            tracing::warn!("server.tls[{at}]: {remark}");
                        }
                    }
                    *old = new;
                }
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(path) = self.settings.client_auth.authorities() {
            match Authorities::load(path) {
                Ok(new) if loaded.authorities.as_ref().is_none_or(|old| old.digest != new.digest) => {
                    // A ticket lets its client in without another look at the certificate: those made before are void.
                    match tickets() {
                        Ok(tickets) => {
                            changed = true;
                            loaded.tickets = tickets;
                            loaded.authorities = Some(new);
                            tracing::info!(file = %path.display(), "the authorities of clients were renewed");
                        }
                        Err(error) => tracing::error!(%error, "the authorities of clients could not be renewed"),
                    }
                }
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if changed {
            match config(&self.settings, &self.offered, &self.provider, loaded) {
                Ok(config) => *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config),
                Err(TlsError::Files(more)) => faults.extend(more),
                Err(error @ TlsError::Library(_)) => tracing::error!(%error, "new certificates cannot be used"),
            }
        }
        for fault in &faults {
            tracing::error!("{fault}: what was read before stays in force");
        }
        loaded.outdated = faults.len();
        if faults.is_empty() {
            self.shared.tls_reloads.increment()
        } else {
            self.shared.tls_reload_failures.increment()
        }
        loaded.count(&self.shared);
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let files = settings.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    files.chain(settings.client_auth.authorities()).map(|path| stamp(path)).collect()
}

/// Links are followed: whoever renews by turning a link is noticed by the file that it leads to.
fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok();
    let number = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
    Stamp(file.map(|file| {
        [number(file.ino()), number(file.size()), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
    }))
}

impl Ending {
    fn sentence(self, end: Timestamp) -> String {
        match self {
            Self::InTwoWeeks | Self::InThreeDays => format!("the certificate ends on {end}"),
            Self::Over => format!("the certificate ended on {end}: clients refuse it"),
        }
    }
}

/// How near the end of a certificate is, and which end.
fn step(certificate: &Certificate, now: Timestamp) -> Option<(Ending, Timestamp)> {
    ends(certificate.not_after, now).map(|ending| (ending, certificate.not_after))
}

fn ends(end: Timestamp, now: Timestamp) -> Option<Ending> {
    match end.since(now) {
        Duration::ZERO => Some(Ending::Over),
        left if left <= 3 * DAY => Some(Ending::InThreeDays),
        left if left <= 14 * DAY => Some(Ending::InTwoWeeks),
        _ => None,
    }
}

/// Once for each step on the way to each end.
fn warn_of_ends(loaded: &mut Loaded, now: Timestamp) {
    for (at, (certificate, warned)) in loaded.certificates.iter().zip(&mut loaded.warned).enumerate() {
        let step = step(certificate, now);
        if *warned == step {
            continue;
        }
        *warned = step;
        match step {
            Some((Ending::Over, end)) => tracing::error!("server.tls[{at}].cert: {}", Ending::Over.sentence(end)),
            Some((ending, end)) => tracing::warn!("server.tls[{at}].cert: {}", ending.sentence(end)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_two_weeks_and_three_days_before() {
        let end = Timestamp::from_millis(1_900_000_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (before, told) in [
            (hours(15 * 24), None),
            (hours(14 * 24), Some(Ending::InTwoWeeks)),
            (hours(4 * 24), Some(Ending::InTwoWeeks)),
            (hours(3 * 24), Some(Ending::InThreeDays)),
            (hours(1), Some(Ending::InThreeDays)),
            (hours(0), Some(Ending::Over)),
        ] {
            assert_eq!(ends(end, end.minus(before)), told, "{before:?}");
        }
        assert_eq!(ends(end, end.plus(hours(1))), Some(Ending::Over));
    }

    #[test]
    fn a_file_that_is_replaced_or_written_anew_looks_different() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("file");
        assert_eq!(stamp(&path), Stamp(None));
        fs::write(&path, "one").unwrap();
        let first = stamp(&path);
        assert_eq!(stamp(&path), first);
        let other = directory.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(&path), first);
    }
}
