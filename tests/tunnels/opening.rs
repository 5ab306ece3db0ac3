//! Who may open a WebSocket, and what has to be said.

use crate::support::gateway::{Gateway, bearer};
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;
use crate::support::websocket::{ACCEPT, BINARY, KEY, consent, masked, open, opening};

/// An application in which every route has its way with sessions.
fn routes(upstream: &str) -> String {
    format!(
        "[[upstream]]\nurl = \"{{upstream}}\"\n{upstream}\n\
         [[upstream.route]]\npath = \"/off\"\nauth = \"off\"\n\
         [[upstream.route]]\npath = \"/optional\"\nauth = \"optional\"\n\
         [[upstream.route]]\npath = \"/staff\"\nroles = [\"staff\"]\n"
    )
}

/// A response to a request that opens a WebSocket with these header lines.
fn answer(gateway: &Gateway, target: &str, headers: &str) -> crate::support::client::Response {
    let mut client = gateway.connect();
    client.send(opening(target, headers));
    client.read("GET")
}

#[test]
fn one_is_opened_with_the_identity_and_without_the_credential() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let session = gateway.login("ann");
    let lines = format!(
        "{}X-Auth-User: bob\r\nSec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
         Cookie: a=b; __Host-session={}\r\nOrigin: https://elsewhere.test\r\n",
        bearer(&session.token),
        session.token
    );
    let mut client = gateway.connect();
    client.send(opening("/ws?room=1", &lines));
    let mut app = peer.accept();
    let head = app.read_head().unwrap();
    app.send(consent("Sec-WebSocket-Protocol: chat\r\nSet-Cookie: c=d\r\nX-Hop: 1\r\n"));
    let answer = client.read_head().unwrap();

    assert!(head.starts_with("GET /ws?room=1 HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "x-auth-user: ann\r\n",
        "sec-websocket-version: 13\r\n",
        "sec-websocket-protocol: chat, superchat\r\n",
        "sec-websocket-extensions: permessage-deflate\r\n",
        "cookie: a=b\r\n",
        "origin: https://elsewhere.test\r\n",
    ] {
        assert_eq!(lower.matches(line).count(), 1, "{line} in {head}");
    }
    assert!(head.contains(KEY) && !head.contains(&session.token) && !lower.contains("bob"), "{head}");
    assert_eq!(lower.matches("upgrade: ").count(), 1);
    let lower = answer.to_ascii_lowercase();
    for line in
        ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-protocol: chat\r\n", "set-cookie: c=d\r\n"]
    {
        assert_eq!(lower.matches(line).count(), 1, "{line} in {answer}");
    }
    assert!(
        answer.contains(ACCEPT) && !lower.contains("content-length") && !lower.contains("transfer-encoding"),
        "{answer}"
    );
}

#[test]
fn without_a_session_none_is_opened_on_any_route() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &routes(""));
    for target in ["/", "/off", "/optional"] {
        assert_eq!(answer(&gateway, target, "").code(), "missing_token", "{target}");
        assert_eq!(answer(&gateway, target, &bearer(&"A".repeat(43))).code(), "unknown_token", "{target}");
    }
    let session = gateway.login("ann");
    gateway.delete_as(&session.token, "/_sessions/current");
    assert_eq!(answer(&gateway, "/off", &bearer(&session.token)).code(), "session_revoked");
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(gateway.get("/off", "").status, 200, "other requests pass as the route says");
}

#[test]
fn a_session_opens_one_on_every_route_if_its_roles_do() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &routes(""));
    let session = gateway.login("ann");
    for target in ["/", "/off", "/optional"] {
        assert_eq!(answer(&gateway, target, &bearer(&session.token)).status, 200, "{target}");
        assert_eq!(upstream.last().header("x-auth-user"), Some("ann"), "{target}");
        assert_eq!(upstream.last().header("upgrade"), Some("websocket"), "{target}");
    }
    assert_eq!(answer(&gateway, "/staff", &bearer(&session.token)).code(), "role_required");
}

#[test]
fn anonymous_ones_follow_the_route_where_the_settings_say_so() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &routes("websocket = \"any\""));
    for target in ["/off", "/optional"] {
        let mut client = gateway.connect();
        client.send(opening(target, ""));
        let mut app = peer.accept();
        assert!(!app.read_head().unwrap().to_ascii_lowercase().contains("x-auth-user"));
        app.send(consent(""));
        assert!(client.read_head().unwrap().starts_with("HTTP/1.1 101 "));
    }
    assert_eq!(answer(&gateway, "/", "").code(), "missing_token");
}

#[test]
fn where_they_are_off_the_application_sees_a_plain_request() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &routes("websocket = \"off\""));
    assert_eq!(answer(&gateway, "/off", "").status, 200);
    assert_eq!((upstream.last().header("upgrade"), upstream.last().header("connection")), (None, None));
}

#[test]
fn a_token_in_the_query_opens_nothing() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for target in ["/ws?token=TOKEN", "/ws?access_token=TOKEN", "/ws?__Host-session=TOKEN"] {
        assert_eq!(answer(&gateway, &target.replace("TOKEN", &token), "").code(), "missing_token", "{target}");
    }
    let lines = format!("Sec-WebSocket-Protocol: bearer, {token}\r\n");
    assert_eq!(answer(&gateway, "/ws", &lines).code(), "missing_token", "nor in the subprotocols");
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn one_that_cannot_be_opened_is_refused_and_what_follows_is_not_read() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let good = opening("/ws", &token);
    for bad in [
        good.replace("GET ", "POST "),
        opening("/ws", &format!("{token}Content-Length: 5\r\n")) + "hello",
        opening("/ws", &format!("{token}Transfer-Encoding: chunked\r\n")) + "5\r\nhello\r\n0\r\n\r\n",
        good.replace("Version: 13", "Version: 8"),
        good.replace("Sec-WebSocket-Version: 13\r\n", ""),
        good.replace(KEY, "short"),
        good.replace(KEY, "dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="),
        opening("/ws", &format!("{token}Sec-WebSocket-Key: {KEY}\r\n")),
    ] {
        let mut client = gateway.connect();
        client.send(&bad);
        client.try_send(format!("GET /next HTTP/1.1\r\nHost: app.test\r\n{token}\r\n"));
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{bad}");
        assert!(client.is_closed(), "{bad}");
    }
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn other_protocols_are_not_asked_for() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let good = opening("/ws", &token);
    for plain in [
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Upgrade: websocket", "Upgrade: TLS/1.0"),
        good.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut client = gateway.connect();
        client.send(&plain);
        assert_eq!(client.read("GET").status, 200, "{plain}");
        let received = upstream.last();
        assert_eq!((received.header("upgrade"), received.header("connection")), (None, None), "{plain}");
    }
    let mut client = gateway.connect();
    client.send(good.replace("Upgrade: websocket", "Upgrade: h2c, WebSocket"));
    client.read("GET");
    assert_eq!(upstream.last().headers("upgrade"), ["websocket"], "of several only the one");
}

#[test]
fn nothing_behind_the_head_reaches_an_application_that_does_not_consent() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let mut client = gateway.connect();
    // What follows would be a request of its own to an application that does not know what it was asked.
    let smuggled = "GET /admin HTTP/1.1\r\nHost: app.test\r\nX-Auth-User: root\r\n\r\n";
    client.send(opening("/ws", &token) + smuggled);
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.send(response("426 Upgrade Required", "Connection: close\r\n", "no"));
    assert_eq!(client.read("GET").status, 426);
    assert!(app.is_closed(), "the application is sent nothing more");
    // To the gateway it is another request, which is checked like any other.
    assert_eq!(client.read("GET").code(), "missing_token");
    assert!(peer.try_accept().is_none());
}

#[test]
fn what_a_client_sends_too_early_waits_for_the_consent() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let mut client = gateway.connect();
    let early = masked(BINARY, b"early");
    client.send([opening("/ws", &token).as_bytes(), &early].concat());
    let mut app = peer.accept();
    app.read_head().unwrap();
    let mut byte = [0];
    app.stream().set_nonblocking(true).unwrap();
    let nothing = app.stream().peek(&mut byte).unwrap_err();
    app.stream().set_nonblocking(false).unwrap();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    // What the application says too early, with its consent, is passed on too.
    app.send(consent("") + "greeting");
    client.read_head().unwrap();
    assert_eq!(client.take(8), b"greeting");
    assert_eq!(app.take(early.len()), early);
}

#[test]
fn a_consent_that_is_none_is_a_bad_gateway() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let token = bearer(&gateway.login("ann").token);
    for bad in [
        consent("").replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        consent("").replace(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n"), ""),
        consent(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        consent("").replace("Upgrade: websocket", "Upgrade: h2c"),
        consent("").replace("Upgrade: websocket\r\n", ""),
        consent("").replace("Connection: Upgrade\r\n", ""),
    ] {
        let mut client = gateway.connect();
        client.send(opening("/ws", &token));
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send(&bad);
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"), "{bad}");
        assert!(app.is_closed());
    }
    assert_eq!(gateway.metric("gateway_tunnels_total"), 0.0);
}

#[test]
fn any_other_answer_passes_as_it_is_and_the_connection_goes_on() {
    let upstream = Upstream::start(|received| {
        Reaction::Send(match received.target() {
            "/401" => response("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "who?"),
            "/302" => response("302 Found", "Location: /elsewhere\r\n", ""),
            "/404" => response("404 Not Found", "", "no"),
            _ => response("200 OK", "", "hello"),
        })
    });
    let gateway = Gateway::start(&upstream.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let mut client = gateway.connect();
    for (target, status) in [("/401", 401), ("/302", 302), ("/404", 404), ("/200", 200)] {
        client.send(opening(target, &token));
        let answer = client.read("GET");
        assert_eq!(answer.status, status);
        assert_ne!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(upstream.connections(), 1, "it is used again as well");
}

#[test]
fn an_application_that_does_not_answer_is_a_timeout() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[[upstream]]\nurl = \"{upstream}\"\nresponse_timeout = \"300ms\"\n");
    let token = bearer(&gateway.login("ann").token);
    let mut client = gateway.connect();
    client.send(opening("/ws", &token));
    let mut app = peer.accept();
    app.read_head().unwrap();
    assert_eq!(client.read("GET").code(), "upstream_timeout");
    assert!(app.is_closed());
}

#[test]
fn with_the_cookie_it_must_be_this_site_or_one_that_is_named() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        "[[upstream]]\nurl = \"{upstream}\"\nwebsocket_origins = [\"https://other.test\", \"http://localhost:5173\"]\n",
    );
    let session = gateway.login("ann");
    let cookie = format!("Cookie: __Host-session={}\r\n", session.token);
    for origin in [
        "",
        "Origin: http://app.test\r\n",
        "Origin: http://APP.test:80\r\nSec-Fetch-Site: same-origin\r\n",
        "Origin: https://other.test\r\n",
        "Origin: http://localhost:5173\r\n",
    ] {
        let answer = answer(&gateway, "/ws", &format!("{cookie}{origin}"));
        assert_eq!((answer.status, upstream.last().header("upgrade")), (200, Some("websocket")), "{origin}");
    }
    let passed = upstream.received().len();
    for origin in [
        "Origin: https://evil.test\r\n",
        "Origin: https://app.test\r\n",
        "Origin: http://app.test.evil.test\r\n",
        "Origin: http://app.test:8080\r\n",
        "Origin: null\r\n",
        "Origin: http://localhost:5174\r\n",
        "Origin: http://app.test\r\nOrigin: http://app.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = answer(&gateway, "/ws", &format!("{cookie}{origin}"));
        assert_eq!((answer.status, answer.code().as_str()), (403, "csrf"), "{origin}");
        // A program with a token of its own is no browser on the wrong page.
        let answer = self::answer(&gateway, "/ws", &format!("{}Origin: https://evil.test\r\n", bearer(&session.token)));
        assert_eq!(answer.status, 200);
    }
    assert_eq!(upstream.received().len(), passed + 8);
}

#[test]
fn what_ends_a_login_or_begins_one_is_no_websocket() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.logout]]\npath = \"/logout\"\nmethod = \"GET\"\n",
    );
    let session = gateway.login("ann");
    assert_eq!(answer(&gateway, "/logout", &bearer(&session.token)).status, 200);
    assert_eq!(upstream.last().header("upgrade"), None);
    assert_eq!(gateway.get_as(&session.token, "/").code(), "session_revoked");
}

#[test]
fn a_client_that_goes_away_while_the_application_thinks_leaves_nothing_behind() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let token = bearer(&gateway.login("ann").token);
    let mut client = gateway.connect();
    client.send(opening("/ws", &token));
    let mut app = peer.accept();
    app.read_head().unwrap();
    client.close();
    assert!(app.is_closed());
    wait_until("nothing is open", || gateway.metric("gateway_connections_open") == 0.0);
    assert_eq!(gateway.metric("gateway_tunnels_open"), 0.0);
    let mut opened = open(&gateway, &peer, &token);
    opened.works();
}
