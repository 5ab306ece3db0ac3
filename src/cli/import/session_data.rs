//! What stands in a row of Django's sessions: JSON, compressed if that is shorter, in base64, with a time and a signature.
//! Before Django 3.1: a hash and JSON, together in base64.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use miniz_oxide::inflate;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// No session of a sane application is larger.
const LARGEST: usize = 4 << 20;

/// What Django signs with, made from each SECRET_KEY: for its sessions, in the present form and that before 3.1, and for the
/// mark that ties a session to the user's password.
pub(super) struct Keys(Vec<Signing>);

struct Signing {
    present: hmac::Key,
    former: hmac::Key,
    mark: hmac::Key,
    former_mark: hmac::Key,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The primary key of the user.
    pub(super) user: String,
    /// What ties the session to the user's password.
    pub(super) mark: Option<String>,
}

/// What is wrong with a session's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is not as Django writes it.
    Unreadable,
    /// The signature is by none of the keys.
    Forged,
}

impl Keys {
    /// Without a secret nothing is verified.
    pub(super) fn new(secrets: &[Zeroizing<String>]) -> Self {
        const SESSIONS: &str = "django.contrib.sessions.SessionStore";
        const FORMER_SESSIONS: &str = "django.contrib.sessionsSessionStore";
        const MARK: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

        let signing = |secret: &Zeroizing<String>| {
            // Django's `salted_hmac`: the key is the hash of the salt and the secret.
            let key = |salt: &str| {
                let hash = digest::digest(&digest::SHA256, format!("{salt}{}", secret.as_str()).as_bytes());
                hmac::Key::new(hmac::HMAC_SHA256, hash.as_ref())
            };
            let former = |salt: &str| {
                let salted = Zeroizing::new(format!("{salt}{}", secret.as_str()));
                let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes());
                hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hash.as_ref())
            };
            Signing {
                present: key(&format!("{SESSIONS}signer")),
                former: former(FORMER_SESSIONS),
                mark: key(MARK),
                former_mark: former(MARK),
            }
        };
        Self(secrets.iter().map(signing).collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the sessions of a user with this password's hash bear.
    pub(super) fn marks(&self, password: &str) -> Vec<String> {
        let mark = |key: &hmac::Key| hex(hmac::sign(key, password.as_bytes()).as_ref());
        self.0.iter().flat_map(|signing| [mark(&signing.mark), mark(&signing.former_mark)]).collect()
    }
}

/// Reads who logged in, if anybody did.
pub(super) fn read(data: &str, keys: &Keys) -> Result<Option<Login>, Flaw> {
    // Base64 has no colon, so the two forms are told apart.
    let json = if data.contains(':') { present(data, keys) } else { former(data, keys) }?;
    let session: Map<String, Value> = serde_json::from_slice(&json).map_err(|_| Flaw::Unreadable)?;
    let text = |key: &str| match session.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    Ok(text("_auth_user_id").map(|user| Login { user, mark: text("_auth_user_hash") }))
}

/// `[.]base64url(data):time:base64url(signature)`; with the dot the data is compressed.
fn present(data: &str, keys: &Keys) -> Result<Vec<u8>, Flaw> {
    let (signed, signature) = data.rsplit_once(':').ok_or(Flaw::Unreadable)?;
    let (payload, _time) = signed.rsplit_once(':').ok_or(Flaw::Unreadable)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Flaw::Unreadable)?;
    let good = |signing: &Signing| hmac::verify(&signing.present, signed.as_bytes(), &signature).is_ok();
    if !keys.is_empty() && !keys.0.iter().any(good) {
        return Err(Flaw::Forged);
    }
    match payload.strip_prefix('.') {
        Some(compressed) => {
            let compressed = URL_SAFE_NO_PAD.decode(compressed).map_err(|_| Flaw::Unreadable)?;
            inflate::decompress_to_vec_zlib_with_limit(&compressed, LARGEST).map_err(|_| Flaw::Unreadable)
        }
        None => URL_SAFE_NO_PAD.decode(payload).map_err(|_| Flaw::Unreadable),
    }
}

/// `base64(hex(hash):json)`.
fn former(data: &str, keys: &Keys) -> Result<Vec<u8>, Flaw> {
    let whole = STANDARD.decode(data).map_err(|_| Flaw::Unreadable)?;
    let colon = whole.iter().position(|byte| *byte == b':').ok_or(Flaw::Unreadable)?;
    let (hash, json) = whole.split_at_checked(colon).ok_or(Flaw::Unreadable)?;
    let json = json.get(1..).unwrap_or_default();
    let good = |signing: &Signing| {
        // Compared as text, in a time that tells nothing worth knowing: who could try is the owner of the database.
        hex(hmac::sign(&signing.former, json).as_ref()).as_bytes() == hash
    };
    if !keys.is_empty() && !keys.0.iter().any(good) {
        return Err(Flaw::Forged);
    }
    Ok(json.to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "django-insecure-key-of-a-test";
    const PASSWORD: &str = "pbkdf2_sha256$1000000$OecsEQcq7TjK0FPoxjDaTH$nw7pBp8MwPfItHDhUuVjAyL8juXLR0ij24lfyVho9Ag=";

    // Written by Django 5.2.19 and 3.0.14 with that key, for a user of that password.
    const COMPRESSED: &str = ".eJxVjMsOwiAQRf-FtSEMjxRcuvcbyMAMUjWQlHZl_Hdt0oVu7znnvkTEba1xG7zEmcRZgDj9bgnzg9sO6I7t1mXubV3mJHdFHnTIayd-Xg7376DiqN_aAKnAzLb4oooJGcAEdJoKI1sHiYJlTqxtCcmj0lNwpEFPBgCNN-L9AfykN_4:1xUUyO:dutpaA5NnH6mumBVo26Ie9ucrDuXzLDbvLv3Sv6At6w";
    const ANONYMOUS: &str = "e30:1xUUyo:60uLIs33WEGfVky3KTdxDB-vVvjmxHQZ3XD0msKYV0E";
    const PLAIN: &str = "eyJfYXV0aF91c2VyX2lkIjoiNyJ9:1xUUyo:cgiClVJFN-3_wrWhj2ji460ogCRjRsEbKMMK1avWc2c";
    const FORMER: &str = "Njg5OGE1YTExODg4OGZiZTI3NTRjZjc3OGIzMjFmOWVjMjNjZjQxYjp7Il9hdXRoX3VzZXJfaWQiOiIxIiwiX2F1dGhfdXNlcl9iYWNrZW5kIjoiZGphbmdvLmNvbnRyaWIuYXV0aC5iYWNrZW5kcy5Nb2RlbEJhY2tlbmQiLCJfYXV0aF91c2VyX2hhc2giOiI0ODFiZDM1OWJhMWJiZDlhOWIyN2UxMDlmMmQxZDhkZmRkYjEzNDk4In0=";

    fn keys(secrets: &[&str]) -> Keys {
        Keys::new(&secrets.iter().map(|secret| Zeroizing::new((*secret).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn what_django_has_written_is_read_and_verified() {
        for keys in [keys(&[]), keys(&[SECRET]), keys(&["a newer key", SECRET])] {
            assert_eq!(read(COMPRESSED, &keys).unwrap().unwrap().user, "1");
            assert_eq!(read(FORMER, &keys).unwrap().unwrap().user, "1");
            assert_eq!(read(PLAIN, &keys), Ok(Some(Login { user: "7".to_owned(), mark: None })));
            assert_eq!(read(ANONYMOUS, &keys), Ok(None));
        }
        for data in [COMPRESSED, FORMER, PLAIN, ANONYMOUS] {
            assert_eq!(read(data, &keys(&["another key"])), Err(Flaw::Forged), "{data}");
        }
        let altered = PLAIN.replacen("Ny", "MS", 1);
        assert_eq!(read(&altered, &keys(&[SECRET])), Err(Flaw::Forged), "another user under the old signature");
    }

    #[test]
    fn the_mark_of_the_password_is_that_of_the_session() {
        let keys = keys(&[SECRET]);
        for data in [COMPRESSED, FORMER] {
            let mark = read(data, &keys).unwrap().unwrap().mark.unwrap();
            assert!(keys.marks(PASSWORD).contains(&mark), "{mark}");
            assert!(!keys.marks("pbkdf2_sha256$1000000$other$password=").contains(&mark));
        }
    }

    #[test]
    fn what_is_none_is_unreadable() {
        for data in ["", ":", "::", ".:x:", ".AAAA:1xUUyo:AAAA", "!!!", "e30", "gAN9cQAu", "bm8gY29sb24=", "OmU="] {
            assert_eq!(read(data, &keys(&[])), Err(Flaw::Unreadable), "{data}");
        }
    }
}
