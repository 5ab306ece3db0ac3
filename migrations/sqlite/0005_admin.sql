-- What administrators look for: a user's sessions in whatever state, and where sessions are used from.
CREATE INDEX sessions_user ON sessions (user_id, created_at DESC, id DESC);
CREATE INDEX sessions_last_ip ON sessions (last_ip) WHERE last_ip IS NOT NULL;
CREATE INDEX sessions_bound_ip ON sessions (bound_ip) WHERE bound_ip IS NOT NULL;
