//! The reasons for which streams are cut.

/// Why the gateway ends a stream before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its session was ended.
    Revoked,
    /// Its session was suspended.
    Suspended,
    /// Its session made room for another.
    Evicted,
    /// Its session's lifetime is over.
    Expired,
    /// Its session was not used for too long.
    Idle,
    /// Its user was disabled.
    UserDisabled,
    /// Its session is not there any more.
    Unknown,
    /// Its session's binding or its user's roles, name or address are not those that it was opened with.
    Changed,
    /// Nobody could be asked about its session for too long.
    StoreUnavailable,
    /// It was silent for too long.
    Silent,
    /// The gateway stops.
    Drain,
}

impl Cut {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Revoked,
        Self::Suspended,
        Self::Evicted,
        Self::Expired,
        Self::Idle,
        Self::UserDisabled,
        Self::Unknown,
        Self::Changed,
        Self::StoreUnavailable,
        Self::Silent,
        Self::Drain,
    ];

    /// The metric label, and what the access log says. Where a request would be refused, the name of that refusal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "session_revoked",
            Self::Suspended => "session_suspended",
            Self::Evicted => "session_evicted",
            Self::Expired => "session_expired",
            Self::Idle => "session_idle",
            Self::UserDisabled => "user_disabled",
            Self::Unknown => "unknown_token",
            Self::Changed => "session_changed",
            Self::StoreUnavailable => "store_unavailable",
            Self::Silent => "tunnel_idle",
            Self::Drain => "drain",
        }
    }
}
