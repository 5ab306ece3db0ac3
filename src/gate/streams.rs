//! What goes on after its request was checked: WebSockets, and responses that are not over at once. Each is looked at again and
//! again, and cut when its session may not be used any more.
//!
//! A response comes here when its body has to be waited for, or is long; most responses never do. A round over all streams
//! of a worker asks the cache, as a request would, and the policy. A session that is not in the cache is loaded beside the
//! rounds, by its id: the token that opened the stream may have been rotated away since, and asking for it would be using it.
//!
//! # Race: a look against a revocation
//! A revocation takes the session out of the cache before it returns, here and on every gateway that hears of it. The next
//! round finds nothing and asks the store. While the store cannot be asked a stream goes on as long as a cached session
//! would be served, but only if nothing was said about its session since it was found good.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;
use super::{Current, Gate};
use crate::clock::Moment;
use crate::error::Code;
use crate::metrics::Cut;
use crate::policy::{self, Refusal};
use crate::session::Session;

/// From one round to the next. A change is acted on within a second: it is heard of, a round finds it, the store is asked.
const ROUND: Duration = Duration::from_millis(300);
/// The most sessions that the store is asked for at a time by one worker's rounds. After the cache was emptied, all are.
const MOST_ASKED: usize = 64;

/// The streams of one worker. Only its own thread comes here, so its locks are never contended.
#[derive(Debug, Default)]
pub struct Streams {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    used: Vec<Option<Arc<Stream>>>,
    free: Vec<usize>,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A WebSocket. What the client sends is use of its session.
    Tunnel,
    /// A response whose length is known: somebody waits for all of it, so taking it is use of its session.
    Download,
    /// A response that may go on for ever, without anybody there.
    Open,
    /// An event stream, which goes on for ever: a gateway that stops need not wait for its end.
    Events,
}

#[derive(Debug)]
struct Stream {
    kind: Kind,
    client: Arc<Client>,
    client_ip: IpAddr,
    /// The session as it was when the request was let pass; `None` when no session's end ends this.
    opened: Option<Arc<Session>>,
    uses: AtomicU64,
    judged: Mutex<Judged>,
    /// Zero, or the place of a [`Cut`] in its list, counted from one.
    cut: AtomicU8,
    /// Whether it is over, and what becomes of its connection no matter of its session's.
    gone: AtomicBool,
    owner: AtomicWaker,
}

/// What the last look found.
#[derive(Debug, Default)]
struct Judged {
    /// The session as it was good last, and where the record of forgotten ones stood before that.
    good: Option<(Arc<Session>, u64)>,
    uses: u64,
    asking: bool,
}

/// A stream's place among those that are watched. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Arc<Stream>,
    place: usize,
}

/// Watches a stream of `client`, whose request came from `client_ip`, let pass with `session`.
pub(super) fn watch(kind: Kind, client: &Arc<Client>, client_ip: IpAddr, session: Option<&Arc<Session>>) -> Watched {
    let streams = &client.gate.streams;
    let sessions = &client.gate.sessions;
    // The request may have begun long ago. What was forgotten since is not good any more, whoever can be asked.
    let forgotten = sessions.forgotten_so_far();
    let still_known =
        |session: &Arc<Session>| matches!(sessions.recall_again(session, sessions.now().uptime), Some((Ok(_), _)));
    let judged = Judged {
        good: session.filter(|session| still_known(session)).map(|session| (session.clone(), forgotten)),
        ..Judged::default()
    };
    let stream = Arc::new(Stream {
        kind,
        client: client.clone(),
        client_ip,
        opened: session.cloned(),
        uses: AtomicU64::new(0),
        judged: Mutex::new(judged),
        cut: AtomicU8::new(0),
        gone: AtomicBool::new(false),
        owner: AtomicWaker::new(),
    });
    let mut slots = streams.slots.lock().unwrap_or_else(PoisonError::into_inner);
    let place = slots.free.pop().unwrap_or_else(|| {
        slots.used.push(None);
        slots.used.len() - 1
    });
    if let Some(slot) = slots.used.get_mut(place) {
        *slot = Some(stream.clone());
    }
    drop(slots);
    Watched { stream, place }
}

impl Watched {
    /// Ready when the stream is to be cut; until then the caller is woken when it is.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.stream.owner.register(cx.waker());
        self.why().map_or(Poll::Pending, Poll::Ready)
    }

    /// Why the stream is cut, if it is.
    pub(super) fn why(&self) -> Option<Cut> {
        let number = usize::from(self.stream.cut.load(Ordering::Relaxed));
        number.checked_sub(1).and_then(|place| Cut::ALL.get(place)).copied()
    }

    /// Bytes went by: those of a client on a WebSocket, those of a response.
    pub(super) fn moved(&self) {
        if matches!(self.stream.kind, Kind::Tunnel | Kind::Download) {
            self.stream.uses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A verdict that comes later is not about what the connection carries next.
        self.stream.gone.store(true, Ordering::Relaxed);
        let mut slots = self.stream.client.gate.streams.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = slots.used.get_mut(self.place).and_then(Option::take);
        slots.free.push(self.place);
        drop(slots);
        drop(gone);
    }
}

/// Looks over the worker's streams for as long as it runs.
pub async fn keep_watch(current: Arc<Current>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = VecDeque::new();
    let mut asked = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                let gate = current.gate();
                gate.streams.look_over(&gate, &mut waiting);
            }
            Some(()) = asked.next(), if !asked.is_empty() => {}
        }
        while asked.len() < MOST_ASKED
            && let Some(Doubt { stream, anew }) = waiting.pop_front()
        {
            let gate = current.gate();
            asked.push(async move { stream.ask(&gate, anew).await });
        }
    }
}

/// A stream about whose session the store must be asked: `anew` whatever the cache says.
#[derive(Debug)]
struct Doubt {
    stream: Arc<Stream>,
    anew: bool,
}

impl Streams {
    fn look_over(&self, gate: &Gate, waiting: &mut VecDeque<Doubt>) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.used.len() == slots.free.len() {
            return;
        }
        let (now, forgotten) = (gate.sessions.now(), gate.sessions.forgotten_so_far());
        let draining = gate.deadlines.is_draining();
        for stream in slots.used.iter().flatten() {
            if draining && stream.kind == Kind::Events {
                stream.cut(Cut::Drain);
            } else if let Some(anew) = stream.look(gate, now, forgotten) {
                waiting.push_back(Doubt { stream: stream.clone(), anew });
            }
        }
    }
}

impl Stream {
    /// What the cache says. `Some` when the store must be asked.
    fn look(&self, gate: &Gate, now: Moment, forgotten: u64) -> Option<bool> {
        let opened = self.opened.as_ref()?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.asking || self.cut.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let doubt = match gate.sessions.recall_again(opened, now.uptime) {
            Some((Ok(session), _)) => match self.judge(gate, opened, session, &mut judged, (now, forgotten)) {
                Ok(()) => return None,
                // Another instance may have served the session meanwhile. The store knows.
                Err(Refusal::Idle | Refusal::Lapsed(_)) => true,
                Err(refusal) => {
                    self.cut(reason(refusal));
                    return None;
                }
            },
            Some((Err(_), _)) | None => false,
        };
        judged.asking = true;
        Some(doubt)
    }

    /// What the store says.
    async fn ask(&self, gate: &Gate, anew: bool) {
        let Some(opened) = &self.opened else { return };
        let forgotten = gate.sessions.forgotten_so_far();
        let found = gate.sessions.load_again(opened, anew, gate.sessions.now().uptime).await;
        let now = gate.sessions.now();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.asking = false;
        match found {
            Ok(session) => {
                if let Err(refusal) = self.judge(gate, opened, session, &mut judged, (now, forgotten)) {
                    self.cut(reason(refusal));
                }
            }
            Err(problem) if problem.code == Code::UnknownToken => self.cut(Cut::Unknown),
            Err(_) => {
                let known = judged.good.as_ref();
                let over = known.and_then(|(session, _)| {
                    policy::check_again(opened, session.clone(), self.client_ip, &gate.sessions.rules(), now.wall).err()
                });
                // What others may have seen of its use is not known here; its end by time or by the rules is.
                if let Some(refusal) = over.filter(|refusal| !matches!(refusal, Refusal::Idle | Refusal::Lapsed(_))) {
                    self.cut(reason(refusal));
                } else if !known
                    .is_some_and(|(session, then)| gate.sessions.goes_on_unasked(session, *then, now.uptime))
                {
                    self.cut(Cut::StoreUnavailable);
                }
            }
        }
    }

    fn judge(
        &self,
        gate: &Gate,
        opened: &Session,
        session: Arc<Session>,
        judged: &mut Judged,
        (now, forgotten): (Moment, u64),
    ) -> Result<(), Refusal> {
        policy::check_again(opened, session.clone(), self.client_ip, &gate.sessions.rules(), now.wall)?;
        // What the application was told of the caller is not so any more.
        if session.identity != opened.identity {
            self.cut(Cut::Changed);
            return Ok(());
        }
        let uses = self.uses.load(Ordering::Relaxed);
        if uses != judged.uses {
            judged.uses = uses;
            gate.sessions.touch(&session, self.client_ip, now.wall);
        }
        judged.good = Some((session, forgotten));
        Ok(())
    }

    fn cut(&self, why: Cut) {
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        if let Some(opened) = &self.opened {
            tracing::debug!(session = %opened.id, why = why.name(), kind = ?self.kind, "cutting a stream");
        }
        // There are a dozen of them.
        self.cut.store(u8::try_from(why as usize + 1).unwrap_or(u8::MAX), Ordering::Relaxed);
        self.owner.wake();
        if self.kind != Kind::Tunnel {
            self.client.lifeline.sever(&self.client);
        }
    }
}

/// Why a stream is cut for which a request would be refused.
const fn reason(refusal: Refusal) -> Cut {
    use crate::session::EndReason;

    match refusal {
        Refusal::Ended(EndReason::Unused) | Refusal::Idle => Cut::Idle,
        Refusal::Ended(EndReason::Evicted) => Cut::Evicted,
        Refusal::Ended(EndReason::UserDisabled) | Refusal::UserDisabled => Cut::UserDisabled,
        Refusal::Ended(
            EndReason::LoggedOut
            | EndReason::LoggedOutElsewhere
            | EndReason::Revoked
            | EndReason::Replaced
            | EndReason::PasswordChanged
            | EndReason::EndedByAdmin
            | EndReason::TokenReused,
        ) => Cut::Revoked,
        Refusal::Suspended(_) | Refusal::SuspendForUserAgent => Cut::Suspended,
        Refusal::Expired(_) | Refusal::Lapsed(_) => Cut::Expired,
        Refusal::UserAgentChanged | Refusal::IpChanged | Refusal::Unbound => Cut::Changed,
    }
}
