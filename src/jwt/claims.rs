//! The two JSON objects of a token, read so that there is one way to read them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, Rejection};
use crate::clock::Timestamp;
use crate::http::fields;

/// A part of a token: unpadded base64url, in its one spelling.
pub(super) fn decode(part: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// A part that is a JSON object without a key that stands twice.
pub(super) fn object(part: &[u8]) -> Option<Map<String, Value>> {
    match fields::json_document(&decode(part)?)? {
        Value::Object(object) => Some(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// What a token's header says. Keys that it brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Header {
    pub(super) fn read(part: &[u8]) -> Result<Self, Rejection> {
        let mut header =
            object(part).ok_or(Rejection::invalid("The token's header is no JSON object in base64url."))?;
        // Whatever it says must be understood (RFC 7515 section 4.1.11), and nothing is.
        if header.contains_key("crit") {
            return Err(Rejection::invalid("The token's header has a critical extension that is not understood."));
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(media_type)) if is_access_type(media_type) => {}
            Some(_) => return Err(Rejection::invalid("The token's header says that it is no access token (typ).")),
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.ok_or(Rejection::invalid("The token's algorithm is not accepted (alg)."))?;
        let kid = match header.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Rejection::invalid("The name of the token's key is no text (kid).")),
        };
        Ok(Self { algorithm, kid })
    }
}

/// `JWT`, or the type of RFC 9068; other types are for other purposes (RFC 8725 section 3.11).
fn is_access_type(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    matches!(lower.strip_prefix("application/").unwrap_or(&lower), "jwt" | "at+jwt")
}

/// The claims of a token whose signature is good.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn read(part: &[u8]) -> Result<Self, Rejection> {
        object(part).map(Self).ok_or(Rejection::invalid("The token's payload is no JSON object in base64url."))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A moment in seconds since 1970, with or without a fraction.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Rejection> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let wrong = || Rejection::Invalid(format!("The token's {name} is no number.").into());
        let number = value.as_number().ok_or_else(wrong)?;
        let millis = match (number.as_i64(), number.as_f64()) {
            (Some(seconds), _) => seconds.saturating_mul(1000),
            // Saturates at the ends of time; JSON has no NaN.
            (None, Some(seconds)) => (seconds * 1000.0) as i64,
            (None, None) => return Err(wrong()),
        };
        Ok(Some(Timestamp::from_millis(millis)))
    }

    /// Whether a claim that is one text or a list of them has one of `wanted`.
    pub(super) fn names_one_of(&self, name: &str, wanted: &[String]) -> bool {
        let is_wanted = |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|wanted| wanted == text));
        match self.0.get(name) {
            Some(Value::Array(list)) => list.iter().all(Value::is_string) && list.iter().any(is_wanted),
            Some(value) => is_wanted(value),
            None => false,
        }
    }

    /// Whether the token says that it is for getting new ones, for telling who logged in, or for anything else but access.
    pub(super) fn is_of_another_kind(&self) -> bool {
        let is = |name: &str, kinds: &[&str]| match self.0.get(name) {
            None => true,
            Some(Value::String(kind)) => kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)),
            Some(_) => false,
        };
        !(is("token_type", &["access"]) && is("typ", &["access", "bearer", "jwt", "at+jwt"]))
    }
}
