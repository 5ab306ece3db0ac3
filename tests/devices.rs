//! The devices of sessions: read from what the browser says when its session begins, and kept.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use serde_json::{Value, json};
use support::database::Database;
use support::gateway::{AGENT, Gateway, Issued, SERVICE_KEY, bearer};
use support::postgres::fresh_database;
use support::upstream::{Reaction, Upstream, response};

const CHROME: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
                      Safari/537.36";
const HINTS: &str = "Sec-CH-UA: \"Chromium\";v=\"130\", \"Brave\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
                     Sec-CH-UA-Mobile: ?1\r\nSec-CH-UA-Platform: \"Android\"\r\nSec-CH-UA-Model: \"Pixel 8\"\r\n";

/// The lines of a browser's request: its User-Agent and its hints.
fn browser() -> String {
    format!("User-Agent: {CHROME}\r\n{HINTS}")
}

fn pixel() -> Value {
    json!({
        "os": "Android", "browser": "Brave", "brand": "Google", "model": "Pixel 8", "family": "Pixel 8",
        "is_mobile": true, "is_tablet": false,
    })
}

/// What a session's owner is shown, asked for with these lines.
fn shown(gateway: &Gateway, token: &str, lines: &str) -> Value {
    let current = gateway.get("/_sessions/current", &format!("{}{lines}", bearer(token)));
    assert_eq!(current.status, 200, "{current:?}");
    let list = gateway.get("/_sessions", &format!("{}{lines}", bearer(token))).json();
    assert_eq!(current.json()["device"], list["sessions"][0]["device"], "the list and the session itself say the same");
    current.json()["device"].clone()
}

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    (upstream, gateway)
}

fn issue(gateway: &Gateway, body: Value) -> Issued {
    gateway.login_with(body)
}

#[test]
fn a_login_keeps_the_device_that_the_browser_described() {
    let upstream = Upstream::start(|_| Reaction::Send(response("302 Found", "Location: /home\r\n", "")));
    let toml =
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let lines = format!("{}Content-Type: application/x-www-form-urlencoded\r\n", browser());
    let login = gateway.request("POST", "/login", &lines, b"username=ann");
    let token = login.cookie("__Host-session").unwrap();
    // Later requests need not repeat the hints.
    assert_eq!(shown(&gateway, &token, &format!("User-Agent: {CHROME}\r\n")), pixel());
    assert!(
        upstream.received().iter().any(|seen| seen.header("sec-ch-ua-model") == Some("\"Pixel 8\"")),
        "the application gets them too"
    );
}

#[test]
fn a_service_passes_on_what_the_browser_told_it() {
    let (_upstream, gateway) = start();
    let hints = json!({
        "Sec-CH-UA": "\"Chromium\";v=\"130\", \"Brave\";v=\"130\", \"Not?A_Brand\";v=\"99\"", "sec-ch-ua-mobile": "?1",
        "Sec-CH-UA-Platform": "\"Android\"", "Sec-CH-UA-Model": "\"Pixel 8\"", "Sec-CH-UA-Arch": "\"arm\"",
    });
    let session = issue(&gateway, json!({ "user": "ann", "user_agent": CHROME, "client_hints": hints }));
    assert_eq!(shown(&gateway, &session.token, &format!("User-Agent: {CHROME}\r\n")), pixel());

    let without = issue(&gateway, json!({ "user": "ben", "user_agent": CHROME, "client_hints": null }));
    let device = shown(&gateway, &without.token, &browser());
    assert_eq!((&device["browser"], &device["model"]), (&json!("Chrome Mobile"), &json!("K")), "as it was at creation");
}

#[test]
fn hints_that_a_service_cannot_have_got_are_refused() {
    let (_upstream, gateway) = start();
    for body in [
        json!({ "user": "ann", "user_agent": CHROME, "client_hints": "Pixel 8" }),
        json!({ "user": "ann", "user_agent": CHROME, "client_hints": { "Cookie": "a=b" } }),
        json!({ "user": "ann", "user_agent": CHROME, "client_hints": { "Sec-CH-UA-Model": 8 } }),
        json!({ "user": "ann", "user_agent": CHROME, "client_hints": { "Sec-CH-UA-Model": "a\r\nb" } }),
        json!({ "user": "ann", "client_hints": { "Sec-CH-UA-Model": "\"Pixel 8\"" } }),
    ] {
        let answer = gateway.issue(&body);
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("client_hints")), "{body}");
    }
    // What a browser garbled is no fault of the service's.
    let garbled = json!({ "user": "ann", "user_agent": CHROME, "client_hints": { "Sec-CH-UA-Model": "Pixel 8" } });
    assert_eq!(gateway.issue(&garbled).status, 201);
}

#[test]
fn a_session_bound_at_its_first_use_has_the_device_of_that_request() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    assert_eq!(Database::of(&gateway).column(&session.id, "device"), None);
    let lines = format!("{}{}", bearer(&session.token), browser());
    assert_eq!(gateway.get("/", &lines).status, 200);
    assert_eq!(shown(&gateway, &session.token, &format!("User-Agent: {CHROME}\r\n")), pixel());
}

#[test]
fn a_session_from_before_devices_were_kept_is_described_by_its_user_agent() {
    let (_upstream, gateway) = start();
    let session = issue(&gateway, json!({ "user": "ann", "user_agent": AGENT }));
    let described = shown(&gateway, &session.token, "");
    let database = Database::of(&gateway);
    assert!(database.column(&session.id, "device").is_some_and(|json| json.contains("\"is_tablet\"")));
    database.change(&session, "device = NULL");
    assert_eq!(shown(&gateway, &session.token, ""), described);
}

#[test]
fn a_device_is_read_when_the_session_begins_and_not_when_it_is_listed() {
    let (_upstream, gateway) = start();
    let session = issue(&gateway, json!({ "user": "ann", "user_agent": AGENT }));
    // As another release may have written it: one field more, and one that it did not know yet.
    Database::of(&gateway).change(&session, r#"device = '{"os": "Plan 9", "model": "Terminal", "colour": "blue"}'"#);
    let device = shown(&gateway, &session.token, "");
    assert_eq!(
        (&device["os"], &device["model"], &device["browser"]),
        (&json!("Plan 9"), &json!("Terminal"), &json!("Other"))
    );
    assert!(device.get("colour").is_none());
}

#[test]
fn postgresql_keeps_devices_too() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), "");
    let session = gateway.login("ann");
    assert_eq!(shown(&gateway, &session.token, &browser()), pixel());
    assert_eq!(database.run("SELECT device ->> 'model' FROM sessions"), [Some("Pixel 8".to_owned())]);
    // A header that no browser sends.
    let odd =
        format!("User-Agent: x\"\\\u{e4}\r\nAuthorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    let body = json!({ "user": "ben", "user_agent": "a\0\"\\ (Linux; Android 1; \0)" }).to_string();
    assert_eq!(gateway.request("POST", "/_sessions", &odd, body.as_bytes()).status, 201);
}
