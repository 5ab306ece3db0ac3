use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::LazyLock;

use tempfile::{NamedTempFile, TempDir};

use super::*;

const MINIMAL: &str = "[[upstream]]\nurl = \"http://127.0.0.1:3000\"\n";

fn file(toml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    file
}

fn load_from(toml: &str, environment: &[(&str, &str)], overrides: Overrides) -> Result<Config, Vec<String>> {
    let file = file(toml);
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let path = file.path().display().to_string();
    Config::load(&Sources { file: Some(file.path().to_owned()), environment, overrides })
        .map_err(|invalid| invalid.0.iter().map(|fault| fault.to_string().replace(&path, "FILE")).collect())
}

/// With an upstream unless the settings have one.
fn load(toml: &str) -> Result<Config, Vec<String>> {
    let upstream = if toml.contains("upstream") { "" } else { MINIMAL };
    load_from(&format!("{toml}\n{upstream}"), &[], Overrides::default())
}

fn faults(toml: &str) -> Vec<String> {
    load(toml).expect_err(toml)
}

fn with(environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    load_from(MINIMAL, environment, Overrides::default())
}

/// A key, settings with it, where in [`Config`] it shows, and what it shows there.
type Case = (&'static str, &'static str, fn(&Config) -> String, &'static str);

macro_rules! shows {
    ($expression:expr) => {
        |config: &Config| {
            let read: fn(&Config) -> _ = $expression;
            format!("{:?}", read(config))
        }
    };
}

fn upstream(config: &Config) -> &Upstream {
    config.upstreams.first().unwrap()
}

fn route(config: &Config) -> Option<&Route> {
    upstream(config).routes.first()
}

fn login(config: &Config) -> Option<&Login> {
    upstream(config).logins.first()
}

fn logout(config: &Config) -> Option<Hook> {
    upstream(config).logouts.first().cloned()
}

fn password_change(config: &Config) -> Option<Hook> {
    upstream(config).password_changes.first().map(|change| change.hook.clone())
}

fn compat(config: &Config) -> Option<&Compat> {
    config.compat.as_ref()
}

const UPSTREAM: &str = "[[upstream]]\nurl = \"http://127.0.0.1:3000\"";
const ROUTE: &str = "[[upstream.route]]";
const LOGIN: &str = "[[upstream.login]]\npath = \"/in\"\nuser = { form = \"u\" }";

/// The example keys of RFC 8410 section 10, in PEM form inside a TOML text.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\\n\
                           -----END PRIVATE KEY-----\\n";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n-----END PUBLIC KEY-----\\n";

/// Tables that a case's settings begin with, for those in arrays.
fn settings(toml: &str) -> String {
    toml.replace("{upstream}", UPSTREAM)
        .replace("{route}", ROUTE)
        .replace("{login}", LOGIN)
        .replace("{tls}", "[[server.tls]]\ncert = \"a.pem\"\nkey = \"a.key\"")
        .replace("{signing}", "[signing]\nkey = \"{private}\"")
        .replace("{private}", PRIVATE_KEY)
        .replace("{public}", PUBLIC_KEY)
        .replace("{files}", &FILES.path().display().to_string())
}

/// A directory with `ca.pem`, `client.pem` and `client.key`.
static FILES: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    for (name, text) in [("ca.pem", &certificate), ("client.pem", &certificate), ("client.key", &key.serialize_pem())] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
});

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        ("server.listen", "[server]\nlisten = [\"127.0.0.1:7001\", \"127.0.0.1:7002\"]", shows!(|c| c.server.listen.clone()), "[Tcp(127.0.0.1:7001), Tcp(127.0.0.1:7002)]"),
        ("server.unix_mode", "[server]\nunix_mode = \"0600\"", shows!(|c| c.server.unix_mode), "384"),
        ("server.ops_listen", "[server]\nops_listen = \"\"", shows!(|c| c.server.ops_listen.clone()), "None"),
        ("server.workers", "[server]\nworkers = 3", shows!(|c| c.server.workers), "Some(3)"),
        ("server.trusted_proxies", "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]", shows!(|c| c.server.trusted_proxies.trusts(Some([10, 1, 1, 1].into()))), "true"),
        ("server.drain", "[server]\ndrain = \"7s\"", shows!(|c| c.server.drain), "7s"),
        ("server.header_timeout", "[server]\nheader_timeout = \"7s\"", shows!(|c| c.server.header_timeout), "7s"),
        ("server.idle_timeout", "[server]\nidle_timeout = \"7s\"", shows!(|c| c.server.idle_timeout), "7s"),
        ("server.max_header_bytes", "[server]\nmax_header_bytes = \"16 KiB\"", shows!(|c| c.server.max_header_bytes), "16384"),
        ("server.proxy_protocol", "[server]\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.1\"]", shows!(|c| c.server.proxy_protocol), "true"),
        ("server.max_connections_per_client", "[server]\nmax_connections_per_client = 0", shows!(|c| c.server.max_connections_per_client), "None"),
        ("limits.unknown_tokens_per_client", "[limits]\nunknown_tokens_per_client = \"5/2s\"", shows!(|c| c.limits.unknown_tokens), "Some(Rate { count: 5, per: 2s })"),
        ("limits.wrong_service_keys_per_client", "[limits]\nwrong_service_keys_per_client = \"0\"", shows!(|c| c.limits.wrong_keys), "None"),
        ("limits.rotations_per_session", "[limits]\nrotations_per_session = \" 7 / 1h \"", shows!(|c| c.limits.rotations), "Some(Rate { count: 7, per: 3600s })"),
        ("server.max_connections", "[server]\nmax_connections = 7", shows!(|c| c.server.max_connections), "7"),
        ("server.tls", "[[server.tls]]\ncert = \"a.pem\"\nkey = \"a.key\"", shows!(|c| c.server.tls.clone().map(|tls| tls.certificates)), "Some([CertificateFiles { cert: \"a.pem\", key: \"a.key\" }])"),
        ("server.tls_min_version", "[server]\ntls_min_version = \"1.3\"\n{tls}", shows!(|c| c.server.tls.clone().map(|tls| tls.min_version)), "Some(Tls13)"),
        ("server.tls_client_auth", "[server]\ntls_client_auth = \"required\"\ntls_client_ca = \"ca.pem\"\n{tls}", shows!(|c| c.server.tls.clone().map(|tls| tls.client_auth)), "Some(Required(\"ca.pem\"))"),
        ("server.tls_client_ca", "[server]\ntls_client_auth = \"optional\"\ntls_client_ca = \"ca.pem\"\n{tls}", shows!(|c| c.server.tls.clone().map(|tls| tls.client_auth)), "Some(Optional(\"ca.pem\"))"),
        ("server.redirect_listen", "[server]\nredirect_listen = [\"127.0.0.1:80\"]\n{tls}", shows!(|c| c.server.redirect_listen.clone()), "[Tcp(127.0.0.1:80)]"),
        ("token.bytes", "[token]\nbytes = 16", shows!(|c| c.token.bytes), "16"),
        ("token.schemes", "[token]\nschemes = [\"Session\"]", shows!(|c| c.token.credential.clone()), "Settings { schemes: [\"Session\"], cookie: CookieName(\"__Host-session\"), former: None, forward: false }"),
        ("token.cookie", "[token]\ncookie = \"sid\"", shows!(|c| c.token.credential.cookie().as_str().to_owned()), "\"sid\""),
        ("token.cookie_secure", "[token]\ncookie = \"sid\"\ncookie_secure = false", shows!(|c| c.token.cookie.secure), "false"),
        ("token.cookie_same_site", "[token]\ncookie_same_site = \"strict\"", shows!(|c| c.token.cookie.same_site), "Strict"),
        ("token.former_cookie", "[token]\nformer_cookie = \"sessionid\"", shows!(|c| c.token.credential.clone()), "Settings { schemes: [\"Bearer\", \"Token\"], cookie: CookieName(\"__Host-session\"), former: Some(CookieName(\"sessionid\")), forward: false }"),
        ("token.forward", "[token]\nforward = true", shows!(|c| c.token.credential.clone()), "Settings { schemes: [\"Bearer\", \"Token\"], cookie: CookieName(\"__Host-session\"), former: None, forward: true }"),
        ("session.lifetime", "[session]\nlifetime = \"0\"", shows!(|c| c.session.lifetime), "None"),
        ("server.http2", "[server]\nhttp2 = false", shows!(|c| c.server.http2), "false"),
        ("server.http2_max_streams", "[server]\nhttp2_max_streams = 7", shows!(|c| c.server.http2_max_streams), "7"),
        ("session.idle_timeout", "[session]\nidle_timeout = \"15m\"", shows!(|c| c.rules.idle_timeout), "Some(900s)"),
        ("session.touch_interval", "[session]\ntouch_interval = \"7s\"", shows!(|c| c.session.touch_interval), "7s"),
        ("session.remember_lifetime", "[session]\nremember_lifetime = \"60d\"", shows!(|c| c.session.remember_lifetime), "Some(5184000s)"),
        ("session.sliding", "[session]\nsliding = true", shows!(|c| c.session.sliding), "true"),
        ("session.max_lifetime", "[session]\nsliding = true\nmax_lifetime = \"60d\"", shows!(|c| c.session.max_lifetime), "Some(5184000s)"),
        ("session.cut_streams", "[session]\ncut_streams = false", shows!(|c| c.session.cut_streams), "false"),
        ("session.rotate_grace", "[session]\nrotate_grace = \"0\"", shows!(|c| c.session.rotate_grace), "0ns"),
        ("policy.user_agent.mode", "[policy.user_agent]\nmode = \"off\"", shows!(|c| c.rules.user_agent), "None"),
        ("policy.user_agent.on_change", "[policy.user_agent]\non_change = \"log\"", shows!(|c| c.rules.user_agent), "Some(UserAgentRule { likeness: Family, on_change: Log })"),
        ("policy.ip.mode", "[policy.ip]\nmode = \"subnet\"", shows!(|c| c.rules.ip.mode), "Subnet"),
        ("policy.ip.on_change", "[policy.ip]\non_change = \"log\"", shows!(|c| c.rules.ip.log_only), "true"),
        ("policy.max_sessions.default", "[policy.max_sessions]\ndefault = 3", shows!(|c| c.max_sessions.default), "Some(3)"),
        ("policy.max_sessions.by_role", "[policy.max_sessions.by_role]\nstaff = 5", shows!(|c| c.max_sessions.by_role.clone()), "{\"staff\": Some(5)}"),
        ("policy.max_sessions.enforce_on_reload", "[policy.max_sessions]\nenforce_on_reload = true", shows!(|c| c.max_sessions.enforce_on_reload), "true"),
        ("policy.max_sessions.on_exceed", "[policy.max_sessions]\non_exceed = \"reject_new\"", shows!(|c| c.max_sessions.on_exceed), "RejectNew"),
        ("logout.everywhere", "[logout]\neverywhere = true", shows!(|c| c.logout_everywhere), "true"),
        ("admin.users", "[admin]\nusers = [\"root\"]", shows!(|c| c.admin.users.clone()), "[UserId(\"root\")]"),
        ("admin.view", "[admin]\nview = [\"auditor\"]", shows!(|c| c.admin.view.clone()), "[Role(\"auditor\")]"),
        ("admin.logout", "[admin]\nlogout = [\"staff\"]", shows!(|c| c.admin.logout.clone()), "[Role(\"staff\")]"),
        ("admin.logout_all", "[admin]\nlogout_all = [\"superuser\"]", shows!(|c| c.admin.logout_all.clone()), "[Role(\"superuser\")]"),
        ("compat.nilva", "[compat]\nnilva = true", shows!(|c| c.compat.is_some()), "true"),
        ("compat.prefix", "[compat]\nnilva = true\nprefix = \"/api\"", shows!(|c| compat(c).map(|compat| compat.active.clone())), "Some(\"/api/active\")"),
        ("compat.challenge", "[compat]\nnilva = true\nchallenge = \"Bearer\"", shows!(|c| compat(c).map(|compat| compat.project.first)), "Some(Bearer)"),
        ("compat.refresh_path", "{signing}\n[compat]\nnilva = true\nrefresh_path = \"/r\"", shows!(|c| compat(c).map(|compat| compat.refresh.clone())), "Some(Some(\"/r\"))"),
        ("compat.rotate_refresh", "{signing}\n[compat]\nnilva = true\nrotate_refresh = true", shows!(|c| compat(c).map(|compat| compat.rotates)), "Some(true)"),
        ("compat.blacklist_path", "{signing}\n[compat]\nnilva = true\nblacklist_path = \"/b\"", shows!(|c| compat(c).map(|compat| compat.blacklist.clone())), "Some(Some(\"/b\"))"),
        ("audit.keep_per_user", "[audit]\nkeep_per_user = 0", shows!(|c| c.audit.keep_per_user), "Some(0)"),
        ("audit.keep_for", "[audit]\nkeep_for = \"0\"", shows!(|c| c.audit.keep_for), "None"),
        ("audit.sweep_interval", "[audit]\nsweep_interval = \"5m\"", shows!(|c| c.audit.sweep_interval), "Some(300s)"),
        ("cache.capacity", "[cache]\ncapacity = 7", shows!(|c| c.cache.capacity), "7"),
        ("cache.ttl", "[cache]\nttl = \"500ms\"", shows!(|c| c.cache.ttl), "500ms"),
        ("cache.negative_ttl", "[cache]\nnegative_ttl = 0", shows!(|c| c.cache.negative_ttl), "None"),
        ("cache.serve_while_store_down", "[cache]\nserve_while_store_down = \"0\"", shows!(|c| c.cache.serve_while_store_down), "None"),
        ("store.url", "[store]\nurl = \"sqlite:///var/lib/x.db\"", shows!(|c| c.store.clone()), "StoreSettings { place: \"/var/lib/x.db\", migrate: true, timeout: 5s, hearing: Hearing { notify: Listen, poll_interval: 1s }, .. }"),
        ("store.pool_size", "[store]\nurl = \"postgres://h/d\"\npool_size = 3", shows!(|c| match &c.store.place { StorePlace::Postgres { pool_size, .. } => Some(*pool_size), StorePlace::Sqlite { .. } => None }), "Some(3)"),
        ("store.connect_timeout", "[store]\nurl = \"postgres://h/d\"\nconnect_timeout = \"3s\"", shows!(|c| match &c.store.place { StorePlace::Postgres { connect_timeout, .. } => Some(*connect_timeout), StorePlace::Sqlite { .. } => None }), "Some(3s)"),
        ("store.ca_file", "[store]\nurl = \"postgres://h/d\"\nca_file = \"/ca.pem\"", shows!(|c| match &c.store.place { StorePlace::Postgres { ca_file, .. } => ca_file.clone(), StorePlace::Sqlite { .. } => None }), "Some(\"/ca.pem\")"),
        ("store.migrate", "[store]\nmigrate = false", shows!(|c| c.store.migrate), "false"),
        ("store.timeout", "[store]\ntimeout = \"3s\"", shows!(|c| c.store.timeout), "3s"),
        ("store.notify", "[store]\nnotify = \"poll\"", shows!(|c| c.store.hearing.notify), "Poll"),
        ("store.poll_interval", "[store]\npoll_interval = \"3s\"", shows!(|c| c.store.hearing.poll_interval), "3s"),
        ("identity.prefix", "[identity]\nprefix = \"X-Who-\"", shows!(|c| c.identity.user.clone()), "\"x-who-user\""),
        ("identity.preset", "[identity]\npreset = \"remote-user\"", shows!(|c| c.identity.roles.clone()), "\"remote-groups\""),
        ("identity.user", "[identity]\nuser = \"X-User\"", shows!(|c| c.identity.user.clone()), "\"x-user\""),
        ("identity.session", "[identity]\nsession = \"X-Sid\"", shows!(|c| c.identity.session.clone()), "\"x-sid\""),
        ("identity.roles", "[identity]\nroles = \"X-Groups\"", shows!(|c| c.identity.roles.clone()), "\"x-groups\""),
        ("identity.name", "[identity]\nname = \"X-Name\"", shows!(|c| c.identity.name.clone()), "\"x-name\""),
        ("identity.email", "[identity]\nemail = \"X-Mail\"", shows!(|c| c.identity.email.clone()), "\"x-mail\""),
        ("jwt.keys[0].algorithm", "[[jwt.keys]]\nalgorithm = \"HS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"", shows!(|c| c.jwt.keys.first().map(|key| key.algorithm)), "Some(Hs256)"),
        ("jwt.keys[0].secret", "[[jwt.keys]]\nalgorithm = \"HS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"", shows!(|c| c.jwt.keys.len()), "1"),
        ("jwt.keys[0].public_key", "[[jwt.keys]]\nalgorithm = \"EdDSA\"\npublic_key = \"{public}\"", shows!(|c| c.jwt.keys.len()), "1"),
        ("jwt.keys[0].kid", "[[jwt.keys]]\nalgorithm = \"HS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"\nkid = \"a\"", shows!(|c| c.jwt.keys.first().and_then(|key| key.kid.clone())), "Some(\"a\")"),
        ("jwt.jwks_url", "[jwt]\njwks_url = \"https://id.test/keys\"", shows!(|c| c.jwt.key_set.as_ref().map(|set| set.url.path.clone())), "Some(\"/keys\")"),
        ("jwt.algorithms", "[jwt]\njwks_url = \"https://id.test/keys\"\nalgorithms = [\"ES384\"]", shows!(|c| c.jwt.key_set.as_ref().map(|set| set.algorithms.clone())), "Some([Es384])"),
        ("jwt.jwks_refresh", "[jwt]\njwks_url = \"https://id.test/keys\"\njwks_refresh = \"7s\"", shows!(|c| c.jwt.key_set.as_ref().map(|set| set.refresh)), "Some(7s)"),
        ("jwt.jwks_cooldown", "[jwt]\njwks_url = \"https://id.test/keys\"\njwks_cooldown = \"7s\"", shows!(|c| c.jwt.key_set.as_ref().map(|set| set.cooldown)), "Some(7s)"),
        ("jwt.issuer", "[jwt]\nissuer = \"a\"", shows!(|c| c.jwt.rules.issuers.clone()), "[\"a\"]"),
        ("jwt.audience", "[jwt]\naudience = [\"a\", \"b\"]", shows!(|c| c.jwt.rules.audiences.clone()), "[\"a\", \"b\"]"),
        ("jwt.leeway", "[jwt]\nleeway = \"7s\"", shows!(|c| c.jwt.rules.leeway), "7s"),
        ("jwt.session_claim", "[jwt]\nsession_claim = \"sid\"", shows!(|c| c.jwt.rules.session_claim.clone()), "\"sid\""),
        ("jwt.user_claim", "[jwt]\nuser_claim = \"\"", shows!(|c| c.jwt.rules.user_claim.clone()), "None"),
        ("jwt.access_lifetime", "[jwt]\naccess_lifetime = \"7s\"", shows!(|c| c.jwt.access_lifetime), "7s"),
        ("jwt.refresh_grace", "[jwt]\nrefresh_grace = \"7s\"", shows!(|c| c.jwt.refresh_grace), "Some(7s)"),
        ("signing.key", "[signing]\nkey = \"{private}\"", shows!(|c| c.signing.as_ref().map(|signing| signing.key.public.kid().len())), "Some(43)"),
        ("signing.previous_keys", "[signing]\nkey = \"{private}\"\nprevious_keys = [\"{public}\"]", shows!(|c| c.signing.as_ref().map(|signing| signing.previous.len())), "Some(1)"),
        ("identity.assertion.enabled", "{signing}\n[identity.assertion]\nenabled = true", shows!(|c| upstream(c).assertion.is_some()), "true"),
        ("identity.assertion.issuer", "{signing}\n[identity.assertion]\nenabled = true\nissuer = \"a\"", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.issuer.clone())), "Some(\"a\")"),
        ("identity.assertion.lifetime", "{signing}\n[identity.assertion]\nenabled = true\nlifetime = \"7s\"", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.lifetime)), "Some(7s)"),
        ("identity.assertion.bind", "{signing}\n[identity.assertion]\nenabled = true\nbind = [\"path\"]", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.bind)), "Some(Bind { method: false, path: true })"),
        ("upstream[0].assertion", "{signing}\n{upstream}\nassertion = true", shows!(|c| upstream(c).assertion.is_some()), "true"),
        ("upstream[0].assertion_audience", "{signing}\n{upstream}\nassertion = true\nassertion_audience = \"a\"", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.audience.clone())), "Some(\"a\")"),
        ("upstream[0].assertion_lifetime", "{signing}\n{upstream}\nassertion = true\nassertion_lifetime = \"7s\"", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.lifetime)), "Some(7s)"),
        ("upstream[0].assertion_bind", "{signing}\n{upstream}\nassertion = true\nassertion_bind = [\"method\"]", shows!(|c| upstream(c).assertion.as_ref().map(|assertion| assertion.bind)), "Some(Bind { method: true, path: false })"),
        ("service[0].name", "[[service]]\nname = \"login\"\nkey = \"0123456789abcdef\"", shows!(|c| c.services.first().map(|service| service.name.clone())), "Some(\"login\")"),
        ("service[0].key", "[[service]]\nname = \"login\"\nkey = \"0123456789abcdef\"", shows!(|c| c.services.first().map(|service| service.key.matches(b"0123456789abcdef"))), "Some(true)"),
        ("log.level", "[log]\nlevel = \"debug\"", shows!(|c| c.log.level.clone()), "\"debug\""),
        ("log.format", "[log]\nformat = \"json\"", shows!(|c| c.log.format), "Json"),
        ("log.access", "[log]\naccess = \"./access.log\"", shows!(|c| c.log.access.clone()), "File(\"./access.log\")"),
        ("log.query", "[log]\nquery = true", shows!(|c| c.log.query), "true"),
        ("trace.traceparent", "[trace]\ntraceparent = \"restart\"", shows!(|c| c.trace.parent), "Restart"),
        ("trace.sample", "[trace]\nsample = 1", shows!(|c| c.trace.sample), "Sample { below: 72057594037927936 }"),
        ("trace.request_id", "[trace]\nrequest_id = true", shows!(|c| c.trace.request_id), "true"),
        ("trace.otlp_url", "[trace]\ntraceparent = \"restart\"\notlp_url = \"http://127.0.0.1:4318\"", shows!(|c| c.trace.collector.as_ref().map(|to| to.url.path.clone())), "Some(\"/v1/traces\")"),
        ("trace.otlp_headers", "[trace]\ntraceparent = \"restart\"\notlp_url = \"http://127.0.0.1:4318\"\notlp_headers = { Api-Key = \"x\" }", shows!(|c| c.trace.collector.as_ref().map(|to| to.headers.clone())), "Some([(\"api-key\", Sensitive)])"),
        ("trace.otlp_service", "[trace]\ntraceparent = \"restart\"\notlp_url = \"http://127.0.0.1:4318\"\notlp_service = \"shop\"", shows!(|c| c.trace.collector.as_ref().map(|to| to.service.clone())), "Some(\"shop\")"),
        ("trace.otlp_user", "[trace]\ntraceparent = \"restart\"\notlp_url = \"http://127.0.0.1:4318\"\notlp_user = true", shows!(|c| c.trace.collector.as_ref().map(|to| to.user)), "Some(true)"),
        ("upstream[0].name", "{upstream}\nname = \"wiki\"", shows!(|c| upstream(c).name.clone()), "\"wiki\""),
        ("upstream[0].hosts", "{upstream}\nhosts = [\"a.test\", \"*.b.test\"]", shows!(|c| upstream(c).hosts.len()), "2"),
        ("upstream[0].url", "[[upstream]]\nurl = \"http://app.test\"", shows!(|c| upstream(c).addresses.first().map(ToString::to_string)), "Some(\"app.test:80\")"),
        ("upstream[0].ca_file", "[[upstream]]\nurl = \"https://app.test\"\nca_file = \"{files}/ca.pem\"", shows!(|c| upstream(c).tls.is_some()), "true"),
        ("upstream[0].tls_name", "[[upstream]]\nurl = \"https://app.test\"\nca_file = \"{files}/ca.pem\"\ntls_name = \"inner.test\"", shows!(|c| upstream(c).addresses.first().map(|address| address.place.clone())), "Some(Tls { host: \"app.test\", port: 443, name: DnsName(\"inner.test\") })"),
        ("upstream[0].client_cert", "[[upstream]]\nurl = \"https://app.test\"\nca_file = \"{files}/ca.pem\"\nclient_cert = \"{files}/client.pem\"\nclient_key = \"{files}/client.key\"", shows!(|c| upstream(c).tls.as_ref().map(|tls| tls.client.client_auth_cert_resolver.has_certs())), "Some(true)"),
        ("upstream[0].client_key", "[[upstream]]\nurl = \"https://app.test\"\nca_file = \"{files}/ca.pem\"\nclient_cert = \"{files}/client.pem\"\nclient_key = \"{files}/client.key\"", shows!(|c| upstream(c).tls.as_ref().map(|tls| tls.client.client_auth_cert_resolver.has_certs())), "Some(true)"),
        ("upstream[0].body_timeout", "{upstream}\nbody_timeout = \"7s\"", shows!(|c| upstream(c).body_timeout), "Some(7s)"),
        ("upstream[0].retry_after", "{upstream}\nretry_after = \"7s\"", shows!(|c| upstream(c).retry_after), "7s"),
        ("upstream[0].dns_refresh", "{upstream}\ndns_refresh = \"7s\"", shows!(|c| upstream(c).dns_refresh), "Some(7s)"),
        ("upstream[0].max_connections", "{upstream}\nmax_connections = 7", shows!(|c| upstream(c).max_connections), "7"),
        ("upstream[0].max_pending", "{upstream}\nmax_pending = 7", shows!(|c| upstream(c).max_pending), "7"),
        ("upstream[0].health.path", "{upstream}\nhealth = { path = \"/h\" }", shows!(|c| upstream(c).health.as_ref().map(|health| health.target.clone())), "Some(/h)"),
        ("upstream[0].health.host", "{upstream}\nhealth = { path = \"/h\", host = \"a.test\" }", shows!(|c| upstream(c).health.as_ref().map(|health| health.host.clone())), "Some(Some(\"a.test\"))"),
        ("upstream[0].health.interval", "{upstream}\nhealth = { path = \"/h\", interval = \"7s\" }", shows!(|c| upstream(c).health.as_ref().map(|health| health.interval)), "Some(7s)"),
        ("upstream[0].health.timeout", "{upstream}\nhealth = { path = \"/h\", timeout = \"7s\" }", shows!(|c| upstream(c).health.as_ref().map(|health| health.timeout)), "Some(7s)"),
        ("upstream[0].health.healthy_after", "{upstream}\nhealth = { path = \"/h\", healthy_after = 7 }", shows!(|c| upstream(c).health.as_ref().map(|health| health.healthy_after)), "Some(7)"),
        ("upstream[0].health.unhealthy_after", "{upstream}\nhealth = { path = \"/h\", unhealthy_after = 7 }", shows!(|c| upstream(c).health.as_ref().map(|health| health.unhealthy_after)), "Some(7)"),
        ("upstream[0].health.expect", "{upstream}\nhealth = { path = \"/h\", expect = [204] }", shows!(|c| upstream(c).health.as_ref().map(|health| health.expect.clone())), "Some(These([204]))"),
        ("upstream[0].urls", "[[upstream]]\nurls = [\"http://a.test\", \"unix:/run/app.sock\"]", shows!(|c| upstream(c).addresses.iter().map(ToString::to_string).collect::<Vec<_>>()), "[\"a.test:80\", \"unix:/run/app.sock\"]"),
        ("upstream[0].early_hints", "{upstream}\nearly_hints = \"all\"", shows!(|c| upstream(c).early_hints), "All"),
        ("upstream[0].protocol", "{upstream}\nprotocol = \"http2\"", shows!(|c| (upstream(c).protocol, upstream(c).websockets.access)), "(Http2, Off)"),
        ("upstream[0].preserve_host", "{upstream}\npreserve_host = false", shows!(|c| upstream(c).preserve_host), "false"),
        ("upstream[0].connect_timeout", "{upstream}\nconnect_timeout = \"7s\"", shows!(|c| upstream(c).connect_timeout), "7s"),
        ("upstream[0].response_timeout", "{upstream}\nresponse_timeout = \"7s\"", shows!(|c| upstream(c).response_timeout), "7s"),
        ("upstream[0].keep_alive", "{upstream}\nkeep_alive = \"7s\"", shows!(|c| upstream(c).keep_alive), "7s"),
        (
            "upstream[0].websocket",
            "{upstream}\nwebsocket = \"any\"",
            shows!(|c| upstream(c).websockets.access),
            "Any",
        ),
        (
            "upstream[0].websocket_origins",
            "{upstream}\nwebsocket_origins = [\"https://a.test:8443\"]",
            shows!(|c| upstream(c).websockets.origins.clone()),
            "[SiteOrigin { scheme: \"https\", host: \"a.test\", port: Some(8443) }]",
        ),
        (
            "upstream[0].tunnel_idle_timeout",
            "{upstream}\ntunnel_idle_timeout = \"0\"",
            shows!(|c| upstream(c).websockets.idle_timeout),
            "None",
        ),
        ("upstream[0].max_idle", "{upstream}\nmax_idle = 0", shows!(|c| upstream(c).max_idle), "0"),
        ("upstream[0].inspect_bytes", "{upstream}\ninspect_bytes = \"1 KiB\"", shows!(|c| upstream(c).inspect_bytes), "1024"),
        ("upstream[0].login_url", "{upstream}\nlogin_url = \"/sso\"", shows!(|c| upstream(c).login_page.clone()), "Some(LoginPage { before: \"/sso?next=\", after: \"\" })"),
        ("upstream[0].return_param", "{upstream}\nlogin_url = \"/sso\"\nreturn_param = \"back\"", shows!(|c| upstream(c).login_page.clone()), "Some(LoginPage { before: \"/sso?back=\", after: \"\" })"),
        ("upstream[0].route[0].path", "{upstream}\n{route}\npath = \"/api/\"", shows!(|c| route(c).map(|route| route.path.clone())), "Some(Prefix(\"/api/\"))"),
        ("upstream[0].route[0].exact", "{upstream}\n{route}\nexact = \"/api\"", shows!(|c| route(c).map(|route| route.path.clone())), "Some(Exact(\"/api\"))"),
        ("upstream[0].route[0].auth", "{upstream}\n{route}\npath = \"/\"\nauth = \"off\"", shows!(|c| route(c).map(|route| route.auth)), "Some(Off)"),
        ("upstream[0].route[0].roles", "{upstream}\n{route}\npath = \"/\"\nroles = [\"staff\"]", shows!(|c| route(c).map(|route| route.roles.clone())), "Some([\"staff\"])"),
        ("upstream[0].route[0].methods", "{upstream}\n{route}\npath = \"/\"\nmethods = [\"GET\"]", shows!(|c| route(c).map(|route| route.methods.clone())), "Some([GET])"),
        ("upstream[0].route[0].on_reject", "{upstream}\n{route}\npath = \"/\"\non_reject = \"401\"", shows!(|c| route(c).map(|route| route.on_reject)), "Some(Unauthorized)"),
        ("upstream[0].login[0].path", "{upstream}\n{login}", shows!(|c| login(c).map(|login| login.hook.path.clone())), "Some(\"/in\")"),
        ("upstream[0].login[0].method", "{upstream}\n{login}\nmethod = \"PUT\"", shows!(|c| login(c).map(|login| login.hook.method.clone())), "Some(PUT)"),
        ("upstream[0].login[0].success", "{upstream}\n{login}\nsuccess = [201]", shows!(|c| login(c).map(|login| login.hook.success.clone())), "Some(These([201]))"),
        ("upstream[0].login[0].user", "{upstream}\n{login}", shows!(|c| login(c).map(|login| login.user.clone())), "Some(Form(\"u\"))"),
        ("upstream[0].login[0].roles", "{upstream}\n{login}\nroles = { value = \"staff\" }", shows!(|c| login(c).map(|login| login.roles.clone())), "Some(Some(Value(\"staff\")))"),
        ("upstream[0].login[0].name", "{upstream}\n{login}\nname = { json = \"/user/name\" }", shows!(|c| login(c).map(|login| login.name.clone())), "Some(Some(ResponseJson(\"/user/name\")))"),
        ("upstream[0].login[0].email", "{upstream}\n{login}\nemail = { header = \"X-Mail\" }", shows!(|c| login(c).map(|login| login.email.clone())), "Some(Some(ResponseHeader(\"x-mail\")))"),
        ("upstream[0].login[0].remember", "{upstream}\n{login}\nremember = { form = \"stay\" }", shows!(|c| login(c).and_then(|login| login.remember.clone())), "Some(Form(\"stay\"))"),
        ("upstream[0].login[0].sets_cookie", "{upstream}\n{login}\nsets_cookie = \"sessionid\"", shows!(|c| login(c).and_then(|login| login.sets_cookie.as_ref().map(|name| name.as_str().to_owned()))), "Some(\"sessionid\")"),
        ("upstream[0].login[0].deliver", "{upstream}\n{login}\ndeliver = { json = \"/token\" }", shows!(|c| login(c).map(|login| login.deliver.clone())), "Some(Json(\"/token\"))"),
        ("upstream[0].logout[0].path", "{upstream}\n[[upstream.logout]]\npath = \"/out\"", shows!(|c| logout(c).map(|hook| hook.path)), "Some(\"/out\")"),
        ("upstream[0].logout[0].method", "{upstream}\n[[upstream.logout]]\npath = \"/out\"\nmethod = \"GET\"", shows!(|c| logout(c).map(|hook| hook.method)), "Some(GET)"),
        ("upstream[0].logout[0].success", "{upstream}\n[[upstream.logout]]\npath = \"/out\"\nsuccess = [204]", shows!(|c| logout(c).map(|hook| hook.success)), "Some(These([204]))"),
        ("upstream[0].password_changed[0].path", "{upstream}\n[[upstream.password_changed]]\npath = \"/pw\"", shows!(|c| password_change(c).map(|hook| hook.path)), "Some(\"/pw\")"),
        ("upstream[0].password_changed[0].method", "{upstream}\n[[upstream.password_changed]]\npath = \"/pw\"\nmethod = \"PUT\"", shows!(|c| password_change(c).map(|hook| hook.method)), "Some(PUT)"),
        ("upstream[0].password_changed[0].current", "{upstream}\n[[upstream.password_changed]]\npath = \"/pw\"\ncurrent = \"rotate\"", shows!(|c| upstream(c).password_changes.first().map(|change| change.rotates)), "Some(true)"),
        ("upstream[0].password_changed[0].success", "{upstream}\n[[upstream.password_changed]]\npath = \"/pw\"\nsuccess = [200]", shows!(|c| password_change(c).map(|hook| hook.success)), "Some(These([200]))"),
    ]
}

#[test]
fn every_key_is_read_and_shows() {
    let defaults = load("").unwrap();
    for (key, toml, shown, expected) in cases() {
        let config = load(&settings(toml)).unwrap_or_else(|faults| panic!("{key}: {faults:?}"));
        assert_eq!(shown(&config), expected, "{key}");
        assert_ne!(shown(&defaults), expected, "{key} must differ from the default, or the case says nothing");
    }
}

/// An unknown key that resembles none makes the reader list those that it knows: none may lack a case above.
#[test]
fn every_known_key_has_a_case() {
    let odd = "zzzzzzzzzzzzzzzzzz = 1";
    let tables = [
        "server",
        "token",
        "session",
        "policy.user_agent",
        "policy.ip",
        "policy.max_sessions",
        "logout",
        "admin",
        "compat",
        "cache",
        "store",
        "audit",
        "identity",
        "identity.assertion",
        "jwt",
        "signing",
        "log",
        "trace",
    ];
    let mut toml = format!("{odd}\n");
    for table in tables {
        toml.push_str(&format!("[{table}]\n{odd}\n"));
    }
    toml.push_str(&format!("[policy]\n{odd}\n[[service]]\nname = \"a\"\nkey = \"0123456789abcdef\"\n{odd}\n"));
    toml.push_str(&format!("{UPSTREAM}\n{odd}\n{ROUTE}\npath = \"/\"\n{odd}\n{LOGIN}\n{odd}\n"));
    toml.push_str(&format!("[upstream.health]\npath = \"/h\"\n{odd}\n"));
    toml.push_str(&format!("[[upstream.logout]]\npath = \"/\"\n{odd}\n"));
    toml.push_str(&format!("[[upstream.password_changed]]\npath = \"/\"\n{odd}\n"));

    toml.push_str(&format!(
        "[[jwt.keys]]\n{odd}\nalgorithm = \"HS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n"
    ));

    let covered: Vec<&str> = cases().iter().map(|case| case.0).collect();
    let mut known = BTreeSet::new();
    for fault in faults(&toml) {
        let fault = fault.strip_prefix("FILE: ").unwrap().to_owned();
        let (place, list) = fault.split_once(": unknown key; known here: ").unwrap_or_else(|| panic!("{fault}"));
        let table = place.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
        known.extend(list.split(", ").map(|key| format!("{table}{key}")));
    }
    assert!(known.len() > 80, "{known:?}");
    let missing: Vec<_> = known
        .iter()
        .filter(|key| {
            !covered
                .iter()
                .any(|case| case == key || case.starts_with(&format!("{key}.")) || case.starts_with(&format!("{key}[")))
        })
        .collect();
    assert!(missing.is_empty(), "known keys without a case: {missing:?}");
}

#[test]
fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
    let toml = format!("[server]\nlisten = [\"127.0.0.1:7001\"]\n[store]\nurl = \"sqlite:file.db\"\n{MINIMAL}");
    let environment = [("GATEWAY_SERVER__LISTEN", "127.0.0.1:7002"), ("GATEWAY_STORE__URL", "sqlite:environment.db")];
    let read = |environment: &[_], overrides| {
        let config = load_from(&toml, environment, overrides).unwrap();
        let StorePlace::Sqlite { path } = config.store.place else { panic!("sqlite was asked for") };
        (config.server.listen[0].to_string(), path.display().to_string(), config.upstreams[0].addresses[0].to_string())
    };
    let answer =
        |port, store: &str, upstream: &str| (format!("127.0.0.1:{port}"), store.to_owned(), upstream.to_owned());
    assert_eq!(read(&[], Overrides::default()), answer(7001, "file.db", "127.0.0.1:3000"));
    assert_eq!(read(&environment, Overrides::default()), answer(7002, "environment.db", "127.0.0.1:3000"));
    let overrides = Overrides {
        listen: Some("127.0.0.1:7003".to_owned()),
        upstream: Some("http://127.0.0.1:4000".to_owned()),
        store: Some("sqlite:line.db".to_owned()),
    };
    assert_eq!(read(&environment, overrides), answer(7003, "line.db", "127.0.0.1:4000"));
}

#[test]
fn values_in_the_environment_need_no_quotes_and_may_be_lists() {
    let config = with(&[
        ("GATEWAY_SERVER__LISTEN", "[\"127.0.0.1:7001\", \"127.0.0.1:7002\"]"),
        ("GATEWAY_SERVER__OPS_LISTEN", ""),
        ("GATEWAY_CACHE__CAPACITY", "7"),
        ("GATEWAY_TOKEN__FORWARD", "true"),
        ("GATEWAY_SESSION__LIFETIME", "0"),
        ("GATEWAY_POLICY__USER_AGENT__MODE", "exact"),
        ("GATEWAY_POLICY__MAX_SESSIONS__BY_ROLE__STAFF", "5"),
    ])
    .unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!((config.server.ops_listen, config.cache.capacity, config.session.lifetime), (None, 7, None));
    assert_eq!(config.rules.user_agent.unwrap().likeness, crate::user_agent::Likeness::Exact);
    assert_eq!(config.max_sessions.by_role["staff"].unwrap().get(), 5);
}

#[test]
fn variables_of_another_form_are_none_of_ours() {
    with(&[("GATEWAY_PORT", "tcp://10.0.0.1:80"), ("GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"), ("GATEWAYX__Y", "1")])
        .unwrap();
}

#[test]
fn an_unknown_variable_is_refused_by_its_name() {
    for (name, expected) in [
        (
            "GATEWAY_CACHE__TTTL",
            "environment variable GATEWAY_CACHE__TTTL: cache.tttl: unknown key; did you mean `ttl`?",
        ),
        ("GATEWAY_CAHCE__TTL", "environment variable GATEWAY_CAHCE__TTL: cahce: unknown key; did you mean `cache`?"),
    ] {
        assert_eq!(with(&[(name, "5s")]).unwrap_err(), [expected]);
    }
    for name in ["GATEWAY___", "GATEWAY___TTL", "GATEWAY_CACHE__", "GATEWAY_CACHE__TTL__X", "GATEWAY_CACHE____TTL"] {
        let faults = with(&[(name, "5s")]).unwrap_err();
        assert!(faults.iter().all(|fault| fault.starts_with(&format!("environment variable {name}: "))), "{faults:?}");
    }
}

#[test]
fn a_variable_below_or_above_another_one_does_not_vanish() {
    for pair in [
        [("GATEWAY_CACHE__TTL", "5s"), ("GATEWAY_CACHE__TTL__X", "1")],
        [("GATEWAY_CACHE__TTL__X", "1"), ("GATEWAY_CACHE__TTL", "wrong")],
    ] {
        assert_eq!(with(&pair).unwrap_err().len(), 1, "{pair:?}");
    }
}

#[test]
fn arrays_of_tables_cannot_be_set_by_variables_and_say_so() {
    for name in ["GATEWAY_UPSTREAM__URL", "GATEWAY_UPSTREAM__0__URL", "GATEWAY_SERVICE__KEY"] {
        let faults = with(&[(name, "http://127.0.0.1:1")]).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(&format!("environment variable {name}: ")), "{faults:?}");
        assert!(faults[0].ends_with("of the file; the environment cannot set them"), "{faults:?}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_without_its_value() {
    let faults = with(&[("GATEWAY_STORE__URL", "postgres://u:p\u{fffd}w@h/d")]).unwrap_err();
    assert_eq!(faults, ["environment variable GATEWAY_STORE__URL: is not UTF-8: it would not be read as it was meant"]);
}

#[test]
fn several_lines_in_a_variable_are_one_text() {
    let faults = with(&[("GATEWAY_CACHE__TTL", "\"5s\"\n[store]\nmigrate = false")]).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("cache.ttl: "), "{faults:?}");
}

#[test]
fn all_problems_are_said_at_once_each_with_its_key_and_place() {
    let toml = "[server]\ndrain = \"soon\"\ntrusted_proxies = [\"10.0.0.0/99\"]\nheader_timout = \"1s\"\n\
                [policy.ip]\nmode = \"strict\"\n[[upstream]]\nurl = \"ftp://x\"\n[cache]\ncapacity = 0\n\
                [[service]]\nname = \"login\"";
    let faults = faults(toml);
    for key in [
        "server.drain",
        "server.trusted_proxies",
        "server.header_timout",
        "policy.ip.mode",
        "upstream[0].url",
        "cache.capacity",
        "service[0].key",
    ] {
        let of_key: Vec<_> = faults.iter().filter(|fault| fault.starts_with(&format!("FILE: {key}: "))).collect();
        assert_eq!(of_key.len(), 1, "{key} in {faults:#?}");
        assert!(!of_key[0].contains('\n'), "one line: {of_key:?}");
    }
    assert_eq!(faults.len(), 7, "{faults:#?}");
}

#[test]
fn settings_of_a_sliding_lifetime_must_fit_each_other() {
    let touch = |key: &str| {
        format!("FILE: session.touch_interval: must be at most a quarter of {key}, because sliding is true")
    };
    for (toml, expected) in [
        ("sliding = true\nlifetime = \"119s\"", Some(touch("lifetime"))),
        ("sliding = true\nlifetime = \"2m\"", None),
        ("sliding = true\nlifetime = \"0\"", None),
        ("sliding = true\nlifetime = \"10s\"\ntouch_interval = \"2s\"", None),
        ("sliding = true\nremember_lifetime = \"1m\"", Some(touch("remember_lifetime"))),
        ("sliding = true\nlifetime = \"1m\"\nidle_timeout = \"40s\"", None),
        ("lifetime = \"10s\"", None),
        (
            "max_lifetime = \"60d\"",
            Some(
                "FILE: session.max_lifetime: is for sessions that slide: write sliding = true, or shorten lifetime"
                    .to_owned(),
            ),
        ),
    ] {
        let toml = format!("[session]\n{toml}\n{UPSTREAM}");
        let found = load_from(&toml, &[], Overrides::default()).err().unwrap_or_default();
        assert_eq!(found, Vec::from_iter(expected), "{toml}");
    }
}

#[test]
fn a_place_to_listen_and_the_permissions_of_its_file_must_make_sense() {
    for (toml, expected) in [
        ("[server]\nlisten = \"unix:\"", "server.listen: \"unix:\" lacks the path"),
        (
            "[server]\nlisten = \"unix:@hidden\"",
            "server.listen: \"unix:@hidden\": sockets without a file are not supported",
        ),
        ("[server]\nlisten = \"fd:\"", "server.listen: \"fd:\" lacks the name"),
        ("[server]\nlisten = \"fd:a b\"", "server.listen: \"fd:a b\" lacks the name"),
        ("[server]\nops_listen = \"nowhere\"", "server.ops_listen: \"nowhere\" is no address to listen on"),
        ("[server]\nproxy_protocol = true", "server.proxy_protocol: needs trusted_proxies"),
        ("[limits]\nrotations_per_session = 5", "limits.rotations_per_session: must be a number and a time in quotes"),
        (
            "[limits]\nrotations_per_session = \"5\"",
            "limits.rotations_per_session: must be a number and a time in quotes",
        ),
        (
            "[limits]\nrotations_per_session = \"0/1m\"",
            "limits.rotations_per_session: must be a number and a time in quotes",
        ),
        (
            "[limits]\nrotations_per_session = \"5/0\"",
            "limits.rotations_per_session: must be a number and a time in quotes",
        ),
        ("[limits]\nrotations_per_session = \"5/1d\"", "limits.rotations_per_session: the time is too long"),
        ("[limits]\nrotations_per_session = \"5000000/1s\"", "limits.rotations_per_session: there are too many"),
        ("[server]\nunix_mode = 660", "server.unix_mode: must be octal digits in quotes, such as \"0660\""),
        ("[server]\nunix_mode = \"0778\"", "server.unix_mode: must be octal digits"),
        ("[server]\nunix_mode = \"0770\"", "server.unix_mode: must be octal digits"),
        ("[server]\nunix_mode = \"0440\"", "server.unix_mode: must be octal digits"),
    ] {
        let faults = load_from(&format!("{toml}\n{MINIMAL}"), &[], Overrides::default()).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with(&format!("FILE: {expected}")), "{faults:?}");
    }
}

#[test]
fn a_wrong_kind_of_value_says_which_kind_is_right() {
    for (toml, expected) in [
        ("server = 5", "server: must be a table: [server]"),
        ("[[server]]\nworkers = 1", "server: must be a table: [server]"),
        ("policy = { user_agent = \"off\" }", "policy.user_agent: must be a table: [policy.user_agent]"),
        ("[server]\nlisten = 8080", "server.listen: must be a text in quotes"),
        ("[server]\nlisten = []", "server.listen: must name at least one address"),
        ("[server]\nworkers = \"two\"", "server.workers: must be a whole number from 0 to 1024"),
        ("[server]\nworkers = -1", "server.workers: must be a whole number from 0 to 1024"),
        ("[server]\nworkers = 1.5", "server.workers: must be a whole number from 0 to 1024"),
        ("[cache]\nttl = 30", "cache.ttl: must be a length of time in quotes, such as \"30s\", \"15m\" or \"14d\""),
        ("[cache]\nttl = \"0\"", "cache.ttl: cannot be 0: this limit cannot be switched off"),
        ("[store]\ntimeout = \"101y\"", "store.timeout: \"101y\" is too long: 100 years are the most"),
        ("[store]\nmigrate = \"yes\"", "store.migrate: must be true or false"),
        ("[store]\nurl = \"\"", "store.url: must be \"sqlite:PATH\" or \"postgres://user:password@host/database\""),
        ("[store]\nurl = { env = 5 }", "store.url: must be a text, { env = \"NAME\" } or { file = \"PATH\" }"),
        (
            "[store]\nurl = { env = \"A\", file = \"b\" }",
            "store.url: must be a text, { env = \"NAME\" } or { file = \"PATH\" }",
        ),
        ("[identity]\nprefix = \"\"", "identity.prefix: must not be empty"),
        (
            "[identity]\nsession = \"X-Request-Id\"",
            "identity.session: \"X-Request-Id\" means something else and cannot carry the identity",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "log.level: \"inof\" is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "[policy.max_sessions.by_role]\n\"a b\" = 1",
            "policy.max_sessions.by_role: the role \"a b\" must be 1 to 64 characters of A-Z a-z 0-9 . _ : / @ -",
        ),
        ("[[service]]\nname = \"\"\nkey = \"0123456789abcdef\"", "service[0].name: must not be empty"),
        ("[[service]]\nname = \"a\"\nkey = \"short\"", "service[0].key: must have at least 16 characters"),
    ] {
        assert_eq!(faults(toml), [format!("FILE: {expected}")], "{toml}");
    }
}

#[test]
fn two_services_must_differ_in_name_and_key() {
    let service = |name: &str, key: &str| format!("[[service]]\nname = \"{name}\"\nkey = \"{key}\"\n");
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    assert_eq!(faults(&(service("a", one) + &service("a", other))), ["FILE: service[1].name: \"a\" stands twice"]);
    assert_eq!(
        faults(&(service("a", one) + &service("b", one))),
        ["FILE: service[1].key: is the key of \"a\" too; who calls could not be told"]
    );
}

#[test]
fn without_an_upstream_it_is_said_how_to_name_one() {
    let faults = load_from("", &[], Overrides::default()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("[[upstream]] url = \"http://127.0.0.1:3000\" or with --upstream"), "{faults:?}");
}

#[test]
fn an_option_of_the_command_line_is_named_when_it_is_wrong() {
    for (overrides, expected) in [
        (Overrides { listen: Some("nowhere".to_owned()), ..Overrides::default() }, "--listen: server.listen: "),
        (Overrides { upstream: Some("app".to_owned()), ..Overrides::default() }, "--upstream: upstream[0].url: "),
        (Overrides { store: Some("mysql:x".to_owned()), ..Overrides::default() }, "--store: store.url: "),
    ] {
        let faults = load_from(MINIMAL, &[], overrides).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(expected), "{faults:?}");
    }
}

#[test]
fn a_syntax_error_names_its_line_and_quotes_nothing() {
    let faults = faults("[store]\nurl = \"postgres://u:s3cret@h/d\nmigrate = true");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("FILE: "), "{faults:?}");
    assert!(faults[0].contains("line 2"), "{faults:?}");
    assert!(!faults[0].contains("s3cret") && !faults[0].contains('\n'), "{faults:?}");
}

#[test]
fn a_secret_is_read_from_the_file_that_it_names_and_never_repeated() {
    let secret = file("postgres://u:s3cret@h/d\n");
    let config = load(&format!("[store]\nurl = {{ file = {:?} }}", secret.path())).unwrap();
    let StorePlace::Postgres { url, .. } = &config.store.place else { panic!("{config:?}") };
    assert_eq!(url, "postgres://u:s3cret@h/d");
    assert!(!format!("{config:?}").contains("s3cret"));

    let wrong = file("mysql://u:s3cret@h/d\n");
    let faults = faults(&format!("[store]\nurl = {{ file = {:?} }}", wrong.path()));
    assert_eq!(faults.len(), 1);
    assert!(!faults[0].contains("s3cret"), "{faults:?}");
}

#[test]
fn roles_are_never_the_clients_to_choose() {
    for field in ["{ form = \"role\" }", "{ request_json = \"/role\" }", "{ json = \"role\" }"] {
        let faults = faults(&format!("{UPSTREAM}\n{LOGIN}\nroles = {field}"));
        assert_eq!(faults.len(), 1, "{field}: {faults:?}");
        assert!(faults[0].contains("upstream[0].login[0].roles: cannot stand in the request"), "{faults:?}");
    }
}

#[test]
fn what_is_wrong_about_the_way_to_an_application_is_told_with_its_key() {
    for (lines, expected) in [
        ("url = \"http://a.test\"\nurls = [\"http://b.test\"]", "upstream[0].urls: cannot stand beside url"),
        ("urls = []", "upstream[0].urls: must name 1 to 64 addresses"),
        ("urls = \"http://a.test\"", "upstream[0].urls: must be a list"),
        ("urls = [\"http://a.test\", \"http://a.test:80/\"]", "upstream[0].urls: names a.test:80 twice"),
        ("urls = [\"http://a.test\", \"ftp://b.test\"]", "upstream[0].urls: \"ftp://b.test\" is not supported"),
        ("name = \"a\"", "upstream[0].url: is missing"),
        ("url = \"http://a.test\"\nretry_after = \"31s\"", "upstream[0].retry_after: must be 100ms to 30s"),
        ("url = \"http://a.test\"\nretry_after = \"0\"", "upstream[0].retry_after: must be 100ms to 30s"),
        ("url = \"http://a.test\"\nmax_connections = -1", "upstream[0].max_connections: must be a whole number"),
        ("url = \"http://a.test\"\nbody_timeout = \"1ms\"", "upstream[0].body_timeout: \"1ms\" is too short"),
        ("url = \"http://a.test\"\nhealth = {}", "upstream[0].health.path: is missing"),
        ("url = \"http://a.test\"\nhealth = { path = \"h\" }", "upstream[0].health.path: must begin with /"),
        ("url = \"http://a.test\"\nhealth = { path = \"/\", expect = [] }", "upstream[0].health.expect: must name"),
        ("url = \"http://a.test\"\nhealth = { path = \"/\", host = \"a b\" }", "upstream[0].health.host: \"a b\" is"),
        (
            "url = \"http://a.test\"\nhealth = { path = \"/\", interval = 0 }",
            "upstream[0].health.interval: cannot be 0",
        ),
        ("url = \"http://a.test\"\nhealth = \"/\"", "upstream[0].health: must be a table"),
    ] {
        let found = match load(&format!("[[upstream]]\n{lines}\n")) {
            Ok(_) => panic!("{lines} is no fault"),
            Err(faults) => faults,
        };
        assert!(found.iter().any(|fault| fault.contains(expected)), "{lines}: {found:?}");
    }
}

#[test]
fn settings_of_tls_that_cannot_mean_what_they_say_are_refused() {
    let tls = "[[server.tls]]\ncert = \"a.pem\"\nkey = \"a.key\"";
    for (toml, key, words) in [
        ("[[server.tls]]\ncert = \"a.pem\"".to_owned(), "server.tls[0].key", "is missing"),
        ("[[server.tls]]\nkey = \"a.key\"".to_owned(), "server.tls[0].cert", "is missing"),
        ("[[server.tls]]\ncert = \"\"\nkey = \"a.key\"".to_owned(), "server.tls[0].cert", "must not be empty"),
        (format!("{tls}\ncetr = 1"), "server.tls[0].cetr", "did you mean `cert`"),
        ("[server]\ntls = true".to_owned(), "server.tls", "must be an array of tables"),
        (format!("[server]\ntls_min_version = \"1.1\"\n{tls}"), "server.tls_min_version", "none of \"1.2\", \"1.3\""),
        (format!("[server]\ntls_min_version = 1.3\n{tls}"), "server.tls_min_version", "must be one of"),
        (format!("[server]\ntls_client_auth = \"required\"\n{tls}"), "server.tls_client_ca", "is missing"),
        (format!("[server]\ntls_client_ca = \"ca.pem\"\n{tls}"), "server.tls_client_ca", "does nothing"),
        (
            "[server]\ntls_client_auth = \"required\"\ntls_client_ca = \"ca.pem\"".to_owned(),
            "server.tls_client_auth",
            "needs [[server.tls]]",
        ),
        ("[server]\nredirect_listen = \"127.0.0.1:80\"".to_owned(), "server.redirect_listen", "needs [[server.tls]]"),
        (format!("[server]\nredirect_listen = [\"x\"]\n{tls}"), "server.redirect_listen", "is no address"),
    ] {
        let found = faults(&toml);
        let one = found.iter().any(|fault| fault.contains(&format!("{key}: ")) && fault.contains(words));
        assert!(found.len() == 1 && one, "{toml}: {found:?}");
    }
}
