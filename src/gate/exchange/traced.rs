//! By what a request is known beyond the gateway: its place in a trace, and its id.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

use super::{Exchange, Verdict};
use crate::config::{Parent, Place};
use crate::http::trace_context::{self, Known, SpanId, TraceId, TraceParent};
use crate::metrics::Cut;
use crate::traces::{Call, Span};

/// What a request is known by. There is none unless `[trace]` wants it, so that others have room for a pointer only.
#[derive(Debug, Default)]
pub(in crate::gate) struct Traced {
    /// What the application is told.
    pub(in crate::gate) known: Known,
    /// The span that the request was sent by,
    parent: Option<SpanId>,
    /// and what the gateway does. What the application does for it is what the application is told.
    span: Option<SpanId>,
    /// Which application that is.
    upstream: Option<usize>,
    /// Whether the client is told the id.
    answers: bool,
}

impl Traced {
    /// The trace.
    pub(super) fn trace(&self) -> Option<TraceId> {
        self.known.parent.map(|parent| parent.trace)
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.known.request_id.as_ref().and_then(|id| id.to_str().ok())
    }
}

impl Exchange {
    /// Gives the request its place in a trace and its id, and takes the client's own words on them out of the headers.
    /// `answers` is whether the client hears of it.
    pub(in crate::gate) fn follow(&mut self, headers: &mut HeaderMap, answers: bool) {
        let gate = &self.client.gate;
        let (settings, recorder) = (&gate.config.trace, &gate.traces);
        let rewritten = settings.rewritten();
        let mut traced = Traced { answers, ..Traced::default() };
        let came = match settings.parent {
            Parent::Continue => TraceParent::of(headers),
            Parent::Off | Parent::Restart => None,
        };
        if rewritten.context {
            let begun = || {
                let trace = recorder.new_trace();
                (trace, settings.sample.has(trace))
            };
            let (trace, sampled) = came.map_or_else(begun, |came| (came.trace, came.sampled));
            traced.known.parent = Some(TraceParent { trace, span: recorder.new_span(), sampled });
            traced.parent = came.map(|came| came.span);
            traced.span = Some(recorder.new_span());
        }
        if rewritten.request_id {
            let kept = trace_context::request_id(headers).filter(|_| self.client.trusted).cloned();
            traced.known.request_id = kept.or_else(|| HeaderValue::from_bytes(&recorder.new_trace().hex()).ok());
        }
        rewritten.strip(headers, came.is_some());
        self.traced = Some(Arc::new(traced));
    }

    /// The id that the client is told.
    pub(in crate::gate) fn answered_id(&self) -> Option<HeaderValue> {
        self.traced.as_ref().filter(|traced| traced.answers)?.known.request_id.clone()
    }

    /// The request goes to this application, which is told this.
    pub(in crate::gate) fn goes_to(&mut self, upstream: usize) -> Option<Arc<Traced>> {
        let traced = self.traced.as_mut()?;
        // Nobody else has it yet.
        if let Some(traced) = Arc::get_mut(traced) {
            traced.upstream = Some(upstream);
        }
        Some(traced.clone())
    }

    /// Keeps what became of it for whoever collects spans.
    pub(super) fn record(&self, duration: Duration, cut: Option<Cut>) {
        let Some(traced) = &self.traced else { return };
        let (Some(told), Some(id)) = (traced.known.parent.filter(|told| told.sampled), traced.span) else { return };
        let gate = &self.client.gate;
        let Some(collector) = &gate.config.trace.collector else { return };
        let session = self.session.as_ref().filter(|_| collector.user);
        gate.traces.record(Span {
            trace: told.trace,
            id,
            parent: traced.parent,
            began: self.began.wall,
            duration,
            method: Span::method(&self.method),
            path: Span::text(self.target.as_ref().map_or("", |target| target.path())),
            status: (self.verdict != Verdict::Abandoned).then_some(self.status),
            client: self.caller,
            host: Span::text(self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default()),
            user: session.map(|session| Span::text(&session.identity.user_text())),
            verdict: self.verdict.name(),
            cut: cut.map(Cut::name),
            call: traced.upstream.and_then(|upstream| self.call(upstream, told.span, duration)),
        });
    }

    fn call(&self, upstream: usize, id: SpanId, duration: Duration) -> Option<Call> {
        let after = self.sent_upstream?.since(self.began.uptime);
        let upstream = self.client.gate.config.upstreams.get(upstream)?;
        // Of several addresses it is not known here which one it was.
        let address = match upstream.addresses.as_slice() {
            [only] => match &only.place {
                Place::Tcp { host, port } | Place::Tls { host, port, .. } => Some((host.clone(), Some(*port))),
                Place::Unix { path } => Some((path.display().to_string(), None)),
            },
            _ => None,
        };
        Some(Call {
            id,
            after,
            duration: self.upstream.unwrap_or_else(|| duration.saturating_sub(after)),
            upstream: upstream.name.clone(),
            address,
            answered: matches!(self.verdict, Verdict::Forwarded | Verdict::Anonymous),
        })
    }
}
