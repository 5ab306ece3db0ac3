//! Looking into a body up to a bound, and putting it back byte for byte.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, HeaderMap};
use http::{Response, request};
use http_body::Body;

use crate::error::{Code, Problem};
use crate::gate::body::{RequestBody, ResponseBody};
use crate::gate::client::Phases;
use crate::http::fields::{self, Media};

/// What was seen of a request's body: all of it, or nothing when it was larger than the bound.
#[derive(Debug, Default)]
pub(super) struct Inspected {
    whole: Option<(Media, Bytes)>,
    /// The query: many applications do not tell its parameters from the fields of the body.
    query: String,
}

impl Inspected {
    pub(super) async fn form_field(&self, name: &str) -> Option<String> {
        let value = match self.whole.as_ref()? {
            (Media::Form, body) => fields::form_field(body, name),
            (Media::Multipart { boundary }, body) => fields::multipart_field(boundary, body.clone(), name).await,
            (Media::Json | Media::Other, _) => None,
        };
        value.filter(|value| fields::query_agrees(&self.query, name, value))
    }

    /// Whether a form has a field of this name that says yes.
    pub(super) async fn form_says_yes(&self, name: &str) -> bool {
        match self.whole.as_ref() {
            Some((Media::Form, body)) => fields::form_says_yes(body, name),
            Some((Media::Multipart { boundary }, body)) => fields::multipart_field(boundary, body.clone(), name)
                .await
                .is_some_and(|value| fields::says_yes(&value)),
            Some((Media::Json | Media::Other, _)) | None => false,
        }
    }

    pub(super) fn json_field(&self, pointer: &str) -> Option<String> {
        let value = fields::json_field(&self.json()?, pointer)?;
        let outermost = pointer.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
        fields::query_agrees(&self.query, &outermost, &value).then_some(value)
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match self.whole.as_ref()? {
            // Refuses duplicate keys: the application may take the other one.
            (Media::Json, body) => fields::json_document(body),
            (Media::Form | Media::Multipart { .. } | Media::Other, _) => None,
        }
    }
}

/// Looks at a request's body.
///
/// # Errors
/// [`RequestTimeout`](crate::error::Code::RequestTimeout) or [`InvalidRequest`](crate::error::Code::InvalidRequest) when
/// it does not arrive.
pub(super) async fn request(
    request: &request::Parts,
    body: &mut RequestBody,
    bound: usize,
) -> Result<Inspected, Problem> {
    let media = Media::of(&request.headers);
    if matches!(media, Media::Other) || is_encoded(&request.headers) {
        return Ok(Inspected::default());
    }
    let query = request.uri.query().unwrap_or_default().to_owned();
    let (seen, whole) = body.read(bound).await?;
    body.put_back(seen.clone());
    Ok(Inspected { whole: whole.then_some((media, seen)), query })
}

/// Looks at a response's body: its JSON, when it is that and within the bound. All of it is to come within `timeout`, since
/// the client gets nothing before.
///
/// # Errors
/// [`Code::UpstreamTimeout`].
pub(super) async fn response(
    response: &mut Response<ResponseBody>,
    bound: usize,
    timeout: Duration,
    phases: &Phases,
) -> Result<Option<serde_json::Value>, Problem> {
    if !matches!(Media::of(response.headers()), Media::Json) || is_encoded(response.headers()) {
        return Ok(None);
    }
    let body = response.body_mut();
    let mut seen = BytesMut::new();
    phases.response_awaited(timeout);
    let whole = loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => phases.poll_response_limit(cx).map(|_| Err(Problem::new(Code::UpstreamTimeout))),
        });
        match frame.await? {
            None => break true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    seen.extend_from_slice(data);
                }
            }
            Some(Err(_)) => break false,
        }
        if seen.len() > bound {
            break false;
        }
    };
    phases.response_begun();
    let seen = seen.freeze();
    body.put_back(seen.clone());
    // One with a key twice is none: the client may read the other one.
    Ok(if whole { fields::json_document(&seen) } else { None })
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
