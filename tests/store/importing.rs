//! Taking over sessions that began elsewhere.

use session_gateway::session::{Actor, EndReason, Principal, SessionId, State, SuspendReason};
use session_gateway::store::{Imported, ImportedSession};
use session_gateway::token::Token;

use crate::fixture::*;

fn session(user: &str, state: State) -> ImportedSession {
    ImportedSession {
        id: SessionId::generate().unwrap(),
        digest: Token::generate(32).unwrap().digest(),
        principal: Principal::of(self::user(user)),
        state,
        created_at: at(0),
        expires_at: Some(at(900)),
        last_seen_at: at(50),
        last_ip: Some(ip("192.0.2.9")),
        user_agent: Some(UA.to_owned()),
        origin: "nilva",
        actor: Actor::Operator,
        now: at(100),
    }
}

both! {
    async fn an_imported_session_is_as_it_was(fixture) {
        let new = session("ann", State::Active);
        assert_eq!(fixture.store.import(vec![new.clone()]).await.unwrap(), [Imported::Created]);
        let found = fixture.store.find(&new.digest).await.unwrap().unwrap();
        let record = found.record;
        assert!(found.retired.is_none());
        assert_eq!((record.id, record.principal, record.state), (new.id, new.principal, State::Active));
        assert_eq!((record.created_at, record.expires_at, record.last_seen_at), (at(0), Some(at(900)), at(50)));
        assert_eq!((record.last_ip, record.bound_ip), (Some(ip("192.0.2.9")), None));
        assert_eq!(record.user_agent.as_deref(), Some(UA));
        assert_eq!(record.device.unwrap().browser, "Firefox");
        assert_eq!(fixture.events("session_created").await, ["ann operator {\"imported_from\":\"nilva\"}"]);
    }

    async fn what_was_suspended_or_over_is_imported_as_that(fixture) {
        let states = [State::Suspended(SuspendReason::UserAgentChanged), State::Ended(EndReason::LoggedOut)];
        let new: Vec<_> = states.map(|state| session("ann", state)).into();
        assert_eq!(fixture.store.import(new.clone()).await.unwrap(), [Imported::Created; 2]);
        for (new, state) in new.iter().zip(states) {
            assert_eq!(fixture.state(new.id).await, state);
        }
        let ended = fixture.get(new[1].id).await;
        assert_eq!((ended.ended_at, ended.ended_by.as_deref()), (Some(at(50)), Some("operator")));
    }

    async fn a_session_that_is_there_is_left_alone_by_its_id_and_by_its_token(fixture) {
        let new = session("ann", State::Active);
        let same_token = ImportedSession { id: SessionId::generate().unwrap(), ..new.clone() };
        // Also within one call.
        let became = fixture.store.import(vec![new.clone(), new.clone(), same_token.clone()]).await.unwrap();
        assert_eq!(became, [Imported::Created, Imported::Exists, Imported::Exists]);
        fixture.end(session_gateway::store::Which::One(new.id), EndReason::Revoked, None).await;
        let of_bob = ImportedSession { principal: Principal::of(user("bob")), ..new.clone() };
        assert_eq!(fixture.store.import(vec![of_bob, same_token]).await.unwrap(), [Imported::Exists; 2]);
        assert_eq!(fixture.state(new.id).await, State::Ended(EndReason::Revoked));
        assert_eq!(fixture.get(new.id).await.principal.user, user("ann"));
        assert_eq!(fixture.events("session_created").await.len(), 1);
    }

    async fn a_disabled_user_gets_none_and_the_others_of_the_batch_do(fixture) {
        fixture.execute("INSERT INTO users (id, enabled) VALUES ('bob', false)").await.unwrap();
        let batch = vec![session("ann", State::Active), session("bob", State::Active), session("ann", State::Active)];
        let became = fixture.store.import(batch.clone()).await.unwrap();
        assert_eq!(became, [Imported::Created, Imported::UserDisabled, Imported::Created]);
        assert!(fixture.store.get(batch[1].id).await.unwrap().is_none());
        assert_eq!(fixture.live("ann", at(200)).await.len(), 2);
    }

    async fn a_large_batch_is_taken_over_in_its_order(fixture) {
        let batch: Vec<_> = (0..500).map(|number| session(&format!("user{}", number % 7), State::Active)).collect();
        let mut again = batch.clone();
        assert_eq!(fixture.store.import(batch).await.unwrap(), vec![Imported::Created; 500]);
        again[250] = session("new", State::Active);
        let became = fixture.store.import(again).await.unwrap();
        assert_eq!(became.iter().position(|became| *became == Imported::Created), Some(250));
        assert_eq!(became.iter().filter(|became| **became == Imported::Exists).count(), 499);
    }
}
