use super::*;

const SESSION: Attributes =
    Attributes { secure: true, same_site: SameSite::Lax, max_age: Some(Duration::from_secs(60)) };

fn name(name: &str) -> CookieName {
    CookieName::parse(name).unwrap()
}

#[test]
fn a_cookie_is_set_with_all_its_attributes() {
    let header = set_cookie(&name("__Host-session"), "tok", &SESSION).unwrap();
    assert_eq!(header, "__Host-session=tok; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=60");
    let plain = Attributes { secure: false, same_site: SameSite::Strict, max_age: None };
    assert_eq!(set_cookie(&name("s"), "tok", &plain).unwrap(), "s=tok; Path=/; HttpOnly; SameSite=Strict");
    let open = Attributes { same_site: SameSite::None, max_age: Some(Duration::from_millis(100)), ..SESSION };
    assert_eq!(
        set_cookie(&name("s"), "tok", &open).unwrap(),
        "s=tok; Path=/; HttpOnly; Secure; SameSite=None; Max-Age=1"
    );
}

#[test]
fn a_cookie_is_cleared_with_the_attributes_it_was_set_with() {
    for attributes in [SESSION, Attributes { secure: false, same_site: SameSite::Strict, max_age: None }] {
        let set = set_cookie(&name("s"), "", &Attributes { max_age: None, ..attributes }).unwrap();
        let clear = clear_cookie(&name("s"), &attributes).unwrap();
        assert_eq!(clear.to_str().unwrap(), format!("{}; Max-Age=0", set.to_str().unwrap()));
    }
}

#[test]
fn a_token_does_not_show_when_the_header_is_printed() {
    let header = set_cookie(&name("s"), "very-secret", &SESSION).unwrap();
    assert!(!format!("{header:?}").contains("secret"));
}

#[test]
fn a_value_cannot_smuggle_an_attribute() {
    for value in ["a; Domain=evil.example", "a\r\nSet-Cookie: b=c", "a b", "a,b", "\"a\"", "t\u{f6}k"] {
        assert_eq!(set_cookie(&name("s"), value, &SESSION).unwrap_err().code, Code::Internal, "{value}");
    }
}

#[test]
fn a_name_is_a_token() {
    for bad in ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "n\u{e4}me", "a\t"] {
        assert!(CookieName::parse(bad).unwrap_err().contains("no cookie name"), "{bad}");
    }
    assert_eq!(name("__Host-session.id").as_str(), "__Host-session.id");
}

#[test]
fn a_name_is_found_as_cutting_at_semicolons_would_find_it() {
    let slow = |line: &[u8], name: &str| -> Vec<Vec<u8>> {
        let value = |pair: &[u8]| {
            let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
            Some(rest.trim_ascii().to_vec())
        };
        line.split(|byte| *byte == b';').filter_map(value).collect()
    };
    let long = "n".repeat(300);
    let mut found = 0;
    for wanted in ["s", "ss", "sas", "aas", "__Host-s", &long] {
        let parts = [wanted, "s", "a", "=", ";", " ", "; ", "=x", "__Host-", "\u{e9}", "as"];
        let mut seed: usize = 7;
        for _ in 0..5_000 {
            let mut line = String::new();
            for _ in 0..9 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                line.push_str(parts[(seed >> 33) % parts.len()]);
            }
            let wanted = name(wanted);
            let values: Vec<_> = pairs(line.as_bytes(), &wanted).map(|pair| pair.value.to_vec()).collect();
            assert_eq!(values, slow(line.as_bytes(), wanted.as_str()), "{wanted:?} in {line}");
            found += values.len();
            let header = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            let left = match cut(&header, &wanted) {
                Cut::Untouched => {
                    assert!(values.is_empty(), "{wanted:?} stays in {line}");
                    continue;
                }
                Cut::Rest(rest) => rest.as_bytes().to_vec(),
                Cut::Nothing => Vec::new(),
            };
            let others = |line: &[u8]| -> Vec<Vec<u8>> {
                let other = |pair: &&[u8]| !pair.trim_ascii().is_empty() && slow(pair, wanted.as_str()).is_empty();
                line.split(|byte| *byte == b';').filter(other).map(|pair| pair.trim_ascii().to_vec()).collect()
            };
            assert_eq!(slow(&left, wanted.as_str()), [[0; 0]; 0], "{wanted:?} stays in {line}");
            assert_eq!(others(&left), others(line.as_bytes()), "{wanted:?} cut from {line}");
        }
    }
    assert!(found > 1_000, "only {found} were found");
}

#[test]
fn a_prefixed_name_and_same_site_none_need_secure() {
    let plain = Attributes { secure: false, ..SESSION };
    for prefixed in ["__Host-session", "__Secure-session", "__host-session"] {
        assert!(plain.check(&name(prefixed)).unwrap_err().contains(prefixed));
        assert_eq!(SESSION.check(&name(prefixed)), Ok(()));
    }
    assert_eq!(plain.check(&name("session__Host-")), Ok(()));
    let open = Attributes { same_site: SameSite::None, ..plain };
    assert!(open.check(&name("session")).unwrap_err().contains("SameSite=None"));
}

#[test]
fn a_cookie_is_set_unless_its_line_takes_it_away() {
    let name = CookieName::parse("app").unwrap();
    for (line, expected) in [
        ("app=3", true),
        ("app=\"3\"; Path=/; Max-Age=100", true),
        (" app = 3 ; Secure", true),
        ("app=", false),
        ("app=\"\"; expires=Thu, 01 Jan 1970 00:00:00 GMT", false),
        ("app=deleted; max-age=0", false),
        ("app=deleted; Max-Age=-1", false),
        ("App=3", false),
        ("apps=3", false),
        ("app", false),
        ("", false),
    ] {
        let mut response = HeaderMap::new();
        response.append(SET_COOKIE, HeaderValue::from_static("other=5"));
        response.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
        assert_eq!(is_set(&name, &response), expected, "{line}");
    }
}
