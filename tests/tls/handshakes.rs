//! Handshakes that do not come to their end, and ends of connections that did.

use std::net::TcpStream;
use std::time::Duration;

use super::support::client::Connection;
use super::support::peer::Peer;
use super::support::{now, wait_until};
use super::{GET, Site};

#[test]
fn a_stalled_handshake_costs_a_place_for_the_time_of_a_head_and_keeps_nobody_waiting() {
    let site = Site::start("workers = 1\nheader_timeout = \"2s\"");
    let mut silent = Connection::open(site.gateway.address);
    let mut half = Connection::open(site.gateway.address);
    half.send([22, 3, 1, 2, 0, 1, 0]);
    wait_until("both hold a place", || site.gateway.metric("gateway_connections_open") == 2.0);

    let mut other = site.client().connect(site.gateway.address, "app.test");
    other.send(GET);
    assert_eq!(other.read("GET").status, 200);
    assert_eq!(site.failures("timeout"), 0.0, "others were kept waiting");

    assert!(silent.is_closed() && half.is_closed());
    wait_until("both are counted", || site.failures("timeout") == 2.0);
    wait_until("their places are free", || site.gateway.metric("gateway_connections_open") == 1.0);
    assert_eq!(site.gateway.metric("gateway_connections_total"), 3.0);
}

#[test]
fn a_client_that_dribbles_its_handshake_gets_no_more_time() {
    let site = Site::start("workers = 1\nheader_timeout = \"1s\"");
    let began = now();
    let mut slow = Connection::open(site.gateway.address);
    slow.send([22, 3, 1, 2, 0]);
    wait_until("it is closed", || !slow.try_send([1]) || site.failures("timeout") == 1.0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn whoever_speaks_http_to_a_port_with_tls_is_told_so() {
    let site = Site::start("");
    for request in
        [GET, "POST /open HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut connection = site.gateway.connect();
        connection.send(request);
        let answer = connection.read("GET");
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
        assert!(answer.text().contains("https://"), "{}", answer.text());
        assert!(connection.is_closed());
    }
    assert_eq!(site.failures("plain_http"), 3.0);
    assert!(site.upstream.received().is_empty());
}

#[test]
fn what_is_neither_is_closed_without_a_word() {
    let site = Site::start("");
    for bytes in [&b"\x80\x2e\x01\x03\x01"[..], b"\0\0\0\0", b"ssh"] {
        let mut connection = site.gateway.connect();
        connection.send(bytes);
        assert!(connection.is_closed(), "{bytes:?}");
    }
    assert_eq!(site.failures("not_tls"), 3.0);
    drop(TcpStream::connect(site.gateway.address).unwrap());
    wait_until("the one that left is counted", || site.failures("closed") == 1.0);
    let mut connection = site.gateway.connect();
    connection.send([22, 3, 3, 0, 4, 9, 9, 9, 9]);
    connection.read_to_end();
    assert_eq!(site.failures("protocol"), 1.0);
}

#[test]
fn a_client_that_does_not_want_our_certificate_is_counted() {
    let site = Site::start("");
    let stranger = super::support::authority::Authority::new("another authority");
    let client = super::support::tls::Client::trusting(&stranger.pem);
    assert!(client.try_connect(site.gateway.address, "app.test").is_err());
    wait_until("it is counted", || site.failures("refused") == 1.0);
}

#[test]
fn a_drain_ends_every_connection_with_the_word_that_tls_has_for_it() {
    let peer = Peer::listen();
    let site = Site::start("workers = 1\ndrain = \"20s\"");
    let Site { authority, files, upstream: _upstream, gateway: _hello } = site;
    let table = authority.issue(&["app.test"]).table(files.path(), "again");
    let gateway = super::Gateway::start(&peer.url(), &super::settings("workers = 1\ndrain = \"20s\"", &table));
    let client = super::Client::trusting(&authority.pem);
    let mut idle = client.connect(gateway.address, "app.test");
    let mut stalled = gateway.connect();
    let mut busy = client.connect(gateway.address, "app.test");
    busy.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    wait_until("all are served", || gateway.metric("gateway_connections_open") == 3.0);

    let address = gateway.address;
    let stopping = std::thread::spawn(move || {
        let began = now();
        gateway.stop();
        began.elapsed()
    });
    wait_until("new connections are refused", || TcpStream::connect(address).is_err());

    assert!(idle.is_closed() && !idle.is_broken_off());
    assert!(stalled.is_closed());
    app.send(super::support::upstream::response("200 OK", "", "the whole answer"));
    let answer = busy.read("GET");
    assert_eq!((answer.text(), answer.header("connection")), ("the whole answer", Some("close")));
    assert!(busy.is_closed() && !busy.is_broken_off());
    assert!(stopping.join().unwrap() < Duration::from_secs(15));
}
