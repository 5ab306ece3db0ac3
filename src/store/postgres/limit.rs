//! Limits that come into force for sessions that are there already.

use deadpool_postgres::Object;
use uuid::Uuid;

use super::call::Trouble;
use super::create::{KEEP_NEWEST, KEEP_RECENT};
use super::end;
use super::fresh::fresh;
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::{Actor, UserId};
use crate::store::schema::{self, kind};
use crate::store::user::CROWDS;
use crate::store::{Crowd, Crowds, Ended, Limit, OnExceed};

/// `$1` after this user, `$2` now, `$3` idle since, `$4` how many users. Users without a live session are there too, so
/// that the last row says where the next page begins.
const FIND: &str = concat!(
    "WITH page AS (SELECT id, not_before FROM users WHERE id > $1 ORDER BY id LIMIT $4) \
     SELECT u.id, live.count, live.roles FROM page u CROSS JOIN LATERAL \
     (SELECT count(*) AS count, array_agg(array_to_string(s.roles, ',')) AS roles FROM sessions s \
         WHERE s.user_id = u.id AND ",
    fresh!("s.", "active", "$2::timestamptz", "$3::timestamptz"),
    " AND (u.not_before IS NULL OR s.created_at >= u.not_before)) AS live ORDER BY u.id"
);

pub(super) async fn crowds(
    client: &Object,
    after: Option<&UserId>,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Crowds, Trouble> {
    let statement = client.prepare_cached(FIND).await?;
    // No id is empty, so that every one is after this.
    let after = after.map_or("", UserId::as_str);
    let idle_since = Time(idle_since.unwrap_or(Timestamp::from_millis(i64::MIN)));
    let rows = client.query(&statement, &[&after, &Time(now), &idle_since, &i64::from(CROWDS)]).await?;
    let mut crowds = Crowds::default();
    for row in &rows {
        if row.try_get::<_, i64>("count")? > 1 {
            let roles: Vec<&str> = row.try_get("roles")?;
            crowds.users.extend(Crowd::new(row.try_get("id")?, roles.iter().flat_map(|roles| roles.split(','))));
        }
    }
    if let Some(last) = rows.last().filter(|_| rows.len() == CROWDS as usize) {
        crowds.next = UserId::parse(last.try_get("id")?).ok();
    }
    Ok(crowds)
}

pub(super) async fn evict_excess(
    client: &mut Object,
    user: &UserId,
    limit: Limit,
    now: Timestamp,
) -> Result<Vec<Ended>, Trouble> {
    let transaction = client.transaction().await?;
    let lock =
        transaction.prepare_cached("SELECT max_sessions, not_before FROM users WHERE id = $1 FOR UPDATE").await?;
    let Some(row) = transaction.query_opt(&lock, &[&user.as_str()]).await? else { return Ok(Vec::new()) };
    let by_user = row.try_get::<_, Option<i32>>("max_sessions")?.and_then(|max| u32::try_from(max).ok());
    let Some(max) = limit.resolve(by_user) else { return Ok(Vec::new()) };
    let start = Time(Timestamp::from_millis(i64::MIN));
    let not_before = row.try_get::<_, Option<Time>>("not_before")?.unwrap_or(start);
    let statement = transaction
        .prepare_cached(match limit.on_exceed {
            OnExceed::EvictOldest | OnExceed::RejectNew => KEEP_NEWEST,
            OnExceed::EvictLeastRecent => KEEP_RECENT,
        })
        .await?;
    // A creation keeps one place free for the session to come; here none comes.
    let places = i64::from(max.get()) + 1;
    let policy = schema::actor(&Actor::Policy);
    let rows = transaction
        .query(
            &statement,
            &[
                &user.as_str(),
                &Time(now),
                &limit.idle_since.map_or(start, Time),
                &not_before,
                &None::<Uuid>,
                &places,
                &policy,
                &policy,
                &kind::EVICTED,
                &kind::ENDED,
                &None::<Uuid>,
            ],
        )
        .await?;
    transaction.commit().await?;
    rows.iter().map(end::ended).collect()
}
