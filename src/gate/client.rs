//! One client connection as the requests on it see it: who is there, and which limits of time it is under.

mod phases;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use self::phases::Kind;
pub use self::phases::Phases;
use super::interim::Interim;
use super::tunnel::Lifeline;
use super::{Current, Gate};
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
    pub phases: Arc<Phases>,
    /// What becomes of it besides serving requests.
    pub lifeline: Arc<Lifeline>,
    /// What applications say to it before they have an answer.
    pub interim: Arc<Interim>,
}

impl Client {
    /// The client at `peer`, just connected.
    pub fn new(gate: Arc<Gate>, peer: Option<IpAddr>, transport: Scheme) -> Self {
        let phases = Arc::new(Phases::new(&gate, Kind::Connection));
        Self::with(gate, peer, transport, (phases, Arc::default(), Arc::default()))
    }

    /// The same client under the settings of another gate. Its limits of time go on.
    #[must_use]
    pub fn under(&self, gate: Arc<Gate>) -> Self {
        let standing = (self.phases.clone(), self.lifeline.clone(), self.interim.clone());
        Self::with(gate, self.peer, self.transport, standing)
    }

    fn with(
        gate: Arc<Gate>,
        peer: Option<IpAddr>,
        transport: Scheme,
        (phases, lifeline, interim): (Arc<Phases>, Arc<Lifeline>, Arc<Interim>),
    ) -> Self {
        let trusted = gate.config.server.trusted_proxies.trusts(peer);
        let address =
            crate::http::Caller::resolve(peer, transport, &http::HeaderMap::new(), &gate.config.server.trusted_proxies)
                .ip;
        let origin = Arc::new(Origin::new(address, transport));
        Self { origin, gate, peer, transport, trusted, phases, lifeline, interim }
    }

    /// The same client on a stream of its own (RFC 9113 section 5): what becomes of one stream is no matter of the others.
    #[must_use]
    pub fn stream(&self) -> Self {
        let Self { gate, peer, transport, origin, trusted, phases: _, lifeline: _, interim: _ } = self;
        let phases = Arc::new(Phases::new(gate, Kind::Stream));
        Self {
            gate: gate.clone(),
            peer: *peer,
            transport: *transport,
            origin: origin.clone(),
            trusted: *trusted,
            phases,
            lifeline: Arc::default(),
            interim: Arc::default(),
        }
    }
}

/// The client of a connection, under the settings that are in force when a request begins.
#[derive(Debug)]
pub struct UpToDate {
    first: Arc<Client>,
    /// Since other settings were put in place during the connection.
    renewed: Mutex<Arc<Client>>,
    current: Arc<Current>,
}

impl UpToDate {
    /// A client that has just connected.
    pub fn new(client: Arc<Client>, current: Arc<Current>) -> Self {
        Self { renewed: Mutex::new(client.clone()), first: client, current }
    }

    /// It, for a request that begins now.
    pub fn client(&self) -> Arc<Client> {
        // All requests of most connections.
        if self.is_up_to_date(&self.first) {
            return self.first.clone();
        }
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_up_to_date(&renewed) {
            *renewed = Arc::new(renewed.under(self.current.gate()));
        }
        renewed.clone()
    }

    /// Whether a client is under the settings in force.
    pub fn is_up_to_date(&self, client: &Client) -> bool {
        self.current.is(&client.gate)
    }
}
