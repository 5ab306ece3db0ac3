//! Who is calling: the address, scheme and host that the client used, seen through the proxies in front of us.
//!
//! The TCP peer is the caller unless the operator trusts it. Of a trusted peer's report, the right-most address counts
//! that is not trusted itself: everything left of it was written by that client. Whatever cannot be read ends the walk
//! at the last hop that could, so a report can only ever hide its sender behind a trusted proxy, never widen trust.
//!
//! Either the X-Forwarded family counts or `Forwarded` (RFC 7239), never a mixture: a proxy that writes the one may let
//! the other pass as the client sent it. Where both are there the X-Forwarded family counts, so a proxy that writes only
//! `Forwarded` has to drop the X-Forwarded fields of its clients.

mod forwarded;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{FORWARDED, GetAll, HeaderMap, HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv4Net};

use self::forwarded::Element;
use super::host::Host;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The peers whose forwarding headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    nets: Vec<IpNet>,
    unix: bool,
}

impl TrustedProxies {
    /// Reads networks (`10.0.0.0/8`), addresses, and the word `unix` for the peers of Unix sockets. IPv4 networks written
    /// as IPv6 (`::ffff:10.0.0.0/104`) are the IPv4 networks.
    ///
    /// # Errors
    /// A sentence about the entry that is none of these.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut proxies = Self::default();
        for entry in entries {
            match entry {
                "unix" => proxies.unix = true,
                _ => proxies.nets.push(net(entry).ok_or_else(|| {
                    format!("{entry:?} is neither a network such as 10.0.0.0/8, nor an address, nor the word unix.")
                })?),
            }
        }
        Ok(proxies)
    }

    /// Whether this peer of a connection is trusted; `None` is the peer of a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(ip) => self.contains(ip.to_canonical()),
            None => self.unix,
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&ip))
    }
}

/// Whom limits count as one client: an IPv4 address, or a /64 of IPv6, which is the least that one subscriber has.
pub fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// Whether a client speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }
}

/// The client behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller<'h> {
    /// Its address, IPv4 as IPv4. The peer of a Unix socket that is not trusted is on this machine: 127.0.0.1.
    pub ip: IpAddr,
    /// How it spoke to the outermost proxy.
    pub scheme: Scheme,
    /// The host that it asked for, when a trusted proxy says so; otherwise the request's own host is the one.
    pub host: Option<Host<'h>>,
}

impl<'h> Caller<'h> {
    /// Finds the client of a request that came over a connection from `peer` (`None` for a Unix socket), itself with or
    /// without TLS. The headers of a peer that is not trusted are not looked at.
    pub fn resolve(peer: Option<IpAddr>, transport: Scheme, headers: &'h HeaderMap, trusted: &TrustedProxies) -> Self {
        let ip = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical());
        if !trusted.trusts(peer) {
            return Self { ip, scheme: transport, host: None };
        }
        let addresses = headers.get_all(X_FORWARDED_FOR);
        let proto = last(&headers.get_all(X_FORWARDED_PROTO));
        let host = last(&headers.get_all(X_FORWARDED_HOST));
        if addresses.iter().next().is_some() || proto.is_some() || host.is_some() {
            let hops = addresses.iter().rev().flat_map(|line| line.as_bytes().rsplit(is_comma)).map(address);
            return Self {
                ip: walk(ip, hops, trusted),
                scheme: proto.and_then(Scheme::parse).unwrap_or(transport),
                host: host.and_then(|host| Host::parse(host).ok()),
            };
        }
        let lines = headers.get_all(FORWARDED);
        let Some(line) = lines.iter().next_back() else {
            return Self { ip, scheme: transport, host: None };
        };
        let newest = elements(line).pop().unwrap_or_default();
        let hops = lines.iter().rev().flat_map(|line| elements(line).into_iter().rev()).map(|hop| address(hop.node));
        Self {
            ip: walk(ip, hops, trusted),
            scheme: Scheme::parse(newest.proto).unwrap_or(transport),
            host: Host::parse(newest.host).ok(),
        }
    }
}

/// Goes from our peer towards the client, as long as each hop is trusted to name the one before it.
fn walk(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) -> IpAddr {
    let mut caller = peer;
    for hop in hops {
        match hop {
            Some(ip) => caller = ip,
            None => break,
        }
        if !trusted.contains(caller) {
            break;
        }
    }
    caller
}

/// The newest entry of a list field: the one that our peer wrote.
fn last<'h>(lines: &GetAll<'h, HeaderValue>) -> Option<&'h [u8]> {
    let line = lines.iter().next_back()?;
    line.as_bytes().rsplit(is_comma).next().map(<[u8]>::trim_ascii)
}

/// The elements of a `Forwarded` line. A line that cannot be read is one element that says nothing, which ends the walk.
fn elements(line: &HeaderValue) -> Vec<Element<'_>> {
    forwarded::parse(line.as_bytes()).unwrap_or_else(|| vec![Element::default()])
}

const fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// Reads an address, with or without port, IPv6 with or without brackets. Names, `unknown` and obfuscated identifiers
/// (RFC 7239 section 6.3) are no addresses.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let (ip, port) = if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        (IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?), (!after.is_empty()).then_some(after))
    } else if let Ok(ip) = text.parse() {
        (ip, None)
    } else {
        let at = text.find(':')?;
        let (ip, port) = text.split_at_checked(at)?;
        (IpAddr::V4(ip.parse().ok()?), Some(port))
    };
    match port {
        Some(port) if !is_port(port.strip_prefix(':')?) => None,
        Some(_) | None => Some(ip.to_canonical()),
    }
}

/// A port, or the obfuscated one of RFC 7239 section 6.2.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty(),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

/// A network or a single address; what is IPv4 in the form of IPv6 becomes IPv4.
pub fn net(text: &str) -> Option<IpNet> {
    match text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))? {
        IpNet::V6(net) => match (net.addr().to_ipv4_mapped(), net.prefix_len().checked_sub(96)) {
            (Some(ip), Some(prefix)) => Ipv4Net::new(ip, prefix).ok().map(IpNet::V4),
            (Some(_) | None, _) => Some(IpNet::V6(net)),
        },
        net @ IpNet::V4(_) => Some(net),
    }
}

#[cfg(test)]
mod tests;
