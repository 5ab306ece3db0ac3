//! `POST /_sessions`: a service creates a session.

use serde_json::{Value, json};
use session_gateway::config::Invalid;
use tempfile::TempDir;

use crate::invalid;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, SERVICE_KEY, bearer, config};
use crate::support::upstream::Upstream;

const JSON: &str = "Content-Type: application/json\r\n";

fn post(gateway: &Gateway, headers: &str, body: &[u8]) -> crate::support::client::Response {
    gateway.request("POST", "/_sessions", &format!("{}{headers}", bearer(SERVICE_KEY)), body)
}

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    (upstream, gateway)
}

#[test]
fn a_session_has_all_that_the_service_said() {
    let (upstream, gateway) = start();
    let response = gateway.issue(&json!({
        "user": "ann", "roles": ["staff", "ops"], "name": "Ann Example", "email": "ann@example.org",
        "lifetime": "1h", "max_sessions": 3, "user_agent": "acme-test/1.0", "ip": "127.0.0.1",
        "claims": { "tenant": 7, "flags": ["a", { "b": null }] }, "format": "opaque",
    }));
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("set-cookie"), None, "the service is no browser");
    let answer = response.json();
    let keys: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "token", "expires_at", "evicted"]);
    assert_eq!(answer["evicted"], json!([]));
    assert_eq!(answer["token"].as_str().unwrap().len(), 43, "32 random bytes in base64url");

    let token = answer["token"].as_str().unwrap();
    assert_eq!(gateway.get_as(token, "/").status, 200);
    let received = upstream.last();
    for (name, value) in [
        ("x-auth-user", "ann"),
        ("x-auth-session", answer["id"].as_str().unwrap()),
        ("x-auth-roles", "staff,ops"),
        ("x-auth-name", "Ann%20Example"),
        ("x-auth-email", "ann@example.org"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    let current = gateway.get_as(token, "/_sessions/current").json();
    assert_eq!(current["claims"], json!({ "tenant": 7, "flags": ["a", { "b": null }] }));
    assert_eq!(current["expires_at"], answer["expires_at"]);
    assert_eq!(current["user_agent"], "acme-test/1.0");
    let events = Database::of(&gateway).events("session_created");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].actor, "service:login");
}

#[test]
fn every_field_of_a_wrong_type_is_named_and_nothing_is_created() {
    let (_upstream, gateway) = start();
    let long = "x".repeat(256);
    for (field, value) in [
        ("user", json!(null)),
        ("user", json!("")),
        ("user", json!(" ann")),
        ("user", json!("a\nb")),
        ("user", json!("a\u{0}b")),
        ("user", json!(long)),
        ("user", json!(1.5)),
        ("user", json!(true)),
        ("user", json!(["ann"])),
        ("user", json!({ "id": 1 })),
        ("roles", json!("staff")),
        ("roles", json!([1])),
        ("roles", json!(["a,b"])),
        ("roles", json!(["a b"])),
        ("roles", json!([""])),
        ("roles", json!(["é"])),
        ("roles", json!(["x".repeat(65)])),
        ("roles", json!(vec!["x"; 65])),
        ("name", json!(7)),
        ("name", json!("")),
        ("name", json!("a\r\nb")),
        ("name", json!("x".repeat(513))),
        ("email", json!(["a@b"])),
        ("email", json!("a\u{0}@b")),
        ("lifetime", json!("soon")),
        ("lifetime", json!("10ms")),
        ("lifetime", json!(-1)),
        ("lifetime", json!(1.5)),
        ("lifetime", json!(true)),
        ("lifetime", json!({})),
        ("max_sessions", json!(-1)),
        ("max_sessions", json!("1")),
        ("max_sessions", json!(1.5)),
        ("max_sessions", json!(4_294_967_296_u64)),
        ("user_agent", json!(7)),
        ("user_agent", json!("x".repeat(16 * 1024 + 1))),
        ("ip", json!("192.0.2.256")),
        ("ip", json!("192.0.2.1:80")),
        ("ip", json!("host.test")),
        ("ip", json!(7)),
        ("claims", json!([])),
        ("claims", json!("{}")),
        ("format", json!("jwt2")),
        ("format", json!(1)),
        ("rolez", json!(["staff"])),
        ("token", json!("x")),
        ("id", json!(null)),
    ] {
        let mut body = json!({ "user": "ann" });
        body[field] = value.clone();
        let response = gateway.issue(&body);
        invalid(&response, field);
        assert!(!response.text().contains(&long), "{response:?}");
    }
    invalid(&gateway.issue(&json!({ "roles": [] })), "user");
    assert_eq!(Database::of(&gateway).count("true"), 0);
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let (_upstream, gateway) = start();
    for body in [&b"{"[..], b"[]", b"\"ann\"", b"null", b"{\"user\":\"ann\"} x", b"{\"user\":\"\xff\"}", b"user=ann"] {
        invalid(&post(&gateway, JSON, body), "body");
    }
    invalid(&post(&gateway, JSON, b""), "body");
    for twice in ["{\"user\":\"ann\",\"user\":\"root\"}", "{\"user\":1,\"claims\":{\"a\":{\"b\":1,\"b\":2}}}"] {
        invalid(&post(&gateway, JSON, twice.as_bytes()), "body");
    }
    let nested = format!("{{\"user\":\"ann\",\"claims\":{}1{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    invalid(&post(&gateway, JSON, nested.as_bytes()), "body");
}

#[test]
fn a_body_of_another_type_is_415_and_one_that_is_too_large_413() {
    let (_upstream, gateway) = start();
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/jsonx\r\n",
    ] {
        let response = post(&gateway, headers, b"{\"user\":\"ann\"}");
        assert_eq!((response.status, response.code().as_str()), (415, "unsupported_media_type"), "{headers}");
    }
    assert_eq!(
        post(&gateway, "Content-Type: Application/JSON; charset=\"UTF-8\"\r\n", b"{\"user\":\"ann\"}").status,
        201
    );

    let mut large = b"{\"user\":\"ann\"".to_vec();
    large.resize(64 * 1024, b' ');
    *large.last_mut().unwrap() = b'}';
    assert_eq!(post(&gateway, JSON, &large).status, 201, "exactly 64 KiB");
    large.push(b' ');
    let response = post(&gateway, JSON, &large);
    assert_eq!((response.status, response.code().as_str()), (413, "payload_too_large"));

    let mut connection = gateway.connect();
    let key = bearer(SERVICE_KEY);
    connection
        .send(format!("POST /_sessions HTTP/1.1\r\nHost: a.test\r\n{key}{JSON}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..17 {
        if !connection.try_send(format!("1000\r\n{}\r\n", " ".repeat(4096))) {
            break;
        }
    }
    assert_eq!(connection.read("POST").status, 413, "however it is sent");
    assert_eq!(Database::of(&gateway).count("true"), 2);
}

#[test]
fn only_a_service_with_its_key_may_create_sessions() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    let body = b"{\"user\":\"root\"}";
    for credential in [
        String::new(),
        bearer("x"),
        bearer(&format!("{SERVICE_KEY}x")),
        bearer(&SERVICE_KEY[..SERVICE_KEY.len() - 1]),
        bearer(&SERVICE_KEY.to_uppercase()),
        bearer(&session.token),
        format!("Cookie: __Host-session={}\r\n", session.token),
        format!("Authorization: Basic {SERVICE_KEY}\r\n"),
        format!("Authorization: Token {SERVICE_KEY}\r\n"),
        format!("{}{}", bearer(SERVICE_KEY), bearer(SERVICE_KEY)),
        "Authorization: Bearer\r\n".to_owned(),
    ] {
        let response = gateway.request("POST", "/_sessions", &format!("{credential}{JSON}"), body);
        assert_eq!((response.status, response.code().as_str()), (401, "invalid_service_key"), "{credential}");
        assert!(response.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    // A key is no session, and opens nothing else.
    assert_eq!(gateway.get_as(SERVICE_KEY, "/").status, 401);
    assert_eq!(gateway.get_as(SERVICE_KEY, "/_sessions").status, 401);
    assert_eq!(Database::of(&gateway).count("true"), 1);
}

#[test]
fn every_service_has_its_own_key_and_name() {
    let upstream = Upstream::hello();
    let two = |name: &str, key: &str| {
        format!(
            "[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n[[service]]\nname = \"{name}\"\nkey = \"{key}\"\n"
        )
    };
    let gateway = Gateway::start(&upstream.url(), &two("import", "another-key-0123456789"));
    let headers = format!("{}{JSON}", bearer("another-key-0123456789"));
    assert_eq!(gateway.request("POST", "/_sessions", &headers, b"{\"user\":\"ann\"}").status, 201);
    gateway.login("ann");
    let actors: Vec<_> = Database::of(&gateway).events("session_created").into_iter().map(|e| e.actor).collect();
    assert_eq!(actors, ["service:import", "service:login"]);

    let faults = |toml: &str| {
        let Invalid(faults) = config(&TempDir::new().unwrap(), &upstream.url(), "sqlite:x.db", toml).unwrap_err();
        faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
    };
    assert_eq!(faults(&two("login", "another-key-0123456789")), ["service[1].name"]);
    assert_eq!(faults(&two("import", SERVICE_KEY)), ["service[1].key"], "nobody could tell which one called");
    assert_eq!(faults(&two("import", "short")), ["service[1].key"]);
}

#[test]
fn a_lifetime_is_a_text_or_seconds_and_zero_is_never() {
    let (_upstream, gateway) = start();
    let seconds = |lifetime: Value| {
        let session = gateway.login_with(json!({ "user": "ann", "lifetime": lifetime }));
        let lasts = Database::of(&gateway).column(&session.id, "(expires_at - created_at) / 1000");
        assert_eq!(session.answer["expires_at"].is_null(), lasts.is_none());
        assert_eq!(
            gateway.get_as(&session.token, "/_sessions/current").json()["expires_at"],
            session.answer["expires_at"]
        );
        lasts.map(|seconds| seconds.parse::<u64>().unwrap())
    };
    assert_eq!(seconds(json!("1h 30m")), Some(5400));
    assert_eq!(seconds(json!(90)), Some(90));
    assert_eq!(seconds(json!("0")), None);
    assert_eq!(seconds(json!(0)), None);
    assert_eq!(seconds(Value::Null), Some(14 * 86_400), "the default");
    let far = gateway.login_with(json!({ "user": "ann", "lifetime": u64::MAX }));
    assert_eq!(gateway.get_as(&far.token, "/_sessions").status, 200);
}

#[test]
fn a_user_may_be_a_number_and_any_text_reaches_the_application_reversibly() {
    let (upstream, gateway) = start();
    for (user, header) in [
        (json!(42), "42"),
        (json!(-7), "-7"),
        (json!(18_446_744_073_709_551_615_u64), "18446744073709551615"),
        (json!("Zoë"), "Zo%C3%AB"),
        (json!("100%"), "100%25"),
        (json!("a b"), "a%20b"),
        (json!("日本"), "%E6%97%A5%E6%9C%AC"),
        (json!("a,b;c=\"d\""), "a,b;c=\"d\""),
        (json!("x".repeat(255)), &"x".repeat(255)),
    ] {
        let session = gateway.login_with(json!({ "user": user, "name": "Ünï 100%" }));
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        let received = upstream.last();
        assert_eq!(received.header("x-auth-user"), Some(header), "{user}");
        let name = percent_encoding::percent_decode_str(received.header("x-auth-name").unwrap());
        assert_eq!(name.decode_utf8().unwrap(), "Ünï 100%");
        let shown = gateway.get_as(&session.token, "/_sessions/current").json()["user"].clone();
        assert_eq!(shown, user.as_str().map_or_else(|| user.to_string(), str::to_owned));
    }
    let (one, text) = (gateway.login_with(json!({ "user": 42 })), gateway.login("42"));
    assert_eq!(crate::listed(&gateway, &one), crate::listed(&gateway, &text), "the number and its text are one user");
}

#[test]
fn an_identity_that_lacks_something_cannot_be_completed_by_the_client() {
    let (upstream, gateway) = start();
    let session = gateway.login("ann");
    let spoofed =
        "X-Auth-Roles: superuser\r\nX-Auth-Email: root@example.org\r\nX_Auth_Name: root\r\nX.Auth.User: root\r\n";
    assert_eq!(gateway.get("/", &format!("{}{spoofed}", bearer(&session.token))).status, 200);
    let received = upstream.last();
    assert_eq!(received.headers("x-auth-user"), ["ann"]);
    assert!(!received.head.contains("root") && !received.head.contains("superuser"), "{}", received.head);
}

#[test]
fn the_answer_is_the_only_place_of_the_token() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    for target in ["/_sessions", "/_sessions/current"] {
        let response = gateway.get_as(&session.token, target);
        assert!(!response.text().contains(&session.token) && !response.head.contains(&session.token));
        assert!(!response.text().contains("token"), "{}", response.text());
        assert!(!response.text().contains("hash") && !response.text().contains("digest"));
    }
    for file in std::fs::read_dir(gateway.directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(session.token.len()).any(|window| window == session.token.as_bytes()));
    }
}

#[test]
fn no_parameter_is_taken_for_a_field() {
    let (_upstream, gateway) = start();
    let response = gateway.request("POST", "/_sessions?user=ann", &format!("{}{JSON}", bearer(SERVICE_KEY)), b"{}");
    invalid(&response, "user");
    let response = gateway.request(
        "POST",
        "/_sessions?max_sessions=1",
        &format!("{}{JSON}", bearer(SERVICE_KEY)),
        b"{\"user\":1}",
    );
    invalid(&response, "max_sessions");
}
