//! The administrator's calls.

use super::{Postgres, events, limit, search, user};
use crate::clock::Timestamp;
use crate::session::{EndReason, Record, SessionId, SuspendReason, UserId};
use crate::store::{
    Batch, By, Count, Crowds, Ended, EventFilter, EventPosition, EventRow, Filter, Guard, Limit, Position, Reactivated,
    StoreError, Suspended, User, UserChange, UserSettings,
};

impl Postgres {
    pub(in crate::store) async fn user(
        &self,
        user: &UserId,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Option<User>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(user::user(&client, user, now, idle_since)).await;
        call.settle(client, found)
    }

    pub(in crate::store) async fn set_user(
        &self,
        user: &UserId,
        settings: UserSettings,
        guard: &Guard,
        by: &By,
    ) -> Result<UserChange, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let changed = call.bounded(user::set_user(&mut client, user, settings, guard, by)).await;
        call.settle(client, changed)
    }

    pub(in crate::store) async fn search(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Vec<Record>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(search::search(&client, filter, after, limit, now, idle_since)).await;
        call.settle(client, found)
    }

    pub(in crate::store) async fn count(
        &self,
        filter: &Filter,
        guard: &Guard,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Count, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let counted = call.bounded(search::count(&client, filter, guard, now, idle_since)).await;
        call.settle(client, counted)
    }

    pub(in crate::store) async fn end_batch(
        &self,
        filter: &Filter,
        guard: &Guard,
        reason: EndReason,
        by: &By,
        after: Option<Position>,
    ) -> Result<Batch, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let ended = call.bounded(search::end_batch(&client, filter, guard, reason, by, after)).await;
        call.settle(client, ended)
    }

    pub(in crate::store) async fn suspend_guarded(
        &self,
        id: SessionId,
        guard: &Guard,
        reason: SuspendReason,
        by: &By,
    ) -> Result<Suspended, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let suspended = call.bounded(user::suspend(&mut client, id, guard, reason, by)).await;
        call.settle(client, suspended)
    }

    pub(in crate::store) async fn reactivate(
        &self,
        id: SessionId,
        limit: Limit,
        guard: &Guard,
        by: &By,
    ) -> Result<Reactivated, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let reactivated = call.bounded(user::reactivate(&mut client, id, limit, guard, by)).await;
        call.settle(client, reactivated)
    }

    pub(in crate::store) async fn crowds(
        &self,
        after: Option<&UserId>,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Crowds, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(limit::crowds(&client, after, now, idle_since)).await;
        call.settle(client, found)
    }

    pub(in crate::store) async fn evict_excess(
        &self,
        user: &UserId,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Vec<Ended>, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let evicted = call.bounded(limit::evict_excess(&mut client, user, limit, now)).await;
        call.settle(client, evicted)
    }

    pub(in crate::store) async fn events(
        &self,
        filter: &EventFilter,
        after: Option<EventPosition>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(events::events(&client, filter, after, limit)).await;
        call.settle(client, found)
    }

    pub(in crate::store) async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let secret = call.bounded(events::secret(&client, name)).await;
        call.settle(client, secret)
    }
}
