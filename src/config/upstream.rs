//! The tables under `[[upstream]]`: applications, their routes, and how a login, a logout and a password change show.

mod field;

use std::time::Duration;

use figment::value::Value;
use http::Method;
use http::Uri;

pub use self::field::{Deliver, Field};
use self::field::{FIELD_FORM, deliver, field};
use super::assertion::{Assertion, Defaults};
use super::reader::{Table, list, text};
use crate::http::cookie::CookieName;
use crate::http::host::HostPattern;
use crate::http::returning::LoginPage;
use crate::policy::Auth;

/// One application.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name, for logs.
    pub name: String,
    /// The hosts it answers for; empty is every host.
    pub hosts: Vec<HostPattern>,
    /// Where it listens: `host:port`.
    pub authority: String,
    /// Whether it is sent the client's `Host`, or its own address.
    pub preserve_host: bool,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// The longest from the end of a request to the beginning of its response.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
    /// The most unused connections that each worker keeps.
    pub max_idle: usize,
    /// Where browsers are sent to log in: `login_url`, or the first login path.
    pub login_page: Option<LoginPage>,
    /// How much of a login's request or response is looked at.
    pub inspect_bytes: usize,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// The signed assertion of who is calling; `None` sends none.
    pub assertion: Option<Assertion>,
    /// How a login shows.
    pub logins: Vec<Login>,
    /// How a logout shows.
    pub logouts: Vec<Hook>,
    /// How a password change shows.
    pub password_changes: Vec<PasswordChange>,
}

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

/// More kept connections than any one worker can use.
const MAX_IDLE: usize = 100_000;

pub(super) fn read(mut table: Table, position: usize, assertion: &Defaults) -> Option<Upstream> {
    let name = table.text("name").unwrap_or_else(|| match position {
        0 => "app".to_owned(),
        later => format!("app{}", later + 1),
    });
    let hosts = table.get("hosts", Vec::new(), |value| list(value, |host| HostPattern::parse(&text(host)?)));
    let authority = match table.has("url") {
        true => table.optional("url", url),
        false => {
            table.optional("url", url);
            table.fault(
                "url",
                "is missing: where does the application listen? For example url = \"http://127.0.0.1:3000\"",
            );
            None
        }
    };
    let logins: Vec<Login> = table.tables("login").into_iter().filter_map(login).collect();
    let complete = authority.is_some();
    let upstream = Upstream {
        assertion: assertion.of(&mut table, &name),
        name,
        hosts,
        authority: authority.unwrap_or_default(),
        preserve_host: table.flag("preserve_host", true),
        connect_timeout: table.limit("connect_timeout", Duration::from_secs(5)),
        response_timeout: table.limit("response_timeout", Duration::from_secs(60)),
        keep_alive: table.limit("keep_alive", Duration::from_secs(60)),
        max_idle: table.count("max_idle", 256, 0..=MAX_IDLE),
        login_page: login_page(&mut table, &logins),
        inspect_bytes: table.size("inspect_bytes", 64 * 1024),
        routes: table.tables("route").into_iter().map(route).collect(),
        logins,
        logouts: hooks(&mut table, "logout", &StatusSet::NoError),
        password_changes: table.tables("password_changed").into_iter().filter_map(password_change).collect(),
    };
    for (at, route) in upstream.routes.iter().enumerate() {
        if route.on_reject == OnReject::Login && upstream.login_page.is_none() {
            table.fault(
                "route",
                format!(
                    "route {} says on_reject = \"login\", but there is no [[upstream.login]] and no login_url",
                    at + 1
                ),
            );
        }
    }
    complete.then_some(upstream)
}

fn route(mut table: Table) -> Route {
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

fn login(mut table: Table) -> Option<Login> {
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

fn hooks(table: &mut Table, key: &'static str, default: &StatusSet) -> Vec<Hook> {
    table.tables(key).into_iter().filter_map(|mut table| hook(&mut table, default.clone())).collect()
}

fn password_change(mut table: Table) -> Option<PasswordChange> {
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
    let success = table.get("success", default, |value| {
        let status = |value: &Value| {
            let number = value.to_i128().and_then(|number| u16::try_from(number).ok());
            number.filter(|status| (200..600).contains(status)).ok_or_else(|| "must be statuses: [302, 303]".to_owned())
        };
        let statuses = list(value, status)?;
        if statuses.is_empty() {
            Err("must name at least one status".to_owned())
        } else {
            Ok(StatusSet::These(statuses))
        }
    });
    Some(Hook { path: place?, method, success })
}

fn method(value: &Value) -> Result<Method, String> {
    let name = text(value)?;
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(method),
        Ok(_) | Err(_) => Err(format!("\"{name}\" is no method; write \"GET\", \"POST\" …")),
    }
}

/// A path as it stands in a canonical target, so that what is configured is what is compared.
fn path(value: &Value) -> Result<String, String> {
    let given = text(value)?;
    if given.contains(';') {
        return Err("must not have parameters (a semicolon)".to_owned());
    }
    crate::http::target::canonical(&given).map(std::borrow::Cow::into_owned).map_err(str::to_owned)
}

/// Where browsers are sent to log in, with the parameter that takes the way back.
fn login_page(table: &mut Table, logins: &[Login]) -> Option<LoginPage> {
    let parameter = table.text("return_param").unwrap_or_else(|| "next".to_owned());
    let given = table.text("login_url");
    let key = if given.is_some() { "login_url" } else { "return_param" };
    let location = given.or_else(|| logins.first().map(|login| login.hook.path.clone()))?;
    LoginPage::parse(&location, &parameter).map_err(|message| table.fault(key, message)).ok()
}

fn url(value: &Value) -> Result<String, String> {
    let given = text(value)?;
    let wrong = |why: &str| Err(format!("\"{given}\" {why}; write \"http://127.0.0.1:3000\""));
    let Ok(uri) = given.parse::<Uri>() else { return wrong("is no URL") };
    let Some(authority) = uri.authority() else { return wrong("is no URL with a host") };
    match uri.scheme_str() {
        Some("http") => {}
        Some(_) | None => return wrong("is not supported: applications are reached over plain http"),
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return wrong("must not have a path: requests keep their own");
    }
    if authority.as_str().contains('@') {
        return wrong("must not have a user");
    }
    match authority.port_u16() {
        Some(_) => Ok(authority.as_str().to_owned()),
        None if authority.port().is_some() => wrong("has a port that is no number"),
        None => Ok(format!("{authority}:80")),
    }
}
