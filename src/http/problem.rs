//! The answer to a request that failed: an RFC 9457 problem with the fields that its status asks for, or what clients of
//! another program expect instead.

pub mod nilva;

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};

use crate::error::{Code, Problem};

/// In whose words a problem is told. The status is the same in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Problem+json with our codes.
    #[default]
    Ours,
    /// What clients of this project with nilva-session are used to.
    Nilva(nilva::Project),
}

/// What the answer depends on besides the problem.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// Whether the request brought a credential of ours, good or bad. Only then is it told that its token is invalid;
    /// otherwise it is told how to bring one (RFC 6750 section 3.1).
    pub presented: bool,
    /// In whose words it is told.
    pub dialect: Dialect,
    /// The request's method.
    pub method: &'a Method,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// The body of a problem (RFC 9457 section 3). With `about:blank` the title is the status phrase.
#[derive(serde::Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// The answer that tells the client about `problem`. No cache keeps it.
pub fn respond(problem: &Problem, request: &RequestContext<'_>) -> Response<Bytes> {
    match request.dialect {
        Dialect::Ours => framed(problem, JSON_PROBLEM, text(problem), || challenge(problem, request.presented)),
        Dialect::Nilva(project) => {
            let (body, challenge) = nilva::words(problem, request, project);
            framed(problem, JSON, json(&body), || challenge)
        }
    }
}

/// What a problem says. Most say no more than their code does, which is written down once: who is refused as fast as it asks shall
/// not cost more than it must.
fn text(problem: &Problem) -> Bytes {
    static WRITTEN: LazyLock<Vec<Bytes>> =
        LazyLock::new(|| Code::ALL.iter().map(|code| json(&ours(&Problem::new(*code)))).collect());

    let is_plain = problem.field.is_none() && problem.reason.is_none() && problem.detail == problem.code.rule().title;
    let written = WRITTEN.get(problem.code.index()).filter(|_| is_plain).cloned();
    written.unwrap_or_else(|| json(&ours(problem)))
}

/// Strings and numbers always serialize; were it not so, the status alone still says no.
fn json(body: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(body).map(Bytes::from).unwrap_or_default()
}

const JSON_PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn ours(problem: &Problem) -> Body<'_> {
    let rule = problem.code.rule();
    let status = status(problem);
    Body {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or(rule.name),
        status: status.as_u16(),
        code: rule.name,
        detail: &problem.detail,
        field: problem.field.as_deref(),
        reason: problem.reason,
    }
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.code.rule().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A body with the status and the fields that go with it in every dialect.
fn framed(
    problem: &Problem,
    media_type: HeaderValue,
    body: Bytes,
    challenge: impl FnOnce() -> HeaderValue,
) -> Response<Bytes> {
    let status = status(problem);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, challenge());
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            // RFC 9110 section 15.5.6: the field is there even if it is empty.
            headers.insert(ALLOW, HeaderValue::from_static(problem.allow.unwrap_or_default()));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(RETRY_AFTER, HeaderValue::from(problem.retry_after.unwrap_or(1)));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from(problem.retry_after.unwrap_or(1)));
        }
        _ => {}
    }
    response
}

/// The challenge of a 401. It never says `Basic`, which would make a browser ask for a password.
fn challenge(problem: &Problem, presented: bool) -> HeaderValue {
    const BARE: HeaderValue = HeaderValue::from_static("Bearer");
    if !presented || problem.code == Code::MissingToken {
        return BARE;
    }
    // The characters of an error_description (RFC 6750 section 3).
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'));
    let description = if plain(&problem.detail) { &problem.detail } else { problem.code.rule().title };
    HeaderValue::try_from(format!("Bearer error=\"invalid_token\", error_description=\"{description}\""))
        .unwrap_or(BARE)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;
    use serde_json::{Value, json};

    use super::*;

    fn respond_to(problem: &Problem, presented: bool) -> Response<Bytes> {
        let headers = HeaderMap::new();
        respond(problem, &RequestContext { presented, dialect: Dialect::Ours, method: &Method::GET, headers: &headers })
    }

    fn body(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    fn field(response: &Response<Bytes>, name: HeaderName) -> Option<&str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn every_code_is_answered_with_its_status_and_its_name_and_is_not_cached() {
        for code in Code::ALL {
            let response = respond_to(&Problem::new(*code), true);
            let rule = code.rule();
            assert_eq!(response.status().as_u16(), rule.status, "{code:?}");
            assert_eq!(field(&response, CONTENT_TYPE), Some("application/problem+json"));
            assert_eq!(field(&response, CACHE_CONTROL), Some("no-store"));
            let expected = json!({
                "type": "about:blank",
                "title": response.status().canonical_reason().unwrap(),
                "status": rule.status,
                "code": rule.name,
                "detail": rule.title,
            });
            assert_eq!(body(&response), expected, "{code:?}");
        }
    }

    #[test]
    fn each_status_has_the_fields_it_asks_for_and_no_others() {
        for code in Code::ALL {
            let response = respond_to(&Problem::new(*code), false);
            let status = response.status().as_u16();
            assert_eq!(field(&response, WWW_AUTHENTICATE).is_some(), status == 401, "{code:?}");
            assert_eq!(field(&response, ALLOW).is_some(), status == 405, "{code:?}");
            assert_eq!(field(&response, RETRY_AFTER), matches!(status, 429 | 503).then_some("1"), "{code:?}");
        }
        let often = Problem { retry_after: Some(7), ..Problem::new(Code::RateLimited) };
        assert_eq!(field(&respond_to(&often, true), RETRY_AFTER), Some("7"));
        let known = Problem { allow: Some("GET, DELETE"), ..Problem::new(Code::MethodNotAllowed) };
        assert_eq!(field(&respond_to(&known, true), ALLOW), Some("GET, DELETE"));
    }

    #[test]
    fn a_401_says_invalid_token_only_when_a_token_was_presented() {
        let missing = Problem::new(Code::MissingToken);
        for presented in [false, true] {
            assert_eq!(field(&respond_to(&missing, presented), WWW_AUTHENTICATE), Some("Bearer"));
        }
        let revoked = Problem::new(Code::SessionRevoked).because("logged_out");
        assert_eq!(field(&respond_to(&revoked, false), WWW_AUTHENTICATE), Some("Bearer"));
        let response = respond_to(&revoked, true);
        assert_eq!(
            field(&response, WWW_AUTHENTICATE),
            Some("Bearer error=\"invalid_token\", error_description=\"The session was ended.\"")
        );
        assert_eq!(body(&response).get("reason"), Some(&json!("logged_out")));
    }

    #[test]
    fn a_detail_cannot_break_out_of_the_challenge_or_of_the_body() {
        for detail in ["a\", error=\"none", "a\\", "a\r\nSet-Cookie: b=c", "n\u{e4}h", "</script>\u{0}"] {
            let response = respond_to(&Problem::with_detail(Code::UnknownToken, detail), true);
            let challenge = field(&response, WWW_AUTHENTICATE).unwrap();
            assert!(challenge.ends_with("error_description=\"There is no session for this token.\""), "{challenge}");
            assert_eq!(body(&response).get("detail"), Some(&json!(detail)));
        }
    }

    #[test]
    fn the_part_at_fault_is_named() {
        let response = respond_to(&Problem::invalid("lifetime", "It must be a duration."), true);
        assert_eq!(body(&response).get("field"), Some(&json!("lifetime")));
        assert_eq!(body(&response).get("detail"), Some(&json!("It must be a duration.")));
    }
}
