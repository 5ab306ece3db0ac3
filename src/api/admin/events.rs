//! `GET /events?…`: the audit log.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::show::{EventLine, EventPage};
use crate::api::cursor::List;
use crate::api::query::Query;
use crate::api::{Call, json};
use crate::error::Problem;
use crate::session::SessionId;
use crate::store::{EventFilter, EventPosition};

pub(super) async fn list(call: &Call<'_>) -> Result<Response<Bytes>, Problem> {
    let known = ["user", "session", "kind", "actor", "ip", "since", "until", "limit", "cursor"];
    let query = Query::parse(call.query, &known)?;
    let wrong_id = || Problem::invalid("session", "The value is no session id: it must be a UUID.");
    let filter = EventFilter {
        user: query.one("user")?.map(super::user_id).transpose()?,
        session: query.one("session")?.map(|id| SessionId::parse(id).ok_or_else(wrong_id)).transpose()?,
        kind: query.one("kind")?.map(str::to_owned),
        actor: query.one("actor")?.map(str::to_owned),
        network: query.network("ip")?,
        since: query.time("since")?,
        until: query.time("until")?,
    };
    let limit = query.limit()?;
    let list = List::new("admin/events", "", &query);
    let after = list.read(call, &query).await?;
    // One more than is shown tells whether there is a next page.
    let mut rows = call.sessions.events(filter, after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = match rows.last().filter(|_| more) {
        Some(last) => Some(list.write(call, EventPosition { at: last.at, id: last.id }).await?),
        None => None,
    };
    json(StatusCode::OK, &EventPage { events: rows.into_iter().map(EventLine::from).collect(), next_cursor })
}
