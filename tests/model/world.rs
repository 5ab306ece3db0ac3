//! The model: what sessions there are, and what a use of each is answered.

/// What a request with a token is answered: status, code, reason; an empty code for what the application answers.
pub type Verdict = (u16, String, String);

pub fn live() -> Verdict {
    (200, String::new(), String::new())
}

pub fn refused(code: &str, reason: &str) -> Verdict {
    (401, code.to_owned(), reason.to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Suspended(&'static str),
    Ended(&'static str),
}

/// A token that was rotated away.
#[derive(Clone, Debug)]
pub struct Old {
    pub token: String,
    /// Whether it stays good for longer than the test takes; otherwise it is good no more at all.
    pub good: bool,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub user: usize,
    pub agent: usize,
    pub token: String,
    pub old: Vec<Old>,
    pub state: State,
    pub created_millis: u64,
    pub expires_millis: u64,
}

/// Nobody can say what is answered so close to the end of a session.
const UNCERTAIN: u64 = 150;

pub fn now_millis() -> u64 {
    session_gateway::clock::wall().as_millis() as u64
}

impl Session {
    /// Whether it is over by its lifetime; `None` so close to its end that either may be seen.
    pub fn expired(&self) -> Option<bool> {
        let now = now_millis();
        if now.abs_diff(self.expires_millis) < UNCERTAIN { None } else { Some(now > self.expires_millis) }
    }

    /// Whether it takes a place among its user's sessions.
    pub fn is_live(&self) -> Option<bool> {
        if self.state == State::Active { self.expired().map(|expired| !expired) } else { Some(false) }
    }

    /// What a use with a good token and the right program is answered.
    pub fn verdict(&self) -> Option<Verdict> {
        Some(match self.state {
            State::Suspended(reason) => refused("session_suspended", reason),
            State::Ended("evicted") => refused("session_evicted", "evicted"),
            State::Ended(reason) => refused("session_revoked", reason),
            State::Active => match self.expired()? {
                true => refused("session_expired", ""),
                false => live(),
            },
        })
    }
}

/// Which of a user's live sessions give way to one more under a limit: the oldest. `None` when one of them is about to
/// expire.
pub fn giving_way(sessions: &[Session], user: usize, limit: usize) -> Option<Vec<String>> {
    let mut live = Vec::new();
    for session in sessions.iter().filter(|session| session.user == user) {
        if session.is_live()? {
            live.push((session.created_millis, session.id.clone()));
        }
    }
    live.sort();
    let excess = if limit == 0 { 0 } else { (live.len() + 1).saturating_sub(limit) };
    Some(live.into_iter().take(excess).map(|(_, id)| id).collect())
}
