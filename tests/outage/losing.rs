//! What goes on, and for how long, when the store is lost.

use std::time::Duration;

use crate::support::{now, wait_until};
use crate::{Behind, UNKNOWN, assert_unavailable};

#[test]
fn cached_sessions_go_on_for_a_while_when_the_store_is_lost_and_nothing_else_does() {
    let behind = Behind::start("[cache]\nttl = \"100ms\"\nserve_while_store_down = \"3s\"");
    let gateway = &behind.gateway;
    let (cached, uncached) = (gateway.login("ann"), gateway.login("bob"));
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
    let confirmed = now();

    behind.cut();

    // Long after the ttl, and within what the settings allow.
    wait_until("a second", || {
        assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
        confirmed.elapsed() > Duration::from_secs(1)
    });
    assert!(gateway.metric("gateway_session_lookups_total{result=\"stale\"}") > 0.0);
    assert_unavailable(&gateway.get_as(&uncached.token, "/"));
    assert_unavailable(&gateway.get_as(UNKNOWN, "/"));
    assert_unavailable(&gateway.issue(&serde_json::json!({ "user": "ann" })));
    for target in ["/_sessions/current", "/_sessions?all=true", &format!("/_sessions/{}", cached.id)] {
        assert_unavailable(&gateway.delete_as(&cached.token, target));
    }
    wait_until("the time is over", || gateway.get_as(&cached.token, "/").status == 503);
    assert!(confirmed.elapsed() >= Duration::from_millis(2_900), "{:?}", confirmed.elapsed());
    assert_unavailable(&gateway.get_as(&cached.token, "/"));

    behind.mend();
    for session in [&cached, &uncached] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200, "it needed no restart, and nothing was ended");
    }
    assert!(behind.upstream.received().len() > 2);
}

#[test]
fn with_0_nothing_is_served_beyond_its_ttl() {
    let behind = Behind::start("[cache]\nttl = \"800ms\"\nserve_while_store_down = \"0\"");
    let gateway = &behind.gateway;
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    let confirmed = now();
    behind.link.cut();

    wait_until("refused", || gateway.get_as(&session.token, "/").status == 503);

    let served = confirmed.elapsed();
    assert!(served < Duration::from_millis(1_300), "{served:?}");
    assert_eq!(gateway.metric("gateway_session_lookups_total{result=\"stale\"}"), 0.0);
}
