//! The tables under `[[upstream]]`: applications, their routes, and how a login, a logout and a password change show.

mod address;
mod field;
mod health;
mod hook;
mod route;
mod tls;
mod websocket;

use std::time::Duration;

pub use self::address::{Address, Place};
pub use self::field::{Deliver, Field};
pub use self::health::Health;
pub use self::hook::{Hook, Login, PasswordChange, StatusSet};
pub use self::route::{OnReject, Route, RoutePath};
pub use self::tls::{UpstreamTls, system_roots};
pub use self::websocket::{WebSocketAccess, WebSockets};
use super::assertion::{Assertion, Defaults};
use super::reader::{Table, duration, list, text};
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
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Which clients get its early hints.
    pub early_hints: EarlyHints,
    /// What TLS with it needs.
    pub tls: Option<UpstreamTls>,
    /// Whether it is sent the client's `Host`, or its own address.
    pub preserve_host: bool,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// The longest from the end of a request to the beginning of its response.
    pub response_timeout: Duration,
    /// The longest that the body of a response may pause; `None` is for ever.
    pub body_timeout: Option<Duration>,
    /// For how long an address that could not be connected to is not tried, the first time.
    pub retry_after: Duration,
    /// How its addresses are checked; `None` checks nothing.
    pub health: Option<Health>,
    /// How often the names of its addresses are looked up; `None` is for every connection.
    pub dns_refresh: Option<Duration>,
    /// The most requests that it serves at a time, over all workers; 0 is no limit.
    pub max_connections: usize,
    /// The most requests that wait for one of those to end.
    pub max_pending: usize,
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

/// What is spoken with an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time on each connection.
    Http1,
    /// HTTP/2: many at a time. Without TLS both sides know it beforehand (RFC 9113 section 3.3); with TLS it is agreed upon.
    Http2,
}

/// Which clients get the early hints of an application (RFC 8297).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyHints {
    /// Those that speak HTTP/2: browsers, which make use of them.
    Http2,
    /// Those of HTTP/1.1 too. Some of these take a hint for the answer, and the answer for that of their next request.
    All,
    /// None.
    Off,
}

/// More kept connections than any one worker can use.
const MAX_IDLE: usize = 100_000;
/// More than any machine can have.
const MAX_CONNECTIONS: usize = 1_000_000;
/// The most addresses of one application: what a request has tried is kept as bits of one number.
const MAX_ADDRESSES: usize = 64;
/// The longest for which an address that could not be connected to is not tried.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) fn read(mut table: Table, position: usize, assertion: &Defaults) -> Option<Upstream> {
    let name = table.text("name").unwrap_or_else(|| match position {
        0 => "app".to_owned(),
        later => format!("app{}", later + 1),
    });
    let hosts = table.get("hosts", Vec::new(), |value| list(value, |host| HostPattern::parse(&text(host)?)));
    let mut addresses = addresses(&mut table);
    let logins: Vec<Login> = table.tables("login").into_iter().filter_map(hook::login).collect();
    let complete = !addresses.is_empty();
    let protocol = table.choice("protocol", Protocol::Http1, &[("http1", Protocol::Http1), ("http2", Protocol::Http2)]);
    let upstream = Upstream {
        assertion: assertion.of(&mut table, &name),
        name,
        hosts,
        protocol,
        early_hints: table.choice(
            "early_hints",
            EarlyHints::Http2,
            &[("http2", EarlyHints::Http2), ("all", EarlyHints::All), ("off", EarlyHints::Off)],
        ),
        tls: tls::read(&mut table, &mut addresses, protocol),
        addresses,
        preserve_host: table.flag("preserve_host", true),
        connect_timeout: table.limit("connect_timeout", Duration::from_secs(5)),
        response_timeout: table.limit("response_timeout", Duration::from_secs(60)),
        body_timeout: table.time("body_timeout", None),
        retry_after: table.get("retry_after", Duration::from_secs(1), |value| match duration(value)? {
            Some(time) if time <= LONGEST_PAUSE => Ok(time),
            Some(_) | None => Err("must be 100ms to 30s".to_owned()),
        }),
        health: health::read(&mut table),
        dns_refresh: table.time("dns_refresh", Some(Duration::from_secs(30))),
        max_connections: table.count("max_connections", 0, 0..=MAX_CONNECTIONS),
        max_pending: table.count("max_pending", 100, 0..=MAX_CONNECTIONS),
        keep_alive: table.limit("keep_alive", Duration::from_secs(60)),
        max_idle: table.count("max_idle", 256, 0..=MAX_IDLE),
        websockets: websocket::read(&mut table, protocol),
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

/// Where the application listens; empty when nothing says so, or not rightly.
fn addresses(table: &mut Table) -> Vec<Address> {
    let one = table.optional("url", address::address);
    let several = table.optional("urls", |value| {
        let addresses = list(value, address::address)?;
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(format!("must name 1 to {MAX_ADDRESSES} addresses"));
        }
        for (at, address) in addresses.iter().enumerate() {
            if addresses.iter().take(at).any(|other| other.place == address.place) {
                return Err(format!("names {address} twice"));
            }
        }
        Ok(addresses)
    });
    match (table.has("url"), table.has("urls")) {
        (true, true) => table.fault("urls", "cannot stand beside url: it takes all addresses of the application"),
        (false, false) => table
            .fault("url", "is missing: where does the application listen? For example url = \"http://127.0.0.1:3000\""),
        (true, false) | (false, true) => {}
    }
    one.map_or_else(|| several.unwrap_or_default(), |one| vec![one])
}
