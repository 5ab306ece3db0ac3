//! Applications with several addresses: which one is chosen, and what happens when one cannot be reached.

use std::net::{TcpListener, TcpStream};

use tempfile::TempDir;

use crate::front::Front;
use crate::open;
use crate::support::client::Connection;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;

/// An address where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn gateway(urls: &[String], more: &str) -> Gateway {
    Gateway::start("", &open(&format!("urls = {urls:?}\n{more}")))
}

fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| Reaction::Send(response("200 OK", "", name)))
}

#[test]
fn addresses_that_are_equally_busy_take_turns() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let gateway = gateway(&[a.url(), b.url(), c.url()], "");
    let mut client = gateway.connect();
    for _ in 0..4 {
        for expected in ["a", "b", "c"] {
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert_eq!(client.read("GET").text(), expected);
        }
    }
    assert_eq!((a.connections(), b.connections(), c.connections()), (1, 1, 1), "each keeps its own");
}

#[test]
fn a_busy_address_gets_nothing_while_another_has_less_to_do() {
    let (busy, idle) = (Peer::listen(), named("idle"));
    let gateway = gateway(&[busy.url(), idle.url()], "");
    let mut waiting = gateway.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut app = busy.accept();
    app.read_head().unwrap();
    let figure = |url: &str| {
        let address = url.strip_prefix("http://").unwrap();
        gateway.metric(&format!("gateway_upstream_requests_in_flight{{upstream=\"app\",address=\"{address}\"}}"))
    };
    assert_eq!((figure(&busy.url()), figure(&idle.url())), (1.0, 0.0));
    for _ in 0..6 {
        assert_eq!(gateway.get("/", "").text(), "idle");
    }
    app.send(response("200 OK", "", "busy"));
    assert_eq!(waiting.read("GET").text(), "busy");
    wait_until("it is free", || figure(&busy.url()) == 0.0);
}

#[test]
fn a_request_whose_connection_is_refused_goes_to_the_next_address_and_the_refusing_one_is_put_aside() {
    let good = named("good");
    let gone = nobody();
    let gateway = gateway(&[gone.clone(), good.url()], "retry_after = \"30s\"");
    for _ in 0..6 {
        assert_eq!(gateway.request("POST", "/", "", b"body").text(), "good");
        assert_eq!(good.last().body, b"body");
    }
    let labels = |url: &str| format!("{{upstream=\"app\",address=\"{}\"}}", url.strip_prefix("http://").unwrap());
    gateway.until_metric(&format!("gateway_upstream_failures_total{}", labels(&gone)), 1.0);
    assert_eq!(gateway.metric(&format!("gateway_upstream_up{}", labels(&gone))), 0.0);
    gateway.until_metric(&format!("gateway_upstream_up{}", labels(&good.url())), 1.0);
    assert_eq!(gateway.ops_get("/readyz").text(), "ok\n", "the gateway itself is ready");
}

#[test]
fn when_no_address_is_left_the_first_is_told_and_then_that_nothing_is_in_use() {
    let gateway = gateway(&[nobody(), nobody()], "retry_after = \"30s\"");
    let answer = gateway.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"), "both were tried");
    let answer = gateway.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
}

#[test]
fn an_address_that_comes_back_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = gateway(&[format!("http://{address}"), nobody()], "retry_after = \"100ms\"");
    assert_eq!(gateway.get("/", "").status, 502);
    let _back =
        Upstream::start_on(TcpListener::bind(address).unwrap(), |_| Reaction::Send(response("200 OK", "", "back")));
    wait_until("it is used again", || gateway.get("/", "").status == 200);
}

#[test]
fn a_lone_address_is_always_tried() {
    let gateway = gateway(&[nobody()], "");
    for _ in 0..3 {
        assert_eq!(gateway.get("/", "").code(), "upstream_unreachable");
    }
}

#[test]
fn a_request_of_which_anything_was_sent_never_goes_to_another_address() {
    let dying = Upstream::start(|_| Reaction::Close);
    let broken = Upstream::start(|_| Reaction::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()));
    for first in [&dying, &broken] {
        let other = named("other");
        let gateway = gateway(&[first.url(), other.url()], "");
        for (method, body) in [("POST", &b"body"[..]), ("GET", b"")] {
            // Of two requests one goes to each.
            let mut statuses: Vec<u16> = (0..2).map(|_| gateway.request(method, "/", "", body).status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 502], "{method}");
        }
        assert_eq!(other.received().len(), 2, "nothing came twice");
    }
}

#[test]
fn a_response_that_breaks_off_is_not_asked_for_elsewhere() {
    let half =
        Upstream::start(|_| Reaction::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()));
    let other = named("other");
    let gateway = gateway(&[half.url(), other.url()], "");
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    // The client gets what has left by then, and never a whole answer.
    let got = String::from_utf8(client.read_to_end()).unwrap();
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 200") && !got.ends_with("other"), "{got}");
    assert_eq!((half.received().len(), other.received().len()), (1, 0));
}

#[test]
fn addresses_of_all_kinds_stand_beside_each_other_and_each_gets_its_own_host() {
    let (plain, local) = (named("plain"), named("local"));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("app.sock");
    let _front = Front::unix(local.address, &path);
    let urls = [plain.url(), format!("unix:{}", path.display())];
    let gateway = gateway(&urls, "preserve_host = false");
    for _ in 0..2 {
        assert_eq!(gateway.get("/x?y=z", "X-A: b\r\n").text(), "plain");
        assert_eq!(gateway.get("/x?y=z", "X-A: b\r\n").text(), "local");
    }
    for (received, host) in [(plain.last(), plain.address.to_string()), (local.last(), "localhost".to_owned())] {
        assert_eq!(received.headers("host"), [host.as_str()]);
        assert_eq!((received.target(), received.header("x-a")), ("/x?y=z", Some("b")));
    }
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // Whatever comes first for this name, only one of its addresses listens.
    for listening in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(listening) else { continue };
        let port = listener.local_addr().unwrap().port();
        let upstream = Upstream::start_on(listener, |_| Reaction::Send(response("200 OK", "", "x")));
        for refresh in ["30s", "0"] {
            let url = format!("http://localhost:{port}");
            let gateway = gateway(&[url], &format!("dns_refresh = \"{refresh}\"\nmax_idle = 0"));
            let before = upstream.received().len();
            if listening.starts_with('[') && gateway.get("/", "").status == 502 {
                continue; // This machine's name has no such address.
            }
            for _ in 0..3 {
                assert_eq!(gateway.get("/", "").status, 200, "{listening}");
            }
            assert!(upstream.received().len() >= before + 3);
        }
    }
}

#[test]
fn a_name_that_nobody_knows_is_a_502() {
    let gateway = gateway(&["http://nobody.invalid:1".to_owned()], "");
    assert_eq!(gateway.get("/", "").code(), "upstream_unreachable");
}

#[test]
fn a_kept_connection_that_is_closed_and_cannot_be_made_anew_leads_to_the_next_address() {
    let (first, second) = (named("first"), named("second"));
    let gateway = gateway(&[first.url(), second.url()], "");
    let mut client: Connection = gateway.connect();
    for expected in ["first", "second"] {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.read("GET").text(), expected);
    }
    first.stop();
    wait_until("nobody listens there", || TcpStream::connect(first.address).is_err());
    for _ in 0..4 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.read("GET").text(), "second");
    }
}
