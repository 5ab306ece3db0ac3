//! The way of spans to whoever collects them: one task beside the requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{MOST_WAITING, Span, Traces, encode};
use crate::config::Collector;
use crate::error::causes;
use crate::metrics::SharedMetrics;
use crate::outbound::{Bounds, Caller};

/// How long spans wait for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a collector may take for them; meanwhile others gather, and are dropped when there are too many.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), size: 64 * 1024 };
/// How long the last ones may take when the gateway stops.
const LAST: Duration = Duration::from_secs(2);

/// Spans on their way. Those that do not arrive are counted, however they get lost.
#[derive(Debug)]
struct Batch<'a> {
    spans: Vec<Span>,
    metrics: &'a SharedMetrics,
}

impl Batch<'_> {
    fn count(&self) -> u64 {
        self.spans.iter().map(Span::count).sum()
    }

    /// They arrived, but for so many.
    fn arrived(mut self, refused: u64) {
        let refused = refused.min(self.count());
        self.metrics.spans_exported.add(self.count() - refused);
        self.metrics.spans_dropped.add(refused);
        self.spans.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.metrics.spans_dropped.add(self.count());
    }
}

/// Where spans go, and whether they arrived the last time: an outage is told of once.
struct Way {
    caller: Caller,
    healthy: bool,
}

impl Traces {
    /// Sends spans, again and again until `stop`, and then what is left, for two seconds at most.
    pub async fn export(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut late = stop.clone();
        tokio::select! {
            () = self.send_all(stop) => {}
            () = async {
                let _ = late.wait_for(|stop| *stop).await;
                sleep(LAST).await;
            } => tracing::warn!("the last spans could not be delivered in time: trace.otlp_url"),
        }
        // Whatever is there still gets lost, and is counted.
        drop(self.batches());
    }

    async fn send_all(&self, mut stop: watch::Receiver<bool>) {
        let mut collector = self.collector.subscribe();
        let mut way = Way { caller: Caller::default(), healthy: true };
        let mut before = None;
        loop {
            let current = collector.borrow_and_update().clone();
            if current != before {
                // What was said of another one says nothing of this.
                way.healthy = true;
                before.clone_from(&current);
            }
            let Some(current) = current else {
                // They were recorded under settings that are no more in force.
                drop(self.batches());
                tokio::select! {
                    _ = collector.changed() => continue,
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            };
            let stopped = tokio::select! {
                () = self.until_due() => false,
                // Spans go to whoever collects them when they are sent: some may be of requests under the new settings.
                _ = collector.changed() => continue,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            for batch in self.batches() {
                way.send(batch, &current).await;
            }
            if stopped {
                return;
            }
        }
    }

    async fn until_due(&self) {
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = self.many.notified() => {}
        }
    }

    /// All spans that wait, as many at a time as may be sent.
    fn batches(&self) -> Vec<Batch<'_>> {
        let mut batches = Vec::new();
        let mut spans = Vec::new();
        for recorder in &self.recorders {
            spans.append(&mut recorder.take());
            if spans.len() >= MOST_WAITING {
                batches.push(self.batch(&mut spans));
            }
        }
        batches.push(self.batch(&mut spans));
        batches.retain(|batch| !batch.spans.is_empty());
        batches
    }

    fn batch(&self, spans: &mut Vec<Span>) -> Batch<'_> {
        Batch { spans: std::mem::take(spans), metrics: &self.metrics }
    }
}

impl Way {
    async fn send(&mut self, batch: Batch<'_>, collector: &Collector) {
        match self.post(&batch.spans, collector).await {
            Ok(answer) => {
                let (refused, why) = refusal(&answer);
                batch.arrived(refused);
                if refused > 0 {
                    self.fails(collector, refused, why);
                } else if !self.healthy {
                    self.healthy = true;
                    tracing::info!(collector = collector.url.authority, "spans arrive again");
                }
            }
            Err(problem) => {
                let lost = batch.count();
                drop(batch);
                self.fails(collector, lost, problem);
            }
        }
    }

    async fn post(&self, spans: &[Span], collector: &Collector) -> Result<Bytes, String> {
        let body = encode::request(spans, &collector.service).map_err(|error| causes(&error))?;
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.extend(collector.headers.iter().cloned());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.caller.call(&collector.url, request, BOUNDS).await.map_err(|error| causes(&error))?;
        Ok(answer.into_body())
    }

    /// Says so once, and not for every batch.
    fn fails(&mut self, collector: &Collector, lost: u64, problem: String) {
        if self.healthy {
            let collector = collector.url.authority.as_str();
            tracing::warn!(collector, lost, problem, "spans get lost: trace.otlp_url");
        }
        self.healthy = false;
    }
}

/// How many spans a collector did not want, of those that it was sent (`ExportTracePartialSuccess`), and why.
fn refusal(answer: &[u8]) -> (u64, String) {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let said = |what| answer.get("partialSuccess").and_then(|partial| partial.get(what));
    // A long number is a text in this form, and a number is tolerated.
    let refused = said("rejectedSpans").and_then(|number| number.as_u64().or_else(|| number.as_str()?.parse().ok()));
    let why = said("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
    (refused.unwrap_or(0), format!("it refused some of them: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_refuses_is_read_whatever_else_it_answers() {
        for nothing in
            ["", "{}", "no json", "[]", "{\"partialSuccess\":{}}", "{\"partialSuccess\":{\"rejectedSpans\":\"x\"}}"]
        {
            assert_eq!(refusal(nothing.as_bytes()).0, 0, "{nothing}");
        }
        let (refused, why) = refusal(br#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"too old"}}"#);
        assert_eq!((refused, why.as_str()), (7, "it refused some of them: too old"));
        assert_eq!(refusal(br#"{"partialSuccess":{"rejectedSpans":3}}"#).0, 3);
    }
}
