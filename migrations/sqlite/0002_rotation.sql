-- Rotation, sessions that slide, JSON Web Tokens, devices, and what the gateway keeps for itself.

ALTER TABLE sessions ADD COLUMN format TEXT NOT NULL DEFAULT 'opaque' CHECK (format IN ('opaque', 'jwt')); -- jwt: token_hash is the refresh token's
ALTER TABLE sessions ADD COLUMN slide_ms INTEGER CHECK (slide_ms > 0); -- over when unused for so long
ALTER TABLE sessions ADD COLUMN device TEXT; -- a JSON object: what the User-Agent said, parsed once

-- Tokens that were rotated away: usable for a while, and after that the mark of a thief. They go with their session.
CREATE TABLE retired_tokens (
    token_hash   BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id   BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    usable_until INTEGER NOT NULL
) STRICT;

CREATE INDEX retired_tokens_session ON retired_tokens (session_id);

-- All sessions in the order of the administrator's list.
CREATE INDEX sessions_created ON sessions (created_at DESC, id DESC);

-- Random keys of the gateway's own. They protect lists from forged cursors, not sessions.
CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
