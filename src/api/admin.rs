//! `/_sessions/admin`: what administrators see and change.
//!
//! | call | permission |
//! |---|---|
//! | `GET /sessions`, `GET /sessions/{id}`, `GET /users/{user}`, `GET /events` | `view` |
//! | `DELETE /sessions`, `DELETE /sessions/{id}`, `POST /sessions/{id}/suspend`, `…/reactivate` | `logout` |
//! | `PUT /users/{user}`, `POST /users/{user}/logout` | `logout` |
//!
//! Who has only `logout` cannot touch protected users (`guard`). `/users?user=ID` and `/users/logout?user=ID` are for user
//! ids that do not fit into a path.

mod events;
mod sessions;
mod show;
mod users;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Method, Response, request};
use percent_encoding::percent_decode_str;

use super::Call;
use super::own::caller;
use crate::config::Permission;
use crate::error::{Code, Problem};
use crate::policy::Permit;
use crate::session::{Actor, Session, SessionId, UserId};
use crate::store::{By, Event, Guard};

/// Below this path an administrator's calls are.
pub(super) const PREFIX: &str = "/_sessions/admin";

/// One call of administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    /// `/sessions`
    Sessions,
    /// `/sessions/{id}`
    Session(SessionId),
    /// `/sessions/{id}/suspend`
    Suspend(SessionId),
    /// `/sessions/{id}/reactivate`
    Reactivate(SessionId),
    /// `/users/{user}`, or `/users?user=`
    User(Option<UserId>),
    /// `/users/{user}/logout`, or `/users/logout?user=`
    Logout(Option<UserId>),
    /// `/events`
    Events,
}

impl Endpoint {
    fn of(path: &str) -> Result<Self, Problem> {
        let unknown = || Problem::new(Code::NotFound);
        let rest = path.strip_prefix(PREFIX).unwrap_or(path);
        let mut words = rest.split('/').skip(1);
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("sessions"), None, None, None) => Ok(Self::Sessions),
            (Some("sessions"), Some(text), then, None) => {
                let wrong = || Problem::invalid("id", "The id is no session id: it must be a UUID.");
                let id = SessionId::parse(text).ok_or_else(wrong)?;
                match then {
                    None => Ok(Self::Session(id)),
                    Some("suspend") => Ok(Self::Suspend(id)),
                    Some("reactivate") => Ok(Self::Reactivate(id)),
                    Some(_) => Err(unknown()),
                }
            }
            (Some("users"), None, None, None) => Ok(Self::User(None)),
            // A user called "logout" is found by `?user=`.
            (Some("users"), Some("logout"), None, None) => Ok(Self::Logout(None)),
            (Some("users"), Some(text), None, None) => Ok(Self::User(Some(user(text)?))),
            (Some("users"), Some(text), Some("logout"), None) => Ok(Self::Logout(Some(user(text)?))),
            (Some("events"), None, None, None) => Ok(Self::Events),
            _ => Err(unknown()),
        }
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::Sessions | Self::Session(_) => "GET, HEAD, DELETE",
            Self::Suspend(_) | Self::Reactivate(_) | Self::Logout(_) => "POST",
            Self::User(_) => "GET, HEAD, PUT",
            Self::Events => "GET, HEAD",
        }
    }
}

/// The user id in a piece of a path.
fn user(text: &str) -> Result<UserId, Problem> {
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| Problem::invalid("user", "The user id is no UTF-8."))?;
    user_id(&text)
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    UserId::parse(text).map_err(|why| Problem::invalid("user", format!("The user id {why}.")))
}

/// The user of a path, or of the parameter `user`.
fn named(of_path: Option<UserId>, query: &super::query::Query<'_>) -> Result<UserId, Problem> {
    match (of_path, query.one("user")?) {
        (Some(user), None) => Ok(user),
        (None, Some(text)) => user_id(text),
        (None, None) => Err(Problem::invalid("user", "Say which user: …/users/ID or …/users?user=ID.")),
        (Some(_), Some(_)) => Err(Problem::invalid("user", "The user stands in the path already.")),
    }
}

/// An administrator and what they may do.
struct Caller<'a> {
    session: &'a Session,
    /// Who is out of their reach.
    guard: Guard,
    /// They themselves, for the audit log.
    by: By,
}

impl Caller<'_> {
    /// Writes down a refusal, not more than one a minute for this session.
    async fn refused(&self, call: &Call<'_>, code: Code, target: Option<&UserId>, detail: serde_json::Value) {
        // A path may be as long as a request's head; nobody needs more of it than this.
        let path: String = call.path.chars().take(256).collect();
        let mut what = serde_json::json!({ "code": code.rule().name, "path": path });
        if let (Some(what), serde_json::Value::Object(more)) = (what.as_object_mut(), detail) {
            what.extend(more);
        }
        let event = Event {
            kind: "admin_refused",
            at: self.by.now,
            session: Some(self.session.id),
            user: target.cloned(),
            actor: self.by.actor.clone(),
            ip: self.by.ip,
            user_agent: self.by.user_agent.clone(),
            detail: what,
        };
        call.sessions.record_refusal(self.session.id, event).await;
    }

    /// Passes a result on, and writes it down when it says that the target is protected.
    async fn noted<T>(
        &self,
        call: &Call<'_>,
        target: Option<&UserId>,
        result: Result<T, Problem>,
    ) -> Result<T, Problem> {
        if let Err(Problem { code: Code::ProtectedUser, .. }) = &result {
            self.refused(call, Code::ProtectedUser, target, serde_json::Value::Null).await;
        }
        result
    }

    /// Refuses a target that is protected by name. By its roles, the store finds out in the transaction of the change.
    fn require_unprotected(&self, target: &UserId) -> Result<(), Problem> {
        if self.guard.names(target) { Err(Problem::new(Code::ProtectedUser)) } else { Ok(()) }
    }
}

/// Answers an administrator's call.
///
/// # Errors
/// [`Code::RoleRequired`] without the permission, whatever the call; else the problem to answer.
pub(super) async fn answer(
    call: &Call<'_>,
    permit: &Permit,
    request: &request::Parts,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    let (session, user) = caller(permit)?;
    let admin = &call.config.admin;
    let held = admin.permission(user.as_str(), |role| session.identity.has_role(role));
    let needed = match request.method {
        Method::GET | Method::HEAD => Permission::View,
        _ => Permission::Logout,
    };
    let user_agent =
        request.headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let caller = Caller {
        session,
        guard: match held {
            Some(Permission::LogoutAll) => Guard::none(),
            Some(Permission::Logout | Permission::View) | None => {
                Guard { users: admin.users.clone(), roles: admin.logout_all.clone() }
            }
        },
        by: By { ip: Some(call.ip), user_agent, ..By::new(Actor::Admin(user), call.now, None) },
    };
    if held < Some(needed) {
        let detail = serde_json::json!({ "method": request.method.as_str(), "needs": needed.name() });
        caller.refused(call, Code::RoleRequired, None, detail).await;
        let sentence = format!("This call needs the permission {} of [admin].", needed.name());
        return Err(Problem::with_detail(Code::RoleRequired, sentence));
    }
    let endpoint = Endpoint::of(call.path)?;
    let allow = endpoint.methods();
    match (endpoint, &request.method) {
        (Endpoint::Sessions, &Method::GET | &Method::HEAD) => sessions::list(call, &caller).await,
        (Endpoint::Sessions, &Method::DELETE) => sessions::end_matching(call, &caller).await,
        (Endpoint::Session(id), &Method::GET | &Method::HEAD) => sessions::show(call, &caller, id).await,
        (Endpoint::Session(id), &Method::DELETE) => sessions::end_one(call, &caller, id).await,
        (Endpoint::Suspend(id), &Method::POST) => sessions::suspend(call, &caller, id).await,
        (Endpoint::Reactivate(id), &Method::POST) => sessions::reactivate(call, &caller, id).await,
        (Endpoint::User(user), &Method::GET | &Method::HEAD) => users::show(call, user).await,
        (Endpoint::User(user), &Method::PUT) => users::set(call, &caller, user, &request.headers, read).await,
        (Endpoint::Logout(user), &Method::POST) => users::log_out(call, &caller, user).await,
        (Endpoint::Events, &Method::GET | &Method::HEAD) => events::list(call).await,
        _ => Err(Problem { allow: Some(allow), ..Problem::new(Code::MethodNotAllowed) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_call_and_an_encoded_user_is_the_user() {
        let of = |path: &str| Endpoint::of(&format!("{PREFIX}{path}"));
        let user = |id: &str| Some(UserId::parse(id).unwrap());
        assert_eq!(of("/sessions").unwrap(), Endpoint::Sessions);
        assert_eq!(of("/users/ann").unwrap(), Endpoint::User(user("ann")));
        assert_eq!(of("/users/Zo%C3%AB%20A").unwrap(), Endpoint::User(user("Zoë A")));
        assert_eq!(of("/users/ann/logout").unwrap(), Endpoint::Logout(user("ann")));
        assert_eq!(of("/users/logout").unwrap(), Endpoint::Logout(None));
        assert_eq!(of("/users").unwrap(), Endpoint::User(None));
        let id = SessionId::generate().unwrap();
        assert_eq!(of(&format!("/sessions/{id}/suspend")).unwrap(), Endpoint::Suspend(id));
        for unknown in
            ["", "/", "/session", "/sessions/", "/users/", "/users/ann/login", "/events/7", "/users/a/logout/x"]
        {
            assert!(of(unknown).is_err(), "{unknown}");
        }
    }
}
