"""Sessions put into the store's tables directly, many at a time. Token number n follows from n alone."""

import base64
import csv
import hashlib
import json
import sqlite3
import time

ADDRESS = "127.0.0.1"
DEVICE = json.dumps({
    "os": "Linux", "browser": "Firefox", "brand": None, "model": None, "family": "PC", "is_mobile": False, "is_tablet": False,
})  # fmt: skip
HOUR = 3_600_000
DAY = 24 * HOUR


def token(n):
    return base64.urlsafe_b64encode(hashlib.sha256(b"token %d" % n).digest()).decode().rstrip("=")


def write_tokens(path, numbers):
    with open(path, "w") as f:
        f.writelines(token(n) + "\n" for n in numbers)


def _session(n):
    """Id and hash; both without order, as the gateway's own are."""
    return hashlib.sha256(b"session %d" % n).digest()[:16], hashlib.sha256(token(n).encode()).digest()


def fill_sqlite(path, numbers, user_agent):
    """The tables must be there. Each session was used an hour ago, and belongs to a user of its own."""
    now = int(time.time() * 1000)

    def sessions():
        for n in numbers:
            key, digest = _session(n)
            yield (key, digest, f"member-{n}", now - HOUR, now + 14 * DAY, now - HOUR, ADDRESS, user_agent, ADDRESS, DEVICE)

    database = sqlite3.connect(path)
    with database:
        database.executemany("INSERT INTO users (id) VALUES (?)", ((f"member-{n}",) for n in numbers))
        database.executemany(
            "INSERT INTO sessions (id, token_hash, user_id, roles, created_at, expires_at, last_seen_at, last_ip, user_agent,"
            " bound_ip, device) VALUES (?, ?, ?, 'staff', ?, ?, ?, ?, ?, ?, ?)", sessions(),
        )  # fmt: skip
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def fill_postgres(psql, work, numbers, user_agent):
    """`psql(text)` runs a script. The same sessions as in the file."""
    with open(work / "rows.csv", "w", newline="") as f:
        writer = csv.writer(f)
        for n in numbers:
            key, digest = _session(n)
            writer.writerow([key.hex(), "\\x" + digest.hex(), f"member-{n}"])
    (work / "rows.csv").chmod(0o644)
    agent, device = (text.replace("'", "''") for text in (user_agent, DEVICE))
    psql(
        "SET search_path = session_gateway; SET session_replication_role = replica;\n"
        "CREATE TEMP TABLE rows (id uuid, hash bytea, owner text);\n"
        f"\\copy rows from '{work / 'rows.csv'}' with (format csv)\n"
        "INSERT INTO users (id) SELECT owner FROM rows;\n"
        "INSERT INTO sessions (id, token_hash, user_id, roles, created_at, expires_at, last_seen_at, last_ip, user_agent,"
        " bound_ip, device) SELECT id, hash, owner, '{staff}', now() - interval '1 h', now() + interval '14 d',"
        f" now() - interval '1 h', '{ADDRESS}', '{agent}', '{ADDRESS}', '{device}' FROM rows;\n"
        "VACUUM ANALYZE;\n"
    )
