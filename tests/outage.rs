//! What happens while the session store is away, slow, or asked for little: cached sessions, refusals, recovery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use support::gateway::{Gateway, Issued, bearer};
use support::link::Link;
use support::postgres::{Cluster, Database, fresh_database};
use support::upstream::Upstream;
use support::{now, wait_until};
use tempfile::TempDir;

/// A PostgreSQL database behind a link that can be cut, and a gateway on it.
struct Behind {
    upstream: Upstream,
    database: Database,
    link: Link,
    gateway: Gateway,
}

impl Behind {
    fn start(toml: &str) -> Self {
        let (upstream, database) = (Upstream::hello(), fresh_database());
        let link = Link::to(database.port);
        let url = database.url_at("127.0.0.1", link.address.port());
        let gateway = Gateway::start_on(&url, &upstream.url(), toml);
        Self { upstream, database, link, gateway }
    }

    /// Cuts the link and has the gateway find out.
    fn cut(&self) {
        self.link.cut();
        assert_unavailable(&self.gateway.get_as(UNKNOWN, "/"));
        assert_eq!(self.gateway.ops_get("/readyz").status, 503);
    }

    fn mend(&self) {
        self.link.mend();
        wait_until("the store is up again", || self.gateway.ops_get("/readyz").status == 200);
    }

    fn end_in_database(&self, session: &Issued) {
        end_in_database(&self.database, session);
    }
}

/// A token of the right form that nobody has.
const UNKNOWN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn end_in_database(database: &Database, session: &Issued) {
    let sql = format!(
        "UPDATE sessions SET state = 'ended', state_reason = 'revoked', ended_at = now(), ended_by = 'operator' \
         WHERE id = '{}' RETURNING id",
        session.id
    );
    assert_eq!(database.run(&sql).len(), 1);
}

/// The session under its new token.
fn rotated(gateway: &Gateway, session: &Issued) -> String {
    let response = gateway.request("POST", "/_sessions/rotate", &bearer(&session.token), b"");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["token"].as_str().unwrap().to_owned()
}

/// A request with the session's token from another browser.
fn steal(gateway: &Gateway, session: &Issued) -> support::client::Response {
    gateway.get("/", &format!("{}User-Agent: thief/1.0\r\n", bearer(&session.token)))
}

#[track_caller]
fn assert_unavailable(response: &support::client::Response) {
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.code(), "store_unavailable");
    let seconds: u32 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[test]
fn a_gateway_whose_store_is_away_starts_answers_503_and_comes_up_by_itself() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let link = Link::to(database.port);
    link.cut();
    let url = database.url_at("127.0.0.1", link.address.port());
    let public = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/public/\"\nauth = \"off\"\n";
    let gateway = Gateway::start_unready(TempDir::new().unwrap(), &upstream.url(), &url, public);

    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_unavailable(&gateway.issue(&serde_json::json!({ "user": "ann" })));
    assert_unavailable(&gateway.delete_as(UNKNOWN, "/_sessions/current"));
    assert_eq!(gateway.ops_get("/readyz").status, 503);
    assert_eq!(gateway.ops_get("/livez").status, 200, "a restart would not help");
    assert_eq!(gateway.metric("gateway_store_up"), 0.0);
    assert_eq!(gateway.get("/", "").code(), "missing_token", "without a token there is nothing to ask");
    assert_eq!(upstream.received().len(), 0, "nothing reached the application");
    assert_eq!(gateway.get("/public/logo", "").status, 200, "what needs no session needs no store");

    link.mend();
    wait_until("the store is up", || gateway.ops_get("/readyz").status == 200);

    assert_eq!(gateway.metric("gateway_store_up"), 1.0);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
}

#[test]
fn a_gateway_whose_database_file_cannot_be_made_comes_up_when_it_can() {
    let (upstream, directory) = (Upstream::hello(), TempDir::new().unwrap());
    let folder = directory.path().join("data");
    let store = format!("sqlite:{}", folder.join("sessions.db").display());
    let gateway = Gateway::start_unready(directory, &upstream.url(), &store, "");

    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_eq!(gateway.ops_get("/readyz").status, 503);

    std::fs::create_dir(&folder).unwrap();
    wait_until("the store is up", || gateway.ops_get("/readyz").status == 200);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
}

#[test]
fn cached_sessions_go_on_for_a_while_when_the_store_is_lost_and_nothing_else_does() {
    let behind = Behind::start("[cache]\nttl = \"100ms\"\nserve_while_store_down = \"3s\"");
    let gateway = &behind.gateway;
    let (cached, uncached) = (gateway.login("ann"), gateway.login("bob"));
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
    let confirmed = now();

    behind.cut();

    // Long after the ttl, and within what the settings allow.
    wait_until("a second", || {
        assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
        confirmed.elapsed() > Duration::from_secs(1)
    });
    assert!(gateway.metric("gateway_session_lookups_total{result=\"stale\"}") > 0.0);
    assert_unavailable(&gateway.get_as(&uncached.token, "/"));
    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_unavailable(&gateway.issue(&serde_json::json!({ "user": "ann" })));
    for target in ["/_sessions/current", "/_sessions?all=true", &format!("/_sessions/{}", cached.id)] {
        assert_unavailable(&gateway.delete_as(&cached.token, target));
    }
    wait_until("the time is over", || gateway.get_as(&cached.token, "/").status == 503);
    assert!(confirmed.elapsed() >= Duration::from_millis(2_900), "{:?}", confirmed.elapsed());
    assert_unavailable(&gateway.get_as(&cached.token, "/"));

    behind.mend();
    for session in [&cached, &uncached] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200, "it needed no restart, and nothing was ended");
    }
    assert!(behind.upstream.received().len() > 2);
}

#[test]
fn with_0_nothing_is_served_beyond_its_ttl() {
    let behind = Behind::start("[cache]\nttl = \"800ms\"\nserve_while_store_down = \"0\"");
    let gateway = &behind.gateway;
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    let confirmed = now();
    behind.link.cut();

    wait_until("refused", || gateway.get_as(&session.token, "/").status == 503);

    let served = confirmed.elapsed();
    assert!(served < Duration::from_millis(1_300), "{served:?}");
    assert_eq!(gateway.metric("gateway_session_lookups_total{result=\"stale\"}"), 0.0);
}

#[test]
fn a_session_ended_during_the_outage_is_refused_as_soon_as_the_store_is_back() {
    let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let (ended, kept) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&ended, &kept] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    behind.cut();
    behind.end_in_database(&ended);
    assert_eq!(gateway.get_as(&ended.token, "/").status, 200, "nobody can know yet");

    behind.mend();

    assert_eq!(gateway.get_as(&ended.token, "/").code(), "session_revoked");
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200);
}

#[test]
fn a_session_stolen_during_the_outage_is_refused_at_once_and_suspended_when_the_store_is_back() {
    let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let (stolen, kept) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&stolen, &kept] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    behind.cut();
    assert_eq!(steal(gateway, &stolen).code(), "session_suspended");

    assert_unavailable(&gateway.get_as(&stolen.token, "/"));
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200, "nobody else is concerned");

    behind.mend();

    // Nobody asks for it: it is written down all the same, for the other gateways.
    let (sql, suspended) = (
        format!("SELECT state || ' ' || state_reason FROM sessions WHERE id = '{}'", stolen.id),
        "suspended user_agent_changed",
    );
    wait_until("the suspension is written down", || behind.database.run(&sql)[0].as_deref() == Some(suspended));
    assert_eq!(gateway.get_as(&stolen.token, "/").code(), "session_suspended");
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200);
    let sql = format!(
        "SELECT user_agent || ' ' || host(ip) FROM events WHERE kind = 'session_suspended' AND session_id = '{}'",
        stolen.id
    );
    assert_eq!(behind.database.run(&sql)[0].as_deref(), Some("thief/1.0 127.0.0.1"));
}

#[test]
fn a_session_whose_old_token_comes_again_during_the_outage_ends_when_the_store_is_back() {
    let behind =
        Behind::start("[session]\nrotate_grace = \"300ms\"\n[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let session = gateway.login("ann");
    let new = rotated(gateway, &session);
    // From here on this process knows what the old token stands for.
    for token in [&session.token, &new] {
        assert_eq!(gateway.get_as(token, "/").status, 200);
    }
    behind.cut();
    wait_until("its grace is over", || gateway.get_as(&session.token, "/").status != 200);
    assert_unavailable(&gateway.get_as(&new, "/"));
    behind.mend();
    wait_until("it has ended", || gateway.get_as(&new, "/").code() == "session_revoked");
    let sql = format!("SELECT ended_by || ' ' || state_reason FROM sessions WHERE id = '{}'", session.id);
    assert_eq!(behind.database.run(&sql)[0].as_deref(), Some("policy token_reused"));
}

#[test]
fn limits_that_were_corrected_during_the_outage_are_not_enforced_after_it() {
    let behind = Behind::start("");
    let gateway = &behind.gateway;
    let sessions = [gateway.login("ann"), gateway.login("ann")];
    for _ in 0..5 {
        gateway.login("bob");
    }
    behind.cut();
    for limit in [1, 4] {
        let toml = format!("[policy.max_sessions]\ndefault = {limit}\nenforce_on_reload = true\n");
        gateway.adopt(&behind.upstream.url(), &toml);
    }
    behind.mend();
    let live = "SELECT 1 FROM sessions WHERE state = 'active' AND user_id = 'bob'";
    wait_until("the limits are enforced", || behind.database.run(live).len() < 5);
    for _ in 0..20 {
        for session in &sessions {
            assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        }
    }
    assert_eq!(behind.database.run(live).len(), 4);
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
fn a_session_stolen_during_the_outage_never_comes_through_when_it_is_over() {
    for _ in 0..3 {
        let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
        let gateway = &behind.gateway;
        let stolen = gateway.login("ann");
        assert_eq!(gateway.get_as(&stolen.token, "/").status, 200);
        behind.cut();
        assert_eq!(steal(gateway, &stolen).code(), "session_suspended");
        behind.link.mend();
        // The first request after the outage is there before the task that writes such suspensions down.
        wait_until("the session is refused for what happened to it", || {
            let answer = gateway.get_as(&stolen.token, "/");
            assert_ne!(answer.status, 200);
            answer.code() == "session_suspended"
        });
    }
}

#[test]
fn a_store_that_hangs_holds_up_misses_for_its_timeout_and_hits_not_at_all() {
    let cluster = Cluster::start(&[]);
    let database = cluster.fresh_database();
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1500ms\"\n[cache]\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let (cached, uncached) = (gateway.login("ann"), gateway.login("bob"));
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);

    cluster.signal("STOP");
    let slowest = thread::scope(|scope| {
        let miss = scope.spawn(|| {
            let began = now();
            assert_unavailable(&gateway.get_as(&uncached.token, "/"));
            began.elapsed()
        });
        let mut slowest = Duration::ZERO;
        let mut hits = 0;
        while !miss.is_finished() {
            let began = now();
            assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
            slowest = slowest.max(began.elapsed());
            hits += 1;
        }
        let miss = miss.join().unwrap();
        assert!((1_400..3_000).contains(&miss.as_millis()), "the miss took {miss:?}");
        assert!(hits > 20, "{hits}");
        slowest
    });
    assert!(slowest < Duration::from_millis(700), "a hit took {slowest:?}");
    // From here on the gateway knows, and makes nobody wait.
    let began = now();
    assert_unavailable(&gateway.get_as(&uncached.token, "/"));
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());

    cluster.signal("CONT");
    wait_until("the store is up again", || gateway.ops_get("/readyz").status == 200);
    assert_eq!(gateway.get_as(&uncached.token, "/").status, 200);
}

/// Every connection of the pool hangs at once, and more calls wait than there are connections.
#[test]
fn a_whole_pool_that_hangs_holds_nobody_up_for_longer_than_the_timeout_and_hits_not_at_all() {
    let cluster = Cluster::start(&[]);
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1500ms\"\npool_size = 3\n[cache]\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&cluster.fresh_database().url(), &upstream.url(), toml);
    let cached = gateway.login("ann");
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
    let uncached: Vec<_> = (0..12).map(|number| gateway.login(&format!("user-{number}"))).collect();
    let doomed = gateway.login("carl");

    cluster.signal("STOP");
    let barrier = Barrier::new(uncached.len() + 1);
    let slowest_hit = thread::scope(|scope| {
        let mut waiting: Vec<_> = uncached
            .iter()
            .map(|session| {
                let (barrier, gateway) = (&barrier, &gateway);
                scope.spawn(move || {
                    barrier.wait();
                    let began = now();
                    assert_unavailable(&gateway.get_as(&session.token, "/"));
                    began.elapsed()
                })
            })
            .collect();
        barrier.wait();
        waiting.push(scope.spawn(|| {
            let began = now();
            assert_unavailable(&gateway.delete_as(&doomed.token, "/_sessions/current"));
            began.elapsed()
        }));
        let mut slowest = Duration::ZERO;
        while waiting.iter().any(|call| !call.is_finished()) {
            let began = now();
            assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
            slowest = slowest.max(began.elapsed());
        }
        for call in waiting {
            let took = call.join().unwrap();
            assert!(took < Duration::from_millis(3_000), "{took:?}");
        }
        slowest
    });
    assert!(slowest_hit < Duration::from_millis(700), "a hit took {slowest_hit:?}");

    cluster.signal("CONT");
    wait_until("the store is up again", || gateway.ops_get("/readyz").status == 200);
    for session in uncached.iter().chain([&doomed]) {
        wait_until("it needed no restart", || gateway.get_as(&session.token, "/").status == 200);
    }
}

/// A client with less patience than the store's timeout must not take its session's last known state with it.
#[test]
fn a_client_that_gives_up_while_the_store_hangs_does_not_lose_its_cached_session() {
    let cluster = Cluster::start(&[]);
    let database = cluster.fresh_database();
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1s\"\n[cache]\nttl = \"100ms\"\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    let used = now();
    wait_until("the ttl is over", || used.elapsed() > Duration::from_millis(150));

    cluster.signal("STOP");
    let finds = gateway.store_finds();
    let mut impatient = gateway.connect();
    impatient.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n",
        bearer(&session.token)
    ));
    // The next one waits for the same load; the first then goes away.
    thread::scope(|scope| {
        let patient = scope.spawn(|| gateway.get_as(&session.token, "/"));
        wait_until("both wait", || gateway.metric("gateway_connections_open") >= 2.0);
        impatient.close();
        assert_eq!(patient.join().unwrap().status, 200);
    });
    wait_until("the hanging call ended", || gateway.store_finds() > finds);
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    cluster.signal("CONT");
}

fn on_both_stores(toml: &str, test: impl Fn(&Gateway, &str)) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), toml);
    test(&gateway, "sqlite");
    let gateway = Gateway::start_on(&fresh_database().url(), &upstream.url(), toml);
    test(&gateway, "postgres");
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
        let calls = |gateway: &Gateway| {
            let page = gateway.ops_get("/metrics");
            let counts =
                page.text().lines().filter(|line| line.starts_with("gateway_store_call_duration_seconds_count"));
            counts.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = calls(gateway);
        assert!(before.len() > 4, "{before:?}");
        for _ in 0..1_000 {
            get();
        }
        assert_eq!(calls(gateway), before, "{store}");
    });
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
fn the_last_use_of_sessions_is_written_down_in_batches() {
    const SESSIONS: usize = 60;
    let toml = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[session]\ntouch_interval = \"4s\"";
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let sessions: Vec<_> = (0..SESSIONS).map(|at| gateway.login(&format!("user-{at}"))).collect();
    database.run("UPDATE sessions SET last_seen_at = now() - interval '1 hour'");
    let touches = || gateway.metric("gateway_store_call_duration_seconds_count{call=\"touch\"}");
    let before = touches();
    let forwarded = "X-Forwarded-For: 203.0.113.9\r\n";
    for session in &sessions {
        assert_eq!(gateway.get("/", &format!("{forwarded}{}", bearer(&session.token))).status, 200);
    }
    let fresh = "SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute' \
                 AND host(last_ip) = '203.0.113.9'";
    wait_until("all are written", || database.run(fresh) == [Some(SESSIONS.to_string())]);
    let writes = touches() - before;
    assert!(writes <= 10.0, "{writes} writes for {SESSIONS} sessions");
    assert_eq!(gateway.metric("gateway_touches_waiting"), 0.0);
}

#[test]
fn the_last_use_of_sessions_is_written_down_when_the_gateway_stops() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), "");
    let session = gateway.login("ann");
    database.run("UPDATE sessions SET last_seen_at = now() - interval '1 hour'");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    gateway.stop();
    let fresh = "SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute'";
    assert_eq!(database.run(fresh), [Some("1".to_owned())]);
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

#[test]
fn gateways_that_start_together_on_an_empty_database_migrate_it_once() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateways: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> =
            (0..3).map(|_| scope.spawn(|| Gateway::start_on(&database.url(), &upstream.url(), ""))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(database.run("SELECT count(*) FROM schema_version"), [Some("1".to_owned())]);
    let session = gateways[0].login("ann");
    for gateway in &gateways {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
}
