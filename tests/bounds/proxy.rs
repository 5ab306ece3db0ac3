//! `server.proxy_protocol`.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{GET, open};

/// Behind a proxy on this machine.
fn behind(trusted: &str, more: &str) -> String {
    open(&format!("workers = 1\nproxy_protocol = true\ntrusted_proxies = {trusted}\n{more}"))
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_connections_refused_total{{reason=\"{reason}\"}}"))
}

/// Version 2 for a client with IPv4, with something behind the addresses that is passed over.
fn version_2(client: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11".to_vec();
    header.extend(client.octets());
    header.extend([192, 0, 2, 1, 0x12, 0x34, 0x01, 0xbb]);
    header.extend(*b"\x04\x00\x02zz");
    header
}

#[test]
fn the_address_of_the_header_is_the_client_for_everything_that_follows() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"127.0.0.1\"]", ""));
    let version_1 = |client: &str, family: &str| format!("PROXY {family} {client} {client} 1000 443\r\n").into_bytes();
    for (header, client) in [
        (version_1("203.0.113.7", "TCP4"), "203.0.113.7"),
        (version_1("2001:db8::7", "TCP6"), "2001:db8::7"),
        (version_1("::ffff:203.0.113.8", "TCP6"), "203.0.113.8"),
        (version_2(Ipv4Addr::new(203, 0, 113, 9)), "203.0.113.9"),
        // The proxy's own connections.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(), "127.0.0.1"),
    ] {
        // In one piece with the request, and byte by byte.
        let mut whole = gateway.connect();
        whole.send([header.as_slice(), GET.as_bytes()].concat());
        assert_eq!(whole.read("GET").status, 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
        let mut slow = gateway.connect();
        for byte in header.iter().chain(GET.as_bytes()) {
            slow.send([*byte]);
        }
        assert_eq!(slow.read("GET").status, 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
        // The header stands for the whole connection.
        slow.send(GET);
        assert_eq!(slow.read("GET").status, 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
    }
    let directory = gateway.stop();
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!(log.matches("client=203.0.113.9 ").count(), 3, "{log}");
}

#[test]
fn what_the_named_client_says_of_others_counts_only_if_it_is_trusted_too() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"127.0.0.1\", \"10.0.0.0/8\"]", ""));
    let request = GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    for (client, expected) in [("203.0.113.7", "203.0.113.7"), ("10.1.2.3", "198.51.100.1")] {
        let mut connection = gateway.connect();
        connection.send(format!("PROXY TCP4 {client} 192.0.2.1 1 2\r\n{request}"));
        assert_eq!(connection.read("GET").status, 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(expected), "{client}");
    }
}

#[test]
fn nobody_but_a_trusted_proxy_may_say_who_he_is_nor_come_without_saying() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"192.0.2.0/24\"]", ""));
    for bytes in [format!("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n{GET}"), GET.to_owned()] {
        let mut connection = gateway.connect();
        connection.try_send(bytes);
        assert!(connection.is_closed());
    }
    assert_eq!(refused(&gateway, "no_proxy"), 2.0);
    assert!(upstream.received().is_empty());
}

#[test]
fn what_is_no_header_ends_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"127.0.0.1\"]", ""));
    let bad = [GET, "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}\x03\x03"];
    for bytes in bad {
        let mut connection = gateway.connect();
        connection.try_send(bytes);
        assert!(connection.is_closed(), "{bytes:?}");
    }
    wait_until("they are counted", || refused(&gateway, "bad_proxy_header") == 3.0);
    // One that ends inside is nobody's fault.
    let mut connection = gateway.connect();
    connection.send("PROXY TC");
    connection.close();
    assert_eq!(refused(&gateway, "bad_proxy_header"), 3.0);
    assert!(upstream.received().is_empty());
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"127.0.0.1\"]", "header_timeout = \"400ms\""));
    let mut silent = gateway.connect();
    let mut slow = gateway.connect();
    slow.send("PROXY TCP4 ");
    while slow.try_send("1") {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(silent.is_closed());
    wait_until("both are counted", || {
        gateway.metric("gateway_connections_timed_out_total") + refused(&gateway, "bad_proxy_header") == 2.0
    });
    assert!(gateway.metric("gateway_connections_timed_out_total") >= 1.0);
}

#[test]
fn a_connection_that_waits_for_its_header_does_not_hold_up_a_stop() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("[\"127.0.0.1\"]", ""));
    let mut silent = gateway.connect();
    let began = std::time::Instant::now();
    gateway.stop();
    assert!(silent.is_closed());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}
