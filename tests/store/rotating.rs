//! Rotation: the old token, the new one, and a reuse of the old one.

use std::time::Duration;

use session_gateway::clock::Timestamp;
use session_gateway::session::{Actor, EndReason, SessionId, State};
use session_gateway::store::{Offender, Rotated, Rotation, Which};
use session_gateway::token::{Digest, Token};

use crate::fixture::{Fixture, at, ip, new_with_token, user};

const GRACE: Duration = Duration::from_secs(30);

fn rotation(id: SessionId, from: Digest, to: Digest, now: Timestamp) -> Rotation {
    Rotation { id, from, to, grace: GRACE, actor: Actor::User(user("ann")), now }
}

/// A session of ann, rotated at second 100: its id, the old and the new token's digest.
async fn rotated(fixture: &Fixture) -> (SessionId, Digest, Digest) {
    let (new, old) = new_with_token("ann", at(0));
    let id = fixture.create(new).await.0;
    let next = Token::generate(32).unwrap().digest();
    let done = fixture.store.rotate(rotation(id, old.digest(), next, at(100))).await.unwrap();
    assert_eq!(done, Rotated::Done);
    (id, old.digest(), next)
}

fn thief() -> Offender<'static> {
    Offender { ip: ip("203.0.113.9"), user_agent: "thief/1.0" }
}

both! {
    async fn a_rotated_session_is_found_by_both_tokens_and_the_old_one_says_until_when(fixture) {
        let (id, old, next) = rotated(&fixture).await;
        let by_next = fixture.store.find(&next).await.unwrap().unwrap();
        assert_eq!((by_next.record.id, by_next.retired), (id, None));
        let by_old = fixture.store.find(&old).await.unwrap().unwrap();
        assert_eq!((by_old.record.id, by_old.retired), (id, Some(at(130))));
        assert!(by_old.record.digest == next);
        assert_eq!(fixture.events("session_rotated").await, ["ann user:ann {}"]);
    }

    async fn an_old_token_does_not_rotate_again(fixture) {
        let (id, old, next) = rotated(&fixture).await;
        let third = Token::generate(32).unwrap().digest();
        let again = fixture.store.rotate(rotation(id, old, third, at(101))).await.unwrap();
        assert_eq!(again, Rotated::Already);
        assert!(fixture.store.find(&third).await.unwrap().is_none());
        assert_eq!(fixture.store.rotate(rotation(id, next, third, at(102))).await.unwrap(), Rotated::Done);
        assert_eq!(fixture.store.find(&next).await.unwrap().unwrap().retired, Some(at(132)));
    }

    async fn a_session_that_has_ended_is_not_rotated(fixture) {
        let (id, _, next) = rotated(&fixture).await;
        fixture.end(Which::One(id), EndReason::Revoked, None).await;
        let third = Token::generate(32).unwrap().digest();
        assert_eq!(fixture.store.rotate(rotation(id, next, third, at(600))).await.unwrap(), Rotated::Gone);
    }

    async fn of_twenty_rotations_at_once_one_is_done(fixture) {
        let (new, old) = new_with_token("ann", at(0));
        let id = fixture.create(new).await.0;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (store, from) = (fixture.store.clone(), old.digest());
                let to = Token::generate(32).unwrap().digest();
                tokio::spawn(async move { store.rotate(rotation(id, from, to, at(1))).await.unwrap() })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            match task.await.unwrap() {
                Rotated::Done => done += 1,
                other @ (Rotated::Already | Rotated::Gone) => assert_eq!(other, Rotated::Already),
            }
        }
        assert_eq!(done, 1);
        assert_eq!(fixture.rows("retired_tokens").await.len(), 1);
    }

    async fn a_reuse_within_the_grace_ends_nothing(fixture) {
        let (id, old, _) = rotated(&fixture).await;
        assert_eq!(fixture.store.end_reused(&old, thief(), at(129)).await.unwrap(), None);
        assert_eq!(fixture.state(id).await, State::Active);
    }

    async fn a_reuse_after_the_grace_ends_the_session_once_and_is_written_down(fixture) {
        let (id, old, next) = rotated(&fixture).await;
        let ended = fixture.store.end_reused(&old, thief(), at(130)).await.unwrap().unwrap();
        assert!(ended.id == id && ended.digest == next && ended.reason == Some(EndReason::TokenReused));
        assert_eq!(fixture.state(id).await, State::Ended(EndReason::TokenReused));
        assert_eq!(fixture.store.end_reused(&old, thief(), at(131)).await.unwrap(), None);
        let line = "ann policy {\"reason\":\"token_reused\"}";
        assert_eq!(fixture.events("session_ended").await, [line]);
        assert_eq!(fixture.events("token_reused").await.len(), 1);
        let rows = fixture.rows("events").await;
        let reuse: Vec<_> = rows.iter().filter(|row| row.contains("thief/1.0")).collect();
        assert!(reuse.len() == 1 && reuse[0].contains("203.0.113.9"), "{rows:?}");
    }
}
