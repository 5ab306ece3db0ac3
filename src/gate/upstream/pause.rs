//! How long the body of a response may pause.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::deadline::{Deadline, Deadlines};

/// The limit on the pauses of bodies, if there is one.
#[derive(Debug)]
pub(super) struct Pause(Option<(Deadline, Duration)>);

impl Pause {
    /// None longer than `longest`.
    pub(super) fn new(deadlines: &Arc<Deadlines>, longest: Option<Duration>) -> Self {
        Self(longest.map(|longest| (deadlines.limit(), longest)))
    }

    /// A piece of the body is here.
    pub(super) fn moved(&self) {
        if let Some((limit, _)) = &self.0 {
            limit.disarm();
        }
    }

    /// Ready when the application has sent nothing for too long.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((limit, longest)) = &self.0 else { return Poll::Pending };
        if limit.poll_passed(cx).is_ready() {
            return Poll::Ready(());
        }
        if !limit.is_armed() {
            limit.arm(*longest);
        }
        Poll::Pending
    }
}
