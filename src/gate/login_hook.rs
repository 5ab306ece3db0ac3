//! How an application that knows nothing of the gateway's sessions gets them: its login, logout and password change are
//! recognised by their requests and responses.
//!
//! [`before`] looks at the request on its way in, [`after`] at the response on its way out. The application's own bytes
//! pass unchanged, but for the token that a login's answer is given.

mod deliver;
mod inspect;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, USER_AGENT};
use http::{Response, request};

use self::inspect::Inspected;
use super::body::{RequestBody, ResponseBody};
use super::client::Client;
use super::exchange::Exchange;
use super::login_page;
use super::route::Watched;
use crate::api;
use crate::config::{Deliver, Field, Hook, Login, PasswordChange, Span, Upstream};
use crate::error::{Code, Problem};
use crate::http::credential::{self, Source};
use crate::http::{client_hints, cookie, fields};
use crate::policy::Permit;
use crate::session::{Actor, EndReason, Format, Principal, Role, Session, UserId, parse_text};
use crate::sessions::{NewLogin, OwnedEnding, OwnedWhich};
use crate::store::Event;
use crate::token::Digest;
use crate::user_agent::{ClientHints, Device};

/// What was seen of a watched request on its way in.
pub(super) struct Before<'a> {
    watched: Watched<'a>,
    upstream: &'a Upstream,
    /// The session that the browser came with.
    session: Option<Arc<Session>>,
    user_agent: String,
    hints: ClientHints,
    request: Inspected,
    /// The digest of the token that the browser holds as a cookie, when it is to get another one.
    held: Option<Digest>,
}

/// Looks at a watched request. Its body is put back as it was.
///
/// # Errors
/// [`Code::RequestTimeout`] or [`Code::InvalidRequest`] when the body does not arrive.
pub(super) async fn before<'a>(
    request: &mut request::Parts,
    body: &mut RequestBody,
    upstream: &'a Upstream,
    watched: Watched<'a>,
    (permit, settings): (&Permit, &credential::Settings),
) -> Result<Before<'a>, Problem> {
    let user_agent = request.headers.get(USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    let user_agent = String::from_utf8_lossy(user_agent).into_owned();
    let (mut inspected, mut hints) = (Inspected::default(), ClientHints::default());
    if let Watched::Login(login) = watched {
        hints = client_hints::read(&request.headers);
        if fields_of(login).any(Field::is_in_request) {
            inspected = inspect::request(request, body, upstream.inspect_bytes).await?;
        }
        if reads_response(login) {
            // What is compressed cannot be read.
            request.headers.remove(ACCEPT_ENCODING);
        }
    }
    let held = match watched {
        // Who comes with a header would not look for a new token in a cookie.
        Watched::PasswordChanged(PasswordChange { rotates: true, .. }) => {
            credential::present(&request.headers, settings)
                .ok()
                .flatten()
                .filter(|presented| presented.source == Source::Cookie)
                .map(|presented| Digest::of(presented.token))
        }
        Watched::PasswordChanged(_) | Watched::Login(_) | Watched::Logout(_) => None,
    };
    Ok(Before { watched, upstream, session: permit.session().cloned(), user_agent, hints, request: inspected, held })
}

fn fields_of(login: &Login) -> impl Iterator<Item = &Field> {
    let optional = [&login.roles, &login.name, &login.email, &login.remember];
    std::iter::once(&login.user).chain(optional.into_iter().filter_map(Option::as_ref))
}

fn reads_response(login: &Login) -> bool {
    matches!(login.deliver, Deliver::Json(_)) || fields_of(login).any(Field::is_in_response_body)
}

/// Takes out of a login's answer what the application says to the gateway alone, whether or not it let anybody in.
fn take_told(login: &Login, headers: &mut HeaderMap) -> HeaderMap {
    let mut told = HeaderMap::new();
    let names = fields_of(login).filter_map(|field| match field {
        Field::ResponseHeader(name) => Some(name),
        Field::Form(_) | Field::RequestJson(_) | Field::ResponseJson(_) | Field::Value(_) => None,
    });
    for name in names {
        for value in headers.get_all(name) {
            told.append(name, value.clone());
        }
        headers.remove(name);
    }
    told
}

/// Acts on the response of a watched request.
///
/// # Errors
/// For a login, those of creating a session, which take the place of the application's answer: who is told "logged in"
/// has a session.
pub(super) async fn after(
    client: &Client,
    before: Before<'_>,
    mut response: Response<ResponseBody>,
    client_ip: IpAddr,
    exchange: &Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let status = response.status().as_u16();
    let (hook, told) = match before.watched {
        Watched::Login(login) => (&login.hook, take_told(login, response.headers_mut())),
        Watched::Logout(hook) => (hook, HeaderMap::new()),
        Watched::PasswordChanged(change) => (&change.hook, HeaderMap::new()),
    };
    let Hook { success, .. } = hook;
    if !success.contains(status) {
        return Ok(response);
    }
    match before.watched {
        Watched::Login(login) => login_succeeded(client, before, (login, &told), response, client_ip, exchange).await,
        Watched::Logout(_) => logged_out(client, before, response, exchange).await,
        Watched::PasswordChanged(_) => password_changed(client, before, response, exchange).await,
    }
}

async fn login_succeeded(
    client: &Client,
    before: Before<'_>,
    (login, told): (&Login, &HeaderMap),
    mut response: Response<ResponseBody>,
    client_ip: IpAddr,
    exchange: &Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let gate = &client.gate;
    let now = gate.sessions.at(exchange.began).wall;
    // Many applications answer a wrong password with a redirect too, to their login page. One that says by a cookie or in
    // its answer who logged in may lead anywhere.
    let leads_back = login_page::leads_back(before.upstream, &login.hook.path, &response);
    match &login.sets_cookie {
        // An application may lead whoever is logged in already away from its login, whatever the form says: that is its word
        // for the person whom its own cookie names, not for the one in the form.
        Some(name) if !cookie::is_set(name, response.headers()) => {
            let why = "the application did not set the cookie of a login";
            unmatched(client, &before, client_ip, exchange, why, leads_back).await;
            return Ok(response);
        }
        None if leads_back && login.user.is_in_request() => {
            unmatched(client, &before, client_ip, exchange, "the user stands in the request alone", leads_back).await;
            return Ok(response);
        }
        Some(_) | None => {}
    }
    let mut answer = None;
    if reads_response(login) {
        let Upstream { inspect_bytes, response_timeout, .. } = *before.upstream;
        answer = inspect::response(&mut response, inspect_bytes, response_timeout, &client.phases).await?;
    }
    let values = Values { request: &before.request, told, answer: answer.as_ref() };
    let principal = match values.principal(login).await {
        Ok(principal) => principal,
        Err(why) => {
            unmatched(client, &before, client_ip, exchange, why, leads_back).await;
            return Ok(response);
        }
    };
    // A session that cannot be handed over must not be created: it would hold a slot, and end the one before it.
    deliver::check(&login.deliver, answer.as_ref())?;
    let remembered = match &login.remember {
        Some(field) => Some(values.says_yes(field).await),
        None => None,
    };
    let settings = &gate.config.session;
    let Span { lifetime, slide } = settings.span(settings.lifetime(remembered == Some(true)));
    let limit = gate.config.max_sessions.for_roles(principal.roles.iter().map(Role::as_str));
    let created = gate
        .sessions
        .create(
            NewLogin {
                actor: Actor::User(principal.user.clone()),
                principal,
                lifetime,
                max_by_call: None,
                max_by_policy: limit,
                format: Format::Opaque,
                slide,
                device: Some(Device::of(&before.user_agent, &before.hints)),
                user_agent: Some(before.user_agent),
                ip: Some(client_ip),
                // A login always gets a new token, and the one the browser came with dies: no fixation.
                replaces: before.session.map(|session| session.id),
            },
            now,
        )
        .await?;
    // Whoever was asked and did not want to be remembered is forgotten with the browser's window. A session that never
    // expires must not end with it.
    let max_age = (remembered != Some(false)).then(|| cookie::max_age(created.ends_at.map(|end| end.since(now))));
    deliver::deliver(&gate.config, &login.deliver, (&created, max_age), response, answer)
}

/// Where the values of a login stand.
struct Values<'a> {
    request: &'a Inspected,
    /// The headers in which the application tells the gateway about the user.
    told: &'a HeaderMap,
    answer: Option<&'a serde_json::Value>,
}

impl Values<'_> {
    /// Who logged in.
    async fn principal(&self, login: &Login) -> Result<Principal, &'static str> {
        let user = self.text(&login.user).await.ok_or("the user's id is not where it should be")?;
        let mut principal = Principal::of(UserId::parse(&user).map_err(|_| "the user's id is not acceptable")?);
        if let Some(field) = &login.roles {
            principal.roles = self.roles(field).await?;
        }
        if let Some(field) = &login.name {
            principal.name = self.optional_text(field).await?;
        }
        if let Some(field) = &login.email {
            principal.email = self.optional_text(field).await?;
        }
        Ok(principal)
    }

    async fn text(&self, field: &Field) -> Option<String> {
        match field {
            Field::Form(name) => self.request.form_field(name).await,
            Field::RequestJson(pointer) => self.request.json_field(pointer),
            Field::ResponseHeader(name) => {
                let mut lines = self.told.get_all(name).iter();
                // Of two lines nobody knows which one the application meant, or whether it wrote both.
                let (Some(line), None) = (lines.next(), lines.next()) else { return None };
                std::str::from_utf8(line.as_bytes()).ok().map(str::to_owned)
            }
            Field::ResponseJson(pointer) => self.answer.and_then(|json| fields::json_field(json, pointer)),
            Field::Value(value) => Some(value.clone()),
        }
    }

    /// Whether a field says yes. Nothing depends on it but how long the person stays logged in, so of several fields of
    /// the name one is enough: a checkbox often follows a hidden field that says no.
    async fn says_yes(&self, field: &Field) -> bool {
        match field {
            Field::Form(name) => self.request.form_says_yes(name).await,
            Field::RequestJson(pointer) => self
                .request
                .json()
                .and_then(|json| json.pointer(pointer).map(fields::json_says_yes))
                .unwrap_or_default(),
            Field::ResponseJson(pointer) => {
                self.answer.and_then(|json| json.pointer(pointer)).is_some_and(fields::json_says_yes)
            }
            Field::ResponseHeader(_) | Field::Value(_) => {
                self.text(field).await.is_some_and(|text| fields::says_yes(&text))
            }
        }
    }

    /// What is not there is no name; what is there but not acceptable is somebody's mistake.
    async fn optional_text(&self, field: &Field) -> Result<Option<String>, &'static str> {
        let text = self.text(field).await.filter(|text| !text.trim().is_empty());
        text.map(|text| parse_text(text.trim())).transpose()
    }

    /// A list in JSON, or words separated by commas.
    async fn roles(&self, field: &Field) -> Result<Vec<Role>, &'static str> {
        let json = match field {
            Field::ResponseJson(pointer) => self.answer.and_then(|json| json.pointer(pointer).cloned()),
            Field::Form(_) | Field::RequestJson(_) | Field::ResponseHeader(_) | Field::Value(_) => None,
        };
        let words: Vec<String> = match (json, field) {
            (Some(serde_json::Value::Array(items)), _) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("a role is no text")?,
            // A list in a header may be spread over several lines.
            (_, Field::ResponseHeader(name)) => {
                let lines = self.told.get_all(name).iter().map(|line| str::from_utf8(line.as_bytes()));
                let lines: Vec<&str> = lines.collect::<Result<_, _>>().map_err(|_| "the roles are no text")?;
                lines.iter().flat_map(|line| line.split(',')).map(|word| word.trim().to_owned()).collect()
            }
            _ => self.text(field).await.unwrap_or_default().split(',').map(|word| word.trim().to_owned()).collect(),
        };
        let roles: Vec<Role> =
            words.iter().filter(|word| !word.is_empty()).map(|word| Role::parse(word)).collect::<Result<_, _>>()?;
        if roles.len() > Principal::MAX_ROLES { Err("there are too many roles") } else { Ok(roles) }
    }
}

/// The application said yes, but nobody knows to whom: its answer passes without a session, and an event tells. Not so when
/// it led back to its login page: that is what a wrong password looks like, and guessing must not fill the audit log.
async fn unmatched(
    client: &Client,
    before: &Before<'_>,
    ip: IpAddr,
    exchange: &Exchange,
    why: &'static str,
    leads_back: bool,
) {
    if leads_back {
        tracing::info!(why, client = %ip, "no session was created: the application led from its login back to its login page");
        return;
    }
    let event = Event {
        kind: "login_unmatched",
        at: client.gate.sessions.at(exchange.began).wall,
        session: None,
        user: None,
        actor: Actor::Policy,
        ip: Some(ip),
        user_agent: Some(before.user_agent.clone()),
        detail: serde_json::json!({ "why": why }),
    };
    client.gate.sessions.record_unmatched(event).await;
}

async fn logged_out(
    client: &Client,
    before: Before<'_>,
    mut response: Response<ResponseBody>,
    exchange: &Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let config = &client.gate.config;
    let Some(session) = before.session else { return Ok(response) };
    let user = user_of(&session)?;
    let which = if config.logout_everywhere { OwnedWhich::AllOf(user.clone()) } else { OwnedWhich::One(session.id) };
    let reason = if config.logout_everywhere { EndReason::LoggedOutElsewhere } else { EndReason::LoggedOut };
    end(client, which, reason, &session, user, exchange).await?;
    let clear = cookie::clear_cookie(config.token.credential.cookie(), &config.token.cookie)?;
    cookie::put(response.headers_mut(), config.token.credential.cookie(), clear);
    Ok(response)
}

async fn password_changed(
    client: &Client,
    before: Before<'_>,
    mut response: Response<ResponseBody>,
    exchange: &Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let Some(session) = before.session else { return Ok(response) };
    let user = user_of(&session)?;
    let which = OwnedWhich::AllBut(user.clone(), session.id);
    end(client, which, EndReason::PasswordChanged, &session, user.clone(), exchange).await?;
    let Some(held) = before.held else { return Ok(response) };
    let (config, sessions) = (&client.gate.config, &client.gate.sessions);
    let now = sessions.at(exchange.began).wall;
    // Asked before: what fails after the rotation would lose the token.
    let max_age = api::max_age(sessions, config, &session, now).await?;
    let grace = config.session.rotate_grace;
    match sessions.rotate(session.id, held, grace, Actor::User(user), now).await {
        Ok(token) => deliver::rotated(config, &token, max_age, &mut response)?,
        // Another request of this browser was quicker, or what it holds cannot be rotated: it keeps what it has.
        Err(Problem { code: Code::AlreadyRotated | Code::Conflict, .. }) => {}
        Err(problem) => return Err(problem),
    }
    Ok(response)
}

async fn end(
    client: &Client,
    which: OwnedWhich,
    reason: EndReason,
    session: &Session,
    user: UserId,
    exchange: &Exchange,
) -> Result<(), Problem> {
    let now = client.gate.sessions.at(exchange.began).wall;
    let ending = OwnedEnding { reason, current: Some(session.id), actor: Actor::User(user), now };
    client.gate.sessions.end(which, ending).await.map(drop)
}

fn user_of(session: &Session) -> Result<UserId, Problem> {
    // It was one when the session was created.
    UserId::parse(&session.identity.user_text()).map_err(|_| Problem::new(Code::Internal))
}
