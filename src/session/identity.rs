//! The owner of a cached session in the form of header values, packed into one block.
//!
//! The block is built once, when the session is loaded, and every request writes parts of it: no allocation, no formatting
//! on the request's path, and about a third of the memory of five separate strings.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use percent_encoding::percent_decode;

use super::{Principal, SessionId};

/// User, session id, roles, name and e-mail address as header values.
///
/// Visible ASCII stands as it is; anything else, spaces and `%` included, is percent-encoded UTF-8, so that the application can have the
/// exact text back. Roles are joined by commas.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    block: Box<[u8]>,
    /// Where user, session id, roles and name end in the block; the e-mail address ends with it.
    ends: [u16; 4],
}

impl Identity {
    /// Packs the owner of the session `id`.
    pub fn new(id: SessionId, principal: &Principal) -> Self {
        let mut block = Vec::with_capacity(256);
        encode(&mut block, principal.user.as_str());
        let user = end(&block);
        // Writing to a vector cannot fail.
        let _ = write!(block, "{id}");
        let session = end(&block);
        for (position, role) in principal.roles.iter().enumerate() {
            if position > 0 {
                block.push(b',');
            }
            block.extend_from_slice(role.as_str().as_bytes());
        }
        let roles = end(&block);
        encode(&mut block, principal.name.as_deref().unwrap_or(""));
        let name = end(&block);
        encode(&mut block, principal.email.as_deref().unwrap_or(""));
        // Copied, not shrunk: an allocator may shrink a block in place and leave it as large as it was.
        Self { block: block.as_slice().into(), ends: [user, session, roles, name] }
    }

    /// The user's id.
    pub fn user(&self) -> &[u8] {
        self.part(0, self.ends[0])
    }

    /// The session's id.
    pub fn session(&self) -> &[u8] {
        self.part(self.ends[0], self.ends[1])
    }

    /// The roles, joined by commas; empty when there are none.
    pub fn roles(&self) -> &[u8] {
        self.part(self.ends[1], self.ends[2])
    }

    /// The name; empty when there is none.
    pub fn name(&self) -> &[u8] {
        self.part(self.ends[2], self.ends[3])
    }

    /// The e-mail address; empty when there is none.
    pub fn email(&self) -> &[u8] {
        self.part(self.ends[3], end(&self.block))
    }

    /// The user's id as it was given at creation.
    pub fn user_text(&self) -> Cow<'_, str> {
        let user = self.block.get(..usize::from(self.ends[0])).unwrap_or_default();
        percent_decode(user).decode_utf8_lossy()
    }

    /// Whether this is what [`Identity::new`] makes of the same arguments.
    pub fn is_of(&self, id: SessionId, principal: &Principal) -> bool {
        let other = Self::new(id, principal);
        self.block == other.block && self.ends == other.ends
    }

    /// Whether the session has this role.
    pub fn has_role(&self, role: &str) -> bool {
        let roles = self.block.get(usize::from(self.ends[1])..usize::from(self.ends[2])).unwrap_or_default();
        !role.is_empty() && roles.split(|byte| *byte == b',').any(|held| held == role.as_bytes())
    }

    fn part(&self, from: u16, to: u16) -> &[u8] {
        self.block.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }
}

/// Shows whose session it is; name and e-mail address are nobody's business in a log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user", &self.user_text()).finish_non_exhaustive()
    }
}

/// The limits of [`Principal`] keep a block below 8 KiB: 255 + 512 + 512 bytes, each at most three characters long when
/// encoded, 64 roles of 64, and an id of 36.
fn end(block: &[u8]) -> u16 {
    u16::try_from(block.len()).unwrap_or(u16::MAX)
}

fn encode(block: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => {
                let _ = write!(block, "%{byte:02X}");
            }
            _ => block.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Role, UserId};

    fn principal() -> Principal {
        Principal {
            user: UserId::parse("Zoë 100%").unwrap(),
            roles: vec![Role::parse("staff").unwrap(), Role::parse("ops").unwrap()],
            name: Some("Zoë Å".to_owned()),
            email: None,
            claims: None,
        }
    }

    #[test]
    fn values_are_visible_ascii_and_reversible() {
        let id = SessionId::generate().unwrap();
        let identity = Identity::new(id, &principal());
        assert_eq!(identity.user(), b"Zo%C3%AB%20100%25");
        assert_eq!(identity.user_text(), "Zoë 100%");
        assert_eq!(identity.session(), id.to_string().as_bytes());
        assert_eq!(identity.roles(), b"staff,ops");
        assert_eq!(identity.name(), b"Zo%C3%AB%20%C3%85");
        assert!(identity.email().is_empty());
    }

    #[test]
    fn a_role_is_held_only_as_a_whole_word() {
        let identity = Identity::new(SessionId::generate().unwrap(), &principal());
        assert!(identity.has_role("ops"));
        for other in ["op", "ops2", "staff,ops", ""] {
            assert!(!identity.has_role(other), "{other}");
        }
        let bare = Identity::new(SessionId::generate().unwrap(), &Principal::of(UserId::parse("a").unwrap()));
        assert!(!bare.has_role(""), "no roles is not the empty role");
    }
}
