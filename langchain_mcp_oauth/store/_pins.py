"""Fingerprints of tools as their user first saw them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from sqlmodel import Session, delete, select

from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.store import _rows
from langchain_mcp_oauth.store._statements import change, of, put_read
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import PinRow

__all__ = ["add", "are_known", "load", "replace"]

MAX_PINS = 5_000
"""Tools of one user at one server whose fingerprints are remembered: a server may list other names each time."""


def load(session: Session, key: GrantKey, sealer: Sealer) -> dict[str, str] | None:
    row = session.exec(select(PinRow).where(of(PinRow, key)).with_for_update()).one_or_none()
    return _rows.read_pins(row, sealer) if row else None


def are_known(pinned: Mapping[str, str], fingerprints: Mapping[str, str]) -> bool:
    """Whether there is nothing to add."""
    return len(pinned) >= MAX_PINS or fingerprints.keys() <= pinned.keys()


def add(session: Session, key: GrantKey, fingerprints: Mapping[str, str], sealer: Sealer) -> Mapping[str, str]:
    """Those of tools that have none; what is remembered stays. Returns all."""
    pinned = load(session, key, sealer)
    before = pinned or {}
    pins = dict(islice({**before, **fingerprints, **before}.items(), MAX_PINS))
    put_read(session, _rows.pin_row(key, pins, sealer), of(PinRow, key), found=pinned is not None)
    return pins


def replace(session: Session, key: GrantKey, fingerprints: Mapping[str, str] | None, sealer: Sealer) -> None:
    if fingerprints is None:
        change(session, delete(PinRow).where(of(PinRow, key)))
        return
    pinned = load(session, key, sealer)
    put_read(session, _rows.pin_row(key, {**(pinned or {}), **fingerprints}, sealer), of(PinRow, key), found=pinned is not None)
