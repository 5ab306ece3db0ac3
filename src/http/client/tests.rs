use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusted() -> TrustedProxies {
    TrustedProxies::parse(["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"]).unwrap()
}

/// The address that is made of these fields when 10.0.0.1 sends them.
fn caller(fields: &[(&'static str, &str)]) -> String {
    Caller::resolve(Some(ip("10.0.0.1")), Scheme::Http, &headers(fields), &trusted()).ip.to_string()
}

#[test]
fn a_peer_that_is_not_trusted_is_the_caller_whatever_it_says() {
    let fields = headers(&[
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "admin.internal"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;proto=https;host=admin.internal"),
    ]);
    let expected = Caller { ip: ip("203.0.113.9"), scheme: Scheme::Http, host: None };
    let peer = Some(ip("203.0.113.9"));
    assert_eq!(Caller::resolve(peer, Scheme::Http, &fields, &trusted()), expected);
    assert_eq!(Caller::resolve(peer, Scheme::Http, &fields, &TrustedProxies::default()), expected);
    let mut over_tls = headers(&[("x-forwarded-proto", "http")]);
    assert_eq!(Caller::resolve(peer, Scheme::Https, &over_tls, &trusted()).scheme, Scheme::Https);
    over_tls.clear();
    assert_eq!(Caller::resolve(peer, Scheme::Https, &over_tls, &trusted()).scheme, Scheme::Https);
}

#[test]
fn the_right_most_untrusted_entry_is_the_caller() {
    for (list, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("10.9.9.9, 203.0.113.9 , 192.0.2.7,10.1.2.3", "203.0.113.9"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8:2::5", "2001:db8:2::5"),
        ("[2001:DB8:2::5]", "2001:db8:2::5"),
        ("203.0.113.9, [2001:db8:1::5]:443", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
    ] {
        assert_eq!(caller(&[("x-forwarded-for", list)]), expected, "{list}");
    }
}

#[test]
fn several_lines_are_one_list() {
    let fields = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "203.0.113.9, 10.1.1.1"),
        ("x-forwarded-for", "10.1.1.2"),
    ];
    assert_eq!(caller(&fields), "203.0.113.9");
}

#[test]
fn an_entry_that_cannot_be_read_ends_the_walk_at_the_last_trusted_hop() {
    for bad in [
        "a",
        "",
        " ",
        "unknown",
        "203.0.113.9.",
        "203.0.113",
        "0x7f.0.0.1",
        "0127.0.0.1",
        "203.0.113.9:",
        "203.0.113.9:99999",
        "203.0.113.9:+80",
        "203.0.113.9:80:80",
        "[203.0.113.9]",
        "[2001:db8:2::5",
        "[2001:db8:2::5]80",
        "fe80::1%eth0",
        "\"203.0.113.9\"",
        "203.0.113.9 10.0.0.2",
        "203.0.113.9;10.0.0.2",
        "\u{ff11}.2.3.4",
    ] {
        assert_eq!(caller(&[("x-forwarded-for", bad)]), "10.0.0.1", "{bad}");
        let behind = format!("198.51.100.1, {bad}, 10.1.2.3");
        assert_eq!(caller(&[("x-forwarded-for", &behind)]), "10.1.2.3", "{bad}");
        // Left of the client's own address nothing is read any more.
        let before = format!("{bad}, 203.0.113.9, 10.1.2.3");
        assert_eq!(caller(&[("x-forwarded-for", &before)]), "203.0.113.9", "{bad}");
    }
}

#[test]
fn a_mapped_peer_is_its_ipv4_address() {
    let mapped = Some(ip("::ffff:10.0.0.1"));
    let fields = headers(&[("x-forwarded-for", "203.0.113.9")]);
    assert_eq!(Caller::resolve(mapped, Scheme::Http, &fields, &trusted()).ip, ip("203.0.113.9"));
    let stranger = Some(ip("::ffff:198.51.100.1"));
    assert_eq!(Caller::resolve(stranger, Scheme::Http, &fields, &trusted()).ip, ip("198.51.100.1"));
}

#[test]
fn a_network_may_be_written_as_ipv6() {
    let mapped = TrustedProxies::parse(["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"]).unwrap();
    for inside in ["10.0.0.1", "::ffff:10.255.0.1", "192.0.2.7"] {
        assert!(mapped.trusts(Some(ip(inside))), "{inside}");
    }
    for outside in ["11.0.0.1", "192.0.2.8", "::1", "::ffff:b00:1"] {
        assert!(!mapped.trusts(Some(ip(outside))), "{outside}");
    }
    for bad in ["10.0.0.0/33", "localhost", "", "10.0.0.0/8 ", "10.0.0.0/8,11.0.0.0/8"] {
        assert!(TrustedProxies::parse([bad]).unwrap_err().contains(&format!("{bad:?}")), "{bad}");
    }
}

#[test]
fn the_peer_of_a_unix_socket_is_on_this_machine_unless_it_is_trusted() {
    let fields = headers(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")]);
    let stranger = Caller::resolve(None, Scheme::Http, &fields, &trusted());
    assert_eq!(stranger, Caller { ip: ip("127.0.0.1"), scheme: Scheme::Http, host: None });
    let proxy = Caller::resolve(None, Scheme::Http, &fields, &TrustedProxies::parse(["unix"]).unwrap());
    assert_eq!((proxy.ip, proxy.scheme), (ip("203.0.113.9"), Scheme::Https));
}

#[test]
fn scheme_and_host_are_what_the_trusted_peer_said_last() {
    let resolve = |fields: &[(&'static str, &str)]| {
        let headers = headers(fields);
        let caller = Caller::resolve(Some(ip("10.0.0.1")), Scheme::Http, &headers, &trusted());
        (caller.scheme, caller.host.map(|host| host.name().to_owned()))
    };
    assert_eq!(
        resolve(&[("x-forwarded-proto", "http, HTTPS"), ("x-forwarded-host", "evil.example, App.Example.com.:8443")]),
        (Scheme::Https, Some("app.example.com".to_owned()))
    );
    assert_eq!(resolve(&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")]), (Scheme::Http, None));
    for bad in ["wss", "", "https ftp", "javascript"] {
        assert_eq!(resolve(&[("x-forwarded-proto", bad)]).0, Scheme::Http, "{bad}");
    }
    for bad in ["", "evil.example/x", "a@b", "a.example, "] {
        assert_eq!(resolve(&[("x-forwarded-host", bad)]).1, None, "{bad}");
    }
}

#[test]
fn forwarded_is_read_when_there_is_no_x_forwarded_field() {
    for (line, expected) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=127.0.0.1, FOR=203.0.113.9;proto=http", "203.0.113.9"),
        ("for=203.0.113.9, for=10.1.2.3", "203.0.113.9"),
        ("for=\"203.0.113.9:4711\" ; by=_edge", "203.0.113.9"),
        ("for=203.0.113.9:4711", "203.0.113.9"),
        ("for=\"[2001:db8:2::5]:_p\", for=\"[2001:db8:1::5]\"", "2001:db8:2::5"),
        ("by=\"a,b;for=1.2.3.4\";for=203.0.113.9", "203.0.113.9"),
        // What ends the walk.
        ("for=203.0.113.9, for=unknown, for=10.1.2.3", "10.1.2.3"),
        ("for=203.0.113.9, for=_hidden", "10.0.0.1"),
        ("for=203.0.113.9, proto=https", "10.0.0.1"),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(caller(&[("forwarded", line)]), expected, "{line}");
    }
    assert_eq!(caller(&[("forwarded", "for=127.0.0.1"), ("forwarded", "for=203.0.113.9")]), "203.0.113.9");
}

#[test]
fn a_forwarded_line_that_a_client_bent_says_nothing() {
    for line in [
        "for=\"127.0.0.1, for=203.0.113.9",
        "for=\"127.0.0.1, for=\"[2001:db8:2::5]\"",
        "for=127.0.0.1;x=\", for=203.0.113.9;y=\"z",
        "for=127.0.0.1;for=203.0.113.9",
        "for=\"127.0.0.1\\\", for=203.0.113.9",
        "for=127.0.0.1,",
        "for=127.0.0.1;",
        "for=",
        "for=\"\"",
        "for 127.0.0.1",
        "=127.0.0.1",
        ", for=127.0.0.1",
        "for = 127.0.0.1",
        "for=127.0.0.1 203.0.113.9",
    ] {
        assert_eq!(caller(&[("forwarded", line)]), "10.0.0.1", "{line}");
    }
    // The lines right of a bad one still count.
    assert_eq!(caller(&[("forwarded", "for=\"127.0.0.1"), ("forwarded", "for=10.1.2.3")]), "10.1.2.3");
}

#[test]
fn forwarded_tells_scheme_and_host_by_its_last_element() {
    let resolve = |line: &str| {
        let headers = headers(&[("forwarded", line)]);
        let caller = Caller::resolve(Some(ip("10.0.0.1")), Scheme::Http, &headers, &trusted());
        (caller.scheme, caller.host.map(|host| host.name().to_owned()))
    };
    assert_eq!(
        resolve("for=1.2.3.4;host=evil.example, for=10.0.0.2;proto=HTTPS;host=\"App.example.com:8443\""),
        (Scheme::Https, Some("app.example.com".to_owned()))
    );
    assert_eq!(resolve("for=1.2.3.4;proto=https;host=evil.example, for=10.0.0.2"), (Scheme::Http, None));
    assert_eq!(resolve("for=1.2.3.4;proto=https;host=evil.example;x=\""), (Scheme::Http, None));
}

#[test]
fn forwarded_does_not_count_beside_the_x_forwarded_family() {
    let bent = "for=127.0.0.1;proto=https;host=evil.example";
    for known in [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "a.example")]
    {
        let headers = headers(&[("forwarded", bent), known]);
        let caller = Caller::resolve(Some(ip("10.0.0.1")), Scheme::Http, &headers, &trusted());
        assert_ne!(caller.ip, ip("127.0.0.1"), "{known:?}");
        assert_eq!(caller.scheme, Scheme::Http, "{known:?}");
        assert_ne!(caller.host.as_ref().map(Host::name), Some("evil.example"), "{known:?}");
    }
}
