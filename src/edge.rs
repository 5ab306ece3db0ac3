//! The public side: worker threads, each with its own listeners, runtime and connections.
//!
//! Every worker has a socket of every entry of `server.listen` ([`listen`]), and a connection stays with its worker for life: no work
//! stealing, no lock between workers. `accept` takes connections, `introduced` lets a proxy say whose they are, [`tls`] goes
//! between the socket and `conn`, which serves one, by `http1` or `http2`; `place` is what that and its requests hold of what there is for all;
//! `redirect` sends clients to https. [`ops`] is the operator's side, on a listener of its own.

mod accept;
mod conn;
mod crowd;
mod http1;
mod http2;
mod introduced;
pub mod listen;
pub mod ops;
mod place;
mod redirect;
mod resting;
pub mod tls;
mod watched;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::accept::{Door, Entry};
pub use self::crowd::Crowd;
use self::tls::Tls;
use crate::clock;
use crate::deadline::TICK;
use crate::gate::Current;
use crate::gate::streams::keep_watch;

/// After how many polls of tasks the runtime asks the kernel for news, when it is not idle anyway. A busy worker has its next
/// hundred polls in hand after each asking; asking in between costs a system call and brings little.
const EVENT_INTERVAL: u32 = 256;

/// How long a stopping worker waits for one more request on connections that have none in flight. A client that has just
/// connected, or uses its connection all the time, has sent one already or is about to: were the connection closed at
/// once, the request would be lost on its way. Its answer says that it was the last.
const GRACE: Duration = Duration::from_secs(1);

/// One worker: what it serves, where it listens, and until when.
#[derive(Debug)]
pub struct Worker {
    /// What it needs to serve requests.
    pub gate: Arc<Current>,
    /// Its own sockets, one for each address.
    pub listeners: Vec<listen::Listener>,
    /// With what its clients speak TLS; `None` is plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Its own sockets on which clients are sent to https.
    pub redirects: Vec<listen::Listener>,
    /// Who has how many connections and requests, over all workers; `None` does not count.
    pub crowd: Option<Arc<Crowd>>,
    /// The most connections that it has open at a time, and requests beside the first on those of HTTP/2.
    pub max_connections: usize,
    /// Turns true when it shall stop.
    pub stop: watch::Receiver<bool>,
}

impl Worker {
    /// Serves until it is stopped and drained. Blocks its thread.
    ///
    /// # Errors
    /// When the runtime cannot be built or a socket cannot be registered with it.
    pub fn run(self) -> io::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
        let gate = self.gate.clone();
        let result = runtime.block_on(self.serve());
        // Dropping the runtime drops what is left of its connections, which put their last lines into the log.
        drop(runtime);
        if let Some(access) = &gate.gate().access {
            access.flush();
        }
        result
    }

    async fn serve(self) -> io::Result<()> {
        let Self { gate, listeners, tls, redirects, crowd, max_connections, stop } = self;
        // The first connections may come before the first tick does, and their limits are set by its time.
        gate.gate().deadlines.tick(clock::uptime());
        let ticking = tokio::spawn(tick(gate.clone()));
        let watching = tokio::spawn(keep_watch(gate.clone()));
        let room = Arc::new(Semaphore::new(max_connections));
        let mut accepting = Vec::new();
        let served = listeners.into_iter().map(|listener| (listener, tls.clone().map_or(Entry::Plain, Entry::Tls)));
        for (listener, entry) in served.chain(redirects.into_iter().map(|listener| (listener, Entry::Redirect))) {
            let source = accept::Source::new(listener)?;
            let door = Arc::new(Door { entry, current: gate.clone(), crowd: crowd.clone() });
            accepting.push(tokio::spawn(accept::until(source, door, room.clone(), stop.clone())));
        }
        // The listeners close first: a new connection then goes to another gateway, if there is one.
        for task in accepting {
            // It neither panics nor is aborted; a runtime that is going down ends here too.
            let _ = task.await;
        }
        let gate = gate.gate();
        gate.deadlines.drain();
        let drain = gate.config.server.drain;
        let grace = GRACE.min(drain / 2);
        let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
        if timeout(grace, room.acquire_many(all)).await.is_err() {
            gate.deadlines.close_idle();
            if timeout(drain - grace, room.acquire_many(all)).await.is_err() {
                tracing::warn!(
                    connections = gate.metrics.open_connections.get(),
                    "the drain time is over: closing connections with requests in flight"
                );
            }
        }
        ticking.abort();
        watching.abort();
        Ok(())
    }
}

/// Keeps the worker's limits of time, closes connections to applications that are of no more use, and hands over what
/// the access log has gathered.
async fn tick(current: Arc<Current>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u64.. {
        ticks.tick().await;
        clock::synchronise();
        let gate = current.gate();
        let now = clock::uptime();
        gate.deadlines.tick(now);
        if count.is_multiple_of(10) {
            gate.pool.sweep(now);
        }
        if let Some(access) = &gate.access
            && count.is_multiple_of(3)
        {
            access.flush();
        }
    }
}
