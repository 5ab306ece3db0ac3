use super::*;
use crate::http::identity::Names;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn read(fields: &[(&str, &str)]) -> Result<[String; 4], (String, String)> {
    said_by(&Method::GET, None, Some("gateway.internal"), fields)
}

fn said_by(
    method: &Method,
    inner: Option<&str>,
    host: Option<&str>,
    fields: &[(&str, &str)],
) -> Result<[String; 4], (String, String)> {
    let host = host.map(|host| Host::parse(host.as_bytes()).unwrap());
    match Original::read(method, inner, host, &headers(fields)) {
        Ok(Original { method, uri, scheme, host }) => Ok([
            method.to_string(),
            scheme.as_str().to_owned(),
            host.to_str().unwrap().to_owned(),
            uri.path_and_query().unwrap().to_string(),
        ]),
        Err(problem) => {
            assert_eq!(problem.code, crate::error::Code::InvalidRequest);
            Err((problem.field.unwrap().into_owned(), problem.detail.into_owned()))
        }
    }
}

const TRAEFIK: [(&str, &str); 4] = [
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "App.Test"),
    ("X-Forwarded-Uri", "/a%7e?b=c,d"),
];
const NGINX: [(&str, &str); 4] = [
    ("X-Original-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "app.test"),
    ("X-Original-URI", "/a%7e?b=c,d"),
];
const INGRESS: [(&str, &str); 2] = [("X-Original-Method", "POST"), ("X-Original-URL", "https://app.test/a%7e?b=c,d")];

fn with<'a>(fields: &[(&'a str, &'a str)], more: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    fields.iter().copied().chain([more]).collect()
}

fn without<'a>(fields: &[(&'a str, &'a str)], name: &str) -> Vec<(&'a str, &'a str)> {
    fields.iter().copied().filter(|(other, _)| *other != name).collect()
}

#[test]
fn each_proxy_is_understood_in_its_own_way() {
    let expected = Ok(["POST", "https", "app.test", "/a%7e?b=c,d"].map(str::to_owned));
    assert_eq!(read(&TRAEFIK), expected);
    assert_eq!(read(&NGINX), expected);
    assert_eq!(read(&INGRESS), expected);
    let envoy = said_by(&Method::POST, Some("/a%7e?b=c,d"), Some("app.test"), &[("X-Forwarded-Proto", "https")]);
    assert_eq!(envoy, expected);
    let websocket = with(&without(&TRAEFIK, "X-Forwarded-Proto"), ("X-Forwarded-Proto", "wss"));
    assert_eq!(read(&websocket), expected);
}

#[test]
fn what_nobody_says_is_named_and_not_assumed() {
    for (all, name, field) in [
        (&TRAEFIK[..], "X-Forwarded-Method", "X-Forwarded-Method or X-Original-Method"),
        (&TRAEFIK[..], "X-Forwarded-Uri", "X-Forwarded-Uri, X-Original-URI or X-Original-URL"),
        (&TRAEFIK[..], "X-Forwarded-Host", "X-Forwarded-Host or X-Original-URL"),
        (&TRAEFIK[..], "X-Forwarded-Proto", "X-Forwarded-Proto or X-Original-URL"),
        (&NGINX[..], "X-Original-Method", "X-Forwarded-Method or X-Original-Method"),
        (&NGINX[..], "X-Original-URI", "X-Forwarded-Uri, X-Original-URI or X-Original-URL"),
        (&INGRESS[..], "X-Original-Method", "X-Forwarded-Method or X-Original-Method"),
    ] {
        let (named, detail) = read(&without(all, name)).unwrap_err();
        assert_eq!(named, field);
        assert!(detail.contains(field), "{detail}");
    }
    assert!(said_by(&Method::GET, Some("/"), Some("app.test"), &[]).is_err(), "the scheme");
    assert!(said_by(&Method::GET, Some("/"), None, &[("X-Forwarded-Proto", "https")]).is_err(), "the host");
}

#[test]
fn what_is_said_twice_must_be_the_same() {
    for (all, agreeing, contradicting) in [
        (&TRAEFIK[..], ("X-Original-URI", "/a%7e?b=c,d"), ("X-Original-URI", "/a~?b=c,d")),
        (&TRAEFIK[..], ("X-Original-Method", "POST"), ("X-Original-Method", "GET")),
        (&NGINX[..], ("X-Forwarded-Uri", "/a%7e?b=c,d"), ("X-Forwarded-Uri", "/")),
        (&NGINX[..], ("X-Forwarded-Method", "POST"), ("X-Forwarded-Method", "post")),
        (&NGINX[..], ("X-Original-URL", "https://app.test/a%7e?b=c,d"), ("X-Original-URL", "https://app.test/")),
        (&INGRESS[..], ("X-Forwarded-Host", "APP.test."), ("X-Forwarded-Host", "other.test")),
        (&INGRESS[..], ("X-Forwarded-Host", "app.test"), ("X-Forwarded-Host", "app.test:81")),
        (&INGRESS[..], ("X-Forwarded-Proto", "HTTPS"), ("X-Forwarded-Proto", "http")),
        (&INGRESS[..], ("X-Forwarded-Uri", "/a%7e?b=c,d"), ("X-Forwarded-Uri", "")),
    ] {
        assert!(read(&with(all, agreeing)).is_ok(), "{agreeing:?}");
        assert!(read(&with(all, contradicting)).is_err(), "{contradicting:?}");
    }
    let envoy = |field| said_by(&Method::GET, Some("/x"), Some("app.test"), &[("X-Forwarded-Proto", "https"), field]);
    for (name, same, other) in [
        ("X-Forwarded-Uri", "/x", "/"),
        ("X-Original-URI", "/x", "/x?"),
        ("X-Forwarded-Method", "GET", "HEAD"),
        ("X-Forwarded-Host", "app.test", "gateway.internal"),
    ] {
        assert!(envoy((name, same)).is_ok(), "{name}");
        assert!(envoy((name, other)).is_err(), "{name}");
    }
}

#[test]
fn a_header_that_is_there_twice_is_refused_even_if_both_say_the_same() {
    for all in [&TRAEFIK[..], &NGINX[..], &INGRESS[..]] {
        for repeated in all {
            let (field, detail) = read(&with(all, *repeated)).unwrap_err();
            assert!(field == repeated.0 && detail.contains("more than once"), "{field}: {detail}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (name, values) in [
        ("X-Forwarded-Method", &["", "G ET", "GET, POST", "GET\t"][..]),
        ("X-Forwarded-Proto", &["", "ftp", "https, http", "https,https"]),
        ("X-Forwarded-Host", &["", "a.test, b.test", "a b", "u@a.test", "a.test/x", "a.test?x", "a.test:x", "[::1"]),
        ("X-Forwarded-Uri", &["", "x", "*", "http://app.test/", "?x", "/x y", "/x#y", "/#", "\\x", "/a, /b"]),
    ] {
        for value in values {
            assert!(read(&with(&without(&TRAEFIK, name), (name, value))).is_err(), "{name}: {value}");
        }
    }
    for url in [
        "",
        "/x",
        "app.test/x",
        "https:/app.test/x",
        "https://app.test",
        "ftp://app.test/",
        "https:///x",
        // What a client can put into Host where the proxy does not mind.
        "https://app.test?/x",
        "https://app.test?public=/admin",
        "https://app.test#/x",
        "https://u@app.test/x",
        "https://app.test\\/x",
        "https://app.test/x#y",
        "https://app.test:0/x",
    ] {
        assert!(read(&[("X-Original-Method", "GET"), ("X-Original-URL", url)]).is_err(), "{url}");
    }
}

#[test]
fn a_target_that_begins_with_two_slashes_names_no_host() {
    let fields = with(&without(&TRAEFIK, "X-Forwarded-Uri"), ("X-Forwarded-Uri", "//evil.test/x"));
    assert_eq!(read(&fields).unwrap()[2..], ["app.test".to_owned(), "//evil.test/x".to_owned()]);
}

#[test]
fn the_call_becomes_the_request_that_it_is_about() {
    let fields = with(&INGRESS, ("Cookie", "a=b"));
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.headers = headers(&with(&fields, ("Host", "gateway.internal")));
    Original::read(&Method::GET, None, None, &parts.headers).unwrap().restore(&mut parts);
    assert_eq!(parts.method, Method::POST);
    assert_eq!(parts.uri, "/a%7e?b=c,d");
    for (name, value) in
        [("host", "app.test"), ("x-forwarded-host", "app.test"), ("x-forwarded-proto", "https"), ("cookie", "a=b")]
    {
        let values: Vec<_> = parts.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
}

#[test]
fn an_identity_that_a_client_claims_is_refused_in_every_spelling() {
    let header = |name: &str| HeaderName::try_from(name).unwrap();
    let names = |prefix: &str, user: &str| {
        let others = ["session", "roles", "name", "email"].map(|name| header(&format!("{prefix}{name}")));
        let [session, roles, name, email] = others;
        Names::new(prefix, [header(user), session, roles, name, email]).unwrap()
    };
    let default = names("X-Auth-", "X-Auth-User");
    for name in ["X-Auth-User", "x_auth_user", "X.Auth.Roles", "xauthuser", "X-Auth-Anything", "x--auth-name"] {
        let problem = without_identity(&headers(&[(name, "mallory")]), &default).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some(name.to_ascii_lowercase().as_str()));
    }
    let harmless = [("Authorization", "x"), ("X-Forwarded-User", "x"), ("X-Auth-Request-Redirect", "/x")];
    assert!(without_identity(&headers(&harmless), &default).is_ok());
    // Under this prefix the proxy's own headers are no claim either.
    let forwarded = names("X-Forwarded-", "X-Forwarded-User");
    assert!(without_identity(&headers(&TRAEFIK), &forwarded).is_ok());
    assert!(without_identity(&headers(&[("X-Forwarded-For", "192.0.2.1")]), &forwarded).is_ok());
    assert!(without_identity(&headers(&[("X_Forwarded_Uri", "/")]), &forwarded).is_err());
    assert!(without_identity(&headers(&[("X-Forwarded-User", "x")]), &forwarded).is_err());
}
