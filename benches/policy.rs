//! What the checks of one request cost, apart from everything around them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use session_gateway::clock::{Timestamp, Uptime};
use session_gateway::policy::{self, Facts, IpMode, IpRule, OnAgentChange, Rules, UserAgentRule};
use session_gateway::session::{Format, Principal, Record, Session, SessionId, State, UserId};
use session_gateway::token::{Digest, Token};
use session_gateway::user_agent::{Fingerprint, Likeness};

const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const NOW: Timestamp = Timestamp::from_millis(1_763_656_204_000);

fn session() -> Arc<Session> {
    let record = Record {
        id: SessionId::generate().unwrap(),
        digest: Digest::of(b"token"),
        principal: Principal::of(UserId::parse("ann").unwrap()),
        state: State::Active,
        created_at: NOW,
        expires_at: Some(NOW.plus(Duration::from_secs(3600))),
        last_seen_at: NOW,
        last_ip: None,
        user_agent: Some(AGENT.to_owned()),
        bound_ip: Some("192.0.2.7".parse().unwrap()),
        ended_at: None,
        ended_by: None,
        user_enabled: true,
        format: Format::Opaque,
        slide: None,
        device: None,
    };
    let agent = Fingerprint::of(AGENT.as_bytes(), Likeness::Family);
    Arc::new(Session::new(&record, record.digest, Some(agent), Uptime::from_micros(0)))
}

fn rules() -> Rules {
    Rules {
        user_agent: Some(UserAgentRule { likeness: Likeness::Family, on_change: OnAgentChange::Suspend }),
        ip: IpRule { mode: IpMode::Subnet, log_only: false },
        idle_timeout: Some(Duration::from_secs(3600)),
    }
}

fn benches(c: &mut Criterion) {
    let (session, rules) = (session(), rules());
    let memo = ahash::RandomState::new();
    let client_ip = "192.0.2.9".parse().unwrap();
    let token = Token::generate(32).unwrap();

    c.bench_function("digest of a token", |b| b.iter(|| Digest::of(black_box(token.reveal().as_bytes()))));
    c.bench_function("policy, User-Agent remembered", |b| {
        b.iter(|| {
            let agent_memo = memo.hash_one(black_box(AGENT.as_bytes())) | 1;
            let facts = Facts { user_agent: AGENT.as_bytes(), agent_memo, client_ip };
            policy::check(session.clone(), &facts, &rules, NOW).unwrap()
        });
    });
    c.bench_function("policy, User-Agent judged anew", |b| {
        b.iter(|| {
            let facts = Facts { user_agent: black_box(AGENT.as_bytes()), agent_memo: 0, client_ip };
            policy::check(session.clone(), &facts, &rules, NOW).unwrap()
        });
    });
    c.bench_function("policy, expired", |b| {
        let late = NOW.plus(Duration::from_secs(7200));
        b.iter(|| {
            let facts = Facts { user_agent: AGENT.as_bytes(), agent_memo: 0, client_ip };
            policy::check(session.clone(), &facts, &rules, late).unwrap_err()
        });
    });
}

criterion_group!(policy_benches, benches);
criterion_main!(policy_benches);
