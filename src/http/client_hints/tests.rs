use super::*;
use crate::user_agent::Device;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What the browser's own header and its hints come to: os, browser, model, mobile.
fn device(user_agent: &str, lines: &[(&'static str, &str)]) -> (String, String, Option<String>, bool) {
    let device = Device::of(user_agent, &read(&headers(lines)));
    (device.os, device.browser, device.model, device.is_mobile)
}

fn told(os: &str, browser: &str, model: Option<&str>, mobile: bool) -> (String, String, Option<String>, bool) {
    (os.to_owned(), browser.to_owned(), model.map(str::to_owned), mobile)
}

const WINDOWS: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const ANDROID: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";

#[test]
fn the_headers_of_real_browsers_on_windows_are_read() {
    let platform = [("sec-ch-ua-mobile", "?0"), ("sec-ch-ua-platform", "\"Windows\"")];
    let with = |brands| [("sec-ch-ua", brands), platform[0], platform[1]];
    let chrome = with(r#""Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99""#);
    assert_eq!(device(WINDOWS, &chrome), told("Windows", "Chrome", None, false));
    let edge = with(r#""Microsoft Edge";v="131", "Chromium";v="131", "Not_A Brand";v="24""#);
    assert_eq!(device(&format!("{WINDOWS} Edg/131.0.0.0"), &edge), told("Windows", "Edge", None, false));
    assert_eq!(device(WINDOWS, &edge), told("Windows", "Edge", None, false));
    let brave = with(r#""Brave";v="129", "Not=A?Brand";v="8", "Chromium";v="129""#);
    assert_eq!(device(WINDOWS, &brave), told("Windows", "Brave", None, false));
    let opera = with(r#""Not)A;Brand";v="99", "Opera";v="113", "Chromium";v="127""#);
    assert_eq!(device(&format!("{WINDOWS} OPR/113.0.0.0"), &opera), told("Windows", "Opera", None, false));
}

#[test]
fn the_headers_of_real_browsers_on_macos_are_read() {
    let platform = [("sec-ch-ua-mobile", "?0"), ("sec-ch-ua-platform", "\"macOS\"")];
    let with = |brands| [("sec-ch-ua", brands), platform[0], platform[1]];
    for (brands, browser) in [
        (r#""Google Chrome";v="105", "Not)A;Brand";v="8", "Chromium";v="105""#, "Chrome"),
        (r#"" Not A;Brand";v="99", "Chromium";v="101", "Microsoft Edge";v="101""#, "Edge"),
        (r#""Chromium";v="124", "Brave";v="124", "Not-A.Brand";v="99""#, "Brave"),
        (r#""Opera";v="109", "Not:A-Brand";v="8", "Chromium";v="123""#, "Opera"),
    ] {
        assert_eq!(device(MAC, &with(brands)), told("Mac OS X", browser, Some("Mac"), false), "{brands}");
    }
}

#[test]
fn the_headers_of_real_browsers_on_android_are_read() {
    let platform = [
        ("sec-ch-ua-mobile", "?1"),
        ("sec-ch-ua-platform", "\"Android\""),
        ("sec-ch-ua-platform-version", "\"14.0.0\""),
        ("sec-ch-ua-model", "\"Pixel 8\""),
    ];
    let with = |brands| [&[("sec-ch-ua", brands)], &platform[..]].concat();
    let chrome = with(r#""Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99""#);
    assert_eq!(device(ANDROID, &chrome), told("Android", "Chrome Mobile", Some("Pixel 8"), true));
    let edge = with(r#""Chromium";v="130", "Microsoft Edge";v="130", "Not?A_Brand";v="99""#);
    assert_eq!(
        device(&format!("{ANDROID} EdgA/130.0.0.0"), &edge),
        told("Android", "Edge Mobile", Some("Pixel 8"), true)
    );
    let brave = with(r#""Brave";v="131", "Chromium";v="131", "Not_A Brand";v="24""#);
    assert_eq!(device(ANDROID, &brave), told("Android", "Brave", Some("Pixel 8"), true));
    let opera = with(r#""Not;A=Brand";v="99", "Opera";v="86", "Chromium";v="130""#);
    assert_eq!(
        device(&format!("{ANDROID} OPR/86.0.0.0"), &opera),
        told("Android", "Opera Mobile", Some("Pixel 8"), true)
    );
}

#[test]
fn what_browsers_leave_empty_says_nothing() {
    let empty = headers(&[("sec-ch-ua-model", "\"\""), ("sec-ch-ua-platform", "\"Unknown\""), ("sec-ch-ua", "")]);
    assert_eq!(read(&empty), ClientHints::default());
    assert_eq!(read(&HeaderMap::new()), ClientHints::default());
}

#[test]
fn a_brand_list_may_be_spread_over_lines_and_strings_may_hold_escapes() {
    let lines = headers(&[("sec-ch-ua", r#""Chromium";v="130""#), ("sec-ch-ua", r#""A \"B\" \\C";x;y=?1;z=1.5"#)]);
    assert_eq!(read(&lines).brands, ["Chromium", r#"A "B" \C"#]);
}

#[test]
fn a_malformed_hint_is_as_good_as_none_and_spoils_no_other() {
    for wrong in [
        "Pixel",
        "\"Pixel",
        "Pixel\"",
        "\"Pixel\" 8",
        "\"Pixel\", \"8\"",
        "\"a\\b\"",
        "\"\t\"",
        "\"Pixel\";",
        "\"P\";A=1",
        "?1",
        "\"",
    ] {
        let found = read(&headers(&[("sec-ch-ua-model", wrong), ("sec-ch-ua-platform", "\"Android\"")]));
        assert_eq!((found.model, found.platform.as_deref()), (None, Some("Android")), "{wrong}");
    }
    for wrong in ["1", "?2", "?", "\"?1\"", "?1 x", "true"] {
        assert_eq!(read(&headers(&[("sec-ch-ua-mobile", wrong)])).mobile, None, "{wrong}");
    }
    for wrong in ["Chromium", "\"Chromium\" \"Opera\"", "\"Chromium\",", ",", "\"Chromium\";v=\"130", "(\"a\" \"b\")"] {
        assert_eq!(read(&headers(&[("sec-ch-ua", wrong)])).brands, [""; 0], "{wrong}");
    }
}

#[test]
fn a_hint_sent_twice_or_longer_than_any_browsers_is_ignored() {
    assert_eq!(read(&headers(&[("sec-ch-ua-model", "\"A\""), ("sec-ch-ua-model", "\"B\"")])).model, None);
    let long = format!("\"{}\"", "x".repeat(16 * 1024));
    assert_eq!(read(&headers(&[("sec-ch-ua-model", &long), ("sec-ch-ua", &long)])), ClientHints::default());
    assert_eq!(read(&headers(&[("sec-ch-ua-model", &format!("\"{}\"", "x".repeat(MAX_NAME + 1)))])).model, None);
    let many = vec!["\"a\""; 100].join(", ");
    assert_eq!(read(&headers(&[("sec-ch-ua", &many)])).brands.len(), MAX_BRANDS);
}

#[test]
fn bytes_that_are_no_text_are_no_hint() {
    let mut raw = HeaderMap::new();
    raw.insert(MODEL, HeaderValue::from_bytes(b"\"Pixel \xff\"").unwrap());
    raw.insert(BRANDS, HeaderValue::from_bytes(&[0xff; 900]).unwrap());
    assert_eq!(read(&raw), ClientHints::default());
}

#[test]
fn hints_that_are_passed_on_are_read_as_if_they_had_come_by_themselves() {
    let mut headers = HeaderMap::new();
    pass_on(&mut headers, "Sec-CH-UA-Model", "\"Pixel 8\"").unwrap();
    pass_on(&mut headers, "sec-ch-ua-arch", "\"arm\"").unwrap();
    assert_eq!(read(&headers).model.as_deref(), Some("Pixel 8"));
    for (name, value) in
        [("User-Agent", "x"), ("", "x"), ("Sec-CH-UA Model", "x"), ("Sec-CH-UA", "a\r\nb"), ("sec-ch-u", "")]
    {
        assert!(pass_on(&mut headers, name, value).is_err(), "{name:?}");
    }
}
