//! Under what the cache holds a session.

use crate::token::Digest;

/// The first half of a token's digest. A cache of millions is made of its keys for a good part, and half of a SHA-256 is as
/// hard to hit as the shortest token is to guess; whoever hits it is still told apart by the whole digest in the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn of(digest: &Digest) -> Self {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(half)
    }
}
