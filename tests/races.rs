//! Two things at once, many times: on two gateways on one PostgreSQL there is no moment at which the wrong one wins.
//!
//! `RACES` says how often each race is run.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;
use support::client::{Connection, Response};
use support::gateway::{AGENT, Gateway, Issued, SERVICE_KEY, bearer};
use support::postgres::{Database, fresh_database};
use support::upstream::Upstream;
use support::{now, wait_until};

/// How long one gateway may be behind the other before it counts as not hearing of it at all: a hundred times what is promised,
/// since the machine may be busy, and far below `cache.ttl`. How long it takes is the matter of the bench `lag`.
const BOUND: Duration = Duration::from_secs(10);

fn rounds(usual: usize) -> usize {
    std::env::var("RACES").map_or(usual, |text| text.parse().unwrap())
}

struct Fleet {
    _upstream: Upstream,
    database: Database,
    gateways: [Gateway; 2],
}

fn fleet(toml: &str) -> Fleet {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let toml = format!("[cache]\nttl = \"10m\"\n{toml}");
    let start = || Gateway::start_on(&database.url(), &upstream.url(), &toml);
    let gateways = [start(), start()];
    for gateway in &gateways {
        wait_until("the gateway hears of the other one's changes", || gateway.metric("gateway_listen_up") == 1.0);
    }
    Fleet { _upstream: upstream, database, gateways }
}

/// A kept-alive connection to one gateway.
struct Caller(Connection);

impl Caller {
    fn call(&mut self, method: &str, target: &str, headers: &str, body: &str) -> Response {
        let length = body.len();
        self.0.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ));
        self.0.read(method)
    }

    fn create(&mut self, user: &str, limit: usize) -> Issued {
        let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
        let body = json!({ "user": user, "max_sessions": limit, "user_agent": AGENT });
        let response = self.call("POST", "/_sessions", &headers, &body.to_string());
        assert_eq!(response.status, 201, "{response:?}");
        let answer = response.json();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        Issued { id: text("id"), token: text("token"), answer }
    }

    fn use_it(&mut self, token: &str) -> Response {
        self.call("GET", "/", &bearer(token), "")
    }

    fn lives(&mut self, token: &str) -> bool {
        let response = self.use_it(token);
        assert!(matches!(response.status, 200 | 401), "{response:?}");
        response.status == 200
    }
}

/// Asserts that this gateway comes to refuse a token, and goes on to.
#[track_caller]
fn comes_to_refuse(caller: &mut Caller, token: &str, what: &str) {
    let began = now();
    while caller.lives(token) {
        assert!(began.elapsed() < BOUND, "{what}: still served after {BOUND:?}");
    }
    for _ in 0..3 {
        assert!(!caller.lives(token), "{what}: it came back");
    }
}

/// A caller on each gateway.
fn callers(fleet: &Fleet) -> [Caller; 2] {
    [Caller(fleet.gateways[0].connect()), Caller(fleet.gateways[1].connect())]
}

#[test]
fn fifty_creations_at_once_over_two_gateways_leave_exactly_as_many_as_the_limit_says() {
    let fleet = fleet("");
    let rounds = rounds(8);
    let barrier = Barrier::new(51);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|number| {
                let (gateway, barrier) = (&fleet.gateways[number % 2], &barrier);
                scope.spawn(move || {
                    let mut caller = Caller(gateway.connect());
                    for round in 0..rounds {
                        barrier.wait();
                        caller.create(&format!("user-{round}"), round % 3 + 1);
                        barrier.wait();
                    }
                })
            })
            .collect();
        for round in 0..rounds {
            barrier.wait();
            barrier.wait();
            let limit = round % 3 + 1;
            let count = |condition: &str| {
                let sql = format!(
                    "SELECT count(*) FROM session_gateway.sessions WHERE user_id = 'user-{round}' AND {condition}"
                );
                fleet.database.run(&sql)[0].clone().unwrap().parse::<usize>().unwrap()
            };
            assert_eq!(count("state = 'active'"), limit, "round {round}");
            assert_eq!(count("state_reason = 'evicted'"), 50 - limit, "round {round}");
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_revocation_wins_over_a_lookup_that_began_before_it() {
    let fleet = fleet("");
    let [mut a, mut b] = callers(&fleet);
    for round in 0..rounds(150) {
        let session = a.create(&format!("user-{round}"), 0);
        let token = &session.token;
        thread::scope(|scope| {
            // Neither gateway has it cached: the lookup and the revocation meet in the store.
            let lookup = scope.spawn(|| b.lives(token));
            assert_eq!(a.call("DELETE", "/_sessions/current", &bearer(token), "").status, 204);
            lookup.join().unwrap();
        });
        assert!(!a.lives(token), "round {round}: the revoking gateway itself");
        comes_to_refuse(&mut b, token, &format!("round {round}"));
    }
}

#[test]
fn a_revocation_wins_over_a_lookup_on_the_same_gateway_from_the_moment_it_returns() {
    let fleet = fleet("");
    let [mut a, _] = callers(&fleet);
    let mut second = Caller(fleet.gateways[0].connect());
    for round in 0..rounds(150) {
        let session = a.create(&format!("user-{round}"), 0);
        let token = &session.token;
        thread::scope(|scope| {
            let lookup = scope.spawn(|| second.lives(token));
            assert_eq!(a.call("DELETE", "/_sessions/current", &bearer(token), "").status, 204);
            for _ in 0..3 {
                assert!(!a.lives(token), "round {round}");
            }
            lookup.join().unwrap();
        });
        assert!(!second.lives(token), "round {round}");
    }
}

#[test]
fn a_revocation_wins_over_the_last_uses_that_are_written_down() {
    let fleet = fleet("[session]\ntouch_interval = \"100ms\"\n");
    let [mut a, mut b] = callers(&fleet);
    let mut ids = Vec::new();
    for round in 0..rounds(150) {
        let session = a.create(&format!("user-{round}"), 0);
        let token = &session.token;
        let began = now();
        // Long enough for a use to be worth writing down.
        while began.elapsed() < Duration::from_millis(if round % 10 == 0 { 120 } else { 0 }) {
            b.lives(token);
        }
        thread::scope(|scope| {
            let uses = scope.spawn(|| {
                for _ in 0..3 {
                    b.lives(token);
                }
            });
            assert_eq!(a.call("DELETE", "/_sessions/current", &bearer(token), "").status, 204);
            uses.join().unwrap();
        });
        comes_to_refuse(&mut b, token, &format!("round {round}"));
        ids.push(session.id);
    }
    // Whatever was written down later has changed nothing.
    wait_until("the last uses are written down", || fleet.gateways[1].metric("gateway_touches_waiting") == 0.0);
    let alive = fleet.database.run("SELECT count(*) FROM session_gateway.sessions WHERE state <> 'ended'");
    assert_eq!(alive[0].as_deref(), Some("0"));
}

#[test]
fn a_revocation_wins_over_a_rotation() {
    let fleet = fleet("");
    let [mut a, mut b] = callers(&fleet);
    let mut rotated = 0;
    for round in 0..rounds(150) {
        let session = a.create(&format!("user-{round}"), 0);
        let token = &session.token;
        assert!(a.lives(token) && b.lives(token));
        let answer = thread::scope(|scope| {
            let rotation = scope.spawn(|| b.call("POST", "/_sessions/rotate", &bearer(token), ""));
            assert_eq!(a.call("DELETE", "/_sessions/current", &bearer(token), "").status, 204);
            rotation.join().unwrap()
        });
        let mut tokens = vec![token.clone()];
        if answer.status == 200 {
            rotated += 1;
            tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
        } else {
            assert!(matches!(answer.status, 401 | 409), "round {round}: {answer:?}");
        }
        for token in &tokens {
            assert!(!a.lives(token), "round {round}");
            comes_to_refuse(&mut b, token, &format!("round {round}"));
        }
    }
    println!("of the rotations {rotated} came first");
}

#[test]
fn of_two_rotations_at_once_on_two_gateways_one_is_done_and_its_token_is_good_on_both() {
    let fleet = fleet("");
    let [mut a, mut b] = callers(&fleet);
    for round in 0..rounds(150) {
        let session = a.create(&format!("user-{round}"), 0);
        let token = &session.token;
        let [one, two] = thread::scope(|scope| {
            let other = scope.spawn(|| b.call("POST", "/_sessions/rotate", &bearer(token), ""));
            let own = a.call("POST", "/_sessions/rotate", &bearer(token), "");
            [own, other.join().unwrap()]
        });
        let statuses = [one.status, two.status];
        assert!(statuses == [200, 409] || statuses == [409, 200], "round {round}: {one:?} {two:?}");
        let done = if one.status == 200 { one } else { two };
        let new = done.json()["token"].as_str().unwrap().to_owned();
        assert!(a.lives(&new) && b.lives(&new) && a.lives(token) && b.lives(token), "round {round}");
    }
}
