//! `[store] notify` and `poll_interval`: how a gateway hears of what others change in its store.

use std::time::Duration;

use super::reader::Table;

/// By which way the changes of others are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// The database tells.
    Listen,
    /// The store is asked every so often.
    Poll,
    /// Not at all.
    Off,
}

/// How the changes of others are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// By which way.
    pub notify: Notify,
    /// How often the store is asked, where it does not tell.
    pub poll_interval: Duration,
}

pub(super) fn read(table: &mut Table) -> Hearing {
    let choices = [("listen", Notify::Listen), ("poll", Notify::Poll), ("off", Notify::Off)];
    Hearing {
        notify: table.choice("notify", Notify::Listen, &choices),
        poll_interval: table.limit("poll_interval", Duration::from_secs(1)),
    }
}
