//! The `Forwarded` field of RFC 7239, as much of it as says who is calling.

use crate::http::cookie::is_token_byte;

/// What one proxy said about its client. A part that it did not name is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'h> {
    /// `for`: the client's address or pseudonym.
    pub(super) node: &'h [u8],
    /// `proto`: the scheme.
    pub(super) proto: &'h [u8],
    /// `host`: the host asked for.
    pub(super) host: &'h [u8],
}

/// The elements of one line, oldest first; `None` when any part of the line is not as RFC 7239 section 4 has it.
///
/// It must be all or nothing: the beginning of a line is the client's, and a quote that it leaves open would otherwise
/// swallow what the proxy appended. Bare values may be more than tokens, since addresses with ports often come unquoted.
pub(super) fn parse(line: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut rest = line;
    loop {
        let (name, after) = split_at_byte(rest.trim_ascii_start(), b'=')?;
        if name.is_empty() || !name.iter().copied().all(is_token_byte) {
            return None;
        }
        let (value, after) = match after {
            [b'"', quoted @ ..] => split_at_byte(quoted, b'"')?,
            bare => bare.split_at(bare.iter().position(|byte| ends_bare(*byte)).unwrap_or(bare.len())),
        };
        // No address, scheme or host needs an escape; one that has it is not what it seems.
        if value.is_empty() || value.contains(&b'\\') {
            return None;
        }
        for (known, part) in [("for", &mut element.node), ("proto", &mut element.proto), ("host", &mut element.host)] {
            if name.eq_ignore_ascii_case(known.as_bytes()) && !std::mem::replace(part, value).is_empty() {
                return None;
            }
        }
        match after.trim_ascii_start() {
            [] => {
                elements.push(element);
                return Some(elements);
            }
            [b';', more @ ..] => rest = more,
            [b',', more @ ..] => {
                elements.push(std::mem::take(&mut element));
                rest = more;
            }
            _ => return None,
        }
    }
}

/// What stands before and behind the first `byte`.
fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |other| *other == byte);
    Some((parts.next()?, parts.next()?))
}

const fn ends_bare(byte: u8) -> bool {
    matches!(byte, b';' | b',' | b' ' | b'\t' | b'"')
}
