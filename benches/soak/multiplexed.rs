//! What clients of HTTP/2 do: many requests at a time on one connection, to the application and to another one that speaks HTTP/2
//! itself; some are given up half-way.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::clients::{PAUSE, Tally, login};
use crate::link::{Answer, Link};
use crate::support::gateway::AGENT;
use crate::support::http2::{Connection, Pending};
use crate::support::http2_app::Http2App;

/// The host of the application that speaks HTTP/2.
pub(crate) const HOST: &str = "grpc.test";

/// That application: it says whom it was told, and how much it was sent.
pub(crate) fn app() -> Http2App {
    Http2App::start(|mut exchange| async move {
        let sent = exchange.whole().await.len();
        let user = exchange.received.headers.get("x-auth-user").map_or("nobody", |user| user.to_str().unwrap_or("?"));
        let answer = if sent == 0 { user.to_owned() } else { format!("{user} {sent}") };
        exchange.answer(200, &[], answer.as_bytes())
    })
}

/// Several users on one connection, each of whom must reach both applications as himself; one has logged out, and must not.
pub(crate) fn multiplexes(tally: &Tally, address: SocketAddr, number: usize, stop: &AtomicBool) {
    let mut link = Link::to(address);
    let mut sessions = Vec::new();
    for user in 0..8 {
        let name = format!("streamer-{number}-{user}");
        let Some(token) = login(&mut link, &name, stop) else { return };
        sessions.push((name, token));
    }
    let Some(dead) = logged_out(&mut link, stop) else { return };
    let mut connection = Connection::open(address);
    for round in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut begun = Vec::new();
        for (place, (name, token)) in sessions.iter().enumerate() {
            let host = if (round + place).is_multiple_of(2) { "app.test" } else { HOST };
            let length = if place == 3 { 20_000 } else { 0 };
            let pending = begin(&connection, host, token, length);
            if (round + place).is_multiple_of(5) {
                thread::sleep(PAUSE / 4);
                pending.give_up();
            } else {
                begun.push((pending, name, length));
            }
        }
        let refused = begin(&connection, HOST, &dead, 0);
        let mut broke = false;
        for (pending, name, length) in begun {
            let expected = if length == 0 { name.clone() } else { format!("{name} {length}") };
            let answer = answered(pending);
            broke |= answer.is_err();
            tally.may_pass(answer, expected.as_bytes());
        }
        let answer = answered(refused);
        broke |= answer.is_err();
        tally.must_not_pass(answer, "a session that ended before");
        if broke {
            connection = Connection::open(address);
        }
        thread::sleep(PAUSE);
    }
}

/// A token whose session has ended for sure.
fn logged_out(link: &mut Link, stop: &AtomicBool) -> Option<String> {
    loop {
        let token = login(link, "left", stop)?;
        if let Ok(Answer { status: 204, .. }) = link.call("DELETE", "/_sessions/current", &token, AGENT, b"") {
            return Some(token);
        }
    }
}

fn begin(connection: &Connection, host: &str, token: &str, length: usize) -> Pending {
    let (method, path) = if length == 0 { ("GET", "/") } else { ("POST", "/upload") };
    let request = Request::builder().method(method).uri(format!("http://{host}{path}"));
    let request = request.header("user-agent", AGENT).header("authorization", format!("Bearer {token}"));
    connection.begin(request.body(Full::new(Bytes::from(vec![b'u'; length]))).unwrap())
}

fn answered(pending: Pending) -> io::Result<Answer> {
    let response = pending.wait().map_err(io::Error::other)?;
    Ok(Answer { status: response.status, body: response.body })
}
