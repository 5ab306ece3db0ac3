//! IPv4 and IPv6 on one listener.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use crate::support::client::Connection;
use crate::support::database::Database;
use crate::support::gateway::{AGENT, Gateway, bearer};
use crate::support::upstream::Upstream;

#[test]
fn whoever_reaches_a_listener_of_both_families_by_ipv4_has_an_ipv4_address() {
    let upstream = Upstream::hello();
    let toml = "[server]\nlisten = [\"[::]:0\"]\n[policy.ip]\nmode = \"exact\"\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    assert!(gateway.address.is_ipv6());
    let login =
        |user: &str, ip: Option<&str>| gateway.login_with(json!({ "user": user, "user_agent": AGENT, "ip": ip })).token;
    // Bound to the address by what a service said, and by the first use.
    for token in [login("ann", Some("127.0.0.1")), login("bob", None)] {
        for target in ["/", "/_sessions/current"] {
            let mut connection = Connection::open(SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.address.port())));
            connection.send(format!(
                "GET {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\n{}\r\n",
                bearer(&token)
            ));
            assert_eq!(connection.read("GET").status, 200, "{target}");
        }
        assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    }
    let database = Database::of(&gateway);
    assert_eq!(database.count("bound_ip = '127.0.0.1'"), 2, "both are written in one way");
}
