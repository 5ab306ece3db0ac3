-- What is changed by one, the caches of all must hear of: every committed change of a session that a cached copy could
-- contradict goes out on the channel session_gateway, in the transaction that makes it. Triggers do it, not the statements
-- of the program, so that no way to change a session can be forgotten, by hand neither. They name the columns that count:
-- a touch changes none of them and fires nothing.
--
-- A notification says `1 <when> <by whom> <which>`: milliseconds, the gateway that wrote it (- for nobody known), and the ids
-- in 22 characters of base64url each, one after the other; * is all sessions. It has less than the 8,000 bytes that are allowed.
--
-- A connection says who it is by session_gateway.sender, and stays silent with session_gateway.notify = off.
--
-- The functions run as whoever changes a row, an operator at a prompt perhaps. Under that search path, a function or an
-- operator that anybody put into a schema open to all could be a better match than the system's own: so none is searched.

-- Collects an id until the statement is over. What the setting holds belongs to the transaction.
CREATE FUNCTION note_change(id uuid) RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    noted text := coalesce(current_setting('session_gateway.noted', true), '')
        || translate(left(encode(uuid_send(id), 'base64'), 22), '+/', '-_');
BEGIN
    PERFORM set_config('session_gateway.noted', noted, true);
    IF length(noted) >= 350 * 22 THEN
        PERFORM session_gateway.tell_changes();
    END IF;
END
$$;

-- Notifies of what was collected.
CREATE FUNCTION tell_changes() RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    noted text := current_setting('session_gateway.noted', true);
BEGIN
    IF noted <> '' THEN
        PERFORM set_config('session_gateway.noted', '', true);
        IF current_setting('session_gateway.notify', true) IS DISTINCT FROM 'off' THEN
            PERFORM pg_notify('session_gateway', concat_ws(' ', '1',
                floor(extract(epoch FROM session_gateway.database_time()) * 1000)::bigint,
                coalesce(nullif(current_setting('session_gateway.sender', true), ''), '-'), noted));
        END IF;
    END IF;
END
$$;

CREATE FUNCTION session_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM session_gateway.note_change(OLD.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION sessions_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM set_config('session_gateway.noted', '*', true);
    END IF;
    PERFORM session_gateway.tell_changes();
    RETURN NULL;
END
$$;

-- Of a user, cached sessions know whether they may be at all.
CREATE FUNCTION user_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM session_gateway.note_change(s.id) FROM session_gateway.sessions s
        WHERE s.user_id = OLD.id AND s.state <> 'ended';
    PERFORM session_gateway.tell_changes();
    RETURN NULL;
END
$$;

CREATE TRIGGER session_changed AFTER UPDATE OF token_hash, user_id, roles, name, email, claims, state, state_reason,
    created_at, expires_at, user_agent, bound_ip, format, slide_ms ON sessions FOR EACH ROW EXECUTE FUNCTION session_changed();
CREATE TRIGGER sessions_changed AFTER UPDATE OF token_hash, user_id, roles, name, email, claims, state, state_reason,
    created_at, expires_at, user_agent, bound_ip, format, slide_ms ON sessions FOR EACH STATEMENT
    EXECUTE FUNCTION sessions_changed();

-- Rows that are over are swept away; a cached copy of them is over too.
CREATE TRIGGER session_deleted AFTER DELETE ON sessions FOR EACH ROW
    WHEN (OLD.state <> 'ended' AND (OLD.expires_at IS NULL OR OLD.expires_at > clock_timestamp()))
    EXECUTE FUNCTION session_changed();
CREATE TRIGGER sessions_deleted AFTER DELETE OR TRUNCATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION sessions_changed();

CREATE TRIGGER user_changed AFTER UPDATE OF enabled, not_before ON users FOR EACH ROW
    WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.not_before IS DISTINCT FROM NEW.not_before)
    EXECUTE FUNCTION user_changed();
