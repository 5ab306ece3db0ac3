//! One client connection as the requests on it see it: who is there, and which limits of time it is under.

mod phases;

use std::net::IpAddr;
use std::sync::Arc;

use self::phases::Kind;
pub use self::phases::Phases;
use super::Gate;
use crate::http::client::Scheme;
use crate::http::forwarding::Origin;

/// One client connection, or one stream of a multiplexed one: what a request knows of where it came from.
#[derive(Debug)]
pub struct Client {
    /// The worker that serves it.
    pub gate: Arc<Gate>,
    /// Its address: the TCP peer's.
    pub peer: Option<IpAddr>,
    /// How it speaks to us.
    pub transport: Scheme,
    /// What applications are told of it, unless it is a trusted proxy that speaks for others.
    pub origin: Arc<Origin>,
    /// Whether it is a trusted proxy.
    pub trusted: bool,
    /// Its limits of time.
    pub phases: Phases,
}

impl Client {
    /// The client at `peer`, just connected.
    pub fn new(gate: Arc<Gate>, peer: Option<IpAddr>, transport: Scheme) -> Self {
        let trusted = gate.config.server.trusted_proxies.trusts(peer);
        let address =
            crate::http::Caller::resolve(peer, transport, &http::HeaderMap::new(), &gate.config.server.trusted_proxies)
                .ip;
        let phases = Phases::new(&gate, Kind::Connection);
        Self { origin: Arc::new(Origin::new(address, transport)), gate, peer, transport, trusted, phases }
    }

    /// The same client on a stream of its own (RFC 9113 section 5): what becomes of one stream is no matter of the others.
    #[must_use]
    pub fn stream(&self) -> Self {
        let Self { gate, peer, transport, origin, trusted, phases: _ } = self;
        let phases = Phases::new(gate, Kind::Stream);
        Self {
            gate: gate.clone(),
            peer: *peer,
            transport: *transport,
            origin: origin.clone(),
            trusted: *trusted,
            phases,
        }
    }
}
