-- Times are milliseconds since the Unix epoch, UTC. Ids are the 16 bytes of a UUID. Addresses are text.

CREATE TABLE schema_version (
    version INTEGER NOT NULL
) STRICT;

-- What is known about users: a row appears with a user's first session. Absent values mean "no override".
CREATE TABLE users (
    id           TEXT    NOT NULL PRIMARY KEY,
    enabled      INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    max_sessions INTEGER CHECK (max_sessions BETWEEN 0 AND 2147483647), -- 0 is unlimited
    audit_keep   INTEGER CHECK (audit_keep BETWEEN 0 AND 2147483647),
    not_before   INTEGER                                                -- sessions created before it are over
) STRICT;

CREATE TABLE sessions (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    token_hash   BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32), -- SHA-256; the token itself is nowhere
    user_id      TEXT    NOT NULL REFERENCES users (id),
    roles        TEXT    NOT NULL,                                        -- joined by commas, which no role contains
    name         TEXT,
    email        TEXT,
    claims       TEXT,                                                    -- a JSON object
    state        TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'ended')),
    state_reason TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,                                                 -- null is never
    last_seen_at INTEGER NOT NULL,
    last_ip      TEXT,
    user_agent   TEXT,                                                    -- null is bound at first use
    bound_ip     TEXT,                                                    -- null is bound at first use
    ended_at     INTEGER,
    ended_by     TEXT,
    CHECK ((state = 'active') = (state_reason IS NULL)),
    CHECK ((state = 'ended') = (ended_at IS NOT NULL))
) STRICT;

-- A user's sessions that are not over, in the order of the list: shows, counts, evicts and ends them.
CREATE INDEX sessions_open ON sessions (user_id, created_at DESC, id DESC) WHERE state <> 'ended';
-- What the sweep looks for.
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL AND state <> 'ended';
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE state = 'ended';

-- The statements of the program never do this; neither shall anything else.
CREATE TRIGGER sessions_stay_ended BEFORE UPDATE OF state ON sessions
WHEN OLD.state = 'ended' AND NEW.state <> 'ended'
BEGIN
    SELECT RAISE(ABORT, 'an ended session cannot come back');
END;

-- The audit log. Rows are only added, and removed by age; they outlive the sessions they tell of.
CREATE TABLE events (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    session_id BLOB,
    user_id    TEXT,
    actor      TEXT    NOT NULL,
    ip         TEXT,
    user_agent TEXT,
    detail     TEXT    NOT NULL DEFAULT '{}'
) STRICT;

CREATE INDEX events_user ON events (user_id, at, id);
CREATE INDEX events_session ON events (session_id, at, id);
CREATE INDEX events_time ON events (at, id);

CREATE TRIGGER events_stay_as_written BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'the audit log is not rewritten');
END;
