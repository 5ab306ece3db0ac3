//! The tables `[jwt]` and `[signing]`: which signed tokens are accepted, and the gateway's own key.

use std::sync::Arc;
use std::time::Duration;

use figment::value::Value;

use super::reader::{Table, list, secret, text};
use super::web_url::WebUrl;
use crate::jwt::{Algorithm, Family, PublicKey, Rules, SigningKey, VerifyingKey};

/// Which signed tokens are accepted.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The keys that stand in the settings.
    pub keys: Vec<VerifyingKey>,
    /// Where more keys are published.
    pub key_set: Option<KeySetSettings>,
    /// What the claims must say.
    pub rules: Rules,
    /// How long a refresh token that was just replaced may come again without ending the session.
    pub refresh_grace: Option<Duration>,
    /// How long an access token of our own is good.
    pub access_lifetime: Duration,
}

/// Where keys are published, and how they are fetched.
#[derive(Clone, Debug)]
pub struct KeySetSettings {
    /// The address.
    pub url: WebUrl,
    /// The algorithms that its keys may be for.
    pub algorithms: Vec<Algorithm>,
    /// How often it is fetched.
    pub refresh: Duration,
    /// The least time between two fetches, however many unknown keys tokens name.
    pub cooldown: Duration,
}

/// The gateway's own keys.
#[derive(Clone, Debug)]
pub struct SigningSettings {
    /// The key that signs.
    pub key: Arc<SigningKey>,
    /// Keys that signed before: still published, still accepted.
    pub previous: Vec<PublicKey>,
}

impl SigningSettings {
    /// Every key of ours, the one that signs first.
    pub fn public(&self) -> impl Iterator<Item = &PublicKey> {
        let current = &self.key.public;
        std::iter::once(current).chain(self.previous.iter().filter(|key| key.kid() != current.kid()))
    }
}

/// More keys than that would not all be tried.
const MOST_KEYS: usize = 16;
/// Clocks that are further apart are broken.
const MOST_LEEWAY: Duration = Duration::from_secs(600);

/// What a key of the settings looks like.
const KEY_FORM: &str = "{ algorithm = \"HS256\", secret = { env = \"NAME\" } } or { algorithm = \"RS256\", public_key = { file = \"PATH\" } }";

pub(super) fn read(mut table: Table) -> JwtSettings {
    let entries = table.tables("keys");
    if entries.len() > MOST_KEYS {
        table.fault("keys", format!("cannot be more than {MOST_KEYS}"));
    }
    let keys = entries.into_iter().filter_map(key).collect();
    let url = table.optional("jwks_url", |value| url(&text(value)?));
    let algorithms = table.get("algorithms", vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa], |value| {
        let algorithms = list(value, published)?;
        if algorithms.is_empty() { Err("must name at least one algorithm".to_owned()) } else { Ok(algorithms) }
    });
    let refresh = table.limit("jwks_refresh", Duration::from_secs(600));
    let cooldown = table.limit("jwks_cooldown", Duration::from_secs(30));
    let leeway = table.time("leeway", None).unwrap_or_default();
    if leeway > MOST_LEEWAY {
        table.fault("leeway", "must be 10m at most: until then tokens are good that have expired");
    }
    let rules = rules(&mut table, leeway);
    if rules.user_claim.as_ref() == Some(&rules.session_claim) {
        table.fault("user_claim", "cannot be the session_claim");
    }
    JwtSettings {
        keys,
        key_set: url.map(|url| KeySetSettings { url, algorithms, refresh, cooldown }),
        rules,
        refresh_grace: table.time("refresh_grace", None),
        access_lifetime: table.limit("access_lifetime", Duration::from_secs(300)),
    }
}

/// What the claims must say.
fn rules(table: &mut Table, leeway: Duration) -> Rules {
    Rules {
        issuers: table.get("issuer", Vec::new(), one_or_several),
        audiences: table.get("audience", Vec::new(), one_or_several),
        leeway,
        session_claim: table.text("session_claim").unwrap_or_else(|| "session_id".to_owned()),
        user_claim: table.get("user_claim", Some("sub".to_owned()), |value| {
            let name = text(value)?;
            Ok((!name.is_empty()).then_some(name))
        }),
    }
}

fn key(mut table: Table) -> Option<VerifyingKey> {
    if !table.has("algorithm") {
        table.fault("algorithm", format!("is missing: a key is for one algorithm, as in {KEY_FORM}"));
    }
    let algorithm = table.optional("algorithm", algorithm);
    let kid = table.text("kid").map(String::into_boxed_str);
    let has = |key: &str| table.has(key);
    let name = match (has("secret"), has("public_key")) {
        (true, false) => "secret",
        (false, true) => "public_key",
        (true, true) => {
            table.fault("secret", "cannot stand beside public_key: a key is one or the other");
            "secret"
        }
        (false, false) => {
            table.fault("secret", format!("is missing, and so is public_key: write {KEY_FORM}"));
            "secret"
        }
    };
    let (secret, public_key) = (table.secret("secret"), table.secret("public_key"));
    let algorithm = algorithm?;
    let made = match (secret, public_key) {
        (Some(secret), None) => VerifyingKey::from_secret(algorithm, secret.as_bytes(), kid),
        (None, Some(pem)) => VerifyingKey::from_pem(algorithm, pem.as_bytes(), kid),
        _ => return None,
    };
    made.map_err(|message| table.fault(name, message)).ok()
}

fn algorithm(value: &Value) -> Result<Algorithm, String> {
    let name = text(value)?;
    Algorithm::from_name(&name).ok_or_else(|| {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        format!("\"{name}\" is none of {known}")
    })
}

/// An algorithm whose keys may be published.
fn published(value: &Value) -> Result<Algorithm, String> {
    match algorithm(value)? {
        secret if secret.family() == Family::Secret => {
            Err(format!("{} needs a secret, and one that is published is none; put it into keys", secret.name()))
        }
        algorithm => Ok(algorithm),
    }
}

fn one_or_several(value: &Value) -> Result<Vec<String>, String> {
    let name = |value: &Value| match text(value)? {
        empty if empty.is_empty() => Err("must not be empty".to_owned()),
        text => Ok(text),
    };
    if value.as_array().is_some() { list(value, name) } else { Ok(vec![name(value)?]) }
}

fn url(given: &str) -> Result<WebUrl, String> {
    const EXAMPLE: &str = "https://id.example.com/.well-known/jwks.json";
    let url = WebUrl::parse(given, EXAMPLE)?;
    // Whoever can answer in its place signs as anybody.
    if !url.is_private() {
        return Err(format!(
            "\"{given}\" must be https: keys that come over plain http are anybody's; write \"{EXAMPLE}\""
        ));
    }
    Ok(url)
}

/// Reads `[signing]`. `needed_by` is the key of a setting that cannot do without.
pub(super) fn read_signing(mut table: Table, needed_by: Option<&str>) -> Option<SigningSettings> {
    let given = table.has("key");
    let pem = table.secret("key");
    let previous = table
        .get("previous_keys", Vec::new(), |value| list(value, |item| PublicKey::from_pem(secret(item)?.as_bytes())));
    if !given {
        if let Some(setting) = needed_by {
            table.fault("key", format!("is missing: {setting} needs it"));
        } else if !previous.is_empty() {
            table.fault("key", "is missing: previous_keys are those that it took the place of");
        }
    }
    let key = SigningKey::from_pem(pem?.as_bytes()).map_err(|message| table.fault("key", message)).ok()?;
    Some(SigningSettings { key: Arc::new(key), previous })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_comes_over_https_or_from_this_machine() {
        let read = url("https://id.test:8443/keys?x=1").unwrap();
        assert_eq!((read.tls, read.host.as_str(), read.port, read.path.as_str()), (true, "id.test", 8443, "/keys?x=1"));
        assert_eq!(url("https://id.test").unwrap().path, "/");
        for local in ["http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]:8080/jwks"] {
            assert!(!url(local).unwrap().tls, "{local}");
        }
        assert_eq!(url("http://[::1]:8080/jwks").unwrap().host, "::1");
        for bad in [
            "http://id.test/jwks",
            "ftp://id.test/",
            "/jwks",
            "id.test",
            "",
            "https://a@id.test/",
            "https://id.test:x/",
            "http://127.0.0.1.id.test/",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
