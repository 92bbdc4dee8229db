"""What the demo server's tools work on: this package's own documentation and source, and each user's notes. Both in SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

__all__ = ["Hit", "Library", "Notes"]

PACKAGE = Path(__file__).parent.parent
MAX_HITS = 5


@dataclass(frozen=True)
class Hit:
    """A document that was found, with the place that fits best."""

    path: str
    excerpt: str


def documents() -> Iterable[tuple[str, str]]:
    """Path and text of the README, if the package is installed, and of every source file."""
    with suppress(PackageNotFoundError):
        yield "README.md", str(metadata("langchain-mcp-oauth").json.get("description", ""))
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE.parent).as_posix(), file.read_text(encoding="utf-8")


class Library:
    """Full-text search (SQLite FTS5) over some documents, in memory."""

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute("CREATE VIRTUAL TABLE documents USING fts5(path, text, tokenize = 'porter unicode61')")
        self._db.executemany("INSERT INTO documents VALUES (?, ?)", documents)

    def close(self) -> None:
        """Forget the documents."""
        self._db.close()

    def search(self, query: str) -> list[Hit]:
        """The documents that fit best, at most five; any of the query's words will do."""
        words = re.findall(r"\w+", query)
        if not words:
            return []
        sql = "SELECT path, snippet(documents, 1, '', '', ' … ', 40) FROM documents WHERE documents MATCH ? ORDER BY rank LIMIT ?"
        match = " OR ".join(f'"{word}"' for word in words)  # quoted, so that no word is an operator
        return [Hit(path, excerpt) for path, excerpt in self._db.execute(sql, (match, MAX_HITS))]

    def read(self, path: str) -> str | None:
        """The whole document, or None. Only what was indexed can be read, whatever the path says."""
        row = self._db.execute("SELECT text FROM documents WHERE path = ?", (path,)).fetchone()
        return row[0] if row else None


class Notes:
    """Each user's own notes, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, user TEXT NOT NULL, text TEXT NOT NULL)")

    def add(self, user: str, text: str) -> None:
        """Keep a note for this user."""
        with closing(self._connect()) as db:
            db.execute("INSERT INTO notes (user, text) VALUES (?, ?)", (user, text))

    def of(self, user: str) -> list[str]:
        """This user's notes, oldest first."""
        with closing(self._connect()) as db:
            return [text for (text,) in db.execute("SELECT text FROM notes WHERE user = ? ORDER BY id", (user,))]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)
