//! Another token for a session.

use std::time::Duration;

use super::{Concerned, Sessions};
use crate::clock::Timestamp;
use crate::error::{Code, Problem};
use crate::metrics::StoreCall;
use crate::session::{Actor, SessionId};
use crate::store::{Ended, Rotated, Rotation};
use crate::token::{Digest, Token};

impl Sessions {
    /// Gives a session a new token. The old one, `from`, stays good for `grace`; whoever uses it later ends the session.
    ///
    /// Cancel safety: once begun, the change happens even when this is dropped. Nobody then has the new token, and the old
    /// one is good until its grace is over.
    ///
    /// # Errors
    /// [`Code::AlreadyRotated`] when `from` was rotated away before; [`Code::Conflict`] when the session is not active any
    /// more; [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn rotate(
        &self,
        id: SessionId,
        from: Digest,
        grace: Duration,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Token, Problem> {
        let token = Token::generate(self.inner.settings.load().token_bytes).map_err(|error| {
            tracing::error!(%error, "the operating system gives no randomness: no token can be made");
            Problem::new(Code::Internal)
        })?;
        let rotation = Rotation { id, from, to: token.digest(), grace, actor, now };
        let (sessions, concerned) = (self.clone(), Concerned::Sessions(vec![id]));
        let rotated = self.change(StoreCall::Other, concerned, async move {
            let rotated = sessions.inner.store.rotate(rotation).await?;
            if rotated == Rotated::Done {
                // The old token is another thing now: good for a while, and found by another way.
                sessions.inner.cache.forget(&Ended { id, digest: from, reason: None });
            }
            Ok(rotated)
        });
        match rotated.await? {
            Rotated::Done => Ok(token),
            Rotated::Already => Err(Problem::new(Code::AlreadyRotated)),
            Rotated::Gone => Err(Problem::with_detail(Code::Conflict, "The session is not active any more.")),
        }
    }
}
