-- Everything is created in the schema session_gateway, which migrate makes and puts first in the search path: the
-- application's own tables, in the same database or not, may have the same names.

CREATE TABLE schema_version (
    version integer NOT NULL
);

-- What is known about users: a row appears with a user's first session. Absent values mean "no override".
CREATE TABLE users (
    id           text    COLLATE "C" PRIMARY KEY,
    enabled      boolean NOT NULL DEFAULT true,
    max_sessions integer CHECK (max_sessions >= 0), -- 0 is unlimited
    audit_keep   integer CHECK (audit_keep >= 0),
    not_before   timestamptz                        -- sessions created before it are over
);

CREATE TABLE sessions (
    id           uuid        PRIMARY KEY,
    token_hash   bytea       NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32), -- SHA-256; the token itself is nowhere
    user_id      text        COLLATE "C" NOT NULL REFERENCES users (id),
    roles        text[]      NOT NULL,
    name         text,
    email        text,
    claims       json,                                                              -- json, not jsonb: keeps the order of keys
    state        text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'ended')),
    state_reason text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,                                                       -- null is never
    last_seen_at timestamptz NOT NULL,
    last_ip      inet,
    user_agent   text,                                                              -- null is bound at first use
    bound_ip     inet,                                                              -- null is bound at first use
    ended_at     timestamptz,
    ended_by     text,
    CHECK ((state = 'active') = (state_reason IS NULL)),
    CHECK ((state = 'ended') = (ended_at IS NOT NULL))
) WITH (fillfactor = 80); -- room for the touches, which change no indexed column, to stay on the row's page

-- A user's sessions that are not over, in the order of the list: shows, counts, evicts and ends them.
CREATE INDEX sessions_open ON sessions (user_id, created_at DESC, id DESC) WHERE state <> 'ended';
-- What the sweep looks for.
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL AND state <> 'ended';
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE state = 'ended';

-- The statements of the program never do this; neither shall anything else.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END
$$;

CREATE TRIGGER sessions_stay_ended BEFORE UPDATE OF state ON sessions FOR EACH ROW
WHEN (OLD.state = 'ended' AND NEW.state <> 'ended')
EXECUTE FUNCTION refuse('an ended session cannot come back');

-- The audit log. Rows are only added, and removed by age; they outlive the sessions they tell of.
CREATE TABLE events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    kind       text        NOT NULL,
    session_id uuid,
    user_id    text        COLLATE "C",
    actor      text        NOT NULL,
    ip         inet,
    user_agent text,
    detail     json        NOT NULL DEFAULT '{}'
);

CREATE INDEX events_user ON events (user_id, at, id);
CREATE INDEX events_session ON events (session_id, at, id);
CREATE INDEX events_time ON events (at, id);

CREATE TRIGGER events_stay_as_written BEFORE UPDATE ON events FOR EACH ROW
EXECUTE FUNCTION refuse('the audit log is not rewritten');
