//! Keys that an issuer publishes: a real server that changes them, fails, hangs and lies.

#[path = "fetching/secure.rs"]
mod secure;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::support::gateway::{Gateway, Issued};
use crate::support::issuer::Issuer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;
use crate::{code, now};

/// What the server answers, to be changed at any time.
#[derive(Clone)]
struct Published(Arc<Mutex<Answer>>);

#[derive(Clone)]
enum Answer {
    Keys(Vec<Value>),
    Text(&'static str),
    Status(&'static str, String),
    Endless,
    Silence,
    Closed,
}

impl Published {
    fn keys(issuers: &[&Issuer]) -> Self {
        Self(Arc::new(Mutex::new(Answer::Keys(issuers.iter().map(|issuer| issuer.jwk()).collect()))))
    }

    fn set(&self, answer: Answer) {
        *self.0.lock().unwrap() = answer;
    }

    fn set_keys(&self, issuers: &[&Issuer]) {
        self.set(Answer::Keys(issuers.iter().map(|issuer| issuer.jwk()).collect()));
    }

    fn serve(&self) -> Upstream {
        let published = self.clone();
        Upstream::start(move |_| {
            let answer = published.0.lock().unwrap().clone();
            match answer {
                Answer::Keys(keys) => Reaction::Send(response("200 OK", "", &json!({ "keys": keys }).to_string())),
                Answer::Text(text) => Reaction::Send(response("200 OK", "", text)),
                Answer::Status(status, headers) => Reaction::Send(response(status, &headers, "")),
                Answer::Endless => Reaction::Custom(Box::new(|stream| {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n{\"keys\":[");
                    while stream.write_all(&[b' '; 65536]).is_ok() {}
                })),
                // Until the gateway has had enough.
                Answer::Silence => Reaction::Custom(Box::new(|stream| {
                    let mut byte = [0];
                    let _ = std::io::Read::read(stream, &mut byte);
                })),
                Answer::Closed => Reaction::Close,
            }
        })
    }
}

/// A gateway that fetches its keys there. The times are those of a test.
fn start(server: &Upstream, more: &str) -> (Upstream, Gateway) {
    let app = Upstream::hello();
    let url = format!("{}/jwks", server.url());
    // These tests ask again and again until a key is known.
    let unbounded = "[limits]\nunknown_tokens_per_client = \"0\"\n";
    let gateway = Gateway::start(&app.url(), &format!("[jwt]\njwks_url = \"{url}\"\n{more}\n{unbounded}"));
    (app, gateway)
}

/// Fetches at once whenever a key is not known.
const EAGER: &str = "jwks_cooldown = \"100ms\"\n";
/// Fetches all the time.
const OFTEN: &str = "jwks_cooldown = \"100ms\"\njwks_refresh = \"100ms\"\n";

fn login(gateway: &Gateway) -> Issued {
    gateway.login_with(json!({ "user": "ann", "user_agent": "acme-test/1.0", "ip": "127.0.0.1" }))
}

fn token(issuer: &Issuer, session: &Issued) -> String {
    issuer.token(&json!({ "session_id": session.id, "sub": "ann", "exp": now() + 600 }))
}

fn fetches(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_jwks_fetches_total{result=\"ok\"}")
}

fn failures(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_jwks_fetches_total{result=\"failed\"}")
}

fn keys_are_here(gateway: &Gateway) {
    wait_until("the keys were fetched", || fetches(gateway) > 0.0);
}

fn opens(gateway: &Gateway, token: &str) -> bool {
    let response = gateway.get_as(token, "/");
    assert!(matches!(response.status, 200 | 401), "{response:?}");
    response.status == 200
}

#[test]
fn published_keys_of_every_kind_verify_tokens() {
    let issuers = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
        .map(|algorithm| Issuer::new(algorithm, Some(algorithm.name())));
    let server = Published::keys(&issuers.each_ref()).serve();
    let (_app, gateway) = start(&server, "");
    keys_are_here(&gateway);
    let session = login(&gateway);
    for issuer in &issuers {
        assert!(opens(&gateway, &token(issuer, &session)), "{:?}", issuer.algorithm);
    }
    assert_eq!(gateway.metric("gateway_jwks_keys"), 3.0);
    let asked = server.received();
    assert_eq!((asked.len(), asked[0].target()), (1, "/jwks"));
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn a_published_key_that_is_not_allowed_opens_nothing() {
    let allowed = Issuer::new(Algorithm::EdDsa, Some("a"));
    let other = Issuer::new(Algorithm::Es384, Some("b"));
    let server = Published::keys(&[&allowed, &other]).serve();
    let (_app, gateway) = start(&server, "algorithms = [\"EdDSA\"]\n");
    keys_are_here(&gateway);
    let session = login(&gateway);
    assert!(opens(&gateway, &token(&allowed, &session)));
    assert!(!opens(&gateway, &token(&other, &session)));
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it() {
    let (old, new) = (Issuer::new(Algorithm::EdDsa, Some("old")), Issuer::new(Algorithm::EdDsa, Some("new")));
    let published = Published::keys(&[&old]);
    let server = published.serve();
    let (_app, gateway) = start(&server, EAGER);
    keys_are_here(&gateway);
    let session = login(&gateway);
    assert!(opens(&gateway, &token(&old, &session)));
    published.set_keys(&[&old, &new]);
    wait_until("the cooldown is over", || opens(&gateway, &token(&new, &session)));
    assert!(opens(&gateway, &token(&old, &session)));
    assert_eq!(fetches(&gateway), 2.0, "one at the start, one for the new key");
}

#[test]
fn a_withdrawn_key_opens_nothing_any_more_and_what_it_opened_is_forgotten() {
    let (old, new) = (Issuer::new(Algorithm::EdDsa, Some("old")), Issuer::new(Algorithm::EdDsa, Some("new")));
    let published = Published::keys(&[&old, &new]);
    let server = published.serve();
    let (_app, gateway) = start(&server, OFTEN);
    keys_are_here(&gateway);
    let session = login(&gateway);
    let (of_old, of_new) = (token(&old, &session), token(&new, &session));
    assert!(opens(&gateway, &of_old) && opens(&gateway, &of_new));
    published.set_keys(&[&new]);
    wait_until("the old key is gone", || !opens(&gateway, &of_old));
    assert_eq!(code(&gateway.get_as(&of_old, "/")), (401, "invalid_token".to_owned()));
    assert!(opens(&gateway, &of_new));
}

#[test]
fn keys_that_stay_the_same_keep_what_is_remembered() {
    let issuer = Issuer::new(Algorithm::EdDsa, Some("k"));
    let server = Published::keys(&[&issuer]).serve();
    let (_app, gateway) = start(&server, OFTEN);
    keys_are_here(&gateway);
    let token = token(&issuer, &login(&gateway));
    assert!(opens(&gateway, &token));
    let (checks, then) = (gateway.metric("gateway_jwt_checks_total"), fetches(&gateway));
    wait_until("they were fetched again", || fetches(&gateway) >= then + 2.0);
    assert!(opens(&gateway, &token));
    assert_eq!(gateway.metric("gateway_jwt_checks_total"), checks);
}

#[test]
fn made_up_key_names_do_not_hammer_the_issuer() {
    let issuer = Issuer::new(Algorithm::EdDsa, Some("k"));
    let server = Published::keys(&[&issuer]).serve();
    let (_app, gateway) = start(&server, "jwks_cooldown = \"1h\"\n");
    keys_are_here(&gateway);
    let session = login(&gateway);
    let forger = Issuer::new(Algorithm::EdDsa, None);
    for number in 0..50 {
        let forger = Issuer { kid: Some(format!("made-up-{number}")), ..forger.clone() };
        assert_eq!(code(&gateway.get_as(&token(&forger, &session), "/")), (401, "invalid_token".to_owned()));
    }
    assert_eq!(server.received().len(), 1);
    assert!(opens(&gateway, &token(&issuer, &session)));
}

#[test]
fn everybody_who_waits_for_a_new_key_waits_for_the_same_fetch() {
    let (old, new) = (Issuer::new(Algorithm::EdDsa, Some("old")), Issuer::new(Algorithm::EdDsa, Some("new")));
    // The second fetch is answered when all are waiting.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let asked = Arc::new(AtomicUsize::new(0));
    let (first, second) =
        (json!({ "keys": [old.jwk()] }).to_string(), json!({ "keys": [old.jwk(), new.jwk()] }).to_string());
    let server = {
        let (gate, asked) = (gate.clone(), asked.clone());
        Upstream::start(move |_| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                return Reaction::Send(response("200 OK", "", &first));
            }
            let (open, changed) = &*gate;
            drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            Reaction::Send(response("200 OK", "", &second))
        })
    };
    let (app, gateway) = start(&server, EAGER);
    keys_are_here(&gateway);
    let session = login(&gateway);
    let known = token(&old, &session);
    let checks = || gateway.metric("gateway_jwt_checks_total");
    // A first one wakes the fetch, once the cooldown allows it.
    let unknown = token(&new, &session);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut response = gateway.get_as(&unknown, "/");
                    while response.status == 401 {
                        response = gateway.get_as(&unknown, "/");
                    }
                    response.status
                })
            })
            .collect();
        wait_until("the second fetch is under way", || asked.load(Ordering::SeqCst) == 2);
        let before = checks();
        wait_until("a request whose key is known does not wait", || opens(&gateway, &known));
        assert!(checks() >= before);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for status in waiting {
            assert_eq!(status.join().unwrap(), 200);
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(!app.received().is_empty());
}

#[test]
fn whatever_goes_wrong_the_last_good_keys_stay() {
    let issuer = Issuer::new(Algorithm::EdDsa, Some("k"));
    let published = Published::keys(&[&issuer]);
    let server = published.serve();
    let (_app, gateway) = start(&server, OFTEN);
    keys_are_here(&gateway);
    let session = login(&gateway);
    let elsewhere = Published::keys(&[&Issuer::new(Algorithm::EdDsa, Some("thief"))]).serve();
    let location = format!("Location: {}/jwks\r\n", elsewhere.url());
    for answer in [
        Answer::Text("<html>Sorry</html>"),
        Answer::Text(""),
        Answer::Text("{\"keys\":[]}"),
        Answer::Text(
            "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U\",\"kid\":\"k\"}]}",
        ),
        Answer::Status("500 Internal Server Error", String::new()),
        Answer::Status("404 Not Found", String::new()),
        Answer::Status("204 No Content", String::new()),
        Answer::Status("302 Found", location.clone()),
        Answer::Status("308 Permanent Redirect", location),
        Answer::Endless,
        Answer::Closed,
    ] {
        published.set(answer);
        let then = failures(&gateway);
        wait_until("two fetches have failed", || failures(&gateway) >= then + 2.0);
        assert!(opens(&gateway, &token(&issuer, &session)), "a token that was never seen, with the last good keys");
    }
    assert!(elsewhere.received().is_empty(), "nobody leads the gateway elsewhere");
    let good = fetches(&gateway);
    published.set_keys(&[&issuer]);
    wait_until("it is good again", || fetches(&gateway) > good);
}

#[test]
fn an_issuer_that_hangs_holds_no_request_whose_key_is_known() {
    let (issuer, stranger) = (Issuer::new(Algorithm::EdDsa, Some("k")), Issuer::new(Algorithm::EdDsa, Some("x")));
    let published = Published::keys(&[&issuer]);
    let server = published.serve();
    let (_app, gateway) = start(&server, EAGER);
    keys_are_here(&gateway);
    let session = login(&gateway);
    published.set(Answer::Silence);
    let began = crate::support::now();
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let mut asked = gateway.get_as(&token(&stranger, &session), "/");
            while server.received().len() < 2 {
                asked = gateway.get_as(&token(&stranger, &session), "/");
            }
            asked
        });
        wait_until("the fetch hangs", || server.received().len() == 2);
        let hanging = crate::support::now();
        for _ in 0..20 {
            assert!(opens(&gateway, &token(&issuer, &session)));
        }
        assert!(hanging.elapsed().as_secs() < 3, "{:?}", hanging.elapsed());
        assert_eq!(code(&stranger.join().unwrap()), (401, "invalid_token".to_owned()));
    });
    assert!(began.elapsed().as_secs() < 9, "a fetch ends by itself: {:?}", began.elapsed());
    assert_eq!(failures(&gateway), 1.0);
}

#[test]
fn as_long_as_no_keys_were_fetched_nobody_knows_and_nobody_is_let_in() {
    let issuer = Issuer::new(Algorithm::EdDsa, Some("k"));
    let local = Issuer::new(Algorithm::Hs256, Some("local"));
    let published = Published::keys(&[&issuer]);
    published.set(Answer::Closed);
    let server = published.serve();
    let more = format!(
        "keys = [{}]\n[[upstream]]\nurl = \"{{upstream}}\"\nlogin_url = \"/login\"\n\
         [[upstream.route]]\npath = \"/maybe/\"\nauth = \"optional\"\n",
        local.entry()
    );
    let (app, gateway) = start(&server, &more);
    let session = login(&gateway);
    let unknown = token(&issuer, &session);
    for target in ["/", "/maybe/", "/_sessions"] {
        let response = gateway.get_as(&unknown, target);
        assert_eq!(code(&response), (503, "keys_unavailable".to_owned()), "{target}");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    let browser = format!("Cookie: __Host-session={unknown}\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n");
    assert_eq!(gateway.get("/", &browser).status, 503, "never a login page");
    assert!(app.received().is_empty());
    assert!(opens(&gateway, &session.token) && opens(&gateway, &token(&local, &session)), "the others go on");
    published.set_keys(&[&issuer]);
    wait_until("the keys are here at last", || gateway.get_as(&unknown, "/").status == 200);
}

#[test]
fn a_gateway_stops_while_it_fetches() {
    let published = Published::keys(&[]);
    published.set(Answer::Silence);
    let server = published.serve();
    let (_app, gateway) = start(&server, "");
    wait_until("the fetch hangs", || server.received().len() == 1);
    let began = crate::support::now();
    gateway.stop();
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
}
