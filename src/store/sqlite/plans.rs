//! No statement that runs per request or per call reads a whole table, or is planned each time.
//!
//! SQLite itself counts, for each run of a statement, the steps that it took through a table or an index from end to end
//! (`SQLITE_STMTSTATUS_FULLSCAN_STEP`). The calls are made here, on a connection that reports them, because the store's own
//! are nobody's but its threads'. What is asked is thus what is run, not what a copy of the statements would do.
//!
//! The gateway never runs ANALYZE, but an operator may: both cases are looked at.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};

use super::write::{Doomed, Entry};
use super::{file, read, rotate, sweep, write};
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, Format, Principal, SessionId, SuspendReason, UserId};
use crate::store::schema::kind;
use crate::store::{
    Ending, Limit, Name, NewSession, Offender, OnExceed, Retention, Rotation, Stage, Sweep, Swept, Touch, Which,
};
use crate::token::Digest;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp::from_millis(1_763_656_204_000);

/// Statements and the steps of their full scans, or how often they were planned anew, of those that had any.
type Counts = Arc<Mutex<Vec<(String, i32)>>>;

/// Sessions of 4,000 users: of ten, three have ended, one is suspended, one has expired.
const FILL: &str = "
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 3999)
        INSERT INTO users (id) SELECT 'user-' || n FROM n;
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 19999)
        INSERT INTO sessions (id, token_hash, user_id, roles, state, state_reason, created_at, expires_at, last_seen_at,
            ended_at, ended_by)
        SELECT randomblob(16), randomblob(32), 'user-' || (n % 4000), '',
            CASE WHEN n % 10 < 3 THEN 'ended' WHEN n % 10 = 3 THEN 'suspended' ELSE 'active' END,
            CASE WHEN n % 10 < 4 THEN 'revoked' END, 1763656204000 - n * 1000, 1763656204000 + (n % 10 - 4) * 86400000,
            1763656204000 - n * 1000, CASE WHEN n % 10 < 3 THEN 1763656204000 - n END, NULL FROM n;
    UPDATE sessions SET state_reason = 'user_agent_changed' WHERE state = 'suspended';
    INSERT INTO events (at, kind, session_id, user_id, actor)
        SELECT created_at, 'session_created', id, user_id, 'service:login' FROM sessions;
    INSERT INTO retired_tokens (token_hash, session_id, usable_until)
        SELECT randomblob(32), id, created_at FROM sessions WHERE rowid % 4 = 0;";

struct Filled {
    db: Connection,
    scans: Counts,
    plans: Counts,
    next: i64,
}

impl Filled {
    fn new(analyzed: bool) -> Self {
        let mut db = Connection::open_in_memory().unwrap();
        file::keep_statements(&db).unwrap();
        db.pragma_update(None, "foreign_keys", true).unwrap();
        write::migrate(&db).unwrap();
        db.execute_batch(FILL).unwrap();
        if analyzed {
            db.execute_batch("ANALYZE").unwrap();
        }
        let (scans, plans) = (Counts::default(), Counts::default());
        let seen =
            [(StatementStatus::FullscanStep, Arc::clone(&scans)), (StatementStatus::RePrepare, Arc::clone(&plans))];
        let note = move |event: TraceEvent<'_>| {
            let TraceEvent::Profile(statement, _) = event else { return };
            for (status, counts) in &seen {
                let count = statement.get_status(*status);
                if count > 0 {
                    counts.lock().unwrap().push((statement.sql().into_owned(), count));
                }
            }
        };
        db.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note)).unwrap();
        Self { db, scans, plans, next: 0 }
    }

    /// An active session, each time another: its id, its token and its user.
    fn active(&mut self) -> (SessionId, Digest, UserId) {
        self.next += 1;
        let sql = "SELECT id, token_hash, user_id FROM sessions WHERE rowid = ?1";
        let (id, hash, user) = self
            .db
            .query_row(sql, [self.next * 10], |row| {
                Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, String>(2)?))
            })
            .unwrap();
        let id = SessionId::from_uuid(uuid::Uuid::from_bytes(id));
        (id, Digest::from_bytes(hash), UserId::parse(&user).unwrap())
    }

    fn session(&mut self, user: UserId, max: u32, on_exceed: OnExceed) -> NewSession {
        NewSession {
            id: SessionId::generate().unwrap(),
            digest: Digest::of(SessionId::generate().unwrap().as_uuid().as_bytes()),
            principal: Principal::of(user),
            now: NOW,
            expires_at: None,
            user_agent: None,
            ip: None,
            limit: Limit {
                by_call: None,
                by_policy: NonZeroU32::new(max),
                on_exceed,
                idle_since: Some(Timestamp::from_millis(0)),
            },
            replaces: Some(self.active().0),
            actor: Actor::Operator,
            format: Format::Opaque,
            slide: None,
            device: None,
        }
    }

    /// Fails when a statement since the last question has gone through a table.
    #[track_caller]
    fn nothing_scanned(&self, call: &str) {
        let scans = std::mem::take(&mut *self.scans.lock().unwrap());
        assert!(scans.is_empty(), "{call}: {scans:#?}");
    }
}

const ENDING: Ending<'_> = Ending { reason: EndReason::Revoked, current: None, actor: &Actor::Operator, now: NOW };
const OFFENDER: Offender<'_> = Offender { ip: IP, user_agent: "thief/1.0" };

fn every_call(mut filled: Filled) {
    macro_rules! asked {
        ($($name:literal: |$db:ident, $id:ident, $digest:ident, $user:ident| $call:expr;)*) => {$(
            let ($id, $digest, $user) = filled.active();
            let $db = &filled.db;
            let _ = (&$id, &$digest, &$user);
            $call.unwrap();
            filled.nothing_scanned($name);
        )*};
    }
    for on_exceed in [OnExceed::EvictOldest, OnExceed::EvictLeastRecent, OnExceed::RejectNew] {
        let user = filled.active().2;
        let new = filled.session(user, 1, on_exceed);
        write::create(&filled.db, &new).unwrap();
        filled.nothing_scanned("create");
    }
    // One line for each call of the store.
    asked! {
        "find": |db, _id, digest, _user| read::find(db, &digest);
        "find, unknown": |db, _id, _digest, _user| read::find(db, &Digest::of(b"unknown"));
        "get": |db, id, _digest, _user| read::get(db, id);
        "look up": |db, id, digest, _user| read::look_up(db, &[Name::Token(digest), Name::Id(id)]);
        "list": |db, _id, _digest, user| read::list_live(db, &user, None, 50, NOW, None);
        "bind": |db, id, _digest, _user| write::bind(db, id, "agent/1.0", None, IP);
        "touch": |db, id, _digest, _user| write::touch(db, &[Touch { id, at: NOW.plus(DAY), ip: IP }]);
        "rotate": |db, id, digest, _user| {
            let to = Digest::of(b"rotated");
            rotate::rotate(db, &Rotation { id, from: digest, to, grace: DAY, actor: Actor::Operator, now: NOW })
        };
        "rotate again": |db, id, digest, _user| {
            let to = Digest::of(b"again");
            rotate::rotate(db, &Rotation { id, from: digest, to, grace: Duration::ZERO, actor: Actor::Operator, now: NOW })
                .and_then(|_| rotate::end_reused(db, &digest, OFFENDER, NOW.plus(DAY)))
        };
        "suspend": |db, id, _digest, _user| {
            let entry = Entry::new(kind::SUSPENDED, NOW, "{}".to_owned());
            write::suspend(db, id, SuspendReason::UserAgentChanged, entry, Some(NOW))
        };
        "end one": |db, id, _digest, _user| write::end(db, &Doomed::One(id), ENDING);
        "end own": |db, id, _digest, user| write::end(db, &Doomed::OwnedBy(user, vec![id]), ENDING);
        "end others": |db, id, _digest, user| write::end(db, &Doomed::from(Which::AllBut(&user, id)), ENDING);
        "end all": |db, _id, _digest, user| write::end(db, &Doomed::from(Which::AllOf(&user)), ENDING);
        "record": |db, _id, _digest, _user| Entry::new(kind::ENDED, NOW, "{}".to_owned()).insert(db);
    }
    let retention = Retention { keep_for: Some(DAY), keep_per_user: Some(1), idle_timeout: Some(DAY) };
    let (mut next, mut removed) = (Some(Stage::FIRST), 0);
    while let Some(stage) = next {
        let swept = sweep::sweep(&filled.db, &Sweep { retention, now: NOW.plus(DAY), since: None, batch: 100, stage });
        let Swept { sessions, next: following, .. } = swept.unwrap();
        (next, removed) = (following, removed + sessions);
        filled.nothing_scanned(&format!("sweep, {stage:?}"));
    }
    assert!(removed > 5000, "{removed}");
}

#[test]
fn no_call_reads_a_whole_table() {
    every_call(Filled::new(false));
}

#[test]
fn no_call_reads_a_whole_table_that_was_analyzed() {
    every_call(Filled::new(true));
}

#[test]
fn what_is_asked_again_and_again_is_planned_once() {
    for analyzed in [false, true] {
        let mut filled = Filled::new(analyzed);
        for day in 1..4 {
            let (id, digest, user) = filled.active();
            let new = filled.session(user.clone(), 1, OnExceed::EvictOldest);
            let db = &filled.db;
            read::find(db, &digest).unwrap();
            read::get(db, id).unwrap();
            read::look_up(db, &[Name::Token(digest), Name::Id(id)]).unwrap();
            read::list_live(db, &user, None, 50, NOW, None).unwrap();
            write::bind(db, id, "agent/1.0", None, IP).unwrap();
            write::touch(db, &[Touch { id, at: NOW.plus(DAY * day), ip: IP }]).unwrap();
            write::create(db, &new).unwrap();
            write::end(db, &Doomed::One(id), ENDING).unwrap();
        }
        let plans = filled.plans.lock().unwrap();
        assert!(plans.is_empty(), "{plans:#?}");
    }
}

#[test]
fn a_statement_that_reads_a_whole_table_is_noticed() {
    let filled = Filled::new(false);
    let count = |sql: &str| filled.db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(count("SELECT count(*) FROM sessions WHERE user_agent IS NULL") > 0);
    assert!(filled.scans.lock().unwrap().iter().any(|(_, steps)| *steps > 19_000));
}
