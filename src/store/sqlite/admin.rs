//! The administrator's calls.

use super::write::Entry;
use super::{Sqlite, events, limit, search, user};
use crate::clock::Timestamp;
use crate::session::{EndReason, Record, SessionId, SuspendReason, UserId};
use crate::store::schema::{self, kind};
use crate::store::{
    Batch, By, Count, Crowds, Ended, EventFilter, EventPosition, EventRow, Filter, Guard, Limit, Position, Reactivated,
    StoreError, Suspended, User, UserChange, UserSettings,
};

impl Sqlite {
    pub(in crate::store) async fn user(
        &self,
        user: &UserId,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Option<User>, StoreError> {
        let user = user.clone();
        self.read(move |db| user::user(db, &user, now, idle_since)).await
    }

    pub(in crate::store) async fn set_user(
        &self,
        user: &UserId,
        settings: UserSettings,
        guard: &Guard,
        by: &By,
    ) -> Result<UserChange, StoreError> {
        let (user, guard, by) = (user.clone(), guard.clone(), by.clone());
        self.write(move |db| user::set_user(db, &user, &settings, &guard, &by)).await
    }

    pub(in crate::store) async fn search(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Vec<Record>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| search::search(db, &filter, after, limit, now, idle_since)).await
    }

    pub(in crate::store) async fn count(
        &self,
        filter: &Filter,
        guard: &Guard,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Count, StoreError> {
        let (filter, guard) = (filter.clone(), guard.clone());
        self.read(move |db| search::count(db, &filter, &guard, now, idle_since)).await
    }

    pub(in crate::store) async fn end_batch(
        &self,
        filter: &Filter,
        guard: &Guard,
        reason: EndReason,
        by: &By,
        after: Option<Position>,
    ) -> Result<Batch, StoreError> {
        let (filter, guard, by) = (filter.clone(), guard.clone(), by.clone());
        self.write(move |db| search::end_batch(db, &filter, &guard, reason, &by, after)).await
    }

    pub(in crate::store) async fn suspend_guarded(
        &self,
        id: SessionId,
        guard: &Guard,
        reason: SuspendReason,
        by: &By,
    ) -> Result<Suspended, StoreError> {
        let entry = Entry::of(kind::SUSPENDED, by, schema::reason_detail(reason.name()));
        let (guard, by) = (guard.clone(), by.clone());
        self.write(move |db| user::suspend(db, id, &guard, reason, &by, entry)).await
    }

    pub(in crate::store) async fn reactivate(
        &self,
        id: SessionId,
        limit: Limit,
        guard: &Guard,
        by: &By,
    ) -> Result<Reactivated, StoreError> {
        let (guard, by) = (guard.clone(), by.clone());
        self.write(move |db| user::reactivate(db, id, limit, &guard, &by)).await
    }

    pub(in crate::store) async fn crowds(
        &self,
        after: Option<&UserId>,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Crowds, StoreError> {
        let after = after.cloned();
        self.read(move |db| limit::crowds(db, after.as_ref(), now, idle_since)).await
    }

    pub(in crate::store) async fn evict_excess(
        &self,
        user: &UserId,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Vec<Ended>, StoreError> {
        let user = user.clone();
        self.write(move |db| limit::evict_excess(db, &user, limit, now)).await
    }

    pub(in crate::store) async fn events(
        &self,
        filter: &EventFilter,
        after: Option<EventPosition>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| events::events(db, &filter, after, limit)).await
    }

    pub(in crate::store) async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        let name = name.to_owned();
        self.write(move |db| events::secret(db, &name)).await
    }
}
