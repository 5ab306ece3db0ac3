//! Spans in the words of OTLP 1, as JSON: `ExportTraceServiceRequest`, with the attributes of the semantic conventions for
//! HTTP. In this form ids are hexadecimal digits and long numbers are texts.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use serde::Serialize;

use super::{Call, Span};
use crate::clock::Timestamp;
use crate::http::Host;
use crate::http::trace_context::SpanId;

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// The status code of a span that failed.
const FAILED: u8 = 2;
/// The flags of a sampled span of which is known whether its parent is somebody else's (`SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`),
const FLAGS: u16 = 0x101;
/// and which is (`SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`).
const REMOTE: u16 = 0x200;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 2],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Encoded<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encoded<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u16,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(Cow<'a, str>),
    #[serde(rename = "intValue")]
    Number(String),
}

fn text<'a>(key: &'static str, text: impl Into<Cow<'a, str>>) -> Attribute<'a> {
    Attribute { key, value: Value::Text(text.into()) }
}

fn number<'a>(key: &'static str, number: u16) -> Attribute<'a> {
    Attribute { key, value: Value::Number(number.to_string()) }
}

/// The request that brings these spans, of this service.
///
/// # Errors
/// None that is known: all that is written are texts and numbers.
pub(super) fn request(spans: &[Span], service: &str) -> serde_json::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [text("service.name", service), text("service.version", version)];
    let spans = spans.iter().flat_map(|span| {
        let call = span.call.as_ref().map(|call| of_call(span, call));
        std::iter::once(of_request(span)).chain(call)
    });
    let scope_spans = [ScopeSpans { scope: Scope { name: "session-gateway", version }, spans: spans.collect() }];
    serde_json::to_vec(&Request { resource_spans: [ResourceSpans { resource: Resource { attributes }, scope_spans }] })
}

/// What the gateway did.
fn of_request(span: &Span) -> Encoded<'_> {
    let mut attributes = vec![method(span.method.as_ref()), text("url.path", &*span.path)];
    attributes.extend(span.status.map(|status| number("http.response.status_code", status)));
    attributes.extend(span.client.map(|client| text("client.address", client.to_string())));
    if let Ok(host) = Host::parse(span.host.as_bytes()) {
        attributes.push(text("server.address", host.name().trim_matches(['[', ']']).to_owned()));
        attributes.extend(host.port().map(|port| number("server.port", port)));
    }
    attributes.extend(span.user.as_deref().map(|user| text("enduser.id", user)));
    attributes.push(text("gateway.verdict", span.verdict));
    attributes.extend(span.cut.map(|cut| text("gateway.cut", cut)));
    // A client's fault is none of the server's.
    let failed = span.status.filter(|status| *status >= 500);
    attributes.extend(failed.map(|status| text("error.type", status.to_string())));
    Encoded {
        attributes,
        kind: SERVER,
        status: failed.map(|_| Status { code: FAILED }),
        flags: if span.parent.is_some() { FLAGS | REMOTE } else { FLAGS },
        ..timed(span, (span.id, span.parent), Duration::ZERO, span.duration)
    }
}

/// What the application did, as the gateway saw it.
fn of_call<'a>(span: &'a Span, call: &'a Call) -> Encoded<'a> {
    let mut attributes = vec![method(span.method.as_ref())];
    if let Some((host, port)) = &call.address {
        attributes.push(text("server.address", host.as_str()));
        attributes.extend(port.map(|port| number("server.port", port)));
    }
    attributes.push(text("gateway.upstream", &*call.upstream));
    let status = span.status.filter(|_| call.answered);
    attributes.extend(status.map(|status| number("http.response.status_code", status)));
    let failed = if call.answered {
        status.filter(|status| *status >= 400).map(|status| Cow::Owned(status.to_string()))
    } else {
        Some(Cow::Borrowed(span.verdict))
    };
    let is_failed = failed.is_some();
    attributes.extend(failed.map(|why| text("error.type", why)));
    Encoded {
        attributes,
        kind: CLIENT,
        status: is_failed.then_some(Status { code: FAILED }),
        ..timed(span, (call.id, Some(span.id)), call.after, call.duration)
    }
}

fn timed(span: &Span, (id, parent): (SpanId, Option<SpanId>), after: Duration, lasting: Duration) -> Encoded<'_> {
    Encoded {
        trace_id: digits(&span.trace.hex()),
        span_id: digits(&id.hex()),
        parent_span_id: parent.map(|parent| digits(&parent.hex())),
        flags: FLAGS,
        name: known(span.method.as_ref()).unwrap_or("HTTP"),
        kind: SERVER,
        start_time_unix_nano: nanos(span.began, after),
        end_time_unix_nano: nanos(span.began, after.saturating_add(lasting)),
        attributes: Vec::new(),
        status: None,
    }
}

fn digits(hex: &[u8]) -> String {
    String::from_utf8_lossy(hex).into_owned()
}

fn nanos(began: Timestamp, after: Duration) -> String {
    let began = u128::try_from(began.as_millis()).unwrap_or(0) * 1_000_000;
    (began + after.as_nanos()).to_string()
}

/// A method that anybody can think of does not make a kind of spans of its own.
fn known(method: Option<&Method>) -> Option<&str> {
    let method = method?;
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::CONNECT,
        Method::TRACE,
    ];
    KNOWN.contains(method).then(|| method.as_str())
}

fn method(method: Option<&Method>) -> Attribute<'_> {
    text("http.request.method", known(method).unwrap_or("_OTHER"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::traces::span::tests::span;

    fn encoded(span: &Span) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&request(std::slice::from_ref(span), "shop").unwrap()).unwrap();
        let spans = &body["resourceSpans"][0];
        assert_eq!(
            spans["resource"]["attributes"][0],
            json!({ "key": "service.name", "value": { "stringValue": "shop" } })
        );
        assert_eq!(spans["scopeSpans"][0]["scope"]["name"], "session-gateway");
        spans["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    fn attribute(span: &Value, key: &str) -> Option<String> {
        let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key)?;
        let value = found["value"].get("stringValue").or_else(|| found["value"].get("intValue")).unwrap();
        Some(value.as_str().unwrap().to_owned())
    }

    #[test]
    fn a_request_is_a_span_of_the_server_with_one_of_the_client_in_it() {
        let spans = encoded(&Span { parent: SpanId::new(3), host: "app.test:8080".to_owned(), ..span() });
        let [request, call] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(request["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&request["spanId"], &request["parentSpanId"]),
            (&"0000000000000001".into(), &"0000000000000003".into())
        );
        assert_eq!((&call["spanId"], &call["parentSpanId"]), (&"0000000000000002".into(), &"0000000000000001".into()));
        assert_eq!((&request["kind"], &call["kind"], &request["name"]), (&2.into(), &3.into(), &"GET".into()));
        assert_eq!((&request["flags"], &call["flags"]), (&0x301.into(), &0x101.into()));
        assert_eq!(request["startTimeUnixNano"], "1763656204250000000");
        assert_eq!(request["endTimeUnixNano"], "1763656204251500000");
        assert_eq!(call["startTimeUnixNano"], "1763656204250100000");
        assert_eq!(call["endTimeUnixNano"], "1763656204251100000");
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/a"),
            ("http.response.status_code", "200"),
            ("client.address", "192.0.2.7"),
            ("server.address", "app.test"),
            ("server.port", "8080"),
            ("gateway.verdict", "forwarded"),
        ] {
            assert_eq!(attribute(request, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!((attribute(request, "enduser.id"), attribute(request, "error.type")), (None, None));
        assert_eq!(attribute(call, "server.address").as_deref(), Some("127.0.0.1"));
        assert_eq!(attribute(call, "gateway.upstream").as_deref(), Some("app"));
        assert_eq!((request.get("status"), call.get("status")), (None, None));
    }

    #[test]
    fn who_begins_a_trace_has_no_parent() {
        let spans = encoded(&Span { call: None, ..span() });
        assert_eq!((spans.len(), spans[0].get("parentSpanId"), &spans[0]["flags"]), (1, None, &0x101.into()));
    }

    #[test]
    fn a_failure_is_told_by_whose_it_is() {
        let failed = |span: &Value| span["status"]["code"] == 2;
        let missing = encoded(&Span { status: Some(404), ..span() });
        assert!(!failed(&missing[0]) && failed(&missing[1]));
        assert_eq!(attribute(&missing[1], "error.type").as_deref(), Some("404"));
        let mut down = Span { status: Some(502), verdict: "upstream_unreachable", ..span() };
        if let Some(call) = &mut down.call {
            call.answered = false;
        }
        let down = encoded(&down);
        assert!(failed(&down[0]) && failed(&down[1]));
        assert_eq!(attribute(&down[1], "error.type").as_deref(), Some("upstream_unreachable"));
        assert_eq!(attribute(&down[1], "http.response.status_code"), None);
    }

    #[test]
    fn a_method_that_nobody_knows_makes_no_name() {
        let spans = encoded(&Span { method: Method::from_bytes(b"BREW").ok(), ..span() });
        assert_eq!(spans[0]["name"], "HTTP");
        assert_eq!(attribute(&spans[0], "http.request.method").as_deref(), Some("_OTHER"));
    }
}
