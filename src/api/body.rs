//! The body of a call: a JSON object.

use bytes::Bytes;
use http::header::HeaderMap;
use serde_json::{Map, Value};

use crate::error::{Code, Problem};
use crate::http::fields::{self, Media};

/// The largest body.
const MAX_BODY: usize = 64 * 1024;

/// Reads a body as a JSON object in which no key stands twice.
///
/// # Errors
/// [`Code::UnsupportedMediaType`], [`Code::PayloadTooLarge`], and [`Code::InvalidRequest`] with what is wrong.
pub(super) async fn object(
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Map<String, Value>, Problem> {
    if !matches!(Media::of(headers), Media::Json) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    let bytes = read(MAX_BODY).await?;
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::invalid("body", format!("The body is no JSON: {error}.")))?;
    if fields::json_document(&bytes).is_none() {
        return Err(Problem::invalid("body", "An object in the body has a key twice."));
    }
    match body {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::invalid("body", "The body must be a JSON object."))
        }
    }
}
