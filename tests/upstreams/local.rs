//! Applications on a socket of this machine.

use tempfile::TempDir;

use crate::front::Front;
use crate::open;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;

#[test]
fn an_application_on_a_unix_socket_is_reached_and_its_connections_are_kept() {
    let upstream = Upstream::start(|received| Reaction::Send(response("200 OK", "", received.target())));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("app.sock");
    let front = Front::unix(upstream.address, &path);
    let gateway = Gateway::start(&format!("unix:{}", path.display()), &open("url = \"{upstream}\""));
    for target in ["/a", "/b", "/c"] {
        assert_eq!(gateway.get(target, "").text(), target);
    }
    let answer = gateway.request("POST", "/body", "", &[7; 100_000]);
    assert_eq!((answer.status, upstream.last().body.len()), (200, 100_000));
    assert_eq!(upstream.last().header("host"), Some("app.test"));
    assert_eq!(upstream.connections(), 1);

    // Who closes it while it rests is noticed.
    drop(front);
    let _front = Front::unix(upstream.address, &path);
    wait_until("it is reached again", || gateway.get("/d", "").status == 200);
}

#[test]
fn the_host_of_an_application_on_a_unix_socket_is_localhost_unless_the_clients_is_kept() {
    let upstream = Upstream::hello();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("app.sock");
    let _front = Front::unix(upstream.address, &path);
    let url = format!("unix:{}", path.display());
    let gateway = Gateway::start(&url, &open("url = \"{upstream}\"\npreserve_host = false"));
    assert_eq!(gateway.get("/", "").status, 200);
    assert_eq!(upstream.last().header("host"), Some("localhost"));
    assert_eq!(upstream.last().header("x-forwarded-host"), Some("app.test"));
}

#[test]
fn a_socket_that_is_not_there_is_a_502() {
    let gateway = Gateway::start("unix:/nowhere/app.sock", &open("url = \"{upstream}\""));
    let answer = gateway.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    assert!(!answer.text().contains("nowhere"), "{}", answer.text());
}
