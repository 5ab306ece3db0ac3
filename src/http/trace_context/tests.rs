//! What is a `traceparent` and what is none, by the words of the specification.

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn written(parent: &TraceParent) -> String {
    let mut out = BytesMut::new();
    parent.write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_good_one_is_written_as_it_was_read() {
    for good in [GOOD, "00-00000000000000000000000000000001-0000000000000001-00"] {
        let parent = TraceParent::parse(good.as_bytes()).unwrap();
        assert_eq!(written(&parent), format!("traceparent: {good}\r\n"));
    }
    let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(&parent.trace.hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(&parent.span.hex(), b"00f067aa0ba902b7");
}

#[test]
fn what_the_specification_calls_malformed_is_none() {
    for bad in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
        "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e47360-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7 01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad:?}");
    }
}

#[test]
fn a_later_version_may_say_more_and_is_continued_in_ours() {
    for later in [
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later",
        "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
    ] {
        let parent = TraceParent::parse(later.as_bytes()).unwrap_or_else(|| panic!("{later}"));
        assert_eq!(written(&parent), format!("traceparent: {GOOD}\r\n"));
    }
}

#[test]
fn of_the_flags_the_one_that_is_known_is_kept() {
    for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("fe", false), ("ff", true)] {
        let parent = TraceParent::parse(format!("{}{flags}", &GOOD[..53]).as_bytes()).unwrap();
        assert_eq!(parent.sampled, sampled, "{flags}");
        assert!(written(&parent).ends_with(if sampled { "-01\r\n" } else { "-00\r\n" }));
    }
}

#[test]
fn one_of_several_is_not_believed() {
    assert!(TraceParent::of(&headers(&[("traceparent", GOOD)])).is_some());
    assert_eq!(TraceParent::of(&headers(&[("traceparent", GOOD), ("traceparent", GOOD)])), None);
    assert_eq!(TraceParent::of(&headers(&[])), None);
    assert_eq!(request_id(&headers(&[("x-request-id", "a"), ("x-request-id", "a")])), None);
}

#[test]
fn an_id_is_short_and_of_letters_digits_dots_dashes_and_underscores() {
    for good in ["a", "0.9_A-z", &"x".repeat(128)] {
        assert!(request_id(&headers(&[("x-request-id", good)])).is_some(), "{good}");
    }
    for bad in ["", " ", "a b", "a,b", "a\"b", "a=b", "a:b", "a/b", "é", &"x".repeat(129)] {
        assert_eq!(request_id(&headers(&[("x-request-id", bad)])), None, "{bad}");
    }
}

#[test]
fn what_is_ours_to_write_is_removed_in_every_spelling_and_nothing_else() {
    let came = [
        ("traceparent", "a"),
        ("trace-parent", "a"),
        ("tracestate", "b"),
        ("trace_state", "b"),
        ("x-request-id", "c"),
        ("x_request_id", "c"),
        ("traceparents", "d"),
        ("request-id", "d"),
    ];
    let left = |rewritten: Rewritten, continued| {
        let mut headers = headers(&came);
        rewritten.strip(&mut headers, continued);
        let mut left: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
        left.sort();
        left
    };
    assert_eq!(left(Rewritten::default(), false).len(), came.len());
    let mut ids = left(Rewritten { context: false, request_id: true }, false);
    ids.retain(|name| name.contains("request"));
    assert_eq!(ids, ["request-id"]);
    let both = Rewritten { context: true, request_id: true };
    assert_eq!(left(both, false), ["request-id", "traceparents"]);
    assert_eq!(left(both, true), ["request-id", "traceparents", "tracestate"]);
}
