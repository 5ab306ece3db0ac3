//! The parts of an application, and what each asks of a request.

use figment::value::Value;
use http::Method;

use crate::config::reader::{Table, list, text};
use crate::policy::Auth;

/// What one part of an application asks of a request.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its place.
    pub path: RoutePath,
    /// The methods; empty is every method.
    pub methods: Vec<Method>,
    /// Whether a session is needed.
    pub auth: Auth,
    /// The roles of which one is needed; empty is none.
    pub roles: Vec<Box<str>>,
    /// What a browser without a session gets.
    pub on_reject: OnReject,
}

/// The place of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutePath {
    /// Everything under it, on segment boundaries.
    Prefix(String),
    /// This path alone.
    Exact(String),
}

/// What a request without a good session gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// Browsers go to the login page, programs get a 401.
    Auto,
    /// A 401 for everybody.
    Unauthorized,
    /// The login page for everybody but scripts in a page.
    Login,
}

pub(super) fn route(mut table: Table) -> Route {
    let prefix = table.optional("path", path);
    let exact = table.optional("exact", path);
    let place = match (prefix, exact) {
        (Some(prefix), None) => RoutePath::Prefix(prefix),
        (None, Some(exact)) => RoutePath::Exact(exact),
        (Some(_), Some(exact)) => {
            table.fault("exact", "cannot stand beside path: a route is a prefix (path) or one path (exact)");
            RoutePath::Exact(exact)
        }
        (None, None) => {
            if !table.has("path") && !table.has("exact") {
                table.fault("path", "is missing: which part of the application is this route about?");
            }
            RoutePath::Prefix("/".to_owned())
        }
    };
    let auth = table.choice(
        "auth",
        Auth::Required,
        &[("required", Auth::Required), ("optional", Auth::Optional), ("off", Auth::Off)],
    );
    let roles: Vec<Box<str>> = table.get("roles", Vec::new(), |value| {
        list(value, |role| {
            let role = text(role)?;
            crate::session::Role::parse(&role).map_err(|error| format!("\"{role}\" {error}"))?;
            Ok(role.into_boxed_str())
        })
    });
    if !roles.is_empty() && auth != Auth::Required {
        table.fault("roles", "need auth = \"required\": a request without a session has no role");
    }
    Route {
        path: place,
        methods: table.get("methods", Vec::new(), |value| list(value, method)),
        auth,
        roles,
        on_reject: table.choice(
            "on_reject",
            OnReject::Auto,
            &[("auto", OnReject::Auto), ("401", OnReject::Unauthorized), ("login", OnReject::Login)],
        ),
    }
}

pub(super) fn method(value: &Value) -> Result<Method, String> {
    let name = text(value)?;
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(method),
        Ok(_) | Err(_) => Err(format!("\"{name}\" is no method; write \"GET\", \"POST\" …")),
    }
}

/// A path as it stands in a canonical target, so that what is configured is what is compared.
pub(super) fn path(value: &Value) -> Result<String, String> {
    let given = text(value)?;
    if given.contains(';') {
        return Err("must not have parameters (a semicolon)".to_owned());
    }
    crate::http::target::canonical(&given).map(std::borrow::Cow::into_owned).map_err(str::to_owned)
}
