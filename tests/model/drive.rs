//! Does what the dice say, on real gateways, and compares.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::BOUND;
use crate::support::client::{Connection, Response};
use crate::support::gateway::{Gateway, SERVICE_KEY, bearer};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};
use crate::world::{Old, Session, State, Verdict, giving_way, live, refused};

const USERS: usize = 6;
const AGENTS: [&str; 3] = ["acme-desktop/1.0", "acme-phone/1.0", "acme-robot/1.0"];
/// The most sessions that the model keeps an eye on; the oldest that are over go first.
const WATCHED: usize = 60;
/// The one after whose rotation the old token stays good, and the one where it does not.
const KIND: usize = 0;

pub struct Drive {
    gateways: [Gateway; 2],
    connections: [Connection; 2],
    _upstream: Upstream,
    /// The token of an administrator.
    admin: String,
    dice: u64,
    sessions: Vec<Session>,
    /// What was done lately, for whoever has to find out why it went wrong.
    history: Vec<String>,
    done: BTreeMap<&'static str, u64>,
    behind: Vec<Duration>,
}

impl Drive {
    pub fn start(seed: u64) -> Self {
        let upstream = Upstream::hello();
        let database = fresh_database();
        let gateway = |grace: &str| {
            let toml = format!(
                "[session]\ntouch_interval = \"100ms\"\nrotate_grace = \"{grace}\"\n[admin]\nusers = [\"root\"]\n[cache]\nttl = \"10m\"\nnegative_ttl = \"100ms\"\n"
            );
            Gateway::start_on(&database.url(), &upstream.url(), &toml)
        };
        let gateways = [gateway("1h"), gateway("0")];
        for gateway in &gateways {
            wait_until("the gateway hears of the other one's changes", || gateway.metric("gateway_listen_up") == 1.0);
        }
        let connections = [gateways[0].connect(), gateways[1].connect()];
        let admin = gateways[0].login_with(json!({ "user": "root", "user_agent": AGENTS[0] })).token;
        Self {
            gateways,
            admin,
            connections,
            _upstream: upstream,
            dice: seed | 1,
            sessions: Vec::new(),
            history: Vec::new(),
            done: BTreeMap::new(),
            behind: Vec::new(),
        }
    }

    pub fn step(&mut self) {
        if self.sessions.is_empty() || self.roll(100) < 14 {
            return self.create();
        }
        let at = self.somewhere();
        match self.roll(100) {
            0..54 => self.use_it(at),
            54..66 => self.use_an_old_token(),
            66..76 => self.rotate(at),
            76..82 => self.use_with_another_program(at),
            82..88 => self.revoke_one(at),
            88..91 => self.log_out(at),
            91..93 => self.revoke_others(at),
            93..95 => self.suspend(at),
            95..97 => self.reactivate(),
            97 => self.disable(at),
            _ => self.let_expire(at),
        }
    }

    /// A session; rather one that is not over, of which there are few.
    fn somewhere(&mut self) -> usize {
        let at = self.roll(self.sessions.len());
        if self.sessions[at].state == State::Active || self.roll(3) == 0 { at } else { self.roll(self.sessions.len()) }
    }

    fn create(&mut self) {
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

    fn use_it(&mut self, at: usize) {
        let (on, session) = (self.roll(2), self.sessions[at].clone());
        let Some(expected) = session.verdict() else { return };
        self.note("use", format!("on {on}: {} {expected:?}", session.id));
        self.expect(on, &session, &session.token, session.agent, || session.verdict(), &expected);
    }

    /// A token that was rotated away is good, or it gives a theft away.
    fn use_an_old_token(&mut self) {
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

    fn rotate(&mut self, at: usize) {
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

    fn use_with_another_program(&mut self, at: usize) {
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

    fn revoke_one(&mut self, at: usize) {
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

    fn log_out(&mut self, at: usize) {
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

    fn revoke_others(&mut self, at: usize) {
        let Some(by) = self.somebody_live(self.sessions[at].user) else { return };
        let on = self.roll(2);
        self.note("revoke others", format!("on {on}: all of {} but {}", by.user, by.id));
        let response = self.call(on, "DELETE", "/_sessions?others=true", &bearer(&by.token), AGENTS[by.agent], b"");
        self.require(response.status == 200, &format!("ended: {response:?}"));
        self.end_all_of(by.user, |session| (session.id != by.id).then_some("logged_out_elsewhere"));
    }

    fn suspend(&mut self, at: usize) {
        let (on, session) = (self.roll(2), self.sessions[at].clone());
        if session.verdict() != Some(live()) {
            return;
        }
        self.note("suspend", format!("on {on}: {}", session.id));
        let response = self.administer(on, "POST", &format!("sessions/{}/suspend", session.id), "");
        self.require(response.status == 200, &format!("suspended: {response:?}"));
        self.sessions[at].state = State::Suspended("suspended_by_admin");
    }

    fn reactivate(&mut self) {
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
    fn disable(&mut self, at: usize) {
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
    fn let_expire(&mut self, at: usize) {
        let short = self.sessions.iter().position(|session| {
            session.state == State::Active && session.expires_millis.saturating_sub(session.created_millis) < 2000
        });
        self.use_it(short.unwrap_or(at));
        *self.done.entry("use a short one").or_default() += u64::from(short.is_some());
    }

    /// A live session of this user that both gateways know to be live.
    fn somebody_live(&mut self, user: usize) -> Option<Session> {
        let mut candidates = Vec::new();
        for session in self.sessions.iter().filter(|session| session.user == user) {
            // One that is about to expire makes the outcome uncertain.
            if session.is_live()? {
                candidates.push(session.clone());
            }
        }
        if candidates.is_empty() {
            return None;
        }
        let by = candidates[self.roll(candidates.len())].clone();
        for on in 0..2 {
            self.expect(on, &by, &by.token, by.agent, || by.verdict(), &live());
        }
        // Short ones are not worth the doubt.
        (by.expires_millis - by.created_millis > 2000).then_some(by)
    }

    fn end_all_of(&mut self, user: usize, reason: impl Fn(&Session) -> Option<&'static str>) {
        for session in self.sessions.iter_mut().filter(|session| session.user == user) {
            if let (false, Some(reason)) = (matches!(session.state, State::Ended(_)), reason(session)) {
                session.state = State::Ended(reason);
            }
        }
    }

    /// Uses a token until the answer is the expected one; it may take [`BOUND`] at most.
    fn expect(
        &mut self,
        on: usize,
        session: &Session,
        token: &str,
        agent: usize,
        verdict_now: impl Fn() -> Option<Verdict>,
        expected: &Verdict,
    ) {
        let began = now();
        loop {
            let response = self.call(on, "GET", "/", &bearer(token), AGENTS[agent], b"");
            let given = verdict(&response);
            let behind = began.elapsed();
            if given == *expected {
                if behind > Duration::from_millis(20) {
                    self.behind.push(behind);
                }
                return;
            }
            // It expired while we asked.
            let Some(now_expected) = verdict_now() else { return };
            if given == now_expected || given == refused("session_expired", "") && session.expired() != Some(false) {
                return;
            }
            self.require(
                behind < BOUND,
                &format!("gateway {on} says {given:?} of {session:?}, the model {expected:?}"),
            );
        }
    }

    fn call(&mut self, on: usize, method: &str, target: &str, headers: &str, agent: &str, body: &[u8]) -> Response {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {agent}\r\n{headers}{length}\r\n");
        let request = [head.as_bytes(), body].concat();
        self.connections[on].send(&request);
        if let Some(response) = self.connections[on].try_read(method) {
            return response;
        }
        self.connections[on] = self.gateways[on].connect();
        self.connections[on].send(&request);
        self.connections[on].read(method)
    }

    fn note(&mut self, what: &'static str, line: String) {
        *self.done.entry(what).or_default() += 1;
        self.history.push(format!("{what} {line}"));
        if self.history.len() > 40 {
            self.history.remove(0);
        }
    }

    #[track_caller]
    fn require(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\nlately:\n{}", self.history.join("\n"));
    }

    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64 (Marsaglia 2003).
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as usize % sides
    }

    pub fn summary(&self) -> String {
        let longest = self.behind.iter().max().copied().unwrap_or_default();
        format!("done: {:?}; behind for more than 20 ms: {} times, {longest:?} at most", self.done, self.behind.len())
    }

    /// A run in which nothing of a kind happened has not shown much.
    pub fn everything_was_done(&self) {
        if self.done.values().sum::<u64>() > 2000 {
            let kinds =
                ["create", "use", "reuse", "use an old token", "rotate", "steal", "revoke", "log out", "revoke others"];
            for kind in kinds {
                assert!(self.done.get(kind).is_some_and(|times| *times > 10), "{kind}: {:?}", self.done);
            }
        }
    }
}

fn verdict(response: &Response) -> Verdict {
    if response.status == 200 {
        return live();
    }
    let problem = response.json();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (response.status, text("code"), text("reason"))
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}
