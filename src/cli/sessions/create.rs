//! Creating a session by hand, under the same rules as any other.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{role, user};
use crate::cli::open::Failure;
use crate::cli::show::Moment;
use crate::cli::table;
use crate::config::{Config, Span, units};
use crate::session::{Actor, EndReason, Format, Principal, Role, UserId, parse_text};
use crate::sessions::{Drawn, NewLogin, Terms};
use crate::store::{Creation, Store};
use crate::user_agent::{ClientHints, Device};

/// The session to be created.
#[derive(Args, Debug)]
pub(in crate::cli) struct Asked {
    /// The user's id, as the application knows it.
    #[arg(value_parser = user, allow_hyphen_values = true)]
    user: UserId,
    /// A role; may be given several times.
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<Role>,
    /// The user's name.
    #[arg(long, value_parser = parse_text)]
    name: Option<String>,
    /// The user's e-mail address.
    #[arg(long, value_parser = parse_text)]
    email: Option<String>,
    /// How long it lives, such as 14d; 0 is for ever [default: session.lifetime].
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    lifetime: Option<Lifetime>,
    /// The User-Agent that it is bound to [default: that of its first use].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    user_agent: Option<String>,
    /// The client address that it is bound to [default: that of its first use].
    #[arg(long, value_name = "ADDR")]
    ip: Option<IpAddr>,
    /// How many live sessions the user may have; 0 is unlimited [default: the user's own limit, else the policy's].
    #[arg(long, value_name = "N")]
    max_sessions: Option<u32>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// `None` is for ever.
#[derive(Clone, Copy, Debug)]
struct Lifetime(Option<Duration>);

fn lifetime(text: &str) -> Result<Lifetime, String> {
    units::parse_duration(text).map(Lifetime)
}

pub(super) async fn run(config: &Config, store: &Store, asked: Asked, moment: Moment) -> Result<ExitCode, Failure> {
    let Asked { user, roles, name, email, lifetime, user_agent, ip, max_sessions, json } = asked;
    if roles.len() > Principal::MAX_ROLES {
        return Err(Failure::Usage(format!("--role: a session carries at most {} roles", Principal::MAX_ROLES)));
    }
    let lifetime = lifetime.map_or_else(|| config.session.lifetime(false), |Lifetime(given)| given);
    let Span { lifetime, slide } = config.session.span(lifetime);
    let login = NewLogin {
        max_by_policy: config.max_sessions.for_roles(roles.iter().map(Role::as_str)),
        principal: Principal { user, roles, name, email, claims: None },
        lifetime,
        max_by_call: max_sessions.map(NonZeroU32::new),
        device: user_agent.as_deref().map(|agent| Device::of(agent, &ClientHints::default())),
        user_agent,
        ip: ip.map(|ip| ip.to_canonical()),
        replaces: None,
        actor: Actor::Operator,
        format: Format::Opaque,
        slide,
    };
    let user = login.principal.user.clone();
    let terms = Terms {
        token_bytes: config.token.bytes,
        on_exceed: config.max_sessions.on_exceed,
        idle_since: moment.idle_since,
    };
    let drawn = login.draw(terms, moment.at).map_err(|error| Failure::System(std::io::Error::other(error)))?;
    let Drawn { new, token, expires_at } = drawn;
    let id = new.id;
    match store.create(new).await? {
        Creation::Created { ended } => {
            let evicted: Vec<String> = ended
                .iter()
                .filter(|session| session.reason == Some(EndReason::Evicted))
                .map(|session| session.id.to_string())
                .collect();
            let expires_at = expires_at.map(|at| at.to_string());
            if json {
                table::json(&json!({
                    "id": id.to_string(), "token": token.reveal(), "expires_at": expires_at, "evicted": evicted,
                }));
            } else {
                table::list(&[
                    ("id", Some(id.to_string())),
                    ("token", Some(token.reveal().to_owned())),
                    ("expires", Some(expires_at.unwrap_or_else(|| "never".to_owned()))),
                    ("evicted", (!evicted.is_empty()).then(|| evicted.join(", "))),
                ]);
            }
            Ok(ExitCode::SUCCESS)
        }
        Creation::TooMany { limit } => Err(Failure::Refused(format!(
            "the user {} has {limit} live session(s), as many as allowed; end one, or say --max-sessions",
            user.as_str()
        ))),
        Creation::UserDisabled => Err(Failure::Refused(format!(
            "the user {user} is disabled; `session-gateway users enable {user}` changes that",
            user = user.as_str()
        ))),
    }
}
