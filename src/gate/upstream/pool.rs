//! A worker's connections, by application and address.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;
use super::limit::Room;
use super::shared::Links;
use super::standing::{Application, Upstreams};
use crate::clock::Uptime;
use crate::metrics::{AddressMetrics, LocalGauge};

/// A worker's connections at rest. The worker's own thread alone comes here, but for [`Pool::close`], so its locks are
/// not contended.
#[derive(Debug)]
pub struct Pool {
    groups: Vec<Group>,
    /// Whether another pool has taken its place, so that nothing rests here any more.
    closed: AtomicBool,
}

/// Those to one application.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) application: Arc<Application>,
    worker: usize,
    shelves: Vec<Shelf>,
    /// Those that carry many requests at a time, by address.
    links: Vec<Links>,
    /// Whose turn it is among addresses that are equally busy.
    turn: AtomicUsize,
}

/// Those to one address. A connection is large and moves with every request; its box does not.
type Shelf = Mutex<Vec<Box<Connection>>>;

impl Pool {
    /// The pool of the worker with this number.
    pub fn new(upstreams: &Upstreams, worker: usize) -> Self {
        let group = |application: &Arc<Application>| Group {
            application: application.clone(),
            worker,
            shelves: application.standings.iter().map(|_| Shelf::default()).collect(),
            links: application.standings.iter().map(|_| Links::default()).collect(),
            turn: AtomicUsize::new(0),
        };
        Self { groups: upstreams.all.iter().map(group).collect(), closed: AtomicBool::new(false) }
    }

    /// The connections to an application.
    pub(super) fn group(&self, upstream: usize) -> Option<&Group> {
        self.groups.get(upstream)
    }

    /// Closes what rests here, and from now on whatever comes back: another pool has taken its place.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.groups.iter().flat_map(|group| &group.links).for_each(Links::close);
        for shelf in self.groups.iter().flat_map(|group| &group.shelves) {
            // Out of the lock: closing is a system call.
            let connections = std::mem::take(&mut *shelf.lock().unwrap_or_else(PoisonError::into_inner));
            drop(connections);
        }
    }

    /// Takes a connection back, when it can serve another request.
    pub(in crate::gate) fn put(&self, mut connection: Box<Connection>, now: Uptime) {
        let Some(group) = self.groups.get(connection.upstream).filter(|_| connection.is_reusable()) else { return };
        let Some(shelf) = group.shelves.get(connection.address) else { return };
        connection.rest(now);
        let mut connections = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: whoever closes the pool empties the shelf under it afterwards.
        if !self.closed.load(Ordering::Acquire) && connections.len() < group.application.settings.max_idle {
            connections.push(connection);
        }
    }

    /// Closes the connections that the application has closed, those that have rested too long, and those to where its name
    /// leads no more.
    pub fn sweep(&self, now: Uptime) {
        for group in &self.groups {
            let keep_alive = group.application.settings.keep_alive;
            for ((shelf, links), standing) in group.shelves.iter().zip(&group.links).zip(&group.application.standings) {
                let names = standing.names.as_ref().filter(|names| names.refresh.is_some());
                let leads_to = |peer| names.is_none_or(|names| names.leads_to(peer));
                links.sweep(now, keep_alive, leads_to);
                // Out of the lock: looking at a connection and closing it are system calls.
                let connections = std::mem::take(&mut *shelf.lock().unwrap_or_else(PoisonError::into_inner));
                let mut kept: Vec<_> = connections
                    .into_iter()
                    .filter_map(|mut connection| {
                        let young =
                            now.since(connection.resting_since) < keep_alive && connection.peer.is_none_or(leads_to);
                        (young && connection.is_open(now)).then_some(connection)
                    })
                    .collect();
                let mut connections = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                // What came back meanwhile was used last and belongs on top.
                kept.append(&mut connections);
                *connections = kept;
            }
        }
    }
}

impl Group {
    /// The connection to an address that was used last and is still open: the others may then grow old and be closed.
    pub(super) fn take(&self, address: usize, now: Uptime) -> Option<Box<Connection>> {
        let shelf = self.shelves.get(address)?;
        loop {
            let mut connection = shelf.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.is_open(now) {
                return Some(connection);
            }
        }
    }

    /// The connections to an address that carry many requests at a time.
    pub(super) fn links(&self, address: usize) -> Option<&Links> {
        self.links.get(address)
    }

    /// A use of an address, which begins now.
    pub(super) fn use_of(&self, address: usize) -> Option<Use> {
        let metrics = self.application.standings.get(address)?.metrics.clone();
        let mut used = Use { metrics, worker: self.worker, busy: false, room: None };
        used.begin(None);
        Some(used)
    }

    /// How many requests of this worker are on their way at an address.
    pub(super) fn in_flight(&self, address: usize) -> u64 {
        let standing = self.application.standings.get(address);
        standing.and_then(|standing| standing.metrics.in_flight.get(self.worker)).map_or(0, LocalGauge::get)
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    /// Whose turn it is next.
    pub(super) fn next_turn(&self, address: usize) {
        self.turn.store(address, Ordering::Relaxed);
    }
}

/// The part of a connection that counts: while a request is on its way it holds its place, and gives it back come what may.
#[derive(Debug)]
pub(in crate::gate) struct Use {
    metrics: Arc<AddressMetrics>,
    worker: usize,
    busy: bool,
    room: Option<Room>,
}

impl Use {
    /// A request is on its way.
    pub(super) fn begin(&mut self, room: Option<Room>) {
        if room.is_some() {
            self.room = room;
        }
        if !std::mem::replace(&mut self.busy, true)
            && let Some(gauge) = self.metrics.in_flight.get(self.worker)
        {
            gauge.increment();
        }
    }

    /// It is over. The place is handed back.
    pub(super) fn end(&mut self) -> Option<Room> {
        if std::mem::replace(&mut self.busy, false)
            && let Some(gauge) = self.metrics.in_flight.get(self.worker)
        {
            gauge.decrement();
        }
        self.room.take()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        drop(self.end());
    }
}
