//! `[trace]`: how a request is followed through several programs.

use std::sync::Arc;

use figment::value::Value;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};

use super::reader::{Table, secret, text};
use super::web_url::WebUrl;
use crate::http::trace_context::{Rewritten, TraceId};

/// How a request is followed through several programs.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// What becomes of a client's `traceparent`.
    pub parent: Parent,
    /// Which part of the traces that begin here is kept.
    pub sample: Sample,
    /// Whether requests have ids.
    pub request_id: bool,
    /// Where spans go; `None` makes none.
    pub collector: Option<Arc<Collector>>,
}

/// What becomes of a client's `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// It passes like any other header.
    Off,
    /// Its trace goes on.
    Continue,
    /// It is not believed: every request begins a trace.
    Restart,
}

impl TraceSettings {
    /// Whether anything is to be done for a request.
    pub fn is_on(&self) -> bool {
        self.rewritten().any()
    }

    /// Which headers are ours to write.
    pub fn rewritten(&self) -> Rewritten {
        Rewritten { context: self.parent != Parent::Off, request_id: self.request_id }
    }
}

/// A part of all traces. Which those are follows from their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How many of [`Sample::ALL`] are in it.
    below: u64,
}

impl Sample {
    /// As many as an id's last 56 bits can tell apart: those that are random in everybody's ids (W3C Trace Context level 2,
    /// section 3.2.2.3).
    const ALL: u64 = 1 << 56;

    /// This part, from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a power of two is exact, and the product is between 0 and it"
    )]
    fn new(part: f64) -> Option<Self> {
        let below = (part * Self::ALL as f64) as u64;
        (0.0..=1.0).contains(&part).then_some(Self { below })
    }

    /// Whether this trace is in it.
    pub fn has(self, trace: TraceId) -> bool {
        u64::try_from(trace.bits() & u128::from(Self::ALL - 1)).is_ok_and(|bits| bits < self.below)
    }
}

/// Who collects spans, by OTLP/HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where they are posted to.
    pub url: WebUrl,
    /// What stands in each request beside what has to; their values do not show.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The service that spans say they are of.
    pub service: String,
    /// Whether they name users.
    pub user: bool,
}

/// Headers that say how a request is sent.
const TAKEN: [HeaderName; 6] = [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

pub(super) fn read(mut table: Table) -> TraceSettings {
    let parent = table.choice(
        "traceparent",
        Parent::Off,
        &[("off", Parent::Off), ("continue", Parent::Continue), ("restart", Parent::Restart)],
    );
    let sample = table.get("sample", USUAL, |value| {
        let whole = || [0.0, 1.0].get(usize::try_from(value.to_i128()?).ok()?).copied();
        value
            .to_f64()
            .or_else(whole)
            .and_then(Sample::new)
            .ok_or_else(|| "must be a number from 0.0, none, to 1.0, all".to_owned())
    });
    let request_id = table.flag("request_id", false);
    let url = table.get("otlp_url", None, |value| match text(value)?.as_str() {
        "" => Ok(None),
        given => url(given).map(Some),
    });
    let entries = table.entries("otlp_headers");
    let mut headers = Vec::with_capacity(entries.len());
    for (name, value) in &entries {
        match header(name, value) {
            Ok(header) => headers.push(header),
            Err(message) => table.fault("otlp_headers", message),
        }
    }
    let service = table.text("otlp_service").unwrap_or_else(|| "session-gateway".to_owned());
    let user = table.flag("otlp_user", false);
    if let Some(url) = &url {
        if parent == Parent::Off {
            table.fault("otlp_url", "needs traceparent = \"continue\" or \"restart\": spans are parts of traces");
        }
        if !headers.is_empty() && !url.is_private() {
            table.fault("otlp_url", "must be https: otlp_headers are secret, and plain http shows them to everybody");
        }
    }
    let collector = url.map(|url| Arc::new(Collector { url, headers, service, user }));
    TraceSettings { parent, sample, request_id, collector }
}

/// One in a hundred.
const USUAL: Sample = Sample { below: Sample::ALL / 100 };

/// Where the spans are posted to, given where the collector is.
fn url(given: &str) -> Result<WebUrl, String> {
    const EXAMPLE: &str = "http://127.0.0.1:4318";
    let mut url = WebUrl::parse(given, EXAMPLE)?;
    if url.path.contains('?') {
        return Err(format!("\"{given}\" must not have a query; write \"{EXAMPLE}\""));
    }
    let base = url.path.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        return Err(format!("\"{given}\" must end before /v1/traces; write \"{EXAMPLE}\""));
    }
    url.path = format!("{base}/v1/traces");
    Ok(url)
}

/// A header whose value is a secret.
fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::try_from(name).map_err(|_| format!("\"{name}\" is no header name"))?;
    if TAKEN.contains(&parsed) {
        return Err(format!("\"{name}\" is the gateway's own to say"));
    }
    let value = secret(value).map_err(|message| format!("{name} {message}"))?;
    // The value is not repeated.
    let mut value = HeaderValue::try_from(value).map_err(|_| format!("{name} has a value that no header can have"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(bits: u128) -> TraceId {
        TraceId::new(bits).unwrap()
    }

    #[test]
    fn none_a_part_or_all_are_sampled() {
        let sample = |part| Sample::new(part).unwrap();
        let last = trace(u128::MAX);
        let first = trace(1 << 64);
        assert!(!sample(0.0).has(first) && !sample(0.0).has(last));
        assert!(sample(1.0).has(first) && sample(1.0).has(last));
        assert!(sample(0.5).has(first) && !sample(0.5).has(last));
        assert_eq!(sample(0.01), USUAL);
        let counted = (0..10_000).filter(|part| USUAL.has(trace(((part << 56) / 10_000) | (1 << 64)))).count();
        assert_eq!(counted, 100, "one in a hundred of ids that are evenly spread");
        for none in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Sample::new(none), None, "{none}");
        }
    }

    #[test]
    fn spans_are_posted_below_the_url() {
        for (given, path) in [
            ("http://127.0.0.1:4318", "/v1/traces"),
            ("http://collector:4318/", "/v1/traces"),
            ("https://otlp.example.com/otlp", "/otlp/v1/traces"),
        ] {
            assert_eq!(url(given).unwrap().path, path, "{given}");
        }
        for bad in
            ["collector:4318", "/v1/traces", "https://a/v1/traces", "https://a/?key=x", "grpc://a:4317", "http://u:p@a"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_value_of_a_header_does_not_show() {
        let (name, value) = header("Api-Key", &Value::from("s3cret")).unwrap();
        assert!(!format!("{name:?} {value:?}").contains("s3cret"));
        for (name, value) in [("Host", "a"), ("no name", "a"), ("a", "b\nc")] {
            let message = header(name, &Value::from(value)).unwrap_err();
            assert!(message.contains(name) && !message.contains('\n'), "{message}");
        }
    }
}
