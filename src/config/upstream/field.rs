//! Where a login says who logged in, and where its answer gets the token.

use figment::value::Value;
use http::header::HeaderName;

use crate::config::reader::text;

/// Where something about the user stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A field of the request's form, urlencoded or multipart.
    Form(String),
    /// A JSON pointer into the request's body.
    RequestJson(String),
    /// A header of the response, which does not reach the client.
    ResponseHeader(HeaderName),
    /// A JSON pointer into the response's body.
    ResponseJson(String),
    /// The same for everybody.
    Value(String),
}

impl Field {
    /// Whether the request's body must be looked at.
    pub const fn is_in_request(&self) -> bool {
        matches!(self, Self::Form(_) | Self::RequestJson(_))
    }

    /// Whether the response's body must be looked at.
    pub const fn is_in_response_body(&self) -> bool {
        matches!(self, Self::ResponseJson(_))
    }
}

/// How the client gets its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// As the session cookie.
    Cookie,
    /// In this header of the response.
    Header(HeaderName),
    /// At this JSON pointer of the response's body.
    Json(String),
}

/// The forms of a [`Field`], for messages.
pub(super) const FIELD_FORM: &str = "{ form = \"username\" } or { request_json = \"/username\" } of the request, \
                          { header = \"X-Session-User\" } or { json = \"/user/id\" } of the response";

pub(super) fn field(value: &Value) -> Result<Field, String> {
    let entries = value.as_dict().ok_or_else(|| format!("must be one of {FIELD_FORM}"))?;
    let mut pairs = entries.iter();
    let (Some((kind, place)), None) = (pairs.next(), pairs.next()) else {
        return Err(format!("must be one of {FIELD_FORM}"));
    };
    let place = text(place).map_err(|error| format!("{kind} {error}"))?;
    match kind.as_str() {
        "form" => Ok(Field::Form(place)),
        // A bare name is a field of what the client sends; a pointer leads into what the application answers.
        "json" if !place.starts_with('/') => Ok(Field::RequestJson(format!("/{place}"))),
        "json" | "response_json" => pointer(place).map(Field::ResponseJson),
        "request_json" => pointer(place).map(Field::RequestJson),
        "header" => header(&place).map(Field::ResponseHeader),
        "value" => Ok(Field::Value(place)),
        other => Err(format!("\"{other}\" is unknown; use one of {FIELD_FORM}")),
    }
}

pub(super) fn deliver(value: &Value) -> Result<Deliver, String> {
    const FORM: &str = "must be \"cookie\", { header = \"X-Session-Token\" } or { json = \"/token\" }";
    match value.as_str() {
        Some("cookie") => return Ok(Deliver::Cookie),
        Some("header") => return Ok(Deliver::Header(HeaderName::from_static("x-session-token"))),
        Some("json") => return Ok(Deliver::Json("/token".to_owned())),
        Some(_) => return Err(FORM.to_owned()),
        None => {}
    }
    let mut pairs = value.as_dict().ok_or(FORM)?.iter();
    let (Some((kind, place)), None) = (pairs.next(), pairs.next()) else { return Err(FORM.to_owned()) };
    let place = text(place)?;
    match kind.as_str() {
        "header" => header(&place).map(Deliver::Header),
        "json" => pointer(place).map(Deliver::Json),
        _ => Err(FORM.to_owned()),
    }
}

fn pointer(text: String) -> Result<String, String> {
    if text.starts_with('/') && text.len() > 1 {
        Ok(text)
    } else {
        Err("must be a JSON pointer such as \"/user/id\"".to_owned())
    }
}

fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("\"{name}\" is no header name"))
}
