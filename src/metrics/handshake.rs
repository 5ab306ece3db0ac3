//! How TLS handshakes end.

/// How TLS was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// TLS 1.2, from nothing.
    Full12,
    /// TLS 1.2, with what was agreed on before.
    Resumed12,
    /// TLS 1.3, from nothing.
    Full13,
    /// TLS 1.3, with what was agreed on before.
    Resumed13,
}

impl Handshake {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Full12, Self::Resumed12, Self::Full13, Self::Resumed13];

    /// Which one it was.
    pub const fn of(tls13: bool, resumed: bool) -> Self {
        match (tls13, resumed) {
            (false, false) => Self::Full12,
            (false, true) => Self::Resumed12,
            (true, false) => Self::Full13,
            (true, true) => Self::Resumed13,
        }
    }

    /// The metric labels: version and kind.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Full12 => ("1.2", "full"),
            Self::Resumed12 => ("1.2", "resumed"),
            Self::Full13 => ("1.3", "full"),
            Self::Resumed13 => ("1.3", "resumed"),
        }
    }
}

/// Why TLS was not agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client took too long.
    Timeout,
    /// The client went away.
    Closed,
    /// The client speaks HTTP without TLS.
    PlainHttp,
    /// The client speaks something else.
    NotTls,
    /// There is no version, cipher or protocol that both know.
    Incompatible,
    /// The client has no certificate, or one that is not good.
    ClientCertificate,
    /// The client does not want ours.
    Refused,
    /// The client breaks the rules of TLS.
    Protocol,
}

impl HandshakeFailure {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Closed,
        Self::PlainHttp,
        Self::NotTls,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Refused,
        Self::Protocol,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
        }
    }
}
