"""Logins for days, without end: neither the tables nor the memory grow."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import Engine, StaticPool, create_engine, func, select

from langchain_mcp_oauth import AuthRequired, MCPServer, SQLModelTokenStore
from langchain_mcp_oauth.authorizer.authorizer import Authorizer
from langchain_mcp_oauth.authorizer.authorizing import TIDY_EVERY
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.store._requests import KEPT
from langchain_mcp_oauth.store.tables import METADATA

from .conftest import KEY, REDIRECT_URI

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")

LOGINS = int(os.environ.get("LANGCHAIN_MCP_OAUTH_SOAK", "300"))
"""How many. `LANGCHAIN_MCP_OAUTH_SOAK=100000 pytest -m slow tests/e2e/test_soak.py` is the whole soak."""

EVERY = timedelta(minutes=10)
USERS = 50
URL, ISSUER = "https://mcp.example/mcp", "https://as.example"

DOCUMENTS: dict[str, Any] = {
    "https://mcp.example/.well-known/oauth-protected-resource/mcp": {"resource": URL, "authorization_servers": [ISSUER]},
    f"{ISSUER}/.well-known/oauth-authorization-server": {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "registration_endpoint": f"{ISSUER}/register",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    },
    f"{ISSUER}/register": {"client_id": "client"},
    f"{ISSUER}/revoke": {},
    f"{ISSUER}/token": {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 3600},
}


async def answered(flow: Flow[T], /) -> T:
    """The network is not what is looked at here."""
    try:
        request = next(flow)
        while True:
            request = flow.send(httpx2.Response(200, json=DOCUMENTS[str(request.url)]))
    except StopIteration as end:
        result: T = end.value
        return result


class Days:
    """The application's life: one login after the other, each some minutes after the last; its processes are restarted now and then."""

    def __init__(self, store: SQLModelTokenStore) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self._store = store
        self.restart()

    def restart(self) -> None:
        self._authorizer = Authorizer(
            {"files": MCPServer(URL, start="login")},
            self._store,
            answered,
            redirect_uri=REDIRECT_URI,
            request_lifetime=timedelta(minutes=10),
            now=lambda: self.now,
        )

    async def log_in(self, number: int) -> None:
        """Somebody logs in, makes a call, refreshes, and disconnects. Every tenth never comes back from the authorization server; every
        seventh process dies before the issuer is told of the end."""
        self.now += EVERY
        user = f"user-{number % USERS}"
        key = self._authorizer.key(user, "files")
        with pytest.raises(AuthRequired) as asked:
            await self._authorizer.acquire(key)
        if number % 10 == 0:
            return
        state = parse_qs(urlsplit(asked.value.authorization_url).query)["state"][0]
        await self._authorizer.complete(f"?code=c&state={state}", user)
        await self._authorizer.accepted(await self._authorizer.acquire(key))
        self.now += timedelta(hours=1)
        assert await self._authorizer.acquire(key) is not None
        grant = await self._authorizer.forget(key)
        assert grant is not None
        if number % 7:
            await self._authorizer.revoke(grant)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    yield made
    made.dispose()


def rows(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in METADATA.sorted_tables}


def live_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


async def test_nothing_grows(engine: Engine) -> None:
    """After a warm-up: no table has more rows than a day and an hour bring, and there are no more objects in memory than before."""
    days = Days(SQLModelTokenStore(engine, encryption_key=KEY))
    warm_up = min(LOGINS // 2, 2 * KEPT // EVERY)
    for number in range(warm_up):
        await days.log_in(number)
    objects, peak, most = live_objects(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(warm_up, LOGINS):
        await days.log_in(number)
        if number % 100 == 0:
            days.restart()
            most = max(most, *rows(engine).values())
    grown = live_objects() - objects
    print(f"{LOGINS:,} logins: at most {most} rows in a table; {grown:+,} of {objects:,} objects; peak of memory from {peak:,} to", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:,} KiB")
    assert most <= (KEPT + TIDY_EVERY) / EVERY + 2
    assert grown < 1_000 + LOGINS // 100
