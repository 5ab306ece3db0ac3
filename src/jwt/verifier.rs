//! From the bytes of a presented token to the session that it names, or to what is wrong with it.

use std::time::Duration;

use serde_json::Value;

use super::claims::{self, Claims, Header};
use super::{Rejection, VerifyingKey};
use crate::clock::Timestamp;
use crate::session::{SessionId, UserId};

/// The longest token that is looked at. Longer ones were refused as malformed before, wherever they come from.
const LONGEST: usize = 8 * 1024;
/// The most signatures that are checked for one token.
const MOST_TRIES: usize = 16;

/// What the claims of a good token say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The issuers of which one must stand in `iss`; none asks for none.
    pub issuers: Vec<String>,
    /// The audiences of which one must stand in `aud`; none asks for none.
    pub audiences: Vec<String>,
    /// By how much the clocks of issuers may differ from ours.
    pub leeway: Duration,
    /// The claim with the session's id.
    pub session_claim: String,
    /// The claim with the user's id, which must be the session's user if it is there; `None` does not look.
    pub user_claim: Option<String>,
}

/// Judges tokens: some keys and the rules for the claims.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// The keys, in the order in which they are tried.
    pub keys: Vec<VerifyingKey>,
    /// What the claims must say.
    pub rules: Rules,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The session that it names. Whether there is one is another question.
    pub session: SessionId,
    /// The user that it names.
    pub user: Option<UserId>,
    /// From when on it is not good any more, the leeway included.
    pub expires_at: Timestamp,
}

/// Whether a credential has the form of a signed token: three parts between two dots. None of our opaque tokens has.
pub fn is_shaped(credential: &[u8]) -> bool {
    credential.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Verifier {
    /// Judges a token at `now`.
    ///
    /// # Errors
    /// What is wrong with it. [`Rejection::UnknownKey`] when it names a key that is not here.
    pub fn verify(&self, token: &[u8], now: Timestamp) -> Result<Verified, Rejection> {
        let parts = Parts::of(token).ok_or(Rejection::invalid("The token does not have the form of a JWT."))?;
        let header = Header::read(parts.header)?;
        // One signature has one spelling: padding and stray bits are refused before a key is asked.
        let signature = str::from_utf8(parts.signature).ok().filter(|text| claims::decode(text.as_bytes()).is_some());
        let signature = signature.ok_or(Rejection::invalid("The token's signature is not written in base64url."))?;
        let key = self.signer(&header, parts.signed, signature)?;
        // Nothing of the payload is looked at before it is known who wrote it.
        self.judge(&Claims::read(parts.payload)?, key.own, now)
    }

    /// The key that signed. A token that names its key is tried with the keys of that name, and, when there is none, with
    /// those that have no name of their own; always with keys for the token's algorithm alone.
    fn signer(&self, header: &Header, signed: &[u8], signature: &str) -> Result<&VerifyingKey, Rejection> {
        let is_named = |key: &&VerifyingKey| header.kid.is_some() && key.kid.as_deref() == header.kid.as_deref();
        let known = self.keys.iter().any(|key| is_named(&key));
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == header.algorithm)
            .filter(|key| header.kid.is_none() || if known { is_named(key) } else { key.kid.is_none() })
            .take(MOST_TRIES);
        match candidates.find(|key| key.verifies(signed, signature)) {
            Some(key) => Ok(key),
            None if header.kid.is_some() && !known => Err(Rejection::UnknownKey),
            None if self.keys.iter().all(|key| key.algorithm != header.algorithm) => {
                Err(Rejection::invalid("The token's algorithm is not accepted (alg)."))
            }
            None => Err(Rejection::invalid("The token's signature is not valid.")),
        }
    }

    fn judge(&self, claims: &Claims, own: bool, now: Timestamp) -> Result<Verified, Rejection> {
        let Rules { issuers, audiences, leeway, session_claim, user_claim } = &self.rules;
        // We sign assertions with the same key; whoever gets one must not come in with it.
        let is_access = !own || claims.get("token_type").and_then(Value::as_str) == Some("access");
        if !is_access || claims.is_of_another_kind() {
            return Err(Rejection::invalid("The token is no access token (token_type)."));
        }
        let expires_at = claims.time("exp")?.ok_or(Rejection::invalid("The token has no expiry (exp)."))?.plus(*leeway);
        if now >= expires_at {
            return Err(Rejection::Expired);
        }
        if claims.time("nbf")?.is_some_and(|from| now.plus(*leeway) < from) {
            return Err(Rejection::invalid("The token is not valid yet (nbf)."));
        }
        if claims.time("iat")?.is_some_and(|issued| now.plus(*leeway) < issued) {
            return Err(Rejection::invalid("The token was issued in the future (iat)."));
        }
        if !issuers.is_empty()
            && !claims.get("iss").is_some_and(|iss| iss.is_string() && claims.names_one_of("iss", issuers))
        {
            return Err(Rejection::invalid("The token is not from an accepted issuer (iss)."));
        }
        if !audiences.is_empty() && !claims.names_one_of("aud", audiences) {
            return Err(Rejection::invalid("The token is not for this audience (aud)."));
        }
        let session = match claims.get(session_claim) {
            None | Some(Value::Null) => {
                return Err(Rejection::NoSession(session_claim.clone()));
            }
            Some(value) => value.as_str().and_then(SessionId::parse).ok_or_else(|| {
                Rejection::Invalid(
                    format!("The token's claim \"{session_claim}\" is no session id: it must be a UUID.").into(),
                )
            })?,
        };
        let user = match user_claim.as_deref().and_then(|name| Some((name, claims.get(name)?))) {
            None => None,
            Some((name, value)) => {
                let text = match value {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) if !number.is_f64() => Some(number.to_string()),
                    Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
                };
                let user = text.and_then(|text| UserId::parse(&text).ok());
                Some(user.ok_or_else(|| {
                    Rejection::Invalid(format!("The token's claim \"{name}\" is no user's id.").into())
                })?)
            }
        };
        Ok(Verified { session, user, expires_at })
    }
}

/// A token cut at its dots.
struct Parts<'t> {
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t [u8],
    /// Header and payload as they stand, which is what was signed.
    signed: &'t [u8],
}

impl<'t> Parts<'t> {
    fn of(token: &'t [u8]) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let is_dot = |byte: &u8| *byte == b'.';
        let last = token.iter().rposition(is_dot)?;
        let first = token.iter().position(is_dot)?;
        let (signed, signature) = (token.get(..last)?, token.get(last + 1..)?);
        let (header, payload) = (token.get(..first)?, token.get(first + 1..last)?);
        (!payload.iter().any(is_dot)).then_some(Self { header, payload, signature, signed })
    }
}
