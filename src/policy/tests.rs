//! The policy as a table of cases: no runtime, no store, time handed in.

use super::*;
use crate::session::{Format, Principal, Record, SessionId, UserId};
use crate::token::Digest;

const CREATED: Timestamp = Timestamp::from_millis(1_000_000);
const AGENT: &str = "acme-sync/1.0";

fn rules() -> Rules {
    Rules {
        user_agent: Some(UserAgentRule { likeness: Likeness::Exact, on_change: OnAgentChange::Suspend }),
        ip: IpRule { mode: IpMode::Exact, log_only: false },
        idle_timeout: Some(Duration::from_secs(60)),
    }
}

fn record() -> Record {
    Record {
        id: SessionId::generate().unwrap(),
        digest: Digest::of(b"x"),
        principal: Principal::of(UserId::parse("ann").unwrap()),
        state: State::Active,
        created_at: CREATED,
        expires_at: Some(CREATED.plus(Duration::from_secs(3600))),
        last_seen_at: CREATED,
        last_ip: None,
        user_agent: Some(AGENT.to_owned()),
        bound_ip: Some("192.0.2.7".parse().unwrap()),
        ended_at: None,
        ended_by: None,
        user_enabled: true,
        format: Format::Opaque,
        slide: None,
        device: None,
    }
}

fn session(change: impl FnOnce(&mut Record)) -> Arc<Session> {
    let mut record = record();
    change(&mut record);
    let agent = record.user_agent.as_deref().map(|agent| Fingerprint::of(agent.as_bytes(), Likeness::Exact));
    Arc::new(Session::new(&record, record.digest, agent, crate::clock::Uptime::from_micros(0)))
}

fn facts(agent: &str, ip: &str) -> Facts<'static> {
    Facts {
        user_agent: agent.to_owned().leak().as_bytes(),
        agent_memo: agent.bytes().fold(7, |memo, byte| memo.wrapping_mul(31).wrapping_add(u64::from(byte))),
        client_ip: ip.parse().unwrap(),
    }
}

fn verdict(session: &Arc<Session>, agent: &str, ip: &str, rules: &Rules, after_secs: u64) -> Option<Refusal> {
    let now = CREATED.plus(Duration::from_secs(after_secs));
    check(session.clone(), &facts(agent, ip), rules, now).err()
}

#[test]
fn a_good_session_passes_again_and_again() {
    let session = session(|_| {});
    for _ in 0..3 {
        assert_eq!(verdict(&session, AGENT, "192.0.2.7", &rules(), 1), None);
    }
}

#[test]
fn every_dead_state_is_refused_with_its_reason_even_when_expired_too() {
    for reason in EndReason::ALL {
        let ended = session(|record| record.state = State::Ended(*reason));
        for after in [1, 999_999] {
            assert_eq!(verdict(&ended, AGENT, "192.0.2.7", &rules(), after), Some(Refusal::Ended(*reason)));
        }
    }
    let suspended = session(|record| record.state = State::Suspended(SuspendReason::SuspendedByAdmin));
    assert_eq!(
        verdict(&suspended, AGENT, "192.0.2.7", &rules(), 1),
        Some(Refusal::Suspended(SuspendReason::SuspendedByAdmin))
    );
}

#[test]
fn a_session_expires_at_the_very_millisecond_and_never_without_one() {
    let no_idle = Rules { idle_timeout: None, ..rules() };
    let expiring = session(|_| {});
    assert_eq!(verdict(&expiring, AGENT, "192.0.2.7", &no_idle, 3599), None);
    assert!(matches!(verdict(&expiring, AGENT, "192.0.2.7", &no_idle, 3600), Some(Refusal::Expired(_))));
    let eternal = session(|record| record.expires_at = None);
    assert_eq!(verdict(&eternal, AGENT, "192.0.2.7", &no_idle, 999_999_999), None);
}

#[test]
fn an_idle_session_is_refused_and_a_used_one_lives_on() {
    let session = session(|_| {});
    assert_eq!(verdict(&session, AGENT, "192.0.2.7", &rules(), 59), None);
    assert_eq!(verdict(&session, AGENT, "192.0.2.7", &rules(), 60), Some(Refusal::Idle));
    assert!(session.advance_last_seen(CREATED, CREATED.plus(Duration::from_secs(59))));
    assert_eq!(verdict(&session, AGENT, "192.0.2.7", &rules(), 60), None);
}

#[test]
fn a_session_that_slides_lapses_at_the_very_millisecond_and_never_outlives_its_expiry() {
    let no_idle = Rules { idle_timeout: None, ..rules() };
    let slides = |expires_at| {
        session(|record| {
            record.slide = Some(Duration::from_secs(60));
            record.expires_at = expires_at;
        })
    };
    let sliding = slides(None);
    let over = |secs| Some(Refusal::Lapsed(CREATED.plus(Duration::from_secs(secs))));
    assert_eq!(verdict(&sliding, AGENT, "192.0.2.7", &no_idle, 59), None);
    assert_eq!(verdict(&sliding, AGENT, "192.0.2.7", &no_idle, 60), over(60));
    assert!(sliding.advance_last_seen(CREATED, CREATED.plus(Duration::from_secs(59))));
    assert_eq!(verdict(&sliding, AGENT, "192.0.2.7", &no_idle, 118), None);
    assert_eq!(verdict(&sliding, AGENT, "192.0.2.7", &no_idle, 119), over(119));
    assert_eq!(Problem::from(Refusal::Lapsed(CREATED)).code, Code::SessionExpired);

    let end = CREATED.plus(Duration::from_secs(80));
    let bounded = slides(Some(end));
    assert!(bounded.advance_last_seen(CREATED, CREATED.plus(Duration::from_secs(79))));
    assert_eq!(verdict(&bounded, AGENT, "192.0.2.7", &no_idle, 80), Some(Refusal::Expired(end)));
    assert_eq!(bounded.over_at(), Some(end));
}

#[test]
fn a_disabled_user_has_no_good_session() {
    let disabled = session(|record| record.user_enabled = false);
    assert_eq!(verdict(&disabled, AGENT, "192.0.2.7", &rules(), 1), Some(Refusal::UserDisabled));
}

#[test]
fn another_user_agent_has_the_configured_consequence_and_a_missing_one_is_the_empty_one() {
    let session = session(|_| {});
    for (on_change, expected) in [
        (OnAgentChange::Suspend, Some(Refusal::SuspendForUserAgent)),
        (OnAgentChange::Reject, Some(Refusal::UserAgentChanged)),
        (OnAgentChange::Log, None),
    ] {
        let rules = Rules { user_agent: Some(UserAgentRule { likeness: Likeness::Exact, on_change }), ..rules() };
        for other in ["thief/1.0", ""] {
            assert_eq!(verdict(&session, other, "192.0.2.7", &rules, 1), expected, "{on_change:?} {other:?}");
        }
    }
    let off = Rules { user_agent: None, ..rules() };
    assert_eq!(verdict(&session, "thief/1.0", "192.0.2.7", &off, 1), None);
}

#[test]
fn a_change_that_is_only_logged_is_noted_on_the_permit() {
    let session = session(|_| {});
    let rules = Rules {
        user_agent: Some(UserAgentRule { likeness: Likeness::Exact, on_change: OnAgentChange::Log }),
        ip: IpRule { mode: IpMode::Exact, log_only: true },
        idle_timeout: None,
    };
    let permit = check(session, &facts("other", "203.0.113.1"), &rules, CREATED).unwrap();
    assert_eq!(permit.notes(), Notes { user_agent_changed: true, ip_changed: true });
}

#[test]
fn the_memory_of_a_good_user_agent_does_not_let_another_one_in() {
    let session = session(|_| {});
    assert_eq!(verdict(&session, AGENT, "192.0.2.7", &rules(), 1), None);
    assert_eq!(verdict(&session, "thief/1.0", "192.0.2.7", &rules(), 1), Some(Refusal::SuspendForUserAgent));
    let unhashed = Facts { agent_memo: 0, ..facts("thief/1.0", "192.0.2.7") };
    assert_eq!(check(session, &unhashed, &rules(), CREATED).err(), Some(Refusal::SuspendForUserAgent));
}

#[test]
fn addresses_are_compared_by_network_or_bit_by_bit() {
    let v4 = session(|_| {});
    let v6 = session(|record| record.bound_ip = Some("2001:db8:1:2::3".parse().unwrap()));
    for (session, ip, subnet, exact) in [
        (&v4, "192.0.2.7", true, true),
        (&v4, "::ffff:192.0.2.7", true, true),
        (&v4, "192.0.2.200", true, false),
        (&v4, "192.0.3.7", false, false),
        (&v4, "2001:db8::1", false, false),
        (&v6, "2001:db8:1:2::9", true, false),
        (&v6, "2001:db8:1:3::3", false, false),
    ] {
        for (mode, good) in [(IpMode::Record, true), (IpMode::Subnet, subnet), (IpMode::Exact, exact)] {
            let rules = Rules { ip: IpRule { mode, log_only: false }, ..rules() };
            let expected = (!good).then_some(Refusal::IpChanged);
            assert_eq!(verdict(session, AGENT, ip, &rules, 1), expected, "{mode:?} {ip}");
        }
    }
}

#[test]
fn a_session_without_its_bindings_must_be_bound_first() {
    let no_agent = session(|record| record.user_agent = None);
    assert_eq!(verdict(&no_agent, AGENT, "192.0.2.7", &rules(), 1), Some(Refusal::Unbound));
    let no_ip = session(|record| record.bound_ip = None);
    assert_eq!(verdict(&no_ip, AGENT, "192.0.2.7", &rules(), 1), Some(Refusal::Unbound));
    let off = Rules { user_agent: None, ip: IpRule { mode: IpMode::Record, log_only: false }, idle_timeout: None };
    assert_eq!(verdict(&no_agent, AGENT, "192.0.2.7", &off, 1), None);
}

#[test]
fn only_a_route_without_a_required_session_lets_anonymous_requests_pass() {
    assert!(anonymous(Auth::Off).unwrap().session().is_none());
    assert!(anonymous(Auth::Optional).is_ok());
    assert_eq!(anonymous(Auth::Required).unwrap_err().code, Code::MissingToken);
}

#[test]
fn a_route_role_is_asked_of_the_session_and_an_anonymous_request_has_none() {
    let admin: Vec<Box<str>> = vec!["admin".into(), "ops".into()];
    let with_role = session(|record| record.principal.roles = vec![crate::session::Role::parse("ops").unwrap()]);
    let permit =
        |session: &Arc<Session>| check(session.clone(), &facts(AGENT, "192.0.2.7"), &rules(), CREATED).unwrap();
    assert!(permit(&with_role).require_role(&admin).is_ok());
    assert_eq!(permit(&session(|_| {})).require_role(&admin).unwrap_err().code, Code::RoleRequired);
    assert!(permit(&session(|_| {})).require_role(&[]).is_ok());
    assert_eq!(anonymous(Auth::Off).unwrap().require_role(&admin).unwrap_err().code, Code::RoleRequired);
}
