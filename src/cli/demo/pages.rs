//! The pages of the sample app. Whatever comes from outside is escaped where it goes into a page.

use std::fmt::Write as _;

use http::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("sessions.js");

/// The front page: who is calling, the sessions, and all that the app received.
pub(super) fn home(headers: &HeaderMap) -> String {
    let user = headers.get("x-auth-user").map_or_else(|| "nobody".to_owned(), text);
    let mut rows = String::new();
    for (name, value) in headers {
        // Writing to a `String` cannot fail.
        let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name.as_str()), escape(&text(value)));
    }
    page(
        "Sample app",
        &format!(
            "<h1>Hello, {user}</h1>\n\
             <form method=\"post\" action=\"/logout\"><button>Log out</button></form>\n\
             <h2>Your sessions</h2>\n\
             <p>From <a href=\"/_sessions\">/_sessions</a>, which the gateway answers. Log in with another browser to see \
             two.</p>\n\
             <ul id=\"sessions\"></ul>\n\
             <p><button id=\"others\">End all others</button> <button id=\"all\">Log out everywhere</button></p>\n\
             <h2>What this app received</h2>\n\
             <p>The headers that begin with x-auth- are the gateway's. The session cookie did not come this far.</p>\n\
             <table>\n{rows}</table>\n\
             <script src=\"/static/sessions.js\"></script>",
            user = escape(&user),
        ),
    )
}

/// The login form, with the way back and what went wrong.
pub(super) fn login(next: &str, wrong: Option<&str>) -> String {
    let message = wrong.map(|wrong| format!("<p class=\"wrong\">{}</p>\n", escape(wrong))).unwrap_or_default();
    page(
        "Log in",
        &format!(
            "<h1>Log in</h1>\n{message}\
             <form method=\"post\" action=\"/login\">\n\
             <input type=\"hidden\" name=\"next\" value=\"{next}\">\n\
             <label>User name <input name=\"username\" autocomplete=\"username\" required autofocus></label>\n\
             <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\
             </label>\n\
             <button>Log in</button>\n</form>\n\
             <p>Users are ann and bob, the password is demo.</p>",
            next = escape(next),
        ),
    )
}

/// The page of a path that is not there.
pub(super) fn not_found() -> String {
    page("Nothing here", "<h1>Nothing here</h1>\n<p><a href=\"/\">To the front page</a></p>")
}

/// The headers that say who is calling, as JSON.
pub(super) fn hello(identity: &[(&HeaderName, &HeaderValue)]) -> String {
    let headers: serde_json::Map<String, serde_json::Value> =
        identity.iter().map(|(name, value)| (name.to_string(), text(value).into())).collect();
    serde_json::json!({ "hello": "from the sample app", "identity": headers }).to_string()
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"/static/style.css\">\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        escape(title),
    )
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Text that is safe between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "\"><script>alert('1')</script>&";
        let mut headers = HeaderMap::new();
        for name in ["x-auth-user", "user-agent"] {
            headers.insert(name, HeaderValue::from_static(evil));
        }
        for page in [home(&headers), login(evil, Some(evil))] {
            assert!(!page.contains("<script>alert"), "{page}");
            assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"), "{page}");
        }
    }
}
