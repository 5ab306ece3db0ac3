//! What gRPC asks of a proxy, on applications that speak HTTP/2: both directions at once, trailers, resets, and clients that
//! take nothing.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::support::gateway::Gateway;
use crate::support::http2_app::{Client, Http2App, head, trailers, wait};
use crate::support::wait_until;

fn gateway(app: &Http2App) -> Gateway {
    let url = app.url();
    Gateway::start("", &format!("[server]\nworkers = 1\n[[upstream]]\nurl = \"{url}\"\nprotocol = \"http2\"\n"))
}

/// Answers each piece at once, and says in the trailers how many there were.
fn echo() -> Http2App {
    Http2App::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(200, &[("content-type", "application/grpc")]), false)?;
        let mut count = 0;
        while let Some(piece) = exchange.piece().await {
            count += 1;
            stream.send_data(piece, false)?;
        }
        stream.send_trailers(trailers(&[
            ("grpc-status", "0"),
            ("x-count", &count.to_string()),
            ("proxy-authenticate", "x"),
        ]))
    })
}

#[test]
fn both_directions_are_open_at_once_and_trailers_end_them() {
    let app = echo();
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    let (response, mut upload) = client.begin(client.request("POST", "/echo.Echo/Chat", &token), false);
    let mut response = wait(response).unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    for message in ["one", "two", "three"] {
        upload.send_data(Bytes::from(message), false).unwrap();
        let piece = wait(response.body_mut().data()).unwrap().unwrap();
        assert_eq!(piece, message);
    }
    upload.send_trailers(trailers(&[("x-sum", "7"), ("x-auth-user", "root")])).unwrap();
    let end = wait(response.body_mut().data());
    assert!(end.is_none(), "{end:?}");
    let ended = wait(response.body_mut().trailers()).unwrap().unwrap();
    assert_eq!((&ended["grpc-status"], &ended["x-count"]), (&"0".parse().unwrap(), &"3".parse().unwrap()));
    assert!(!ended.contains_key("proxy-authenticate"), "{ended:?}");
}

#[test]
fn a_request_without_a_session_is_a_401_before_its_body_is_there() {
    let app = echo();
    let gateway = gateway(&app);
    let mut client = Client::open(gateway.address);
    let (response, _upload) = client.begin(client.request("POST", "/echo.Echo/Chat", "wrong"), false);
    assert_eq!(wait(response).unwrap().status(), 401);
    assert!(app.received().is_empty());
}

#[test]
fn an_answer_of_nothing_but_trailers_arrives_as_one() {
    let app = Http2App::start(|mut exchange| async move {
        let status = [("content-type", "application/grpc"), ("grpc-status", "12")];
        exchange.answer(200, &status, b"")
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    let (response, _) = client.begin(client.request("POST", "/none", &token), true);
    let response = wait(response).unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
    assert!(response.body().is_end_stream());
}

#[test]
fn trailers_with_more_fields_than_a_head_may_have_leave_the_response_without_its_end() {
    let app = Http2App::start(|mut exchange| async move {
        let number = exchange.received.uri.path().trim_start_matches('/').parse().unwrap();
        let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
        stream.send_data(Bytes::from_static(b"x"), false)?;
        let field = |at: usize| (format!("x-{at}").parse().unwrap(), HeaderValue::from_static("1"));
        stream.send_trailers((0..number).map(field).collect())
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    // A reset may overtake what was sent before it.
    let mut ask = |path: &str| -> Result<HeaderMap, h2::Error> {
        let (response, _) = client.begin(client.request("GET", path, &token), true);
        let mut body = wait(response)?.into_body();
        while let Some(piece) = wait(body.data()) {
            assert_eq!(piece?, "x");
        }
        wait(body.trailers()).map(Option::unwrap)
    };
    assert_eq!(ask("/128").unwrap().len(), 128);
    assert!(ask("/129").unwrap_err().is_reset());
    wait_until("the log tells", || {
        let log = std::fs::read_to_string(gateway.access_log()).unwrap();
        log.lines().any(|line| line.contains("target=/129 ") && line.contains("aborted"))
    });
    assert_eq!(ask("/128").unwrap().len(), 128, "the connection goes on");
    assert_eq!(app.connections(), 1);
}

#[test]
fn the_applications_reset_reaches_the_client_with_its_reason() {
    let app = Http2App::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
        stream.send_data(Bytes::from_static(b"x"), false)?;
        let _ = exchange.piece().await;
        stream.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
        Ok(())
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    let (response, mut upload) = client.begin(client.request("POST", "/", &token), false);
    let mut response = wait(response).unwrap();
    assert_eq!(wait(response.body_mut().data()).unwrap().unwrap(), "x");
    upload.send_data(Bytes::from_static(b"y"), false).unwrap();
    let error = wait(response.body_mut().data()).unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
}

/// There are programs that take what came before such a reset for the whole.
#[test]
fn a_reset_in_the_middle_that_says_that_nothing_is_wrong_says_something_else_to_the_other_side() {
    let (told, was_told) = std::sync::mpsc::channel();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
            stream.send_data(Bytes::from_static(b"x"), false)?;
            let _ = exchange.piece().await;
            if exchange.received.uri.path() == "/app" {
                stream.send_reset(h2::Reason::NO_ERROR);
            } else {
                told.send(std::future::poll_fn(|cx| stream.poll_reset(cx)).await?).unwrap();
            }
            Ok(())
        }
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    for path in ["/app", "/client"] {
        let (response, mut upload) = client.begin(client.request("POST", path, &token), false);
        let mut response = wait(response).unwrap();
        assert_eq!(wait(response.body_mut().data()).unwrap().unwrap(), "x");
        upload.send_data(Bytes::from_static(b"y"), false).unwrap();
        if path == "/app" {
            let error = wait(response.body_mut().data()).unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        } else {
            upload.send_reset(h2::Reason::NO_ERROR);
            assert_eq!(was_told.recv_timeout(Duration::from_secs(10)).unwrap(), h2::Reason::CANCEL);
        }
    }
}

#[test]
fn the_clients_reset_reaches_the_application() {
    let (told, was_told) = std::sync::mpsc::channel();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            if exchange.received.uri.path() == "/answered" {
                let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
                told.send(std::future::poll_fn(|cx| stream.poll_reset(cx)).await?).unwrap();
            } else {
                told.send(std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await?).unwrap();
            }
            Ok(())
        }
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    for (number, path) in ["/awaited", "/answered"].into_iter().enumerate() {
        let (response, mut upload) = client.begin(client.request("POST", path, &token), false);
        wait_until("the application has it", || app.received().len() > number);
        let response = (path == "/answered").then(|| wait(response).unwrap());
        upload.send_reset(h2::Reason::CANCEL);
        assert_eq!(was_told.recv_timeout(Duration::from_secs(10)).unwrap(), h2::Reason::CANCEL, "{path}");
        drop(response);
    }
    let label = format!("{{upstream=\"app\",address=\"{}\"}}", app.address);
    gateway.until_metric(&format!("gateway_upstream_requests_in_flight{label}"), 0.0);
}

#[test]
fn a_revoked_session_ends_its_stream() {
    let app = echo();
    let gateway = gateway(&app);
    let (session, other) = (gateway.login("ann"), gateway.login("ann"));
    let mut client = Client::open(gateway.address);
    let (response, mut upload) = client.begin(client.request("POST", "/", &session.token), false);
    let mut response = wait(response).unwrap();
    upload.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(wait(response.body_mut().data()).unwrap().unwrap(), "x");
    assert_eq!(gateway.delete_as(&other.token, &format!("/_sessions/{}", session.id)).status, 200);
    assert!(wait(response.body_mut().data()).is_none_or(|piece| piece.is_err()));
}

#[test]
fn clients_that_take_nothing_do_not_hold_up_the_others() {
    let app = Http2App::start(|mut exchange| async move {
        if exchange.received.uri.path() == "/small" {
            return exchange.answer(200, &[], b"small");
        }
        let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
        stream.send_data(Bytes::from(vec![0; 8 * 1024 * 1024]), true)
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut greedy = Client::open(gateway.address);
    let stalled: Vec<_> =
        (0..40).map(|_| wait(greedy.begin(greedy.request("GET", "/large", &token), true).0).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(gateway.get_as(&token, "/small").text(), "small");
    }
    assert_eq!(app.connections(), 1);
    drop(stalled);
}

#[test]
fn uploads_that_the_application_never_takes_are_reset_with_their_response_and_hold_up_nobody() {
    let (told, was_told) = std::sync::mpsc::channel();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            if exchange.received.uri.path() == "/small" {
                return exchange.answer(200, &[], b"small");
            }
            // It reads nothing of what it is sent.
            let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
            stream.send_data(Bytes::from_static(b"x"), false)?;
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await?;
            told.send(reason).unwrap();
            Ok(())
        }
    });
    let gateway = gateway(&app);
    let token = gateway.login("ann").token;
    let mut client = Client::open(gateway.address);
    for _ in 0..3 {
        let (response, mut upload) = client.begin(client.request("POST", "/stuck", &token), false);
        upload.send_data(Bytes::from(vec![b'u'; 400_000]), false).unwrap();
        let mut response = wait(response).unwrap();
        assert_eq!(wait(response.body_mut().data()).unwrap().unwrap(), "x");
        upload.send_reset(h2::Reason::CANCEL);
        assert_eq!(was_told.recv_timeout(Duration::from_secs(10)).unwrap(), h2::Reason::CANCEL);
    }
    assert_eq!(gateway.get_as(&token, "/small").text(), "small");
}
