//! The application's logout and its change of a password.

use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::{Reaction, Upstream, response};

const CLEARED: &str = "__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0";

/// An application that answers the status that the target's query asks for, else 302, with a cookie of its own.
fn app() -> Upstream {
    Upstream::start(|request| {
        let status = request.target().split_once('?').map_or("302", |(_, query)| query);
        Reaction::Send(response(&format!("{status} X"), "Location: /bye\r\nSet-Cookie: sessionid=; Max-Age=0\r\n", ""))
    })
}

fn start(upstream: &Upstream, more: &str) -> Gateway {
    let toml = format!(
        "{more}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.logout]]\npath = \"/logout\"\n\
         [[upstream.logout]]\npath = \"/leave\"\nmethod = \"GET\"\nsuccess = [200]\n\
         [[upstream.password_changed]]\npath = \"/password\"\n\
         [[upstream.password_changed]]\npath = \"/passphrase\"\ncurrent = \"rotate\"\n\
         [[upstream.route]]\npath = \"/logout\"\nauth = \"optional\"\n"
    );
    Gateway::start(&upstream.url(), &toml)
}

fn lives(gateway: &Gateway, session: &Issued) -> bool {
    gateway.get_as(&session.token, "/?200").status == 200
}

fn hot(gateway: &Gateway, user: &str) -> Issued {
    let session = gateway.login(user);
    assert!(lives(gateway, &session));
    session
}

fn reason(gateway: &Gateway, session: &Issued) -> String {
    gateway.get_as(&session.token, "/").json()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn the_applications_logout_ends_the_session_and_clears_the_cookie() {
    let upstream = app();
    let gateway = start(&upstream, "");
    let (session, other) = (hot(&gateway, "ann"), hot(&gateway, "ann"));
    let cookie = format!("Cookie: a=1; __Host-session={}\r\n", session.token);
    let answer = gateway.request("POST", "/logout", &cookie, b"csrf=1");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/bye")), "the application's answer passes");
    assert_eq!(answer.headers("set-cookie"), ["sessionid=; Max-Age=0", CLEARED]);
    let received = upstream.last();
    assert_eq!((received.target(), received.header("x-auth-user")), ("/logout", Some("ann")));
    assert_eq!((received.header("cookie"), received.body.as_slice()), (Some("a=1"), &b"csrf=1"[..]));
    assert!(!lives(&gateway, &session) && lives(&gateway, &other));
    assert_eq!(reason(&gateway, &session), "logged_out");
}

#[test]
fn a_logout_that_failed_ends_nothing() {
    let upstream = app();
    let gateway = start(&upstream, "");
    for (status, over) in [(200, true), (204, true), (302, true), (400, false), (403, false), (500, false)] {
        let session = hot(&gateway, "ann");
        let answer = gateway.request("POST", &format!("/logout?{status}"), &bearer(&session.token), b"");
        assert_eq!(answer.status, status);
        assert_eq!(lives(&gateway, &session), !over, "{status}");
        assert_eq!(answer.headers("set-cookie").contains(&CLEARED), over, "{status}");
    }
    let session = hot(&gateway, "ann");
    assert_eq!(gateway.get_as(&session.token, "/logout?200").status, 200);
    assert!(lives(&gateway, &session), "another method");
    assert_eq!(gateway.get_as(&session.token, "/leave?302").status, 302);
    assert!(lives(&gateway, &session), "another status");
    assert_eq!(gateway.get_as(&session.token, "/leave?200").status, 200);
    assert!(!lives(&gateway, &session));
}

#[test]
fn a_logout_without_a_session_is_the_applications_alone() {
    let upstream = app();
    let gateway = start(&upstream, "");
    let answer = gateway.request("POST", "/logout", "", b"");
    assert_eq!((answer.status, answer.headers("set-cookie")), (302, vec!["sessionid=; Max-Age=0"]));
}

#[test]
fn a_logout_is_everywhere_when_the_settings_say_so() {
    let upstream = app();
    let gateway = start(&upstream, "[logout]\neverywhere = true\n");
    let (here, there, other) = (hot(&gateway, "ann"), hot(&gateway, "ann"), hot(&gateway, "ben"));
    assert_eq!(gateway.request("POST", "/logout", &bearer(&here.token), b"").status, 302);
    assert!(!lives(&gateway, &here) && !lives(&gateway, &there) && lives(&gateway, &other));
    assert_eq!(reason(&gateway, &here), "logged_out");
    assert_eq!(reason(&gateway, &there), "logged_out_elsewhere");
}

#[test]
fn a_changed_password_ends_the_others_and_keeps_this_one() {
    let upstream = app();
    let gateway = start(&upstream, "");
    for (status, over) in [(302, true), (303, true), (204, true), (200, false), (400, false)] {
        let (here, there, other) = (hot(&gateway, "ann"), hot(&gateway, "ann"), hot(&gateway, "ben"));
        let cookie = format!("Cookie: __Host-session={}\r\n", here.token);
        let answer = gateway.request("POST", &format!("/password?{status}"), &cookie, b"new=x");
        assert_eq!((answer.status, answer.headers("set-cookie")), (status, vec!["sessionid=; Max-Age=0"]));
        assert!(lives(&gateway, &here) && lives(&gateway, &other));
        assert_eq!(lives(&gateway, &there), !over, "{status}");
        if over {
            assert_eq!(reason(&gateway, &there), "password_changed");
        }
        assert_eq!(gateway.delete_as(&here.token, "/_sessions?all=true").status, 200);
    }
}

#[test]
fn a_logout_that_the_store_cannot_take_down_is_not_said_to_be_done() {
    let upstream = app();
    let gateway = start(&upstream, "");
    let session = hot(&gateway, "ann");
    // As when its disk is full.
    let database = crate::support::database::Database::of(&gateway);
    database.execute(
        "CREATE TRIGGER full BEFORE UPDATE OF state ON sessions BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        [],
    );
    let answer = gateway.request("POST", "/logout", &bearer(&session.token), b"");
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert_eq!(answer.header("set-cookie"), None, "the browser can try again");
    database.execute("DROP TRIGGER full", []);
    assert_eq!(gateway.request("POST", "/logout", &bearer(&session.token), b"").status, 302);
    assert!(!lives(&gateway, &session));
}

#[test]
fn a_password_change_that_rotates_gives_the_browser_another_token() {
    let upstream = app();
    let gateway = start(&upstream, "[session]\nrotate_grace = \"0\"\n");
    let (session, other) = (hot(&gateway, "ann"), hot(&gateway, "ann"));
    let cookie = format!("Cookie: __Host-session={}\r\n", session.token);
    let answer = gateway.request("POST", "/passphrase?400", &cookie, b"a=b");
    assert_eq!(answer.cookie("__Host-session"), None);
    assert!(lives(&gateway, &session) && lives(&gateway, &other), "a change that failed changes nothing");

    let answer = gateway.request("POST", "/passphrase", &cookie, b"a=b");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/bye")), "the application's answer passes");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let set = answer.headers("set-cookie");
    assert_eq!(set.len(), 2, "{set:?}");
    assert!(set[1].contains("; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=1209"), "{set:?}");
    let token = answer.cookie("__Host-session").unwrap();
    let current = Issued { token, ..session.clone() };
    assert!(lives(&gateway, &current));
    assert_eq!(gateway.get_as(&current.token, "/_sessions/current").json()["id"], session.id.as_str());
    assert_eq!(reason(&gateway, &other), "password_changed");
    // Who still has the old one is found out.
    assert!(!lives(&gateway, &session));
    assert_eq!(reason(&gateway, &session), "token_reused");
}

#[test]
fn a_program_that_changes_a_password_with_a_header_keeps_its_token() {
    let upstream = app();
    let gateway = start(&upstream, "");
    let (session, other) = (hot(&gateway, "ann"), hot(&gateway, "ann"));
    let answer = gateway.request("POST", "/passphrase", &bearer(&session.token), b"a=b");
    assert_eq!((answer.status, answer.cookie("__Host-session")), (302, None));
    assert!(lives(&gateway, &session) && !lives(&gateway, &other));
}

#[test]
fn of_two_password_changes_at_once_the_second_keeps_what_the_first_got() {
    let upstream = app();
    let gateway = start(&upstream, "");
    let session = hot(&gateway, "ann");
    let cookie = format!("Cookie: __Host-session={}\r\n", session.token);
    let first = gateway.request("POST", "/passphrase", &cookie, b"a=b");
    let second = gateway.request("POST", "/passphrase", &cookie, b"a=b");
    assert!(first.cookie("__Host-session").is_some());
    assert_eq!((second.status, second.cookie("__Host-session")), (302, None), "rotated already, in its grace");
}
