//! What follows when the policy refuses a session but something must be done before the client is told.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;

use super::overdue::{Deed, Offence};
use super::{Circumstances, Concerned, Sessions};
use crate::clock::Moment;
use crate::error::{Code, Problem};
use crate::http::client_hints;
use crate::metrics::StoreCall;
use crate::policy::{self, Facts, Permit, Refusal};
use crate::session::Session;
use crate::user_agent::Device;

/// For so long it stays true for a session that it went unused, whatever other instances have not written down yet.
const JUST_NOW: Duration = Duration::from_millis(500);

impl Sessions {
    /// Acts on a refusal: suspends the session, binds it to its first use, or asks the store once more whether it really
    /// went unused. Then it is a permit after all, or the problem to answer.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn settle(
        &self,
        refusal: Refusal,
        session: &Arc<Session>,
        facts: &Facts<'_>,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<Permit, Problem> {
        match refusal {
            Refusal::Unbound => self.bind(session, facts, headers, now).await,
            Refusal::SuspendForUserAgent => {
                self.suspend_for_user_agent(session, facts, now).await;
                Err(refusal.into())
            }
            // The store has just said so. Who repeats himself is no reason to ask it each time.
            Refusal::Idle | Refusal::Lapsed(_) if now.uptime.since(session.confirmed_at()) < JUST_NOW => {
                Err(refusal.into())
            }
            Refusal::Idle | Refusal::Lapsed(_) => {
                // Another instance may have served the session meanwhile. The store knows; a stale cache does not.
                let found = self.find_newer(session, facts, now).await;
                self.check_found(found.0?, facts, now).await
            }
            Refusal::Ended(_)
            | Refusal::Suspended(_)
            | Refusal::Expired(_)
            | Refusal::UserDisabled
            | Refusal::UserAgentChanged
            | Refusal::IpChanged => Err(refusal.into()),
        }
    }

    /// Binds a session to the User-Agent and address of its first use, then checks it as it is bound now: of two first uses
    /// at once only one wins.
    async fn bind(
        &self,
        session: &Session,
        facts: &Facts<'_>,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<Permit, Problem> {
        let (sessions, id) = (self.clone(), session.id);
        let Circumstances { user_agent, ip, .. } = Circumstances::of(facts, now);
        let device = Device::of(&user_agent, &client_hints::read(headers));
        let concerned = Concerned::Sessions(vec![id]);
        let call = async move { sessions.inner.store.bind(id, &user_agent, &device, ip).await };
        self.change(StoreCall::Other, concerned, call).await?;
        let (found, _) = self.find_anew(session, facts, now).await;
        self.check_found(found?, facts, now).await
    }

    /// Checks the session as the store has it now. What comes out may be another refusal than the one that led here, and
    /// is acted on all the same.
    async fn check_found(&self, session: Arc<Session>, facts: &Facts<'_>, now: Moment) -> Result<Permit, Problem> {
        let refusal = match policy::check(session.clone(), facts, &self.rules(), now.wall) {
            Ok(permit) => return Ok(permit),
            Err(refusal) => refusal,
        };
        if refusal == Refusal::SuspendForUserAgent {
            self.suspend_for_user_agent(&session, facts, now).await;
        }
        // A binding that was written and is not there: the row vanished in between.
        Err(if refusal == Refusal::Unbound { Problem::new(Code::UnknownToken) } else { refusal.into() })
    }

    /// Suspends a session that another User-Agent used. The request is refused whatever comes of this.
    async fn suspend_for_user_agent(&self, session: &Session, facts: &Facts<'_>, now: Moment) {
        tracing::warn!(session = %session.id, user = %session.identity.user_text(), client = %facts.client_ip, "suspending a session: another User-Agent used it");
        let offence = Offence::new(Deed::OtherUserAgent, Circumstances::of(facts, now));
        // That the store cannot be told is in the log, and changes nothing here.
        let _ = self.answer_for(session.id, offence).await;
    }
}
