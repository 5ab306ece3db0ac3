//! The sockets of a gateway that is about to start.

use super::StartError;
use crate::config::{Config, Listen};
use crate::edge::listen::{self, Address, Listener, Passed, SocketFile};

/// What a gateway listens on.
pub(super) struct Listening {
    /// For each worker its own socket of every place …
    pub(super) sockets: Vec<Vec<Listener>>,
    /// … and these are the places.
    pub(super) addresses: Vec<Address>,
    /// The same for those that send clients to https.
    pub(super) redirects: Vec<Vec<Listener>>,
    pub(super) redirect_addresses: Vec<Address>,
    /// The operator's.
    pub(super) ops: Option<(Listener, Address)>,
    /// What is to be removed at the end.
    pub(super) files: Vec<SocketFile>,
}

impl Listening {
    /// Listens everywhere.
    ///
    /// # Errors
    /// The first place that cannot be listened on.
    pub(super) fn open(config: &Config, workers: usize) -> Result<Self, StartError> {
        let server = &config.server;
        let all = server.listen.iter().chain(&server.redirect_listen).chain(&server.ops_listen);
        let mut opener = Opener { mode: server.unix_mode, passed: passed(all)?, files: Vec::new() };
        let (sockets, addresses) = opener.spread("server.listen", &server.listen, workers)?;
        let (redirects, redirect_addresses) =
            opener.spread("server.redirect_listen", &server.redirect_listen, workers)?;
        let mut ops = None;
        if let Some(place) = &server.ops_listen {
            // One task serves it: of several sockets under one name the last.
            for bound in opener.open("server.ops_listen", place, 1)? {
                ops = bound.0.into_iter().next().map(|listener| (listener, bound.1));
            }
        }
        Ok(Self { sockets, addresses, redirects, redirect_addresses, ops, files: opener.files })
    }
}

/// What the service manager passed, if anything of it is wanted.
fn passed<'a>(mut places: impl Iterator<Item = &'a Listen>) -> Result<Passed, StartError> {
    match places.find(|place| matches!(place, Listen::Passed(_))) {
        Some(place) => Passed::take_over().map_err(|source| StartError::Listen {
            key: "server.listen",
            address: place.clone(),
            source,
        }),
        None => Ok(Passed::none()),
    }
}

struct Opener {
    mode: u32,
    passed: Passed,
    files: Vec<SocketFile>,
}

impl Opener {
    fn open(
        &mut self,
        key: &'static str,
        place: &Listen,
        workers: usize,
    ) -> Result<Vec<(Vec<Listener>, Address)>, StartError> {
        let bound = listen::open(place, workers, self.mode, &mut self.passed);
        let bound = bound.map_err(|source| StartError::Listen { key, address: place.clone(), source })?;
        let mut opened = Vec::with_capacity(bound.len());
        for bound in bound {
            self.files.extend(bound.file);
            opened.push((bound.listeners, bound.address));
        }
        Ok(opened)
    }

    /// For each worker its own socket of every place.
    fn spread(
        &mut self,
        key: &'static str,
        places: &[Listen],
        workers: usize,
    ) -> Result<(Vec<Vec<Listener>>, Vec<Address>), StartError> {
        let mut sockets: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for place in places {
            for (listeners, address) in self.open(key, place, workers)? {
                addresses.push(address);
                for (own, socket) in sockets.iter_mut().zip(listeners) {
                    own.push(socket);
                }
            }
        }
        Ok((sockets, addresses))
    }
}
