//! `[server]`: where clients connect, and what they may take.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use figment::value::Value;

use super::listen::{self, Listen};
use super::reader::{Table, list, text};
use super::tls::{self, TlsSettings};
use super::units;
use crate::http::client::TrustedProxies;

/// Bounds against slips of the pen: beyond them the gateway would run out of something before it began.
const MAX_WORKERS: usize = 1024;
const MAX_CONNECTIONS: usize = 10_000_000;
const MAX_STREAMS: usize = 1000;

/// The public side: listeners, limits, times.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Where `/metrics`, `/livez` and `/readyz` are; `None` is off.
    pub ops_listen: Option<Listen>,
    /// The permissions of socket files.
    pub unix_mode: u32,
    /// The number of worker threads, each with a listener, a runtime and a pool of its own; `None` is one per core.
    pub workers: Option<usize>,
    /// The proxies whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// How long requests in flight may take to finish when the gateway stops.
    pub drain: Duration,
    /// From a connection's or a request's first byte to the end of its headers.
    pub header_timeout: Duration,
    /// How long a keep-alive connection may wait for its next request, and how long a client may stall in the middle of
    /// a body.
    pub idle_timeout: Duration,
    /// The most bytes of request line and headers; more is 431.
    pub max_header_bytes: usize,
    /// Whether HTTP/2 is spoken with clients that want it.
    pub http2: bool,
    /// The most requests at a time on one HTTP/2 connection.
    pub http2_max_streams: u32,
    /// The most open client connections, over all workers; more wait in the listener's backlog. Requests beside the first on
    /// connections of HTTP/2 count too; more are refused.
    pub max_connections: usize,
    /// How the listeners speak TLS; `None` is plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Where every request is sent to https.
    pub redirect_listen: Vec<Listen>,
    /// The most open connections of one client, over all workers; more are closed at once. Requests count as above. `None` is no
    /// limit.
    pub max_connections_per_client: Option<NonZeroUsize>,
}

pub(super) fn read(mut table: Table) -> Option<Server> {
    let listen = table.optional("listen", |value| match value {
        Value::Array(_, items) if items.is_empty() => Err("must name at least one address".to_owned()),
        Value::Array(..) => Ok(list(value, listen::parse)?.concat()),
        Value::String(..) | Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) | Value::Dict(..) => {
            listen::parse(value)
        }
    });
    let listen = match listen {
        Some(listen) => Some(listen),
        None if table.has("listen") => None,
        None => Some(vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))]),
    };
    let usual = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 9090)));
    let ops_listen = table.get("ops_listen", Some(usual), |value| {
        if value.as_str() == Some("") { Ok(None) } else { Ok(listen::parse(value)?.into_iter().next()) }
    });
    let tls = tls::read(&mut table);
    let redirect_listen = table.get("redirect_listen", Vec::new(), places);
    if !redirect_listen.is_empty() && tls.is_none() && !table.has("tls") {
        table.fault("redirect_listen", "needs [[server.tls]]: it sends clients to https");
    }
    let trusted_proxies = table.get("trusted_proxies", TrustedProxies::default(), |value| {
        let networks = list(value, text)?;
        TrustedProxies::parse(networks.iter().map(String::as_str))
    });
    let proxy_protocol = table.flag("proxy_protocol", false);
    if proxy_protocol && trusted_proxies == TrustedProxies::default() {
        table.fault(
            "proxy_protocol",
            "needs trusted_proxies: whoever may say whose connection it is must be named there, and nobody else is served",
        );
    }
    let workers = table.count("workers", 0, 0..=MAX_WORKERS);
    Some(Server {
        ops_listen,
        unix_mode: table.get("unix_mode", 0o660, listen::mode),
        workers: (workers > 0).then_some(workers),
        trusted_proxies,
        proxy_protocol,
        drain: table.limit("drain", Duration::from_secs(30)),
        header_timeout: table.limit("header_timeout", Duration::from_secs(10)),
        idle_timeout: table.limit("idle_timeout", Duration::from_secs(75)),
        max_header_bytes: table.get("max_header_bytes", 32 * 1024, |value| {
            let size = match value.to_i128() {
                Some(number) => usize::try_from(number).map_err(|_| "must not be negative".to_owned())?,
                None => units::parse_size(&text(value)?)?,
            };
            // Below 8 KiB browsers fail; the limit is also the connection's read buffer, so it is not free either.
            if (8 * 1024..=1024 * 1024).contains(&size) { Ok(size) } else { Err("must be 8 KiB to 1 MiB".to_owned()) }
        }),
        http2: table.flag("http2", true),
        http2_max_streams: u32::try_from(table.count("http2_max_streams", 128, 1..=MAX_STREAMS)).unwrap_or(u32::MAX),
        max_connections: table.count("max_connections", 10_000, 1..=MAX_CONNECTIONS),
        max_connections_per_client: NonZeroUsize::new(table.count(
            "max_connections_per_client",
            1000,
            0..=MAX_CONNECTIONS,
        )),
        listen: listen?,
        tls,
        redirect_listen,
    })
}

/// One place or a list of them, which may be empty.
fn places(value: &Value) -> Result<Vec<Listen>, String> {
    if value.as_array().is_some() { Ok(list(value, listen::parse)?.concat()) } else { listen::parse(value) }
}
