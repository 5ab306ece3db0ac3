//! One gateway on an SQLite file: alone among gateways, and not alone with the command line.

use std::time::Duration;

use super::{LONG, cache, heard, login, refusal};
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::program::{Program, command, run};
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};
use session_gateway::session::{Actor, EndReason, SessionId};
use session_gateway::store::{Ending, Settings, SqliteSettings, Store, Which};
use tempfile::TempDir;

#[test]
fn a_second_gateway_on_a_file_is_refused_at_its_start() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("gateway.toml"), "[[upstream]]\nurl = \"http://127.0.0.1:9\"\n").unwrap();
    let serve = || {
        let mut command = command(directory.path());
        command.args(["serve", "--store", "sqlite:sessions.db"]);
        command
    };
    let first = Program::start_ready(&mut serve());
    let mut second = serve();
    second.env("GATEWAY_SERVER__LISTEN", "127.0.0.1:0").env("GATEWAY_SERVER__OPS_LISTEN", "127.0.0.1:0");
    let ran = run(&mut second);
    assert_eq!(ran.status, 75, "{ran:?}");
    for part in ["sessions.db", "in use by another gateway", "stop that one", "store.url", "PostgreSQL"] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    assert_eq!(first.ops_get("/readyz").text(), "ok\n", "the first one goes on");
    let (status, _) = first.stop();
    assert!(status.success());
    let third = Program::start_ready(&mut serve());
    assert_eq!(third.ops_get("/readyz").status, 200, "the file is free again");
}

/// What a process of its own does with the file.
fn end_beside(gateway: &Gateway, id: &str) {
    let path = gateway.directory.path().join("sessions.db");
    let settings = Settings::Sqlite(SqliteSettings { path, exclusive: false, timeout: Duration::from_secs(5) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let id = SessionId::parse(id).unwrap();
        let actor = Actor::User(session_gateway::session::UserId::parse("operator").unwrap());
        let ending =
            Ending { reason: EndReason::Revoked, current: None, actor: &actor, now: session_gateway::clock::wall() };
        assert_eq!(Store::open(&settings).unwrap().end(Which::One(id), ending).await.unwrap().len(), 1);
    });
}

#[test]
fn what_another_process_ends_in_the_file_is_refused_within_about_a_second() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), LONG);
    let (ended, by_hand, kept) = (login(&gateway, "ann"), login(&gateway, "ann"), login(&gateway, "bob"));
    for session in [&ended, &by_hand, &kept] {
        cache(&gateway, session);
    }
    end_beside(&gateway, &ended.id);
    let began = now();
    wait_until("it is refused", || refusal(&gateway, &ended) == "session_revoked");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

    Database::of(&gateway).execute(
        "UPDATE sessions SET state = 'ended', state_reason = 'revoked', ended_at = 1, ended_by = 'x' \
         WHERE lower(hex(id)) = ?1",
        [by_hand.id.replace('-', "")],
    );
    wait_until("it is refused", || refusal(&gateway, &by_hand) == "session_revoked");
    cache(&gateway, &kept);
}

#[test]
fn what_the_gateway_itself_writes_into_the_file_is_no_news() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("{LONG}[store]\npoll_interval = \"100ms\"\n"));
    let kept = login(&gateway, "ann");
    cache(&gateway, &kept);
    let finds = gateway.store_finds();
    let began = now();
    while began.elapsed() < Duration::from_millis(600) {
        let session = login(&gateway, "bob");
        assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
        cache(&gateway, &kept);
    }
    assert_eq!(heard(&gateway), 0.0);
    let before = gateway.store_finds();
    cache(&gateway, &kept);
    assert_eq!(gateway.store_finds(), before);
    assert!(before > finds);
}
