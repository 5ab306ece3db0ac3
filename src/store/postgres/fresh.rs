//! What it takes for a session not to be over by itself: one condition for every statement that counts, lists, evicts or
//! looks for sessions.

/// The condition that a session is in a state and neither expired nor unused for too long. `$s` stands before the names of
/// its columns; `$now` and `$idle_since` are times in the statement. `state <> 'ended'` is what the index says of its rows.
///
/// Whether the session was cut off by a word about its user is asked beside it: the moment stands in the user's row.
macro_rules! fresh {
    ($s:literal, $state:literal, $now:literal, $idle_since:literal) => {
        concat!(
            $s,
            "state <> 'ended' AND ",
            $s,
            "state = '",
            $state,
            "' AND (",
            $s,
            "expires_at IS NULL OR ",
            $s,
            "expires_at > ",
            $now,
            ") AND ",
            $s,
            "last_seen_at >= ",
            $idle_since,
            " AND (",
            $s,
            "slide_ms IS NULL OR extract(epoch FROM ",
            $now,
            " - ",
            $s,
            "last_seen_at) * 1000 < ",
            $s,
            "slide_ms)"
        )
    };
}

/// The condition that an active session is over because it was not used, and for no other reason: what a use that is
/// written down late could bring back.
macro_rules! unused {
    ($now:literal, $idle_since:literal) => {
        concat!(
            "state <> 'ended' AND state = 'active' AND (expires_at IS NULL OR expires_at > ",
            $now,
            ") AND (last_seen_at < ",
            $idle_since,
            " OR extract(epoch FROM ",
            $now,
            " - last_seen_at) * 1000 >= slide_ms)"
        )
    };
}

pub(super) use {fresh, unused};
