//! What is carried: requests, sessions, bodies, trailers.

use bytes::Bytes;
use http_body_util::Full;

use crate::support::client::Connection as Http1;
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, Verdict, block, get};
use crate::support::gateway::Gateway;
use crate::support::http2::Connection;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::{noise, wait_until};

fn empty() -> Full<Bytes> {
    Full::default()
}

#[test]
fn a_request_with_a_session_reaches_the_application_with_its_identity() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\nworkers = 1\n");
    let session = gateway.login("ann");
    let connection = Connection::open(gateway.address);
    for token in [None, Some(&session.token)] {
        let mut request = connection.request("GET", "/a?b=c").header("x-auth-user", "root");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = connection.send(request.body(empty()).unwrap());
        match token {
            None => {
                assert_eq!(answer.status, 401);
                assert!(String::from_utf8(answer.body).unwrap().contains("missing_token"));
                assert!(upstream.received().is_empty());
            }
            Some(_) => assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..])),
        }
    }
    let received = upstream.last();
    assert!(received.head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", received.head);
    assert_eq!(received.headers("x-auth-user"), ["ann"]);
    assert_eq!(received.headers("host"), [gateway.address.to_string()]);
    assert_eq!(received.headers("x-forwarded-host"), [gateway.address.to_string()]);
    assert_eq!(received.header("authorization"), None);
    assert!(!received.head.contains(":authority") && !received.head.contains("HTTP/2"), "{}", received.head);
    assert_eq!(gateway.metric("gateway_http2_connections_total"), 1.0);
}

#[test]
fn a_cookie_that_was_cut_at_its_semicolons_is_whole_for_the_application_and_without_the_session() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[token]\ncookie = \"session\"\ncookie_secure = false\n");
    let session = gateway.login("ann");
    let connection = Connection::open(gateway.address);
    let request =
        connection.request("GET", "/").header("cookie", "a=1").header("cookie", format!("session={}", session.token));
    let answer = connection.send(request.header("cookie", "b=2; c=3").body(empty()).unwrap());
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().headers("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn many_requests_at_once_each_get_their_own_answer() {
    let upstream = Upstream::start(|request| Reaction::Send(response("200 OK", "", request.target())));
    let gateway = Gateway::start(&upstream.url(), "");
    let tokens: Vec<_> = (0..4).map(|user| gateway.login(&format!("user{user}")).token).collect();
    let connection = Connection::open(gateway.address);
    let mut tasks = Vec::new();
    for number in 0..200 {
        let request = connection
            .request("GET", &format!("/{number}"))
            .header("authorization", format!("Bearer {}", tokens[number % 4]))
            .body(empty())
            .unwrap();
        tasks.push(connection.begin(request));
    }
    for (number, task) in tasks.into_iter().enumerate() {
        let answer = task.wait().unwrap();
        assert_eq!((answer.status, String::from_utf8(answer.body).unwrap()), (200, format!("/{number}")));
    }
    for received in upstream.received() {
        let number: usize = received.target()[1..].parse().unwrap();
        assert_eq!(received.headers("x-auth-user"), [format!("user{}", number % 4)]);
    }
}

#[test]
fn bodies_pass_whole_both_ways_with_and_without_a_stated_length() {
    let upstream = Upstream::start(|request| Reaction::Send(crate::support::upstream::response_of(&request.body)));
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    for (length, stated) in
        [(0, true), (1, true), (70_000, true), (70_000, false), (3_000_000, true), (3_000_000, false)]
    {
        let sent = noise(length, length as u64);
        let request = Connection::<Full<Bytes>>::open(gateway.address);
        let head = request.request("POST", "/").header("authorization", format!("Bearer {}", session.token));
        let answer = if stated {
            request.send(head.body(Full::from(sent.clone())).unwrap())
        } else {
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(
                sent.chunks(10_000)
                    .map(|piece| Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::copy_from_slice(piece))))
                    .collect::<Vec<_>>(),
            ));
            let streaming = Connection::open(gateway.address);
            streaming.send(head.body(body).unwrap())
        };
        assert_eq!(answer.status, 200);
        assert!(answer.body == sent, "{length} {stated}: {} bytes came back", answer.body.len());
        let received = upstream.last();
        let framing = if stated { "content-length" } else { "transfer-encoding" };
        assert!(received.header(framing).is_some(), "{}", received.head);
    }
}

#[test]
fn answers_without_a_body_and_answers_to_head_keep_what_their_headers_say() {
    let upstream = Upstream::start(|request| {
        Reaction::Send(match request.target() {
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n".to_vec(),
            "/connection" => response("200 OK", "Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n", ""),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".to_vec(),
        })
    });
    let gateway = Gateway::start(
        &upstream.url(),
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n",
    );
    let connection = Connection::open(gateway.address);
    let ask = |method: &str, path: &str| {
        let request = connection.request(method, path).body(empty()).unwrap();
        connection.send(request)
    };
    let answer = ask("HEAD", "/");
    assert_eq!((answer.status, answer.headers["content-length"].as_bytes()), (200, &b"12345"[..]));
    assert_eq!(ask("GET", "/204").status, 204);
    let unchanged = ask("GET", "/304");
    assert_eq!((unchanged.status, unchanged.headers["etag"].as_bytes()), (304, &b"\"x\""[..]));
    let answer = ask("GET", "/connection");
    assert!(!answer.headers.contains_key("x-hop") && !answer.headers.contains_key("keep-alive"), "{answer:?}");
}

#[test]
fn an_answer_of_the_gateways_own_to_head_has_no_content() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    for path in ["/", "/_sessions/current", "/_sessions/.well-known/nothing"] {
        let mut frames = Frames::open(gateway.address);
        let fields = [(":method", "HEAD"), (":scheme", "http"), (":authority", "app.test"), (":path", path)];
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        let answer = std::iter::from_fn(|| frames.next()).find(|frame| frame.stream == 1).unwrap();
        assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, END_STREAM), "{path}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn trailers_of_the_application_reach_the_client_if_they_may_be_trailers() {
    let upstream = Upstream::start(|_| {
        Reaction::Send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n"
                .to_vec(),
        )
    });
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    let connection = Connection::open(gateway.address);
    let request = connection.request("GET", "/").header("authorization", format!("Bearer {}", session.token));
    let answer = connection.send(request.body(empty()).unwrap());
    let trailers = answer.trailers.unwrap();
    assert_eq!((answer.body.as_slice(), trailers["x-sum"].as_bytes()), (&b"hi"[..], &b"7"[..]));
    assert_eq!(trailers.len(), 1, "nobody is logged in behind the body");
}

#[test]
fn identity_names_in_trailers_of_the_client_do_not_pass() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    let mut frames = Frames::open(gateway.address);
    let token = format!("Bearer {}", session.token);
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "app.example"),
        (":path", "/"),
        ("authorization", &token),
        ("user-agent", "acme-test/1.0"),
    ];
    frames.send(HEADERS, END_HEADERS, 1, &block(&head));
    frames.send(crate::support::frames::DATA, 0, 1, b"body");
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-auth-user", "root"), ("x-sum", "7")]));
    assert_eq!(frames.verdict(), Verdict::Answered(Some(200)));
    let received = upstream.last();
    assert_eq!((received.headers("x-auth-user"), received.body.as_slice()), (vec!["ann"], &b"body"[..]));
}

#[test]
fn both_versions_are_spoken_on_one_port_and_http_1_alone_when_so_set() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    // Slowly, and ambiguous until the fourth byte: PROPFIND begins like the preface of HTTP/2.
    let mut http1 = Http1::open(gateway.address);
    let request = format!(
        "PROPFIND / HTTP/1.1\r\nHost: a\r\nUser-Agent: acme-test/1.0\r\nAuthorization: Bearer {}\r\n\r\n",
        session.token
    );
    for piece in [&request[..1], &request[1..2], &request[2..9], &request[9..]] {
        http1.send(piece);
        std::thread::yield_now();
    }
    assert_eq!(http1.read("PROPFIND").status, 200);
    let mut frames = Frames::connect(gateway.address);
    for byte in crate::support::frames::PREFACE {
        frames.send_raw(&[*byte]);
    }
    frames.send(crate::support::frames::SETTINGS, 0, 0, &[]);
    let token = format!("Bearer {}", session.token);
    frames.send(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &get("/", &[("authorization", &token), ("user-agent", "acme-test/1.0")]),
    );
    assert_eq!(frames.verdict(), Verdict::Answered(Some(200)));

    let old = Gateway::start(&upstream.url(), "[server]\nhttp2 = false\n");
    let mut frames = Frames::open(old.address);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]));
    assert!(frames.next().is_none());
    let unparsable = || {
        let page = old.ops_get("/metrics");
        let figure =
            page.text().lines().find(|line| line.starts_with("gateway_unparsable_requests_total")).map(str::to_owned);
        figure.is_some_and(|figure| figure.ends_with(" 1"))
    };
    wait_until("it is counted", unparsable);
}

#[test]
fn a_browser_with_many_cookies_each_in_a_field_of_its_own_is_served() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    let connection = Connection::open(gateway.address);
    let mut request = connection.request("GET", "/").header("authorization", format!("Bearer {}", session.token));
    for number in 0..150 {
        request = request.header("cookie", format!("c{number}=1"));
    }
    assert_eq!(connection.send(request.body(empty()).unwrap()).status, 200);
    assert_eq!(upstream.last().headers("cookie")[0].split("; ").count(), 150);
}
