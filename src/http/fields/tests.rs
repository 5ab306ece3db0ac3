use http::header::HeaderValue;
use serde_json::json;

use super::*;

fn media(lines: &[&str]) -> Media {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CONTENT_TYPE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    Media::of(&headers)
}

#[test]
fn a_content_type_is_recognised_in_any_spelling() {
    for line in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded; Charset=UTF-8",
        "application/x-www-form-urlencoded ;charset=\"utf-8\"",
    ] {
        assert_eq!(media(&[line]), Media::Form, "{line}");
    }
    for line in ["application/json", "application/json; charset=utf-8", "application/vnd.api+json", "text/json"] {
        assert_eq!(media(&[line]), Media::Json, "{line}");
    }
    for line in ["multipart/form-data; boundary=aB-1", "Multipart/Form-Data; charset=utf-8; Boundary=\"aB-1\""] {
        assert_eq!(media(&[line]), Media::Multipart { boundary: "aB-1".to_owned() }, "{line}");
    }
}

#[test]
fn a_content_type_that_may_be_read_differently_is_other() {
    for line in [
        "",
        "text/html",
        "application/jsonx",
        "json",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; charset=ibm037",
        "application/x-www-form-urlencoded; charset=utf-8; charset=ibm037",
        "application/json; charset",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; boundary*=b",
        "multipart/form-data; boundary*0=a",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=\"a b\"",
        "multipart/mixed; boundary=a",
        "application/json, application/x-www-form-urlencoded",
    ] {
        assert_eq!(media(&[line]), Media::Other, "{line}");
    }
    assert_eq!(media(&[&format!("multipart/form-data; boundary={}", "a".repeat(71))]), Media::Other);
    assert_eq!(media(&[]), Media::Other);
    assert_eq!(media(&["application/json", "application/json"]), Media::Other);
}

fn form(body: &str) -> Option<String> {
    form_field(body.as_bytes(), "user_name")
}

#[test]
fn a_form_field_is_decoded() {
    for (body, expected) in [
        ("user_name=alice", "alice"),
        ("csrf=x&user_name=alice&password=p", "alice"),
        ("password=p%26user_name%3Dbob&user_name=alice%40example.com", "alice@example.com"),
        ("user%5Fname=Jos%C3%A9+Garc%c3%ada%2B1", "José García+1"),
        ("user_name=a=b", "a=b"),
        ("user_name=", ""),
        ("user_name", ""),
        ("&&user_name=alice&", "alice"),
        ("user_name=alice&user_name=alice", "alice"),
        ("user_name=alice&user_names=bob&my_user_name=bob&username2=bob", "alice"),
        ("user_name=alice&note=a;b", "alice"),
        ("password=%zz&user_name=alice", "alice"),
    ] {
        assert_eq!(form(body).as_deref(), Some(expected), "{body}");
    }
    for absent in ["", "user=alice", "password=user_name", "user_nam%=alice"] {
        assert_eq!(form(absent), None, "{absent}");
    }
}

#[test]
fn a_form_that_another_parser_reads_differently_names_nobody() {
    for body in [
        "user_name=alice&user_name=bob",
        "user_name=alice&user_name=",
        "user_name=alice&user%5Fname=bob",
        // PHP and its kin fold punctuation, others fold case.
        "user_name=alice&user.name=bob",
        "user_name=alice&user+name=bob",
        "user_name=alice&user-name=bob",
        "user_name=alice&+user_name=bob",
        "user_name=alice&User_Name=bob",
        "user_name=alice&u%C5%BFer_name=bob",
        "user_name=alice&user_name%00x=bob",
        "user_name=alice&user_name[]=bob",
        "user_name=alice&user_name%5B0%5D=bob",
        "user_name=alice&user[name=bob",
        "user_name=alice&user_name%FF=bob",
        "%EF%BB%BFuser_name=alice&user_name=bob",
        // Some still split at semicolons.
        "user_name=alice;user_name=bob",
        "user_name=alice;x=1",
        "x=1;user_name=bob&user_name=alice",
        "user_name=alice&x=1;User_name=bob",
        // Broken escapes and other character sets.
        "user_name=al%ice",
        "user_name=alice%",
        "user_name=alice%4",
        "user_name=%u0061lice",
        "user_name=jos%E9",
        "user_name=%C0%AE",
    ] {
        assert_eq!(form(body), None, "{body}");
    }
    assert_eq!(form_field(b"user_name=\xff", "user_name"), None);
}

#[test]
fn a_field_may_be_named_with_brackets() {
    let body = b"user%5Bemail%5D=alice&user[password]=p";
    assert_eq!(form_field(body, "user[email]").as_deref(), Some("alice"));
    assert_eq!(form_field(b"user[email]=alice&user[email][]=bob", "user[email]"), None);
    assert_eq!(form_field(b"user[email]=alice&user[Email]=bob", "user[email]"), None);
}

/// A multipart body with the parts' headers and values, lines ended properly.
fn parts(parts: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (headers, value) in parts {
        body.push_str(&format!("--XX\r\n{headers}\r\n\r\n{value}\r\n"));
    }
    body + "--XX--\r\n"
}

async fn multipart(body: impl Into<Vec<u8>>) -> Option<String> {
    multipart_field("XX", body.into().into(), "user").await
}

const USER: &str = "Content-Disposition: form-data; name=\"user\"";
const OTHER: &str = "Content-Disposition: form-data; name=\"other\"";

#[tokio::test]
async fn a_multipart_field_is_found() {
    let file = "Content-Disposition: form-data; name=\"f\"; filename=\"user.png\"\r\nContent-Type: image/png";
    let body = parts(&[(OTHER, "x"), (USER, "José 1+%31"), (file, "\u{0}\u{1}")]);
    assert_eq!(multipart(body).await.as_deref(), Some("José 1+%31"));
    for headers in [
        "content-disposition: Form-Data;name=user",
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Type: text/plain; charset=UTF-8",
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Transfer-Encoding: 8bit",
    ] {
        assert_eq!(multipart(parts(&[(headers, "alice")])).await.as_deref(), Some("alice"), "{headers}");
    }
    assert_eq!(multipart(parts(&[(USER, "alice"), (USER, "alice")])).await.as_deref(), Some("alice"));
    assert_eq!(multipart(parts(&[(USER, "")])).await.as_deref(), Some(""));
    assert_eq!(multipart(parts(&[(OTHER, "x")])).await, None);
}

#[tokio::test]
async fn a_multipart_form_that_another_parser_reads_differently_names_nobody() {
    for headers in [
        USER,
        "Content-Disposition: form-data; name=\"User\"",
        "Content-Disposition: form-data; name=\"user[]\"",
        "Content-Disposition: form-data; name=\"user\"; filename=\"a\"",
        "Content-Disposition: form-data; name=\"user\"; filename*=UTF-8''a",
        "Content-Disposition: form-data; name=\"other\"; name=\"user\"",
        "Content-Disposition: form-data; name=\"other\"; name*=UTF-8''user",
        "Content-Disposition: form-data; name=\"oth\\er\"",
        "Content-Disposition: form-data; name=\"other",
        "Content-Disposition: form-data; name=\"other\"\r\nContent-Disposition: form-data; name=\"user\"",
        "Content-Disposition: attachment; name=\"other\"",
        "X-Nothing: at all",
    ] {
        assert_eq!(multipart(parts(&[(USER, "alice"), (headers, "bob")])).await, None, "{headers}");
        assert_eq!(multipart(parts(&[(headers, "bob"), (USER, "alice")])).await, None, "{headers}");
    }
    for headers in [
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Transfer-Encoding: quoted-printable",
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Type: text/plain; charset=utf-16",
        "Content-Disposition: form-data; name=\"user\"\r\nContent-Type: application/json",
    ] {
        assert_eq!(multipart(parts(&[(headers, "alice")])).await, None, "{headers}");
    }
}

#[tokio::test]
async fn a_boundary_that_only_a_lenient_parser_sees_names_nobody() {
    let smuggled = format!("x\n--XX\n{USER}\n\nbob");
    assert_eq!(multipart(parts(&[(OTHER, &smuggled), (USER, "alice")])).await, None);
    let after_the_end = parts(&[(USER, "alice")]) + &parts(&[(USER, "bob")]);
    assert_eq!(multipart(after_the_end).await, None);
    let before_the_start = format!("{USER}\r\n\r\nbob\r\n{}", parts(&[(USER, "alice")]));
    assert_eq!(multipart(before_the_start).await, None);
}

#[tokio::test]
async fn a_multipart_body_that_is_broken_names_nobody() {
    let whole = parts(&[(OTHER, "x"), (USER, "alice")]);
    assert!(multipart(whole.clone()).await.is_some());
    for end in 0..whole.len() - "--\r\n".len() {
        assert_eq!(multipart(&whole[..end]).await, None, "cut at {end}");
    }
    let mut bytes = whole.into_bytes();
    let at = bytes.windows(5).position(|window| window == b"alice").unwrap();
    bytes[at] = 0xff;
    assert_eq!(multipart(bytes).await, None);
}

#[test]
fn a_json_field_is_a_string_or_a_whole_number() {
    let document = json!({
        "user": {"id": 42, "name": "alice", "a/b~c": "x", "ok": true, "none": null, "half": 1.5, "minus": -7},
        "list": [{"id": "first"}, {"id": u64::MAX}],
        "": "empty",
    });
    for (pointer, expected) in [
        ("/user/id", Some("42")),
        ("/user/minus", Some("-7")),
        ("/user/name", Some("alice")),
        ("/user/a~1b~0c", Some("x")),
        ("/list/0/id", Some("first")),
        ("/list/1/id", Some("18446744073709551615")),
        ("/", Some("empty")),
        ("/user/ok", None),
        ("/user/none", None),
        ("/user/half", None),
        ("/user", None),
        ("/list", None),
        ("/list/2/id", None),
        ("/list/00/id", None),
        ("/list/+0/id", None),
        ("/list//id", None),
        ("/user/id/x", None),
        ("/nobody", None),
        ("user/id", None),
        ("", None),
    ] {
        assert_eq!(json_field(&document, pointer).as_deref(), expected, "{pointer}");
    }
    assert_eq!(json_field(&json!("alice"), "").as_deref(), Some("alice"));
}

#[test]
fn a_key_with_a_sibling_of_the_same_letters_names_nobody() {
    for document in [
        json!({"user": "alice", "User": "bob"}),
        json!({"user": "alice", "u\u{17f}er": "bob"}),
        json!({"user": "alice", "USER": null}),
    ] {
        assert_eq!(json_field(&document, "/user"), None, "{document}");
    }
    let nested = json!({"login": {"user": "alice"}, "Login": {"user": "bob"}});
    assert_eq!(json_field(&nested, "/login/user"), None);
    // Punctuation is no case: `_id` beside `id` is common.
    assert_eq!(json_field(&json!({"id": 1, "_id": 2}), "/id").as_deref(), Some("1"));
}

#[test]
fn a_json_body_has_every_key_once() {
    let body = br#"{"b": [1, -2, 1.5, "x", true, null, {}], "a": {"c": "\u00e9"}}"#;
    let document = json_document(body).unwrap();
    assert_eq!(document, serde_json::from_slice::<serde_json::Value>(body).unwrap());
    for bad in [
        &br#"{"user": "alice", "user": "bob"}"#[..],
        br#"{"user": "alice", "us\u0065r": "bob"}"#,
        br#"[{"a": {"user": "alice", "user": "alice"}}]"#,
        br#"{"user": "alice"} {"user": "bob"}"#,
        br#"{"user": "alice""#,
        br#"{"user": "\ud800"}"#,
        b"\xef\xbb\xbf{}",
        b"{\"user\": \"\xff\"}",
        b"user=alice",
        b"",
    ] {
        assert_eq!(json_document(bad), None, "{}", String::from_utf8_lossy(bad));
    }
    assert_eq!(json_document(&b"[".repeat(100_000)), None);
}

#[test]
fn a_content_type_in_a_second_spelling_is_none() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(Media::of(&headers), Media::Form);
    for name in ["content_type", "contenttype", "content.type"] {
        let mut headers = headers.clone();
        headers.insert(name, "application/json".parse().unwrap());
        assert_eq!(Media::of(&headers), Media::Other, "{name}");
    }
}

#[test]
fn a_name_of_many_brackets_is_looked_at_once() {
    let began = crate::clock::monotonic();
    for unit in ["[", "u[", "%5B"] {
        let body = format!("{}=1&user=alice", unit.repeat(64 * 1024 / unit.len()));
        assert_eq!(form_field(body.as_bytes(), "user").as_deref(), Some("alice"));
    }
    // One pass takes milliseconds; one for every bracket would take minutes, on a machine that is busy as on one that is not.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}
