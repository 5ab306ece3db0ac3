//! The keys of `[[upstream]]` about WebSockets.

use std::time::Duration;

use super::Protocol;
use crate::config::reader::{Table, list, text};
use crate::http::SiteOrigin;

/// Who may open WebSockets to an application, and for how long.
#[derive(Clone, Debug)]
pub struct WebSockets {
    /// Who may open one.
    pub access: WebSocketAccess,
    /// The other sites whose pages may open one with the session cookie.
    pub origins: Vec<SiteOrigin>,
    /// After how long without a byte in either direction one is closed; `None` is never.
    pub idle_timeout: Option<Duration>,
}

/// Who may open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketAccess {
    /// Whoever has a session, whatever the route says.
    Session,
    /// Whoever the route lets pass.
    Any,
    /// Nobody: the request goes on without the upgrade.
    Off,
}

pub(super) fn read(table: &mut Table, protocol: Protocol) -> WebSockets {
    let default = match protocol {
        Protocol::Http1 => WebSocketAccess::Session,
        // Over HTTP/2 they would need an extended CONNECT (RFC 8441), which few applications know.
        Protocol::Http2 => WebSocketAccess::Off,
    };
    let access = table.choice(
        "websocket",
        default,
        &[("session", WebSocketAccess::Session), ("any", WebSocketAccess::Any), ("off", WebSocketAccess::Off)],
    );
    if protocol == Protocol::Http2 && access != WebSocketAccess::Off {
        table.fault("websocket", "needs protocol = \"http1\": WebSockets are not opened over HTTP/2 to an application");
    }
    WebSockets {
        access,
        origins: table.get("websocket_origins", Vec::new(), |value| {
            list(value, |origin| {
                let origin = text(origin)?;
                SiteOrigin::parse(&origin).map_err(|error| format!("\"{origin}\" {error}"))
            })
        }),
        idle_timeout: table.time("tunnel_idle_timeout", Some(Duration::from_secs(3600))),
    }
}
