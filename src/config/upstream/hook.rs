//! How a login, a logout and a password change of an application show.

use figment::value::Value;
use http::Method;

use super::field::{Deliver, FIELD_FORM, Field, deliver, field};
use super::route::{method, path};
use crate::config::reader::{Table, list, text};
use crate::http::cookie::CookieName;

/// A request of the application that the gateway takes note of.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its path.
    pub path: String,
    /// Its method.
    pub method: Method,
    /// The response statuses that mean it was done.
    pub success: StatusSet,
}

/// How a password change shows, and what then becomes of the session that made it.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// The request and the response statuses that mean "changed".
    pub hook: Hook,
    /// Whether the session gets a new token, in case somebody else has the old one too.
    pub rotates: bool,
}

/// How a login shows, and what then happens.
#[derive(Clone, Debug)]
pub struct Login {
    /// The request and the response statuses that mean "logged in".
    pub hook: Hook,
    /// Where the user's id stands; never a fixed value.
    pub user: Field,
    /// Where the roles stand.
    pub roles: Option<Field>,
    /// Where the name stands.
    pub name: Option<Field>,
    /// Where the e-mail address stands.
    pub email: Option<Field>,
    /// Where it stands whether the person wants to be remembered; `None` asks nobody.
    pub remember: Option<Field>,
    /// How the client gets its token.
    pub deliver: Deliver,
    /// The cookie that the application sets when, and only when, somebody logs in; `None` asks for none.
    pub sets_cookie: Option<CookieName>,
}

/// Some response statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusSet {
    /// These.
    These(Vec<u16>),
    /// Every 2xx and 3xx.
    SuccessOrRedirect,
    /// Everything below 400.
    NoError,
}

impl StatusSet {
    /// Whether a status is one of them.
    pub fn contains(&self, status: u16) -> bool {
        match self {
            Self::These(list) => list.contains(&status),
            Self::SuccessOrRedirect => (200..400).contains(&status),
            Self::NoError => status < 400,
        }
    }
}

pub(super) fn login(mut table: Table) -> Option<Login> {
    if !table.has("user") {
        table.fault("user", format!("is missing: where does the user's id stand? {FIELD_FORM}"));
    }
    let user = table.optional("user", |value| match field(value)? {
        Field::Value(_) => Err("cannot be the same for everybody".to_owned()),
        field @ (Field::Form(_) | Field::RequestJson(_) | Field::ResponseHeader(_) | Field::ResponseJson(_)) => {
            Ok(field)
        }
    });
    let default = match &user {
        Some(field) if !field.is_in_request() => StatusSet::SuccessOrRedirect,
        Some(_) | None => StatusSet::These(vec![302, 303]),
    };
    let login = (
        hook(&mut table, default),
        table.optional("roles", |value| match field(value)? {
            Field::Form(_) | Field::RequestJson(_) => {
                Err("cannot stand in the request, where the client chooses them; take them from the answer".to_owned())
            }
            field @ (Field::ResponseHeader(_) | Field::ResponseJson(_) | Field::Value(_)) => Ok(field),
        }),
        table.optional("name", field),
        table.optional("email", field),
        table.optional("remember", |value| match field(value)? {
            Field::Value(_) => Err("cannot be the same for everybody; set session.lifetime instead".to_owned()),
            field @ (Field::Form(_) | Field::RequestJson(_) | Field::ResponseHeader(_) | Field::ResponseJson(_)) => {
                Ok(field)
            }
        }),
        table.get("deliver", Deliver::Cookie, deliver),
        table.optional("sets_cookie", |value| CookieName::parse(&text(value)?)),
    );
    let (hook, roles, name, email, remember, deliver, sets_cookie) = login;
    Some(Login { hook: hook?, user: user?, roles, name, email, remember, deliver, sets_cookie })
}

pub(super) fn hooks(table: &mut Table, key: &'static str, default: &StatusSet) -> Vec<Hook> {
    table.tables(key).into_iter().filter_map(|mut table| hook(&mut table, default.clone())).collect()
}

pub(super) fn password_change(mut table: Table) -> Option<PasswordChange> {
    let rotates = table.choice("current", false, &[("keep", false), ("rotate", true)]);
    let hook = hook(&mut table, StatusSet::These(vec![302, 303, 204]));
    Some(PasswordChange { hook: hook?, rotates })
}

fn hook(table: &mut Table, default: StatusSet) -> Option<Hook> {
    if !table.has("path") {
        table.fault("path", "is missing: which request of the application is this?");
    }
    let place = table.optional("path", path);
    let method = table.get("method", Method::POST, method);
    let success = table.get("success", default, statuses);
    Some(Hook { path: place?, method, success })
}

/// A list of response statuses.
pub(super) fn statuses(value: &Value) -> Result<StatusSet, String> {
    let status = |value: &Value| {
        let number = value.to_i128().and_then(|number| u16::try_from(number).ok());
        number.filter(|status| (200..600).contains(status)).ok_or_else(|| "must be statuses: [302, 303]".to_owned())
    };
    let statuses = list(value, status)?;
    if statuses.is_empty() { Err("must name at least one status".to_owned()) } else { Ok(StatusSet::These(statuses)) }
}
