//! What other gateways change, as the audit log tells it, for where LISTEN does not work.
//!
//! # Race: the order of commits
//! An event gets its number when it is written and becomes visible when its transaction commits, and these orders differ.
//! So the numbers that are missing below the highest one seen are remembered and asked for by name, for as long as a
//! transaction can last; after that they are those of transactions that were rolled back.
//!
//! When it is put in place, nothing is known of the transactions that are under way. A time later than any of them can
//! last, it says that anything may have changed.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use super::Postgres;
use super::call::Trouble;
use crate::clock::{self, Uptime};
use crate::session::SessionId;
use crate::store::schema::kind;
use crate::store::{News, Notice, StoreError};

/// The most events in one answer. When there are more, the next question follows at once.
const PAGE: usize = 2_000;
/// The most numbers that are asked for by name. When more are missing, anything may have changed.
const MISSING: usize = 10_000;

/// Reads the audit log every so often.
#[derive(Debug)]
pub(in crate::store) struct Poller {
    postgres: Postgres,
    interval: Duration,
    /// Longer than any transaction lasts.
    window: Duration,
    place: Option<Place>,
}

/// How far the log was read.
#[derive(Debug)]
struct Place {
    highest: i64,
    /// The numbers below that were not there, and since when.
    missing: BTreeMap<i64, Uptime>,
    heard: VecDeque<News>,
    /// When the transactions are over that were under way at the beginning.
    settled: Option<Uptime>,
    full: bool,
}

/// `$1` the highest number read, `$2` those that were missing, `$3` how many, `$4` the kind that changes nothing that is
/// cached.
const READ: &str = "WITH new AS (SELECT id, kind, session_id, user_id FROM events \
         WHERE id > $1 OR id = ANY ($2::bigint[]) ORDER BY id LIMIT $3) \
     SELECT n.id, CASE WHEN n.kind <> $4 THEN coalesce(n.session_id, s.id) END AS session FROM new n \
     LEFT JOIN sessions s ON n.session_id IS NULL AND n.kind <> $4 AND s.user_id = n.user_id AND s.state <> 'ended' \
     ORDER BY n.id";

impl Poller {
    pub(in crate::store) const fn new(postgres: Postgres, interval: Duration, window: Duration) -> Self {
        Self { postgres, interval, window, place: None }
    }

    pub(in crate::store) async fn attach(&mut self) -> Result<(), StoreError> {
        let highest = self.postgres.last_event().await?;
        let settled = Some(clock::uptime().plus(self.window));
        self.place = Some(Place { highest, missing: BTreeMap::new(), heard: VecDeque::new(), settled, full: false });
        Ok(())
    }

    pub(in crate::store) async fn next(&mut self) -> Result<Notice, StoreError> {
        let Some(place) = &mut self.place else { return Err(StoreError::Unreachable("not attached".into())) };
        loop {
            if let Some(news) = place.heard.pop_front() {
                return Ok(Notice { news, own: false, at: None });
            }
            if !place.full {
                tokio::time::sleep(self.interval).await;
            }
            // Nothing of the place changes before the answer is there, so that this can be dropped while it waits.
            let missing: Vec<i64> = place.missing.keys().copied().collect();
            let read = match self.postgres.read_events(place.highest, &missing, PAGE).await {
                Ok(read) => read,
                Err(error) => {
                    self.place = None;
                    return Err(error);
                }
            };
            place.take(&read, clock::uptime(), self.window);
        }
    }
}

impl Place {
    fn take(&mut self, read: &[(i64, Option<SessionId>)], now: Uptime, window: Duration) {
        let mut sessions: Vec<SessionId> = Vec::new();
        let mut numbers = 0;
        let mut last = None;
        for (number, session) in read {
            if last != Some(*number) {
                numbers += 1;
                last = Some(*number);
                self.pass(*number, now);
            }
            sessions.extend(session);
        }
        self.full = numbers >= PAGE;
        sessions.sort_unstable();
        sessions.dedup();
        if !sessions.is_empty() {
            self.heard.push_back(News::Sessions(sessions));
        }
        self.missing.retain(|_, since| now.since(*since) < window);
        let settled = self.settled.take_if(|settled| now >= *settled).is_some();
        if settled || self.missing.len() > MISSING {
            // The many are not looked for any more; instead, a transaction's time from now, everything is in doubt again.
            if self.missing.len() > MISSING {
                self.missing.clear();
                self.settled = Some(now.plus(window));
            }
            self.heard.push_back(News::Anything);
        }
    }

    /// An event is there; those between it and the highest are not.
    fn pass(&mut self, number: i64, now: Uptime) {
        self.missing.remove(&number);
        if number > self.highest {
            let gap = (self.highest.saturating_add(1)..number).rev().take(MISSING + 1);
            self.missing.extend(gap.map(|missing| (missing, now)));
            self.highest = number;
        }
    }
}

impl Postgres {
    /// The number of the last event.
    async fn last_event(&self) -> Result<i64, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let read = async {
            let row = client.query_one("SELECT coalesce(max(id), 0) FROM events", &[]).await?;
            Ok(row.try_get(0)?)
        };
        let read = call.bounded(read).await;
        call.settle(client, read)
    }

    /// The events above `highest` and those that were missing, with the sessions that each concerns.
    async fn read_events(
        &self,
        highest: i64,
        missing: &[i64],
        limit: usize,
    ) -> Result<Vec<(i64, Option<SessionId>)>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = async {
            let statement = client.prepare_cached(READ).await?;
            let rows = client.query(&statement, &[&highest, &missing, &limit, &kind::CREATED]).await?;
            let read = rows.iter().map(|row| {
                let session: Option<uuid::Uuid> = row.try_get("session")?;
                Ok((row.try_get("id")?, session.map(SessionId::from_uuid)))
            });
            read.collect::<Result<_, Trouble>>()
        };
        let read = call.bounded(read).await;
        call.settle(client, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn id(number: u128) -> SessionId {
        SessionId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn second(number: u64) -> Uptime {
        Uptime::from_micros(number * 1_000_000)
    }

    fn place(highest: i64) -> Place {
        Place { highest, missing: BTreeMap::new(), heard: VecDeque::new(), settled: None, full: false }
    }

    #[test]
    fn an_event_that_is_committed_after_a_later_one_is_asked_for_until_it_can_come_no_more() {
        let mut place = place(5);
        place.take(&[(8, Some(id(8)))], second(0), WINDOW);
        assert_eq!(place.missing.keys().copied().collect::<Vec<_>>(), [6, 7]);
        assert_eq!(place.heard.pop_front(), Some(News::Sessions(vec![id(8)])));
        place.take(&[(7, Some(id(7)))], second(9), WINDOW);
        assert_eq!(place.heard.pop_front(), Some(News::Sessions(vec![id(7)])));
        assert_eq!(place.missing.keys().copied().collect::<Vec<_>>(), [6]);
        place.take(&[], second(11), WINDOW);
        assert!(place.missing.is_empty() && place.heard.is_empty());
        assert_eq!(place.highest, 8);
    }

    #[test]
    fn events_of_one_answer_are_one_news_with_each_session_once() {
        let mut place = place(0);
        place.take(&[(1, Some(id(2))), (2, None), (3, Some(id(1))), (3, Some(id(2)))], second(0), WINDOW);
        assert_eq!(place.heard, [News::Sessions(vec![id(1), id(2)])]);
    }

    #[test]
    fn when_too_many_are_missing_anything_may_have_changed_now_and_once_more_later() {
        let mut place = place(0);
        place.take(&[(i64::MAX, None)], second(0), WINDOW);
        assert!(place.missing.is_empty());
        assert_eq!(place.heard.pop_front(), Some(News::Anything));
        place.take(&[], second(5), WINDOW);
        assert!(place.heard.is_empty());
        place.take(&[], second(10), WINDOW);
        assert_eq!(place.heard.pop_front(), Some(News::Anything));
        place.take(&[], second(30), WINDOW);
        assert!(place.heard.is_empty());
    }
}
