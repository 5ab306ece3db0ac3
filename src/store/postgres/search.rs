//! Looking for sessions of all users, and ending what was found.
//!
//! The statements are put together of what the filter asks for, so that the database plans for what is there. They are
//! prepared anew each time: there are many of them, and administrators are few.

use deadpool_postgres::Object;
use ipnet::IpNet;
use tokio_postgres::types::ToSql;

use super::call::Trouble;
use super::fresh::fresh;
use super::value::Time;
use super::{end, read};
use crate::clock::Timestamp;
use crate::session::{EndReason, Phase, Record, Role, SessionId, UserId};
use crate::store::filter::BATCH;
use crate::store::schema::{self, kind};
use crate::store::{Batch, By, Count, Filter, Guard, Position};

/// The values of a statement, in the order of their numbers.
#[derive(Default)]
pub(super) struct Values(Vec<Box<dyn ToSql + Sync + Send>>);

impl Values {
    /// Adds a value and gives its place in the statement.
    pub(super) fn add(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.0.push(Box::new(value));
        format!("${}", self.0.len())
    }

    /// The values of a statement that asks for the time: [`NOW`] and [`IDLE_SINCE`] come first.
    fn asked_at(now: Timestamp, idle_since: Option<Timestamp>) -> Self {
        let mut values = Self::default();
        values.add(Time(now));
        values.add(Time(idle_since.unwrap_or(Timestamp::from_millis(i64::MIN))));
        values
    }

    pub(super) fn given(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }

    /// The condition that an address lies in a network.
    pub(super) fn within(&mut self, columns: &[&str], network: IpNet) -> String {
        // As a range, which any plan can look up in an index. Addresses are stored without a shorter mask.
        let (first, last) = (self.add(network.network()), self.add(network.broadcast()));
        let within: Vec<_> =
            columns.iter().map(|column| format!("{column} BETWEEN {first}::inet AND {last}::inet")).collect();
        format!("({})", within.join(" OR "))
    }
}

/// When it is asked for, in a statement whose values begin with that ([`Values::asked_at`]).
const NOW: &str = "$1::timestamptz";
/// Sessions last used before this moment are idle.
const IDLE_SINCE: &str = "$2::timestamptz";
const NOT_CUT_OFF: &str = "(u.not_before IS NULL OR s.created_at >= u.not_before)";
const ACTIVE: &str = fresh!("s.", "active", "$1::timestamptz", "$2::timestamptz");
const SUSPENDED: &str = fresh!("s.", "suspended", "$1::timestamptz", "$2::timestamptz");
/// A live session `p` of the user `u`.
const LIVE_PEER: &str = concat!(
    fresh!("p.", "active", "$1::timestamptz", "$2::timestamptz"),
    " AND (u.not_before IS NULL OR p.created_at >= u.not_before)"
);

fn in_phase(phase: Phase) -> String {
    match phase {
        Phase::Active => format!("{ACTIVE} AND {NOT_CUT_OFF}"),
        Phase::Suspended => format!("{SUSPENDED} AND {NOT_CUT_OFF}"),
        Phase::Expired => format!(
            "s.state <> 'ended' AND (s.expires_at <= {NOW} OR s.last_seen_at < {IDLE_SINCE} \
                 OR extract(epoch FROM {NOW} - s.last_seen_at) * 1000 >= s.slide_ms) \
                 AND {NOT_CUT_OFF}"
        ),
        Phase::Ended => "(s.state = 'ended' OR s.created_at < u.not_before)".to_owned(),
    }
}

/// Whether the guard keeps the session `s` of the user `u`.
fn protected(values: &mut Values, guard: &Guard) -> String {
    if *guard == Guard::none() {
        return "false".to_owned();
    }
    let users: Vec<_> = guard.users.iter().map(|user| user.as_str().to_owned()).collect();
    let roles: Vec<_> = guard.roles.iter().map(|role| role.as_str().to_owned()).collect();
    let (users, roles) = (values.add(users), values.add(roles));
    format!(
        "(s.user_id = ANY ({users}::text[]) OR EXISTS \
             (SELECT FROM sessions p WHERE p.user_id = s.user_id AND {LIVE_PEER} AND p.roles && {roles}::text[]))"
    )
}

/// The filter as a condition on a session `s` of a user `u`.
fn condition(filter: &Filter, values: &mut Values) -> String {
    let Filter { id, user, phase, network, user_agent, role, created_before, created_after } = filter;
    let mut all = vec!["true".to_owned()];
    all.extend(id.map(|id| format!("s.id = {}", values.add(id.as_uuid()))));
    all.extend(user.as_ref().map(|user| format!("s.user_id = {}", values.add(user.as_str().to_owned()))));
    all.extend(phase.map(in_phase));
    all.extend(network.map(|network| values.within(&["s.last_ip", "s.bound_ip"], network)));
    all.extend(user_agent.as_ref().map(|text| format!("s.user_agent ILIKE {}", values.add(schema::pattern(text)))));
    all.extend(role.as_ref().map(|role| format!("{}::text = ANY (s.roles)", values.add(role.as_str().to_owned()))));
    all.extend(created_before.map(|before| format!("s.created_at < {}", values.add(Time(before)))));
    all.extend(created_after.map(|after| format!("s.created_at >= {}", values.add(Time(after)))));
    all.join(" AND ")
}

/// The rest of the sessions in the order of the list.
fn rest(values: &mut Values, after: Option<Position>, limit: u32) -> String {
    let after = after.unwrap_or(Position::FIRST);
    let (created_at, id) = (values.add(Time(after.created_at)), values.add(after.id.as_uuid()));
    format!("(s.created_at, s.id) < ({created_at}, {id}) ORDER BY s.created_at DESC, s.id DESC LIMIT {limit}")
}

pub(super) async fn search(
    client: &Object,
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Vec<Record>, Trouble> {
    let mut values = Values::asked_at(now, idle_since);
    let condition = condition(filter, &mut values);
    let rest = rest(&mut values, after, limit);
    // Not every filter asks for the time, and every value must have a type.
    let typed = format!("{NOW} IS NOT NULL AND {IDLE_SINCE} IS NOT NULL");
    let sql = format!("{} WHERE {typed} AND {condition} AND {rest}", read::SELECT);
    let rows = client.query(&sql, &values.given()).await?;
    rows.iter().map(read::record).collect()
}

pub(super) async fn count(
    client: &Object,
    filter: &Filter,
    guard: &Guard,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Count, Trouble> {
    let mut values = Values::asked_at(now, idle_since);
    let condition = condition(filter, &mut values);
    let protected = protected(&mut values, guard);
    let sql = format!(
        "SELECT count(*) FILTER (WHERE NOT protected) AS matching, count(*) FILTER (WHERE protected) AS skipped \
         FROM (SELECT {protected} AS protected FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE {NOW} IS NOT NULL AND {IDLE_SINCE} IS NOT NULL AND s.state <> 'ended' AND {condition}) matched"
    );
    let row = client.query_one(&sql, &values.given()).await?;
    let number = |column| Ok::<_, Trouble>(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0));
    Ok(Count { matching: number("matching")?, skipped: number("skipped")? })
}

/// One statement: who is protected, what matches and what ends are seen at the same moment.
pub(super) async fn end_batch(
    client: &Object,
    filter: &Filter,
    guard: &Guard,
    reason: EndReason,
    by: &By,
    after: Option<Position>,
) -> Result<Batch, Trouble> {
    let mut values = Values::asked_at(by.now, by.idle_since);
    let condition = condition(filter, &mut values);
    let protected = protected(&mut values, guard);
    let rest = rest(&mut values, after, BATCH);
    let reason = values.add(reason.name());
    let actor = values.add(schema::actor(&by.actor));
    let kind = values.add(kind::ENDED);
    let ip = values.add(by.ip);
    let user_agent = values.add(schema::storable_opt(by.user_agent.as_deref()).map(std::borrow::Cow::into_owned));
    let sql = format!(
        "WITH matched AS (SELECT s.id, s.created_at, {protected} AS protected \
             FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE {IDLE_SINCE} IS NOT NULL AND s.state <> 'ended' AND {condition} AND {rest}), \
         doomed AS (SELECT s.id FROM matched m JOIN sessions s ON s.id = m.id \
             WHERE NOT m.protected AND s.state <> 'ended' ORDER BY s.id FOR UPDATE OF s), \
         ended AS (UPDATE sessions s SET state = 'ended', state_reason = {reason}::text, ended_at = {NOW}, \
             ended_by = {actor}::text FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
             RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
         logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
             SELECT {NOW}, {kind}::text, id, user_id, {actor}::text, {ip}::inet, {user_agent}::text, \
             json_build_object('reason', {reason}::text) FROM ended) \
         SELECT m.id, m.created_at, m.protected, e.token_hash, e.state_reason \
         FROM matched m LEFT JOIN ended e ON e.id = m.id ORDER BY m.created_at DESC, m.id DESC"
    );
    let rows = client.query(&sql, &values.given()).await?;
    let mut batch = Batch::default();
    for row in &rows {
        if row.try_get("protected")? {
            batch.skipped += 1;
        } else if row.try_get::<_, Option<&[u8]>>("token_hash")?.is_some() {
            batch.ended.push(end::ended(row)?);
        }
    }
    if let Some(last) = rows.last().filter(|_| rows.len() == BATCH as usize) {
        let created_at = last.try_get::<_, Time>("created_at")?.0;
        batch.next = Some(Position { created_at, id: SessionId::from_uuid(last.try_get("id")?) });
    }
    Ok(batch)
}

/// Whether the guard keeps this user. The user's row must be locked: then nobody gets protected before the commit.
pub(super) async fn is_protected(
    client: &deadpool_postgres::Transaction<'_>,
    user: &UserId,
    guard: &Guard,
    by: &By,
) -> Result<bool, Trouble> {
    if guard.names(user) || guard.roles.is_empty() {
        return Ok(guard.names(user));
    }
    let mut values = Values::asked_at(by.now, by.idle_since);
    let user = values.add(user.as_str().to_owned());
    let roles = values.add(guard.roles.iter().map(Role::as_str).map(str::to_owned).collect::<Vec<_>>());
    let sql = format!(
        "SELECT EXISTS (SELECT FROM sessions p JOIN users u ON u.id = p.user_id \
         WHERE p.user_id = {user} AND {LIVE_PEER} AND p.roles && {roles}::text[])"
    );
    Ok(client.query_one(&sql, &values.given()).await?.try_get(0)?)
}
