//! A worker's connections at rest, by application.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::line::Line;
use crate::clock::{self, Uptime};

/// A worker's connections at rest. Only the worker's own thread comes here, so its locks are never contended.
#[derive(Debug)]
pub struct Pool {
    upstreams: Vec<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    lines: Mutex<Vec<Line>>,
    max_idle: usize,
    keep_alive: Duration,
}

impl Pool {
    /// A pool with room for so many connections, each for so long, by application.
    pub fn new(limits: impl Iterator<Item = (usize, Duration)>) -> Self {
        let shelf = |(max_idle, keep_alive)| Shelf { lines: Mutex::default(), max_idle, keep_alive };
        Self { upstreams: limits.map(shelf).collect() }
    }

    /// The connection that was used last and is still open: the others may then grow old and be closed.
    pub(super) fn take(&self, upstream: usize) -> Option<Line> {
        let shelf = self.upstreams.get(upstream)?;
        loop {
            let mut line = shelf.lines.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if line.is_ready() {
                return Some(line);
            }
        }
    }

    pub(super) fn put(&self, upstream: usize, mut line: Line) {
        let Some(shelf) = self.upstreams.get(upstream) else { return };
        line.resting_since = clock::uptime();
        let mut lines = shelf.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < shelf.max_idle {
            lines.push(line);
        }
    }

    /// Closes the connections that the application has closed, and those that have rested too long.
    pub fn sweep(&self, now: Uptime) {
        for shelf in &self.upstreams {
            // Out of the lock: looking at a connection and closing it are system calls.
            let lines = std::mem::take(&mut *shelf.lines.lock().unwrap_or_else(PoisonError::into_inner));
            let mut kept: Vec<Line> = lines
                .into_iter()
                .filter_map(|mut line| {
                    (now.since(line.resting_since) < shelf.keep_alive && line.is_ready()).then_some(line)
                })
                .collect();
            let mut lines = shelf.lines.lock().unwrap_or_else(PoisonError::into_inner);
            // What came back meanwhile was used last and belongs on top.
            kept.append(&mut lines);
            *lines = kept;
        }
    }

    /// Closes every connection at rest. Connections hold the gate that holds the pool; this opens that circle.
    pub fn close(&self) {
        for shelf in &self.upstreams {
            drop(std::mem::take(&mut *shelf.lines.lock().unwrap_or_else(PoisonError::into_inner)));
        }
    }
}
