//! A worker's connections at rest, by application.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::connection::Connection;
use crate::clock::Uptime;

/// A worker's connections at rest. Only the worker's own thread comes here, so its locks are never contended.
#[derive(Debug)]
pub struct Pool {
    upstreams: Vec<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    #[expect(clippy::vec_box, reason = "a connection is large and moves with every request; its box does not")]
    connections: Mutex<Vec<Box<Connection>>>,
    max_idle: usize,
    keep_alive: Duration,
}

impl Pool {
    /// A pool with room for so many connections, each for so long, by application.
    pub fn new(limits: impl Iterator<Item = (usize, Duration)>) -> Self {
        let shelf = |(max_idle, keep_alive)| Shelf { connections: Mutex::default(), max_idle, keep_alive };
        Self { upstreams: limits.map(shelf).collect() }
    }

    /// The connection that was used last and is still open: the others may then grow old and be closed.
    pub(super) fn take(&self, upstream: usize, now: Uptime) -> Option<Box<Connection>> {
        let shelf = self.upstreams.get(upstream)?;
        loop {
            let mut connection = shelf.connections.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.is_open(now) {
                return Some(connection);
            }
        }
    }

    /// Takes a connection back, when it can serve another request.
    pub(in crate::gate) fn put(&self, mut connection: Box<Connection>, now: Uptime) {
        let Some(shelf) = self.upstreams.get(connection.upstream).filter(|_| connection.is_reusable()) else { return };
        connection.resting_since = now;
        let mut connections = shelf.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() < shelf.max_idle {
            connections.push(connection);
        }
    }

    /// Closes the connections that the application has closed, and those that have rested too long.
    pub fn sweep(&self, now: Uptime) {
        for shelf in &self.upstreams {
            // Out of the lock: looking at a connection and closing it are system calls.
            let connections = std::mem::take(&mut *shelf.connections.lock().unwrap_or_else(PoisonError::into_inner));
            let mut kept: Vec<_> = connections
                .into_iter()
                .filter_map(|mut connection| {
                    let young = now.since(connection.resting_since) < shelf.keep_alive;
                    (young && connection.is_open(now)).then_some(connection)
                })
                .collect();
            let mut connections = shelf.connections.lock().unwrap_or_else(PoisonError::into_inner);
            // What came back meanwhile was used last and belongs on top.
            kept.append(&mut connections);
            *connections = kept;
        }
    }
}
