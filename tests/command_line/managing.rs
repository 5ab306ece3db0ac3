//! `sessions`, `users`, `events` and `migrate`, beside a running gateway.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::gateway::AGENT;
use crate::support::program;
use crate::support::wait_until;

/// A gateway that does not look again by itself while a test lasts: it has to hear of what is changed beside it.
const SETTINGS: &str = r#"
[cache]
ttl = "1h"
negative_ttl = "1h"
[policy.max_sessions]
by_role = { kiosk = 1 }
"#;

/// Uses a session until the gateway, which has it in its cache, refuses it. The reason that it gives.
fn refused(site: &Site, token: &str) -> Value {
    let mut answer = Value::Null;
    wait_until("the gateway refuses the session", || {
        let response = site.gateway.get_as(token, "/");
        let refused = response.status == 401;
        if refused {
            answer = response.json();
        }
        refused
    });
    json!([answer["code"], answer["reason"]])
}

fn strings<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|row| row[field].as_str().unwrap()).collect()
}

both! {
    fn a_session_that_is_revoked_here_is_soon_refused_there(site) {
        let first = site.gateway.login("ann");
        let second = site.gateway.login("ann");
        let other = site.gateway.login("bob");
        for session in [&first, &second, &other] {
            assert_eq!(site.gateway.get_as(&session.token, "/").status, 200);
        }
        let told = site.json(0, &["sessions", "revoke", &first.id]);
        assert_eq!(told, json!({ "ended": [first.id], "over_already": [], "not_found": [] }));
        assert_eq!(refused(&site, &first.token), json!(["session_revoked", "ended_by_admin"]));
        assert_eq!(site.gateway.get_as(&second.token, "/").status, 200);

        let told = site.json(0, &["sessions", "revoke-user", "ann"]);
        assert_eq!(told, json!({ "user": "ann", "ended": [second.id] }));
        assert_eq!(refused(&site, &second.token), json!(["session_revoked", "ended_by_admin"]));
        assert_eq!(site.gateway.get_as(&other.token, "/").status, 200, "another user's");

        let ran = site.run(&["sessions", "revoke-user", "ann"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("ann has no session to end"), "{ran:?}");
        let events = site.json(0, &["events", "--kind", "session_ended", "--user", "ann"])["events"].clone();
        assert_eq!(strings(&events, "actor"), ["operator", "operator"]);
        assert_eq!(strings(&events, "session"), [second.id.as_str(), first.id.as_str()]);
    }

    fn of_several_sessions_each_is_told_what_became_of_it(site) {
        let (first, second) = (site.gateway.login("ann"), site.gateway.login("bob"));
        assert_eq!(site.gateway.delete_as(&second.token, "/_sessions/current").status, 204);
        let unknown = "00000000-0000-4000-8000-000000000000";
        let ran = site.run(&["sessions", "revoke", &first.id, unknown, &second.id]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert_eq!(ran.stdout, format!("{} ended\n{} had ended already\n", first.id, second.id));
        assert_eq!(ran.stderr, format!("session-gateway: there is no session {unknown}\n"));
        assert_eq!(site.json(0, &["sessions", "revoke", &first.id])["over_already"], json!([first.id]));
        assert_eq!(site.run(&["sessions", "revoke", "first"]).status, 2, "no id at all");
    }

    fn a_session_is_suspended_and_comes_back(site) {
        let session = site.gateway.login_with(json!({ "user": "ann", "roles": ["kiosk"] }));
        assert_eq!(site.gateway.get_as(&session.token, "/").status, 200);
        let told = site.json(0, &["sessions", "suspend", &session.id]);
        assert_eq!((&told["state"], &told["reason"]), (&json!("suspended"), &json!("suspended_by_admin")));
        assert_eq!(refused(&site, &session.token), json!(["session_suspended", "suspended_by_admin"]));
        let ran = site.run(&["sessions", "suspend", &session.id]);
        assert_eq!((ran.status, ran.stdout), (0, format!("{} was suspended already\n", session.id)));

        let ran = site.run(&["sessions", "reactivate", &session.id]);
        assert_eq!((ran.status, ran.stdout), (0, format!("{} active again\n", session.id)));
        wait_until("it is served again", || site.gateway.get_as(&session.token, "/").status == 200);

        site.json(0, &["sessions", "suspend", &session.id]);
        let newer = site.gateway.login_with(json!({ "user": "ann", "roles": ["kiosk"] }));
        let ran = site.run(&["sessions", "reactivate", &session.id]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains("has 1 live session(s)"), "{ran:?}");
        site.json(0, &["sessions", "revoke", &newer.id, &session.id]);
        let ran = site.run(&["sessions", "reactivate", &session.id]);
        assert!(ran.status == 1 && ran.stderr.contains("do not come back"), "{ran:?}");
        for command in ["suspend", "reactivate", "show"] {
            let ran = site.run(&["sessions", command, "00000000-0000-4000-8000-000000000000"]);
            assert!(ran.status == 1 && ran.stderr.contains("there is no session"), "{ran:?}");
        }
    }

    fn a_session_created_here_is_good_there_and_its_token_is_shown_once(site) {
        let told = site.json(0, &[
            "sessions", "create", "Zoë", "--role", "staff", "--role", "ops", "--name", "Zoë Å", "--email", "zoe@example.org",
            "--lifetime", "1h", "--user-agent", AGENT, "--ip", "127.0.0.1",
        ]);
        let (id, token) = (told["id"].as_str().unwrap(), told["token"].as_str().unwrap());
        assert_eq!(site.gateway.get_as(token, "/").status, 200);
        let received = site.upstream.last();
        assert_eq!(received.header("x-auth-user"), Some("Zo%C3%AB"));
        assert_eq!((received.header("x-auth-roles"), received.header("x-auth-session")), (Some("staff,ops"), Some(id)));
        let shown = site.json(0, &["sessions", "show", id]);
        assert_eq!((&shown["bound_ip"], &shown["user_agent"], &shown["expires_at"]), (&json!("127.0.0.1"), &json!(AGENT), &told["expires_at"]));
        let time = |field: &str| shown[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time("expires_at").duration_since(time("created_at")).as_secs(), 3600);
        for ran in [site.run(&["sessions", "show", id]), site.run(&["sessions", "list"]), site.run(&["events"])] {
            assert!(ran.status == 0 && ran.stdout.contains(id) && !ran.stdout.contains(token), "{ran:?}");
        }
        assert!(site.rows().iter().all(|row| !row.contains(token)));
        let created = site.json(0, &["events", "--session", id, "--kind", "session_created"])["events"].clone();
        assert_eq!(strings(&created, "actor"), ["operator"]);
    }

    fn a_session_is_created_under_the_same_rules_as_any_other(site) {
        let first = site.json(0, &["sessions", "create", "ann", "--role", "kiosk"]);
        let second = site.json(0, &["sessions", "create", "ann", "--role", "kiosk"]);
        assert_eq!(second["evicted"], json!([first["id"]]), "the policy's limit");
        let third = site.json(0, &["sessions", "create", "ann", "--role", "kiosk", "--max-sessions", "0"]);
        assert_eq!(third["evicted"], json!([]), "the limit of the call");
        let ran = site.run(&["sessions", "create", "ann", "--lifetime", "0"]);
        assert!(ran.status == 0 && ran.stdout.contains("expires  never"), "{ran:?}");

        site.json(0, &["users", "disable", "ann"]);
        let ran = site.run(&["sessions", "create", "ann"]);
        assert!(ran.status == 1 && ran.stderr.contains("is disabled"), "{ran:?}");
        for bad in [["--role", "a,b"], ["--lifetime", "soon"], ["--ip", "here"], ["--max-sessions", "few"], ["--name", ""]] {
            let ran = site.run(&[&["sessions", "create", "bob"], &bad[..]].concat());
            assert!(ran.status == 2 && ran.stderr.contains(bad[0]), "{ran:?}");
        }
    }

    fn sessions_are_found_by_what_is_known_of_them(site) {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
        let ann = site.gateway.login_with(json!({ "user": "ann", "roles": ["staff"], "user_agent": firefox, "ip": "192.0.2.1" }));
        let bob = site.gateway.login_with(json!({ "user": "bob", "user_agent": AGENT, "ip": "192.0.2.200" }));
        let cyd = site.gateway.login_with(json!({ "user": "cyd", "user_agent": AGENT, "ip": "198.51.100.1" }));
        site.json(0, &["sessions", "suspend", &bob.id]);
        site.json(0, &["sessions", "revoke", &cyd.id]);
        let old = site.gateway.login("dan");
        site.execute(&format!("UPDATE sessions SET expires_at = {} WHERE id = {}", site.moment(1000), site.id(&old.id)));
        let found = |arguments: &[&str]| {
            let list = site.json(0, &[&["sessions", "list"], arguments].concat())["sessions"].clone();
            let mut users: Vec<String> = strings(&list, "user").into_iter().map(str::to_owned).collect();
            users.sort();
            users.join(" ")
        };
        for (arguments, users) in [
            (&[][..], "ann bob cyd dan"),
            (&["--user", "ann"], "ann"),
            (&["--state", "active"], "ann"),
            (&["--state", "suspended"], "bob"),
            (&["--state", "ended"], "cyd"),
            (&["--state", "expired"], "dan"),
            (&["--ip", "192.0.2.0/24"], "ann bob"),
            (&["--ip", "192.0.2.200"], "bob"),
            (&["--user-agent", "firefox"], "ann"),
            (&["--role", "staff"], "ann"),
            (&["--user-agent", AGENT, "--state", "ended"], "cyd"),
        ] {
            assert_eq!(found(arguments), users, "{arguments:?}");
        }
        let told = site.json(1, &["sessions", "list", "--user", "nobody"]);
        assert_eq!(told, json!({ "sessions": [], "more": false }));
        let told = site.json(0, &["sessions", "list", "--limit", "3"]);
        assert_eq!((told["sessions"].as_array().unwrap().len(), &told["more"]), (3, &json!(true)));
        assert_eq!(strings(&told["sessions"], "user")[0], "dan", "newest created first");
        assert_eq!(site.json(0, &["sessions", "list", "--limit", "4"])["more"], false);
        assert_eq!(site.run(&["sessions", "list", "--state", "gone"]).status, 2);

        let ran = site.run(&["sessions", "list", "--user", "ann"]);
        let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()).collect();
        assert_eq!(lines[0], ["ID", "USER", "STATE", "CREATED", "LAST SEEN", "LAST IP", "DEVICE"], "{}", ran.stdout);
        assert_eq!(lines[1][..3], [ann.id.as_str(), "ann", "active"], "{}", ran.stdout);
        assert_eq!(lines[1][5..], ["192.0.2.1", "Firefox, Linux"], "{}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}'), "no colours where nobody looks");
    }

    fn more_sessions_than_a_page_are_all_listed(site) {
        for number in 0..3 {
            site.gateway.login(&format!("user{number}"));
        }
        // The store is asked for pages of 500.
        let copy = if site.on_postgres() {
            "INSERT INTO sessions (id, token_hash, user_id, roles, created_at, expires_at, last_seen_at) \
             SELECT gen_random_uuid(), sha256(n::text::bytea), 'user0', '{}', now() - n * interval '1 s', NULL, now() \
             FROM generate_series(1, 1100) n"
        } else {
            "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1100) \
             INSERT INTO sessions (id, token_hash, user_id, roles, created_at, expires_at, last_seen_at) \
             SELECT randomblob(16), randomblob(32), 'user0', '', unixepoch() * 1000 - n * 1000, NULL, unixepoch() * 1000 FROM c"
        };
        site.execute(copy);
        let told = site.json(0, &["sessions", "list", "--limit", "5000"]);
        let ids: std::collections::HashSet<&str> = strings(&told["sessions"], "id").into_iter().collect();
        assert_eq!((ids.len(), &told["more"]), (1103, &json!(false)));
        let told = site.json(0, &["sessions", "list", "--limit", "1000"]);
        assert_eq!((told["sessions"].as_array().unwrap().len(), &told["more"]), (1000, &json!(true)));
    }

    fn a_user_is_shown_and_changed(site) {
        let ran = site.run(&["users", "show", "ann"]);
        assert!(ran.status == 1 && ran.stderr.contains("never had a session"), "{ran:?}");
        let session = site.gateway.login("ann");
        assert_eq!(site.gateway.get_as(&session.token, "/").status, 200);
        let fresh = json!({ "user": "ann", "enabled": true, "max_sessions": null, "audit_keep": null, "not_before": null, "live_sessions": 1 });
        assert_eq!(site.json(0, &["users", "show", "ann"]), fresh);

        let told = site.json(0, &["users", "set", "ann", "--max-sessions", "2", "--audit-keep", "100"]);
        assert_eq!((&told["max_sessions"], &told["audit_keep"], &told["ended"]), (&json!(2), &json!(100), &json!(0)));
        let told = site.json(0, &["users", "set", "ann", "--max-sessions", "none"]);
        assert_eq!((&told["max_sessions"], &told["audit_keep"]), (&Value::Null, &json!(100)), "what is not named stays");

        let told = site.json(0, &["users", "set", "ann", "--not-before", "now"]);
        assert_eq!((&told["ended"], &told["live_sessions"]), (&json!(1), &json!(0)));
        assert_eq!(refused(&site, &session.token)[0], "session_revoked");
        let told = site.json(0, &["users", "set", "ann", "--not-before", "none", "--audit-keep", "none"]);
        assert_eq!((&told["not_before"], &told["audit_keep"]), (&Value::Null, &Value::Null));

        let session = site.gateway.login("ann");
        assert_eq!(site.gateway.get_as(&session.token, "/").status, 200);
        let told = site.json(0, &["users", "set", "ann", "--enabled", "false"]);
        assert_eq!((&told["enabled"], &told["ended"]), (&json!(false), &json!(1)));
        wait_until("the user is locked out", || site.gateway.get_as(&session.token, "/").status == 401);
        assert_eq!(site.gateway.issue(&json!({ "user": "ann" })).status, 403);
        assert_eq!(site.json(0, &["users", "enable", "ann"])["enabled"], true);
        assert_eq!(site.gateway.issue(&json!({ "user": "ann" })).status, 201);
        assert_eq!(refused(&site, &session.token)[0], "session_revoked", "what has ended stays so");

        let ran = site.run(&["users", "show", "ann"]);
        assert!(ran.stdout.contains("enabled        yes\nmax sessions   as the policy says\n"), "{ran:?}");
        let changes = site.json(0, &["events", "--kind", "user_changed", "--user", "ann"])["events"].clone();
        assert_eq!(strings(&changes, "actor"), vec!["operator"; 6]);
        for bad in [
            &["users", "set", "ann"][..],
            &["users", "set", "ann", "--max-sessions", "many"],
            &["users", "set", "ann", "--not-before", "once"],
            &["users", "set", "ann", "--not-before", "2099-01-01T00:00:00Z"],
        ] {
            assert_eq!(site.run(bad).status, 2, "{bad:?}");
        }
        site.json(0, &["users", "disable", "nobody yet"]);
        assert_eq!(site.gateway.issue(&json!({ "user": "nobody yet" })).status, 403);
    }

    fn the_audit_log_is_searched(site) {
        let ann = site.gateway.login_with(json!({ "user": "ann", "ip": "192.0.2.1" }));
        site.gateway.login_with(json!({ "user": "bob", "ip": "198.51.100.1" }));
        assert_eq!(site.gateway.delete_as(&ann.token, "/_sessions/current").status, 204);
        site.json(0, &["sessions", "revoke-user", "bob"]);
        let kinds = |arguments: &[&str]| {
            let told = site.json(0, &[&["events"], arguments].concat());
            strings(&told["events"], "kind").join(" ")
        };
        for (arguments, expected) in [
            (&["--user", "ann"][..], "session_ended session_created"),
            (&["--session", &ann.id], "session_ended session_created"),
            (&["--kind", "session_created"], "session_created session_created"),
            (&["--actor", "operator"], "session_ended"),
            (&["--actor", "user:ann"], "session_ended"),
            (&["--ip", "192.0.2.0/24"], "session_created"),
            (&["--since", "1h", "--user", "bob"], "session_ended session_created"),
            (&["--limit", "1"], "session_ended"),
        ] {
            assert_eq!(kinds(arguments), expected, "{arguments:?}");
        }
        assert_eq!(site.json(0, &["events", "--limit", "1"])["more"], true);
        assert_eq!(site.json(1, &["events", "--until", "1h"]), json!({ "events": [], "more": false }));
        let ran = site.run(&["events", "--actor", "operator"]);
        assert!(ran.stdout.starts_with("AT ") && ran.stdout.contains("reason=ended_by_admin"), "{ran:?}");
        site.json(0, &["users", "set", "ann", "--max-sessions", "3"]);
        let ran = site.run(&["events", "--kind", "user_changed"]);
        assert!(ran.stdout.trim_end().ends_with("  max_sessions=3"), "of a change, what is different now: {ran:?}");
        for bad in [["--since", "then"], ["--session", "x"], ["--ip", "x"]] {
            let ran = site.run(&[&["events"], &bad[..]].concat());
            assert!(ran.status == 2 && ran.stderr.contains(bad[0]), "{ran:?}");
        }
    }
}

#[test]
fn migrating_answers_programs_too() {
    let directory = tempfile::TempDir::new().unwrap();
    let migrate = |arguments: &[&str]| {
        let settings = ["migrate", "--upstream", "http://127.0.0.1:1", "--store", "sqlite:new.db"];
        program::run(program::command(directory.path()).args(settings).args(arguments))
    };
    let ran = migrate(&["--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!((&told["from"], &told["migrated"]), (&json!(0), &json!(true)), "{ran:?}");
    let ran = migrate(&[]);
    assert_eq!(ran.stdout, format!("The store's schema is up to date: version {}.\n", told["to"]), "{ran:?}");
}

#[test]
fn what_a_client_calls_itself_cannot_command_the_terminal() {
    let site = Site::sqlite(SETTINGS);
    let session = site.gateway.login_with(json!({ "user": "ann", "user_agent": "\u{1b}]0;owned\u{7}curl/8" }));
    let ran = site.run(&["sessions", "show", &session.id]);
    assert!(ran.stdout.contains("\\u{1b}]0;owned\\u{7}curl/8"), "{ran:?}");
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn a_store_that_is_away_or_old_or_silent_is_told_apart() {
    let directory = tempfile::TempDir::new().unwrap();
    let commands: &[&[&str]] = &[
        &["sessions", "list"],
        &["sessions", "show", "00000000-0000-4000-8000-000000000000"],
        &["sessions", "create", "ann"],
        &["sessions", "revoke", "00000000-0000-4000-8000-000000000000"],
        &["sessions", "revoke-user", "ann"],
        &["sessions", "suspend", "00000000-0000-4000-8000-000000000000"],
        &["sessions", "reactivate", "00000000-0000-4000-8000-000000000000"],
        &["users", "show", "ann"],
        &["users", "disable", "ann"],
        &["events"],
    ];
    std::fs::write(directory.path().join("old.db"), "").unwrap();
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgres://ann:hunter2@{}/x", silent.local_addr().unwrap());
    for command in commands {
        let run = |store: &str| {
            let mut program = program::command(directory.path());
            let settings = ["--upstream", "http://127.0.0.1:1", "--store", store];
            program.env("GATEWAY_STORE__TIMEOUT", "200ms").env("GATEWAY_STORE__CONNECT_TIMEOUT", "200ms");
            program::run(program.args(*command).args(settings))
        };
        for (store, status, words) in [
            ("postgres://ann:hunter2@127.0.0.1:1/x", 75, "cannot be reached"),
            (&silent, 75, "store"),
            ("sqlite:old.db", 78, "session-gateway migrate"),
            ("sqlite:none.db", 1, "there is no database file none.db"),
            ("nothing:x", 78, "store.url"),
        ] {
            let ran = run(store);
            assert_eq!(ran.status, status, "{command:?} {store}: {ran:?}");
            assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{command:?} {store}: {ran:?}");
            assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        }
    }
    assert!(!directory.path().join("none.db").exists());
}

#[test]
fn a_document_holds_nothing_that_a_terminal_would_obey() {
    let site = Site::sqlite(SETTINGS);
    let agent = "\u{9b}31mred \u{7f}\u{202e}curl/8";
    let session = site.gateway.login_with(json!({ "user": "ann", "user_agent": agent }));
    let ran = site.run(&["sessions", "show", &session.id, "--json"]);
    assert!(ran.stdout.contains(r"\u009b31mred \u007f\u202ecurl/8"), "{ran:?}");
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!ran.stdout.contains(obeyed), "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["user_agent"], agent);
}

#[test]
fn the_store_s_address_may_stand_where_nobody_who_lists_processes_sees_it() {
    let site = Site::sqlite("");
    let session = site.gateway.login("ann");
    let place = site.gateway.directory.path().join("address");
    std::fs::write(&place, format!("{}\n", site.store)).unwrap();
    let run = |store: &str| {
        let mut command = program::command(site.gateway.directory.path());
        command.args(["sessions", "list", "--config", "gateway.toml", "--store", store]);
        let output = command.env("ADDRESS_OF_STORE", &site.store).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    for place in [format!("file:{}", place.display()), "env:ADDRESS_OF_STORE".to_owned()] {
        let (status, told) = run(&place);
        assert!(status == Some(0) && told.contains(&session.id), "{place}: {told}");
    }
    let (status, told) = run("env:NO_SUCH_VARIABLE");
    assert!(status == Some(78) && told.contains("--store") && told.contains("NO_SUCH_VARIABLE"), "{told}");
}
