//! Headers before and after, as the attack shapes of the field suggest them.

use std::cell::Cell;

use super::*;
use crate::clock::{Timestamp, Uptime};
use crate::session::{Format, Principal, Record, Role, SessionId, State, UserId};
use crate::token::Digest;

fn names() -> identity::Names {
    let header = |name: &str| HeaderName::try_from(name).unwrap();
    let all = ["X-Auth-User", "X-Auth-Session", "X-Auth-Roles", "X-Auth-Name", "X-Auth-Email"].map(header);
    identity::Names::new("X-Auth-", all).unwrap()
}

fn session(roles: &[&str]) -> Session {
    let mut principal = Principal::of(UserId::parse("ann").unwrap());
    principal.roles = roles.iter().map(|role| Role::parse(role).unwrap()).collect();
    let now = Timestamp::from_millis(0);
    let record = Record {
        id: SessionId::generate().unwrap(),
        digest: Digest::of(b"x"),
        principal,
        state: State::Active,
        created_at: now,
        expires_at: None,
        last_seen_at: now,
        last_ip: None,
        user_agent: None,
        bound_ip: None,
        ended_at: None,
        ended_by: None,
        user_enabled: true,
        format: Format::Opaque,
        slide: None,
        device: None,
    };
    Session::new(&record, record.digest, None, Uptime::from_micros(0))
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The headers of the request that reaches the application.
fn forwarded(lines: &[(&str, &str)], session: Option<&Session>) -> HeaderMap {
    let host = HeaderValue::from_static("app.example.org:8080");
    let origin = Origin::new("192.0.2.7".parse().unwrap(), Scheme::Http);
    let telling =
        Telling { origin: &origin, host: Some(&host), names: &names(), session, assertion: None, known: None };
    let target = PathAndQuery::from_static("/a?b");
    let line = RequestLine { method: &Method::GET, target: &target, host: &host };
    let mut head = BytesMut::new();
    write_request_head(&mut head, line, &headers(lines), &telling, BodyLength::None).unwrap();
    let text = String::from_utf8(head.to_vec()).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    assert_eq!(first, "GET /a?b HTTP/1.1");
    let fields: Vec<(&str, &str)> =
        rest.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(|line| line.split_once(": ").unwrap()).collect();
    headers(&fields)
}

#[test]
fn a_clients_copies_of_identity_headers_never_arrive() {
    let spoofed = [
        ("X-Auth-User", "root"),
        ("X_Auth_User", "root"),
        ("x.auth.user", "root"),
        ("X-Auth-Roles", "superuser"),
        ("X-Auth-Whatever", "1"),
    ];
    let anonymous = forwarded(&spoofed, None);
    assert!(anonymous.keys().all(|name| !names().claims(name)), "{anonymous:?}");

    let own = forwarded(&spoofed, Some(&session(&[])));
    assert_eq!(own.get("x-auth-user").unwrap(), "ann");
    assert_eq!(own.get_all("x-auth-user").iter().count(), 1);
    assert!(own.get("x-auth-roles").is_none(), "a session without roles sets none and a client's are gone");
    assert_eq!(own.keys().filter(|name| names().claims(name)).count(), 2, "user and session: {own:?}");
}

#[test]
fn connection_cannot_drop_what_we_set() {
    for lines in [
        &[("connection", "X-Auth-User, x-forwarded-for, X-FORWARDED-HOST")][..],
        &[("Connection", "close"), ("Connection", "x-auth-user"), ("Connection", "forwarded")][..],
    ] {
        let headers = forwarded(lines, Some(&session(&["staff"])));
        for (name, value) in [
            ("x-auth-user", "ann"),
            ("x-auth-roles", "staff"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "app.example.org:8080"),
            ("forwarded", "for=192.0.2.7;proto=http;host=\"app.example.org:8080\""),
        ] {
            assert_eq!(headers.get(name).unwrap(), value, "{name}");
        }
        assert!(headers.get("connection").is_none());
    }
}

#[test]
fn hop_by_hop_fields_and_those_named_in_connection_end_here() {
    let headers = forwarded(
        &[
            ("Connection", "keep-alive, X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eA=="),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
            ("Accept", "*/*"),
        ],
        None,
    );
    for gone in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
    ] {
        assert!(headers.get(gone).is_none(), "{gone}");
    }
    assert_eq!(headers.get("accept").unwrap(), "*/*");
}

#[test]
fn connection_cannot_change_the_framing_or_the_host() {
    let headers = forwarded(&[("Connection", "content-length, host"), ("Content-Length", "5"), ("Host", "a")], None);
    assert!(headers.get("content-length").is_none(), "the framing is ours");
    assert_eq!(headers.get("host").unwrap(), "app.example.org:8080", "the canonical host");
    assert_eq!(headers.get_all("host").iter().count(), 1);
}

#[test]
fn the_forwarding_family_is_written_anew_in_every_spelling() {
    let headers = forwarded(
        &[
            ("X-Forwarded-For", "10.0.0.1"),
            ("X_Forwarded_For", "10.0.0.1"),
            ("x.forwarded.host", "evil"),
            ("X-Forwarded-Port", "1"),
            ("X-Forwarded-Prefix", "/x"),
            ("X-Real-IP", "10.0.0.1"),
            ("X_Real_Ip", "10.0.0.1"),
            ("Forwarded", "for=10.0.0.1"),
        ],
        None,
    );
    let mut left: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            ("forwarded", "for=192.0.2.7;proto=http;host=\"app.example.org:8080\""),
            ("host", "app.example.org:8080"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "app.example.org:8080"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "192.0.2.7"),
        ]
    );
}

#[test]
fn headers_that_only_look_alike_stay() {
    let headers = forwarded(&[("From", "a@b"), ("X-Request-Id", "7"), ("X-Forward", "1"), ("X-Real", "2")], None);
    for name in ["from", "x-request-id", "x-forward", "x-real"] {
        assert!(headers.get(name).is_some(), "{name}");
    }
}

#[test]
fn an_ipv6_client_is_quoted_in_forwarded_and_plain_elsewhere() {
    let mut lines = BytesMut::new();
    Origin::new("2001:db8::7".parse().unwrap(), Scheme::Https).write(&mut lines, None);
    assert_eq!(
        lines,
        "x-forwarded-for: 2001:db8::7\r\nx-real-ip: 2001:db8::7\r\nx-forwarded-proto: https\r\n\
         forwarded: for=\"[2001:db8::7]\";proto=https\r\n"
    );
}

#[test]
fn trailers_carry_no_identity() {
    let mut trailers = headers(&[("X_Auth_User", "root"), ("X-Forwarded-For", "10.0.0.1"), ("X-Checksum", "7")]);
    trailers_to_upstream(&mut trailers, &names(), Rewritten::default()).unwrap();
    assert_eq!(trailers.len(), 1);
    assert!(trailers.contains_key("x-checksum"));
}

#[test]
fn trailers_carry_no_trace_and_no_id_where_those_are_ours_to_write() {
    let sent = headers(&[("traceparent", "a"), ("tracestate", "b"), ("X_Request_Id", "c"), ("X-Checksum", "7")]);
    for (rewritten, left) in [
        (Rewritten::default(), 4),
        (Rewritten { context: true, request_id: false }, 2),
        (Rewritten { context: true, request_id: true }, 1),
    ] {
        let mut trailers = sent.clone();
        trailers_to_upstream(&mut trailers, &names(), rewritten).unwrap();
        assert_eq!(trailers.len(), left, "{trailers:?}");
    }
}

#[test]
fn the_body_is_framed_as_it_is_sent_on_whatever_the_client_said() {
    let host = HeaderValue::from_static("a");
    let origin = Origin::new("192.0.2.7".parse().unwrap(), Scheme::Http);
    let telling = Telling { origin: &origin, host: None, names: &names(), session: None, assertion: None, known: None };
    let target = PathAndQuery::from_static("/");
    let line = RequestLine { method: &Method::POST, target: &target, host: &host };
    let sent = headers(&[("Content-Length", "99"), ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")]);
    for (length, expected) in [
        (BodyLength::None, &[][..]),
        (BodyLength::Exactly(7), &["content-length: 7"][..]),
        (BodyLength::Chunked, &["transfer-encoding: chunked"][..]),
    ] {
        let mut head = BytesMut::new();
        write_request_head(&mut head, line, &sent, &telling, length).unwrap();
        let text = String::from_utf8(head.to_vec()).unwrap();
        let framing: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.starts_with("content-length") || line.starts_with("transfer") || line.starts_with("expect")
            })
            .collect();
        assert_eq!(framing, expected);
    }
}

#[test]
fn a_trailer_is_no_second_place_for_what_belongs_to_the_headers() {
    for name in
        ["Host", "Content-Length", "Content_Length", "Content-Type", "Cookie", "Authorization", "Transfer_Encoding"]
    {
        let mut trailers = headers(&[("X-Checksum", "1")]);
        trailers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("x"));
        trailers_to_upstream(&mut trailers, &names(), Rewritten::default()).unwrap();
        assert_eq!(trailers.len(), 1, "{name}");
    }
}

/// A map of so many fields whose names begin like this.
fn many(prefix: &str, number: usize) -> HeaderMap {
    let field = |at| (HeaderName::try_from(format!("{prefix}{at}")).unwrap(), HeaderValue::from_static("1"));
    (0..number).map(field).collect()
}

#[test]
fn each_field_is_looked_at_once_however_many_are_removed() {
    let mut fields = many("x-sum-", 430);
    fields.extend(many("x-auth-", 430));
    let looks = Cell::new(0);
    remove_matching(&mut fields, |name| {
        looks.set(looks.get() + 1);
        name.as_str().starts_with("x-auth-")
    });
    assert_eq!((fields.len(), looks.get()), (430, 860));
    assert!(fields.keys().all(|name| name.as_str().starts_with("x-sum-")), "{fields:?}");
}

#[test]
fn trailers_may_have_as_many_fields_as_a_head() {
    let cleaned = |mut fields: HeaderMap| {
        trailers_to_upstream(&mut fields, &names(), Rewritten::default()).map(|()| fields.len())
    };
    assert_eq!(cleaned(many("x-sum-", MOST_FIELDS)), Ok(MOST_FIELDS));
    assert_eq!(cleaned(many("x-auth-", MOST_FIELDS)), Ok(0));
    assert_eq!(cleaned(many("x-sum-", MOST_FIELDS + 1)), Err(TooManyFields));
    let mut same = HeaderMap::new();
    for _ in 0..=MOST_FIELDS {
        same.append("x-sum", HeaderValue::from_static("1"));
    }
    assert_eq!(cleaned(same), Err(TooManyFields), "of the same name too");
}

/// What a list of these words drops.
fn dropped(words: impl IntoIterator<Item = String>) -> Result<Vec<String>, TooManyFields> {
    let list = words.into_iter().collect::<Vec<_>>().join(", ");
    let named = named_in(&[HeaderValue::from_str(&list).unwrap()])?;
    Ok(named.keys().map(|name| name.as_str().to_owned()).collect())
}

#[test]
fn a_connection_that_names_the_same_again_and_again_names_it_once() {
    let words = ["X-A", "x-a", "close", "Keep-Alive", "", "b d", "upgrade", "x-b"].map(str::to_owned);
    assert_eq!(dropped(words.into_iter().cycle().take(10_000)), Ok(vec!["x-a".to_owned(), "x-b".to_owned()]));
    let lines = ["x-a", "x-b, X-A"].map(HeaderValue::from_static);
    assert_eq!(named_in(&lines).map(|named| named.len()), Ok(2), "over several fields as well");
}

#[test]
fn a_connection_names_no_more_than_a_message_has() {
    let words = |number: usize| (0..number).map(|at| format!("x-{at}"));
    assert_eq!(dropped(words(MOST_FIELDS).chain(words(MOST_FIELDS))).map(|named| named.len()), Ok(MOST_FIELDS));
    assert_eq!(dropped(words(MOST_FIELDS + 1)), Err(TooManyFields));
}
