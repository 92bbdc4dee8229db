"""Where the encryption key comes from when nobody passed one.

1. The `encryption_key` argument. 2. The variable `LANGCHAIN_MCP_OAUTH_KEY`. 3. For SQLite only: the keyring of the operating system, else a
key file in the user's configuration directory; a database in memory gets a key that lives as long. Any other database may be shared by
machines that have neither in common, so it needs 1 or 2.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar

import platformdirs
from sqlalchemy.engine import URL

from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.store._database import is_memory
from langchain_mcp_oauth.store.sealing import Keys, generate_key

__all__ = ["KEY_VARIABLE", "Keyring", "choose_keys", "system_keyring"]

T = TypeVar("T")

KEY_VARIABLE = "LANGCHAIN_MCP_OAUTH_KEY"
KEYRING_ENTRY = ("langchain-mcp-oauth", "encryption-key")
KEYRING_SECONDS = 15.0
"""For one answer of the keyring: long enough to unlock it on a desktop."""
LOCK_SECONDS = 60.0
DESKTOP_KEYRINGS = tuple(f"keyring.backends.{name}" for name in ("macOS", "Windows", "SecretService", "libsecret", "kwallet"))
"""Those that keep secrets and ask nothing in the terminal; others may store in clear or wait for a password on standard input."""

_log = logging.getLogger(__name__)


class Keyring(Protocol):
    """What we use of `keyring.backend.KeyringBackend`."""

    def get_password(self, service: str, username: str, /) -> str | None: ...

    def set_password(self, service: str, username: str, password: str, /) -> None: ...


def choose_keys(
    explicit: Keys | None,
    url: URL,
    *,
    environ: Mapping[str, str] = os.environ,
    directory: Path | None = None,
    keyring: Callable[[], Keyring | None] | None = None,
) -> Keys:
    """The keys for the database at `url`; see the module's docstring for the order. Reads nothing but the environment itself: what
    touches files or the keyring is the returned function, to be called where blocking is fine.

    Args:
        explicit: The `encryption_key` argument.
        url: Of the database.
        environ: Where `LANGCHAIN_MCP_OAUTH_KEY` is looked up. Set but empty is a mistake, not an absence.
        directory: Of the key file. Default: the user's configuration directory for this library.
        keyring: Finds the operating system's keyring. Default: `system_keyring`.

    Raises:
        ConfigurationError: this database needs a key and none is configured.
    """
    if explicit is not None:
        return explicit
    if KEY_VARIABLE in environ:
        return environ[KEY_VARIABLE]
    if url.get_backend_name() != "sqlite":
        raise ConfigurationError(
            f"A {url.get_backend_name()} database needs an encryption key that every process shares: set {KEY_VARIABLE} or pass "
            'encryption_key. Make one with: python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
        )
    if is_memory(url):
        return generate_key()
    home = directory or platformdirs.user_config_path("langchain-mcp-oauth", appauthor=False)
    return partial(_embedded_keys, home, keyring or partial(system_keyring, environ))


def system_keyring(environ: Mapping[str, str] = os.environ) -> Keyring | None:
    """The operating system's keyring, or None where there is none, or nobody who could unlock it (no display on Linux)."""
    if sys.platform not in {"darwin", "win32"} and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return None
    import keyring

    backend: Keyring = keyring.get_keyring()
    chained = getattr(backend, "backends", None)
    candidates = chained if chained is not None else [backend]
    return next((each for each in candidates if type(each).__module__.startswith(DESKTOP_KEYRINGS)), None)


def _embedded_keys(directory: Path, find_keyring: Callable[[], Keyring | None]) -> list[str]:
    """The key file's key, then the keyring's. If there are neither, one is made, in the keyring if it works.

    There are both when the keyring was once out of reach (a login without a desktop): then the file, which is always there, seals.
    """
    keyring = _answer(find_keyring)
    try:
        return _existing(directory, keyring) or _make(directory, keyring)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"No encryption key can be read or made in {directory} ({type(error).__name__}); set {KEY_VARIABLE} instead."
        ) from None


def _existing(directory: Path, keyring: Keyring | None) -> list[str]:
    return [key for key in (_read_file(directory), _read_keyring(keyring)) if key]


def _make(directory: Path, keyring: Keyring | None) -> list[str]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(directory):
        return _existing(directory, keyring) or [_made_in_keyring(keyring) or _made_in_file(directory)]


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One process at a time makes the key. The lock is SQLite's: portable, and gone with its process."""
    with closing(sqlite3.connect(directory / "lock", timeout=LOCK_SECONDS, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _read_file(directory: Path) -> str | None:
    try:
        return (directory / "key").read_text("ascii").strip() or None
    except FileNotFoundError:
        return None


def _made_in_file(directory: Path) -> str:
    path, key = directory / "key", generate_key()
    path.unlink(missing_ok=True)  # empty: its maker died before it wrote, so nothing was sealed with it
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 a file descriptor
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    _log.warning("Made an encryption key for stored logins in %s. Keep it, or set %s; without it every login is lost.", path, KEY_VARIABLE)
    return key


def _read_keyring(keyring: Keyring | None) -> str | None:
    return _answer(partial(keyring.get_password, *KEYRING_ENTRY)) if keyring else None


def _made_in_keyring(keyring: Keyring | None) -> str | None:
    if keyring is None:
        return None
    key = generate_key()
    _answer(partial(keyring.set_password, *KEYRING_ENTRY, key))
    return key if _read_keyring(keyring) == key else None


def _answer(ask: Callable[[], T]) -> T | None:
    """What the keyring says; None if it fails, is not installed, or does not answer in time."""
    answers: list[T] = []

    def run() -> None:
        with suppress(Exception):
            answers.append(ask())

    thread = Thread(target=run, daemon=True, name="langchain-mcp-oauth-keyring")
    thread.start()
    thread.join(KEYRING_SECONDS)
    return answers[0] if answers else None
