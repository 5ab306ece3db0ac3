//! Where a list goes on, as text that only this gateway, or another one on the same store, can have written.
//!
//! A cursor is good for the list and the filter that it was made for. Somebody who could make one up could not see more by
//! it, but would have a program of ours read at places of their choice; and a cursor of another list is a mistake.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Call;
use super::query::Query;
use crate::clock::Timestamp;
use crate::error::Problem;
use crate::session::SessionId;
use crate::store::{EventPosition, Position};

/// A list, with whatever narrows it.
#[derive(Debug)]
pub struct List {
    name: &'static str,
    filter: String,
}

impl List {
    /// The list of that name with the parameters of the query, but for those that only say which page.
    pub(super) fn new(name: &'static str, owner: &str, query: &Query<'_>) -> Self {
        let mut pairs: Vec<_> = query.pairs().filter(|(name, _)| !matches!(*name, "cursor" | "limit")).collect();
        pairs.sort_unstable();
        // With lengths, so that no two filters have the same text.
        let mut filter = format!("{}:{owner}", owner.len());
        for (name, value) in pairs {
            filter.push_str(&format!("&{name}={}:{value}", value.len()));
        }
        Self { name, filter }
    }

    fn signed<T>(&self, payload: &[u8], with: impl FnOnce(&[u8]) -> T) -> T {
        let mut message = format!("{}?{}\n", self.name, self.filter).into_bytes();
        message.extend_from_slice(payload);
        with(&message)
    }

    /// The list of that name, narrowed by `filter`.
    pub const fn named(name: &'static str, filter: String) -> Self {
        Self { name, filter }
    }

    /// A place of this list as text.
    pub fn seal(&self, key: &hmac::Key, place: &impl Place) -> String {
        let mut bytes = place.to_bytes();
        let tag = self.signed(&bytes, |message| hmac::sign(key, message));
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a text says; `None` when it was not sealed for this list with this key.
    pub fn open<P: Place>(&self, key: &hmac::Key, text: &str) -> Option<P> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (payload, tag) = bytes.split_at_checked(P::BYTES)?;
        self.signed(payload, |message| hmac::verify(key, message, tag)).ok()?;
        P::from_bytes(payload)
    }

    /// A place of this list as text, with the key of the store.
    pub(super) async fn write(&self, call: &Call<'_>, place: impl Place) -> Result<String, Problem> {
        Ok(self.seal(&key(call).await?, &place))
    }

    /// The place in the parameter `cursor`, if there is one.
    ///
    /// # Errors
    /// [`crate::error::Code::InvalidRequest`] for a cursor that was not made for this list.
    pub(super) async fn read<P: Place>(&self, call: &Call<'_>, query: &Query<'_>) -> Result<Option<P>, Problem> {
        let Some(text) = query.one("cursor")? else { return Ok(None) };
        let place = self.open(&key(call).await?, text);
        place.map(Some).ok_or_else(|| Problem::invalid("cursor", "The value is no cursor of this list and filter."))
    }
}

async fn key(call: &Call<'_>) -> Result<hmac::Key, Problem> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &call.sessions.cursor_key().await?))
}

/// A place in some list.
pub trait Place: Sized {
    /// How many bytes it takes.
    const BYTES: usize;
    /// The place as bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The place that these bytes are.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (millis, rest) = bytes.split_at_checked(8)?;
    Some((Timestamp::from_millis(i64::from_be_bytes(millis.try_into().ok()?)), rest))
}

impl Place for Position {
    const BYTES: usize = 24;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.created_at.as_millis().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_uuid().as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (created_at, id) = time(bytes)?;
        Some(Self { created_at, id: SessionId::from_uuid(uuid::Uuid::from_slice(id).ok()?) })
    }
}

impl Place for EventPosition {
    const BYTES: usize = 16;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.at.as_millis().to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, id) = time(bytes)?;
        Some(Self { at, id: i64::from_be_bytes(id.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        let position = Position { created_at: Timestamp::from_millis(1_234), id: SessionId::generate().unwrap() };
        let bytes = position.to_bytes();
        assert_eq!((bytes.len(), Position::from_bytes(&bytes)), (Position::BYTES, Some(position)));
        let line = EventPosition { at: Timestamp::from_millis(-1), id: 7 };
        let bytes = line.to_bytes();
        assert_eq!((bytes.len(), EventPosition::from_bytes(&bytes)), (EventPosition::BYTES, Some(line)));
    }

    #[test]
    fn lists_and_filters_differ_in_what_is_signed_and_pages_do_not() {
        let text = |name, owner, query| {
            let known = ["user", "ip", "cursor", "limit"];
            List::new(name, owner, &Query::parse(query, &known).unwrap()).signed(b"", <[u8]>::to_vec)
        };
        let base = text("sessions", "", "user=ann&ip=::1");
        assert_eq!(base, text("sessions", "", "ip=::1&limit=7&user=ann&cursor=x"));
        for other in [
            text("own", "", "user=ann&ip=::1"),
            text("sessions", "ann", "user=ann&ip=::1"),
            text("sessions", "", "user=ann"),
            text("sessions", "", "user=ann%26ip%3D3:::1"),
        ] {
            assert_ne!(base, other);
        }
    }
}
