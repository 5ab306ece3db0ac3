//! Clients that leave, or break off, in the middle of things.

use std::net::Shutdown;
use std::time::Duration;

use crate::support::wait_until;
use crate::{OPEN, Underway};

const ALL_GONE: &str = "gateway_connections_open";

#[test]
fn a_client_that_leaves_is_noticed_whatever_it_had_begun_to_send_and_its_application_is_let_go() {
    for sent in [
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        // The beginning of its next request.
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\nG",
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        // A body that does not come, comes in part, or is none.
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhe",
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
    ] {
        for begins in [false, true] {
            let Underway { peer: _peer, gateway, mut client, mut app } = Underway::begin(OPEN, sent);
            if begins {
                app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
                client.read_head().unwrap();
            }
            client.close();
            wait_until("it is noticed", || gateway.metric(ALL_GONE) == 0.0);
            app.read_to_end();
        }
    }
}

#[test]
fn a_client_that_leaves_behind_a_body_that_cannot_be_read_on_is_noticed_too() {
    let Underway { peer: _peer, gateway, mut client, mut app } =
        Underway::begin(OPEN, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    client.read_head().unwrap();
    client.send("no chunk\r\n");
    client.close();
    wait_until("it is noticed", || gateway.metric(ALL_GONE) == 0.0);
}

#[test]
fn an_upload_that_breaks_off_while_it_is_answered_does_not_look_whole_to_the_application() {
    for how in ["a bad chunk", "half a close", "a close"] {
        let Underway { peer: _peer, gateway, mut client, mut app } =
            Underway::begin(OPEN, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        assert_eq!(app.read_chunk(), b"hi");
        app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        client.read_head().unwrap();
        match how {
            "a bad chunk" => client.send("x\r\n"),
            "half a close" => client.stream().shutdown(Shutdown::Write).unwrap(),
            _ => client.close(),
        }
        // It hears of it, though it says nothing itself; nobody waits for anybody then.
        assert_eq!(String::from_utf8_lossy(&app.read_to_end()), "", "{how}");
        wait_until("it is over", || gateway.metric(ALL_GONE) == 0.0);
    }
}

#[test]
fn a_client_that_leaves_an_upload_behind_which_is_not_read_is_given_up_in_the_end() {
    let settings = OPEN.replace("[server]", "[server]\nidle_timeout = \"500ms\"");
    let Underway { peer: _peer, gateway, mut client, mut app } =
        Underway::begin(&settings, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000000\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    client.read_head().unwrap();
    client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Until nothing more fits between the client and the application.
    while client.try_send([b'x'; 100_000]) {}
    client.close();
    wait_until("it is given up", || gateway.metric(ALL_GONE) == 0.0);
}

#[test]
fn a_client_that_sends_far_ahead_of_an_answer_that_does_not_come_is_closed_in_the_end() {
    let settings = OPEN.replace("[server]", "[server]\nidle_timeout = \"500ms\"");
    let get = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let Underway { peer: _peer, gateway, mut client, mut app } = Underway::begin(&settings, get);
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    client.read_head().unwrap();
    client.send(get.repeat(2_000));
    wait_until("it is closed", || gateway.metric("gateway_connections_timed_out_total") == 1.0);
    assert_eq!(gateway.metric(ALL_GONE), 0.0);
}
