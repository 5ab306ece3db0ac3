//! What the demo prints: what to open, and commands to paste in their order.

use std::net::SocketAddr;
use std::path::Path;

/// The whole text, line by line.
pub(super) fn introduction(
    gateway: SocketAddr,
    ops: Option<SocketAddr>,
    sample: SocketAddr,
    directory: &Path,
) -> Vec<String> {
    let url = format!("http://{gateway}");
    let mut lines = vec![
        format!("The gateway listens on {url}, in front of a sample app on http://{sample}."),
        format!("Its settings are {}/gateway.toml.", directory.display()),
    ];
    if let Some(ops) = ops {
        lines.push(format!("Metrics and health are on http://{ops}/metrics and /readyz."));
    }
    lines.extend([
        "The session cookie is not Secure here, because the demo has no TLS. Do not copy that.".to_owned(),
        String::new(),
        format!("Open {url}/ and log in as ann or bob with the password demo."),
        "Log in with a second browser too, and end one session from the other.".to_owned(),
        String::new(),
        "Or paste these, in this order, into another terminal:".to_owned(),
        String::new(),
    ]);
    for (number, step) in steps(&url, directory).into_iter().enumerate() {
        lines.push(format!("# {}. {}", number + 1, step.shows));
        lines.push(step.command);
        lines.push(String::new());
    }
    lines.push("Ctrl-C ends the demo and removes what it made.".to_owned());
    lines
}

struct Step {
    shows: &'static str,
    command: String,
}

fn steps(url: &str, directory: &Path) -> Vec<Step> {
    let jar = |name: &str| directory.join(name).display().to_string();
    let (laptop, phone, bob) = (jar("laptop"), jar("phone"), jar("bob"));
    let step = |shows, command| Step { shows, command };
    vec![
        step("Nothing passes without a session: 401, code missing_token.", format!("curl -iw '\\n' {url}/hello.json")),
        step(
            "What looks like a browser is led to the login page and back: 302, with ?next=.",
            format!("curl -iw '\\n' -H 'Accept: text/html' {url}/hello.json"),
        ),
        step(
            "Log in with the app's own form. The gateway adds a session cookie, which curl keeps in a jar.",
            format!("curl -iw '\\n' -c {laptop} -d 'username=ann&password=demo' {url}/login"),
        ),
        step(
            "The app sees who it is, in headers. It does not see the cookie.",
            format!("curl -w '\\n' -b {laptop} {url}/hello.json"),
        ),
        step(
            "Headers that a client makes up do not arrive, however they are spelled.",
            format!("curl -w '\\n' -b {laptop} -H 'X-Auth-User: root' -H 'X_Auth_Roles: admin' {url}/hello.json"),
        ),
        step("Ann's sessions: one.", format!("curl -w '\\n' -b {laptop} {url}/_sessions")),
        step(
            "Ann logs in with a second \"browser\".",
            format!("curl -iw '\\n' -c {phone} -A phone/1.0 -d 'username=ann&password=demo' {url}/login"),
        ),
        step("Ann's sessions: two.", format!("curl -w '\\n' -b {laptop} {url}/_sessions")),
        step(
            "End the second one by its id. A browser's cookie needs proof of the origin: hence Origin.",
            format!(
                "curl -w '\\n' -b {laptop} -H 'Origin: {url}' -X DELETE \"{url}/_sessions/$(curl -s -b {phone} \
                 -A phone/1.0 {url}/_sessions/current | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')\""
            ),
        ),
        step(
            "The second browser is told why: session_revoked.",
            format!("curl -iw '\\n' -b {phone} -A phone/1.0 {url}/hello.json"),
        ),
        step(
            "It logs in again.",
            format!("curl -iw '\\n' -c {phone} -A phone/1.0 -d 'username=ann&password=demo' {url}/login"),
        ),
        step(
            "Log out everywhere: 204, and the cookie is cleared.",
            format!(
                "curl -iw '\\n' -b {laptop} -H 'Origin: {url}' -X DELETE '{url}/_sessions/current?everywhere=true'"
            ),
        ),
        step(
            "The second browser is out too: session_revoked, reason logged_out_elsewhere.",
            format!("curl -iw '\\n' -b {phone} -A phone/1.0 {url}/hello.json"),
        ),
        step("Bob logs in.", format!("curl -iw '\\n' -c {bob} -d 'username=bob&password=demo' {url}/login")),
        step(
            "A thief uses Bob's cookie with another program: session_suspended.",
            format!("curl -iw '\\n' -b {bob} -A thief/1.0 {url}/hello.json"),
        ),
        step("From then on it is good for nobody.", format!("curl -iw '\\n' -b {bob} {url}/hello.json")),
    ]
}
