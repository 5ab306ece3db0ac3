//! What a session may see and end: its user's own sessions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};

use super::cursor::List;
use super::query::Query;
use super::show::{Count, Current, Page, Row};
use super::{Call, json};
use crate::error::{Code, Problem};
use crate::http::cookie;
use crate::policy::Permit;
use crate::session::{Actor, EndReason, Record, Session, SessionId, UserId};
use crate::sessions::{OwnedEnding, OwnedWhich};
use crate::store::Position;

/// `GET /_sessions?limit=&cursor=`
pub(super) async fn list(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    let (session, user) = caller(permit)?;
    let query = Query::parse(call.query, &["limit", "cursor"])?;
    let limit = query.limit()?;
    let list = List::new("own", user.as_str(), &query);
    let after = list.read(call, &query).await?;
    // One more than is shown tells whether there is a next page.
    let mut records = call.sessions.list(user, after, limit + 1, call.now).await?;
    let more = records.len() > limit as usize;
    records.truncate(limit as usize);
    let next_cursor = match records.last().filter(|_| more) {
        Some(last) => Some(list.write(call, Position { created_at: last.created_at, id: last.id }).await?),
        None => None,
    };
    let sessions = records.into_iter().map(|record| Row::new(&as_known(record, session), session.id)).collect();
    json(StatusCode::OK, &Page { sessions, next_cursor })
}

/// `GET /_sessions/current`
pub(super) async fn current(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    let (session, _) = caller(permit)?;
    let record = call.sessions.get(session.id).await?.ok_or_else(|| Problem::new(Code::UnknownToken))?;
    json(StatusCode::OK, &Current::new(as_known(record, session)))
}

/// `DELETE /_sessions/current?everywhere=`: logging out.
pub(super) async fn end_current(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    let (session, user) = caller(permit)?;
    let query = Query::parse(call.query, &["everywhere"])?;
    let everywhere = match query.one("everywhere")? {
        Some(_) => query.flag("everywhere")?,
        None => call.config.logout_everywhere,
    };
    let (which, reason) = if everywhere {
        (OwnedWhich::AllOf(user.clone()), EndReason::LoggedOutElsewhere)
    } else {
        (OwnedWhich::One(session.id), EndReason::LoggedOut)
    };
    end(call, which, reason, session, user).await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    clear_cookie(call, &mut response)?;
    Ok(response)
}

/// `DELETE /_sessions/{id}`
pub(super) async fn end_one(call: &Call<'_>, permit: &Permit, id: SessionId) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    let (session, user) = caller(permit)?;
    let ended = end(call, OwnedWhich::OwnedBy(user.clone(), vec![id]), EndReason::Revoked, session, user).await?;
    if ended == 0 {
        // Somebody else's, long over, or never there: all the same to the caller.
        return Err(Problem::with_detail(Code::NotFound, "You have no live session with this id."));
    }
    counted(call, ended, id == session.id)
}

/// `DELETE /_sessions?id=&id=`, `?others=true` or `?all=true`
pub(super) async fn end_several(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    let (session, user) = caller(permit)?;
    let query = Query::parse(call.query, &["id", "others", "all"])?;
    let (ids, others, all) = (query.ids("id")?, query.flag("others")?, query.flag("all")?);
    let (which, reason, own_too) = match (ids.is_empty(), others, all) {
        (false, false, false) => {
            let own_too = ids.contains(&session.id);
            (OwnedWhich::OwnedBy(user.clone(), ids), EndReason::Revoked, own_too)
        }
        (true, true, false) => (OwnedWhich::AllBut(user.clone(), session.id), EndReason::LoggedOutElsewhere, false),
        (true, false, true) => (OwnedWhich::AllOf(user.clone()), EndReason::LoggedOutElsewhere, true),
        (true, false, false) => {
            return Err(Problem::invalid("id", "Say which: id=… (repeatable), others=true or all=true."));
        }
        _ => return Err(Problem::invalid("id", "Give only one of id, others and all.")),
    };
    let ended = end(call, which, reason, session, user).await?;
    counted(call, ended, own_too)
}

pub(super) async fn end(
    call: &Call<'_>,
    which: OwnedWhich,
    reason: EndReason,
    session: &Session,
    user: UserId,
) -> Result<usize, Problem> {
    let ending = OwnedEnding { reason, current: Some(session.id), actor: Actor::User(user), now: call.now };
    Ok(call.sessions.end(which, ending).await?.len())
}

fn counted(call: &Call<'_>, ended: usize, own_too: bool) -> Result<Response<Bytes>, Problem> {
    let mut response = json(StatusCode::OK, &Count { ended })?;
    if own_too {
        clear_cookie(call, &mut response)?;
    }
    Ok(response)
}

/// The browser forgets the cookie of a session that is over.
pub(super) fn clear_cookie(call: &Call<'_>, response: &mut Response<Bytes>) -> Result<(), Problem> {
    if call.by_cookie() {
        let clear = cookie::clear_cookie(call.config.token.credential.cookie(), &call.config.token.cookie)?;
        response.headers_mut().insert(SET_COOKIE, clear);
    }
    Ok(())
}

pub(super) fn caller(permit: &Permit) -> Result<(&Arc<Session>, UserId), Problem> {
    let session = permit.session().ok_or_else(|| Problem::new(Code::MissingToken))?;
    // It was an acceptable id when the session was created.
    let user = UserId::parse(&session.identity.user_text()).map_err(|_| Problem::new(Code::Internal))?;
    Ok((session, user))
}

/// The caller's own last use is known here before it is written down.
fn as_known(mut record: Record, session: &Session) -> Record {
    if record.id == session.id {
        record.last_seen_at = record.last_seen_at.max(session.last_seen());
    }
    record
}
