//! The PROXY protocol, versions 1 and 2: the first bytes of a connection, in which a proxy says who its client is.
//!
//! What follows the header belongs to somebody else (TLS, HTTP), so nothing beyond it may be read. [`parse`] therefore says how
//! many bytes are missing at the least, and whoever reads exactly those never reads too far.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not complete: at least so many bytes follow.
    Wants(usize),
    /// It is complete. `None`: the proxy speaks for itself, as in its health checks, or does not know.
    Complete(Option<IpAddr>),
}

/// What a header is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// The longest header of version 1, its line break included.
const LONGEST_LINE: usize = 107;
/// The shortest: `PROXY UNKNOWN` and a line break.
const SHORTEST_LINE: usize = 15;
const LINE_START: &[u8] = b"PROXY ";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of version 2 that is always there.
const FIXED: usize = 16;
/// The most that may follow it: addresses of any family and 2 KiB of what proxies add to them. The field allows 64 KiB.
const MOST_VARIABLE: usize = 216 + 2048;

/// Reads what there is of a header, from its first byte.
///
/// # Errors
/// When it can no longer become one.
pub fn parse(bytes: &[u8]) -> Result<Step, Malformed> {
    match bytes.first() {
        None => Ok(Step::Wants(SHORTEST_LINE)),
        Some(b'P') => line(bytes),
        Some(_) => binary(bytes),
    }
}

fn line(bytes: &[u8]) -> Result<Step, Malformed> {
    if !begins_like(bytes, LINE_START) {
        return Err(Malformed("it does not begin with a PROXY header"));
    }
    if bytes.len() < SHORTEST_LINE {
        return Ok(Step::Wants(SHORTEST_LINE - bytes.len()));
    }
    if let Some(text) = bytes.strip_suffix(b"\r\n") {
        if bytes.len() > LONGEST_LINE {
            return Err(Malformed("the line is too long"));
        }
        return content(text).map(Step::Complete);
    }
    let wanted = match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None => missing(bytes),
        // Nothing but the line feed is left.
        Some(at) if bytes.get(at) == Some(&b'\r') && at + 1 == bytes.len() => 1,
        Some(_) => return Err(Malformed("there is a line break inside the line")),
    };
    if bytes.len() + wanted > LONGEST_LINE { Err(Malformed("the line is too long")) } else { Ok(Step::Wants(wanted)) }
}

/// The least that can follow in a line that lacks its break.
fn missing(line: &[u8]) -> usize {
    const BREAK: usize = 2;
    const PORT: usize = 1;
    let shortest_address = match line.get(LINE_START.len()..) {
        Some([b'T', b'C', b'P', b'4', ..]) => "0.0.0.0".len(),
        Some([b'T', b'C', b'P', b'6', ..]) => "::".len(),
        // Whatever an unknown one says may end at any time.
        Some(_) | None => return BREAK,
    };
    let fields = [shortest_address, shortest_address, PORT, PORT];
    let mut left = BREAK;
    // The first field and its space are before these.
    let begun = line.iter().filter(|byte| **byte == b' ').count().saturating_sub(1);
    left += fields.iter().skip(begun).map(|field| field + 1).sum::<usize>();
    if line.last() == Some(&b' ') {
        left += begun.checked_sub(1).and_then(|field| fields.get(field)).copied().unwrap_or(0);
    }
    left
}

/// The client of a complete line without its break.
fn content(line: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let text = str::from_utf8(line).map_err(|_| Malformed("the line is no ASCII"))?;
    let mut fields = text.split(' ').skip(1);
    let mut next = || fields.next().ok_or(Malformed("the line lacks a field"));
    let family = next()?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, destination) = (next()?, next()?);
    let client = match family {
        "TCP4" => {
            source.parse::<Ipv4Addr>().ok().zip(destination.parse::<Ipv4Addr>().ok()).map(|(ip, _)| IpAddr::V4(ip))
        }
        "TCP6" => {
            source.parse::<Ipv6Addr>().ok().zip(destination.parse::<Ipv6Addr>().ok()).map(|(ip, _)| IpAddr::V6(ip))
        }
        _ => return Err(Malformed("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    };
    let client = client.ok_or(Malformed("an address cannot be read"))?;
    if !(is_port(next()?) && is_port(next()?)) {
        return Err(Malformed("a port cannot be read"));
    }
    if fields.next().is_some() {
        return Err(Malformed("the line has too many fields"));
    }
    Ok(Some(client.to_canonical()))
}

fn is_port(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain && text.parse::<u16>().is_ok()
}

fn binary(bytes: &[u8]) -> Result<Step, Malformed> {
    if !begins_like(bytes, SIGNATURE) {
        return Err(Malformed("it does not begin with a PROXY header"));
    }
    let Some((fixed, variable)) = bytes.split_at_checked(FIXED) else { return Ok(Step::Wants(FIXED - bytes.len())) };
    let [.., version_and_command, family, high, low] = fixed else { return Err(Malformed("it is too short")) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MOST_VARIABLE {
        return Err(Malformed("the header is too long"));
    }
    let speaks_for_itself = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("the version is not 2, or the command is unknown")),
    };
    // How long the two addresses and ports of the family are; what follows them is not looked at.
    let addresses = match family {
        _ if speaks_for_itself => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        // A program on the proxy's own machine.
        0x31 => 216,
        _ => return Err(Malformed("the client's protocol is not TCP")),
    };
    if length < addresses {
        return Err(Malformed("the header is too short for its addresses"));
    }
    if variable.len() < length {
        return Ok(Step::Wants(length - variable.len()));
    }
    if variable.len() > length {
        return Err(Malformed("there is more than a header"));
    }
    let client = match (addresses, variable) {
        (12, [a, b, c, d, ..]) => Some(IpAddr::from([*a, *b, *c, *d])),
        (36, _) => variable.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
        _ => None,
    };
    Ok(Step::Complete(client.map(|ip| ip.to_canonical())))
}

/// Whether the bytes are the beginning of `start`, or begin with it.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests;
