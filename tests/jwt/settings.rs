//! `[jwt]`, `[signing]` and `[identity.assertion]`.

use session_gateway::config::{Config, Invalid};
use session_gateway::jwt::Algorithm;
use tempfile::TempDir;

use crate::support::gateway::config;
use crate::support::issuer::Issuer;

fn read(toml: &str) -> Result<Config, Invalid> {
    config(&TempDir::new().unwrap(), "http://127.0.0.1:3000", "sqlite:x.db", toml)
}

/// The keys at fault and what is said about them.
fn faults(toml: &str) -> Vec<(String, String)> {
    let Invalid(faults) = read(toml).unwrap_err();
    faults.into_iter().map(|fault| (fault.key, fault.message)).collect()
}

#[track_caller]
fn fault(toml: &str, key: &str, word: &str) {
    let faults = faults(toml);
    assert!(faults.len() == 1 && faults[0].0 == key && faults[0].1.contains(word), "{toml}\n{faults:?}");
}

#[test]
fn without_the_table_no_key_is_known() {
    let config = read("").unwrap();
    assert!(config.jwt.keys.is_empty() && config.jwt.key_set.is_none() && config.signing.is_none());
    assert!(config.upstreams[0].assertion.is_none());
}

#[test]
fn keys_of_every_kind_are_read() {
    let issuers = [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es384, Algorithm::EdDsa]
        .map(|algorithm| Issuer::new(algorithm, Some(algorithm.name())));
    let entries: Vec<String> = issuers.iter().map(Issuer::entry).collect();
    let config = read(&format!("[jwt]\nkeys = [{}]\n", entries.join(", "))).unwrap();
    let read: Vec<_> = config.jwt.keys.iter().map(|key| (key.algorithm, key.kid.as_deref().unwrap())).collect();
    let given: Vec<_> = issuers.iter().map(|issuer| (issuer.algorithm, issuer.algorithm.name())).collect();
    assert_eq!(read, given);
}

#[test]
fn a_key_that_cannot_work_is_named_without_its_secret() {
    let rs = Issuer::new(Algorithm::Rs256, None);
    let key = |entry: &str| format!("[jwt]\nkeys = [{entry}]\n");
    fault(
        &key("{ algorithm = \"HS256\", secret = \"hunter2hunter2hunter2hunter2\" }"),
        "jwt.keys[0].secret",
        "32 bytes",
    );
    fault(&key(&format!("{{ algorithm = \"HS384\", secret = \"{}\" }}", "x".repeat(47))), "jwt.keys[0].secret", "48");
    fault(
        &key(&format!("{{ algorithm = \"HS256\", public_key = {:?} }}", rs.public)),
        "jwt.keys[0].public_key",
        "secret",
    );
    fault(
        &key(&format!("{{ algorithm = \"RS256\", secret = \"{}\" }}", "x".repeat(64))),
        "jwt.keys[0].secret",
        "public_key",
    );
    fault(
        &key(&format!("{{ algorithm = \"ES256\", public_key = {:?} }}", rs.public)),
        "jwt.keys[0].public_key",
        "ES256",
    );
    fault(
        &key(&format!("{{ algorithm = \"RS256\", public_key = {:?} }}", rs.private)),
        "jwt.keys[0].public_key",
        "PUBLIC",
    );
    fault(&key("{ algorithm = \"none\", secret = \"x\" }"), "jwt.keys[0].algorithm", "HS256");
    fault(&key(&format!("{{ secret = \"{}\" }}", "x".repeat(64))), "jwt.keys[0].algorithm", "missing");
    fault(&key("{ algorithm = \"HS256\" }"), "jwt.keys[0].secret", "public_key");
    fault(
        &key("{ algorithm = \"HS256\", secret = { file = \"/nonexistent\" } }"),
        "jwt.keys[0].secret",
        "/nonexistent",
    );
    let entry = Issuer::new(Algorithm::Hs256, None).entry();
    fault(&key(&vec![entry; 17].join(",")), "jwt.keys", "16");
    let said = format!("{:?}", faults(&key("{ algorithm = \"HS256\", secret = \"hunter2\" }")));
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn the_rest_of_the_table_is_checked() {
    for (setting, key) in [
        ("jwks_url = \"http://id.test/jwks\"", "jwks_url"),
        ("algorithms = [\"HS256\"]", "algorithms"),
        ("algorithms = [\"none\"]", "algorithms"),
        ("algorithms = []", "algorithms"),
        ("jwks_refresh = \"0\"", "jwks_refresh"),
        ("jwks_cooldown = \"0\"", "jwks_cooldown"),
        ("leeway = \"11m\"", "leeway"),
        ("issuer = \"\"", "issuer"),
        ("audience = [1]", "audience"),
        ("session_claim = \"\"", "session_claim"),
        ("user_claim = 7", "user_claim"),
        ("user_claim = \"session_id\"", "user_claim"),
        ("access_lifetime = \"0\"", "access_lifetime"),
        ("refresh_grace = \"soon\"", "refresh_grace"),
    ] {
        let faults = faults(&format!("[jwt]\n{setting}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].0, format!("jwt.{key}"), "{faults:?}");
    }
    let config = read("[jwt]\nissuer = \"a\"\naudience = [\"b\", \"c\"]\nuser_claim = \"\"\n").unwrap();
    let rules = config.jwt.rules;
    assert_eq!(
        (rules.issuers, rules.audiences, rules.user_claim),
        (vec!["a".into()], vec!["b".into(), "c".into()], None)
    );
}

#[test]
fn a_signing_key_is_ed25519_or_p256() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let issuer = Issuer::new(algorithm, None);
        let old = Issuer::new(algorithm, None);
        let toml = format!(
            "[signing]\nkey = {:?}\nprevious_keys = [{:?}, {:?}]\n",
            issuer.private, old.public, issuer.private
        );
        let signing = read(&toml).unwrap().signing.unwrap();
        assert_eq!(signing.public().count(), 2, "the key itself is no old one");
    }
    let rsa = Issuer::new(Algorithm::Rs256, None);
    fault(&format!("[signing]\nkey = {:?}\n", rsa.private), "signing.key", "Ed25519");
    fault("[signing]\nkey = { file = \"/nonexistent\" }\n", "signing.key", "/nonexistent");
    let key = Issuer::new(Algorithm::EdDsa, None);
    fault(&format!("[signing]\nkey = {:?}\n", key.public), "signing.key", "PRIVATE KEY");
    fault(&format!("[signing]\nprevious_keys = [{:?}]\n", key.public), "signing.key", "missing");
    fault(&format!("[signing]\nkey = {:?}\nprevious_keys = [\"x\"]\n", key.private), "signing.previous_keys", "PEM");
}

#[test]
fn assertions_are_off_until_one_place_turns_them_on() {
    let signing = format!("[signing]\nkey = {:?}\n", Issuer::new(Algorithm::EdDsa, None).private);
    let one = read(&format!(
        "{signing}[[upstream]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\nhosts = [\"a\"]\nassertion = true\n\
         [[upstream]]\nname = \"b\"\nurl = \"http://127.0.0.1:2\"\n"
    ))
    .unwrap();
    let assertion = one.upstreams[0].assertion.clone().unwrap();
    assert_eq!((assertion.issuer.as_str(), assertion.audience.as_str()), ("session-gateway", "a"));
    assert!(one.upstreams[1].assertion.is_none());

    let all = read(&format!(
        "{signing}[jwt]\nissuer = \"https://gw.test\"\n[identity.assertion]\nenabled = true\nlifetime = \"2m\"\nbind = [\"method\"]\n\
         [[upstream]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\nhosts = [\"a\"]\nassertion = false\n\
         [[upstream]]\nname = \"b\"\nurl = \"http://127.0.0.1:2\"\nassertion_audience = \"shop\"\nassertion_bind = [\"path\"]\n"
    ))
    .unwrap();
    assert!(all.upstreams[0].assertion.is_none());
    let assertion = all.upstreams[1].assertion.clone().unwrap();
    assert_eq!((assertion.issuer.as_str(), assertion.audience.as_str()), ("https://gw.test", "shop"));
    assert_eq!((assertion.lifetime.as_secs(), assertion.bind.method, assertion.bind.path), (120, false, true));

    fault("[identity.assertion]\nenabled = true\n", "signing.key", "assertion");
    fault("[identity.assertion]\nlifetime = \"1s\"\n", "identity.assertion.lifetime", "2s");
    fault("[identity.assertion]\nbind = [\"body\"]\n", "identity.assertion.bind", "method");
}
