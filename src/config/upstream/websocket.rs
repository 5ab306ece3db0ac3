//! The keys of `[[upstream]]` about WebSockets.

use std::time::Duration;

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

pub(super) fn read(table: &mut Table) -> WebSockets {
    WebSockets {
        access: table.choice(
            "websocket",
            WebSocketAccess::Session,
            &[("session", WebSocketAccess::Session), ("any", WebSocketAccess::Any), ("off", WebSocketAccess::Off)],
        ),
        origins: table.get("websocket_origins", Vec::new(), |value| {
            list(value, |origin| {
                let origin = text(origin)?;
                SiteOrigin::parse(&origin).map_err(|error| format!("\"{origin}\" {error}"))
            })
        }),
        idle_timeout: table.time("tunnel_idle_timeout", Some(Duration::from_secs(3600))),
    }
}
