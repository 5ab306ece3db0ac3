//! `import`: sessions that began in an application go on here.
//!
//! The tables are those that the applications' own migrations make, and the sessions of Django were written by Django.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::client::Response;
use crate::support::program::Ran;

const SETTINGS: &str = r#"
[token]
cookie = "sessionid"
cookie_secure = false
"#;

const SECRET: &str = "django-insecure-key-of-a-test";

/// Its users' passwords are those that the sessions below were made with.
const ANN: &str = "pbkdf2_sha256$1000000$OecsEQcq7TjK0FPoxjDaTH$nw7pBp8MwPfItHDhUuVjAyL8juXLR0ij24lfyVho9Ag=";
const BOB: &str = "pbkdf2_sha256$1000000$Bcp2aDco0olvY8UuvmYzTQ$7+e75EucbT4JP4gBT4/eZSazvnYxnh/HLLzh0upVzyo=";
/// Sessions of ann (by Django 5.2 and by 3.0), of bob, and of nobody.
const OF_ANN: &str = ".eJxVjMsOwiAQRf-FtSEMjxRcuvcbyMAMUjWQlHZl_Hdt0oVu7znnvkTEba1xG7zEmcRZgDj9bgnzg9sO6I7t1mXubV3mJHdFHnTIayd-Xg7376DiqN_aAKnAzLb4oooJGcAEdJoKI1sHiYJlTqxtCcmj0lNwpEFPBgCNN-L9AfykN_4:1xUUyO:dutpaA5NnH6mumBVo26Ie9ucrDuXzLDbvLv3Sv6At6w";
const OLD_OF_ANN: &str = "Njg5OGE1YTExODg4OGZiZTI3NTRjZjc3OGIzMjFmOWVjMjNjZjQxYjp7Il9hdXRoX3VzZXJfaWQiOiIxIiwiX2F1dGhfdXNlcl9iYWNrZW5kIjoiZGphbmdvLmNvbnRyaWIuYXV0aC5iYWNrZW5kcy5Nb2RlbEJhY2tlbmQiLCJfYXV0aF91c2VyX2hhc2giOiI0ODFiZDM1OWJhMWJiZDlhOWIyN2UxMDlmMmQxZDhkZmRkYjEzNDk4In0=";
const OF_BOB: &str = ".eJxVjMsOwiAQRf-FtSHIozAu3fcbyDAMUjU0Ke3K-O_apAvd3nPOfYmI21rj1nmJUxYXocXpd0tID247yHdst1nS3NZlSnJX5EG7HOfMz-vh_h1U7PVbW_JGkUWLqJIJ1roCA5BCKEFTMIpJp4SFCwJ4MF7ZMpBzyiGfGUG8P-iJODU:1xUUyO:RbrYlPADEXSemd1uFkqqPswslAzUbaSWljr52NhXbV4";
const OF_NOBODY: &str = "e30:1xUUyo:60uLIs33WEGfVky3KTdxDB-vVvjmxHQZ3XD0msKYV0E";
/// Not JSON.
const PICKLED: &str = "gASVGgAAAAAAAAB9lIwNX2F1dGhfdXNlcl9pZJSMATGUcy4=";

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";

fn key(number: u32) -> String {
    format!("k{number:049}")
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The application's database, on the same server as the gateway's store or in a file beside it.
struct App<'a> {
    site: &'a Site,
    url: String,
}

impl<'a> App<'a> {
    fn new(site: &'a Site) -> Self {
        let url = if site.on_postgres() {
            site.store.clone()
        } else {
            format!("sqlite:{}", site.gateway.directory.path().join("app.db").display())
        };
        let app = Self { site, url };
        let (uuid, bool, time, ip, serial) = if site.on_postgres() {
            ("uuid", "boolean", "timestamp with time zone", "inet", "integer")
        } else {
            ("char(32)", "bool", "datetime", "char(39)", "integer")
        };
        app.execute(&format!(
            r#"
            CREATE TABLE "auth_user" ("id" {serial} NOT NULL PRIMARY KEY, "password" varchar(128) NOT NULL,
                "last_login" {time} NULL, "is_superuser" {bool} NOT NULL, "username" varchar(150) NOT NULL UNIQUE,
                "last_name" varchar(150) NOT NULL, "email" varchar(254) NOT NULL, "is_staff" {bool} NOT NULL,
                "is_active" {bool} NOT NULL, "date_joined" {time} NOT NULL, "first_name" varchar(150) NOT NULL);
            CREATE TABLE "user_session" ("id" {uuid} NOT NULL PRIMARY KEY, "key" varchar(64) NOT NULL UNIQUE,
                "expire_at" {time} NULL, "is_active" {bool} NOT NULL, "last_online" {time} NOT NULL, "last_ip" {ip} NOT NULL,
                "user_agent" text NOT NULL, "detail" text NULL, "created_at" {time} NOT NULL,
                "user_id" integer NOT NULL REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED);
            CREATE TABLE "django_session" ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL,
                "expire_date" {time} NOT NULL);
            "#
        ));
        for (id, name, password, active) in [(1, "ann", ANN, true), (2, "bob", BOB, true), (3, "cyd", BOB, false)] {
            app.execute(&format!(
                "INSERT INTO auth_user VALUES ({id}, '{password}', NULL, false, '{name}', '', '', false, {active}, {}, '')",
                app.hours(-1000)
            ));
        }
        app
    }

    fn execute(&self, sql: &str) {
        if self.site.on_postgres() {
            self.site.execute_in("public", sql);
        } else {
            rusqlite::Connection::open(self.url.strip_prefix("sqlite:").unwrap()).unwrap().execute_batch(sql).unwrap();
        }
    }

    /// So many hours from now, as Django writes a time.
    fn hours(&self, hours: i32) -> String {
        if self.site.on_postgres() {
            format!("now() + interval '{hours} hours'")
        } else {
            format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '{hours} hours') || '123'")
        }
    }

    fn nilva(&self, number: u32, user: u32, expires: &str, active: bool, detail: &str) {
        self.execute(&self.nilva_row(number, user, expires, active, detail));
    }

    fn nilva_row(&self, number: u32, user: u32, expires: &str, active: bool, detail: &str) -> String {
        let id = if self.site.on_postgres() { id(number) } else { id(number).replace('-', "") };
        format!(
            "INSERT INTO user_session VALUES ('{id}', '{}', {expires}, {active}, {}, '192.0.2.7', '{AGENT}', {detail}, {}, \
             {user});",
            key(number),
            self.hours(-1),
            self.hours(-50),
        )
    }

    fn django(&self, key: &str, data: &str, hours: i32) {
        self.execute(&format!("INSERT INTO django_session VALUES ('{key}', '{data}', {})", self.hours(hours)));
    }

    fn import(&self, arguments: &[&str]) -> Value {
        self.site.json(0, &[&["import", arguments[0], "--from", &self.url], &arguments[1..]].concat())
    }

    fn import_django(&self, more: &[&str]) -> Value {
        let secret = self.site.gateway.directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let secret = format!("file:{}", secret.display());
        self.import(&[&["django", "--secret-key", &secret], more].concat())
    }

    /// A request with a token the way that clients of nilva-session bring it.
    fn get(&self, number: u32, target: &str, agent: &str) -> Response {
        self.site.gateway.get(target, &format!("User-Agent: {agent}\r\nAuthorization: Token {}\r\n", key(number)))
    }
}

fn cookie(site: &Site, key: &str) -> Response {
    site.gateway.get("/_sessions/current", &format!("Cookie: sessionid={key}\r\n"))
}

fn counts(answer: &Value) -> Vec<(&str, u64)> {
    let counts = answer.as_object().unwrap().iter().filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?)));
    counts.filter(|(_, count)| *count > 0).collect()
}

both! {
    fn a_token_of_nilva_session_goes_on_working_for_the_same_session(site) {
        let app = App::new(&site);
        app.nilva(1, 1, &app.hours(24), true, "NULL");
        assert_eq!(app.get(1, "/", AGENT).json()["code"], "unknown_token");
        assert_eq!(counts(&app.import(&["nilva"])), [("read", 1), ("created", 1)]);

        crate::support::wait_until("the token is known", || app.get(1, "/", AGENT).status == 200);
        assert_eq!(site.upstream.last().header("x-auth-user"), Some("1"));
        let current = app.get(1, "/_sessions/current", AGENT).json();
        assert_eq!((&current["id"], &current["user"], &current["user_agent"]), (&json!(id(1)), &json!("1"), &json!(AGENT)));
        let shown = site.json(0, &["explain", "GET", "/", "--token", &key(1)])["session"].clone();
        assert_eq!((&shown["bound_ip"], &shown["device"]["browser"]), (&Value::Null, &json!("Firefox")), "{shown}");
        for (time, hours) in [("created_at", -50), ("expires_at", 24), ("last_seen_at", -1)] {
            let given: jiff::Timestamp = shown[time].as_str().unwrap().parse().unwrap();
            let off = given.duration_since(jiff::Timestamp::now()).as_secs_f64() - f64::from(hours) * 3600.0;
            assert!(off.abs() < 60.0, "{time}: {shown}");
        }
        assert_eq!(app.get(1, "/", "thief/1.0").json()["code"], "session_suspended");
    }

    fn what_nilva_session_refused_stays_refused(site) {
        let app = App::new(&site);
        app.nilva(1, 1, "NULL", true, "NULL");
        app.nilva(2, 1, &app.hours(-1), true, "NULL");
        app.nilva(3, 1, &app.hours(24), false, "'User suspended; because user agent changed!'");
        app.nilva(4, 1, &app.hours(24), false, "NULL");
        app.nilva(5, 1, &app.hours(24), false, "'seen in Ruritania'");
        app.nilva(6, 3, &app.hours(24), true, "NULL");
        let told = app.import(&["nilva"]);
        assert_eq!(counts(&told), [("read", 6), ("created", 4), ("expired", 1), ("user_disabled", 1)]);
        for (number, code, reason) in [
            (2, "unknown_token", None),
            (3, "session_suspended", Some("user_agent_changed")),
            (4, "session_revoked", Some("logged_out")),
            (5, "session_suspended", Some("suspended_by_admin")),
            (6, "unknown_token", None),
        ] {
            let answer = app.get(number, "/", AGENT).json();
            assert_eq!((answer["code"].as_str(), answer["reason"].as_str()), (Some(code), reason), "{number}");
        }
        assert_eq!(app.get(1, "/", AGENT).status, 200, "one without an end");
    }

    fn a_second_import_changes_nothing_and_a_dry_one_nothing_at_all(site) {
        let app = App::new(&site);
        let now = app.hours(24);
        for number in 1..=3 {
            app.nilva(number, 1, &now, true, "NULL");
        }
        app.nilva(4, 1, &app.hours(24), false, "NULL");
        let empty = site.rows();
        assert_eq!(counts(&app.import(&["nilva", "--dry-run"])), [("read", 4), ("created", 4)]);
        assert_eq!(site.rows(), empty);
        assert_eq!(counts(&app.import(&["nilva"])), [("read", 4), ("created", 4)]);
        assert_eq!(app.get(2, "/_sessions/current", AGENT).status, 200);
        let headers = format!("User-Agent: {AGENT}\r\nAuthorization: Token {}\r\n", key(3));
        assert_eq!(site.gateway.request("DELETE", "/_sessions/current", &headers, b"").status, 204);

        let before = site.rows();
        assert_eq!(counts(&app.import(&["nilva"])), [("read", 4), ("exists", 4)]);
        assert_eq!(counts(&app.import(&["nilva", "--dry-run"])), [("read", 4), ("exists", 4)]);
        assert_eq!(site.rows(), before, "what has ended here meanwhile does not come back");
        let whole = before.join("\n");
        for number in 1..=4 {
            assert!(!whole.contains(&key(number)), "a token in clear");
        }
    }

    fn a_user_who_is_disabled_here_gets_no_session(site) {
        let app = App::new(&site);
        app.nilva(1, 1, "NULL", true, "NULL");
        app.nilva(2, 2, "NULL", true, "NULL");
        site.execute("INSERT INTO users (id, enabled) VALUES ('bob', false)");
        let told = app.import(&["nilva", "--user-column", "username"]);
        assert_eq!(counts(&told), [("read", 2), ("created", 1), ("user_disabled", 1)]);
        site.execute("UPDATE users SET enabled = true WHERE id = 'bob'");
        assert_eq!(app.get(2, "/", AGENT).json()["code"], "unknown_token");
        assert_eq!(app.get(1, "/", AGENT).status, 200);
        assert_eq!(site.upstream.last().header("x-auth-user"), Some("ann"), "users are known by the column asked for");
    }

    fn more_than_one_batch_is_taken_over_and_each_session_has_its_event(site) {
        let app = App::new(&site);
        let rows = (1..=1203).map(|number| app.nilva_row(number, 1 + number % 2, "NULL", true, "NULL"));
        app.execute(&format!("BEGIN; {} COMMIT", rows.collect::<String>()));
        assert_eq!(counts(&app.import(&["nilva"])), [("read", 1203), ("created", 1203)]);
        assert_eq!(app.get(1203, "/", AGENT).status, 200);
        let rows = site.rows();
        let events = rows.iter().filter(|row| row.contains("imported_from") && row.contains("operator"));
        assert_eq!(events.count(), 1203);
    }

    fn a_session_of_django_goes_on_with_its_cookie(site) {
        let app = App::new(&site);
        let keys: Vec<String> = (0..8).map(|number| format!("{number:032}")).collect();
        app.django(&keys[0], OF_ANN, 24);
        app.django(&keys[1], OF_BOB, 24);
        app.django(&keys[2], OF_NOBODY, 24);
        app.django(&keys[3], OF_ANN, -1);
        app.django(&keys[4], OLD_OF_ANN, 24);
        app.django(&keys[5], PICKLED, 24);
        app.django(&keys[6], &OF_ANN.replacen("eJx", "eJy", 1), 24);
        let told = app.import_django(&["--user-column", "username"]);
        assert_eq!(
            counts(&told),
            [("read", 7), ("created", 3), ("expired", 1), ("anonymous", 1), ("refused", 1), ("unreadable", 1)]
        );
        for (number, user) in [(0, "ann"), (1, "bob"), (4, "ann")] {
            assert_eq!(cookie(&site, &keys[number]).json()["user"], user);
        }
        for number in [2, 3, 5, 6, 7] {
            assert_eq!(cookie(&site, &keys[number]).json()["code"], "unknown_token", "{number}");
        }
        let before = site.rows();
        assert_eq!(app.import_django(&["--user-column", "username"])["exists"], 3);
        assert_eq!(site.rows(), before);
        assert!(keys.iter().all(|key| !before.join("\n").contains(key)));
    }

    fn a_session_of_django_that_a_changed_password_or_a_disabled_user_has_ended_stays_ended(site) {
        let app = App::new(&site);
        let keys: Vec<String> = (0..2).map(|number| format!("{number:032}")).collect();
        app.django(&keys[0], OF_ANN, 24);
        app.django(&keys[1], OF_BOB, 24);
        app.execute(&format!("UPDATE auth_user SET password = '{BOB}' WHERE username = 'ann'"));
        app.execute("UPDATE auth_user SET is_active = false WHERE username = 'bob'");
        assert_eq!(counts(&app.import_django(&[])), [("read", 2), ("user_disabled", 1), ("logged_out", 1)]);
        // Who says that nothing shall be verified gets what is there.
        assert_eq!(counts(&app.import(&["django", "--unverified"])), [("read", 2), ("created", 1), ("user_disabled", 1)]);
        assert_eq!(cookie(&site, &keys[0]).json()["user"], "1");
    }

    fn a_link_of_django_single_session_says_whose_an_unreadable_session_is(site) {
        let app = App::new(&site);
        app.execute(
            r#"CREATE TABLE "single_session_usersession" ("session_id" varchar(40) NOT NULL PRIMARY KEY
               REFERENCES "django_session" ("session_key") DEFERRABLE INITIALLY DEFERRED, "user_id" integer NOT NULL
               REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED)"#,
        );
        let key = "p".repeat(32);
        app.django(&key, PICKLED, 24);
        app.execute(&format!("INSERT INTO single_session_usersession VALUES ('{key}', 2)"));
        assert_eq!(counts(&app.import_django(&[])), [("read", 1), ("unreadable", 1)], "it cannot be verified");
        assert_eq!(counts(&app.import(&["django", "--unverified"])), [("read", 1), ("created", 1)]);
        assert_eq!(cookie(&site, &key).json()["user"], "2");
    }

    fn an_idle_time_does_not_end_what_is_said_to_be_in_use(site) {
        let app = App::new(&site);
        app.nilva(1, 1, "NULL", true, "NULL");
        app.import(&["nilva", "--as-seen-now"]);
        let shown = site.json(0, &["explain", "GET", "/", "--token", &key(1)])["session"].clone();
        let seen: jiff::Timestamp = shown["last_seen_at"].as_str().unwrap().parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(seen).as_secs() < 60, "{shown}");
    }

    fn a_column_that_the_table_of_users_does_not_have_stops_the_import(site) {
        let app = App::new(&site);
        app.nilva(1, 1, "NULL", true, "NULL");
        app.django(&"k".repeat(32), OF_ANN, 24);
        let before = site.rows();
        let of_nilva = site.run(&["import", "nilva", "--from", &app.url, "--user-column", "usrname"]);
        let of_django = site.run(&["import", "django", "--from", &app.url, "--unverified", "--user-column", "usrname"]);
        for ran in [of_nilva, of_django] {
            assert_eq!((ran.status, ran.stderr.contains("usrname")), (75, true), "{ran:?}");
        }
        assert_eq!(site.rows(), before);
    }

    fn people_read_what_became_of_the_rows(site) {
        let app = App::new(&site);
        app.nilva(1, 1, "NULL", true, "NULL");
        app.nilva(2, 1, &app.hours(-1), true, "NULL");
        let ran = site.run(&["import", "nilva", "--from", &app.url]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert_eq!(ran.stdout, "rows read  2\ncreated    1\nexpired    1\n");
    }
}

#[test]
fn a_database_that_cannot_be_meant_or_read_is_told_without_its_password() {
    let site = Site::sqlite(SETTINGS);
    let run = |from: &str| site.run(&["import", "nilva", "--from", from]);
    let told = |ran: &Ran, status: i32, words: &str| {
        assert_eq!((ran.status, ran.stderr.contains(words)), (status, true), "{ran:?}");
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    };
    told(&run(&site.store), 1, "no table user_session");
    told(&run("mysql://ann:hunter2@127.0.0.1/x"), 2, "--from: must be sqlite:PATH or postgres://");
    told(&run("postgres://ann:hunter2@127.0.0.1:port/x"), 2, "--from: ");
    told(&run("postgres://ann:hunter2@127.0.0.1:1/x"), 75, "cannot be read");
    told(&run("sqlite:/nonexistent/app.db"), 75, "cannot be read");
    told(&run("env:NO_SUCH_VARIABLE"), 2, "NO_SUCH_VARIABLE");
    let ran = site.run(&["import", "django", "--from", &site.store]);
    told(&ran, 2, "--secret-key");
    let ran = site.run(&["import", "django", "--from", &site.store, "--secret-key", "hunter2"]);
    told(&ran, 2, "--secret-key: say where it is");
}

#[test]
fn an_id_that_is_none_is_counted_and_the_import_comes_to_its_end() {
    let site = Site::sqlite(SETTINGS);
    let app = App::new(&site);
    let row = app.nilva_row(1, 1, "NULL", true, "NULL");
    for (number, id) in [(2, "-"), (3, "zz-"), (4, "0")] {
        let row = row.replace(&id_of(1), id).replace(&key(1), &key(number));
        app.execute(&row);
    }
    app.execute(&row);
    assert_eq!(counts(&app.import(&["nilva"])), [("read", 4), ("created", 1), ("unreadable", 3)]);
    app.execute(&row.replace(&format!("'{}'", id_of(1)), "x'00'").replace(&key(1), &key(5)));
    let ran = site.run(&["import", "nilva", "--from", &app.url]);
    assert!(ran.status == 1 && ran.stderr.contains("user_session has rows whose key is no text"), "{ran:?}");
}

/// An id as Django keeps it in SQLite.
fn id_of(number: u32) -> String {
    id(number).replace('-', "")
}
