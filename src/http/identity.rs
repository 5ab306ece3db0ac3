//! The headers that tell the application who is calling, and the removal of every copy that a client sent.
//!
//! A client's header is taken for an identity header when it begins with the prefix, or equals one of the configured
//! names, after folding case and dropping everything that is not a letter or digit: applications behind CGI-like
//! interfaces cannot tell `X-Auth-User` from `x_auth_user` or `X.Auth.User`.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::session::Session;

/// Which headers carry the identity.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: Folded,
    /// Names that do not begin with the prefix.
    others: Vec<Folded>,
    /// The user's id.
    pub user: HeaderName,
    /// The session's id.
    pub session: HeaderName,
    /// The roles, joined by commas.
    pub roles: HeaderName,
    /// The name.
    pub name: HeaderName,
    /// The e-mail address.
    pub email: HeaderName,
    /// The signed assertion of all of it.
    pub assertion: HeaderName,
}

/// Letters and digits only, in lower case.
type Folded = Box<[u8]>;

/// The fewest letters and digits of a prefix. `X-` alone would take `X-Requested-With` away from every application.
const SHORTEST_PREFIX: usize = 4;

impl Names {
    /// Identity headers under `prefix`, such as `X-Auth-`, with these names for user, session, roles, name and e-mail
    /// address.
    ///
    /// # Errors
    /// A sentence when the prefix is so short that it would match other headers.
    pub fn new(prefix: &str, [user, session, roles, name, email]: [HeaderName; 5]) -> Result<Self, String> {
        let assertion = HeaderName::try_from(format!("{prefix}Assertion"))
            .map_err(|_| "cannot begin a header's name".to_owned())?;
        let prefix: Folded = fold(prefix.as_bytes()).collect();
        if prefix.len() < SHORTEST_PREFIX {
            return Err(format!("must have at least {SHORTEST_PREFIX} letters or digits"));
        }
        if ["host", "content", "cookie", "authorization", "accept", "useragent", "transfer", "connection"]
            .iter()
            .any(|header| header.as_bytes().starts_with(&prefix))
        {
            return Err("would remove standard headers".to_owned());
        }
        let mut others: Vec<Folded> = Vec::new();
        for header in [&user, &session, &roles, &name, &email] {
            let folded: Folded = fold(header.as_str().as_bytes()).collect();
            if !folded.starts_with(&prefix) && !others.contains(&folded) {
                others.push(folded);
            }
        }
        Ok(Self { prefix, others, user, session, roles, name, email, assertion })
    }

    /// Whether a header (or trailer) of a client would be taken for one of ours by some application.
    pub fn claims(&self, header: &HeaderName) -> bool {
        let name = header.as_str().as_bytes();
        self.starts_folded(name) || self.others.iter().any(|other| fold(name).eq(other.iter().copied()))
    }

    fn starts_folded(&self, name: &[u8]) -> bool {
        let mut folded = fold(name);
        self.prefix.iter().all(|byte| folded.next() == Some(*byte))
    }

    /// Writes the identity of a session as header lines. What the session does not have is not written; a client's copies
    /// are left out before.
    pub fn write(&self, out: &mut BytesMut, session: &Session) {
        for (name, value) in self.fields(session) {
            // The identity block holds visible ASCII only, so a value cannot end its line.
            if !value.is_empty() {
                out.extend_from_slice(name.as_str().as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Adds the same to the headers of an answer to a proxy that asks whose a request is.
    pub fn add(&self, headers: &mut HeaderMap, session: &Session) {
        for (name, value) in self.fields(session) {
            if !value.is_empty()
                && let Ok(value) = HeaderValue::from_bytes(value)
            {
                headers.insert(name, value);
            }
        }
    }

    #[inline]
    fn fields<'a>(&'a self, session: &'a Session) -> [(&'a HeaderName, &'a [u8]); 5] {
        let identity = &session.identity;
        [
            (&self.user, identity.user()),
            (&self.session, identity.session()),
            (&self.roles, identity.roles()),
            (&self.name, identity.name()),
            (&self.email, identity.email()),
        ]
    }
}

fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(user: &str) -> Names {
        let header = |name: &str| HeaderName::try_from(name).unwrap();
        let all = [user, "X-Auth-Session", "X-Auth-Roles", "X-Auth-Name", "X-Auth-Email"].map(header);
        Names::new("X-Auth-", all).unwrap()
    }

    fn claimed(names: &Names, header: &str) -> bool {
        names.claims(&HeaderName::try_from(header).unwrap())
    }

    #[test]
    fn every_spelling_of_the_prefix_is_claimed() {
        let names = names("X-Auth-User");
        for header in [
            "X-Auth-User",
            "x-auth-user",
            "X_Auth_User",
            "x.auth.user",
            "XAuthUser",
            "X-Auth-",
            "x-auth-anything-at-all",
            "x~auth!user",
            "-x-auth-user",
        ] {
            assert!(claimed(&names, header), "{header}");
        }
    }

    #[test]
    fn other_headers_are_left_alone() {
        let names = names("X-Auth-User");
        for header in ["authorization", "x-aut", "x-authority2"] {
            assert_eq!(claimed(&names, header), header == "x-authority2", "{header}");
        }
        for header in ["host", "x-forwarded-user", "accept", "x-requested-with", "ax-auth-user"] {
            assert!(!claimed(&names, header), "{header}");
        }
    }

    #[test]
    fn a_name_outside_the_prefix_is_claimed_in_every_spelling_too() {
        let names = names("X-Remote-User");
        for header in ["X-Remote-User", "X_Remote_User", "x.remote.user", "xremoteuser"] {
            assert!(claimed(&names, header), "{header}");
        }
        assert!(!claimed(&names, "x-remote-user-agent"));
    }

    #[test]
    fn a_prefix_that_would_swallow_other_headers_is_refused() {
        let header = || HeaderName::from_static("x-auth-user");
        for prefix in ["", "X-", "-_-", "cookie", "cont"] {
            assert!(Names::new(prefix, [header(), header(), header(), header(), header()]).is_err(), "{prefix}");
        }
    }
}
