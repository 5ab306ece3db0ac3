//! Interim answers on their way from an application to its client: what it says before it has an answer (RFC 8297).

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, SET_COOKIE};

use crate::config::EarlyHints;

/// The most of them for one request, and the most bytes of one; what is beyond is dropped. No window of HTTP/2 is for them, so all
/// of them may lie here while a client takes nothing.
const MOST: u8 = 8;
const LARGEST: usize = 8 * 1024;

/// What the application has said so far to the client of a request.
#[derive(Debug, Default)]
pub struct Interim {
    /// In what the client gets them.
    medium: AtomicU8,
    /// How many more it may get.
    left: AtomicU8,
    /// Whether some are waiting, so that a look costs no lock.
    waiting: AtomicBool,
    heads: Mutex<Vec<HeaderMap>>,
}

/// In what a client may get interim answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// In nothing: it is too old for them.
    #[default]
    None,
    /// In HTTP/1.1, where some clients are not prepared for them.
    Http1,
    /// In HTTP/2.
    Http2,
}

impl Interim {
    /// Another request begins, whose client may get them in this.
    pub fn begin(&self, medium: Medium) {
        self.medium.store(medium as u8, Ordering::Relaxed);
        self.left.store(MOST, Ordering::Relaxed);
        if self.waiting.swap(false, Ordering::Relaxed) {
            self.heads().clear();
        }
    }

    /// The application has given such an answer. Others than early hints say nothing to a client that it could use.
    pub(super) fn offer(&self, hints: EarlyHints, status: StatusCode, mut headers: HeaderMap) {
        let medium = self.medium.load(Ordering::Relaxed);
        let welcome = match hints {
            EarlyHints::Off => false,
            EarlyHints::Http2 => medium == Medium::Http2 as u8,
            EarlyHints::All => medium != Medium::None as u8,
        };
        if status != StatusCode::EARLY_HINTS || !welcome {
            return;
        }
        // It has no content, and nobody is logged in by it.
        headers.remove(CONTENT_LENGTH);
        headers.remove(SET_COOKIE);
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        // One request is one task's, so nobody else counts in between.
        let left = self.left.load(Ordering::Relaxed);
        if size <= LARGEST && left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            self.heads().push(headers);
            self.waiting.store(true, Ordering::Relaxed);
        }
    }

    /// Those that wait: the headers of an early hint (103) each.
    pub fn take(&self) -> Vec<HeaderMap> {
        if !self.waiting.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        std::mem::take(&mut *self.heads())
    }

    fn heads(&self) -> MutexGuard<'_, Vec<HeaderMap>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
