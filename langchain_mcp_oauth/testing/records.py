"""What the small authorization server remembers, in SQLite: in memory for a test, in a file where it must survive a restart.

Tokens, codes and tickets are kept as SHA-256 only. Every method is one statement, so it is atomic; any thread may call.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

__all__ = ["Records"]

_TABLES = """
CREATE TABLE IF NOT EXISTS clients (client_id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS questions (ticket TEXT PRIMARY KEY, document TEXT NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS grants (
    grant_id TEXT PRIMARY KEY, client_id TEXT NOT NULL, subject TEXT NOT NULL, resource TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS codes (
    code TEXT PRIMARY KEY, grant_id TEXT NOT NULL REFERENCES grants ON DELETE CASCADE,
    document TEXT NOT NULL, spent INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, kind TEXT NOT NULL, grant_id TEXT NOT NULL REFERENCES grants ON DELETE CASCADE,
    scopes TEXT NOT NULL, expires_at REAL, spent INTEGER NOT NULL DEFAULT 0);
"""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Records:
    """Clients, open questions to persons, grants, and the codes and tokens that belong to a grant and end with it."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the database. Idempotent."""
        with self._lock:
            self._db.close()

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        return next(iter(self._rows(sql, *values)), None)

    # Clients ----------------------------------------------------------------------------------------------------------------

    def save_client(self, client_id: str, document: str) -> None:
        """Insert or replace."""
        self._rows("INSERT OR REPLACE INTO clients VALUES (?, ?)", client_id, document)

    def load_client(self, client_id: str) -> str | None:
        """The client's document, or None."""
        row = self._row("SELECT document FROM clients WHERE client_id = ?", client_id)
        return row["document"] if row else None

    def forget_clients(self) -> None:
        """Forget all of them. Their grants stay, but nobody can authenticate to use them."""
        self._rows("DELETE FROM clients")

    # Questions: authorization requests that wait for a person ---------------------------------------------------------------

    def ask(self, ticket: str, document: str, *, expires_at: float) -> None:
        """Keep a question."""
        self._rows("INSERT INTO questions VALUES (?, ?, ?)", digest(ticket), document, expires_at)

    def load_question(self, ticket: str, *, now: float) -> str | None:
        """The open question of this ticket, or None."""
        row = self._row("SELECT document FROM questions WHERE ticket = ? AND expires_at > ?", digest(ticket), now)
        return row["document"] if row else None

    def take_question(self, ticket: str, *, now: float) -> str | None:
        """The same, and it is answered now: only one call gets it."""
        row = self._row("DELETE FROM questions WHERE ticket = ? AND expires_at > ? RETURNING document", digest(ticket), now)
        return row["document"] if row else None

    # Grants -----------------------------------------------------------------------------------------------------------------

    def open_grant(self, grant_id: str, *, client_id: str, subject: str, resource: str) -> None:
        """A person said yes."""
        self._rows("INSERT INTO grants VALUES (?, ?, ?, ?)", grant_id, client_id, subject, resource)

    def end_grant(self, grant_id: str) -> None:
        """Its code and all its tokens, spent ones too, end with it."""
        self._rows("DELETE FROM grants WHERE grant_id = ?", grant_id)

    def end_all_grants(self) -> None:
        """Nobody is logged in any more."""
        self._rows("DELETE FROM grants")

    # Codes ------------------------------------------------------------------------------------------------------------------

    def save_code(self, code: str, grant_id: str, document: str) -> None:
        """Keep an unspent code."""
        self._rows("INSERT INTO codes (code, grant_id, document) VALUES (?, ?, ?)", digest(code), grant_id, document)

    def load_code(self, code: str) -> sqlite3.Row | None:
        """`document`, `grant_id` and `spent`, or None."""
        return self._row("SELECT * FROM codes WHERE code = ?", digest(code))

    def spend_code(self, code: str) -> bool:
        """True for the one call that spends it."""
        return bool(self._rows("UPDATE codes SET spent = 1 WHERE code = ? AND spent = 0 RETURNING code", digest(code)))

    # Tokens -----------------------------------------------------------------------------------------------------------------

    def save_token(self, token: str, kind: str, grant_id: str, scopes: list[str], *, expires_at: float | None) -> None:
        """Keep an `access` or `refresh` token."""
        sql = "INSERT INTO tokens (token, kind, grant_id, scopes, expires_at) VALUES (?, ?, ?, ?, ?)"
        self._rows(sql, digest(token), kind, grant_id, " ".join(scopes), expires_at)

    def load_token(self, token: str, kind: str) -> sqlite3.Row | None:
        """The token's row with its grant's `client_id`, `subject` and `resource`; spent and expired ones too. Or None."""
        return self._row("SELECT * FROM tokens JOIN grants USING (grant_id) WHERE token = ? AND kind = ?", digest(token), kind)

    def spend_token(self, token: str) -> bool:
        """True for the one call that spends it."""
        return bool(self._rows("UPDATE tokens SET spent = 1 WHERE token = ? AND spent = 0 RETURNING token", digest(token)))

    def expire_access_tokens(self, *, now: float) -> None:
        """Every access token expires at `now`; refresh tokens stay."""
        self._rows("UPDATE tokens SET expires_at = ? WHERE kind = 'access'", now)
