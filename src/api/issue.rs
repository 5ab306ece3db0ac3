//! `POST /_sessions`: a trusted service creates a session for a user whom it has logged in itself.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::pair::{self, Granted, Pair};
use super::{Call, body, json};
use crate::config::{Service, Span, units};
use crate::error::{Code, Problem};
use crate::http::client_hints;
use crate::session::{Actor, Format, Principal, Role, UserId, parse_text};
use crate::sessions::NewLogin;
use crate::user_agent::{ClientHints, Device};

/// The longest User-Agent that a session can be bound to: more than any limit on headers lets through.
const MAX_USER_AGENT: usize = 16 * 1024;

/// The answer when the user holds an opaque token.
#[derive(Debug, Serialize)]
struct Issued<'a> {
    id: String,
    token: &'a str,
    expires_at: Option<String>,
    evicted: Vec<String>,
}

/// Creates a session.
///
/// # Errors
/// [`Code::InvalidServiceKey`] without a key of ours; [`Code::RateLimited`] after many of these from one client; [`Code::InvalidRequest`] with the field at fault; what
/// [`crate::sessions::Sessions::create`] says.
pub(super) async fn create(
    call: &Call<'_>,
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    // Before the keys are compared: beyond the bound a right one is not told apart from a wrong one.
    let exempt = call.config.server.trusted_proxies.trusts(Some(call.ip));
    if !exempt {
        call.rates.may_guess_key(call.ip, call.uptime)?;
    }
    let service = service(headers, &call.config.services).inspect_err(|_| {
        if !exempt {
            call.rates.guessed_key(call.ip, call.uptime);
        }
    })?;
    super::query::Query::parse(call.query, &[])?;
    let fields = body::object(headers, read).await?;
    let login = parse(fields, call, Actor::Service(service.name.clone()))?;
    let (format, user) = (login.format, login.principal.user.clone());
    let created = call.sessions.create(login, call.now).await?;
    if format == Format::Jwt {
        let granted = Granted { id: created.id, user: user.as_str(), expires_at: created.expires_at };
        let evicted = created.evicted.iter().map(ToString::to_string).collect();
        return json(StatusCode::CREATED, &Pair::new(call, &granted, created.token.reveal(), Some(evicted))?);
    }
    json(
        StatusCode::CREATED,
        &Issued {
            id: created.id.to_string(),
            token: created.token.reveal(),
            expires_at: created.expires_at.map(|at| at.to_string()),
            evicted: created.evicted.iter().map(ToString::to_string).collect(),
        },
    )
}

/// The service whose key the call brings. Every key is compared, so that the time taken does not tell which one was near.
fn service<'a>(headers: &HeaderMap, services: &'a [Service]) -> Result<&'a Service, Problem> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Err(Code::InvalidServiceKey.into()) };
    let key = match field.as_bytes().split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        Some(_) | None => return Err(Code::InvalidServiceKey.into()),
    };
    let mut found = None;
    for service in services {
        if service.key.matches(key) {
            found = Some(service);
        }
    }
    found.ok_or_else(|| Code::InvalidServiceKey.into())
}

fn parse(mut fields: Map<String, Value>, call: &Call<'_>, actor: Actor) -> Result<NewLogin, Problem> {
    // JSON null is the same as not saying anything.
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());

    let user = match take("user") {
        Some(Value::String(user)) => user,
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(_) => return Err(Problem::invalid("user", "The user must be a text or a whole number.")),
        None => return Err(Problem::invalid("user", "The user is missing.")),
    };
    let user = UserId::parse(&user).map_err(|why| Problem::invalid("user", format!("The user {why}.")))?;
    let roles = take("roles").map(roles).transpose()?.unwrap_or_default();
    let name = take("name").map(|value| text("name", &value)).transpose()?;
    let email = take("email").map(|value| text("email", &value)).transpose()?;
    let remember = match take("remember") {
        Some(Value::Bool(remember)) => remember,
        Some(_) => return Err(Problem::invalid("remember", "Whether to remember the user is true or false.")),
        None => false,
    };
    let lifetime = match take("lifetime") {
        Some(value) => lifetime(&value)?,
        None => call.config.session.lifetime(remember),
    };
    let Span { lifetime, slide } = call.config.session.span(lifetime);
    let max_by_call = match take("max_sessions") {
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let wrong = || Problem::invalid("max_sessions", "The limit must be a whole number; 0 is unlimited.");
            Some(NonZeroU32::new(number.ok_or_else(wrong)?))
        }
        None => None,
    };
    let user_agent = match take("user_agent") {
        Some(Value::String(agent)) if agent.len() <= MAX_USER_AGENT => Some(agent),
        Some(_) => return Err(Problem::invalid("user_agent", "The User-Agent must be a text of at most 16 KiB.")),
        None => None,
    };
    let device = match (&user_agent, take("client_hints").map(hints).transpose()?) {
        (Some(agent), hints) => Some(Device::of(agent, &hints.unwrap_or_default())),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(Problem::invalid("client_hints", "Client hints need the user_agent they came with."));
        }
    };
    let ip = match take("ip") {
        Some(Value::String(ip)) => {
            let parsed: IpAddr = ip.parse().map_err(|_| Problem::invalid("ip", "The address must be IPv4 or IPv6."))?;
            Some(parsed.to_canonical())
        }
        Some(_) => return Err(Problem::invalid("ip", "The address must be a text.")),
        None => None,
    };
    let claims = match take("claims") {
        Some(Value::Object(claims)) => Some(claims),
        Some(_) => return Err(Problem::invalid("claims", "The claims must be a JSON object.")),
        None => None,
    };
    let format = match take("format") {
        None => Format::Opaque,
        Some(Value::String(format)) if format == "opaque" => Format::Opaque,
        Some(Value::String(format)) if format == "jwt" => {
            pair::signing_key(call, "format")?;
            Format::Jwt
        }
        Some(_) => return Err(Problem::invalid("format", "The format must be \"opaque\" or \"jwt\".")),
    };
    // Null or not, a field that nobody knows is a mistake of the caller's.
    if let Some(unknown) = fields.keys().next() {
        let known =
            "user, roles, name, email, lifetime, remember, max_sessions, user_agent, client_hints, ip, claims, format";
        return Err(Problem::invalid(unknown.clone(), format!("This field is unknown; known are: {known}.")));
    }
    let max_by_policy = call.config.max_sessions.for_roles(roles.iter().map(Role::as_str));
    Ok(NewLogin {
        principal: Principal { user, roles, name, email, claims },
        lifetime,
        max_by_call,
        max_by_policy,
        user_agent,
        ip,
        replaces: None,
        actor,
        format,
        slide,
        device,
    })
}

fn roles(value: Value) -> Result<Vec<Role>, Problem> {
    let wrong = |why: String| Problem::invalid("roles", why);
    let Value::Array(items) = value else { return Err(wrong("The roles must be a list of texts.".to_owned())) };
    if items.len() > Principal::MAX_ROLES {
        return Err(wrong(format!("A session carries at most {} roles.", Principal::MAX_ROLES)));
    }
    let role = |item: &Value| {
        let text = item.as_str().ok_or_else(|| wrong("The roles must be a list of texts.".to_owned()))?;
        Role::parse(text).map_err(|why| wrong(format!("A role {why}.")))
    };
    items.iter().map(role).collect()
}

/// Headers that the browser sent to the service.
fn hints(value: Value) -> Result<ClientHints, Problem> {
    let wrong = |why: &'static str| Problem::invalid("client_hints", why);
    let Value::Object(fields) = value else { return Err(wrong("The client hints must be an object of headers.")) };
    let mut headers = HeaderMap::new();
    for (name, value) in &fields {
        let value = value.as_str().ok_or_else(|| wrong("A client hint must be the text of a header."))?;
        client_hints::pass_on(&mut headers, name, value).map_err(wrong)?;
    }
    Ok(client_hints::read(&headers))
}

fn text(field: &'static str, value: &Value) -> Result<String, Problem> {
    let text = value.as_str().ok_or_else(|| Problem::invalid(field, "The value must be a text."))?;
    parse_text(text).map_err(|why| Problem::invalid(field, format!("The value {why}.")))
}

/// `"14d"` or seconds; 0 is never.
fn lifetime(value: &Value) -> Result<Option<Duration>, Problem> {
    let wrong = |why: String| Problem::invalid("lifetime", why);
    match value {
        Value::String(text) => units::parse_duration(text).map_err(wrong),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Ok(None),
            Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
            None => Err(wrong("The lifetime must be whole seconds or a text such as \"14d\".".to_owned())),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong("The lifetime must be whole seconds or a text such as \"14d\".".to_owned()))
        }
    }
}
