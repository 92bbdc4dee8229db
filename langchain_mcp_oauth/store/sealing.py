"""Encryption at rest: AES-256-GCM, bound to the identity of the row it is stored in.

A record is `v1.<key id>.<base64url(nonce || ciphertext)>`. The identity is authenticated with it, so a record that was moved to another
row does not open. The nonce is 12 random bytes: safe for 2^32 records of one key (NIST SP 800-38D §8.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from langchain_mcp_oauth.errors import ConfigurationError, StoreCorruptError, StoreKeyError

__all__ = ["Keys", "Sealer", "generate_key"]

Keys: TypeAlias = str | Sequence[str] | Callable[[], str | Sequence[str]]
"""32 bytes each in urlsafe base64, what `Fernet.generate_key()` prints: one, several (comma-separated or a sequence), or a function
that gets them, e.g. from a key service. The first seals, all open."""

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


def generate_key(random: Callable[[int], bytes] = os.urandom) -> str:
    """A new key, 44 characters."""
    return base64.urlsafe_b64encode(random(KEY_BYTES)).decode()


class Sealer:
    """Seals and opens texts with a ring of keys. Safe to use from several threads.

    To rotate, put the new key in front and keep the old one until no record needs it (`beginning`).

    Args:
        keys: See `Keys`. A function is called once, when a key is first needed, and may block.
        random: Gives that many random bytes, for nonces.

    Raises:
        ConfigurationError: a key is malformed, or there is none; for a function, at first use.
    """

    def __init__(self, keys: Keys, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._loading = Lock()
        self._source = keys
        self._ring = None if callable(keys) else _parse_ring(keys)

    def load(self) -> dict[str, bytes]:
        """The keys by their id, the sealing one first; asks the function for them if that has not happened yet."""
        with self._loading:
            if self._ring is None:
                self._ring = _parse_ring(self._source() if callable(self._source) else self._source)
            return self._ring

    def seal(self, plaintext: str, identity: tuple[str, ...]) -> str:
        """Encrypt with the first key. Two seals of the same text differ."""
        key_id, key = next(iter(self.load().items()))
        nonce = self._random(NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, plaintext.encode(), _associated_data(key_id, identity))
        return f"v1.{key_id}.{_encode(sealed)}"

    def open(self, record: str, identity: tuple[str, ...]) -> str:
        """Decrypt what was sealed for exactly this identity.

        Raises:
            StoreKeyError: sealed with a key that is not in the ring.
            StoreCorruptError: damaged, sealed for another identity, or no record at all.
        """
        key_id, sealed = _parse_record(record)
        key = self.load().get(key_id)
        if key is None:
            raise StoreKeyError("A stored value was sealed with a key that is not configured; add that key to the list and try again.")
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, _associated_data(key_id, identity)).decode()
        except InvalidTag:
            raise _corrupt() from None

    def beginning(self) -> str:
        """What every record begins with that the first key sealed; others should be sealed again before their key is dropped."""
        return f"v1.{next(iter(self.load()))}."


def _parse_ring(keys: str | Sequence[str]) -> dict[str, bytes]:
    texts = keys.split(",") if isinstance(keys, str) else list(keys)
    ring = [_parse_key(text) for text in texts]
    if not ring:
        raise ConfigurationError("The list of encryption keys is empty; it needs at least one.")
    return {_key_id(key): key for key in ring}


def _parse_key(text: object) -> bytes:
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            "An encryption key must be a str of 32 bytes in urlsafe base64 (44 characters). Make one with: "
            'python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
        ) from None
    return key


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"langchain-mcp-oauth key id" + key).hexdigest()[:8]


def _associated_data(key_id: str, identity: tuple[str, ...]) -> bytes:
    return json.dumps(["langchain-mcp-oauth", 1, key_id, *identity], separators=(",", ":")).encode()


def _parse_record(record: str) -> tuple[str, bytes]:
    version, _, rest = record.partition(".")
    key_id, _, body = rest.partition(".")
    try:
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _corrupt() from None
    # Only the one spelling we write: base64 ignores some bits of its last character.
    if version != "v1" or len(sealed) < NONCE_BYTES + TAG_BYTES or _encode(sealed) != body:
        raise _corrupt()
    return key_id, sealed


def _encode(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _corrupt() -> StoreCorruptError:
    return StoreCorruptError("A stored value does not open: it was changed, or belongs to another row. Log in again to replace it.")
