//! Ending and suspending sessions.

use session_gateway::session::{Actor, EndReason, SessionId, State, SuspendReason};
use session_gateway::store::{Ending, Offender, OnExceed, Touch, Which};
use session_gateway::user_agent::{ClientHints, Device};

use crate::fixture::{Fixture, at, ids, ip, max, new, new_with_token, sorted, user};

both! {
    async fn one_session_ends_whoever_it_belongs_to(fixture) {
        let (new, token) = new_with_token("ann", at(0));
        let (id, other) = (fixture.create(new).await.0, fixture.session("ann", at(1)).await);
        let ended = fixture.end(Which::One(id), EndReason::EndedByAdmin, None).await;
        assert_eq!((ended[0].id, ended[0].digest, ended.len()), (id, token.digest(), 1));
        assert_eq!(ended[0].reason, Some(EndReason::EndedByAdmin));
        let record = fixture.store.find(&token.digest()).await.unwrap().unwrap().record;
        assert_eq!((record.state, record.ended_at), (State::Ended(EndReason::EndedByAdmin), Some(at(500))));
        assert_eq!(record.ended_by.as_deref(), Some("service:login"));
        assert_eq!(fixture.live("ann", at(2)).await, [other]);
        assert_eq!(fixture.events("session_ended").await, [r#"ann service:login {"reason":"ended_by_admin"}"#]);
    }

    async fn of_a_list_only_the_users_own_sessions_end(fixture) {
        let a = fixture.session("ann", at(0)).await;
        let b = fixture.session("ann", at(1)).await;
        let kept = fixture.session("ann", at(2)).await;
        let foreign = fixture.session("bob", at(3)).await;
        let unknown = SessionId::generate().unwrap();
        let ann = user("ann");
        let ended = fixture.end(Which::OwnedBy(&ann, &[a, foreign, unknown, b, a]), EndReason::Revoked, None).await;
        assert_eq!(ids(&ended), sorted(vec![a, b]));
        assert_eq!(fixture.state(foreign).await, State::Active);
        assert_eq!(fixture.state(kept).await, State::Active);
        assert!(fixture.end(Which::OwnedBy(&ann, &[]), EndReason::Revoked, None).await.is_empty());
        assert_eq!(fixture.events("session_ended").await.len(), 2);
    }

    async fn all_but_one_or_all_of_a_user_end(fixture) {
        let a = fixture.session("ann", at(0)).await;
        let b = fixture.session("ann", at(1)).await;
        let c = fixture.session("ann", at(2)).await;
        let foreign = fixture.session("bob", at(3)).await;
        let ann = user("ann");
        let ended = fixture.end(Which::AllBut(&ann, b), EndReason::PasswordChanged, Some(b)).await;
        assert_eq!(ids(&ended), sorted(vec![a, c]));
        assert!(ended.iter().all(|ended| ended.reason == Some(EndReason::PasswordChanged)));
        assert_eq!(fixture.live("ann", at(3)).await, [b]);
        assert_eq!(ids(&fixture.end(Which::AllOf(&ann), EndReason::Revoked, None).await), [b]);
        assert!(fixture.live("ann", at(3)).await.is_empty());
        assert_eq!(fixture.state(foreign).await, State::Active);
    }

    async fn the_current_session_is_logged_out_and_the_others_end_for_the_reason_given(fixture) {
        let current = fixture.session("ann", at(0)).await;
        let other = fixture.session("ann", at(1)).await;
        let ann = user("ann");
        let ended = fixture.end(Which::AllOf(&ann), EndReason::LoggedOutElsewhere, Some(current)).await;
        let reason_of = |id| ended.iter().find(|ended| ended.id == id).unwrap().reason;
        assert_eq!(reason_of(current), Some(EndReason::LoggedOut));
        assert_eq!(reason_of(other), Some(EndReason::LoggedOutElsewhere));
        assert_eq!(fixture.state(current).await, State::Ended(EndReason::LoggedOut));
        assert_eq!(fixture.state(other).await, State::Ended(EndReason::LoggedOutElsewhere));
        let mut events = fixture.events("session_ended").await;
        events.sort();
        assert_eq!(events, [
            r#"ann service:login {"reason":"logged_out"}"#,
            r#"ann service:login {"reason":"logged_out_elsewhere"}"#,
        ]);
    }

    async fn suspended_and_expired_sessions_end_too_and_ended_ones_not_again(fixture) {
        let suspended = fixture.session("ann", at(0)).await;
        let mut expired = new("ann", at(0));
        expired.expires_at = Some(at(1));
        let expired = fixture.create(expired).await.0;
        let gone = fixture.session("ann", at(0)).await;
        let reason = SuspendReason::SuspendedByAdmin;
        fixture.store.suspend(suspended, reason, &Actor::Operator, None, at(2)).await.unwrap();
        fixture.end(Which::One(gone), EndReason::Revoked, None).await;
        let ended = fixture.end(Which::AllOf(&user("ann")), EndReason::UserDisabled, None).await;
        assert_eq!(ids(&ended), sorted(vec![suspended, expired]));
        assert_eq!(fixture.state(gone).await, State::Ended(EndReason::Revoked));
        assert!(fixture.end(Which::One(gone), EndReason::EndedByAdmin, None).await.is_empty());
    }

    async fn of_many_callers_who_end_a_session_one_is_told_that_it_did(fixture) {
        for second in 0..5 {
            let id = fixture.session("ann", at(second)).await;
            let (ann, of_ann) = (user("ann"), [id]);
            let (a, b, c) = tokio::join!(
                fixture.end(Which::One(id), EndReason::Revoked, None),
                fixture.end(Which::AllOf(&ann), EndReason::PasswordChanged, None),
                fixture.end(Which::OwnedBy(&ann, &of_ann), EndReason::EndedByAdmin, None)
            );
            assert_eq!(a.len() + b.len() + c.len(), 1);
        }
        assert_eq!(fixture.events("session_ended").await.len(), 5);
    }

    async fn a_session_is_suspended_once_and_the_log_tells_of_the_offender(fixture) {
        let (new, token) = new_with_token("ann", at(0));
        let id = fixture.create(new).await.0;
        let offender = Offender { ip: ip("2001:db8::7"), user_agent: "curl/8\0" };
        let suspend = |reason| fixture.store.suspend(id, reason, &Actor::Policy, Some(offender), at(7));
        let suspended = suspend(SuspendReason::UserAgentChanged).await.unwrap().unwrap();
        assert_eq!((suspended.id, suspended.digest, suspended.reason), (id, token.digest(), None));
        assert_eq!(fixture.state(id).await, State::Suspended(SuspendReason::UserAgentChanged));
        assert!(suspend(SuspendReason::SuspendedByAdmin).await.unwrap().is_none());
        assert_eq!(fixture.state(id).await, State::Suspended(SuspendReason::UserAgentChanged));
        assert_eq!(fixture.events("session_suspended").await, [r#"ann policy {"reason":"user_agent_changed"}"#]);
        let log = fixture.rows("events").await.join("\n");
        assert!(log.contains("2001:db8::7") && log.contains("curl/8\u{fffd}"), "{log}");
        let unknown = SessionId::generate().unwrap();
        let reason = SuspendReason::SuspendedByAdmin;
        assert!(fixture.store.suspend(unknown, reason, &Actor::Policy, None, at(8)).await.unwrap().is_none());
    }

    async fn nothing_brings_an_ended_session_back(fixture) {
        let mut unbound = new("ann", at(0));
        (unbound.user_agent, unbound.ip) = (None, None);
        let id = fixture.create(unbound).await.0;
        fixture.end(Which::One(id), EndReason::Revoked, None).await;
        let before = fixture.rows("sessions").await;
        let reason = SuspendReason::SuspendedByAdmin;
        assert!(fixture.store.suspend(id, reason, &Actor::Operator, None, at(600)).await.unwrap().is_none());
        fixture.store.touch(&[Touch { id, at: at(600), ip: ip("::1") }]).await.unwrap();
        fixture.store.bind(id, "curl", &Device::of("curl", &ClientHints::default()), ip("::1")).await.unwrap();
        let again = Ending { reason: EndReason::EndedByAdmin, current: None, actor: &Actor::Operator, now: at(600) };
        assert!(fixture.store.end(Which::One(id), again).await.unwrap().is_empty());
        assert_eq!(fixture.rows("sessions").await, before);
        for sql in [
            "UPDATE sessions SET state = 'active', state_reason = NULL, ended_at = NULL",
            "UPDATE sessions SET state = 'suspended', state_reason = 'suspended_by_admin', ended_at = NULL",
        ] {
            let refused = fixture.execute(sql).await.unwrap_err();
            assert!(refused.contains("an ended session cannot come back"), "{refused}");
        }
        assert_eq!(fixture.rows("sessions").await, before);
    }

    async fn sessions_from_before_the_users_not_before_are_over(fixture) {
        let (old, token) = new_with_token("ann", at(9));
        let old = fixture.create(old).await.0;
        let young = fixture.session("ann", at(10)).await;
        let not_before = fixture.literal(at(10));
        fixture.execute(&format!("UPDATE users SET not_before = {not_before}")).await.unwrap();
        let found = fixture.store.find(&token.digest()).await.unwrap().unwrap().record;
        assert_eq!((found.state, found.ended_at), (State::Ended(EndReason::EndedByAdmin), Some(at(10))));
        assert_eq!(fixture.state(young).await, State::Active);
        assert_eq!(fixture.live("ann", at(11)).await, [young]);
        let mut newer = new("ann", at(12));
        newer.limit = max(2, OnExceed::RejectNew);
        assert!(fixture.create(newer).await.1.is_empty());
        assert_eq!(ids(&fixture.end(Which::One(old), EndReason::Revoked, None).await), [old]);
        assert_eq!(fixture.state(old).await, State::Ended(EndReason::Revoked));
    }

    async fn the_audit_log_is_not_rewritten(fixture) {
        fixture.session("ann", at(0)).await;
        let refused = fixture.execute("UPDATE events SET actor = 'nobody'").await.unwrap_err();
        assert!(refused.contains("the audit log is not rewritten"), "{refused}");
    }
}
