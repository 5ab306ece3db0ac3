//! Applications that are spoken to in HTTP/2: what reaches them, on which connections, and what happens when they refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tempfile::TempDir;

use crate::front::{Front, server};
use crate::open;
use crate::pki::Authority;
use crate::support::gateway::{Gateway, bearer, config};
use crate::support::http2::Connection;
use crate::support::http2_app::{Http2App, head};
use crate::support::upstream::Upstream;
use crate::support::{noise, wait_until};

/// The settings of such an application, which needs a session.
fn closed(url: &str, lines: &str) -> String {
    format!("[server]\nworkers = 1\n[[upstream]]\nurl = \"{url}\"\nprotocol = \"http2\"\n{lines}\n")
}

/// The same, open to everybody.
fn public(url: &str, lines: &str) -> String {
    open(&format!("url = \"{url}\"\nprotocol = \"http2\"\n{lines}"))
}

#[test]
fn a_request_with_a_session_reaches_the_application_with_its_identity_and_others_do_not() {
    let app = Http2App::hello();
    let gateway = Gateway::start("", &closed(&app.url(), ""));
    let session = gateway.login("ann");
    let headers = "X-Auth-User: root\r\nX_Auth_User: root\r\nTE: trailers, gzip\r\nConnection: x-mine\r\nX-Mine: 1\r\n";
    assert_eq!(gateway.get("/a", headers).status, 401);
    assert!(app.received().is_empty());

    let answer = gateway.get("/a%20b?c=d", &format!("{headers}{}", bearer(&session.token)));
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    let received = app.last();
    assert_eq!(received.uri.path_and_query().unwrap(), "/a%20b?c=d");
    assert_eq!(received.uri.scheme_str(), Some("http"));
    assert_eq!(received.uri.authority().unwrap(), "app.test");
    let values = |name: &str| received.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("x-auth-user"), ["ann"]);
    assert_eq!(values("x-forwarded-host"), ["app.test"]);
    assert_eq!(values("te"), ["trailers"]);
    for gone in ["x_auth_user", "connection", "x-mine", "host", "authorization", "transfer-encoding"] {
        assert!(values(gone).is_empty(), "{gone}: {received:?}");
    }
}

#[test]
fn an_application_may_be_sent_its_own_name() {
    let app = Http2App::hello();
    let gateway = Gateway::start("", &public(&app.url(), "preserve_host = false"));
    assert_eq!(gateway.get("/", "").status, 200);
    assert_eq!(app.last().uri.authority().unwrap().as_str(), app.address.to_string());
}

#[test]
fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let app = Http2App::start(|mut exchange| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let path = exchange.received.uri.path().to_owned();
        exchange.answer(200, &[], path.as_bytes())
    });
    let gateway = Gateway::start("", &public(&app.url(), ""));
    let client = Connection::open(gateway.address);
    let ask = |number: usize| {
        client.begin(client.request("GET", &format!("/{number}")).body(Full::<Bytes>::default()).unwrap())
    };
    let pending: Vec<_> = (0..60).map(ask).collect();
    for (number, answer) in pending.into_iter().enumerate() {
        let answer = answer.wait().unwrap();
        assert_eq!((answer.status, String::from_utf8(answer.body).unwrap()), (200, format!("/{number}")));
    }
    assert_eq!(app.connections(), 1);
    gateway.until_metric("gateway_upstream_connections_total", 1.0);
    gateway.until_metric("gateway_upstream_reuses_total", 59.0);
    let label = format!("{{upstream=\"app\",address=\"{}\"}}", app.address);
    gateway.until_metric(&format!("gateway_upstream_requests_in_flight{label}"), 0.0);

    let pending: Vec<_> = (0..150).map(ask).collect();
    assert!(pending.into_iter().all(|answer| answer.wait().unwrap().status == 200));
    assert!((2..=3).contains(&app.connections()), "more requests than one connection takes: {}", app.connections());
}

#[test]
fn bodies_pass_whole_both_ways_and_lengths_stay_what_they_are() {
    let app = Http2App::start(|mut exchange| async move {
        let whole = exchange.whole().await;
        let length = whole.len().to_string();
        exchange.answer(200, &[("content-length", &length)], &whole)
    });
    let gateway = Gateway::start("", &public(&app.url(), ""));
    for length in [0, 1, 70_000, 3_000_000] {
        let sent = noise(length, length as u64);
        let answer = gateway.request("PUT", "/", "", &sent);
        assert!(answer.status == 200 && answer.body == sent, "{length}");
        assert_eq!(answer.header("content-length").unwrap(), length.to_string());
        let client = Connection::<Full<Bytes>>::open(gateway.address);
        let answer = client.send(client.request("PUT", "/").body(Full::from(sent.clone())).unwrap());
        assert!(answer.status == 200 && answer.body == sent, "{length}");
    }
    assert_eq!(app.last().headers["content-length"], "3000000");
    let mut client = gateway.connect();
    client
        .send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.read("PUT").text(), "abcde");
    assert!(!app.last().headers.contains_key("content-length"));
}

#[test]
fn answers_without_a_body_keep_what_their_headers_say() {
    let app = Http2App::start(|mut exchange| async move {
        match exchange.received.uri.path() {
            "/304" => exchange.answer(304, &[("etag", "\"x\""), ("content-length", "77")], b""),
            "/204" => exchange.answer(204, &[("proxy-authenticate", "x")], b""),
            _ => exchange.answer(200, &[("content-length", "12345")], b""),
        }
    });
    let gateway = Gateway::start("", &public(&app.url(), ""));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.read("HEAD").header("content-length"), Some("12345"));
        client.send("GET /304 HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.read("GET").header("etag"), Some("\"x\""));
        client.send("GET /204 HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.header("proxy-authenticate")), (204, None));
    }
}

#[test]
fn a_request_that_the_application_refused_unseen_is_sent_once_more_if_that_can_do_no_harm() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let left = refusals.clone();
    let app = Http2App::start(move |mut exchange| {
        let left = left.clone();
        async move {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                exchange.refuse();
                return Ok(());
            }
            exchange.answer(200, &[], b"hello")
        }
    });
    let gateway = Gateway::start("", &public(&app.url(), ""));
    assert_eq!(gateway.get("/", "").status, 200);
    for (method, times, status, seen) in
        [("GET", 1, 200, 2), ("HEAD", 1, 200, 2), ("GET", 2, 502, 2), ("DELETE", 1, 502, 1), ("PUT", 1, 502, 1)]
    {
        let before = app.received().len();
        refusals.store(times, Ordering::SeqCst);
        let body: &[u8] = if method == "PUT" { b"body" } else { b"" };
        assert_eq!(gateway.request(method, "/", "", body).status, status, "{method} {times}");
        assert_eq!(app.received().len() - before, seen, "{method} {times}");
    }
    refusals.store(0, Ordering::SeqCst);
    assert_eq!(gateway.get("/", "").status, 200);
}

#[test]
fn an_application_that_says_goodbye_finishes_what_it_has_and_the_rest_goes_to_a_new_connection() {
    let app = Http2App::start(|mut exchange| async move {
        if exchange.received.uri.path() == "/slow" {
            let _ = exchange.whole().await;
        }
        exchange.answer(200, &[], b"hello")
    });
    let gateway = Gateway::start("", &public(&app.url(), ""));
    let mut slow = gateway.connect();
    slow.send("PUT /slow HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\na");
    wait_until("the slow one is there", || !app.received().is_empty());
    app.leave();
    for _ in 0..20 {
        assert_eq!(gateway.get("/", "").status, 200);
    }
    slow.send("b");
    assert_eq!(slow.read("PUT").status, 200);
    assert_eq!(app.connections(), 2);
    wait_until("the first connection is closed", || app.open() == 1);
}

#[test]
fn unused_connections_are_closed_after_their_time() {
    let app = Http2App::hello();
    let gateway = Gateway::start("", &public(&app.url(), "keep_alive = \"200ms\""));
    assert_eq!(gateway.get("/", "").status, 200);
    wait_until("the connection is closed", || app.open() == 0);
    assert_eq!(gateway.get("/", "").status, 200);
    assert_eq!(app.connections(), 2);
}

#[test]
fn other_settings_let_go_of_the_connections_of_the_earlier_ones() {
    let app = Http2App::hello();
    let settings = public(&app.url(), "");
    let gateway = Gateway::start("", &settings);
    assert_eq!(gateway.get("/", "").status, 200);
    gateway.adopt("", &settings);
    wait_until("the connection is closed", || app.open() == 0);
    assert_eq!(gateway.get("/", "").status, 200);
}

#[test]
fn requests_beyond_the_limit_wait_and_their_places_come_free() {
    let app = Http2App::start(|mut exchange| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        exchange.answer(200, &[], b"hello")
    });
    let gateway = Gateway::start("", &public(&app.url(), "max_connections = 2\nmax_pending = 1000"));
    let client = Connection::open(gateway.address);
    let ask = |_| client.begin(client.request("GET", "/").body(Full::<Bytes>::default()).unwrap());
    let pending: Vec<_> = (0..100).map(ask).collect();
    assert!(pending.into_iter().all(|answer| answer.wait().unwrap().status == 200));
}

#[test]
fn an_application_that_does_not_answer_in_time_is_a_504_and_its_stream_is_reset() {
    let (told, was_told) = std::sync::mpsc::channel();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await?;
            told.send(reason).unwrap();
            Ok(())
        }
    });
    let gateway = Gateway::start("", &public(&app.url(), "response_timeout = \"200ms\""));
    assert_eq!(gateway.get("/", "").status, 504);
    assert_eq!(was_told.recv_timeout(Duration::from_secs(10)).unwrap(), h2::Reason::CANCEL);
}

#[test]
fn a_body_that_pauses_for_too_long_is_cut() {
    let app = Http2App::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
        stream.send_data(Bytes::from_static(b"beginning"), false)?;
        std::future::pending().await
    });
    let gateway = Gateway::start("", &public(&app.url(), "body_timeout = \"200ms\""));
    let client = Connection::open(gateway.address);
    let request = client.request("GET", "/").body(Full::<Bytes>::default()).unwrap();
    assert!(client.begin(request).wait().is_err());
}

#[test]
fn an_address_that_cannot_be_connected_to_is_passed_over() {
    let app = Http2App::hello();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = format!("urls = [\"http://{free}\", \"{}\"]\nprotocol = \"http2\"\nretry_after = \"30s\"", app.url());
    let gateway = Gateway::start("", &open(&lines));
    for _ in 0..5 {
        assert_eq!(gateway.get("/", "").status, 200);
    }
    gateway.until_metric(&format!("gateway_upstream_up{{upstream=\"app\",address=\"{free}\"}}"), 0.0);
    drop(gateway);
    let gateway = Gateway::start("", &public(&format!("http://{free}"), ""));
    assert_eq!(gateway.get("/", "").status, 502);
}

#[test]
fn an_application_that_speaks_http_1_instead_is_a_502() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start("", &public(&upstream.url(), ""));
    assert_eq!(gateway.get("/", "").status, 502);
}

#[test]
fn an_application_over_tls_is_asked_for_http_2_and_has_to_agree() {
    let app = Http2App::hello();
    for (offered, status) in [(&[&b"http/1.1"[..], b"h2"][..], 200), (&[b"http/1.1"], 502), (&[], 502)] {
        let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
        let mut config = server(&authority.issue("localhost"), None);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let front = Front::tls(app.address, config);
        let ca = authority.write(directory.path());
        let url = format!("https://localhost:{}", front.port());
        let gateway = Gateway::start("", &public(&url, &format!("ca_file = {ca:?}")));
        assert_eq!(gateway.get("/", "").status, status, "{offered:?}");
        if status == 200 {
            assert_eq!(app.last().uri.scheme_str(), Some("https"));
        }
    }
}

#[test]
fn an_application_is_asked_over_http_2_whether_it_is_well() {
    let app = Http2App::start(|mut exchange| async move {
        let well = exchange.received.uri.path() == "/healthz" && exchange.received.uri.authority().unwrap() == "me";
        exchange.answer(if well { 204 } else { 404 }, &[], b"")
    });
    let health = |path: &str| {
        format!("[upstream.health]\npath = \"{path}\"\nhost = \"me\"\ninterval = \"100ms\"\nunhealthy_after = 1")
    };
    let settings = |path: &str| {
        format!(
            "[server]\nworkers = 1\n[[upstream]]\nurl = \"{}\"\nprotocol = \"http2\"\n{}\n",
            app.url(),
            health(path)
        )
    };
    let label = format!("{{upstream=\"app\",address=\"{}\"}}", app.address);
    let gateway = Gateway::start("", &settings("/healthz"));
    wait_until("it was asked", || app.received().len() > 2);
    assert_eq!(gateway.metric(&format!("gateway_upstream_up{label}")), 1.0);
    drop(gateway);
    let gateway = Gateway::start("", &settings("/other"));
    gateway.until_metric(&format!("gateway_upstream_up{label}"), 0.0);
}

#[test]
fn a_websocket_is_not_opened_over_http_2_and_settings_that_want_one_are_refused() {
    let app = Http2App::hello();
    let gateway = Gateway::start("", &public(&app.url(), ""));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(gateway.get("/", upgrade).status, 200);
    assert!(!app.last().headers.contains_key("upgrade"));
    let toml = public(&app.url(), "websocket = \"any\"");
    let invalid = config(&TempDir::new().unwrap(), "", "sqlite::memory:", &toml).unwrap_err().to_string();
    assert!(invalid.contains("upstream[0].websocket: needs protocol = \"http1\""), "{invalid}");
}
