//! Where the name of an address leads: looked up on the side, and remembered.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// The least time between two look-ups of a name whose addresses cannot be connected to.
const LEAST: Duration = Duration::from_secs(1);

/// One name and what is known of it.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    /// How often it is looked up; `None` is for every connection, or never for what is no name.
    pub(super) refresh: Option<Duration>,
    fixed: bool,
    known: Mutex<Arc<[SocketAddr]>>,
    /// While nothing is known one request asks, and the others wait for its answer: each question takes a thread.
    asking: tokio::sync::Mutex<()>,
    doubted: Notify,
}

impl Names {
    /// A name, or an address that looks up to itself.
    pub(super) fn new(host: String, port: u16, refresh: Option<Duration>) -> Self {
        let fixed = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, port)));
        Self {
            host,
            port,
            refresh: refresh.filter(|_| fixed.is_none()),
            fixed: fixed.is_some(),
            known: Mutex::new(fixed.into_iter().collect()),
            asking: tokio::sync::Mutex::default(),
            doubted: Notify::new(),
        }
    }

    /// Where it leads, best first; from memory, where that is allowed and there is something.
    ///
    /// Cancel safety: may be dropped while it waits; another request that waits asks then.
    ///
    /// # Errors
    /// Those of the system's resolver.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(known) = self.remembered() {
            return Ok(known);
        }
        // Without a memory everybody's question is his own.
        let _turn = if self.refresh.is_some() { Some(self.asking.lock().await) } else { None };
        if let Some(known) = self.remembered() {
            return Ok(known);
        }
        self.look_up().await?;
        let known = self.known();
        if known.is_empty() {
            Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        } else {
            Ok(known)
        }
    }

    /// Where it leads, if that need not be asked.
    fn remembered(&self) -> Option<Arc<[SocketAddr]>> {
        Some(self.known()).filter(|known| !known.is_empty() && (self.fixed || self.refresh.is_some()))
    }

    /// Whether a connection to `peer` leads to where the name leads.
    pub(super) fn leads_to(&self, peer: SocketAddr) -> bool {
        let known = self.known();
        known.is_empty() || known.contains(&peer)
    }

    /// One of its addresses could not be connected to: the others come before it from now on.
    pub(super) fn demote(&self, failed: SocketAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 1 && known.contains(&failed) {
            let others = known.iter().copied().filter(|address| *address != failed);
            *known = others.chain([failed]).collect();
        }
    }

    /// None of them could be connected to: the name may have moved.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Looks it up again and again. Must be dropped to end.
    pub(super) async fn follow(&self, upstream: &str) {
        let Some(refresh) = self.refresh else { return };
        loop {
            // One that fails changes nothing: the last good answer stays.
            if let Err(error) = self.look_up().await {
                tracing::warn!(upstream, name = self.host, %error, "the application's name cannot be looked up");
            }
            let pause = LEAST.min(refresh);
            sleep(pause).await;
            let _ = timeout(refresh.saturating_sub(pause), self.doubted.notified()).await;
        }
    }

    async fn look_up(&self) -> io::Result<()> {
        let found: Vec<SocketAddr> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        self.learn(&found);
        Ok(())
    }

    /// An empty answer is none. The order that connecting has found to be good is kept, as long as the addresses are.
    fn learn(&self, found: &[SocketAddr]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = known.len() == found.len() && found.iter().all(|address| known.contains(address));
        if !found.is_empty() && !is_same {
            *known = found.into();
        }
    }

    fn known(&self) -> Arc<[SocketAddr]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn an_address_that_failed_comes_last_until_the_name_moves() {
        let names = Names::new("app.test".to_owned(), 80, Some(Duration::from_secs(30)));
        assert!(names.leads_to(place(1)), "nothing is known yet");
        names.learn(&[place(1), place(2), place(3)]);
        names.demote(place(1));
        assert_eq!(*names.known(), [place(2), place(3), place(1)]);
        names.learn(&[place(3), place(2), place(1)]);
        assert_eq!(*names.known(), [place(2), place(3), place(1)], "the same addresses in another order");
        names.learn(&[]);
        assert_eq!(names.known().len(), 3, "an empty answer is none");
        names.learn(&[place(1), place(4)]);
        assert_eq!(*names.known(), [place(1), place(4)]);
        assert!(names.leads_to(place(4)) && !names.leads_to(place(2)));
    }

    #[test]
    fn an_address_is_never_looked_up() {
        let names = Names::new("::1".to_owned(), 80, Some(Duration::from_secs(30)));
        assert_eq!((names.refresh, names.known().len()), (None, 1));
    }
}
