//! How little the store is asked.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::UNKNOWN;
use crate::support::gateway::{Gateway, bearer};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};

fn on_both_stores(toml: &str, test: impl Fn(&Gateway, &str)) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), toml);
    test(&gateway, "sqlite");
    let gateway = Gateway::start_on(&fresh_database().url(), &upstream.url(), toml);
    test(&gateway, "postgres");
}

/// How often the store was called so far, for each kind of call.
fn calls(gateway: &Gateway) -> Vec<String> {
    let page = gateway.ops_get("/metrics");
    let counts = page.text().lines().filter(|line| line.starts_with("gateway_store_call_duration_seconds_count"));
    counts.map(str::to_owned).collect()
}

/// Sends the same request on many connections at once, and gives the statuses.
fn stampede(gateway: &Gateway, token: &str) -> Vec<u16> {
    const CLIENTS: usize = 200;

    let barrier = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = gateway.connect();
                    barrier.wait();
                    let agent = "User-Agent: acme-test/1.0\r\n";
                    connection.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{agent}{}\r\n", bearer(token)));
                    connection.read("GET").status
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_hit_asks_the_store_nothing() {
    on_both_stores("", |gateway, store| {
        let session = gateway.login("ann");
        let mut connection = gateway.connect();
        let request =
            format!("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n", bearer(&session.token));
        let mut get = || {
            connection.send(&request);
            assert_eq!(connection.read("GET").status, 200);
        };
        get();
        let before = calls(gateway);
        assert!(before.len() > 4, "{before:?}");
        for _ in 0..1_000 {
            get();
        }
        assert_eq!(calls(gateway), before, "{store}");
    });
}

#[test]
fn a_token_that_is_over_is_refused_from_memory_and_nothing_is_written() {
    let toml = "[admin]\nusers = [\"root\"]\n[audit]\nsweep_interval = \"0\"\n[session]\ntouch_interval = \"100ms\"\n\
                [cache]\nttl = \"10m\"\nnegative_ttl = \"10m\"\n";
    on_both_stores(toml, |gateway, store| {
        let login = |user: &str, lifetime: &str| {
            gateway.login_with(json!({
                "user": user, "lifetime": lifetime, "user_agent": "acme-test/1.0", "ip": "127.0.0.1"
            }))
        };
        let (expired, ended, stolen) = (login("ann", "300ms"), login("bob", "1h"), login("eve", "1h"));
        let (live, root) = (login("sam", "1h"), gateway.login("root"));
        assert_eq!(gateway.delete_as(&ended.token, "/_sessions/current").status, 204);
        let thief = format!("{}User-Agent: thief/1.0\r\n", bearer(&stolen.token));
        assert_eq!(gateway.get("/", &thief).status, 401);
        // So long that a use of any of them would be worth writing down.
        let began = now();
        wait_until("its time is over", || began.elapsed() > Duration::from_millis(400));
        let dead = [
            (expired.token.as_str(), "session_expired"),
            (&ended.token, "session_revoked"),
            (&stolen.token, "session_suspended"),
            (UNKNOWN, "unknown_token"),
        ];
        let refuse = || dead.iter().for_each(|(token, code)| assert_eq!(gateway.get_as(token, "/").code(), *code));

        let finds = gateway.store_finds();
        refuse();
        assert_eq!(gateway.store_finds() - finds, 4.0, "{store}: each is asked for once");
        let before = calls(gateway);
        for _ in 0..100 {
            refuse();
        }
        assert_eq!(calls(gateway), before, "{store}");

        // Uses are written down in their order: once this one is, an earlier one would be too.
        assert_eq!(gateway.get_as(&live.token, "/").status, 200);
        let row = |id: &str| gateway.get_as(&root.token, &format!("/_sessions/admin/sessions/{id}")).json();
        let is_as_created = |id: &str| row(id)["last_seen_at"] == row(id)["created_at"];
        wait_until("the use is written down", || !is_as_created(&live.id));
        for session in [&expired, &ended, &stolen] {
            assert!(is_as_created(&session.id), "{store}: {}", row(&session.id));
        }
    });
}

#[test]
fn of_200_misses_of_one_token_at_once_one_asks_the_store() {
    on_both_stores("[cache]\nnegative_ttl = \"60s\"", |gateway, store| {
        // Bound already, so that its first use writes nothing.
        let session = gateway.login_with(serde_json::json!({
            "user": "ann", "user_agent": "acme-test/1.0", "ip": "127.0.0.1"
        }));
        for (token, status) in [(session.token.as_str(), 200), (UNKNOWN, 401)] {
            let before = gateway.store_finds();
            assert_eq!(stampede(gateway, token), [status; 200], "{store}");
            assert_eq!(gateway.store_finds() - before, 1.0, "{store} {status}");
        }
    });
}

#[test]
fn of_many_requests_with_a_session_that_went_unused_one_asks_the_store() {
    on_both_stores("[session]\nidle_timeout = \"300ms\"\n", |gateway, store| {
        let session = gateway.login("ann");
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        let used = now();
        wait_until("it went unused", || used.elapsed() > Duration::from_millis(400));
        let asked = gateway.store_finds();
        assert!(stampede(gateway, &session.token).iter().all(|status| *status == 401));
        assert!(gateway.store_finds() - asked <= 2.0, "{store}");
        assert_eq!(gateway.get_as(&session.token, "/").code(), "session_idle");
    });
}

#[test]
fn a_session_in_use_is_confirmed_before_its_ttl_is_over_and_never_waits() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[cache]\nttl = \"800ms\"");
    let session = gateway.login_with(serde_json::json!({
        "user": "ann", "user_agent": "acme-test/1.0", "ip": "127.0.0.1"
    }));
    let lookups = |result: &str| gateway.metric(&format!("gateway_session_lookups_total{{result=\"{result}\"}}"));
    let began = now();
    let mut requests = 0.0;
    while began.elapsed() < Duration::from_millis(3_000) {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        requests += 1.0;
    }
    assert_eq!((lookups("miss"), lookups("coalesced")), (1.0, 0.0), "only the first one waited");
    assert_eq!(lookups("hit"), requests - 1.0);
    let finds = gateway.store_finds();
    assert!((3.0..=10.0).contains(&finds), "{finds} finds in 3 s at a ttl of 0.8 s");
}

#[test]
fn sessions_that_are_due_at_a_time_are_confirmed_together() {
    const SESSIONS: usize = 100;

    on_both_stores("[cache]\nttl = \"8s\"", |gateway, store| {
        let body = json!({ "user": "ann", "user_agent": "acme-test/1.0", "ip": "127.0.0.1" });
        let request = |token: &str| {
            format!("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n", bearer(token))
        };
        let requests: String = (0..SESSIONS).map(|_| request(&gateway.login_with(body.clone()).token)).collect();
        let mut connection = gateway.connect();
        let mut use_all = || {
            connection.send(&requests);
            assert!((0..SESSIONS).all(|_| connection.read("GET").status == 200));
        };
        use_all();
        assert_eq!(gateway.store_finds(), SESSIONS as f64, "{store}");
        let began = now();
        wait_until("all of them are due", || began.elapsed() > Duration::from_millis(6_400));
        use_all();
        let confirmations = || gateway.store_finds() - SESSIONS as f64;
        wait_until("they are asked about", || confirmations() >= 2.0);
        use_all();
        assert!(confirmations() <= 20.0, "{store}: {}", confirmations());
        assert_eq!(gateway.metric("gateway_session_lookups_total{result=\"miss\"}"), SESSIONS as f64, "{store}");
    });
}

#[test]
fn a_session_used_elsewhere_is_not_idle_here() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let toml = "[session]\nidle_timeout = \"2s\"\n[cache]\nttl = \"60s\"";
    let start = || Gateway::start_on(&database.url(), &upstream.url(), toml);
    let (here, there) = (start(), start());
    let session = here.login("ann");
    for gateway in [&here, &there] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    let began = now();
    wait_until("it looks idle here", || {
        assert_eq!(there.get_as(&session.token, "/").status, 200);
        began.elapsed() > Duration::from_millis(2_500)
    });
    assert_eq!(here.get_as(&session.token, "/").status, 200, "the store knows better than the cache");
    wait_until("it is idle", || {
        database.run("SELECT 1 FROM sessions WHERE last_seen_at < now() - interval '2200 milliseconds'").len() == 1
    });
    for gateway in [&here, &there] {
        assert_eq!(gateway.get_as(&session.token, "/").code(), "session_idle");
    }
}
