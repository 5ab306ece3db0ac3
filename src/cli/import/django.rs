//! The rows of Django's own sessions. The value of the cookie becomes the token; whose session it is stands inside.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::session_data::{self, Flaw, Keys};
use super::{BATCH, Candidate, Common, Import};
use crate::cli::open::Failure;
use crate::cli::secret;
use crate::clock::Timestamp;
use crate::config::{Sources, units};
use crate::session::{SessionId, State, UserId};
use crate::store::foreign::{DJANGO_SESSIONS, DjangoRow, LINKS};

/// How Django's sessions are taken over.
#[derive(Args, Debug)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    common: Common,
    /// Where the application's SECRET_KEY is: - (standard input), env:NAME or file:PATH. Once more for each of
    /// SECRET_KEY_FALLBACKS.
    #[arg(long, value_name = "WHERE", required_unless_present = "unverified")]
    secret_key: Vec<String>,
    /// Do without it. Sessions that a changed password has ended then come back to life.
    #[arg(long, conflicts_with = "secret_key")]
    unverified: bool,
    /// The application's SESSION_COOKIE_AGE, from which follows when a session began.
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = age)]
    cookie_age: Duration,
}

fn age(text: &str) -> Result<Duration, String> {
    units::parse_duration(text)?.ok_or_else(|| "must be longer than 0".to_owned())
}

/// A user, as far as a session's row has to be compared with.
struct User {
    name: String,
    active: bool,
    /// What the sessions of the present password bear, by each key.
    marks: Vec<String>,
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let secrets: Result<Vec<Zeroizing<String>>, Failure> =
        asked.secret_key.iter().map(|place| secret::read_elsewhere("--secret-key", place)).collect();
    let keys = Keys::new(&secrets?);
    let age = asked.cookie_age;
    let mut import = Import::open(sources, asked.common, "django", &[DJANGO_SESSIONS]).await?;
    let linked = import.foreign.has(LINKS).await?;
    let users = import.foreign.django_users(&import.users).await?;
    let users: HashMap<String, User> = users
        .into_iter()
        .map(|user| (user.id, User { name: user.name, active: user.active, marks: keys.marks(&user.password) }))
        .collect();
    let mut after = String::new();
    loop {
        let rows = import.foreign.django(linked, &after, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(import.report()) };
        super::advance(&mut after, &last.key, DJANGO_SESSIONS)?;
        let mut batch = Vec::with_capacity(rows.len());
        for row in rows {
            import.counts.read += 1;
            match owner(&row, &keys, &users) {
                Ok(user) => batch.push(candidate(row, user, age, import.now)),
                Err(why) => {
                    let counts = &mut import.counts;
                    *match why {
                        // Of an expired one nobody needs to know more.
                        _ if row.expires_at <= import.now => &mut counts.expired,
                        Unowned::Anonymous => &mut counts.anonymous,
                        Unowned::Disabled => &mut counts.user_disabled,
                        Unowned::LoggedOut => &mut counts.logged_out,
                        Unowned::Forged => &mut counts.refused,
                        Unowned::Unreadable => &mut counts.unreadable,
                    } += 1;
                }
            }
        }
        import.take(batch).await?;
    }
}

/// Why a session belongs to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unowned {
    /// Nobody has logged in.
    Anonymous,
    /// The user may not log in, or is gone.
    Disabled,
    /// The password was changed since: Django no longer takes it for the user's.
    LoggedOut,
    /// Its signature is not by one of the keys.
    Forged,
    /// It is not as Django writes it.
    Unreadable,
}

fn owner(row: &DjangoRow, keys: &Keys, users: &HashMap<String, User>) -> Result<UserId, Unowned> {
    let (id, mark) = match session_data::read(&row.data, keys) {
        Ok(login) => match login {
            Some(login) => (login.user, login.mark),
            None => return Err(Unowned::Anonymous),
        },
        Err(Flaw::Forged) => return Err(Unowned::Forged),
        // Serialized otherwise, by pickle for example. The link says whose it is, and nothing can be verified.
        Err(Flaw::Unreadable) => match &row.linked_user {
            Some(user) if keys.is_empty() => (user.clone(), None),
            Some(_) | None => return Err(Unowned::Unreadable),
        },
    };
    let user = users.get(&id).filter(|user| user.active).ok_or(Unowned::Disabled)?;
    if !keys.is_empty() && !mark.is_some_and(|mark| user.marks.contains(&mark)) {
        return Err(Unowned::LoggedOut);
    }
    UserId::parse(&user.name).map_err(|_| Unowned::Unreadable)
}

fn candidate(row: DjangoRow, user: UserId, age: Duration, now: Timestamp) -> Candidate {
    // Django keeps no beginning. Each change of a session moves its expiry to so long after it.
    let changed_at = row.expires_at.minus(age).min(now);
    Candidate {
        id: id(&row.key),
        user,
        state: State::Active,
        created_at: changed_at,
        expires_at: Some(row.expires_at),
        last_seen_at: changed_at,
        last_ip: None,
        user_agent: None,
        key: row.key,
    }
}

/// The same key always gets the same id, so that a second import finds it. Neither the key nor its digest follows from it.
fn id(key: &str) -> SessionId {
    let hash = Sha256::new().chain_update("session-gateway: django_session ").chain_update(key).finalize();
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    SessionId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
