//! Finding one field in the body of a login.
//!
//! The gateway makes a session for the user whom the application let in, so both must read the same name out of the same
//! bytes. Parsers differ: some take the first of two equal fields and some the last, some fold case or punctuation in
//! names (PHP reads `user.name` as `user_name`, Go reads `Username` as `username`), some split at `;`. Somebody who logs
//! in as himself must not become another by a body that we read differently. So whatever has two readings has none here:
//! the answer is `None`, and no session is made.

mod json;
mod multipart;

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use percent_encoding::percent_decode;

use super::cookie;

pub use self::json::{json_document, json_field, json_says_yes};
pub use self::multipart::multipart_field;

/// What kind of body a message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/x-www-form-urlencoded`, for [`form_field`].
    Form,
    /// `multipart/form-data`, for [`multipart_field`].
    Multipart {
        /// What separates the parts.
        boundary: String,
    },
    /// JSON of any type, for [`json_document`].
    Json,
    /// Nothing that can be looked into: none of these, or in another character set than UTF-8.
    Other,
}

impl Media {
    /// Reads the Content-Type. One that is missing, repeated or cannot be read is [`Media::Other`], and so is one beside a
    /// second spelling such as `Content_Type`: applications behind CGI-like interfaces cannot tell the two apart.
    pub fn of(headers: &HeaderMap) -> Self {
        let folded = |name: &HeaderName| folded(name.as_str()).eq("CONTENTTYPE".chars());
        if headers.keys().any(|name| *name != CONTENT_TYPE && folded(name)) {
            return Self::Other;
        }
        let mut lines = headers.get_all(CONTENT_TYPE).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().and_then(Self::parse).unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (essence, rest) = line.split_at(line.find(';').unwrap_or(line.len()));
        let essence = essence.trim().to_ascii_lowercase();
        let parameters = parameters(rest)?;
        let charset = only(&parameters, "charset")?;
        if charset.is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            return None;
        }
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "multipart/form-data" => {
                let boundary = only(&parameters, "boundary")?.filter(|boundary| multipart::is_boundary(boundary))?;
                Some(Self::Multipart { boundary: boundary.to_owned() })
            }
            "application/json" | "text/json" => Some(Self::Json),
            other if other.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// The field `name` of a urlencoded form. `None` when it is not there, or when some parser would read another value.
pub fn form_field(body: &[u8], name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for pair in body.split(|byte| *byte == b'&') {
        // Browsers encode a semicolon. Where it stands bare, some parsers begin another field at it.
        let mut pieces = pair.split(|byte| *byte == b';');
        let (key, value) = halves(pieces.next().unwrap_or_default());
        let mut hidden = pieces.peekable();
        match likeness(key, name) {
            Likeness::Other => {}
            Likeness::Same if hidden.peek().is_none() => {
                let value = decode(value)?;
                match &found {
                    Some(first) if *first != value => return None,
                    Some(_) => {}
                    None => found = Some(value),
                }
            }
            Likeness::Same | Likeness::Alias => return None,
        }
        if hidden.any(|piece| likeness(halves(piece).0, name) != Likeness::Other) {
            return None;
        }
    }
    found
}

/// Whether one of the fields `name` of a urlencoded form says yes. Only for what may be read either way.
pub fn form_says_yes(body: &[u8], name: &str) -> bool {
    let mut pairs = body.split(|byte| *byte == b'&').map(halves);
    pairs.any(|(key, value)| {
        likeness(key, name) == Likeness::Same && decode(value).is_some_and(|value| says_yes(&value))
    })
}

/// Whether a text is a yes: anything but the usual words for no.
pub fn says_yes(text: &str) -> bool {
    let text = text.trim();
    !["", "0", "false", "off", "no"].iter().any(|no| text.eq_ignore_ascii_case(no))
}

/// Whether a query leaves a form's or document's field `name` as it is: it does not name it, or gives it the same value.
///
/// Servlets and others keep the parameters of the query and of the body in one list and hand out the query's first; some
/// do it the other way round.
pub fn query_agrees(query: &str, name: &str, value: &str) -> bool {
    let mut keys = query.split(['&', ';']).map(|pair| halves(pair.as_bytes()).0);
    keys.all(|key| likeness(key, name) == Likeness::Other)
        || form_field(query.as_bytes(), name).is_some_and(|other| other == value)
}

/// How a field's name stands to the one that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    Same,
    /// Another name to us, and the same to some parsers.
    Alias,
    Other,
}

impl Likeness {
    fn of(name: &str, wanted: &str) -> Self {
        if name == wanted {
            return Self::Same;
        }
        // C strings end at NUL, and `name[]` and `name[0]` are lists under `name`: what stands before any of the brackets
        // counts. One pass for all of them, since a name may be as long as a body.
        let name = name.split('\0').next().unwrap_or_default();
        let mut wanted = folded(wanted).peekable();
        for character in name.chars() {
            if character == '[' && wanted.peek().is_none() {
                return Self::Alias;
            }
            let mut buffer = [0; 4];
            if !folded(character.encode_utf8(&mut buffer)).all(|letter| wanted.next() == Some(letter)) {
                return Self::Other;
            }
        }
        if wanted.peek().is_none() { Self::Alias } else { Self::Other }
    }
}

/// A name without case and punctuation, all of which some parsers fold.
fn folded(name: &str) -> impl Iterator<Item = char> {
    same_case(name).filter(|character| character.is_alphanumeric())
}

/// A name without case, by the full Unicode rule: Go takes the Kelvin sign for a `k` and the long s for an `s`.
fn same_case(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase)
}

/// The encoded name and value of a pair.
fn halves(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

fn likeness(key: &[u8], wanted: &str) -> Likeness {
    Likeness::of(&percent_decode(&spaced(key)).decode_utf8_lossy(), wanted)
}

/// Decodes a value; one with a broken escape or that is no UTF-8 is read differently everywhere.
fn decode(value: &[u8]) -> Option<String> {
    let broken = value.split(|byte| *byte == b'%').skip(1).any(|after| match after {
        [high, low, ..] => !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit(),
        _ => true,
    });
    if broken {
        return None;
    }
    percent_decode(&spaced(value)).decode_utf8().ok().map(Cow::into_owned)
}

/// A plus is a space.
fn spaced(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
}

/// Reads `;name=value` parameters (RFC 9110 section 5.6.6), values without their quotes. `None` when it cannot be read or
/// has a backslash, which some take for an escape.
fn parameters(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix(';')?.trim_start().split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find([';', ' ', '\t']).unwrap_or(after.len())),
        };
        if name.is_empty() || !name.bytes().all(cookie::is_token_byte) || value.contains(['\\', '"']) {
            return None;
        }
        found.push((name, value));
        rest = after.trim_start();
    }
    Some(found)
}

/// The parameter `name`, if there is one. `None` when there are several, or one in the extended form of RFC 8187 or RFC
/// 2231 (`name*=`, `name*0=`), which not everybody reads.
fn only<'a>(parameters: &[(&'a str, &'a str)], name: &str) -> Option<Option<&'a str>> {
    let mut found = None;
    for (given, value) in parameters {
        let (plain, extended) = given.split_at(given.find('*').unwrap_or(given.len()));
        if plain.eq_ignore_ascii_case(name) && (found.replace(*value).is_some() || !extended.is_empty()) {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests;
