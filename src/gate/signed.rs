//! Credentials that are signed, and what they open.

use crate::error::{Code, Problem};
use crate::http::credential::Presented;
use crate::jwt;
use crate::keyring::KeyRing;
use crate::session::Format;
use crate::token::Shape;

/// The keys that a credential is to be verified with; none for a random token.
pub(super) fn signer<'k>(keys: Option<&'k KeyRing>, presented: &Presented<'_>) -> Result<Option<&'k KeyRing>, Problem> {
    match presented.shape {
        Shape::Plausible => Ok(None),
        Shape::Foreign | Shape::Malformed => match keys {
            Some(keys) if jwt::is_shaped(presented.token) => Ok(Some(keys)),
            Some(_) | None => Err(Problem::new(Code::UnknownToken)),
        },
    }
}

/// Whether a session of this format is opened by a credential that was signed, or was not.
pub(super) fn fits(format: Format, signed: bool) -> Result<(), Problem> {
    if format == Format::Jwt && !signed {
        return Err(Problem::with_detail(
            Code::InvalidToken,
            "A refresh token opens nothing; it gets a new access token.",
        ));
    }
    Ok(())
}
