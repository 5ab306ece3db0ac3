//! Lists of all sessions, and one of them.

use serde_json::json;

use crate::support::client::Response;
use crate::support::gateway::{Gateway, Issued};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::{ADMIN, call, ids, invalid, login, ok, refused, start};

fn search(gateway: &Gateway, admin: &Issued, query: &str) -> Vec<String> {
    ids(&ok(call(gateway, admin, "GET", &format!("/sessions?{query}"))))
}

#[test]
fn the_list_shows_everybodys_sessions_with_whose_they_are_and_never_a_token() {
    let (_upstream, gateway) = start("");
    let ann = gateway.login_with(json!({
        "user": "ann", "roles": ["writer"], "name": "Ann", "email": "ann@example.org", "ip": "192.0.2.7",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "claims": {"team": 7},
    }));
    let root = gateway.login("root");
    let response = call(&gateway, &root, "GET", "/sessions");
    for token in [&ann.token, &root.token] {
        assert!(!response.text().contains(token.as_str()));
    }
    let page = ok(response);
    assert_eq!(ids(&page), [root.id.clone(), ann.id.clone()]);
    let (own, row) = (&page["sessions"][0], &page["sessions"][1]);
    assert_eq!((&own["current"], &row["current"]), (&json!(true), &json!(false)));
    assert_eq!((&row["user"], &row["roles"]), (&json!("ann"), &json!(["writer"])));
    assert_eq!((&row["name"], &row["email"]), (&json!("Ann"), &json!("ann@example.org")));
    assert_eq!((&row["state"], &row["reason"]), (&json!("active"), &json!(null)));
    assert_eq!((&row["bound_ip"], &row["device"]["browser"]), (&json!("192.0.2.7"), &json!("Firefox")));
    assert_eq!((&row["ended_at"], &row["ended_by"]), (&json!(null), &json!(null)));
    assert!(row["created_at"].is_string() && row["last_seen_at"].is_string() && row["expires_at"].is_string());
    assert_eq!(page["next_cursor"], json!(null));

    let one = ok(call(&gateway, &root, "GET", &format!("/sessions/{}", ann.id)));
    assert_eq!((&one["id"], &one["claims"]), (&json!(ann.id), &json!({ "team": 7 })));
    assert!(!one.to_string().contains("digest") && !one.to_string().contains("token"));
    let unknown = format!("/sessions/{}", uuid::Uuid::nil());
    refused(&call(&gateway, &root, "GET", &unknown), 404, "not_found");
    invalid(&call(&gateway, &root, "GET", "/sessions/7"), "id");
}

#[test]
fn filters_narrow_the_list() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let ann = gateway.login_with(json!({ "user": "ann/1", "ip": "192.0.2.7", "user_agent": "Agent 100%/1" }));
    let bob = gateway.login_with(json!({ "user": "bob", "ip": "2001:db8::7", "roles": ["writer"] }));
    let gone = gateway.login("gus");
    gateway.delete_as(&gone.token, "/_sessions/current");
    let held = gateway.login("hal");
    assert_eq!(call(&gateway, &root, "POST", &format!("/sessions/{}/suspend", held.id)).status, 200);
    for (query, expected) in [
        ("user=ann%2F1", vec![&ann]),
        ("user=nobody", vec![]),
        ("ip=192.0.2.7", vec![&ann]),
        ("ip=::ffff:192.0.2.7", vec![&ann]),
        ("ip=192.0.2.0/24", vec![&ann]),
        ("ip=2001:db8::/32", vec![&bob]),
        ("user_agent=agent%20100%25", vec![&ann]),
        ("role=writer", vec![&bob]),
        ("state=ended", vec![&gone]),
        ("state=suspended", vec![&held]),
        ("state=active", vec![&bob, &ann, &root]),
        ("state=expired", vec![]),
        ("created_before=2020-01-01T00:00:00Z", vec![]),
        ("created_after=2020-01-01T00:00:00Z&state=active&user=bob", vec![&bob]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|session| session.id.clone()).collect();
        assert_eq!(search(&gateway, &root, query), expected, "{query}");
    }
    let row = ok(call(&gateway, &root, "GET", &format!("/sessions/{}", gone.id)));
    assert_eq!((&row["state"], &row["reason"]), (&json!("ended"), &json!("logged_out")));
    assert_eq!(row["ended_by"], "user:gus");
    assert!(row["ended_at"].as_str() >= row["created_at"].as_str(), "{row}");
    let row = ok(call(&gateway, &root, "GET", &format!("/sessions/{}", held.id)));
    assert_eq!((&row["state"], &row["reason"]), (&json!("suspended"), &json!("suspended_by_admin")));
}

#[test]
fn a_parameter_that_is_wrong_is_named() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    for (query, field) in [
        ("usr=ann", "usr"),
        ("user=", "user"),
        ("user=a&user=b", "user"),
        ("state=dead", "state"),
        ("ip=192.0.2", "ip"),
        ("ip=192.0.2.0/33", "ip"),
        ("user_agent=", "user_agent"),
        ("role=a,b", "role"),
        ("created_before=yesterday", "created_before"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
    ] {
        invalid(&call(&gateway, &root, "GET", &format!("/sessions?{query}")), field);
    }
}

#[test]
fn pages_show_every_session_once_while_others_are_created() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let mut expected: Vec<_> = (0..11).map(|number| gateway.login(&format!("user{number}")).id).collect();
    expected.push(root.id.clone());
    let (mut shown, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = ok(call(&gateway, &root, "GET", &format!("/sessions?{query}")));
        shown.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=3&cursor={cursor}");
        gateway.login("late");
    }
    assert_eq!(shown.len(), expected.len());
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
}

#[test]
fn a_cursor_is_good_for_its_own_list_and_filter_alone() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let ann = gateway.login("ann");
    for _ in 0..3 {
        gateway.login("root");
        gateway.login("ann");
    }
    let cursor = |response: Response| ok(response)["next_cursor"].as_str().unwrap().to_owned();
    let admin = |query: &str| call(&gateway, &root, "GET", query);
    let own = |session: &Issued, query: &str| gateway.get_as(&session.token, &format!("/_sessions?{query}"));
    let all = cursor(admin("/sessions?limit=1"));
    let of_ann = cursor(admin("/sessions?limit=1&user=ann"));
    let events = cursor(admin("/events?limit=1"));
    let roots_own = cursor(own(&root, "limit=1"));
    let anns_own = cursor(own(&ann, "limit=1"));

    // Another page size is the same list.
    assert_eq!(admin(&format!("/sessions?limit=2&cursor={all}")).status, 200);
    assert_eq!(admin(&format!("/sessions?cursor={of_ann}&user=ann&limit=1")).status, 200);
    assert_eq!(admin(&format!("/events?cursor={events}")).status, 200);
    assert_eq!(own(&ann, &format!("cursor={anns_own}")).status, 200);

    for wrong in [&of_ann, &events, &roots_own, &anns_own] {
        invalid(&admin(&format!("/sessions?cursor={wrong}")), "cursor");
    }
    invalid(&admin(&format!("/sessions?user=bob&cursor={of_ann}")), "cursor");
    for wrong in [&all, &roots_own] {
        invalid(&admin(&format!("/events?cursor={wrong}")), "cursor");
    }
    for wrong in [&all, &roots_own] {
        invalid(&own(&ann, &format!("cursor={wrong}")), "cursor");
    }
    // One bit of it changed, or cut short.
    let mut forged = anns_own.clone().into_bytes();
    forged[3] = if forged[3] == b'A' { b'B' } else { b'A' };
    invalid(&own(&ann, &format!("cursor={}", String::from_utf8(forged).unwrap())), "cursor");
    invalid(&own(&ann, &format!("cursor={}", &anns_own[..32])), "cursor");
}

#[test]
fn cursors_outlive_the_gateway_that_made_them() {
    let (upstream, gateway) = start("");
    let root = gateway.login("root");
    login(&gateway, "ann", "writer");
    let page = ok(call(&gateway, &root, "GET", "/sessions?limit=1"));
    let query = format!("limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let directory = gateway.stop();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let gateway = Gateway::start_in(directory, &upstream.url(), &store, crate::ADMIN);
    assert_eq!(search(&gateway, &root, &query), vec![root.id]);
}

#[test]
fn a_filter_of_any_size_and_content_is_a_text_to_be_found_or_refused() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let file = Gateway::start(&upstream.url(), ADMIN);
    let shared = Gateway::start_on(&database.url(), &upstream.url(), ADMIN);
    for gateway in [&file, &shared] {
        let root = gateway.login("root");
        let get = |query: &str| call(gateway, &root, "GET", &format!("/sessions?{query}"));
        for text in ["%25", "_", "%5C", "%5C%25", "%00", "%C2%9B", "'%3B--", &"_".repeat(1000)] {
            assert_eq!(ids(&ok(get(&format!("user_agent={text}")))), [""; 0], "{text}");
        }
        invalid(&get(&format!("user_agent={}", "_".repeat(26_000))), "user_agent");
        for ip in ["::/0", "0.0.0.0/0", "255.255.255.255/32", "ffff::/1"] {
            assert_eq!(get(&format!("ip={ip}")).status, 200, "{ip}");
        }
        for time in ["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00Z"] {
            ok(get(&format!("created_before={time}")));
            ok(get(&format!("created_after={time}")));
        }
        assert_eq!(gateway.metric("gateway_store_errors_total"), 0.0);
    }
}
