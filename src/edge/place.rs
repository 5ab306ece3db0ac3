//! The place of a connection among those that its client, and all clients, may have; and those of its requests.
//!
//! On HTTP/1.1 a connection has one request at a time, and one place is for both. On HTTP/2 it has many, each of which may hold
//! what a connection of its own would: one to the application, and buffers. Were they not counted, a client would have as many of
//! them as its connections times `server.http2_max_streams`. So the first of them at a time has the place of the connection, and
//! each further one takes another, as if it had come on a connection of its own.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::crowd::{Crowd, Member};
use crate::error::{Code, Problem};

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    /// Among those of its client, where these are counted.
    member: Option<Member>,
    /// Among those of the worker.
    room: OwnedSemaphorePermit,
}

/// Where further requests of a connection get their places.
#[derive(Debug)]
pub(super) struct Places {
    client: Option<(Arc<Crowd>, IpAddr)>,
    room: Arc<Semaphore>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The client has as many as it may have.
    Client,
    /// The worker has.
    Worker,
}

impl Place {
    /// That of a connection.
    pub(super) const fn new(member: Option<Member>, room: OwnedSemaphorePermit) -> Self {
        Self { member, room }
    }

    /// Where further ones for the same client come from.
    pub(super) fn further(&self) -> Places {
        Places { client: self.member.as_ref().map(Member::origin), room: self.room.semaphore().clone() }
    }
}

impl Places {
    /// A place, if there is one. Nobody waits for one: a request that waits takes room already.
    pub(super) fn take(&self, draining: bool) -> Result<Place, Full> {
        let member = match &self.client {
            Some((crowd, client)) => Some(crowd.enter(*client).ok_or(Full::Client)?),
            None => None,
        };
        // Who drains waits for all the room there is, and no new connection takes any. Requests that are on their way meanwhile are
        // still answered (RFC 9113 section 6.8); it is the place of their connection that is waited for.
        let wanted = u32::from(!draining);
        let room = self.room.clone().try_acquire_many_owned(wanted).map_err(|_| Full::Worker)?;
        Ok(Place { member, room })
    }
}

impl Full {
    /// What the client of a request is told for which there is no place.
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Client => {
                Problem::with_detail(Code::RateLimited, "These are too many requests at a time. Try again in a moment.")
            }
            // No code of the gateway's own says it: that of an application with as many requests as it may have comes nearest.
            Self::Worker => Problem::with_detail(
                Code::UpstreamUnavailable,
                "The gateway has as many requests as it may. Try again in a moment.",
            ),
        }
    }
}
