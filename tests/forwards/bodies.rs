//! Bodies pass as they are and as they come: nothing is held back, nothing is changed, nothing is piled up.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::OPEN;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::{noise, wait_until};

#[test]
fn an_upload_of_known_length_arrives_byte_for_byte_with_its_length() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let body = noise(5 << 20, 1);

    let response = gateway.request("POST", "/upload", "", &body);

    assert_eq!(response.status, 200);
    let received = upstream.last();
    assert!(received.body == body, "{} bytes arrived of {}", received.body.len(), body.len());
    assert_eq!(received.headers("content-length"), [body.len().to_string()]);
    assert_eq!(received.header("transfer-encoding"), None);
}

#[test]
fn a_chunked_upload_arrives_chunked_and_byte_for_byte() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let body = noise(3 << 20, 2);
    let mut connection = gateway.connect();

    connection.send("POST /upload HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    // Chunks of many sizes, so that their borders fall everywhere in the gateway's buffers.
    let mut rest = body.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        connection.send(format!("{:x};note=\"a;b\"\r\n", chunk.len()));
        connection.send(chunk);
        connection.send("\r\n");
        (rest, size) = (after, size * 3 % 100_003 + 1);
    }
    connection.send("0\r\n\r\n");

    assert_eq!(connection.read("POST").status, 200);
    let received = upstream.last();
    assert!(received.body == body, "{} bytes arrived of {}", received.body.len(), body.len());
    assert_eq!(received.headers("transfer-encoding"), ["chunked"]);
    assert_eq!(received.header("content-length"), None);
}

#[test]
fn the_first_bytes_of_an_upload_reach_the_application_before_the_rest_is_sent() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = gateway.connect();
        let chunked = framing.starts_with('T');

        client.send(format!("PUT /x HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n"));
        client.send(if chunked { "5\r\nfirst\r\n" } else { "first" });
        let mut app = peer.accept();
        app.read_head().unwrap();
        let first = if chunked { app.read_chunk() } else { app.take(5) };
        assert_eq!(first, b"first");

        client.send(if chunked { "5\r\nother\r\n0\r\n\r\n" } else { "other" });
        let rest = if chunked { [app.read_chunk(), app.read_chunk()].concat() } else { app.take(5) };
        assert_eq!(rest, b"other");
        app.send(response("201 Created", "Connection: close\r\n", ""));
        assert_eq!(client.read("PUT").status, 201);
    }
}

#[test]
fn the_first_bytes_of_a_response_reach_the_client_before_the_rest_is_produced() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = gateway.connect();
        let chunked = framing.starts_with('T');
        client.send("GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut app = peer.accept();
        app.read_head().unwrap();

        app.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\nConnection: close\r\n\r\n"));
        let head = client.read_head().unwrap();
        assert!(head.to_ascii_lowercase().contains(&framing.to_ascii_lowercase()), "{head}");
        app.send(if chunked { "5\r\nfirst\r\n" } else { "first" });
        let first = if chunked { client.read_chunk() } else { client.take(5) };
        assert_eq!(first, b"first");

        app.send(if chunked { "5\r\nother\r\n0\r\n\r\n" } else { "other" });
        let rest = if chunked { [client.read_chunk(), client.read_chunk()].concat() } else { client.take(5) };
        assert_eq!(rest, b"other");
    }
}

#[test]
fn a_response_arrives_byte_for_byte_however_it_is_framed() {
    let body = noise(4 << 20, 3);
    let sent = body.clone();
    let upstream = Upstream::start(move |received| {
        let mut bytes = Vec::new();
        match received.target() {
            "/length" => {
                bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()).into_bytes();
                bytes.extend(&sent);
            }
            "/chunks" => {
                bytes.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for chunk in sent.chunks(77_777) {
                    bytes.extend(format!("{:X}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
            _ => {
                bytes.extend(b"HTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\n");
                bytes.extend(&sent);
                return Reaction::SendAndClose(bytes);
            }
        }
        Reaction::Send(bytes)
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut connection = gateway.connect();

    for target in ["/length", "/chunks", "/until-close", "/length"] {
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        let response = connection.read("GET");
        assert!(response.body == body, "{target}: {} bytes", response.body.len());
        let length = body.len().to_string();
        assert_eq!(response.header("content-length"), (target == "/length").then_some(length.as_str()), "{target}");
        assert_eq!(response.header("transfer-encoding"), (target != "/length").then_some("chunked"), "{target}");
    }
}

#[test]
fn both_directions_of_one_exchange_flow_at_the_same_time() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    let mut client = gateway.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.read_head().unwrap();

    for turn in 0..50 {
        let word = format!("{turn:05}");
        client.send(format!("5\r\n{word}\r\n"));
        assert_eq!(app.read_chunk(), word.as_bytes());
        app.send(format!("5\r\n{word}\r\n"));
        assert_eq!(client.read_chunk(), word.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert!(app.read_chunk().is_empty());
    app.send("0\r\n\r\n");
    assert!(client.read_chunk().is_empty());
}

#[test]
fn a_client_that_does_not_read_stops_the_application_from_sending_instead_of_filling_memory() {
    const WHOLE: usize = 256 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let upstream = Upstream::start(move |_| {
        let counter = counter.clone();
        Reaction::Custom(Box::new(move |stream| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n").as_bytes());
            let block = vec![7; 64 << 10];
            while counter.load(Ordering::SeqCst) < WHOLE && stream.write_all(&block).is_ok() {
                counter.fetch_add(block.len(), Ordering::SeqCst);
            }
        }))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    client.send("GET /big HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.read_head().unwrap();

    // It stands still once the kernel's buffers are full.
    let mut before = 0;
    wait_until("the application cannot send any more", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    assert!(before < 48 << 20, "{before} bytes were taken from the application for a client that reads nothing");
    client.take(WHOLE);
}

#[test]
fn many_clients_at_once_each_get_the_answer_to_their_own_request() {
    const CLIENTS: u64 = 16;
    const REQUESTS: u64 = 40;
    let upstream = Upstream::start(|received| {
        let mut bytes = Vec::new();
        if received.target().ends_with('1') {
            bytes.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in received.body.chunks(30_011) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", received.body.len()).bytes());
            bytes.extend(&received.body);
        }
        Reaction::Send(bytes)
    });
    let gateway = Gateway::start(&upstream.url(), &OPEN.replace("workers = 1", "workers = 2"));

    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.connect();
                for at in 0..REQUESTS {
                    let seed = number * REQUESTS + at;
                    let body = noise((seed * 7_919 % 150_000) as usize, seed + 1);
                    let target = format!("/{number}/{at}");
                    client.send(format!("PUT {target} HTTP/1.1\r\nHost: app.test\r\n"));
                    if at % 2 == 0 {
                        client.send(format!("Content-Length: {}\r\n\r\n", body.len()));
                        client.send(&body);
                    } else {
                        client.send("Transfer-Encoding: chunked\r\n\r\n");
                        for chunk in body.chunks(20_021) {
                            client.send(format!("{:x}\r\n", chunk.len()));
                            client.send(chunk);
                            client.send("\r\n");
                        }
                        client.send("0\r\n\r\n");
                    }
                    let response = client.read("PUT");
                    assert_eq!(response.status, 200, "{target}");
                    assert!(response.body == body, "{target}: {} bytes of {}", response.body.len(), body.len());
                }
                client.close();
            });
        }
    });

    assert_eq!(upstream.received().len() as u64, CLIENTS * REQUESTS);
    wait_until("all have gone", || gateway.metric("gateway_connections_open") == 0.0);
}
