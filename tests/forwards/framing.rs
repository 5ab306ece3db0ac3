//! Where messages begin and end: responses without bodies, old clients, `100 Continue`, pipelines, and requests that hide
//! another one in their body.

use crate::OPEN;
use crate::support::client::find;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let upstream = Upstream::start(|received| {
        Reaction::Send(match received.target() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n".to_vec(),
            "/head-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            "/204" => b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec(),
            "/304-length" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n".to_vec(),
            "/empty" => response("200 OK", "", ""),
            "/empty-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            _ => response("404 Not Found", "", "none"),
        })
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();
    for (method, target, status) in [
        ("HEAD", "/head", 200),
        ("HEAD", "/head-chunked", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("GET", "/304-length", 304),
        ("GET", "/empty", 200),
        ("GET", "/empty-chunked", 200),
        ("GET", "/none", 404),
    ] {
        connection.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        let response = connection.read(method);
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.body, if status == 404 { &b"none"[..] } else { b"" }, "{target}");
        let length = response.header("content-length");
        match target {
            "/head" => assert_eq!((length, response.header("etag")), (Some("1234"), Some("\"a\""))),
            "/head-chunked" => assert_eq!(length, None, "a length that nobody said"),
            "/204" => assert_eq!((length, response.header("x-a")), (None, Some("b"))),
            "/empty" => assert_eq!(length, Some("0")),
            _ => {}
        }
    }
    assert_eq!(upstream.connections(), 4, "three announced a body; the others share");
}

#[test]
fn requests_without_a_body_arrive_without_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for (method, headers) in [("GET", ""), ("DELETE", ""), ("POST", "Content-Length: 0\r\n"), ("HEAD", "")] {
        gateway.request(method, "/x", headers, b"");
        let received = upstream.last();
        assert_eq!(received.method(), method);
        assert!(received.body.is_empty());
        assert_eq!(received.header("transfer-encoding"), None, "{method}");
        let length = received.header("content-length");
        assert_eq!(length, (method == "POST").then_some("0"), "{method}");
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it_and_the_application_gets_the_body() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();

    connection.send("POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(connection.read("POST").status, 100);
    connection.send("body");

    assert_eq!(connection.read("POST").status, 200);
    assert_eq!(upstream.last().body, b"body");
    assert_eq!(upstream.last().header("expect"), None);
}

#[test]
fn a_refused_request_is_not_asked_for_its_body() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let mut connection = gateway.connect();

    connection.send("POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");

    assert_eq!(connection.read("POST").status, 401, "and not 100");
    assert!(connection.is_closed(), "whether the body comes or not is unknown, so nothing can follow");
    assert!(upstream.received().is_empty());
}

#[test]
fn interim_responses_of_the_application_do_not_count_as_its_answer() {
    let upstream = Upstream::start(|_| {
        let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
        bytes.extend(response("200 OK", "", "hello"));
        Reaction::Send(bytes)
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..2 {
        connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut response = connection.read("GET");
        while response.status < 200 {
            response = connection.read("GET");
        }
        assert_eq!((response.status, response.text()), (200, "hello"));
    }
}

#[test]
fn an_http_1_0_client_gets_a_response_that_it_can_read() {
    let upstream = Upstream::start(|received| {
        Reaction::Send(match received.target() {
            "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
            _ => response("200 OK", "", "hello"),
        })
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for target in ["/length", "/chunks"] {
        let mut connection = gateway.connect();
        connection.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let head = connection.read_head().unwrap();
        assert_eq!(find(&head, "transfer-encoding"), None, "HTTP/1.0 knows no chunks: {head}");
        assert_eq!(connection.read_to_end(), b"hello", "{target}");
        let received = upstream.last();
        assert!(received.head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{}", received.head);
        assert_eq!(received.headers("host"), [upstream.address.to_string()], "it named no host");
    }
    let mut connection = gateway.connect();
    for _ in 0..2 {
        connection.send("GET /length HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(connection.read("GET").text(), "hello", "it may ask for the connection to be kept");
    }
}

#[test]
fn an_application_that_speaks_http_1_0_and_closes_is_understood() {
    let upstream = Upstream::start(|_| Reaction::SendAndClose(b"HTTP/1.0 200 OK\r\n\r\nhello".to_vec()));
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..2 {
        connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let response = connection.read("GET");
        assert!(response.head.starts_with("HTTP/1.1 200"), "{}", response.head);
        assert_eq!(response.text(), "hello");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::start(|received| Reaction::Send(response("200 OK", "", received.target())));
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();
    let one = |at: usize| format!("POST /{at} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nGET");

    connection.send((0..100).map(one).collect::<String>());

    for at in 0..100 {
        assert_eq!(connection.read("POST").text(), format!("/{at}"));
    }
    let order: Vec<_> = upstream.received().iter().map(|received| received.target().to_owned()).collect();
    assert_eq!(order, (0..100).map(|at| format!("/{at}")).collect::<Vec<_>>());
    assert!(upstream.received().iter().all(|received| received.body == b"GET"));
}

#[test]
fn what_looks_like_a_request_in_the_body_of_a_refused_one_is_never_taken_for_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/public\"\nauth = \"off\"\n",
    );
    let hidden = "GET /public/hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for pad in [0, 100_000, 3_000_000] {
        // The hidden request begins where a reader that forgot some of the body would begin to read.
        let body = format!("{}{hidden}", "x".repeat(pad));
        let mut connection = gateway.connect();
        let head = format!("POST /private HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let follower = "GET /public/next HTTP/1.1\r\nHost: app.test\r\n\r\n";
        connection.try_send(format!("{head}{body}{follower}"));

        let refusal = connection.try_read("POST").unwrap_or_else(|| panic!("{pad}: the refusal was lost"));
        assert_eq!(refusal.status, 401, "{pad}");
        // The next request is answered if the body was drained; otherwise the connection is closed.
        if let Some(next) = connection.try_read("GET") {
            assert_eq!(next.text(), "hello");
        }
    }
    assert!(
        upstream.received().iter().all(|received| received.target() == "/public/next"),
        "{:?}",
        upstream.received()
    );
}

#[test]
fn ambiguous_framing_is_refused_or_resolved_in_one_way() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for (framing, body) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", format!("hello{smuggled}")),
        ("Content-Length: 5, 6\r\n", format!("hello{smuggled}")),
        ("Content-Length: +5\r\n", format!("hello{smuggled}")),
        ("Content-Length: -1\r\n", smuggled.to_owned()),
        ("Content-Length: 0x5\r\n", format!("hello{smuggled}")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: chunked, identity\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: xchunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding : chunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding:\x0bchunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: gzip, chunked\r\n", format!("0\r\n\r\n{smuggled}")),
        (" Content-Length: 5\r\n", format!("hello{smuggled}")),
    ] {
        let mut connection = gateway.connect();
        connection.send(format!("POST /outer HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n{body}"));
        let first = connection.try_read("POST");
        let second = first.as_ref().and_then(|_| connection.try_read("GET"));
        assert!(second.is_none(), "{framing:?}: {first:?} {second:?}");
    }
    for received in upstream.received() {
        assert_eq!(received.target(), "/outer", "{received:?}");
        assert_eq!((received.header("content-length"), received.body.len()), (None, 0), "{received:?}");
        assert!(!received.head.contains("gzip"), "{received:?}");
    }
}

#[test]
fn broken_chunks_end_the_request_and_both_connections() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut app = peer.accept();
    app.read_head().unwrap();
    assert_eq!(app.read_chunk(), b"abc");

    client.send("zz\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n");

    assert!(app.is_closed(), "the application must not take what it has for the whole");
    if let Some(response) = client.try_read("POST") {
        assert_eq!(response.code(), "invalid_request");
    }
    assert!(client.is_closed());
}

#[test]
fn a_response_in_a_transfer_coding_that_nobody_asked_for_is_502() {
    let upstream = Upstream::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        Reaction::Send(format!("{head}3\r\nabc\r\n0\r\n\r\n").into_bytes())
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    assert_eq!(gateway.get("/", "").code(), "upstream_unreachable");
}

#[test]
fn a_refused_body_that_is_here_leaves_the_connection_open_and_one_that_is_not_ends_it_and_says_so() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\nworkers = 1\n");
    let mut client = gateway.connect();
    for body in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"]
    {
        client.send(format!("POST /x HTTP/1.1\r\nHost: app.test\r\n{body}"));
        let response = client.read("POST");
        assert_eq!((response.status, response.header("connection")), (401, None), "{body}");
    }
    for rest in [
        "Content-Length: 5\r\n\r\nhe",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: app.test\r\n{rest}"));
        let response = client.read("POST");
        assert_eq!((response.status, response.header("connection")), (401, Some("close")), "{rest}");
        assert!(client.is_closed(), "{rest}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn trailers_go_to_clients_that_take_them_without_what_frames_the_message_or_logs_in() {
    let upstream = Upstream::start(|_| {
        let trailers = "X-Sum: 7\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nTransfer-Encoding: x\r\n";
        Reaction::Send(
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n"
            )
            .into_bytes(),
        )
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for (te, expected) in [("TE: trailers\r\n", "x-sum: 7\r\n"), ("", "")] {
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{te}\r\n"));
        client.read_head().unwrap();
        let body = String::from_utf8(client.read_to_end()).unwrap();
        assert_eq!(body, format!("2\r\nok\r\n0\r\n{expected}\r\n"), "{te:?}");
    }
}
