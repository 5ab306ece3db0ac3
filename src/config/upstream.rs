//! The tables under `[[upstream]]`: applications, their routes, and how a login, a logout and a password change show.

mod address;
mod field;
mod hook;
mod route;
mod tls;
mod websocket;

use std::time::Duration;

pub use self::address::{Address, Place};
pub use self::field::{Deliver, Field};
pub use self::hook::{Hook, Login, PasswordChange, StatusSet};
pub use self::route::{OnReject, Route, RoutePath};
pub use self::tls::UpstreamTls;
pub use self::websocket::{WebSocketAccess, WebSockets};
use super::assertion::{Assertion, Defaults};
use super::reader::{Table, list, text};
use crate::http::host::HostPattern;
use crate::http::returning::LoginPage;

/// One application.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name, for logs.
    pub name: String,
    /// The hosts it answers for; empty is every host.
    pub hosts: Vec<HostPattern>,
    /// Where it listens; never empty.
    pub addresses: Vec<Address>,
    /// What TLS with it needs.
    pub tls: Option<UpstreamTls>,
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
    /// Who may open WebSockets, and for how long.
    pub websockets: WebSockets,
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

/// More kept connections than any one worker can use.
const MAX_IDLE: usize = 100_000;

pub(super) fn read(mut table: Table, position: usize, assertion: &Defaults) -> Option<Upstream> {
    let name = table.text("name").unwrap_or_else(|| match position {
        0 => "app".to_owned(),
        later => format!("app{}", later + 1),
    });
    let hosts = table.get("hosts", Vec::new(), |value| list(value, |host| HostPattern::parse(&text(host)?)));
    let mut addresses: Vec<Address> = table.optional("url", address::address).into_iter().collect();
    if !table.has("url") {
        table
            .fault("url", "is missing: where does the application listen? For example url = \"http://127.0.0.1:3000\"");
    }
    let logins: Vec<Login> = table.tables("login").into_iter().filter_map(hook::login).collect();
    let complete = !addresses.is_empty();
    let upstream = Upstream {
        assertion: assertion.of(&mut table, &name),
        name,
        hosts,
        tls: tls::read(&mut table, &mut addresses),
        addresses,
        preserve_host: table.flag("preserve_host", true),
        connect_timeout: table.limit("connect_timeout", Duration::from_secs(5)),
        response_timeout: table.limit("response_timeout", Duration::from_secs(60)),
        keep_alive: table.limit("keep_alive", Duration::from_secs(60)),
        max_idle: table.count("max_idle", 256, 0..=MAX_IDLE),
        websockets: websocket::read(&mut table),
        login_page: login_page(&mut table, &logins),
        inspect_bytes: table.size("inspect_bytes", 64 * 1024),
        routes: table.tables("route").into_iter().map(route::route).collect(),
        logins,
        logouts: hook::hooks(&mut table, "logout", &StatusSet::NoError),
        password_changes: table.tables("password_changed").into_iter().filter_map(hook::password_change).collect(),
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

/// Where browsers are sent to log in, with the parameter that takes the way back.
fn login_page(table: &mut Table, logins: &[Login]) -> Option<LoginPage> {
    let parameter = table.text("return_param").unwrap_or_else(|| "next".to_owned());
    let given = table.text("login_url");
    let key = if given.is_some() { "login_url" } else { "return_param" };
    let location = given.or_else(|| logins.first().map(|login| login.hook.path.clone()))?;
    LoginPage::parse(&location, &parameter).map_err(|message| table.fault(key, message)).ok()
}
