-- What the sweeper looks for, besides sessions_expiry and sessions_created.

-- Ended sessions, oldest end first. Many end in the same moment, so the id is what tells where a batch stopped; whose they
-- are is what is asked of a page of them, and reading it here spares a look at each row.
DROP INDEX sessions_ended;
CREATE INDEX sessions_ended ON sessions (ended_at, id, user_id) WHERE state = 'ended';
-- A user's ended sessions, oldest end first: which of them are too many.
CREATE INDEX sessions_ended_of_user ON sessions (user_id, ended_at, id) WHERE state = 'ended';
