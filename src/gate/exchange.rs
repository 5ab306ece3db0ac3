//! What is remembered of a request until its response has gone: for the access log and the figures.

mod traced;

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, request};

use self::traced::Traced;
use super::Gate;
use super::client::Client;
use super::streams::{self, Kind, Watched};
use super::tunnel::{Asked, Opened};
use super::upstream::Answering;
use crate::clock::{self, Moment, Uptime};
use crate::error::Code;
use crate::log::access::Line;
use crate::metrics::Cut;
use crate::session::Session;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It went to the application with a session.
    Forwarded,
    /// It went to the application without one.
    Anonymous,
    /// `/_sessions` answered it.
    Answered,
    /// A proxy asked about it, and may let it pass.
    Allowed,
    /// It was sent to the login page.
    Redirected,
    /// It was refused.
    Refused(Code),
    /// It was given up before there was a response: the client went away, or the gateway stopped.
    Abandoned,
}

/// What the log says of a request without a response; clients never see it. Other proxies' logs use the same number.
const NO_RESPONSE: u16 = 499;

/// A client that reads slowly may be busy with more than this for as long as it likes; less is in buffers at once.
const LONG: u64 = 256 * 1024;

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Anonymous => "anonymous",
            Self::Answered => "answered",
            Self::Allowed => "allowed",
            Self::Redirected => "redirected",
            Self::Refused(code) => code.rule().name,
            Self::Abandoned => "abandoned",
        }
    }
}

/// One request, from its headers to the end of its response.
#[derive(Debug)]
pub struct Exchange {
    client: Arc<Client>,
    /// When its headers were complete.
    pub(super) began: Moment,
    method: Method,
    /// Whether the response has no body by nature of the request.
    head: bool,
    host: Option<HeaderValue>,
    /// The target as it came, until there is a canonical one.
    pub(super) target: Option<PathAndQuery>,
    /// Who is calling, once that is known.
    pub(super) caller: Option<IpAddr>,
    /// Whose session it is.
    pub(super) session: Option<Arc<Session>>,
    /// How it ended.
    pub(super) verdict: Verdict,
    /// The status of the response.
    pub(super) status: u16,
    /// Whether the request has waited for anything since `began`, so that the clock must be read again.
    pub(super) waited: bool,
    /// The WebSocket that it asks for …
    pub(super) asked: Option<Box<Asked>>,
    /// … and that the application opened.
    pub(super) opened: Option<Box<Opened>>,
    /// Whether the response is a stream of events, which has no end.
    pub(super) events: bool,
    /// Whether what the request does may be what ends its session.
    pub(super) ends_sessions: bool,
    /// Why the response was cut.
    pub(super) cut: Option<Cut>,
    traced: Option<Arc<Traced>>,
    watched: Option<Watched>,
    received: Option<u64>,
    sent_upstream: Option<Uptime>,
    upstream: Option<Duration>,
    bytes: u64,
    ended: bool,
}

impl Exchange {
    /// A request whose headers are complete.
    pub(super) fn begin<B>(client: Arc<Client>, request: &Request<B>) -> Box<Self> {
        client.phases.request_began();
        Box::new(Self {
            began: clock::now(),
            method: request.method().clone(),
            head: *request.method() == Method::HEAD,
            host: request.headers().get(HOST).cloned().or_else(|| authority(request.uri())),
            target: request.uri().path_and_query().cloned(),
            caller: client.peer,
            client,
            session: None,
            verdict: Verdict::Abandoned,
            status: NO_RESPONSE,
            waited: false,
            asked: None,
            opened: None,
            events: false,
            ends_sessions: false,
            cut: None,
            traced: None,
            watched: None,
            received: None,
            sent_upstream: None,
            upstream: None,
            bytes: 0,
            ended: false,
        })
    }

    /// Whether the response has no body by nature of the request.
    pub(super) const fn is_head(&self) -> bool {
        self.head
    }

    /// The request is a question about another one, of which the log shall tell.
    pub(super) fn concerns(&mut self, original: &request::Parts) {
        self.method = original.method.clone();
        self.host = original.headers.get(HOST).cloned();
        self.target = original.uri.path_and_query().cloned();
    }

    /// The request is on its way to the application, as of the time that this answers.
    pub(super) fn sent_upstream(&mut self) -> Uptime {
        // A request that has waited for nothing is here a few microseconds later.
        let now = if self.waited { clock::uptime() } else { self.began.uptime };
        self.sent_upstream = Some(now);
        now
    }

    /// The head of the application's response is here.
    pub(super) fn answered_upstream(&mut self) {
        self.client.phases.response_begun();
        self.upstream = self.sent_upstream.map(|sent| clock::uptime().since(sent));
    }

    /// Bytes of the response's body are on their way to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.client.phases.piece_offered();
        if let Some(watched) = &self.watched {
            watched.moved();
        }
    }

    /// Bytes of the response's body were on their way and did not get there.
    pub(super) const fn unsent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }

    /// The most of a response's body that is handed over at a time.
    pub(super) fn largest_piece(&self) -> usize {
        self.client.phases.largest_piece()
    }

    /// More of the response's body is asked for.
    pub(super) fn piece_wanted(&self) {
        self.client.phases.piece_wanted();
    }

    /// The worker.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.client.gate
    }

    /// Whether so much of the body has been sent that the client may be busy with it for a while.
    pub(super) const fn is_long(&self) -> bool {
        self.bytes > LONG
    }

    /// The response is not over at once: from now on its session is looked at again and again. `is_sized` says whether the
    /// length of its body is known.
    pub(super) fn lasts(&mut self, is_sized: bool) {
        if self.watched.is_some() {
            return;
        }
        let kind = match (self.events, is_sized) {
            (true, _) => Kind::Events,
            (false, true) => Kind::Download,
            (false, false) => Kind::Open,
        };
        self.watched = self.watch(kind);
    }

    /// Ready when the response is to be cut.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.watched.as_ref().map_or(Poll::Pending, |watched| watched.poll_cut(cx))
    }

    /// Has the WebSocket watched that this has become.
    pub(super) fn watch_tunnel(&mut self) -> Option<Watched> {
        self.received = Some(0);
        self.watch(Kind::Tunnel)
    }

    /// Bytes of the client went through the WebSocket.
    pub(super) fn received_through_tunnel(&mut self, bytes: u64) {
        self.received = Some(self.received.unwrap_or(0) + bytes);
    }

    /// Bytes of the application went through the WebSocket.
    pub(super) const fn sent_through_tunnel(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn watch(&self, kind: Kind) -> Option<Watched> {
        // A request that ends sessions, its own perhaps, still gets its whole answer.
        let ends = self.client.gate.config.session.cut_streams && !self.ends_sessions;
        let session = self.session.as_ref().filter(|_| ends);
        if session.is_none() && kind != Kind::Events {
            return None;
        }
        Some(streams::watch(kind, &self.client, self.caller?, session))
    }

    /// All of the response is here, though not with the client yet. `rest` is what it came on.
    pub(super) fn release(&self, rest: Answering) {
        if let Answering::Alone(connection) = rest {
            self.client.gate.pool.put(connection, clock::uptime());
        }
    }

    /// The response has gone, whole or not. `rest` is what it came on.
    pub(super) fn end(&mut self, complete: bool, rest: Option<Answering>) {
        self.ended = true;
        let gate = &self.client.gate;
        let now = clock::uptime();
        if let Some(Answering::Alone(connection)) = rest {
            gate.pool.put(connection, now);
        }
        let metrics = &gate.metrics;
        match self.verdict {
            Verdict::Forwarded => metrics.forwarded.increment(),
            Verdict::Anonymous => metrics.anonymous.increment(),
            Verdict::Answered => metrics.answered.increment(),
            Verdict::Allowed => metrics.allowed.increment(),
            Verdict::Redirected => metrics.redirected.increment(),
            Verdict::Refused(code) => metrics.refused(code),
            Verdict::Abandoned => metrics.abandoned.increment(),
        }
        let cut = self.cut.or_else(|| self.watched.take().and_then(|watched| watched.why())).filter(|_| !complete);
        if let Some(cut) = cut {
            metrics.cut(self.received.is_some(), cut);
        }
        let duration = now.since(self.began.uptime);
        // A WebSocket says nothing about how fast requests are.
        if self.received.is_none() {
            metrics.duration.observe(duration);
        }
        self.client.phases.response_ended();
        self.record(duration, cut);
        let Some(log) = &gate.access else { return };
        let target = self
            .target
            .as_ref()
            .map_or("", |target| if gate.config.log.query { target.as_str() } else { target.path() });
        log.add(&Line {
            at: self.began.wall,
            client: self.caller,
            method: self.method.as_str(),
            host: self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
            target,
            status: self.status,
            duration,
            upstream: self.upstream,
            bytes: self.bytes,
            session: self.session.as_deref(),
            verdict: self.verdict.name(),
            complete,
            cut: cut.map(Cut::name),
            received: self.received,
            request_id: self.traced.as_ref().and_then(|traced| traced.request_id()),
            trace: self.traced.as_ref().and_then(|traced| traced.trace()),
        });
    }
}

/// The host of a request that names it in its target alone, as those of HTTP/2 do.
fn authority(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::try_from(uri.authority()?.as_str()).ok()
}

/// A request whose handling is dropped halfway leaves its line too.
impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            self.end(false, None);
        }
    }
}
