//! The table `[compat]`: standing in for another program, so that its clients do not notice.

use super::TokenSettings;
use super::reader::{Table, text};
use crate::http::problem::Dialect;
use crate::http::problem::nilva::{Project, Scheme};
use crate::http::target::{canonical, under};

/// What stands in for nilva-session.
#[derive(Clone, Debug)]
pub struct Compat {
    /// Where the list of a user's sessions is. The same path with a slash at its end leads nowhere.
    pub active: Box<str>,
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
        path.strip_prefix(&*self.active).is_some_and(|rest| matches!(rest, "" | "/"))
    }
}

/// Reads the table; `None` when it is off.
pub(super) fn read(mut table: Table, token: Option<&TokenSettings>) -> Option<Compat> {
    let on = table.flag("nilva", false);
    let prefix = table.get("prefix", "/sessions".to_owned(), |value| path(&text(value)?));
    let first = table.choice("challenge", Scheme::Token, &[("Token", Scheme::Token), ("Bearer", Scheme::Bearer)]);
    if !on {
        return None;
    }
    let active = format!("{}/active", prefix.trim_end_matches('/'));
    if token.is_some_and(|token| !token.credential.has_scheme(first.name())) {
        table.fault(
            "challenge",
            format!("\"{}\" is none of token.schemes: it would ask for what is not taken", first.name()),
        );
    }
    Some(Compat { active: active.into(), project: Project { first, signed: false } })
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
