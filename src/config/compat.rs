//! The table `[compat]`: standing in for another program, so that its clients do not notice.

use super::reader::{Table, text};
use super::{JwtSettings, TokenSettings};
use crate::http::problem::Dialect;
use crate::http::problem::nilva::{Project, Scheme};
use crate::http::target::{canonical, under};

/// What stands in for nilva-session.
#[derive(Clone, Debug)]
pub struct Compat {
    /// Where the list of a user's sessions is. The same path with a slash at its end leads nowhere.
    pub active: Box<str>,
    /// Where a refresh token gets a new access token, if the gateway does that.
    pub refresh: Option<Box<str>>,
    /// Whether it gets a new refresh token as well, in its own place.
    pub rotates: bool,
    /// Where a refresh token is given back, which ends its session, if the gateway does that.
    pub blacklist: Option<Box<str>>,
    /// What is to be known of the project that the clients come from.
    pub project: Project,
}

impl Compat {
    /// The words of the answers to its clients.
    pub const fn dialect(&self) -> Dialect {
        Dialect::Nilva(self.project)
    }

    /// Whether a path is answered by the gateway itself.
    pub fn has(&self, path: &str) -> bool {
        let is = |own: &Option<Box<str>>| own.as_deref() == Some(path);
        path.strip_prefix(&*self.active).is_some_and(|rest| matches!(rest, "" | "/"))
            || is(&self.refresh)
            || is(&self.blacklist)
    }
}

/// Reads the table; `None` when it is off. `signs` says whether there is a key to sign access tokens with.
pub(super) fn read(mut table: Table, token: Option<&TokenSettings>, jwt: &JwtSettings, signs: bool) -> Option<Compat> {
    let on = table.flag("nilva", false);
    let prefix = table.get("prefix", "/sessions".to_owned(), |value| path(&text(value)?));
    let first = table.choice("challenge", Scheme::Token, &[("Token", Scheme::Token), ("Bearer", Scheme::Bearer)]);
    let refresh = table.optional("refresh_path", |value| path(&text(value)?));
    let rotates = table.flag("rotate_refresh", false);
    let blacklist = table.optional("blacklist_path", |value| path(&text(value)?));
    if !on {
        return None;
    }
    let active = format!("{}/active", prefix.trim_end_matches('/'));
    for (key, own, other) in [("refresh_path", &refresh, &blacklist), ("blacklist_path", &blacklist, &None)] {
        if own.as_ref() == Some(&active) || own.is_some() && own == other {
            table.fault(key, "is the path of another call; each needs its own");
        }
        if own.is_some() && !signs {
            table.fault(key, "needs signing.key: without it there are no refresh tokens");
        }
    }
    if token.is_some_and(|token| !token.credential.has_scheme(first.name())) {
        table.fault(
            "challenge",
            format!("\"{}\" is none of token.schemes: it would ask for what is not taken", first.name()),
        );
    }
    let signed = signs || !jwt.keys.is_empty() || jwt.key_set.is_some();
    Some(Compat {
        active: active.into(),
        refresh: refresh.map(Into::into),
        rotates,
        blacklist: blacklist.map(Into::into),
        project: Project { first, signed },
    })
}

/// A path that the gateway can answer beside its own calls.
fn path(given: &str) -> Result<String, String> {
    match canonical(given) {
        Ok(path) if path != given => Err(format!("\"{given}\" is written \"{path}\"")),
        Ok(_) if given.contains([';', '%']) => Err("must be plain: no ; and no %".to_owned()),
        Ok(_) if under(given, "/_sessions") => {
            Err("must not be under /_sessions: those are calls of their own".to_owned())
        }
        Ok(path) => Ok(path.into_owned()),
        Err(why) => Err(format!("\"{given}\" is no path to be answered: {why}")),
    }
}
