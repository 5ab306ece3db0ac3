use http::header::{COOKIE, HeaderName, HeaderValue};

use super::*;

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn settings() -> Settings {
    let schemes = vec!["Bearer".to_owned(), "Token".to_owned()];
    Settings::new(schemes, CookieName::parse("__Host-session").unwrap(), false).unwrap()
}

fn headers<V: AsRef<[u8]>>(fields: &[(HeaderName, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    headers
}

fn outcome(fields: &[(HeaderName, &str)]) -> Result<Option<(String, Source)>, Code> {
    match present(&headers(fields), &settings()) {
        Ok(found) => Ok(found.map(|found| (str::from_utf8(found.token).unwrap().to_owned(), found.source))),
        Err(problem) => Err(problem.code),
    }
}

fn header(token: &str) -> Result<Option<(String, Source)>, Code> {
    Ok(Some((token.to_owned(), Source::Header)))
}

fn cookie(token: &str) -> Result<Option<(String, Source)>, Code> {
    Ok(Some((token.to_owned(), Source::Cookie)))
}

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap()).collect()
}

#[test]
fn our_schemes_are_found_in_any_case_and_spacing() {
    for value in ["Bearer {}", "bearer {}", "BEARER   {}", "Token {}", "tOKEN {}", " Bearer {} "] {
        assert_eq!(outcome(&[(AUTHORIZATION, &value.replace("{}", TOKEN))]), header(TOKEN), "{value}");
    }
}

#[test]
fn a_bad_authorization_is_refused_and_does_not_fall_back_to_the_cookie() {
    let good = format!("__Host-session={TOKEN}");
    let long = format!("Bearer {}", "a".repeat(9000));
    for value in ["Bearer", "Bearer ", "Token", "Bearer a b", "Bearer\ttok", "Bearer a,b", "Bearer \"tok\"", &long] {
        let fields = [(AUTHORIZATION, value), (COOKIE, good.as_str())];
        assert_eq!(outcome(&fields), Err(Code::MalformedToken), "{value}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_malformed_token_and_no_panic() {
    let good = format!("__Host-session={TOKEN}").into_bytes();
    let bearer = [b"Bearer t".as_slice(), &[0xff, 0xfe], b"k"].concat();
    let found = headers(&[(AUTHORIZATION, bearer), (COOKIE, good)]);
    assert_eq!(present(&found, &settings()).unwrap_err().code, Code::MalformedToken);
    let cookie = [b"a=1; __Host-session=t".as_slice(), &[0xff], b"k; \xff=\xfe"].concat();
    assert_eq!(present(&headers(&[(COOKIE, cookie)]), &settings()).unwrap_err().code, Code::MalformedToken);
}

#[test]
fn another_scheme_is_the_applications_and_the_cookie_counts() {
    let session = format!("__Host-session={TOKEN}");
    for value in ["Basic dXNlcjpwYXNz", "Bearerx y", "Bearer:tok", "Digest a=b, c=d", "", "Basic x, Bearer y"] {
        assert_eq!(outcome(&[(AUTHORIZATION, value)]), Ok(None), "{value}");
        assert_eq!(outcome(&[(AUTHORIZATION, value), (COOKIE, &session)]), cookie(TOKEN), "{value}");
    }
}

#[test]
fn the_authorization_wins_over_the_cookie() {
    let fields = [(AUTHORIZATION, format!("Bearer {OTHER}")), (COOKIE, format!("__Host-session={TOKEN}"))];
    let found = headers(&fields);
    let presented = present(&found, &settings()).unwrap().unwrap();
    assert_eq!((presented.token, presented.source), (OTHER.as_bytes(), Source::Header));
}

#[test]
fn two_authorization_fields_are_refused_whatever_they_are() {
    let bearer = format!("Bearer {TOKEN}");
    for pair in [[bearer.as_str(), bearer.as_str()], ["Basic x", &bearer], [&bearer, "Basic x"], ["Basic x", "Basic x"]]
    {
        let found = headers(&pair.map(|value| (AUTHORIZATION, value)));
        let problem = present(&found, &settings()).unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidRequest, Some("Authorization")));
    }
}

#[test]
fn the_session_cookie_is_found_wherever_it_stands() {
    for line in [
        "__Host-session={}",
        "a=1; __Host-session={}",
        "a=1;__Host-session={};b=2",
        "a=1; __Host-session=\"{}\"; b=2",
        " __Host-session = {} ; ",
        ";;__Host-session={};",
        "broken; =; __Host-session={}",
    ] {
        assert_eq!(outcome(&[(COOKIE, &line.replace("{}", TOKEN))]), cookie(TOKEN), "{line}");
    }
    let second = format!("__Host-session={TOKEN}");
    assert_eq!(outcome(&[(COOKIE, "a=1"), (COOKIE, &second), (COOKIE, "b=2")]), cookie(TOKEN));
}

#[test]
fn a_cookie_of_another_name_is_no_credential() {
    for line in [
        "__host-session={}",
        "x__Host-session={}",
        "__Host-session2={}",
        "__Host-session",
        "a=__Host-session={}",
        "a=\"__Host-session={}\"",
        "=__Host-session={}",
        "",
        ";",
    ] {
        assert_eq!(outcome(&[(COOKIE, &line.replace("{}", TOKEN))]), Ok(None), "{line}");
    }
}

#[test]
fn two_session_cookies_must_agree() {
    let same = format!("__Host-session={TOKEN}; a=1; __Host-session=\"{TOKEN}\"");
    assert_eq!(outcome(&[(COOKIE, &same)]), cookie(TOKEN));
    assert_eq!(outcome(&[(COOKIE, &same), (COOKIE, &same)]), cookie(TOKEN));
    let (one, two) = (format!("__Host-session={TOKEN}"), format!("__Host-session={OTHER}"));
    assert_eq!(outcome(&[(COOKIE, &format!("{one}; {two}"))]), Err(Code::MalformedToken));
    assert_eq!(outcome(&[(COOKIE, &one), (COOKIE, &two)]), Err(Code::MalformedToken));
}

#[test]
fn an_empty_session_cookie_counts_as_absent() {
    assert_eq!(outcome(&[(COOKIE, "__Host-session=")]), Ok(None));
    assert_eq!(outcome(&[(COOKIE, "__Host-session=\"\"; a=1")]), Ok(None));
    assert_eq!(outcome(&[(COOKIE, &format!("__Host-session=; __Host-session={TOKEN}"))]), cookie(TOKEN));
}

#[test]
fn a_garbage_cookie_is_malformed_and_a_foreign_one_is_left_to_the_caller() {
    for value in ["a b", "\"", "\"unbalanced", "%00", "{}", "a,b", "null\\0"] {
        assert_eq!(outcome(&[(COOKIE, &format!("__Host-session={value}"))]), Err(Code::MalformedToken), "{value}");
    }
    let foreign = headers(&[(AUTHORIZATION, "Bearer eyJh.eyJz.c2ln")]);
    assert_eq!(present(&foreign, &settings()).unwrap().unwrap().shape, Shape::Foreign);
    let ours = headers(&[(AUTHORIZATION, format!("Bearer {TOKEN}"))]);
    assert_eq!(present(&ours, &settings()).unwrap().unwrap().shape, Shape::Plausible);
}

#[test]
fn a_presented_token_is_borrowed_and_does_not_show_in_debug_output() {
    let found = headers(&[(COOKIE, format!("a=1; __Host-session={TOKEN}"))]);
    let presented = present(&found, &settings()).unwrap().unwrap();
    let line = found.get(COOKIE).unwrap().as_bytes();
    assert!(line.as_ptr_range().contains(&presented.token.as_ptr()));
    let shown = format!("{presented:?}");
    assert!(shown.contains("Cookie") && !shown.contains("AAAA") && !shown.contains("65"), "{shown}");
}

#[test]
fn the_application_sees_its_own_cookies_byte_for_byte_and_not_ours() {
    for (given, left) in [
        ("__Host-session=t", None),
        ("__Host-session=t; ", None),
        ("a=1; __Host-session=t; b=\"2\"", Some("a=1; b=\"2\"")),
        ("__Host-session=t; a=1", Some("a=1")),
        ("a=1;  b=2;__Host-session=t", Some("a=1;  b=2")),
        ("a=1;__Host-session=t;b=2;", Some("a=1;b=2;")),
        ("__Host-session=t; a=1; __Host-session=u; b", Some("a=1; b")),
        ("__Host-session=; a=__Host-session=t", Some("a=__Host-session=t")),
        ("__host-session=t; x__Host-session=u; __Host-session2=v", None),
    ] {
        let mut found = headers(&[(COOKIE, given)]);
        strip(&mut found, &settings());
        match given.starts_with("__host") {
            true => assert_eq!(cookies(&found), [given], "another name was touched"),
            false => assert_eq!(cookies(&found), left.into_iter().collect::<Vec<_>>(), "{given}"),
        }
    }
}

#[test]
fn our_cookie_is_removed_from_every_cookie_line() {
    let lines = ["a=1", "__Host-session=t", "b=2; __Host-session=u; c=3", "d=4"];
    let mut found = headers(&lines.map(|line| (COOKIE, line)));
    strip(&mut found, &settings());
    assert_eq!(cookies(&found), ["a=1", "b=2; c=3", "d=4"]);
    let mut only = headers(&[(COOKIE, "__Host-session=t"), (COOKIE, " __Host-session = u")]);
    strip(&mut only, &settings());
    assert!(only.is_empty());
}

#[test]
fn only_an_authorization_of_our_schemes_is_removed() {
    for ours in ["Bearer t", "token t", "Bearer", "Bearer a b", "BEARER\tt"] {
        let mut found = headers(&[(AUTHORIZATION, ours)]);
        strip(&mut found, &settings());
        assert!(found.is_empty(), "{ours}");
    }
    let mut found = headers(&[(AUTHORIZATION, "Basic x"), (AUTHORIZATION, "Bearer t"), (AUTHORIZATION, "Digest y")]);
    strip(&mut found, &settings());
    assert_eq!(found.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), ["Basic x", "Digest y"]);
}

#[test]
fn a_bad_credential_is_removed_as_well_as_a_good_one() {
    let mut found = headers(&[(AUTHORIZATION, "Bearer a b"), (COOKIE, "__Host-session={garbage}; a=1")]);
    strip(&mut found, &settings());
    assert!(!found.contains_key(AUTHORIZATION));
    assert_eq!(cookies(&found), ["a=1"]);
}

#[test]
fn a_request_without_our_credential_keeps_its_very_bytes() {
    let mut found = headers(&[(AUTHORIZATION, "Basic x"), (COOKIE, "a=1; b=2")]);
    let before = found.get(COOKIE).unwrap().as_bytes().as_ptr();
    strip(&mut found, &settings());
    assert_eq!(found.get(COOKIE).unwrap().as_bytes().as_ptr(), before, "the cookies were copied");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_credential_is_forwarded_when_the_operator_wants_it() {
    let forwarding = Settings { forward: true, ..settings() };
    let fields = [(AUTHORIZATION, "Bearer t"), (COOKIE, "__Host-session=u; a=1")];
    let mut found = headers(&fields);
    strip(&mut found, &forwarding);
    assert_eq!(found, headers(&fields));
}

#[test]
fn a_scheme_must_be_one_word() {
    for bad in ["", "Bearer token", "a:b"] {
        let cookie = CookieName::parse("s").unwrap();
        assert!(Settings::new(vec!["Bearer".to_owned(), bad.to_owned()], cookie, false).is_err(), "{bad}");
    }
}

#[test]
fn the_cookie_of_imported_sessions_counts_only_where_there_is_none_of_ours() {
    let former = CookieName::parse("sessionid").unwrap();
    let settings = settings().with_former_cookie(Some(former));
    let (ours, theirs) = ("a".repeat(43), "b".repeat(32));
    let found = |cookies: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(cookies).unwrap());
        present(&headers, &settings).map(|found| found.map(|found| String::from_utf8_lossy(found.token).into_owned()))
    };
    assert_eq!(found(&format!("sessionid={theirs}")), Ok(Some(theirs.clone())));
    assert_eq!(found(&format!("sessionid={theirs}; __Host-session={ours}")), Ok(Some(ours.clone())));
    assert_eq!(found(&format!("sessionid={theirs}; __Host-session=")), Ok(Some(theirs.clone())));
    assert_eq!(found("sessionid=signed:by:the:app"), Ok(None), "what was never imported is the application's business");
    assert_eq!(found(&format!("sessionid={theirs}; sessionid={ours}")).unwrap_err().code, Code::MalformedToken);

    let mut headers = HeaderMap::new();
    let cookies = format!("sessionid={theirs}; __Host-session={ours}");
    headers.insert(COOKIE, HeaderValue::try_from(cookies).unwrap());
    strip(&mut headers, &settings);
    assert_eq!(headers.get(COOKIE).unwrap(), format!("sessionid={theirs}").as_str(), "and the application keeps it");
}
