//! How a gateway starts whose store is away, or that others share with it.

use std::thread;

use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::link::Link;
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{UNKNOWN, assert_unavailable};

#[test]
fn a_gateway_whose_store_is_away_starts_answers_503_and_comes_up_by_itself() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let link = Link::to(database.port);
    link.cut();
    let url = database.url_at("127.0.0.1", link.address.port());
    let public = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/public/\"\nauth = \"off\"\n";
    let gateway = Gateway::start_unready(TempDir::new().unwrap(), &upstream.url(), &url, public);

    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_unavailable(&gateway.issue(&serde_json::json!({ "user": "ann" })));
    assert_unavailable(&gateway.delete_as(UNKNOWN, "/_sessions/current"));
    assert_eq!(gateway.ops_get("/readyz").status, 503);
    assert_eq!(gateway.ops_get("/livez").status, 200, "a restart would not help");
    assert_eq!(gateway.metric("gateway_store_up"), 0.0);
    assert_eq!(gateway.get("/", "").code(), "missing_token", "without a token there is nothing to ask");
    assert_eq!(upstream.received().len(), 0, "nothing reached the application");
    assert_eq!(gateway.get("/public/logo", "").status, 200, "what needs no session needs no store");

    link.mend();
    wait_until("the store is up", || gateway.ops_get("/readyz").status == 200);

    assert_eq!(gateway.metric("gateway_store_up"), 1.0);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
}

#[test]
fn a_gateway_whose_database_file_cannot_be_made_comes_up_when_it_can() {
    let (upstream, directory) = (Upstream::hello(), TempDir::new().unwrap());
    let folder = directory.path().join("data");
    let store = format!("sqlite:{}", folder.join("sessions.db").display());
    let gateway = Gateway::start_unready(directory, &upstream.url(), &store, "");

    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_eq!(gateway.ops_get("/readyz").status, 503);

    std::fs::create_dir(&folder).unwrap();
    wait_until("the store is up", || gateway.ops_get("/readyz").status == 200);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
}

#[test]
fn gateways_that_start_together_on_an_empty_database_migrate_it_once() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateways: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> =
            (0..3).map(|_| scope.spawn(|| Gateway::start_on(&database.url(), &upstream.url(), ""))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(database.run("SELECT count(*) FROM schema_version"), [Some("1".to_owned())]);
    let session = gateways[0].login("ann");
    for gateway in &gateways {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
}
