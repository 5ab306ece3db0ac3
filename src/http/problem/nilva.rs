//! Problems in the words of nilva-session 0.1.5 and of what it is made with: Django REST framework for the session's own
//! tokens (`Authorization: Token …`), simplejwt for JSON Web Tokens (`Authorization: Bearer …`).
//!
//! A client of theirs looks at the status, at `detail`, and with JSON Web Tokens at `code` and `messages`. Our own `code`,
//! `reason` and `field` stand beside, under keys that such a client does not look at. What they never say (an idle session, a
//! store that is away) is told in our sentences.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::RequestContext;
use crate::clock::Timestamp;
use crate::error::{Code, Problem};

/// What is to be known of the project that the clients come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Project {
    /// The scheme of its first authentication class, which every 401 named.
    pub first: Scheme,
    /// Whether JSON Web Tokens are accepted, so that an unknown one names a session that is not there.
    pub signed: bool,
}

/// Which of its two authentication classes a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The session's own tokens.
    Token,
    /// JSON Web Tokens.
    Bearer,
}

impl Scheme {
    /// The scheme as it stands in `Authorization`; its case does not matter there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "Token",
            Self::Bearer => "Bearer",
        }
    }

    const fn challenge(self) -> HeaderValue {
        match self {
            Self::Token => HeaderValue::from_static("Token"),
            Self::Bearer => HeaderValue::from_static("Bearer realm=\"api\""),
        }
    }
}

/// A time as Django REST framework writes it: ISO 8601, UTC, with microseconds. It leaves a fraction of zero out; here it
/// always stands, which whoever reads the one form can read too.
pub fn time(at: Timestamp) -> String {
    let millis = at.to_string();
    format!("{}000Z", millis.trim_end_matches('Z'))
}

/// A time as Python prints it.
fn printed(at: Timestamp) -> String {
    time(at).replace('T', " ").replace('Z', "+00:00")
}

/// The body of the answer, and the challenge for the case that its status is 401.
pub(super) fn words(
    problem: &Problem,
    request: &RequestContext<'_>,
    project: Project,
) -> (Map<String, Value>, HeaderValue) {
    let said = say(problem, request, project);
    let mut body = Map::new();
    body.insert("detail".to_owned(), said.detail.into());
    body.insert("code".to_owned(), said.code.unwrap_or_else(|| problem.code.rule().name).into());
    if let Some(message) = said.message {
        body.insert(
            "messages".to_owned(),
            json!([{ "token_class": "AccessToken", "token_type": "access", "message": message }]),
        );
    }
    if let Some(reason) = problem.reason {
        body.insert("reason".to_owned(), reason.into());
    }
    if let Some(field) = problem.field.as_deref() {
        body.insert("field".to_owned(), field.into());
        // How a serializer tells which of its fields is wrong.
        if problem.code == Code::InvalidRequest && !body.contains_key(field) {
            body.insert(field.to_owned(), json!([problem.detail]));
        }
    }
    (body, project.first.challenge())
}

/// What is said of one problem.
#[derive(Debug)]
struct Said {
    detail: String,
    /// simplejwt's code, instead of ours.
    code: Option<&'static str>,
    /// Why an access token is not valid.
    message: Option<&'static str>,
}

impl Said {
    fn plain(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), code: None, message: None }
    }

    fn coded(detail: impl Into<String>, code: &'static str) -> Self {
        Self { detail: detail.into(), code: Some(code), message: None }
    }

    fn not_valid(message: &'static str) -> Self {
        Self { message: Some(message), ..Self::coded("Given token not valid for any token type", "token_not_valid") }
    }
}

fn say(problem: &Problem, request: &RequestContext<'_>, project: Project) -> Said {
    let field = request.headers.get(AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    let presented = Presented::of(field);
    let scheme = presented.scheme.unwrap_or(project.first);
    match (problem.code, scheme) {
        (Code::MissingToken, _) => Said::plain("Authentication credentials were not provided."),
        (Code::MalformedToken, Scheme::Token) => Said::plain(presented.flaw_of_token()),
        (Code::MalformedToken, Scheme::Bearer) if presented.words > 0 && presented.words != 2 => {
            Said::coded("Authorization header must contain two space-delimited values", "bad_authorization_header")
        }
        (Code::UnknownToken, Scheme::Bearer) if project.signed && presented.is_signed => {
            Said::plain("Session not found.")
        }
        (Code::TokenExpired, Scheme::Bearer) => Said::not_valid("Token is expired"),
        (Code::UnknownToken | Code::MalformedToken | Code::InvalidToken, Scheme::Bearer) => {
            Said::not_valid("Token is invalid")
        }
        (Code::UnknownToken | Code::InvalidToken | Code::TokenExpired, Scheme::Token) => Said::plain("Invalid token."),
        (Code::SessionRevoked | Code::SessionSuspended | Code::SessionEvicted, Scheme::Token) => {
            Said::plain("User session is suspended.")
        }
        (Code::SessionRevoked | Code::SessionSuspended | Code::SessionEvicted, Scheme::Bearer) => {
            Said::plain("User is suspended.")
        }
        (Code::SessionExpired, _) => match problem.since {
            Some(at) => Said::plain(format!("Token has expired at {}", printed(at))),
            None => Said::plain(problem.detail.as_ref()),
        },
        (Code::UserDisabled, Scheme::Token) => Said::plain("User inactive or deleted."),
        (Code::UserDisabled, Scheme::Bearer) => Said::coded("User is inactive", "user_inactive"),
        (Code::RoleRequired, _) => Said::plain("You do not have permission to perform this action."),
        (Code::NotFound, _) => Said::plain("Not found."),
        (Code::MethodNotAllowed, _) => Said::plain(format!("Method \"{}\" not allowed.", request.method)),
        (Code::UnsupportedMediaType, _) => {
            Said::plain(format!("Unsupported media type \"{}\" in request.", media_type(request.headers)))
        }
        // They know few refusals; the rest is told in our words.
        _ => Said::plain(problem.detail.as_ref()),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An `Authorization` field as they take it apart.
#[derive(Debug)]
struct Presented {
    scheme: Option<Scheme>,
    words: usize,
    is_text: bool,
    is_signed: bool,
}

impl Presented {
    fn of(field: &[u8]) -> Self {
        let mut words = field.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let first = words.next();
        let token = words.next().unwrap_or_default();
        let is = |scheme: &Scheme| first.is_some_and(|word| word.eq_ignore_ascii_case(scheme.name().as_bytes()));
        Self {
            scheme: [Scheme::Token, Scheme::Bearer].into_iter().find(is),
            words: usize::from(first.is_some()) + usize::from(!token.is_empty()) + words.count(),
            is_text: std::str::from_utf8(token).is_ok(),
            is_signed: token.iter().filter(|byte| **byte == b'.').count() == 2,
        }
    }

    const fn flaw_of_token(&self) -> &'static str {
        match (self.scheme, self.words) {
            (Some(Scheme::Token), 1) => "Invalid token header. No credentials provided.",
            (Some(Scheme::Token), 3..) => "Invalid token header. Token string should not contain spaces.",
            (Some(Scheme::Token), _) if !self.is_text => {
                "Invalid token header. Token string should not contain invalid characters."
            }
            _ => "Invalid token.",
        }
    }
}
