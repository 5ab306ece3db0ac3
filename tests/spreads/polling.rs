//! Where LISTEN does not work: the audit log is read every so often.

use super::{Fleet, cache, heard, login, refusal, told};
use crate::support::wait_until;

const POLL: &str = "[cache]\nttl = \"10m\"\n[store]\nnotify = \"poll\"\npoll_interval = \"100ms\"\n";

#[test]
fn what_another_gateway_changes_is_read_from_the_audit_log() {
    let fleet = Fleet::start(2, POLL);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = login(here, "ann");
    cache(there, &session);
    told(there, || assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204));
    assert_eq!(refusal(there, &session), "session_revoked");
}

#[test]
fn an_event_about_a_user_concerns_all_sessions_of_the_user() {
    let fleet = Fleet::start(1, POLL);
    let gateway = &fleet.gateways[0];
    let sessions = [login(gateway, "ann"), login(gateway, "ann")];
    sessions.iter().for_each(|session| cache(gateway, session));
    // As one statement, so that the log and the change are one transaction.
    told(gateway, || {
        drop(fleet.run(
            "WITH off AS (UPDATE users SET enabled = false WHERE id = 'ann' RETURNING id) \
             INSERT INTO events (at, kind, user_id, actor) SELECT now(), 'user_changed', id, 'operator' FROM off",
        ));
    });
    for session in &sessions {
        assert_eq!(refusal(gateway, session), "user_disabled");
    }
}

#[test]
fn a_change_that_is_committed_after_a_later_one_is_not_missed() {
    let fleet = Fleet::start(1, POLL);
    let gateway = &fleet.gateways[0];
    let (early, late) = (login(gateway, "ann"), login(gateway, "bob"));
    cache(gateway, &early);
    cache(gateway, &late);
    let end = |id: &str| {
        format!(
            "UPDATE sessions SET state = 'ended', state_reason = 'revoked', ended_at = now(), ended_by = 'x' WHERE id = '{id}'; \
             INSERT INTO events (at, kind, session_id, actor) VALUES (now(), 'session_ended', '{id}', 'x')"
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let open = runtime.block_on(fleet.database.connect());
    runtime.block_on(open.batch_execute(&format!("BEGIN; {}", end(&early.id)))).unwrap();
    told(gateway, || drop(fleet.run(&end(&late.id))));
    assert_eq!(refusal(gateway, &late), "session_revoked");
    cache(gateway, &early);
    let before = heard(gateway);
    runtime.block_on(open.batch_execute("COMMIT")).unwrap();
    wait_until("it is heard of", || heard(gateway) > before);
    assert_eq!(refusal(gateway, &early), "session_revoked");
}

#[test]
fn a_polling_gateway_neither_listens_nor_notifies() {
    let fleet = Fleet::start(1, POLL);
    let gateway = &fleet.gateways[0];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(async {
        let url = fleet.database.url();
        let (client, mut wire) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let (told, mut heard) = tokio::sync::mpsc::channel(100);
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| wire.poll_message(context)).await {
                if let tokio_postgres::AsyncMessage::Notification(notification) = message {
                    told.try_send(notification.payload().to_owned()).unwrap();
                }
            }
        });
        client.batch_execute("LISTEN session_gateway").await.unwrap();
        let session = login(gateway, "ann");
        assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
        client.batch_execute("SELECT pg_notify('session_gateway', 'the last')").await.unwrap();
        heard.recv().await
    });
    assert_eq!(told.as_deref(), Some("the last"));
    let listeners =
        "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%listen' AND datname = current_database()";
    assert_eq!(fleet.database.run(listeners).len(), 0);
}
