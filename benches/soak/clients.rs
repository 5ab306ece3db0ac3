//! What clients do, and which answers are wrong.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use crate::app::LARGE;
use crate::link::{Answer, Link, head, more};
use crate::multiplexed::multiplexes;
use crate::support::gateway::{AGENT, SERVICE_KEY};
use crate::support::{now, websocket};

/// What was answered so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    through: AtomicU64,
    refused: AtomicU64,
    outage: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// The pause of a client between two rounds: the machine shall be busy, and not more than that.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);
/// How long a WebSocket may outlive its session. The store may be away for a while, and nobody can be asked.
const TUNNEL: Duration = Duration::from_secs(20);

/// What one client does, by its number, until it is told to stop.
type Client = fn(&Tally, SocketAddr, usize, &AtomicBool);

impl Tally {
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.through, &self.refused, &self.outage].map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    fn is_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// An answer to whoever may pass: as this user, with this body behind the name.
    pub(crate) fn may_pass(&self, answer: std::io::Result<Answer>, expected: &[u8]) -> bool {
        match answer {
            Ok(Answer { status: 200, body }) if body == expected => {
                self.through.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Ok(Answer { status: 502..=504, .. }) | Err(_) => {
                self.outage.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
                self.is_wrong(format!("a good session got {} {body}", answer.status));
            }
        }
        false
    }

    /// An answer to whoever must not pass.
    pub(crate) fn must_not_pass(&self, answer: std::io::Result<Answer>, who: &str) {
        match answer {
            Ok(Answer { status: 401 | 403 | 429, .. }) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Answer { status: 502..=504, .. }) | Err(_) => {
                self.outage.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => self.is_wrong(format!("{who} got {}", answer.status)),
        }
    }
}

/// Starts all of them.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    tally: &'scope Tally,
    stop: &'scope AtomicBool,
    address: SocketAddr,
) {
    let clients: [(usize, Client); 7] =
        [(4, uses), (2, revokes), (1, guesses), (1, steals), (2, breaks_off), (2, talks), (2, multiplexes)];
    for (count, client) in clients {
        for number in 0..count {
            scope.spawn(move || client(tally, address, number, stop));
        }
    }
}

/// A session of this user, once the gateway can make one.
pub(crate) fn login(link: &mut Link, user: &str, stop: &AtomicBool) -> Option<String> {
    let body = format!("{{\"user\":\"{user}\",\"user_agent\":\"{AGENT}\",\"ip\":\"127.0.0.1\",\"max_sessions\":0}}");
    while !stop.load(Ordering::Relaxed) {
        if let Ok(Answer { status: 201, body }) = link.call("POST", "/_sessions", SERVICE_KEY, AGENT, body.as_bytes()) {
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            return Some(answer["token"].as_str().unwrap().to_owned());
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}

/// Many users on one connection, as behind a proxy; each must reach the application as himself.
fn uses(tally: &Tally, address: SocketAddr, number: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    let names: Vec<String> = (0..50).map(|user| format!("user-{number}-{user}")).collect();
    let mut sessions = Vec::new();
    for name in &names {
        let Some(token) = login(&mut link, name, stop) else { return };
        sessions.push((name, token));
    }
    let upload = vec![b'u'; 20_000];
    for round in 0.. {
        let (name, token) = &sessions[round % sessions.len()];
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match round % 10 {
            7 => {
                let answer = link.call("POST", "/upload", token, AGENT, &upload);
                tally.may_pass(answer, format!("{name} {}", upload.len()).as_bytes());
            }
            9 => {
                let answer = link.call("GET", "/large", token, AGENT, b"");
                tally.may_pass(answer, &vec![b'x'; LARGE]);
            }
            _ => {
                tally.may_pass(link.call("GET", "/", token, AGENT, b""), name.as_bytes());
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Logs in, comes through, logs out, and never comes through again.
fn revokes(tally: &Tally, address: SocketAddr, number: usize, stop: &AtomicBool) {
    let (mut link, mut dead) = (Link::to(address), Vec::new());
    let name = format!("leaver-{number}");
    for round in 0_usize.. {
        let Some(token) = login(&mut link, &name, stop) else { return };
        tally.may_pass(link.call("GET", "/", &token, AGENT, b""), name.as_bytes());
        // Anything else than its 204 leaves open whether it ended.
        if let Ok(Answer { status: 204, .. }) = link.call("DELETE", "/_sessions/current", &token, AGENT, b"") {
            tally.must_not_pass(link.call("GET", "/", &token, AGENT, b""), "a session that has just ended");
            dead.push(token);
        }
        if let Some(token) = dead.get(round * 7919 % dead.len().max(1)) {
            tally.must_not_pass(link.call("GET", "/", token, AGENT, b""), "a session that ended before");
        }
        thread::sleep(PAUSE);
    }
}

/// Makes tokens up.
fn guesses(tally: &Tally, address: SocketAddr, _: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let token = format!("{:043}", round * 104_729);
        tally.must_not_pass(link.call("GET", "/", &token, AGENT, b""), "a made-up token");
        thread::sleep(5 * PAUSE);
    }
}

/// Uses others' tokens from another browser. Theirs do not pass from then on either.
fn steals(tally: &Tally, address: SocketAddr, _: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    loop {
        let Some(token) = login(&mut link, "victim", stop) else { return };
        tally.may_pass(link.call("GET", "/", &token, AGENT, b""), b"victim");
        let stolen = link.call("GET", "/", &token, "thief/1.0", b"");
        // Where the store was away, it is suspended when that is back, and nobody is served from it until then.
        let suspended = matches!(stolen, Ok(Answer { status: 401, .. }));
        tally.must_not_pass(stolen, "a stolen token");
        if suspended {
            tally.must_not_pass(link.call("GET", "/", &token, AGENT, b""), "a session that was stolen");
        }
        thread::sleep(10 * PAUSE);
    }
}

/// Leaves in the middle of everything.
fn breaks_off(_: &Tally, address: SocketAddr, number: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    let Some(token) = login(&mut link, &format!("breaker-{number}"), stop) else { return };
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut link = Link::to(address);
        let Ok(stream) = link.stream() else { continue };
        let sent = match round % 4 {
            0 => head("GET", "/large", &token, AGENT, 0),
            1 => head("POST", "/upload", &token, AGENT, 100_000) + &"u".repeat(5_000),
            2 => "GET / HTTP/1.1\r\nHost: app.te".to_owned(),
            _ => String::new(),
        };
        let _ = stream.write_all(sent.as_bytes());
        if round % 4 == 0 {
            let _ = more(stream, &mut Vec::new());
        }
        thread::sleep(5 * PAUSE);
    }
}

/// Opens a WebSocket, talks, and ends its session: the WebSocket must end too.
fn talks(tally: &Tally, address: SocketAddr, number: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    loop {
        let Some(token) = login(&mut link, &format!("talker-{number}"), stop) else { return };
        let mut socket = Link::to(address);
        let Ok(stream) = socket.stream() else { continue };
        let opening = websocket::opening("/socket", &format!("Authorization: Bearer {token}\r\n"));
        let mut received = Vec::new();
        if stream.write_all(opening.as_bytes()).is_err() || more(stream, &mut received).is_err() {
            continue;
        }
        if !received.starts_with(b"HTTP/1.1 101") {
            tally.outage.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        for _ in 0..20 {
            let _ = stream.write_all(&websocket::masked(websocket::TEXT, b"hello"));
            let _ = more(stream, &mut received);
            thread::sleep(5 * PAUSE);
        }
        if let Ok(Answer { status: 204, .. }) = link.call("DELETE", "/_sessions/current", &token, AGENT, b"") {
            let ended = now();
            while more(stream, &mut received).is_ok() {
                if ended.elapsed() > TUNNEL {
                    tally.is_wrong(format!("a WebSocket outlived its session by {TUNNEL:?}"));
                    break;
                }
                let _ = stream.write_all(&websocket::masked(websocket::TEXT, b"still here?"));
                thread::sleep(5 * PAUSE);
            }
            tally.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}
