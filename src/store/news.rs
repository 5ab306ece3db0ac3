//! What others change in the store, and how this process hears of it.

use std::time::Duration;

use super::StoreError;
use super::postgres::{Listener, Poller};
use super::sqlite::Watcher;
use crate::clock::Timestamp;
use crate::session::SessionId;

/// How changes made by others reach this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// The database tells, over a connection of its own.
    Listen,
    /// The store is asked every so often.
    Poll,
    /// Not at all: what is cached is trusted for its time.
    Off,
}

/// What somebody changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These sessions.
    Sessions(Vec<SessionId>),
    /// Nobody knows what. Any session may be another than it was.
    Anything,
}

/// A [`News`] and what is known about its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What was changed.
    pub news: News,
    /// Whether this process made the change itself.
    pub own: bool,
    /// When it was made, by the store's clock, where that is told.
    pub at: Option<Timestamp>,
}

/// An ear at the store. It hears nothing before [`Ear::attach`], and nothing any more after an error of either call, until
/// it is attached again.
#[derive(Debug)]
pub struct Ear(pub(super) Way);

#[derive(Debug)]
pub(super) enum Way {
    /// Notifications of PostgreSQL.
    Listen(Box<Listener>),
    /// The audit log in PostgreSQL.
    Poll(Poller),
    /// Other processes' commits to an SQLite file.
    Watch(Watcher),
}

impl Ear {
    /// Puts it in place. Every change that is committed after this returned is heard; what was committed before may not be.
    ///
    /// # Errors
    /// When the store cannot be reached, or does not tell what it should.
    pub async fn attach(&mut self) -> Result<(), StoreError> {
        match &mut self.0 {
            Way::Listen(listener) => listener.attach().await,
            Way::Poll(poller) => poller.attach().await,
            Way::Watch(watcher) => watcher.attach().await,
        }
    }

    /// Waits for the next change.
    ///
    /// Cancel safe: what was not answered yet is by the next call.
    ///
    /// # Errors
    /// When it can hear nothing any more.
    pub async fn next(&mut self) -> Result<Notice, StoreError> {
        match &mut self.0 {
            Way::Listen(listener) => listener.next().await,
            Way::Poll(poller) => poller.next().await,
            Way::Watch(watcher) => watcher.next().await,
        }
    }
}

/// How an [`Ear`] listens.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// By which way.
    pub notify: Notify,
    /// How often the store is asked where it does not tell.
    pub poll_interval: Duration,
}
