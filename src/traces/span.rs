//! What is told of a request to whoever collects spans.

use std::net::IpAddr;
use std::time::Duration;

use http::Method;

use crate::clock::Timestamp;
use crate::http::trace_context::{SpanId, TraceId};

/// The most that is kept of a text that a client chose, in bytes: what waits has a bound.
const LONGEST_TEXT: usize = 512;

/// A request that was served.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it was sent by.
    pub parent: Option<SpanId>,
    /// When its headers were complete.
    pub began: Timestamp,
    /// From there to the end of its response.
    pub duration: Duration,
    /// Its method; `None` for one that is too long to be kept.
    pub method: Option<Method>,
    /// Its path, without the query.
    pub path: String,
    /// The status of the response; `None` when there was none.
    pub status: Option<u16>,
    /// Who made it.
    pub client: Option<IpAddr>,
    /// The host that was asked for, perhaps with a port.
    pub host: String,
    /// Whose session it was, if that shall be told.
    pub user: Option<String>,
    /// What became of it.
    pub verdict: &'static str,
    /// Why its response was cut.
    pub cut: Option<&'static str>,
    /// The call of the application.
    pub call: Option<Call>,
}

/// The call of an application for the sake of a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id, which the application was told.
    pub id: SpanId,
    /// From the beginning of the request to this call.
    pub after: Duration,
    /// From there to the head of the application's response, or until it was given up.
    pub duration: Duration,
    /// The application's name in the settings.
    pub upstream: String,
    /// Where it is, if there is one address only.
    pub address: Option<(String, Option<u16>)>,
    /// Whether there was a response.
    pub answered: bool,
}

impl Span {
    /// How many spans that makes.
    pub fn count(&self) -> u64 {
        1 + u64::from(self.call.is_some())
    }

    /// A method, if it may be one that has a name in spans.
    pub fn method(whole: &Method) -> Option<Method> {
        const LONGEST: usize = 16;

        (whole.as_str().len() <= LONGEST).then(|| whole.clone())
    }

    /// A text of a client's, as far as it is kept.
    pub fn text(whole: &str) -> String {
        let end = (0..=LONGEST_TEXT.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        whole.get(..end).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::traces) fn span() -> Span {
        Span {
            trace: TraceId::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736).unwrap(),
            id: SpanId::new(1).unwrap(),
            parent: None,
            began: Timestamp::from_millis(1_763_656_204_250),
            duration: Duration::from_micros(1_500),
            method: Some(Method::GET),
            path: "/a".to_owned(),
            status: Some(200),
            client: Some("192.0.2.7".parse().unwrap()),
            host: "app.test".to_owned(),
            user: None,
            verdict: "forwarded",
            cut: None,
            call: Some(Call {
                id: SpanId::new(2).unwrap(),
                after: Duration::from_micros(100),
                duration: Duration::from_micros(1_000),
                upstream: "app".to_owned(),
                address: Some(("127.0.0.1".to_owned(), Some(3000))),
                answered: true,
            }),
        }
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(Span::text("/a"), "/a");
        assert_eq!(Span::text(&"x".repeat(2_000)).len(), LONGEST_TEXT);
        let long = format!("/{}", "é".repeat(600));
        assert_eq!(Span::text(&long).len(), LONGEST_TEXT - 1);
        assert!(long.starts_with(&Span::text(&long)));
    }
}
