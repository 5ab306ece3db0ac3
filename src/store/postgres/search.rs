//! Looking for sessions of all users, and ending what was found.
//!
//! The statements are put together of what the filter asks for, so that the database plans for what is there. They are
//! prepared anew each time: there are many of them, and administrators are few.

use deadpool_postgres::Object;
use ipnet::IpNet;
use tokio_postgres::types::ToSql;

use super::call::Trouble;
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

/// When it is asked for, in the statement.
struct Present {
    now: String,
    idle_since: String,
}

impl Present {
    fn new(values: &mut Values, now: Timestamp, idle_since: Option<Timestamp>) -> Self {
        let now = values.add(Time(now));
        let idle_since = values.add(Time(idle_since.unwrap_or(Timestamp::from_millis(i64::MIN))));
        Self { now: format!("{now}::timestamptz"), idle_since: format!("{idle_since}::timestamptz") }
    }

    /// The condition that the session is in this state and neither expired, idle nor cut off.
    fn fresh(&self, table: &str, state: &str) -> String {
        let Self { now, idle_since } = self;
        format!(
            "{table}.state <> 'ended' AND {table}.state = '{state}' \
             AND ({table}.expires_at IS NULL OR {table}.expires_at > {now}) AND {table}.last_seen_at >= {idle_since} \
             AND ({table}.slide_ms IS NULL OR extract(epoch FROM {now} - {table}.last_seen_at) * 1000 < {table}.slide_ms) \
             AND (u.not_before IS NULL OR {table}.created_at >= u.not_before)"
        )
    }

    fn phase(&self, phase: Phase) -> String {
        let Self { now, idle_since } = self;
        match phase {
            Phase::Active => self.fresh("s", "active"),
            Phase::Suspended => self.fresh("s", "suspended"),
            Phase::Expired => format!(
                "s.state <> 'ended' AND (s.expires_at <= {now} OR s.last_seen_at < {idle_since} \
                 OR extract(epoch FROM {now} - s.last_seen_at) * 1000 >= s.slide_ms) \
                 AND (u.not_before IS NULL OR s.created_at >= u.not_before)"
            ),
            Phase::Ended => "(s.state = 'ended' OR s.created_at < u.not_before)".to_owned(),
        }
    }

    /// Whether the guard keeps the session `s` of the user `u`.
    fn protected(&self, values: &mut Values, guard: &Guard) -> String {
        if *guard == Guard::none() {
            return "false".to_owned();
        }
        let users: Vec<_> = guard.users.iter().map(|user| user.as_str().to_owned()).collect();
        let roles: Vec<_> = guard.roles.iter().map(|role| role.as_str().to_owned()).collect();
        let (users, roles, live) = (values.add(users), values.add(roles), self.fresh("p", "active"));
        format!(
            "(s.user_id = ANY ({users}::text[]) OR EXISTS \
             (SELECT FROM sessions p WHERE p.user_id = s.user_id AND {live} AND p.roles && {roles}::text[]))"
        )
    }
}

/// The filter as a condition on a session `s` of a user `u`.
fn condition(filter: &Filter, values: &mut Values, present: &Present) -> String {
    let Filter { id, user, phase, network, user_agent, role, created_before, created_after } = filter;
    let mut all = vec!["true".to_owned()];
    all.extend(id.map(|id| format!("s.id = {}", values.add(id.as_uuid()))));
    all.extend(user.as_ref().map(|user| format!("s.user_id = {}", values.add(user.as_str().to_owned()))));
    all.extend(phase.map(|phase| present.phase(phase)));
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
    let mut values = Values::default();
    let present = Present::new(&mut values, now, idle_since);
    let condition = condition(filter, &mut values, &present);
    let rest = rest(&mut values, after, limit);
    // Not every filter asks for the time, and every value must have a type.
    let typed = format!("{} IS NOT NULL AND {} IS NOT NULL", present.now, present.idle_since);
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
    let mut values = Values::default();
    let present = Present::new(&mut values, now, idle_since);
    let condition = condition(filter, &mut values, &present);
    let protected = present.protected(&mut values, guard);
    let Present { now, idle_since } = present;
    let sql = format!(
        "SELECT count(*) FILTER (WHERE NOT protected) AS matching, count(*) FILTER (WHERE protected) AS skipped \
         FROM (SELECT {protected} AS protected FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE {now} IS NOT NULL AND {idle_since} IS NOT NULL AND s.state <> 'ended' AND {condition}) matched"
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
    let mut values = Values::default();
    let present = Present::new(&mut values, by.now, by.idle_since);
    let condition = condition(filter, &mut values, &present);
    let protected = present.protected(&mut values, guard);
    let rest = rest(&mut values, after, BATCH);
    let reason = values.add(reason.name());
    let actor = values.add(schema::actor(&by.actor));
    let kind = values.add(kind::ENDED);
    let ip = values.add(by.ip);
    let user_agent = values.add(schema::storable_opt(by.user_agent.as_deref()).map(std::borrow::Cow::into_owned));
    let Present { now, idle_since } = present;
    let sql = format!(
        "WITH matched AS (SELECT s.id, s.created_at, {protected} AS protected \
             FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE {idle_since} IS NOT NULL AND s.state <> 'ended' AND {condition} AND {rest}), \
         doomed AS (SELECT s.id FROM matched m JOIN sessions s ON s.id = m.id \
             WHERE NOT m.protected AND s.state <> 'ended' ORDER BY s.id FOR UPDATE OF s), \
         ended AS (UPDATE sessions s SET state = 'ended', state_reason = {reason}::text, ended_at = {now}, \
             ended_by = {actor}::text FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
             RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
         logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
             SELECT {now}, {kind}::text, id, user_id, {actor}::text, {ip}::inet, {user_agent}::text, \
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
    let mut values = Values::default();
    let live = Present::new(&mut values, by.now, by.idle_since).fresh("p", "active");
    let user = values.add(user.as_str().to_owned());
    let roles = values.add(guard.roles.iter().map(Role::as_str).map(str::to_owned).collect::<Vec<_>>());
    let sql = format!(
        "SELECT EXISTS (SELECT FROM sessions p JOIN users u ON u.id = p.user_id \
         WHERE p.user_id = {user} AND {live} AND p.roles && {roles}::text[])"
    );
    Ok(client.query_one(&sql, &values.given()).await?.try_get(0)?)
}
