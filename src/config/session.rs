//! `[session]`: how long sessions live.

use std::time::Duration;

use super::reader::Table;

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// From creation, or under `sliding` from the last use, to expiry; `None` is never.
    pub lifetime: Option<Duration>,
    /// The same for people who asked to be remembered.
    pub remember_lifetime: Option<Duration>,
    /// Whether a use begins the lifetime anew.
    pub sliding: bool,
    /// From creation to the end of a session that slides, however much it is used; `None` is never.
    pub max_lifetime: Option<Duration>,
    /// How often the last use of a session is written down.
    pub touch_interval: Duration,
    /// How long a token that was rotated away stays usable.
    pub rotate_grace: Duration,
    /// Whether the end of a session ends its WebSockets and what is being sent to it.
    pub cut_streams: bool,
}

/// How long one session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From creation to expiry, however much it is used; `None` is never.
    pub lifetime: Option<Duration>,
    /// After how long without use it is over; `None` is never.
    pub slide: Option<Duration>,
}

impl SessionSettings {
    /// The lifetime of somebody who asked to be remembered, or did not.
    pub const fn lifetime(&self, remember: bool) -> Option<Duration> {
        if remember { self.remember_lifetime } else { self.lifetime }
    }

    /// What a lifetime means: a length from creation, or from every use.
    pub fn span(&self, lifetime: Option<Duration>) -> Span {
        if self.sliding {
            Span { lifetime: self.max_lifetime, slide: lifetime }
        } else {
            Span { lifetime, slide: None }
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read(mut table: Table, idle_timeout: Option<Duration>) -> SessionSettings {
    let touch_interval = table.limit("touch_interval", Duration::from_secs(30));
    let settings = SessionSettings {
        lifetime: table.time("lifetime", Some(14 * DAY)),
        remember_lifetime: table.time("remember_lifetime", Some(30 * DAY)),
        sliding: table.flag("sliding", false),
        max_lifetime: table.time("max_lifetime", None),
        // Under an idle timeout a use must be written down well before the session counts as idle.
        touch_interval: idle_timeout.map_or(touch_interval, |idle| touch_interval.min(idle / 4)),
        rotate_grace: table.time("rotate_grace", Some(Duration::from_secs(30))).unwrap_or_default(),
        cut_streams: table.flag("cut_streams", true),
    };
    if settings.max_lifetime.is_some() && !settings.sliding {
        table.fault("max_lifetime", "is for sessions that slide: write sliding = true, or shorten lifetime");
    }
    // What other gateways know of a session's use is as old as that.
    for (key, lifetime) in [("lifetime", settings.lifetime), ("remember_lifetime", settings.remember_lifetime)] {
        if settings.sliding && lifetime.is_some_and(|lifetime| settings.touch_interval > lifetime / 4) {
            table.fault("touch_interval", format!("must be at most a quarter of {key}, because sliding is true"));
            break;
        }
    }
    settings
}
