//! Somebody who collects spans: records what is posted, and answers as it is told.

use serde_json::{Value, json};

use super::upstream::{Reaction, Received, Upstream, response};
use super::wait_until;

/// A collector that runs.
pub struct Collector {
    server: Upstream,
}

/// One span, with what stands around it.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub json: Value,
}

impl Span {
    pub fn text(&self, field: &str) -> Option<&str> {
        self.json.get(field).map(|value| value.as_str().unwrap())
    }

    /// An attribute, whatever its type.
    pub fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.json["attributes"], key)
    }

    pub fn keys(&self) -> Vec<&str> {
        self.json["attributes"].as_array().unwrap().iter().map(|each| each["key"].as_str().unwrap()).collect()
    }

    pub fn is_of_server(&self) -> bool {
        self.json["kind"] == json!(2)
    }
}

fn attribute(attributes: &Value, key: &str) -> Option<String> {
    let found = attributes.as_array().unwrap().iter().find(|attribute| attribute["key"] == key)?;
    let value = found["value"].as_object().unwrap().values().next().unwrap();
    Some(value.as_str().unwrap().to_owned())
}

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(|_| Reaction::Send(response("200 OK", "Content-Type: application/json\r\n", "{}")))
    }

    /// One that answers with what `handler` makes of each post.
    pub fn answering(handler: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Self {
        Self { server: Upstream::start(handler) }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What was posted so far.
    pub fn posts(&self) -> Vec<Received> {
        self.server.received()
    }

    /// All spans that were posted so far, in their order.
    pub fn spans(&self) -> Vec<Span> {
        self.posts().iter().flat_map(|post| spans(&post.body)).collect()
    }

    /// The same, once there are so many.
    #[track_caller]
    pub fn until_spans(&self, count: usize) -> Vec<Span> {
        wait_until("the spans are collected", || self.spans().len() >= count);
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

fn spans(body: &[u8]) -> Vec<Span> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let mut found = Vec::new();
    for resource in body["resourceSpans"].as_array().unwrap() {
        let service = attribute(&resource["resource"]["attributes"], "service.name").unwrap();
        for scope in resource["scopeSpans"].as_array().unwrap() {
            let spans = scope["spans"].as_array().unwrap().iter().cloned();
            found.extend(spans.map(|json| Span { service: service.clone(), json }));
        }
    }
    found
}
