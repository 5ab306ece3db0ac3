//! Health checks: an address that is not well gets no requests, until it is well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::open;
use crate::several::nobody;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Received, Upstream, response};
use crate::support::wait_until;

const QUICK: &str = "health = { path = \"/healthz?deep=1\", interval = \"100ms\", timeout = \"500ms\" }";

/// An application whose health is this status.
fn patient(name: &'static str, health: &Arc<AtomicU16>) -> Upstream {
    let health = health.clone();
    Upstream::start(move |received| {
        if is_check(received) {
            let status = health.load(Ordering::SeqCst);
            return Reaction::SendAndClose(response(&format!("{status} X"), "Connection: close\r\n", ""));
        }
        Reaction::Send(response("200 OK", "", name))
    })
}

fn is_check(received: &Received) -> bool {
    received.target() == "/healthz?deep=1"
}

#[test]
fn an_address_that_is_not_well_gets_no_requests_until_it_is_well_again() {
    let (health, fine) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(302)));
    let (a, b) = (patient("a", &health), patient("b", &fine));
    let gateway = Gateway::start("", &open(&format!("urls = [\"{}\", \"{}\"]\n{QUICK}", a.url(), b.url())));
    let up = |upstream: &Upstream| {
        gateway.metric(&format!("gateway_upstream_up{{upstream=\"app\",address=\"{}\"}}", upstream.address))
    };
    let asked = |name: &str| (0..4).filter(|_| gateway.get("/", "").text() == name).count();
    assert_eq!((asked("a"), up(&a)), (2, 1.0));
    health.store(503, Ordering::SeqCst);
    wait_until("it is found out", || up(&a) == 0.0);
    assert_eq!((asked("a"), up(&b)), (0, 1.0));
    health.store(204, Ordering::SeqCst);
    wait_until("it is found out", || up(&a) == 1.0);
    assert_eq!(asked("a"), 2);

    let check = a.received().into_iter().find(is_check).unwrap();
    assert_eq!((check.method(), check.header("host")), ("GET", Some(a.address.to_string().as_str())));
    assert!(check.header("user-agent").unwrap().contains("health check"));
}

#[test]
fn a_lone_address_that_is_not_well_is_a_503_with_the_time_of_the_next_check() {
    let health = Arc::new(AtomicU16::new(500));
    let app = patient("app", &health);
    let gateway = Gateway::start("", &open(&format!("url = \"{}\"\n{QUICK}", app.url())));
    wait_until("it is found out", || gateway.get("/", "").status == 503);
    let answer = gateway.get("/", "");
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("upstream_unavailable", Some("1")));
    assert_eq!(gateway.ops_get("/readyz").text(), "ok\n", "the gateway itself is ready");
    health.store(200, Ordering::SeqCst);
    wait_until("it is found out", || gateway.get("/", "").status == 200);
}

#[test]
fn an_address_that_cannot_be_connected_to_is_not_well() {
    let gateway = Gateway::start("", &open(&format!("url = \"{}\"\n{QUICK}", nobody())));
    wait_until("it is found out", || gateway.get("/", "").status == 503);
}

#[test]
fn only_the_statuses_of_the_settings_are_good_and_the_host_can_be_told() {
    let app = patient("app", &Arc::new(AtomicU16::new(302)));
    let health = QUICK.replace(" }", ", expect = [200], host = \"app.example.com\", unhealthy_after = 1 }");
    let gateway = Gateway::start("", &open(&format!("url = \"{}\"\n{health}", app.url())));
    wait_until("it is found out", || gateway.get("/", "").status == 503);
    let check = app.received().into_iter().find(is_check).unwrap();
    assert_eq!(check.header("host"), Some("app.example.com"));
}

#[test]
fn several_bad_checks_in_a_row_are_needed_when_the_settings_say_so() {
    let health = Arc::new(AtomicU16::new(500));
    let app = patient("app", &health);
    let patience = QUICK.replace(" }", ", unhealthy_after = 1000 }");
    let gateway = Gateway::start("", &open(&format!("url = \"{}\"\n{patience}", app.url())));
    wait_until("it was checked several times", || app.received().iter().filter(|one| is_check(one)).count() > 4);
    assert_eq!(gateway.get("/", "").status, 200);
}
