//! The requests of a connection: which stream each of them gets, its place, and what is left behind of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::respond;
use crate::edge::place::{Full, Place, Places};
use crate::gate::client::{Client, UpToDate};
use crate::gate::{Current, Medium};

/// The most streams that a connection keeps for requests to come. Each has two limits of time, which are looked over.
const MOST_SPARE: usize = 8;
/// The most requests of a connection at a time that are told why there is no place for them. A client that takes no bodies lets
/// them pile up: others get the status alone, which waits for nothing.
const MOST_TOLD: usize = 16;

/// The requests of a connection.
#[derive(Debug)]
pub(super) struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Arc<Client>,
    latest: UpToDate,
    open: AtomicUsize,
    places: Places,
    /// Whether one of the open ones has the place of the connection.
    has_first: AtomicBool,
    /// How many of the open ones are being told that there is no place for them.
    refused: AtomicUsize,
    /// Streams that are over, for requests to come.
    spare: Mutex<Vec<Arc<Client>>>,
    most_spare: usize,
}

/// What a request holds while it is answered.
#[derive(Debug)]
enum Held {
    /// The place of the connection.
    First,
    /// One of its own, which is given back with this.
    Further { _place: Place },
    /// None: it is refused.
    Nothing,
}

/// A request for which there is no place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) full: Full,
    /// Whether it is told why.
    pub(super) told: bool,
}

impl Streams {
    pub(super) fn of(connection: Arc<Client>, current: Arc<Current>, most: u32, places: Places) -> Self {
        Self(Arc::new(Shared {
            latest: UpToDate::new(connection.clone(), current),
            connection,
            open: AtomicUsize::new(0),
            places,
            has_first: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            spare: Mutex::default(),
            most_spare: usize::try_from(most).unwrap_or(usize::MAX).min(MOST_SPARE),
        }))
    }

    /// Serves a request that has just been read, in a task of its own.
    pub(super) fn serve(&self, request: Request<RecvStream>, reply: SendResponse<Bytes>) {
        let Shared { connection, latest, open, spare, .. } = &*self.0;
        let used_before = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = used_before
            .filter(|client| latest.is_up_to_date(client))
            .unwrap_or_else(|| Arc::new(latest.client().stream()));
        client.interim.begin(Medium::Http2);
        let (held, refusal) = self.seat(client.gate.deadlines.is_draining());
        if open.fetch_add(1, Ordering::Relaxed) == 0 {
            connection.phases.streams_began();
        }
        let running = Running { shared: self.0.clone(), client, held };
        tokio::spawn(respond::serve(running, request, refusal, reply));
    }

    fn seat(&self, draining: bool) -> (Held, Option<Refusal>) {
        let Shared { places, has_first, refused, .. } = &*self.0;
        if !has_first.swap(true, Ordering::Relaxed) {
            return (Held::First, None);
        }
        match places.take(draining) {
            Ok(place) => (Held::Further { _place: place }, None),
            Err(full) => {
                let before = refused.fetch_add(1, Ordering::Relaxed);
                (Held::Nothing, Some(Refusal { full, told: before < MOST_TOLD }))
            }
        }
    }
}

/// A request that is being answered; counted out however that ends.
#[derive(Debug)]
pub(super) struct Running {
    shared: Arc<Shared>,
    client: Arc<Client>,
    held: Held,
}

impl Running {
    /// The client, on the request's stream.
    pub(super) const fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Ready when a limit of time or the end of its session ends the request. Letting go of it then resets its stream.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.client.phases.poll_connection_limit(cx).is_ready() {
            self.client.gate.metrics.timed_out.increment();
            return Poll::Ready(());
        }
        if self.client.lifeline.is_severed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Shared { connection, open, has_first, refused, spare, most_spare, .. } = &*self.shared;
        match self.held {
            Held::First => has_first.store(false, Ordering::Relaxed),
            Held::Further { .. } => {}
            Held::Nothing => {
                refused.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if open.fetch_sub(1, Ordering::Relaxed) == 1 {
            connection.phases.streams_ended();
        }
        // Whatever still holds it (an upload that goes on after the answer) may arm its limits.
        if Arc::strong_count(&self.client) == 1 {
            let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < *most_spare {
                self.client.lifeline.mend();
                spare.push(self.client.clone());
            }
        }
    }
}
