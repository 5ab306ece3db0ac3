//! Looking for sessions of all users, and ending what was found.
//!
//! The statements are put together of what the filter asks for, so that SQLite plans for what is there.

use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, named_params, params_from_iter};
use uuid::Uuid;

use super::fresh::fresh;
use super::read;
use super::write::{self, Entry};
use crate::clock::Timestamp;
use crate::session::{EndReason, Phase, Record, SessionId, UserId};
use crate::store::filter::BATCH;
use crate::store::schema::{self, kind};
use crate::store::{Batch, By, Count, Ended, Filter, Guard, Position, StoreError};

/// Teaches a connection `in_network(address, network)`: SQLite has no addresses, only their text.
pub(super) fn install(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    db.create_scalar_function("in_network", 2, flags, |context| {
        let address: Option<String> = context.get(0)?;
        let network: String = context.get(1)?;
        let address = address.and_then(|address| address.parse::<IpAddr>().ok());
        let network = network.parse::<IpNet>().ok();
        Ok(address.zip(network).is_some_and(|(address, network)| network.contains(&address)))
    })
}

/// The values of a statement, in the order of their numbers.
#[derive(Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    /// Adds a value and gives its place in the statement.
    pub(super) fn add(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }

    pub(super) fn time(&mut self, time: Timestamp) -> String {
        self.add(time.as_millis())
    }

    pub(super) fn id(&mut self, id: Uuid) -> String {
        self.add(id.as_bytes().to_vec())
    }

    /// The condition that an address lies in a network. One address is looked up in an index, more are not.
    pub(super) fn within(&mut self, columns: &[&str], network: IpNet) -> String {
        let one = network.prefix_len() == network.max_prefix_len();
        let value = self.add(if one { network.addr().to_string() } else { network.trunc().to_string() });
        let within = |column: &&str| {
            if one { format!("{column} = {value}") } else { format!("in_network({column}, {value})") }
        };
        format!("({})", columns.iter().map(within).collect::<Vec<_>>().join(" OR "))
    }

    /// The values of a statement that asks for the time: [`NOW`] and [`IDLE_SINCE`] come first.
    fn asked_at(now: Timestamp, idle_since: Option<Timestamp>) -> Self {
        let mut values = Self::default();
        values.time(now);
        values.time(idle_since.unwrap_or(Timestamp::from_millis(i64::MIN)));
        values
    }

    pub(super) fn given(self) -> impl rusqlite::Params {
        params_from_iter(self.0)
    }
}

/// When it is asked for, in a statement whose values begin with that ([`Values::asked_at`]).
const NOW: &str = "?1";
/// Sessions last used before this moment are idle.
const IDLE_SINCE: &str = "?2";
const NOT_CUT_OFF: &str = "(u.not_before IS NULL OR s.created_at >= u.not_before)";
const ACTIVE: &str = fresh!("s.", "active", "?1", "?2");
const SUSPENDED: &str = fresh!("s.", "suspended", "?1", "?2");
/// A live session `p` of the user `u`.
const LIVE_PEER: &str =
    concat!(fresh!("p.", "active", "?1", "?2"), " AND (u.not_before IS NULL OR p.created_at >= u.not_before)");

fn in_phase(phase: Phase) -> String {
    match phase {
        Phase::Active => format!("{ACTIVE} AND {NOT_CUT_OFF}"),
        Phase::Suspended => format!("{SUSPENDED} AND {NOT_CUT_OFF}"),
        Phase::Expired => format!(
            "s.state <> 'ended' AND (s.expires_at <= {NOW} OR s.last_seen_at < {IDLE_SINCE} OR {NOW} - s.last_seen_at >= s.slide_ms) \
                 AND {NOT_CUT_OFF}"
        ),
        Phase::Ended => "(s.state = 'ended' OR s.created_at < u.not_before)".to_owned(),
    }
}

/// Whether the guard keeps the session `s` of the user `u`.
fn protected(values: &mut Values, guard: &Guard) -> String {
    if *guard == Guard::none() {
        return "FALSE".to_owned();
    }
    let users = values.add(serde_json::json!(guard.users.iter().map(UserId::as_str).collect::<Vec<_>>()).to_string());
    let by_role = by_role(values, guard, "s.user_id");
    format!("(s.user_id IN (SELECT value FROM json_each({users})) OR {by_role})")
}

/// Whether a live session of the user `u` has a role of the guard.
fn by_role(values: &mut Values, guard: &Guard, user: &str) -> String {
    let roles: Vec<_> = guard.roles.iter().map(|role| role.as_str()).collect();
    let roles = values.add(serde_json::json!(roles).to_string());
    format!(
        "EXISTS (SELECT 1 FROM sessions p WHERE p.user_id = {user} AND {LIVE_PEER} AND EXISTS \
             (SELECT 1 FROM json_each({roles}) r WHERE instr(',' || p.roles || ',', ',' || r.value || ',') > 0))"
    )
}

/// The filter as a condition on a session `s` of a user `u`.
fn condition(filter: &Filter, values: &mut Values) -> String {
    let Filter { id, user, phase, network, user_agent, role, created_before, created_after } = filter;
    let mut all = vec!["TRUE".to_owned()];
    all.extend(id.map(|id| format!("s.id = {}", values.id(id.as_uuid()))));
    all.extend(user.as_ref().map(|user| format!("s.user_id = {}", values.add(user.as_str().to_owned()))));
    all.extend(phase.map(in_phase));
    all.extend(network.map(|network| values.within(&["s.last_ip", "s.bound_ip"], network)));
    all.extend(user_agent.as_ref().map(|text| {
        let pattern = values.add(schema::pattern(text));
        format!("s.user_agent LIKE {pattern} ESCAPE '\\'")
    }));
    all.extend(role.as_ref().map(|role| {
        let role = values.add(format!(",{},", role.as_str()));
        format!("instr(',' || s.roles || ',', {role}) > 0")
    }));
    all.extend(created_before.map(|before| format!("s.created_at < {}", values.time(before))));
    all.extend(created_after.map(|after| format!("s.created_at >= {}", values.time(after))));
    all.join(" AND ")
}

/// The rest of the sessions in the order of the list.
fn rest(values: &mut Values, after: Option<Position>, limit: u32) -> String {
    let after = after.unwrap_or(Position::FIRST);
    let (created_at, id) = (values.time(after.created_at), values.id(after.id.as_uuid()));
    format!("(s.created_at, s.id) < ({created_at}, {id}) ORDER BY s.created_at DESC, s.id DESC LIMIT {limit}")
}

fn search_statement(
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> (String, Values) {
    let mut values = Values::asked_at(now, idle_since);
    let condition = condition(filter, &mut values);
    let rest = rest(&mut values, after, limit);
    (format!("{} WHERE {condition} AND {rest}", read::SELECT), values)
}

pub(super) fn search(
    db: &Connection,
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Vec<Record>, StoreError> {
    let (sql, values) = search_statement(filter, after, limit, now, idle_since);
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(values.given(), read::row)?;
    rows.map(|row| Ok(Record::try_from(row?)?)).collect()
}

pub(super) fn count(
    db: &Connection,
    filter: &Filter,
    guard: &Guard,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Count, StoreError> {
    let mut values = Values::asked_at(now, idle_since);
    let condition = condition(filter, &mut values);
    let protected = protected(&mut values, guard);
    // Not every filter asks for the time, and SQLite refuses a value that stands nowhere.
    let sql = format!(
        "SELECT count(*) FILTER (WHERE NOT protected), count(*) FILTER (WHERE protected) \
         FROM (SELECT {protected} AS protected FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE {NOW} IS NOT NULL AND {IDLE_SINCE} IS NOT NULL AND s.state <> 'ended' AND {condition})"
    );
    let count = |row: &Row<'_>| {
        Ok(Count { matching: row.get::<_, i64>(0)?.unsigned_abs(), skipped: row.get::<_, i64>(1)?.unsigned_abs() })
    };
    Ok(db.prepare(&sql)?.query_row(values.given(), count)?)
}

pub(super) fn end_batch(
    db: &Connection,
    filter: &Filter,
    guard: &Guard,
    reason: EndReason,
    by: &By,
    after: Option<Position>,
) -> Result<Batch, StoreError> {
    let mut values = Values::asked_at(by.now, by.idle_since);
    let condition = condition(filter, &mut values);
    let protected = protected(&mut values, guard);
    let rest = rest(&mut values, after, BATCH);
    let sql = format!(
        "SELECT s.id, s.created_at, {protected} FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE s.state <> 'ended' AND {condition} AND {rest}"
    );
    let found = |row: &Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?));
    let matched: Vec<_> = db.prepare(&sql)?.query_map(values.given(), found)?.collect::<Result<_, _>>()?;
    let mut batch = Batch::default();
    for (id, _, protected) in &matched {
        if *protected {
            batch.skipped += 1;
        } else {
            batch.ended.extend(end(db, "id = :id", Value::Blob(id.to_vec()), None, (reason, kind::ENDED), by)?);
        }
    }
    if let Some((id, created_at, _)) = matched.last().filter(|_| matched.len() == BATCH as usize) {
        let id = SessionId::from_uuid(Uuid::from_bytes(*id));
        batch.next = Some(Position { created_at: Timestamp::from_millis(*created_at), id });
    }
    Ok(batch)
}

/// Ends what the condition on `:id` holds for and what was created before a moment.
pub(super) fn end(
    db: &Connection,
    condition: &str,
    value: Value,
    before: Option<Timestamp>,
    (reason, kind): (EndReason, &'static str),
    by: &By,
) -> Result<Vec<Ended>, StoreError> {
    let sql =
        format!("{} AND {condition} AND (:before IS NULL OR created_at < :before) {}", write::END, write::RETURNING);
    let mut statement = db.prepare_cached(&sql)?;
    let given = named_params! {
        ":reason": reason.name(), ":current": None::<[u8; 16]>, ":now": by.now.as_millis(),
        ":actor": schema::actor(&by.actor), ":id": value, ":before": before.map(Timestamp::as_millis),
    };
    let gone = statement.query_map(given, write::gone)?.collect::<Result<Vec<_>, _>>()?;
    let mut ended = Vec::with_capacity(gone.len());
    for gone in gone {
        let entry = Entry::of(kind, by, schema::reason_detail(reason.name()));
        Entry { session: Some(gone.id), user: Some(gone.user_id.clone()), ..entry }.insert(db)?;
        ended.push(gone.ended()?);
    }
    Ok(ended)
}

/// Whether the guard keeps this user.
pub(super) fn is_protected(db: &Connection, user: &UserId, guard: &Guard, by: &By) -> Result<bool, StoreError> {
    if guard.names(user) || guard.roles.is_empty() {
        return Ok(guard.names(user));
    }
    let mut values = Values::asked_at(by.now, by.idle_since);
    let by_role = by_role(&mut values, guard, "u.id");
    let user = values.add(user.as_str().to_owned());
    let sql = format!("SELECT EXISTS (SELECT 1 FROM users u WHERE u.id = {user} AND {by_role})");
    Ok(db.prepare(&sql)?.query_row(values.given(), |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::SQLITE;

    fn plan(filter: &Filter) -> String {
        let db = Connection::open_in_memory().unwrap();
        crate::store::sqlite::file::keep_statements(&db).unwrap();
        install(&db).unwrap();
        for script in SQLITE {
            db.execute_batch(script).unwrap();
        }
        let (sql, values) = search_statement(filter, None, 50, Timestamp::from_millis(0), None);
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map(values.given(), |row| row.get::<_, String>("detail")).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_common_searches_use_their_index() {
        let user = Filter { user: Some(UserId::parse("ann").unwrap()), ..Filter::default() };
        let ip = Filter { network: Some("192.0.2.1/32".parse().unwrap()), ..Filter::default() };
        let id = Filter { id: Some(SessionId::from_uuid(Uuid::nil())), ..Filter::default() };
        for (filter, expected) in [
            (Filter::default(), &["sessions_created"][..]),
            (user, &["sessions_user"]),
            (ip, &["sessions_last_ip", "sessions_bound_ip"]),
            (id, &["sqlite_autoindex_sessions_1"]),
        ] {
            let plan = plan(&filter);
            assert!(expected.iter().all(|index| plan.contains(index)), "{filter:?}\n{plan}");
            assert!(!plan.contains("SCAN s\n") && !plan.ends_with("SCAN s"), "{plan}");
        }
    }
}
