//! One connection to an application, driven by the request that uses it.
//!
//! hyper's connection is a future that must be polled for anything to move. Instead of giving it a task, whoever waits for
//! a response or a body polls it. Both hyper's connection and the channels inside it wake the waker they were polled
//! with; that is always the connection's own [`Damper`], which passes a wake on only when it comes from outside. A wake from
//! within the very poll that is going on (a request put into the channel, a body asked for) is answered by polling once
//! more at once, instead of a trip through the runtime's queue.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::clock::Uptime;
use crate::gate::Gate;
use crate::gate::body::RequestBody;
use crate::gate::client::Phases;

type Io = TokioIo<TcpStream>;

/// One connection to an application.
pub(in crate::gate) struct Line {
    sender: SendRequest<RequestBody>,
    connection: Pin<Box<Connection<Io, RequestBody>>>,
    finished: bool,
    damper: Arc<Damper>,
    waker: Waker,
    gate: Arc<Gate>,
    upstream: usize,
    /// When it was put into the pool.
    pub(super) resting_since: Uptime,
}

/// Why there is no response.
pub(super) enum Failure {
    /// The connection was closed before anything of the request was sent. Here it is again.
    Unstarted(Box<Request<RequestBody>>),
    /// The application did not answer in time.
    TimedOut,
    /// The client did not send its body in time.
    ClientStalled,
    /// The client's body broke off.
    ClientBroke(hyper::Error),
    /// The application broke off, or answered something that is not HTTP.
    Broke(hyper::Error),
}

impl Line {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        connection: Connection<Io, RequestBody>,
        gate: Arc<Gate>,
        upstream: usize,
    ) -> Self {
        let damper = Arc::new(Damper::default());
        let waker = Waker::from(damper.clone());
        Self {
            sender,
            connection: Box::pin(connection),
            finished: false,
            damper,
            waker,
            gate,
            upstream,
            resting_since: Uptime::from_micros(0),
        }
    }

    /// The context with which everything that belongs to this connection is polled.
    pub(in crate::gate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Moves bytes in both directions as far as they go now. The owner of `cx` is woken when there is more to move.
    pub(in crate::gate) fn drive(&mut self, cx: &mut Context<'_>) {
        /// How often a wake from within is answered at once. Beyond that the runtime shall have its turn: it also wakes
        /// from within when this task has used up its budget, and would do so for ever.
        const ROUNDS: usize = 8;

        if self.finished {
            return;
        }
        self.damper.owner.register(cx.waker());
        self.damper.inside.store(true, Ordering::Relaxed);
        let mut again = true;
        for _ in 0..ROUNDS {
            self.damper.woken.store(false, Ordering::Relaxed);
            match self.connection.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                // Its error, if any, also reaches the request or the body that waits, and is told there.
                Poll::Ready(_) => {
                    self.finished = true;
                    again = false;
                }
                Poll::Pending => again = self.damper.woken.load(Ordering::Relaxed),
            }
            if !again {
                break;
            }
        }
        self.damper.inside.store(false, Ordering::Relaxed);
        if again {
            cx.waker().wake_by_ref();
        }
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        phases: &Phases,
    ) -> Result<Response<Incoming>, Failure> {
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            match response.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Failure::Unstarted(Box::new(request)),
                    None => {
                        let error = error.into_error();
                        if error.is_user() { Failure::ClientBroke(error) } else { Failure::Broke(error) }
                    }
                })),
                Poll::Pending => phases.poll_response_limit(cx).map(|waiting_for_client| {
                    Err(if waiting_for_client { Failure::ClientStalled } else { Failure::TimedOut })
                }),
            }
        })
        .await
    }

    /// Whether the connection is open and ready for another request, as far as is known without asking the network.
    pub(super) fn is_ready(&mut self) -> bool {
        // Nobody is to be woken for a connection at rest; what has arrived meanwhile is noticed by looking.
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.finished && self.sender.is_ready()
    }

    /// Puts the connection back into its pool, when it can serve another request.
    pub(in crate::gate) fn put_back(mut self) {
        if self.is_ready() {
            let gate = self.gate.clone();
            gate.pool.put(self.upstream, self);
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("upstream", &self.upstream)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// The waker of one connection: see the module.
#[derive(Debug, Default)]
struct Damper {
    /// Whether the connection is being polled right now.
    inside: AtomicBool,
    /// Whether it was woken since the last poll began.
    woken: AtomicBool,
    /// Whom a wake from outside is for.
    owner: AtomicWaker,
}

impl Wake for Damper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        if !self.inside.load(Ordering::Relaxed) {
            self.owner.wake();
        }
    }
}
