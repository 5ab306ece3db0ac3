//! Connections that never came to anything.

/// Why a connection was closed before anything was served on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its client has as many as it may have.
    ClientLimit,
    /// Its peer is not one that may send a PROXY header.
    NoProxy,
    /// Its PROXY header cannot be read.
    BadProxyHeader,
}

impl TurnedAway {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::ClientLimit, Self::NoProxy, Self::BadProxyHeader];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientLimit => "client_limit",
            Self::NoProxy => "no_proxy",
            Self::BadProxyHeader => "bad_proxy_header",
        }
    }
}
