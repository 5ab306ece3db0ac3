//! `DELETE` under `/_sessions`: people end their sessions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{invalid, lives, own_page};

/// Every attribute again: browsers keep a `__Host-` cookie whose deletion lacks one.
const CLEARED: &str = "__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0";

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    (upstream, gateway)
}

/// Some sessions of one user and one of another, all of them in the cache.
fn hot(gateway: &Gateway, count: usize) -> (Vec<Issued>, Issued) {
    let own: Vec<_> = (0..count).map(|_| gateway.login("ann")).collect();
    let other = gateway.login("ben");
    assert!(own.iter().all(|session| lives(gateway, session)) && lives(gateway, &other));
    (own, other)
}

#[test]
fn logging_out_ends_this_session_and_clears_the_cookie() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 2);
    let response = gateway.request("DELETE", "/_sessions/current", &own_page(&own[0]), b"");
    assert_eq!((response.status, response.body.len()), (204, 0));
    assert_eq!(response.headers("set-cookie"), [CLEARED]);
    assert!(!lives(&gateway, &own[0]) && lives(&gateway, &own[1]) && lives(&gateway, &other));
    assert_eq!(gateway.request("DELETE", "/_sessions/current", &own_page(&own[0]), b"").status, 401, "once is enough");

    let response = gateway.delete_as(&own[1].token, "/_sessions/current");
    assert_eq!((response.status, response.header("set-cookie")), (204, None), "a program has no cookie to lose");
    assert!(!lives(&gateway, &own[1]));
}

#[test]
fn logging_out_everywhere_is_said_by_the_call_or_by_the_settings() {
    let (upstream, gateway) = start();
    let (own, other) = hot(&gateway, 3);
    assert_eq!(gateway.delete_as(&own[0].token, "/_sessions/current?everywhere=true").status, 204);
    assert!(own.iter().all(|session| !lives(&gateway, session)) && lives(&gateway, &other));
    let reason = |session: &Issued| gateway.get_as(&session.token, "/").json()["reason"].clone();
    assert_eq!((reason(&own[0]), reason(&own[1])), (json!("logged_out"), json!("logged_out_elsewhere")));

    let gateway = Gateway::start(&upstream.url(), "[logout]\neverywhere = true\n");
    let (own, other) = hot(&gateway, 3);
    assert_eq!(gateway.delete_as(&own[0].token, "/_sessions/current?everywhere=false").status, 204);
    assert!(!lives(&gateway, &own[0]) && lives(&gateway, &own[1]));
    assert_eq!(gateway.delete_as(&own[1].token, "/_sessions/current").status, 204);
    assert!(!lives(&gateway, &own[2]) && lives(&gateway, &other));
}

#[test]
fn one_of_ones_own_is_ended_and_somebody_elses_is_not_found_and_untouched() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 2);
    let response = gateway.request("DELETE", &format!("/_sessions/{}", own[1].id), &own_page(&own[0]), b"");
    assert_eq!((response.status, response.json()), (200, json!({ "ended": 1 })));
    assert_eq!(response.header("set-cookie"), None);
    assert!(lives(&gateway, &own[0]) && !lives(&gateway, &own[1]));

    let nobodys = "00000000-0000-4000-8000-000000000000";
    let answers: Vec<_> = [other.id.as_str(), own[1].id.as_str(), nobodys]
        .iter()
        .map(|id| gateway.delete_as(&own[0].token, &format!("/_sessions/{id}")))
        .collect();
    for answer in &answers {
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
        assert_eq!(answer.body, answers[0].body, "nothing tells which it was");
    }
    assert!(lives(&gateway, &other));
    assert_eq!(Database::of(&gateway).column(&other.id, "state").as_deref(), Some("active"));

    let response = gateway.request("DELETE", &format!("/_sessions/{}", own[0].id), &own_page(&own[0]), b"");
    assert_eq!((response.status, response.headers("set-cookie")), (200, vec![CLEARED]), "one's own is logging out");
}

#[test]
fn an_id_that_is_none_is_a_bad_request() {
    let (_upstream, gateway) = start();
    let (own, _) = hot(&gateway, 2);
    let id = &own[1].id;
    for bad in ["7", "x", &id.replace('-', ""), &format!("{id},{id}"), &format!("%7B{id}%7D"), "' OR 1=1", "current2"] {
        let target = format!("/_sessions/{}", bad.replace(' ', "%20"));
        invalid(&gateway.delete_as(&own[0].token, &target), "id");
        let target = format!("/_sessions?id={id}&id={}", bad.replace(' ', "%20"));
        invalid(&gateway.delete_as(&own[0].token, &target), "id");
    }
    assert!(lives(&gateway, &own[1]), "all or nothing");
}

#[test]
fn several_are_ended_and_counted_and_only_ones_own() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 4);
    let target = format!("/_sessions?id={}&id={}&id={}&id={}", own[1].id, own[2].id, other.id, own[1].id);
    let response = gateway.delete_as(&own[0].token, &target);
    assert_eq!((response.status, response.json()), (200, json!({ "ended": 2 })));
    assert!(!lives(&gateway, &own[1]) && !lives(&gateway, &own[2]));
    assert!(lives(&gateway, &own[0]) && lives(&gateway, &own[3]) && lives(&gateway, &other));

    // Only the caller's own id: that one, and not all of them.
    let response = gateway.request("DELETE", &format!("/_sessions?id={}", own[0].id), &own_page(&own[0]), b"");
    assert_eq!((response.json(), response.headers("set-cookie")), (json!({ "ended": 1 }), vec![CLEARED]));
    assert!(!lives(&gateway, &own[0]) && lives(&gateway, &own[3]));
    let response = gateway.delete_as(&own[3].token, &format!("/_sessions?id={}", other.id));
    assert_eq!(response.json(), json!({ "ended": 0 }));
}

#[test]
fn all_others_or_all_are_ended() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 3);
    let response = gateway.request("DELETE", "/_sessions?others=true", &own_page(&own[1]), b"");
    assert_eq!((response.json(), response.header("set-cookie")), (json!({ "ended": 2 }), None));
    assert!(lives(&gateway, &own[1]) && !lives(&gateway, &own[0]) && !lives(&gateway, &own[2]));

    let fourth = gateway.login("ann");
    let response = gateway.request("DELETE", "/_sessions?all=true", &own_page(&fourth), b"");
    assert_eq!((response.json(), response.headers("set-cookie")), (json!({ "ended": 2 }), vec![CLEARED]));
    assert!(!lives(&gateway, &own[1]) && !lives(&gateway, &fourth) && lives(&gateway, &other));
}

#[test]
fn what_is_to_end_must_be_said_in_one_way() {
    let (_upstream, gateway) = start();
    let (own, _) = hot(&gateway, 2);
    let id = &own[1].id;
    for (query, field) in [
        (String::new(), "id"),
        ("?".to_owned(), "id"),
        ("?all=false".to_owned(), "id"),
        ("?others=false&all=false".to_owned(), "id"),
        ("?others=true&all=true".to_owned(), "id"),
        (format!("?id={id}&all=true"), "id"),
        (format!("?id={id}&others=true"), "id"),
        ("?all=yes".to_owned(), "all"),
        ("?all=".to_owned(), "all"),
        ("?all=true&all=true".to_owned(), "all"),
        ("?others=1".to_owned(), "others"),
        ("?everything=true".to_owned(), "everything"),
        (format!("?token_id={id}"), "token_id"),
        ("?everywhere=true".to_owned(), "everywhere"),
    ] {
        invalid(&gateway.delete_as(&own[0].token, &format!("/_sessions{query}")), field);
    }
    invalid(&gateway.delete_as(&own[0].token, "/_sessions/current?all=true"), "all");
    invalid(&gateway.delete_as(&own[0].token, "/_sessions/current?everywhere=maybe"), "everywhere");
    invalid(&gateway.delete_as(&own[0].token, &format!("/_sessions/{id}?all=true")), "all");
    assert!(own.iter().all(|session| lives(&gateway, session)));
}

#[test]
fn a_call_with_the_cookie_must_come_from_this_origin() {
    let (_upstream, gateway) = start();
    let (own, _) = hot(&gateway, 2);
    let cookie = format!("Cookie: __Host-session={}\r\n", own[0].token);
    let current = "/_sessions/current".to_owned();
    let targets = [current, "/_sessions?all=true".to_owned(), format!("/_sessions/{}", own[1].id)];
    for proof in [
        "",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://app.test\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: null\r\n",
        "Origin: https://app.test\r\n",
        "Origin: http://app.test.evil.test\r\n",
        "Origin: http://app.test:81\r\n",
        "Origin: http://sub.app.test\r\n",
        "Origin: http://app.test\r\nOrigin: http://app.test\r\n",
        "Referer: http://app.test/\r\n",
        // No browser's request can carry these two of its own accord.
        "Origin: http://evil.test\r\nX-Forwarded-Host: evil.test\r\n",
        "Origin: https://app.test\r\nX-Forwarded-Proto: https\r\n",
    ] {
        for target in &targets {
            let response = gateway.request("DELETE", target, &format!("{cookie}{proof}"), b"");
            assert_eq!((response.status, response.code().as_str()), (403, "csrf"), "{target} {proof}");
            assert_eq!(response.header("set-cookie"), None);
        }
    }
    assert!(own.iter().all(|session| lives(&gateway, session)));

    let by_origin = format!("{cookie}Origin: http://app.test:80\r\n");
    assert_eq!(gateway.request("DELETE", &targets[2], &by_origin, b"").status, 200);
    // Who sends a header is no browser's forged form.
    assert_eq!(gateway.delete_as(&own[0].token, "/_sessions?all=true").status, 200);
}

#[test]
fn behind_a_trusted_proxy_the_origin_is_the_one_that_the_browser_sees() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let session = gateway.login("ann");
    let headers = format!(
        "Cookie: __Host-session={}\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.test\r\n",
        session.token
    );
    let end =
        |origin: &str| gateway.request("DELETE", "/_sessions/current", &format!("{headers}Origin: {origin}\r\n"), b"");
    assert_eq!(end("http://app.test").status, 403);
    assert_eq!(end("http://shop.test").status, 403);
    assert_eq!(end("https://shop.test").status, 204);
}

#[test]
fn an_ended_session_stays_ended_over_a_restart() {
    let (upstream, gateway) = start();
    let session = gateway.login("ann");
    assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    let directory = gateway.stop();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let gateway = Gateway::start_in(directory, &upstream.url(), &store, "");
    let response = gateway.get_as(&session.token, "/");
    assert_eq!((response.status, response.json()["reason"].as_str()), (401, Some("logged_out")));
}

#[test]
fn no_request_that_begins_after_the_end_of_its_session_passes() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    assert!(lives(&gateway, &session));
    let (ended, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = gateway.connect();
                loop {
                    let over = ended.load(Ordering::SeqCst);
                    connection.send(format!(
                        "GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n",
                        bearer(&session.token)
                    ));
                    let status = connection.read("GET").status;
                    assert!(!over || status == 401, "served {status} after its end");
                    if over {
                        return;
                    }
                    passed.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                }
            });
        }
        wait_until("the session is in full use", || passed.load(Ordering::SeqCst) > 50);
        assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
        ended.store(true, Ordering::SeqCst);
    });
}
