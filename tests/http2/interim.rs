//! What an application says before it has an answer, to clients that speak HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;

use h2::client::ResponseFuture;
use http::HeaderMap;
use tokio::sync::Notify;

use crate::support::gateway::{Gateway, open_with_one_worker};
use crate::support::http2_app::{Client, Http2App, head, wait};
use crate::support::peer::Peer;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A gateway as it is without settings about hints.
fn gateway(url: &str, protocol: &str) -> Gateway {
    gateway_with(url, protocol, "")
}

fn gateway_with(url: &str, protocol: &str, more: &str) -> Gateway {
    let upstream = format!("\"{url}\"\nprotocol = \"{protocol}\"\n{more}");
    Gateway::start("", &open_with_one_worker("").replace("\"{upstream}\"", &upstream))
}

fn ask(client: &mut Client, path: &str) -> ResponseFuture {
    let request = client.request("GET", path, "of nobody");
    client.begin(request, true).0
}

/// What comes before the answer; `None` when that is next.
fn hint(response: &mut ResponseFuture) -> Option<HeaderMap> {
    let interim = wait(poll_fn(|cx| response.poll_informational(cx)))?.unwrap();
    assert_eq!(interim.status(), 103);
    Some(interim.headers().clone())
}

fn links(response: &mut ResponseFuture) -> Vec<String> {
    std::iter::from_fn(|| hint(response)).map(|headers| headers["link"].to_str().unwrap().to_owned()).collect()
}

fn answer(response: ResponseFuture) -> (u16, Vec<u8>) {
    let mut response = wait(response).unwrap();
    let body = wait(response.body_mut().data()).unwrap().unwrap();
    (response.status().as_u16(), body.to_vec())
}

fn hints(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("HTTP/1.1 103 Early Hints\r\nLink: <{number}>\r\n\r\n")).collect()
}

#[test]
fn early_hints_reach_the_client_before_the_answer_is_there_and_log_nobody_in() {
    let peer = Peer::listen();
    let gateway = gateway(&peer.url(), "http1");
    let mut client = Client::open(gateway.address);
    let mut app = None;
    for round in 0..3 {
        let mut response = ask(&mut client, "/");
        let app = app.get_or_insert_with(|| peer.accept());
        app.read_head().unwrap();
        app.send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </{round}.css>; rel=preload\r\nSet-Cookie: __Host-session=x\r\n\
             Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\n"
        ));
        let hinted = hint(&mut response).unwrap();
        assert_eq!((hinted.len(), hinted["link"].to_str().unwrap()), (1, &*format!("</{round}.css>; rel=preload")));
        app.send(ANSWER);
        assert_eq!(answer(response), (200, b"ok".to_vec()), "{round}");
    }
}

#[test]
fn early_hints_of_an_application_that_speaks_http_2_reach_the_client_before_its_answer() {
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            let fields = [("link", "</a.css>"), ("set-cookie", "a=b"), ("proxy-authenticate", "x")];
            exchange.respond.send_informational(head(103, &fields))?;
            told.notified().await;
            exchange.respond.send_informational(head(103, &[("link", "</b.css>")]))?;
            exchange.answer(200, &[], b"ok")
        }
    });
    let gateway = gateway(&app.url(), "http2");
    let mut client = Client::open(gateway.address);
    for round in 0..3 {
        let mut response = ask(&mut client, "/");
        let hinted = hint(&mut response).unwrap();
        assert_eq!((hinted.len(), hinted["link"].as_bytes()), (1, &b"</a.css>"[..]), "{round}");
        go.notify_one();
        assert_eq!(links(&mut response), ["</b.css>"], "{round}");
        assert_eq!(answer(response), (200, b"ok".to_vec()), "{round}");
    }
}

#[test]
fn hints_of_an_application_that_speaks_http_2_reach_clients_that_do_not_where_the_settings_say_so() {
    let app = Http2App::start(|mut exchange| async move {
        exchange.respond.send_informational(head(103, &[("link", "</a.css>")]))?;
        exchange.answer(200, &[], b"ok")
    });
    for (hints, passed) in [("all", true), ("http2", false)] {
        let gateway = gateway_with(&app.url(), "http2", &format!("early_hints = \"{hints}\""));
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        if passed {
            assert_eq!(client.read_head().unwrap(), "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        }
        assert_eq!(client.read("GET").status, 200, "{hints}");
    }
}

#[test]
fn several_hints_come_in_order_right_before_the_answer_and_more_than_a_request_may_have_are_left_out() {
    let peer = Peer::listen();
    let over_http_1 = gateway(&peer.url(), "http1");
    let mut client = Client::open(over_http_1.address);
    let mut response = ask(&mut client, "/");
    peer.accept().send([hints(0..20).as_str(), ANSWER].concat());
    let first = links(&mut response);
    assert_eq!(answer(response), (200, b"ok".to_vec()));

    let app = Http2App::start(|mut exchange| async move {
        for number in 0..20 {
            exchange.respond.send_informational(head(103, &[("link", &format!("<{number}>"))]))?;
        }
        exchange.answer(200, &[], b"ok")
    });
    let over_http_2 = gateway(&app.url(), "http2");
    let mut client = Client::open(over_http_2.address);
    let mut response = ask(&mut client, "/");
    let second = links(&mut response);
    assert_eq!(answer(response), (200, b"ok".to_vec()));

    let expected: Vec<_> = (0..8).map(|number| format!("<{number}>")).collect();
    assert_eq!((&first, &second), (&expected, &expected));
}

#[test]
fn as_many_in_all_come_of_hints_that_are_given_one_by_one() {
    let peer = Peer::listen();
    let gateway = gateway(&peer.url(), "http1");
    let mut client = Client::open(gateway.address);
    let mut response = ask(&mut client, "/");
    let mut app = peer.accept();
    app.read_head().unwrap();
    for number in 0..8 {
        app.send(hints(number..number + 1));
        assert_eq!(hint(&mut response).unwrap()["link"].to_str().unwrap(), format!("<{number}>"));
    }
    app.send([hints(8..9).as_str(), ANSWER].concat());
    assert_eq!(hint(&mut response), None);
    assert_eq!(answer(response).0, 200);
}

#[test]
fn hints_come_on_the_stream_of_their_request_and_on_no_other() {
    let peer = Peer::listen();
    let gateway = gateway(&peer.url(), "http1");
    let mut client = Client::open(gateway.address);
    let mut first = ask(&mut client, "/first");
    let mut first_app = peer.accept();
    let mut second = ask(&mut client, "/second");
    let mut second_app = peer.accept();
    for app in [&mut first_app, &mut second_app] {
        app.read_head().unwrap();
    }
    first_app.send(hints(1..2));
    assert_eq!(hint(&mut first).unwrap()["link"], "<1>");
    first_app.send(hints(2..3));
    second_app.send(ANSWER);
    assert_eq!(hint(&mut second), None);
    assert_eq!(answer(second).0, 200);
    // Its stream is given to the next request.
    let mut third = ask(&mut client, "/third");
    second_app.read_head().unwrap();
    second_app.send(ANSWER);
    assert_eq!(hint(&mut third), None);
    assert_eq!(answer(third).0, 200);
    first_app.send(ANSWER);
    assert_eq!(links(&mut first), ["<2>"]);
    assert_eq!(answer(first).0, 200);
}

#[test]
fn other_interim_answers_end_here_and_hints_too_where_they_are_off() {
    let others = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n".to_owned();
    for (setting, interim) in [("http2", others), ("off", hints(0..1))] {
        let peer = Peer::listen();
        let gateway = gateway_with(&peer.url(), "http1", &format!("early_hints = \"{setting}\""));
        let mut client = Client::open(gateway.address);
        let mut response = ask(&mut client, "/");
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send([interim.as_str(), ANSWER].concat());
        assert_eq!(hint(&mut response), None, "{setting}");
        assert_eq!(answer(response).0, 200);
    }
}
