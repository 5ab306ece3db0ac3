//! Handing the token of a new session to the client that logged in.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, ETAG, HeaderValue};
use serde_json::Value;

use crate::config::{Config, Deliver};
use crate::error::{Code, Problem};
use crate::gate::body::ResponseBody;
use crate::http::cookie;
use crate::sessions::Created;
use crate::token::Token;

/// What describes the bytes of a body, and is not true any more once a token is in it.
const OF_THE_BYTES: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Makes sure, before there is a token, that the answer can carry one.
///
/// # Errors
/// [`Code::Internal`] when it cannot: the settings do not fit the application.
pub(super) fn check(how: &Deliver, answer: Option<&Value>) -> Result<(), Problem> {
    match how {
        Deliver::Cookie | Deliver::Header(_) => Ok(()),
        Deliver::Json(pointer) if answer.is_some_and(|answer| has_place(answer, pointer)) => Ok(()),
        Deliver::Json(pointer) => {
            tracing::error!(
                pointer,
                "the login's answer is no JSON object that the token could be put into; use another `deliver`"
            );
            Err(Problem::new(Code::Internal))
        }
    }
}

/// Gives the client its token; `max_age` is how long a browser keeps it.
pub(super) fn deliver(
    config: &Config,
    how: &Deliver,
    (created, max_age): (&Created, Option<Duration>),
    mut response: Response<ResponseBody>,
    answer: Option<Value>,
) -> Result<Response<ResponseBody>, Problem> {
    // No cache may keep an answer with a token in it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match how {
        Deliver::Cookie => {
            let attributes = cookie::Attributes { max_age, ..config.token.cookie };
            let name = config.token.credential.cookie();
            let line = cookie::set_cookie(name, created.token.reveal(), &attributes)?;
            cookie::put(response.headers_mut(), name, line);
            Ok(response)
        }
        Deliver::Header(name) => {
            let mut value = HeaderValue::try_from(created.token.reveal()).map_err(|_| Problem::new(Code::Internal))?;
            value.set_sensitive(true);
            response.headers_mut().insert(name, value);
            Ok(response)
        }
        Deliver::Json(pointer) => {
            let whole = answer.and_then(|answer| with_value(answer, pointer, created.token.reveal()));
            // `check` has seen its place.
            let whole = whole.ok_or_else(|| Problem::new(Code::Internal))?;
            let (mut parts, _) = response.into_parts();
            for name in [CONTENT_LENGTH, ETAG] {
                parts.headers.remove(name);
            }
            for name in OF_THE_BYTES {
                parts.headers.remove(name);
            }
            Ok(Response::from_parts(parts, ResponseBody::whole(Bytes::from(whole))))
        }
    }
}

/// Gives the browser of a session its new token; `max_age` is how long it keeps it.
pub(super) fn rotated(
    config: &Config,
    token: &Token,
    max_age: Option<Duration>,
    response: &mut Response<ResponseBody>,
) -> Result<(), Problem> {
    let attributes = cookie::Attributes { max_age, ..config.token.cookie };
    let name = config.token.credential.cookie();
    let line = cookie::set_cookie(name, token.reveal(), &attributes)?;
    cookie::put(response.headers_mut(), name, line);
    // No cache may keep an answer with a token in it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(())
}

/// Whether the parent of what the pointer names is an object.
fn has_place(json: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').and_then(|(parent, _)| json.pointer(parent));
    parent.is_some_and(Value::is_object)
}

/// The JSON object with a text put in at a pointer whose parent is there.
fn with_value(mut json: Value, pointer: &str, text: &str) -> Option<Vec<u8>> {
    let (parent, key) = pointer.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    json.pointer_mut(parent)?.as_object_mut()?.insert(key, text.into());
    serde_json::to_vec(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_put_into_the_object_that_its_pointer_names() {
        let json = serde_json::json!({"user": {"id": 7}, "a": 1});
        let put = |pointer| {
            let put = with_value(json.clone(), pointer, "t").map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(put.is_some(), has_place(&json, pointer), "{pointer}");
            put
        };
        assert_eq!(put("/token").unwrap(), r#"{"user":{"id":7},"a":1,"token":"t"}"#);
        assert_eq!(put("/user/token").unwrap(), r#"{"user":{"id":7,"token":"t"},"a":1}"#);
        assert_eq!(put("/missing/token"), None);
        assert_eq!(put("/a/token"), None, "a number has no fields");
    }
}
