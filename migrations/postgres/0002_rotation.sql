-- Rotation, sessions that slide, JSON Web Tokens, devices, and what gateways of one database share.

ALTER TABLE sessions
    ADD COLUMN format   text   NOT NULL DEFAULT 'opaque' CHECK (format IN ('opaque', 'jwt')), -- jwt: token_hash is the refresh token's
    ADD COLUMN slide_ms bigint CHECK (slide_ms > 0),                                           -- over when unused for so long
    ADD COLUMN device   json;                                                                  -- what the User-Agent said, parsed once

-- Tokens that were rotated away: usable for a while, and after that the mark of a thief. They go with their session.
CREATE TABLE retired_tokens (
    token_hash   bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id   uuid        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    usable_until timestamptz NOT NULL
);

CREATE INDEX retired_tokens_session ON retired_tokens (session_id);

-- All sessions in the order of the administrator's list.
CREATE INDEX sessions_created ON sessions (created_at DESC, id DESC);

-- Random keys that all gateways of this database use alike. They protect lists from forged cursors, not sessions.
CREATE TABLE secrets (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

-- The clock by which sessions expire, for all gateways.
CREATE FUNCTION database_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
