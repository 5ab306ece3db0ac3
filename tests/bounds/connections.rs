//! `server.max_connections_per_client`.

use crate::support::client::Connection;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{GET, open};

const REFUSED: &str = "gateway_connections_refused_total{reason=\"client_limit\"}";

/// A connection of this client, by way of a proxy, and whether it is served.
fn connect(gateway: &Gateway, client: &str) -> (Connection, bool) {
    let mut connection = gateway.connect();
    let family = if client.contains(':') { "TCP6 " } else { "TCP4 " };
    let other = if client.contains(':') { "::1" } else { "192.0.2.200" };
    let served = connection.try_send(format!("PROXY {family}{client} {other} 1 2\r\n{GET}"))
        && connection.try_read("GET").is_some_and(|response| response.status == 200);
    (connection, served)
}

#[test]
fn a_client_with_all_its_connections_gets_no_other_and_one_that_closes_makes_room() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("workers = 3\nmax_connections_per_client = 3"));
    let mut served: Vec<Connection> = (0..3).map(|_| gateway.connect()).collect();
    for connection in &mut served {
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
    }
    for count in 1..=5 {
        assert!(gateway.connect().is_closed(), "without a word, whichever worker takes it");
        gateway.until_metric(REFUSED, f64::from(count));
    }
    served.pop().unwrap().close();
    wait_until("there is room again", || {
        let mut connection = gateway.connect();
        connection.try_send(GET) && connection.try_read("GET").is_some()
    });
}

#[test]
fn clients_are_told_apart_by_the_address_that_the_proxy_names() {
    let upstream = Upstream::hello();
    let server = "workers = 2\nmax_connections_per_client = 2\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.1\"]";
    let gateway = Gateway::start(&upstream.url(), &open(server));
    let mut held = Vec::new();
    for (client, expected) in [
        ("192.0.2.1", true),
        ("192.0.2.1", true),
        ("192.0.2.1", false),
        ("::ffff:192.0.2.1", false),
        ("192.0.2.2", true),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1::2", true),
        ("2001:db8:0:1:ffff::3", false),
        ("2001:db8:0:2::1", true),
        // Another proxy, which brings many.
        ("10.0.0.1", true),
        ("10.0.0.1", true),
        ("10.0.0.1", true),
    ] {
        let (connection, served) = connect(&gateway, client);
        assert_eq!(served, expected, "{client} after {}", held.len());
        held.push(connection);
    }
    gateway.until_metric(REFUSED, 3.0);
}

#[test]
fn zero_is_no_limit_and_trusted_proxies_have_none() {
    for server in
        ["max_connections_per_client = 0", "max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.0/8\"]"]
    {
        let upstream = Upstream::hello();
        let gateway = Gateway::start(&upstream.url(), &open(server));
        let mut held: Vec<Connection> = (0..20).map(|_| gateway.connect()).collect();
        for connection in &mut held {
            connection.send(GET);
            assert_eq!(connection.read("GET").status, 200);
        }
    }
}
