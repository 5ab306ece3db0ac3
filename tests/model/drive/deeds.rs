//! What can be done to sessions, on the gateway and in the model.

use serde_json::{Value, json};

use super::{AGENTS, Drive, KIND, USERS, WATCHED, verdict};
use crate::support::client::Response;
use crate::support::gateway::{SERVICE_KEY, bearer};
use crate::world::{Old, Session, State, giving_way, live};

impl Drive {
    pub(super) fn create(&mut self) {
        let (on, user, agent, limit) = (self.roll(2), self.roll(USERS), self.roll(AGENTS.len()), self.roll(4));
        let lifetime = if self.roll(10) == 0 { 1 } else { 3600 };
        let Some(evicted) = giving_way(&self.sessions, user, limit) else { return };
        self.note("create", format!("on {on}: user {user}, limit {limit}, {lifetime} s, evicts {evicted:?}"));
        let body = json!({
            "user": format!("user-{user}"), "user_agent": AGENTS[agent], "max_sessions": limit, "lifetime": lifetime,
        });
        let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
        let response = self.call(on, "POST", "/_sessions", &headers, AGENTS[agent], body.to_string().as_bytes());
        self.require(response.status == 201, &format!("created: {response:?}"));
        let answer = response.json();
        let mut said = ids(&answer["evicted"]);
        let mut expected = evicted;
        said.sort();
        expected.sort();
        self.require(said == expected, &format!("evicted {said:?}, the model says {expected:?}"));
        for session in &mut self.sessions {
            if expected.contains(&session.id) {
                session.state = State::Ended("evicted");
            }
        }
        let expires: jiff::Timestamp = answer["expires_at"].as_str().unwrap().parse().unwrap();
        let expires_millis = expires.as_millisecond() as u64;
        self.sessions.push(Session {
            id: answer["id"].as_str().unwrap().to_owned(),
            user,
            agent,
            token: answer["token"].as_str().unwrap().to_owned(),
            old: Vec::new(),
            state: State::Active,
            created_millis: expires_millis - lifetime * 1000,
            expires_millis,
        });
        if self.sessions.len() > WATCHED {
            let over = self.sessions.iter().position(|session| session.state != State::Active).unwrap_or(0);
            self.sessions.remove(over);
        }
    }

    pub(super) fn use_it(&mut self, at: usize) {
        let (on, session) = (self.roll(2), self.sessions[at].clone());
        let Some(expected) = session.verdict() else { return };
        self.note("use", format!("on {on}: {} {expected:?}", session.id));
        self.expect(on, &session, &session.token, session.agent, || session.verdict(), &expected);
    }

    /// A token that was rotated away is good, or it gives a theft away.
    pub(super) fn use_an_old_token(&mut self) {
        let has_one = |session: &Session| !session.old.is_empty() && session.verdict().is_some();
        let candidates: Vec<_> = (0..self.sessions.len()).filter(|at| has_one(&self.sessions[*at])).collect();
        if candidates.is_empty() {
            return;
        }
        // Rather one that is not over: a theft is news only once.
        let open = |at: &usize| !matches!(self.sessions[*at].state, State::Ended(_));
        let open: Vec<_> = candidates.iter().copied().filter(open).collect();
        let candidates = if open.is_empty() || self.roll(4) == 0 { candidates } else { open };
        let at = candidates[self.roll(candidates.len())];
        let (on, which) = (self.roll(2), self.roll(self.sessions[at].old.len()));
        let old = self.sessions[at].old[which].clone();
        if !old.good && !matches!(self.sessions[at].state, State::Ended(_)) {
            self.sessions[at].state = State::Ended("token_reused");
            self.note("reuse", format!("on {on}: {}", self.sessions[at].id));
        } else {
            self.note("use an old token", format!("on {on}: {}", self.sessions[at].id));
        }
        let session = self.sessions[at].clone();
        let Some(expected) = session.verdict() else { return };
        self.expect(on, &session, &old.token, session.agent, || session.verdict(), &expected);
    }

    pub(super) fn rotate(&mut self, at: usize) {
        let on = self.roll(2);
        let Some(expected) = self.sessions[at].verdict() else { return };
        let session = self.sessions[at].clone();
        // The gateway must know that the session is over before it is asked for something that it would do otherwise.
        self.expect(on, &session, &session.token, session.agent, || session.verdict(), &expected);
        let Some(expected) = session.verdict() else { return };
        self.note("rotate", format!("on {on}: {} {expected:?}", session.id));
        let agent = AGENTS[session.agent];
        let response = self.call(on, "POST", "/_sessions/rotate", &bearer(&session.token), agent, b"");
        if expected != live() {
            return self.require(verdict(&response) == expected, &format!("{response:?} is not {expected:?}"));
        }
        self.require(response.status == 200, &format!("rotated: {response:?}"));
        let good = on == KIND;
        let session = &mut self.sessions[at];
        session.old.push(Old { token: session.token.clone(), good });
        session.token = response.json()["token"].as_str().unwrap().to_owned();
    }

    pub(super) fn use_with_another_program(&mut self, at: usize) {
        let (on, session) = (self.roll(2), self.sessions[at].clone());
        let Some(expected) = session.verdict() else { return };
        self.expect(on, &session, &session.token, session.agent, || session.verdict(), &expected);
        let thief = (session.agent + 1) % AGENTS.len();
        let Some(expected) = session.verdict() else { return };
        if expected == live() {
            self.sessions[at].state = State::Suspended("user_agent_changed");
        }
        self.note("steal", format!("on {on}: {}", session.id));
        let session = self.sessions[at].clone();
        let Some(expected) = session.verdict() else { return };
        self.expect(on, &session, &session.token, thief, || session.verdict(), &expected);
    }

    pub(super) fn revoke_one(&mut self, at: usize) {
        let Some(by) = self.somebody_live(self.sessions[at].user) else { return };
        let (on, victim) = (self.roll(2), self.sessions[at].clone());
        let found = !matches!(victim.state, State::Ended(_));
        let reason = if victim.id == by.id { "logged_out" } else { "revoked" };
        self.note("revoke", format!("on {on}: {} by {}", victim.id, by.id));
        let response =
            self.call(on, "DELETE", &format!("/_sessions/{}", victim.id), &bearer(&by.token), AGENTS[by.agent], b"");
        let expected = if found { 200 } else { 404 };
        self.require(response.status == expected, &format!("{response:?} is not {expected}"));
        if found {
            self.sessions[at].state = State::Ended(reason);
        }
    }

    pub(super) fn log_out(&mut self, at: usize) {
        let Some(by) = self.somebody_live(self.sessions[at].user) else { return };
        let (on, everywhere) = (self.roll(2), self.roll(3) == 0);
        self.note("log out", format!("on {on}: {} everywhere={everywhere}", by.id));
        let target = format!("/_sessions/current?everywhere={everywhere}");
        let response = self.call(on, "DELETE", &target, &bearer(&by.token), AGENTS[by.agent], b"");
        self.require(response.status == 204, &format!("logged out: {response:?}"));
        self.end_all_of(by.user, |session| {
            if session.id == by.id { Some("logged_out") } else { everywhere.then_some("logged_out_elsewhere") }
        });
    }

    pub(super) fn revoke_others(&mut self, at: usize) {
        let Some(by) = self.somebody_live(self.sessions[at].user) else { return };
        let on = self.roll(2);
        self.note("revoke others", format!("on {on}: all of {} but {}", by.user, by.id));
        let response = self.call(on, "DELETE", "/_sessions?others=true", &bearer(&by.token), AGENTS[by.agent], b"");
        self.require(response.status == 200, &format!("ended: {response:?}"));
        self.end_all_of(by.user, |session| (session.id != by.id).then_some("logged_out_elsewhere"));
    }

    pub(super) fn suspend(&mut self, at: usize) {
        let (on, session) = (self.roll(2), self.sessions[at].clone());
        if session.verdict() != Some(live()) {
            return;
        }
        self.note("suspend", format!("on {on}: {}", session.id));
        let response = self.administer(on, "POST", &format!("sessions/{}/suspend", session.id), "");
        self.require(response.status == 200, &format!("suspended: {response:?}"));
        self.sessions[at].state = State::Suspended("suspended_by_admin");
    }

    pub(super) fn reactivate(&mut self) {
        let suspended =
            |session: &Session| matches!(session.state, State::Suspended(_)) && session.expired() == Some(false);
        let Some(at) = self.sessions.iter().position(suspended) else { return };
        let on = self.roll(2);
        self.note("reactivate", format!("on {on}: {}", self.sessions[at].id));
        let response = self.administer(on, "POST", &format!("sessions/{}/reactivate", self.sessions[at].id), "");
        self.require(response.status == 200, &format!("reactivated: {response:?}"));
        self.sessions[at].state = State::Active;
    }

    /// Disables a user and enables it again: what it had is over for good.
    pub(super) fn disable(&mut self, at: usize) {
        let (on, user) = (self.roll(2), self.sessions[at].user);
        self.note("disable", format!("on {on}: user {user}"));
        for enabled in [false, true] {
            let body = json!({ "enabled": enabled }).to_string();
            let response = self.administer(on, "PUT", &format!("users/user-{user}"), &body);
            self.require(response.status == 200, &format!("set: {response:?}"));
        }
        self.end_all_of(user, |_| Some("user_disabled"));
    }

    fn administer(&mut self, on: usize, method: &str, path: &str, body: &str) -> Response {
        let content = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let headers = format!("{}{content}", bearer(&self.admin));
        self.call(on, method, &format!("/_sessions/admin/{path}"), &headers, AGENTS[0], body.as_bytes())
    }

    /// Nothing is done: a short session is used around its end, so that time does it.
    pub(super) fn let_expire(&mut self, at: usize) {
        let short = self.sessions.iter().position(|session| {
            session.state == State::Active && session.expires_millis.saturating_sub(session.created_millis) < 2000
        });
        self.use_it(short.unwrap_or(at));
        *self.done.entry("use a short one").or_default() += u64::from(short.is_some());
    }
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}
