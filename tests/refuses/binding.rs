//! What a session is bound to: its User-Agent and its address.

use serde_json::json;

use crate::problem;
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::Upstream;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/130.0.0.0 Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0";

fn with_agent(gateway: &Gateway, session: &Issued, agent: &str) -> Response {
    gateway.get("/", &format!("{}User-Agent: {agent}\r\n", bearer(&session.token)))
}

fn without_agent(gateway: &Gateway, session: &Issued) -> Response {
    let mut connection = gateway.connect();
    connection.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", bearer(&session.token)));
    connection.read("GET")
}

fn bound_to(gateway: &Gateway, agent: &str) -> Issued {
    gateway.login_with(json!({ "user": "ann", "user_agent": agent }))
}

#[test]
fn another_user_agent_suspends_the_session_for_its_owner_too() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = bound_to(&gateway, CHROME);
    assert_eq!(with_agent(&gateway, &session, CHROME).status, 200, "hot in the cache");

    for agent in [FIREFOX, CHROME, FIREFOX] {
        let body = problem(&with_agent(&gateway, &session, agent), 401, "session_suspended");
        assert_eq!(body["reason"], "user_agent_changed");
    }
    assert_eq!(upstream.received().len(), 1);
    let events = Database::of(&gateway).events("session_suspended");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].user_agent.as_deref(), Some(FIREFOX), "the offender's");
    assert_eq!(events[0].ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(events[0].user.as_deref(), Some("ann"));
}

#[test]
fn a_suspension_outlives_the_gateway() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = bound_to(&gateway, CHROME);
    problem(&with_agent(&gateway, &session, FIREFOX), 401, "session_suspended");
    let directory = gateway.stop();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let gateway = Gateway::start_in(directory, &upstream.url(), &store, "");
    problem(&with_agent(&gateway, &session, CHROME), 401, "session_suspended");
}

#[test]
fn another_user_agent_is_refused_under_reject_and_the_session_stays() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[policy.user_agent]\non_change = \"reject\"\n");
    let session = bound_to(&gateway, CHROME);
    for _ in 0..2 {
        assert_eq!(with_agent(&gateway, &session, CHROME).status, 200);
        problem(&with_agent(&gateway, &session, FIREFOX), 401, "user_agent_changed");
    }
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn another_user_agent_passes_under_log_and_under_off() {
    let upstream = Upstream::hello();
    for policy in ["on_change = \"log\"", "mode = \"off\""] {
        let gateway = Gateway::start(&upstream.url(), &format!("[policy.user_agent]\n{policy}\n"));
        let session = bound_to(&gateway, CHROME);
        for agent in [CHROME, FIREFOX, CHROME] {
            assert_eq!(with_agent(&gateway, &session, agent).status, 200, "{policy}");
        }
    }
}

#[test]
fn a_session_survives_the_update_of_its_browser_by_family_but_not_by_exact() {
    let upstream = Upstream::hello();
    let updated = CHROME.replace("130.0.0.0", "131.0.6778.86");
    let gateway = Gateway::start(&upstream.url(), "");
    let session = bound_to(&gateway, CHROME);
    assert_eq!(with_agent(&gateway, &session, &updated).status, 200);
    assert_eq!(with_agent(&gateway, &session, CHROME).status, 200);

    let gateway = Gateway::start(&upstream.url(), "[policy.user_agent]\nmode = \"exact\"\non_change = \"reject\"\n");
    let session = bound_to(&gateway, CHROME);
    assert_eq!(with_agent(&gateway, &session, CHROME).status, 200);
    problem(&with_agent(&gateway, &session, &updated), 401, "user_agent_changed");
    problem(&with_agent(&gateway, &session, &CHROME.to_lowercase()), 401, "user_agent_changed");
}

#[test]
fn a_user_agent_that_is_no_utf_8_is_known_again() {
    let upstream = Upstream::hello();
    for mode in ["exact", "family"] {
        let toml = format!("[policy.user_agent]\nmode = \"{mode}\"\non_change = \"reject\"\n");
        let gateway = Gateway::start(&upstream.url(), &toml);
        let session = gateway.login("ann");
        let with = |agent: &[u8]| {
            let mut connection = gateway.connect();
            connection.send(format!(
                "GET /_sessions/current HTTP/1.1\r\nHost: app.test\r\n{}User-Agent: ",
                bearer(&session.token)
            ));
            connection.send(agent);
            connection.send("\r\n\r\n");
            connection.read("GET")
        };
        for _ in 0..2 {
            assert_eq!(with(b"caf\xe9/1.0").status, 200, "{mode}");
        }
        problem(&with(b"cafe/1.0"), 401, "user_agent_changed");
    }
}

#[test]
fn a_missing_user_agent_is_the_empty_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[policy.user_agent]\non_change = \"reject\"\n");
    let nameless = bound_to(&gateway, "");
    assert_eq!(without_agent(&gateway, &nameless).status, 200);
    assert_eq!(with_agent(&gateway, &nameless, "").status, 200);
    problem(&with_agent(&gateway, &nameless, CHROME), 401, "user_agent_changed");
    let named = bound_to(&gateway, CHROME);
    problem(&without_agent(&gateway, &named), 401, "user_agent_changed");

    // Bound at first use, that is the same.
    let unbound = gateway.login("ann");
    assert_eq!(without_agent(&gateway, &unbound).status, 200);
    problem(&with_agent(&gateway, &unbound, CHROME), 401, "user_agent_changed");
}

#[test]
fn a_session_without_a_user_agent_is_bound_to_that_of_its_first_use() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    assert_eq!(with_agent(&gateway, &session, FIREFOX).status, 200);
    assert_eq!(Database::of(&gateway).column(&session.id, "user_agent").as_deref(), Some(FIREFOX));
    problem(&with_agent(&gateway, &session, CHROME), 401, "session_suspended");
    problem(&with_agent(&gateway, &session, FIREFOX), 401, "session_suspended");
}

#[test]
fn of_many_first_uses_at_once_one_binds_the_session() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[policy.user_agent]\non_change = \"reject\"\n");
    for _ in 0..5 {
        let session = gateway.login("ann");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let (gateway, session) = (&gateway, &session);
            let agents = (0..20).map(|number| format!("program{number}/1"));
            let threads: Vec<_> =
                agents.map(|agent| scope.spawn(move || with_agent(gateway, session, &agent).status)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 19, "{statuses:?}");
    }
}

#[test]
fn whoever_is_told_that_the_session_is_suspended_is_told_the_truth() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let database = Database::of(&gateway);
    let mut told = 0;
    for _ in 0..20 {
        let session = gateway.login("ann");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let (gateway, session) = (&gateway, &session);
            let threads =
                [CHROME, FIREFOX].map(|agent| scope.spawn(move || with_agent(gateway, session, agent).status));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(statuses.iter().all(|status| matches!(status, 200 | 401)), "{statuses:?}");
        if statuses.contains(&401) {
            told += 1;
            assert_eq!(database.column(&session.id, "state").as_deref(), Some("suspended"));
        }
    }
    assert_eq!(told, 20, "two programs cannot both be the one that the session is bound to");
}

/// Requests from other addresses come through a trusted proxy.
struct Roaming {
    upstream: Upstream,
    gateway: Gateway,
}

impl Roaming {
    fn under(policy: &str) -> Self {
        let upstream = Upstream::hello();
        let toml = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[policy.ip]\n{policy}\n");
        Self { gateway: Gateway::start(&upstream.url(), &toml), upstream }
    }

    fn bound_to(&self, ip: &str) -> Issued {
        self.gateway.login_with(json!({ "user": "ann", "ip": ip }))
    }

    fn from(&self, session: &Issued, ip: &str) -> Response {
        self.gateway.get("/", &format!("{}X-Forwarded-For: {ip}\r\n", bearer(&session.token)))
    }
}

#[test]
fn an_exact_address_lets_no_other_pass_and_the_session_stays() {
    let roaming = Roaming::under("mode = \"exact\"");
    let session = roaming.bound_to("192.0.2.7");
    assert_eq!(roaming.from(&session, "192.0.2.7").status, 200);
    assert_eq!(roaming.from(&session, "::ffff:192.0.2.7").status, 200, "IPv4-mapped is IPv4");
    for other in ["192.0.2.8", "127.0.0.1", "2001:db8::7", "192.0.2.7, 198.51.100.1"] {
        problem(&roaming.from(&session, other), 401, "ip_changed");
    }
    assert_eq!(roaming.from(&session, "192.0.2.7").status, 200);
    assert_eq!(roaming.upstream.received().len(), 3);
}

#[test]
fn a_subnet_lets_its_neighbours_pass_and_nobody_else() {
    let roaming = Roaming::under("mode = \"subnet\"");
    let session = roaming.bound_to("192.0.2.7");
    for (ip, status) in
        [("192.0.2.7", 200), ("192.0.2.255", 200), ("::ffff:192.0.2.9", 200), ("192.0.3.7", 401), ("2001:db8::7", 401)]
    {
        assert_eq!(roaming.from(&session, ip).status, status, "{ip}");
    }
    let session = roaming.bound_to("2001:db8:1:2::7");
    for (ip, status) in [("2001:db8:1:2:ffff::1", 200), ("2001:db8:1:3::7", 401), ("192.0.2.7", 401)] {
        assert_eq!(roaming.from(&session, ip).status, status, "{ip}");
    }
}

#[test]
fn a_recorded_address_may_change_and_is_written_down() {
    let roaming = Roaming::under("mode = \"record\"");
    let session = roaming.bound_to("192.0.2.7");
    let database = Database::of(&roaming.gateway);
    // Long ago, so that the use is worth writing down.
    database.change(&session, "last_seen_at = last_seen_at - 60000");
    assert_eq!(roaming.from(&session, "198.51.100.9").status, 200);
    let last_ip = || database.column(&session.id, "last_ip");
    crate::support::wait_until("the address is recorded", || last_ip().as_deref() == Some("198.51.100.9"));
    assert_eq!(roaming.from(&session, "2001:db8::1").status, 200);
}

#[test]
fn another_address_passes_under_log() {
    let roaming = Roaming::under("mode = \"exact\"\non_change = \"log\"");
    let session = roaming.bound_to("192.0.2.7");
    assert_eq!(roaming.from(&session, "198.51.100.9").status, 200);
}

#[test]
fn a_session_without_an_address_is_bound_to_that_of_its_first_use() {
    let roaming = Roaming::under("mode = \"exact\"");
    let session = roaming.gateway.login("ann");
    assert_eq!(roaming.from(&session, "192.0.2.7").status, 200);
    problem(&roaming.from(&session, "192.0.2.8"), 401, "ip_changed");
    assert_eq!(roaming.from(&session, "192.0.2.7").status, 200);
}

#[test]
fn a_client_cannot_move_itself_with_a_header() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[policy.ip]\nmode = \"exact\"\n");
    let session = gateway.login_with(json!({ "user": "ann", "ip": "192.0.2.7" }));
    for line in ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7", "X-Real-IP: 192.0.2.7"] {
        problem(&gateway.get("/", &format!("{}{line}\r\n", bearer(&session.token))), 401, "ip_changed");
    }
}
