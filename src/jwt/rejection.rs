//! Why a token is not good.

use std::borrow::Cow;

use crate::error::{Code, Problem};

/// Why a token is not good. What is said is about the token's form and rules, never its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is not valid, and never will be.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// It names no session, in this claim.
    #[error("the token names no session: it has no claim {0:?}")]
    NoSession(String),
    /// It was good until it expired.
    #[error("the token has expired")]
    Expired,
    /// No key here bears the name of the one that it was signed with; its issuer may have a new one.
    #[error("the token was signed with a key that is not known")]
    UnknownKey,
}

impl Rejection {
    pub(super) const fn invalid(sentence: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(sentence))
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(sentence) => Self::with_detail(Code::InvalidToken, sentence),
            Rejection::NoSession(claim) => Self {
                detail: format!("The token names no session: it has no claim \"{claim}\".").into(),
                field: Some(claim.into()),
                ..Self::new(Code::InvalidToken)
            },
            Rejection::Expired => Self::new(Code::TokenExpired),
            Rejection::UnknownKey => {
                Self::with_detail(Code::InvalidToken, "The token was signed with a key that is not known.")
            }
        }
    }
}
