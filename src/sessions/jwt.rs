//! From a signed token to its session.

use super::Sessions;
use super::cache::AliasKind;
use super::find::Found;
use crate::clock::Moment;
use crate::error::{Code, Problem};
use crate::jwt::Verified;
use crate::keyring::{Judged, KeyRing};
use crate::metrics::Lookup;
use crate::session::Session;
use crate::token::Digest;

impl Sessions {
    /// The session that a signed token names, in whatever state, for a token that [`Sessions::recall`] does not know. That it
    /// is good is remembered until it expires; whether its session is good is looked at on every request.
    ///
    /// Cancel safety: may be dropped while it waits.
    ///
    /// # Errors
    /// What [`KeyRing::judge`] says; [`Code::UnknownToken`] when there is no such session; [`Code::InvalidToken`] when it is
    /// another user's; [`Code::StoreUnavailable`] when nobody knows.
    pub async fn load_signed(&self, digest: &Digest, token: &[u8], keys: &KeyRing, now: Moment) -> Found {
        let cache = &self.inner.cache;
        if let Some(alias) = cache.alias(digest)
            && alias.kind == AliasKind::Signed
            && now.wall < alias.until
        {
            return self.load_id(alias.id, now.uptime).await;
        }
        let Judged { verified, generation } = match keys.judge(token, now.wall).await {
            Ok(judged) => judged,
            Err(problem) => return (Err(problem), Lookup::Miss),
        };
        let (found, how) = match self.recall_id(verified.session, now.uptime) {
            Some(known) => known,
            None => self.load_id(verified.session, now.uptime).await,
        };
        let session = match found {
            Ok(session) => session,
            Err(problem) => return (Err(problem), how),
        };
        // A session belongs to one user for life, so this need not be asked again.
        if let Err(problem) = same_user(&verified, &session) {
            return (Err(problem), how);
        }
        cache.remember_signed(*digest, session.id, verified.expires_at, || keys.generation() == generation);
        (Ok(session), how)
    }

    /// Forgets which signed tokens were found good: the keys are others now.
    pub fn forget_signed(&self) {
        self.inner.cache.forget_signed();
    }
}

/// Whether a signed token names the user of its session, if it names one.
///
/// # Errors
/// [`Code::InvalidToken`] when it is another one.
pub fn same_user(verified: &Verified, session: &Session) -> Result<(), Problem> {
    if verified.user.as_ref().is_some_and(|user| session.identity.user_text() != user.as_str()) {
        return Err(Problem::with_detail(Code::InvalidToken, "The token names another user than its session."));
    }
    Ok(())
}
