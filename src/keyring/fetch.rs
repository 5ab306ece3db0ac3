//! One GET of a key set.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;

use crate::config::WebUrl;
use crate::outbound::{Bounds, CallError, Caller};

/// Large issuers publish some ten kilobytes.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), size: 256 * 1024 };

/// The key set at this address.
pub(super) async fn get(caller: &Caller, url: &WebUrl) -> Result<Bytes, CallError> {
    let mut request = Request::new(Full::default());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
    let response = caller.call(url, request, BOUNDS).await?;
    // The others of the 2xx have no set, or a part of it.
    if response.status() != StatusCode::OK {
        return Err(CallError::Status(response.status()));
    }
    Ok(response.into_body())
}
