//! A store that takes a question and does not answer.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::assert_unavailable;
use crate::support::gateway::{Gateway, bearer};
use crate::support::postgres::Cluster;
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};

#[test]
fn a_store_that_hangs_holds_up_misses_for_its_timeout_and_hits_not_at_all() {
    let cluster = Cluster::start(&[]);
    let database = cluster.fresh_database();
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1500ms\"\n[cache]\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let (cached, uncached) = (gateway.login("ann"), gateway.login("bob"));
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);

    cluster.signal("STOP");
    let slowest = thread::scope(|scope| {
        let miss = scope.spawn(|| {
            let began = now();
            assert_unavailable(&gateway.get_as(&uncached.token, "/"));
            began.elapsed()
        });
        let mut slowest = Duration::ZERO;
        let mut hits = 0;
        while !miss.is_finished() {
            let began = now();
            assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
            slowest = slowest.max(began.elapsed());
            hits += 1;
        }
        let miss = miss.join().unwrap();
        assert!((1_400..3_000).contains(&miss.as_millis()), "the miss took {miss:?}");
        assert!(hits > 20, "{hits}");
        slowest
    });
    assert!(slowest < Duration::from_millis(700), "a hit took {slowest:?}");
    // From here on the gateway knows, and makes nobody wait.
    let began = now();
    assert_unavailable(&gateway.get_as(&uncached.token, "/"));
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());

    cluster.signal("CONT");
    wait_until("the store is up again", || gateway.ops_get("/readyz").status == 200);
    assert_eq!(gateway.get_as(&uncached.token, "/").status, 200);
}

/// Every connection of the pool hangs at once, and more calls wait than there are connections.
#[test]
fn a_whole_pool_that_hangs_holds_nobody_up_for_longer_than_the_timeout_and_hits_not_at_all() {
    let cluster = Cluster::start(&[]);
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1500ms\"\npool_size = 3\n[cache]\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&cluster.fresh_database().url(), &upstream.url(), toml);
    let cached = gateway.login("ann");
    assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
    let uncached: Vec<_> = (0..12).map(|number| gateway.login(&format!("user-{number}"))).collect();
    let doomed = gateway.login("carl");

    cluster.signal("STOP");
    let barrier = Barrier::new(uncached.len() + 1);
    let slowest_hit = thread::scope(|scope| {
        let mut waiting: Vec<_> = uncached
            .iter()
            .map(|session| {
                let (barrier, gateway) = (&barrier, &gateway);
                scope.spawn(move || {
                    barrier.wait();
                    let began = now();
                    assert_unavailable(&gateway.get_as(&session.token, "/"));
                    began.elapsed()
                })
            })
            .collect();
        barrier.wait();
        waiting.push(scope.spawn(|| {
            let began = now();
            assert_unavailable(&gateway.delete_as(&doomed.token, "/_sessions/current"));
            began.elapsed()
        }));
        let mut slowest = Duration::ZERO;
        while waiting.iter().any(|call| !call.is_finished()) {
            let began = now();
            assert_eq!(gateway.get_as(&cached.token, "/").status, 200);
            slowest = slowest.max(began.elapsed());
        }
        for call in waiting {
            let took = call.join().unwrap();
            assert!(took < Duration::from_millis(3_000), "{took:?}");
        }
        slowest
    });
    assert!(slowest_hit < Duration::from_millis(700), "a hit took {slowest_hit:?}");

    cluster.signal("CONT");
    wait_until("the store is up again", || gateway.ops_get("/readyz").status == 200);
    for session in uncached.iter().chain([&doomed]) {
        wait_until("it needed no restart", || gateway.get_as(&session.token, "/").status == 200);
    }
}

/// A client with less patience than the store's timeout must not take its session's last known state with it.
#[test]
fn a_client_that_gives_up_while_the_store_hangs_does_not_lose_its_cached_session() {
    let cluster = Cluster::start(&[]);
    let database = cluster.fresh_database();
    let upstream = Upstream::hello();
    let toml = "[store]\ntimeout = \"1s\"\n[cache]\nttl = \"100ms\"\nserve_while_store_down = \"60s\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let session = gateway.login("ann");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    let used = now();
    wait_until("the ttl is over", || used.elapsed() > Duration::from_millis(150));

    cluster.signal("STOP");
    let finds = gateway.store_finds();
    let mut impatient = gateway.connect();
    impatient.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n",
        bearer(&session.token)
    ));
    // The next one waits for the same load; the first then goes away.
    thread::scope(|scope| {
        let patient = scope.spawn(|| gateway.get_as(&session.token, "/"));
        wait_until("both wait", || gateway.metric("gateway_connections_open") >= 2.0);
        impatient.close();
        assert_eq!(patient.join().unwrap().status, 200);
    });
    wait_until("the hanging call ended", || gateway.store_finds() > finds);
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    cluster.signal("CONT");
}
