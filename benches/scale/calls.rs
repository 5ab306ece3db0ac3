//! The calls that are timed.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use session_gateway::clock::{self, Timestamp};
use session_gateway::session::{Actor, EndReason, Format, Principal, SessionId, SuspendReason, UserId};
use session_gateway::store::{
    Ending, Event, Limit, Name, NewSession, Offender, OnExceed, Retention, Rotation, Stage, Sweep, Touch, Which,
};
use session_gateway::token::Token;
use session_gateway::user_agent::{ClientHints, Device};

use super::fill::{self, Fate, World, digest, fate, id, user};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";

#[derive(Clone, Copy)]
pub(crate) enum Call {
    Create,
    CreateEvicting,
    CreateReplacing,
    CreateRefused,
    Find,
    FindUnknown,
    FindRetired,
    Get,
    LookUp,
    Bind,
    Touch,
    List,
    End,
    EndOwn,
    EndOthers,
    EndAll,
    EndReused,
    Suspend,
    Rotate,
    Record,
    SweepEnded,
    SweepUnused,
    SweepSurplus,
    SweepEvents,
    SweepNothing,
}

impl Call {
    pub(crate) const ALL: [Self; 25] = [
        Self::Find,
        Self::FindUnknown,
        Self::FindRetired,
        Self::Get,
        Self::LookUp,
        Self::List,
        // Before the calls that end sessions: of one that has ended it has nothing to do.
        Self::EndReused,
        Self::Create,
        Self::CreateEvicting,
        Self::CreateReplacing,
        Self::CreateRefused,
        Self::Bind,
        Self::Touch,
        Self::Rotate,
        Self::Suspend,
        Self::End,
        Self::EndOwn,
        Self::EndOthers,
        Self::EndAll,
        Self::Record,
        Self::SweepNothing,
        Self::SweepEnded,
        Self::SweepUnused,
        Self::SweepSurplus,
        Self::SweepEvents,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create, for a new user",
            Self::CreateEvicting => "create, evicting beyond 2",
            Self::CreateReplacing => "create, evicting the least recently used, replacing one",
            Self::CreateRefused => "create, refused beyond 1",
            Self::Bind => "bind to the first use",
            Self::EndOwn => "end two of one's own",
            Self::EndOthers => "end all others of a user",
            Self::EndReused => "end by a token used too late",
            Self::Record => "write an event",
            Self::Find => "look up a token",
            Self::FindUnknown => "look up an unknown token",
            Self::FindRetired => "look up a token from before a rotation",
            Self::Get => "show one session",
            Self::LookUp => "confirm 64 sessions",
            Self::Touch => "write 100 last uses",
            Self::List => "list a user's own",
            Self::End => "end one session",
            Self::EndAll => "end all of a user",
            Self::Suspend => "suspend one session",
            Self::Rotate => "rotate a token",
            Self::SweepEnded => "sweep: one batch of old sessions",
            Self::SweepUnused => "sweep: a page for unused ones",
            Self::SweepSurplus => "sweep: a page for too many of a user",
            Self::SweepEvents => "sweep: one batch of old events",
            Self::SweepNothing => "sweep: look for old sessions, none there",
        }
    }

    /// A batch of a sweep is dear, and there are not so many of them in the smallest store.
    pub(crate) fn samples(self, samples: u64) -> u64 {
        match self {
            Self::SweepEnded | Self::SweepUnused | Self::SweepSurplus | Self::SweepEvents => samples.min(20),
            Self::Touch => samples.min(300),
            Self::Create
            | Self::CreateEvicting
            | Self::CreateReplacing
            | Self::CreateRefused
            | Self::Bind
            | Self::EndOwn
            | Self::EndOthers
            | Self::EndReused
            | Self::Record
            | Self::Find
            | Self::FindUnknown
            | Self::FindRetired
            | Self::Get
            | Self::LookUp
            | Self::List
            | Self::End
            | Self::EndAll
            | Self::Suspend
            | Self::Rotate
            | Self::SweepNothing => samples,
        }
    }

    /// Prepares the call with this number, makes it, and says how long it took.
    pub(crate) async fn time(self, world: &World, number: u64) -> Duration {
        let store = &world.store;
        let n = self.session(world, number);
        let now = clock::wall();
        macro_rules! timed {
            ($call:expr) => {{
                let began = Instant::now();
                let answer = $call.await.unwrap();
                (began.elapsed(), answer)
            }};
        }
        match self {
            Self::Find => {
                let (took, found) = timed!(store.find(&digest(n)));
                assert!(found.is_some());
                took
            }
            Self::FindUnknown => {
                let (took, found) = timed!(store.find(&Token::generate(32).unwrap().digest()));
                assert!(found.is_none());
                took
            }
            Self::FindRetired => {
                let (took, found) = timed!(store.find(&fill::retired(n)));
                assert!(found.unwrap().retired.is_some());
                took
            }
            Self::Get => timed!(store.get(id(n))).0,
            Self::LookUp => {
                let names =
                    (n..n + u64::from(world.batch.min(64))).map(|n| Name::Token(digest(n % world.size))).collect();
                let (took, found) = timed!(store.look_up(names));
                assert!(found.iter().all(Option::is_some));
                took
            }
            Self::List => timed!(store.list_live(&user(n), None, 50, now, None)).0,
            Self::Create => {
                let user = UserId::parse(&format!("new-{number}")).unwrap();
                timed!(store.create(session(user, None))).0
            }
            Self::CreateEvicting => timed!(store.create(session(user(n), NonZeroU32::new(2)))).0,
            Self::CreateReplacing => {
                let mut new = session(user(n), NonZeroU32::new(2));
                new.replaces = Some(id(n));
                new.limit.on_exceed = OnExceed::EvictLeastRecent;
                timed!(store.create(new)).0
            }
            Self::CreateRefused => {
                let mut new = session(user(n), NonZeroU32::MIN.into());
                new.limit.on_exceed = OnExceed::RejectNew;
                timed!(store.create(new)).0
            }
            Self::Bind => timed!(store.bind(id(n), AGENT, &Device::of(AGENT, &ClientHints::default()), IP)).0,
            Self::EndOwn => timed!(store.end(Which::OwnedBy(&user(n), &[id(n), id(n + 1)]), ending(now))).0,
            Self::EndOthers => timed!(store.end(Which::AllBut(&user(n), id(n)), ending(now))).0,
            Self::EndReused => {
                let offender = Offender { ip: IP, user_agent: AGENT };
                timed!(store.end_reused(&fill::retired(n), offender, now)).0
            }
            Self::Record => {
                let event = Event {
                    at: now,
                    kind: "login_unmatched",
                    session: None,
                    user: Some(user(n)),
                    actor: Actor::Policy,
                    ip: Some(IP),
                    user_agent: Some(AGENT.to_owned()),
                    detail: serde_json::json!({}),
                };
                timed!(store.record(event)).0
            }
            Self::Touch => {
                let touch = |m| Touch { id: id(self.session(world, number * 100 + m)), at: now, ip: IP };
                let touches: Vec<Touch> = (0..100).map(touch).collect();
                timed!(store.touch(&touches)).0
            }
            Self::End => timed!(store.end(Which::One(id(n)), ending(now))).0,
            Self::EndAll => timed!(store.end(Which::AllOf(&user(n)), ending(now))).0,
            Self::Suspend => {
                let offender = Some(Offender { ip: IP, user_agent: AGENT });
                timed!(store.suspend(id(n), SuspendReason::UserAgentChanged, &Actor::Policy, offender, now)).0
            }
            Self::Rotate => {
                let to = Token::generate(32).unwrap().digest();
                let grace = Duration::from_secs(30);
                timed!(store.rotate(Rotation { id: id(n), from: digest(n), to, grace, actor: Actor::Operator, now })).0
            }
            Self::SweepNothing => timed!(store.sweep(sweep(world, 4000, None, Stage::FIRST))).0,
            Self::SweepEnded => timed!(store.sweep(sweep(world, 45, None, Stage::FIRST))).0,
            Self::SweepUnused | Self::SweepSurplus | Self::SweepEvents => {
                // Where the stage begins: past those before it, which find nothing to do.
                let since = if matches!(self, Self::SweepUnused) {
                    None
                } else if matches!(self, Self::SweepSurplus) {
                    Some(Timestamp::from_millis(0))
                } else {
                    Some(clock::wall())
                };
                let mut stage = Stage::FIRST;
                while !self.is(stage) {
                    stage =
                        store.sweep(Sweep { since, ..sweep(world, 4000, None, stage) }).await.unwrap().next.unwrap();
                }
                timed!(store.sweep(sweep(world, 45, Some(1), stage))).0
            }
        }
    }

    const fn is(self, stage: Stage) -> bool {
        matches!(
            (self, stage),
            (Self::SweepUnused, Stage::Unused(_))
                | (Self::SweepSurplus, Stage::Surplus(_))
                | (Self::SweepEvents, Stage::Events(_))
        )
    }

    /// Any session that fits, for each call others.
    fn session(self, world: &World, number: u64) -> u64 {
        let mut n = (number + 1).wrapping_mul(2_654_435_761).wrapping_add(self as u64 * 7_368_787) % world.size;
        let rotated = matches!(self, Self::FindRetired | Self::EndReused);
        let fits = |n: u64| if rotated { n % 10 == 9 } else { fate(n) == Fate::Active };
        while !fits(n) {
            n = (n + 1) % world.size;
        }
        n
    }
}

fn session(user: UserId, max: Option<NonZeroU32>) -> NewSession {
    let now = clock::wall();
    NewSession {
        id: SessionId::generate().unwrap(),
        digest: Token::generate(32).unwrap().digest(),
        principal: Principal::of(user),
        now,
        expires_at: Some(now.plus(Duration::from_secs(14 * 86_400))),
        user_agent: Some(AGENT.to_owned()),
        ip: Some(IP),
        limit: Limit { by_call: None, by_policy: max, on_exceed: OnExceed::EvictOldest, idle_since: None },
        replaces: None,
        actor: Actor::Service("login".to_owned()),
        format: Format::Opaque,
        slide: None,
        device: None,
    }
}

const fn ending(now: Timestamp) -> Ending<'static> {
    Ending { reason: EndReason::Revoked, current: None, actor: &Actor::Operator, now }
}

fn sweep(world: &World, days: u64, keep_per_user: Option<u32>, stage: Stage) -> Sweep {
    let keep_for = Some(Duration::from_secs(days * 86_400));
    let retention = Retention { keep_for, keep_per_user, idle_timeout: None };
    Sweep { retention, now: world.now, since: None, batch: world.batch, stage }
}
