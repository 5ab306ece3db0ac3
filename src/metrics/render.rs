//! The figures as Prometheus reads them (text exposition format 0.0.4).

use std::fmt::{Display, Write as _};
use std::sync::{Arc, PoisonError};

use super::{
    AddressMetrics, BOUNDS, Counter, Cut, Handshake, HandshakeFailure, Histogram, LocalCounter, LocalHistogram, Lookup,
    SharedMetrics, StoreCall, TurnedAway, WorkerMetrics,
};
use crate::error::Code;
use crate::session::{EndReason, SuspendReason};

/// All figures: those of the workers summed, and the shared ones.
pub fn render(workers: &[Arc<WorkerMetrics>], shared: &SharedMetrics) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    let sum = |pick: &dyn Fn(&WorkerMetrics) -> u64| workers.iter().map(|worker| pick(worker)).sum::<u64>();

    page.head("gateway_requests_total", "counter", "Requests by verdict: forwarded, anonymous, answered by /_sessions, allowed to a proxy that asked, redirected to a login, abandoned before a response, or the code of the refusal.");
    for (verdict, pick) in [
        ("forwarded", (|w| &w.forwarded) as fn(&WorkerMetrics) -> &LocalCounter),
        ("anonymous", |w| &w.anonymous),
        ("answered", |w| &w.answered),
        ("allowed", |w| &w.allowed),
        ("redirected", |w| &w.redirected),
        ("abandoned", |w| &w.abandoned),
    ] {
        page.line("gateway_requests_total", &[("verdict", verdict)], sum(&|worker| pick(worker).get()));
    }
    // Two codes may share a name and differ in their status, so the status is a label too.
    for code in Code::ALL {
        let rule = code.rule();
        let count = sum(&|worker| worker.refused.0.get(code.index()).map_or(0, LocalCounter::get));
        let status = rule.status.to_string();
        page.line("gateway_requests_total", &[("verdict", rule.name), ("status", &status)], count);
    }

    page.head("gateway_request_duration_seconds", "histogram", "From a request's headers to the end of its response.");
    let local: Vec<&LocalHistogram> = workers.iter().map(|worker| &worker.duration).collect();
    let bucket = |at: usize| local.iter().filter_map(|h| h.buckets.get(at)).map(LocalCounter::get).sum();
    page.histogram("gateway_request_duration_seconds", None, bucket, local.iter().map(|h| h.sum_micros.get()).sum());

    page.head("gateway_session_lookups_total", "counter", "How sessions were found.");
    for how in Lookup::ALL {
        let count = sum(&|worker| worker.lookups.get(how as usize).map_or(0, LocalCounter::get));
        page.line("gateway_session_lookups_total", &[("result", how.name())], count);
    }

    for (name, help, pick) in [
        (
            "gateway_connections_total",
            "Client connections accepted.",
            (|w| &w.connections) as fn(&WorkerMetrics) -> &LocalCounter,
        ),
        ("gateway_unparsable_requests_total", "Requests that were no HTTP or beyond the limits.", |w| &w.unparsable),
        ("gateway_http2_connections_total", "Client connections on which HTTP/2 was spoken.", |w| &w.http2_connections),
        ("gateway_connections_timed_out_total", "Client connections ended by a timeout.", |w| &w.timed_out),
        ("gateway_upstream_connections_total", "Connections opened to applications.", |w| &w.upstream_opened),
        ("gateway_upstream_reuses_total", "Requests sent on a kept-alive connection.", |w| &w.upstream_reused),
        ("gateway_upstream_retries_total", "Requests sent again because a kept-alive connection was closed.", |w| {
            &w.upstream_retried
        }),
        ("gateway_https_redirects_total", "Requests without TLS that were sent to https.", |w| &w.https_redirects),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], sum(&|worker| pick(worker).get()));
    }
    page.head("gateway_tls_handshakes_total", "counter", "Clients with which TLS was agreed on.");
    for how in Handshake::ALL {
        let count = sum(&|worker| worker.tls_handshakes.get(how as usize).map_or(0, LocalCounter::get));
        let (version, kind) = how.names();
        page.line("gateway_tls_handshakes_total", &[("version", version), ("kind", kind)], count);
    }
    page.head(
        "gateway_tls_handshake_failures_total",
        "counter",
        "Clients with which TLS was not agreed on, by reason.",
    );
    for why in HandshakeFailure::ALL {
        let count = sum(&|worker| worker.tls_failures.get(why as usize).map_or(0, LocalCounter::get));
        page.line("gateway_tls_handshake_failures_total", &[("reason", why.name())], count);
    }
    let name = "gateway_connections_refused_total";
    page.head(name, "counter", "Client connections closed before anything was served, by reason.");
    for why in TurnedAway::ALL {
        let count = sum(&|worker| worker.turned_away.get(why as usize).map_or(0, LocalCounter::get));
        page.line(name, &[("reason", why.name())], count);
    }
    page.head("gateway_connections_open", "gauge", "Client connections open.");
    let open: i64 = workers.iter().map(|worker| worker.open_connections.get()).sum();
    page.line("gateway_connections_open", &[], open);
    page.head(
        "gateway_connections_resting",
        "gauge",
        "Open client connections of HTTP/1.1 that have been idle for a while.",
    );
    let resting: i64 = workers.iter().map(|worker| worker.resting_connections.get()).sum();
    page.line("gateway_connections_resting", &[], resting);

    page.streams(workers);

    page.shared(shared);
    let addresses = shared.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
    page.addresses(&addresses);
    page.0
}

struct Page(String);

impl Page {
    fn streams(&mut self, workers: &[Arc<WorkerMetrics>]) {
        let sum = |pick: &dyn Fn(&WorkerMetrics) -> u64| workers.iter().map(|worker| pick(worker)).sum::<u64>();
        self.head("gateway_tunnels_total", "counter", "WebSockets opened.");
        self.line("gateway_tunnels_total", &[], sum(&|worker| worker.tunnels.get()));
        self.head("gateway_tunnels_open", "gauge", "WebSockets open.");
        self.line("gateway_tunnels_open", &[], workers.iter().map(|worker| worker.open_tunnels.get()).sum::<i64>());
        self.head("gateway_tunnel_bytes_total", "counter", "Bytes passed on in WebSockets, by direction.");
        for (to, bytes) in [
            ("app", sum(&|worker| worker.tunnel_to_upstream.get())),
            ("client", sum(&|worker| worker.tunnel_to_client.get())),
        ] {
            self.line("gateway_tunnel_bytes_total", &[("to", to)], bytes);
        }
        let name = "gateway_streams_cut_total";
        self.head(name, "counter", "WebSockets and responses ended before their end, by kind and reason.");
        for why in Cut::ALL {
            let of = |counters: &[LocalCounter]| counters.get(why as usize).map_or(0, LocalCounter::get);
            self.line(name, &[("kind", "tunnel"), ("reason", why.name())], sum(&|worker| of(&worker.cut_tunnels)));
            // No response is ended for being silent.
            if why != Cut::Silent {
                let count = sum(&|worker| of(&worker.cut_responses));
                self.line(name, &[("kind", "response"), ("reason", why.name())], count);
            }
        }
    }

    fn shared(&mut self, shared: &SharedMetrics) {
        self.counter("gateway_sessions_created_total", "Sessions created.", &shared.created);
        self.head("gateway_sessions_ended_total", "counter", "Sessions ended, by reason.");
        for reason in EndReason::ALL {
            let count = shared.ended.get(*reason as usize).map_or(0, Counter::get);
            self.line("gateway_sessions_ended_total", &[("reason", reason.name())], count);
        }
        self.head("gateway_sessions_suspended_total", "counter", "Sessions suspended, by reason.");
        for reason in SuspendReason::ALL {
            let count = shared.suspended.get(*reason as usize).map_or(0, Counter::get);
            self.line("gateway_sessions_suspended_total", &[("reason", reason.name())], count);
        }
        self.head("gateway_store_call_duration_seconds", "histogram", "Store calls, by kind.");
        for (call, histogram) in StoreCall::ALL.iter().zip(&shared.store_calls) {
            let Histogram { buckets, sum_micros } = histogram;
            let bucket = |at: usize| buckets.get(at).map_or(0, Counter::get);
            let label = Some(("call", call.name()));
            self.histogram("gateway_store_call_duration_seconds", label, bucket, sum_micros.get());
        }
        self.counter("gateway_store_errors_total", "Store calls that failed.", &shared.store_errors);
        self.head("gateway_listen_up", "gauge", "1 while changes by other gateways are heard of.");
        self.line("gateway_listen_up", &[], shared.listen_up.get());
        self.counter("gateway_notifications_total", "Notices of changes by other gateways.", &shared.notifications);
        let name = "gateway_notification_lag_seconds";
        self.head(name, "histogram", "From a change by another gateway, before its commit, to its effect here.");
        let Histogram { buckets, sum_micros } = &shared.notification_lag;
        self.histogram(name, None, |at| buckets.get(at).map_or(0, Counter::get), sum_micros.get());
        self.head("gateway_clock_offset_seconds", "gauge", "How far the database's clock is ahead of this machine's.");
        let offset = shared.clock_offset_millis.get();
        #[expect(clippy::cast_precision_loss, reason = "a difference of clocks shown to a person or a graph")]
        self.line("gateway_clock_offset_seconds", &[], offset as f64 / 1e3);
        self.counter(
            "gateway_touches_dropped_total",
            "Uses of sessions not written down because the queue was full.",
            &shared.touches_dropped,
        );
        self.counter(
            "gateway_access_log_lines_dropped_total",
            "Access-log lines lost because the disk was too slow.",
            &shared.log_lines_dropped,
        );
        self.head("gateway_swept_rows_total", "counter", "Rows removed from the store because they were old, by kind.");
        for (kind, counter) in [
            ("session", &shared.swept_sessions),
            ("event", &shared.swept_events),
            ("retired_token", &shared.swept_tokens),
        ] {
            self.line("gateway_swept_rows_total", &[("kind", kind)], counter.get());
        }
        self.head("gateway_sweep_duration_seconds", "histogram", "Sweeps of the store that came to their end.");
        let Histogram { buckets, sum_micros } = &shared.sweeps;
        let bucket = |at: usize| buckets.get(at).map_or(0, Counter::get);
        self.histogram("gateway_sweep_duration_seconds", None, bucket, sum_micros.get());
        self.counter(
            "gateway_jwt_checks_total",
            "Signed tokens whose signature and claims were looked at; later uses of the same token are not.",
            &shared.jwt_checks,
        );
        self.head("gateway_jwks_fetches_total", "counter", "Fetches of the issuer's key set, by result.");
        for (result, counter) in [("ok", &shared.jwks_fetches), ("failed", &shared.jwks_failures)] {
            self.line("gateway_jwks_fetches_total", &[("result", result)], counter.get());
        }
        self.head("gateway_reloads_total", "counter", "Times that settings were read again, by result.");
        for (result, counter) in [("ok", &shared.reloads), ("failed", &shared.reload_failures)] {
            self.line("gateway_reloads_total", &[("result", result)], counter.get());
        }
        self.head("gateway_tls_reloads_total", "counter", "Times that the files of certificates were read again.");
        for (result, counter) in [("ok", &shared.tls_reloads), ("failed", &shared.tls_reload_failures)] {
            self.line("gateway_tls_reloads_total", &[("result", result)], counter.get());
        }
        self.counter("gateway_assertions_signed_total", "Assertions signed for applications.", &shared.assertions);
        self.head("gateway_spans_total", "counter", "Spans of sampled requests, by what became of them.");
        for (result, counter) in [("exported", &shared.spans_exported), ("dropped", &shared.spans_dropped)] {
            self.line("gateway_spans_total", &[("result", result)], counter.get());
        }
        self.counter("gateway_panics_total", "Panics in request handlers.", &shared.panics);
        for (name, help, gauge) in [
            ("gateway_store_up", "1 while the store answers.", &shared.store_up),
            ("gateway_touches_waiting", "Uses of sessions waiting to be written down.", &shared.touches_waiting),
            ("gateway_cached_sessions", "Sessions in the cache.", &shared.cached),
            ("gateway_cached_absent_tokens", "Unknown tokens remembered.", &shared.cached_absent),
            (
                "gateway_tls_certificate_expiry_seconds",
                "When the first certificate ends, in Unix time; 0 without TLS.",
                &shared.tls_expiry,
            ),
            (
                "gateway_tls_files_outdated",
                "Files of certificates that cannot be used, so that what was read before is in force.",
                &shared.tls_outdated,
            ),
            ("gateway_jwks_keys", "Keys of the issuer's key set that are in force.", &shared.jwks_keys),
        ] {
            self.head(name, "gauge", help);
            self.line(name, &[], gauge.get());
        }
    }

    fn addresses(&mut self, addresses: &[Arc<AddressMetrics>]) {
        for (name, kind, help, pick) in [
            (
                "gateway_upstream_up",
                "gauge",
                "1 while requests are sent to this address of an application.",
                (|address| address.up.get()) as fn(&AddressMetrics) -> i64,
            ),
            (
                "gateway_upstream_requests_in_flight",
                "gauge",
                "Requests on their way at this address of an application.",
                |address| address.in_flight.iter().map(|worker| worker.get().cast_signed()).sum(),
            ),
            (
                "gateway_upstream_failures_total",
                "counter",
                "Connections to this address of an application that could not be made, and health checks that failed.",
                |address| address.failures.get().cast_signed(),
            ),
        ] {
            self.head(name, kind, help);
            for address in addresses {
                let (upstream, place) = (escaped(&address.upstream), escaped(&address.address));
                self.line(name, &[("upstream", &upstream), ("address", &place)], pick(address));
            }
        }
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, "counter", help);
        self.line(name, &[], counter.get());
    }

    // Writing to a `String` cannot fail, here and below.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are names of ours, or escaped.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{text}\"", if position == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, label: Option<(&str, &str)>, bucket: impl Fn(usize) -> u64, sum_micros: u64) {
        let mut total = 0;
        let labels: Vec<(&str, &str)> = label.into_iter().collect();
        for at in 0..=BOUNDS.len() {
            total += bucket(at);
            let bound = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), |bound| seconds(*bound));
            let with_bound: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line(&format!("{name}_bucket"), &with_bound, total);
        }
        self.line(&format!("{name}_sum"), &labels, seconds(sum_micros));
        self.line(&format!("{name}_count"), &labels, total);
    }
}

/// A label's value that an operator chose.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds shown to a person or a graph")]
    let seconds = micros as f64 / 1e6;
    seconds.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_sums_the_workers_and_buckets_are_cumulative() {
        let workers = [Arc::new(WorkerMetrics::default()), Arc::new(WorkerMetrics::default())];
        for worker in &workers {
            worker.forwarded.increment();
            worker.refused(Code::MissingToken);
            worker.duration.observe(Duration::from_micros(700));
        }
        let shared = SharedMetrics::default();
        shared.ended(EndReason::Evicted);
        let page = render(&workers, &shared);
        for line in [
            "gateway_requests_total{verdict=\"forwarded\"} 2",
            "gateway_requests_total{verdict=\"missing_token\",status=\"401\"} 2",
            "gateway_request_duration_seconds_bucket{le=\"0.0005\"} 0",
            "gateway_request_duration_seconds_bucket{le=\"0.001\"} 2",
            "gateway_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "gateway_request_duration_seconds_sum 0.0014",
            "gateway_request_duration_seconds_count 2",
            "gateway_sessions_ended_total{reason=\"evicted\"} 1",
            "gateway_connections_open 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_figure() {
        let page = render(&[Arc::new(WorkerMetrics::default())], &SharedMetrics::default());
        for line in page.lines() {
            let figure = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
            assert!(line.starts_with("# ") || matches!(figure, Some(Ok(_))), "{line}");
        }
    }
}
