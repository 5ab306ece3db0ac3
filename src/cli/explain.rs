//! `explain`: which way a request would go, and why.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http::{Method, Uri};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::open::{self, Failure};
use super::show::Moment;
use super::{EXIT_REFUSED, EXIT_TEMPORARY, secret, show, table};
use crate::clock;
use crate::config::{Config, OnReject, Route, RoutePath, Sources};
use crate::gate::explain::{Answer, Decision, Effect, Explanation, Purpose, Question, Sought, explain};
use crate::http::credential::Source;
use crate::keyring::KeyRing;
use crate::policy::Auth;
use crate::store::{Found, StoreError};

/// What `explain` is asked.
#[derive(Args, Debug)]
pub(super) struct Asked {
    /// The request's method, such as GET.
    method: String,
    /// The request's URL; the host in it chooses the application.
    url: String,
    /// The session's token; better `-` (standard input), env:NAME or file:PATH, which no list of processes shows.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    token: Option<String>,
    /// The client's User-Agent [default: that of the session].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    user_agent: Option<String>,
    /// The client's address [default: the one that the session is bound to, else 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    ip: Option<IpAddr>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let config = Config::load(sources)?;
    let method = Method::from_bytes(asked.method.as_bytes())
        .map_err(|_| Failure::Usage(format!("{:?} is no method; write GET, POST …", asked.method)))?;
    let url = read_url(&asked.url)?;
    let token = asked.token.as_deref().map(|token| secret::read("--token", token)).transpose()?;
    let question = Question {
        method: &method,
        url: &url,
        token: token.as_ref().map(|token| token.as_str()),
        user_agent: asked.user_agent.as_deref(),
        ip: asked.ip,
    };
    let keys = KeyRing::new(&config.jwt, config.signing.as_ref(), Arc::default());
    let (_running, stop) = watch::channel(false);
    if let Some(keys) = keys.clone().filter(|_| token.is_some()) {
        // Published keys are fetched when it begins; it ends with the command.
        drop(tokio::spawn(keys.keep_fresh(stop, || ())));
    }
    // The store is opened when, and only when, the request would ask it.
    let mut unopened = None;
    let explanation =
        explain(&config, question, clock::now(), keys.as_ref(), async |sought| match open::store(&config).await {
            Ok(store) => {
                let found = match sought {
                    Sought::Token(digest) => store.find(digest).await?,
                    Sought::Session(id) => store.get(id).await?.map(|record| Found { record, retired: None }),
                };
                Ok((found, Moment::now(&config, &store).await?.at))
            }
            // A store that is away is a part of the answer: so a request would find it.
            Err(Failure::Store(error)) if !matches!(error, StoreError::Schema(_) | StoreError::Settings { .. }) => {
                Err(error)
            }
            Err(failure) => {
                unopened = Some(failure);
                Ok((None, clock::wall()))
            }
        })
        .await;
    if let Some(failure) = unopened {
        return Err(failure);
    }
    let moment = Moment::new(&config, explanation.asked_at.unwrap_or_else(clock::wall));
    if asked.json {
        table::json(&document(&asked, &explanation, moment));
    } else {
        table::list(&lines(&asked, &explanation, moment));
    }
    Ok(match explanation.decision {
        Decision::Refused { .. } if explanation.store_error.is_some() => ExitCode::from(EXIT_TEMPORARY),
        Decision::Refused { .. } => ExitCode::from(EXIT_REFUSED),
        Decision::Forwarded(_) | Decision::Answered => ExitCode::SUCCESS,
    })
}

fn read_url(text: &str) -> Result<Uri, Failure> {
    let form = "write https://HOST/PATH, or /PATH for a request that names no host";
    let url: Uri = text.parse().map_err(|_| Failure::Usage(format!("{text:?} is no URL; {form}")))?;
    match url.scheme_str() {
        Some("http" | "https") => Ok(url),
        None if text.starts_with('/') => Ok(url),
        Some(_) | None => Err(Failure::Usage(format!("{text:?} is no URL of http or https; {form}"))),
    }
}

fn lines(asked: &Asked, told: &Explanation, moment: Moment) -> Vec<(&'static str, Option<String>)> {
    let assumed = |given: bool, what: &str| if given { "" } else { what }.to_owned();
    let from = format!("{}{}", told.client_ip, assumed(asked.ip.is_some(), " (assumed)"));
    let agent = match told.user_agent.as_str() {
        "" => "none".to_owned(),
        agent => format!("{agent}{}", assumed(asked.user_agent.is_some(), " (assumed: the session's)")),
    };
    let mut lines = vec![
        ("request", Some(format!("{} {}", asked.method, asked.url))),
        ("target", told.target.clone()),
        ("host", told.host.clone()),
        ("from", Some(from)),
        ("user agent", Some(agent)),
    ];
    match &told.purpose {
        None => {}
        Some(Purpose::BuiltIn) => lines.push(("for", Some("the gateway itself, below /_sessions".to_owned()))),
        Some(Purpose::Application { name, authority, route, login, watched }) => {
            lines.push(("for", Some(format!("upstream {name} at {authority}"))));
            lines.push(("route", Some(route.as_ref().map_or_else(without_route, |(at, route)| in_words(*at, route)))));
            lines.push(("login", login.then(|| "its login page or form, which needs no session".to_owned())));
            lines.push(("watched", watched.map(|what| format!("if it succeeds it counts as {what}"))));
        }
    }
    lines.push(("auth", told.auth.map(|auth| name_of(auth).to_owned())));
    lines.push(("token", told.source.map(|source| format!("in {}", source_name(source)))));
    if let Some(record) = &told.record {
        lines.push(("session", Some(record.id.to_string())));
        lines.extend(show::lines(record, moment).into_iter().filter(|(name, _)| *name != "id"));
    }
    lines.push(("would", told.effect.map(|effect| effect_in_words(effect).to_owned())));
    lines.push(("token ignored", told.excused.as_ref().map(|problem| format!("{problem}"))));
    lines.push(("store", told.store_error.clone()));
    match &told.decision {
        Decision::Forwarded(headers) => {
            lines.push(("decision", Some("forwarded".to_owned())));
            match headers.is_empty() {
                true => lines.push(("identity", Some("none: the application sees an anonymous request".to_owned()))),
                false => {
                    lines.extend(headers.iter().map(|(name, value)| ("identity", Some(format!("{name}: {value}")))))
                }
            }
        }
        Decision::Answered => lines.push(("decision", Some("answered by the gateway itself".to_owned()))),
        Decision::Refused { problem, program, browser } => {
            let reason = problem.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let code = problem.code.rule().name;
            lines.push(("decision", Some(format!("refused: {code}{reason}: {}", problem.detail))));
            if program == browser {
                lines.push(("answer", Some(answer_in_words(program))));
            } else {
                lines.push(("a program gets", Some(answer_in_words(program))));
                lines.push(("a browser gets", Some(answer_in_words(browser))));
            }
        }
    }
    lines
}

fn without_route() -> String {
    "none matches: a session is needed".to_owned()
}

fn in_words(at: usize, route: &Route) -> String {
    let (kind, path) = place(&route.path);
    let methods = match route.methods.as_slice() {
        [] => String::new(),
        methods => format!(" {}", methods.iter().map(Method::as_str).collect::<Vec<_>>().join("|")),
    };
    let roles = match route.roles.as_slice() {
        [] => String::new(),
        roles => format!(", roles {}", roles.join(" or ")),
    };
    format!("number {at}: {kind} {path}{methods}, auth {}{roles}", name_of(route.auth))
}

fn answer_in_words(answer: &Answer) -> String {
    match (&answer.location, &answer.challenge) {
        (Some(location), _) => format!("{} to {location}", answer.status),
        (None, Some(challenge)) => format!("{}, WWW-Authenticate: {challenge}", answer.status),
        (None, None) => answer.status.to_string(),
    }
}

const fn effect_in_words(effect: Effect) -> &'static str {
    match effect {
        Effect::Suspend => "suspend the session: its User-Agent is another one",
        Effect::End => "end the session: this token was rotated away, and its grace is over",
        Effect::Bind => "bind the session to this User-Agent and address",
    }
}

fn place(path: &RoutePath) -> (&'static str, &str) {
    match path {
        RoutePath::Prefix(prefix) => ("path", prefix),
        RoutePath::Exact(exact) => ("exact", exact),
    }
}

const fn name_of(auth: Auth) -> &'static str {
    match auth {
        Auth::Off => "off",
        Auth::Optional => "optional",
        Auth::Required => "required",
    }
}

const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Header => "header",
        Source::Cookie => "cookie",
    }
}

/// The same for programs.
fn document(asked: &Asked, told: &Explanation, moment: Moment) -> Value {
    let (kind, upstream, route, login, watched) = match &told.purpose {
        None => (Value::Null, Value::Null, Value::Null, false, None),
        Some(Purpose::BuiltIn) => (json!("built_in"), Value::Null, Value::Null, false, None),
        Some(Purpose::Application { name, authority, route, login, watched }) => {
            let route = route.as_ref().map_or(Value::Null, |(at, route)| route_document(*at, route));
            (json!("upstream"), json!({ "name": name, "authority": authority }), route, *login, *watched)
        }
    };
    let effect = told.effect.map(|effect| match effect {
        Effect::Suspend => "suspend",
        Effect::End => "end",
        Effect::Bind => "bind",
    });
    let mut document = json!({
        "request": {
            "method": asked.method,
            "url": asked.url,
            "ip": told.client_ip,
            "ip_assumed": asked.ip.is_none(),
            "user_agent": told.user_agent,
            "user_agent_assumed": asked.user_agent.is_none(),
        },
        "target": told.target,
        "host": told.host,
        "for": kind,
        "upstream": upstream,
        "route": route,
        "login": login,
        "watched": watched,
        "auth": told.auth.map(name_of),
        "token": told.source.map(source_name),
        "session": told.record.as_ref().map(|record| show::document(record, moment)),
        "would": effect,
        "token_ignored": told.excused.as_ref().map(|problem| problem.code.rule().name),
        "store_error": told.store_error,
    });
    let decision = match &told.decision {
        Decision::Forwarded(headers) => {
            let headers: serde_json::Map<_, _> =
                headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({ "decision": "forwarded", "identity": headers })
        }
        Decision::Answered => json!({ "decision": "answered" }),
        Decision::Refused { problem, program, browser } => json!({
            "decision": "refused",
            "code": problem.code.rule().name,
            "detail": problem.detail,
            "reason": problem.reason,
            "field": problem.field,
            "program": answer_document(program),
            "browser": answer_document(browser),
        }),
    };
    if let (Value::Object(document), Value::Object(decision)) = (&mut document, decision) {
        document.extend(decision);
    }
    document
}

fn route_document(at: usize, route: &Route) -> Value {
    let (kind, path) = place(&route.path);
    json!({
        "number": at,
        kind: path,
        "methods": route.methods.iter().map(Method::as_str).collect::<Vec<_>>(),
        "auth": name_of(route.auth),
        "roles": route.roles,
        "on_reject": match route.on_reject {
            OnReject::Auto => "auto",
            OnReject::Unauthorized => "401",
            OnReject::Login => "login",
        },
    })
}

fn answer_document(answer: &Answer) -> Value {
    json!({ "status": answer.status, "location": answer.location, "www_authenticate": answer.challenge })
}
