use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    header.extend(content);
    header
}

/// Two addresses and ports as version 2 writes them.
fn v2_of(source: IpAddr, destination: IpAddr, rest: &[u8]) -> Vec<u8> {
    let (family, mut content) = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
        (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
        _ => panic!("two of a kind"),
    };
    content.extend([0x12, 0x34, 0x01, 0xbb]);
    content.extend(rest);
    v2(0x21, family, &content)
}

/// Reads a stream as a connection does: only what is wanted, however the bytes arrive. Says where the header ended.
fn read(stream: &[u8]) -> Result<(Option<IpAddr>, usize), Malformed> {
    let mut taken = 0;
    loop {
        match parse(&stream[..taken])? {
            Step::Complete(client) => return Ok((client, taken)),
            Step::Wants(more) => {
                assert!(more > 0, "it must get on");
                taken += more;
                if taken > stream.len() {
                    return Err(Malformed("the stream ends inside the header"));
                }
            }
        }
    }
}

fn client(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn lines_of_the_specification_are_understood() {
    for (line, expected) in [
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", client("0.0.0.0")),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", client("2001:db8::1")),
        ("PROXY TCP6 :: :: 1 1\r\n", client("::")),
        // IPv4 in the form of IPv6 is IPv4.
        ("PROXY TCP6 ::ffff:198.51.100.7 ::1 1 2\r\n", client("198.51.100.7")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    ] {
        assert_eq!(read(line.as_bytes()), Ok((expected, line.len())), "{line}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(read(longest.as_bytes()), Ok((None, 107)));
}

#[test]
fn lines_that_say_it_a_little_otherwise_are_refused() {
    for line in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n      ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n          ",
        "PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n  ",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n     ",
        "PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n  ",
        "PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n    ",
        "PROXY UNKNOWN\n\r\n     ",
    ] {
        assert!(read(line.as_bytes()).is_err(), "{line:?}");
    }
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert!(read(too_long.as_bytes()).is_err());
}

#[test]
fn version_2_is_understood_and_what_proxies_add_is_passed_over() {
    let (four, six) = ("203.0.113.9".parse().unwrap(), "2001:db8::9".parse().unwrap());
    for rest in [&b""[..], b"\x04\x00\x03abc", &[0xff; 300]] {
        for address in [four, six] {
            let header = v2_of(address, address, rest);
            assert_eq!(read(&header), Ok((Some(address), header.len())));
        }
    }
    let mapped = "::ffff:203.0.113.9".parse().unwrap();
    assert_eq!(read(&v2_of(mapped, six, b"")).unwrap().0, Some(four));
    for header in
        [v2(0x20, 0x00, b""), v2(0x20, 0x11, b"whatever"), v2(0x21, 0x00, b"xyz"), v2(0x21, 0x31, &[b'/'; 216])]
    {
        assert_eq!(read(&header), Ok((None, header.len())), "it speaks for itself");
    }
}

#[test]
fn other_versions_commands_families_and_lengths_are_refused() {
    for header in [
        v2(0x11, 0x11, &[0; 12]),
        v2(0x31, 0x11, &[0; 12]),
        v2(0x22, 0x11, &[0; 12]),
        v2(0x21, 0x12, &[0; 12]),
        v2(0x21, 0x22, &[0; 36]),
        v2(0x21, 0x32, &[0; 216]),
        v2(0x21, 0x41, &[0; 216]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x11, &vec![0; MOST_VARIABLE + 1]),
        v2(0x20, 0x00, &vec![0; 65_535]),
        // The beginning of a TLS connection, and of a signature that goes wrong.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\r\x21\x11\x00\x0c".to_vec(),
    ] {
        assert!(read(&header).is_err(), "{:?}", &header[..16.min(header.len())]);
    }
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 4], [u8; 16])>()
            .prop_map(|(a, b)| (IpAddr::V6(Ipv4Addr::from(a).to_ipv6_mapped()), IpAddr::from(b))),
    ]
}

proptest! {
    #[test]
    fn whatever_a_proxy_writes_is_read_to_its_end_and_no_further(
        (source, destination) in addresses(), ports: (u16, u16), added in prop::collection::vec(any::<u8>(), 0..200), after: Vec<u8>,
    ) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes();
        for header in [line, v2_of(source, destination, &added)] {
            let stream = [header.as_slice(), &after].concat();
            prop_assert_eq!(read(&stream), Ok((Some(source.to_canonical()), header.len())));
        }
    }

    #[test]
    fn whatever_comes_it_neither_panics_nor_asks_for_more_than_a_header_can_be(stream: Vec<u8>) {
        if let Ok((_, length)) = read(&stream) {
            prop_assert!(length <= FIXED + MOST_VARIABLE);
        }
    }

    #[test]
    fn nearly_a_header_is_read_within_its_bounds(
        (source, destination) in addresses(), place in 0..60_usize, byte: u8, version_2: bool,
    ) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {source} {destination} 1 2\r\n").into_bytes();
        let mut header = if version_2 { v2_of(source, destination, b"") } else { line };
        if let Some(changed) = header.get_mut(place) {
            *changed = byte;
        }
        header.extend([b'x'; 3000]);
        if let Ok((_, length)) = read(&header) {
            let longest = if version_2 { FIXED + MOST_VARIABLE } else { LONGEST_LINE };
            prop_assert!(length <= longest);
        }
    }
}
