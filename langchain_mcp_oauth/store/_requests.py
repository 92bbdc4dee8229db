"""Authorization requests. A transition is a conditional UPDATE: a row count of 1 says that it happened, and to whom."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, UpdateBase, and_, or_
from sqlmodel import Session, col, delete, select, update

from langchain_mcp_oauth.models import TRANSITIONS, AuthorizationRequest, GrantKey, RequestStatus
from langchain_mcp_oauth.store import _rows
from langchain_mcp_oauth.store._statements import change, of
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import RequestRow

__all__ = ["KEPT", "claimed", "closed", "find_open", "grant", "load", "of_no_use", "open_one", "superseded"]

KEPT = timedelta(days=1)
"""How long an ended request is remembered, so that a late callback is told what became of it."""

_PENDING = col(RequestRow.status) == RequestStatus.PENDING.value
_REDEEMING = col(RequestRow.status) == RequestStatus.REDEEMING.value
_SUPERSEDED = {"status": RequestStatus.SUPERSEDED.value}


def load(session: Session, which: ColumnElement[bool], sealer: Sealer) -> AuthorizationRequest | None:
    row = session.exec(select(RequestRow).where(which)).one_or_none()
    return _rows.read_request(row, sealer) if row else None


def find_open(key: GrantKey, now: datetime) -> ColumnElement[bool]:
    return and_(of(RequestRow, key), _PENDING, col(RequestRow.expires_at) > now)


def open_one(session: Session, request: AuthorizationRequest, now: datetime, sealer: Sealer) -> AuthorizationRequest:
    """The one that is open and asks for as much, or this one."""
    row = session.exec(select(RequestRow).where(of(RequestRow, request.key), _PENDING)).one_or_none()
    if row is not None:
        if row.expires_at > now and _answers(current := _rows.read_request(row, sealer), request):
            return current
        change(session, update(RequestRow).where(col(RequestRow.id) == row.id, _PENDING).values(_SUPERSEDED))
    session.add(_rows.request_row(request, sealer))
    return request


def claimed(auth_id: str, now: datetime, until: datetime) -> UpdateBase:
    open_still = and_(_PENDING, col(RequestRow.expires_at) > now)
    abandoned = and_(_REDEEMING, col(RequestRow.redeeming_until) <= now)
    claim = {"status": RequestStatus.REDEEMING.value, "redeeming_until": until}
    return update(RequestRow).where(col(RequestRow.auth_id) == auth_id, or_(open_still, abandoned)).values(claim)


def grant(session: Session, auth_id: str, key: GrantKey) -> bool:
    """Whether the request was `redeeming`, and now is `granted`; an older answer that is still on its way must not replace this one."""
    this = and_(col(RequestRow.auth_id) == auth_id, of(RequestRow, key))
    if not change(session, update(RequestRow).where(this, _REDEEMING).values(status=RequestStatus.GRANTED.value)):
        return False
    opened = select(RequestRow.id).where(this).scalar_subquery()
    change(session, update(RequestRow).where(of(RequestRow, key), _REDEEMING, col(RequestRow.id) < opened).values(_SUPERSEDED))
    return True


def closed(auth_id: str, status: RequestStatus) -> UpdateBase:
    return update(RequestRow).where(col(RequestRow.auth_id) == auth_id, _may_become(status)).values(status=status.value)


def superseded(key: GrantKey) -> UpdateBase:
    return update(RequestRow).where(of(RequestRow, key), _may_become(RequestStatus.SUPERSEDED)).values(_SUPERSEDED)


def of_no_use(now: datetime) -> UpdateBase:
    past, claimed_until = now - KEPT, col(RequestRow.redeeming_until)
    return delete(RequestRow).where(col(RequestRow.expires_at) <= past, or_(claimed_until.is_(None), claimed_until <= past))


def _may_become(status: RequestStatus) -> ColumnElement[bool]:
    """The stored status is one that a final `status` may follow."""
    before = [] if status in TRANSITIONS else [earlier.value for earlier, later in TRANSITIONS.items() if status in later]
    return col(RequestRow.status).in_(before)


def _answers(current: AuthorizationRequest, wanted: AuthorizationRequest) -> bool:
    """Whether a person who answers `current` has given what `wanted` asks for."""
    same = (current.issuer, current.redirect_uri, current.client.client_id) == (wanted.issuer, wanted.redirect_uri, wanted.client.client_id)
    return same and set(wanted.scopes) <= set(current.scopes)
