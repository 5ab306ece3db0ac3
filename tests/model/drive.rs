//! Does what the dice say, on real gateways, and compares.

#[path = "drive/deeds.rs"]
mod deeds;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::BOUND;
use crate::support::client::{Connection, Response};
use crate::support::gateway::{Gateway, bearer};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};
use crate::world::{Session, State, Verdict, live, refused};

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
