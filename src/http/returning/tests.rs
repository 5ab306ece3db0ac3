use http::Uri;
use http::header::HeaderValue;

use super::*;

fn back_to(uri: &str) -> String {
    let target = Target::parse(&Method::GET, &Uri::try_from(uri).unwrap()).unwrap();
    LoginPage::parse("/login", "next").unwrap().location(&target)
}

/// What an application reads from the parameter.
fn value(location: &str) -> String {
    let encoded = location.strip_prefix("/login?next=").unwrap();
    percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap().into_owned()
}

#[test]
fn the_way_back_is_the_path_and_query_percent_encoded() {
    assert_eq!(back_to("/"), "/login?next=/");
    assert_eq!(back_to("/a/b"), "/login?next=/a/b");
    assert_eq!(back_to("/a?x=1&next=//evil.example#f"), "/login?next=/a%3Fx%3D1%26next%3D//evil.example");
    assert_eq!(back_to("/caf\u{e9}?q=\u{e9}+%2b"), "/login?next=/caf%25C3%25A9%3Fq%3D%C3%A9%2B%252b");
}

#[test]
fn an_application_reads_back_the_very_target() {
    for uri in ["/a;b/c@d?e=f&g=%26#x", "/x?y=a b".replace(' ', "+").as_str(), "/%252F/evil.example", "/a?\\\\evil"] {
        let target = Target::parse(&Method::GET, &Uri::try_from(uri).unwrap()).unwrap();
        assert_eq!(value(&back_to(uri)), target.path_and_query().as_str());
    }
}

#[test]
fn no_target_leads_to_another_site() {
    for uri in [
        "//evil.example",
        "///evil.example",
        "/.//evil.example",
        "/a/..//evil.example",
        "/%2e/%2e//evil.example",
        "http://evil.example/x",
        "http://evil.example//other.example",
        "http://evil.example?x",
        "/a/../;//evil.example",
        "/@evil.example",
        "/:80/evil.example",
        "//\u{3002}evil",
    ] {
        let location = back_to(uri);
        let back = value(&location);
        assert!(is_local(&back), "{uri} became {location}");
        assert!(location.starts_with("/login?next=/") && !location.starts_with("/login?next=//"), "{location}");
        assert!(!back.starts_with("//") && !back.contains('\\'), "{uri} became {back}");
    }
    // The other known tricks have no canonical target to come back to.
    for uri in
        ["/\\evil.example", "/%5cevil.example", "/%5Cevil", "/%2fevil.example", "/%09/evil", "/%0d%0aX:y", "/%00/x"]
    {
        assert!(Target::parse(&Method::GET, &Uri::try_from(uri).unwrap()).is_err(), "{uri}");
    }
}

#[test]
fn a_local_location_begins_with_exactly_one_slash() {
    for local in ["/", "/a", "/a//b", "/?x=//y", "/.a", "/a\\b"] {
        assert!(is_local(local), "{local}");
    }
    for foreign in [
        "",
        "a",
        "//evil",
        "/\\evil",
        "\\/evil",
        "\\\\evil",
        "https://evil",
        "https:evil",
        "javascript:alert(1)",
        " /a",
        "\t//evil",
        "/\t/evil",
        "/\n/evil",
        "/\r\\evil",
        "/a\0",
        "/a\x7f",
        "?x",
        "#x",
        "@evil",
    ] {
        assert!(!is_local(foreign), "{foreign:?}");
    }
}

#[test]
fn the_parameter_is_added_to_a_query_and_before_a_fragment() {
    let target = Target::parse(&Method::GET, &Uri::from_static("/a")).unwrap();
    for (page, expected) in [
        ("/login?lang=de", "/login?lang=de&next=/a"),
        ("/login?", "/login?next=/a"),
        ("/login?a=b&", "/login?a=b&next=/a"),
        ("/login?next2=b", "/login?next2=b&next=/a"),
        ("/app#/login", "/app?next=/a#/login"),
        ("https://id.example/login", "https://id.example/login?next=/a"),
        ("https://id.example:8443?app=1", "https://id.example:8443?app=1&next=/a"),
    ] {
        assert_eq!(LoginPage::parse(page, "next").unwrap().location(&target), expected, "{page}");
    }
}

#[test]
fn a_login_page_that_would_lead_astray_is_refused_with_a_sentence() {
    for bad in [
        "",
        "login",
        "//id.example/login",
        "/\\id.example",
        "http://id.example/login",
        "https://",
        "https://user@id.example/",
        "javascript:alert(1)",
        "/log in",
        "/l\u{f6}gin",
        "/login?next=/home",
        "/a\\b",
    ] {
        let sentence = LoginPage::parse(bad, "next").unwrap_err();
        assert!(sentence.contains(&format!("{bad:?}")) && sentence.ends_with('.'), "{sentence}");
    }
    for bad in ["", "a b", "a=b", "a&b", "n\u{e4}xt"] {
        assert!(LoginPage::parse("/login", bad).unwrap_err().contains("parameter"), "{bad}");
    }
}

fn appetite(method: &Method, fields: &[(&'static str, &'static str)]) -> Appetite {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Appetite::of(method, &headers)
}

#[test]
fn a_navigation_wants_a_redirect_and_a_script_does_not() {
    let html = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    for (fields, expected) in [
        (vec![("sec-fetch-mode", "navigate")], Appetite::Browser),
        (vec![("sec-fetch-mode", "navigate"), ("accept", "*/*")], Appetite::Browser),
        (vec![("sec-fetch-mode", "cors"), html], Appetite::Program),
        (vec![("sec-fetch-mode", "no-cors"), html], Appetite::Program),
        (vec![("sec-fetch-mode", "websocket"), html], Appetite::Program),
        (vec![("x-requested-with", "XMLHttpRequest"), html], Appetite::Program),
        (vec![("x-requested-with", "com.example.app"), html], Appetite::Browser),
        (vec![html], Appetite::Browser),
        (vec![("accept", "application/json, Text/HTML ;q=0.1")], Appetite::Browser),
        (vec![("accept", "application/json"), ("accept", "text/html")], Appetite::Browser),
        (vec![("accept", "application/json")], Appetite::Program),
        (vec![("accept", "*/*")], Appetite::Program),
        (vec![("accept", "text/*")], Appetite::Program),
        (vec![("accept", "application/json, text/html;q=0")], Appetite::Program),
        (vec![("accept", "text/html;q=0.000")], Appetite::Program),
        (vec![("accept", "text/htmlx")], Appetite::Program),
        (vec![], Appetite::Program),
    ] {
        assert_eq!(appetite(&Method::GET, &fields), expected, "{fields:?}");
        assert_eq!(appetite(&Method::POST, &fields), expected, "{fields:?}");
    }
}

#[test]
fn methods_that_no_navigation_has_are_a_programs() {
    for method in [Method::OPTIONS, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(appetite(&method, &[("accept", "text/html")]), Appetite::Program, "{method}");
    }
}
