"""Tokens that nobody uses any more: their issuer is told at once, or else later, by whoever is there; on a real store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
import httpx2
import pytest
from pydantic import SecretStr

from langchain_mcp_oauth.authorizer import revoking
from langchain_mcp_oauth.authorizer.authorizer import Authorizer
from langchain_mcp_oauth.authorizer.authorizing import TIDY_EVERY
from langchain_mcp_oauth.errors import AuthRequired, ConnectionFailed, StoreUnavailable
from langchain_mcp_oauth.models import ClientRegistration, Grant, GrantKey, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.servers.remote import MCPServer
from langchain_mcp_oauth.store import SQLModelTokenStore

from .test_authorizer import NEW, REDIRECT_URI, URL, site

pytestmark = pytest.mark.anyio

T = TypeVar("T")

ALICE, BOB = (GrantKey(user, "files", URL) for user in ("alice", "bob"))


class Scene:
    """An application on a store, with a clock that is moved by hand, whose issuer answers as it is told to."""

    def __init__(self, store: SQLModelTokenStore) -> None:
        self.time = datetime.now(UTC)
        self.store = store
        self.revocation: int | Exception = 200
        self.hangs = False
        self.revoked: list[str] = []
        self.restart()

    def restart(self) -> None:
        servers = {"files": MCPServer(URL, start="login")}
        lifetime = timedelta(minutes=10)
        self.authorizer = Authorizer(
            servers, self.store, self.drive, redirect_uri=REDIRECT_URI, request_lifetime=lifetime, now=lambda: self.time
        )

    async def drive(self, flow: Flow[T], /) -> T:
        try:
            request = next(flow)
            while True:
                request = flow.send(await self.answer(request))
        except StopIteration as end:
            result: T = end.value
            return result

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/revoke":
            return httpx2.Response(200, json=site(NEW)[str(request.url)])
        if self.hangs:
            await anyio.sleep_forever()
        if isinstance(self.revocation, Exception):
            raise self.revocation
        self.revoked.append(request.content.decode().split("&")[0].removeprefix("token="))
        return httpx2.Response(self.revocation)

    async def log_in(self, key: GrantKey) -> Grant:
        secret = secrets.token_hex(8)
        access, refresh = SecretStr(f"a-{secret}"), SecretStr(f"r-{secret}")
        expires = self.time + timedelta(hours=1)
        tokens = TokenSet(access_token=access, refresh_token=refresh, scopes=("read",), obtained_at=self.time, expires_at=expires)
        client = ClientRegistration(issuer=NEW, client_id="client", kind="dynamic", redirect_uri=REDIRECT_URI)
        endpoints = {"token_endpoint": f"{NEW}/token", "revocation_endpoint": f"{NEW}/revoke"}
        saved = await self.store.save_grant(Grant(key=key, issuer=NEW, resource=URL, client=client, tokens=tokens, **endpoints))
        assert saved is not None
        return saved

    async def disconnect(self, key: GrantKey) -> bool:
        grant = await self.authorizer.forget(key)
        return grant is not None and await self.authorizer.revoke(grant)

    async def somebody_asks(self, *, after: timedelta) -> None:
        """For a login of their own, so much later."""
        self.time += after
        with pytest.raises(AuthRequired):
            await self.authorizer.acquire(BOB)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = SQLModelTokenStore("sqlite://")
    yield Scene(store)
    await store.aclose()


def secrets_of(*grants: Grant) -> list[str]:
    """What an issuer is told, in order: the refresh token first."""
    return [secret.get_secret_value() for each in grants for secret in (each.tokens.refresh_token, each.tokens.access_token) if secret]


async def test_an_issuer_is_told_once(scene: Scene) -> None:
    """At once; whoever tidies up later finds nothing to do. A refusal is an answer too (RFC 7009 §2.2)."""
    for answer in (200, 400):
        scene.revocation, scene.revoked = answer, []
        grant = await scene.log_in(ALICE)
        assert await scene.disconnect(ALICE) is True
        scene.restart()
        await scene.somebody_asks(after=TIDY_EVERY)
        assert scene.revoked == secrets_of(grant)


async def test_who_died_before_the_issuer_was_told(scene: Scene) -> None:
    """Another process tells it, when the first has had its minute, and only one does."""
    grant = await scene.log_in(ALICE)
    await scene.authorizer.forget(ALICE)
    for after, revoked in ((timedelta(seconds=59), []), (timedelta(seconds=1), secrets_of(grant)), (TIDY_EVERY, secrets_of(grant))):
        scene.restart()
        await scene.somebody_asks(after=after)
        assert scene.revoked == revoked


@pytest.mark.parametrize("trouble", [503, 429, ConnectionFailed("gone")], ids=str)
async def test_an_issuer_that_is_away_is_told_later(scene: Scene, trouble: int | Exception) -> None:
    """The login is gone here; nobody who asks meanwhile is troubled, and the issuer is told when it is back (RFC 7009 §2.2.1)."""
    grant = await scene.log_in(ALICE)
    scene.revocation = trouble
    assert await scene.disconnect(ALICE) is False
    assert await scene.store.load_grant(ALICE) is None
    await scene.somebody_asks(after=timedelta(minutes=1))
    scene.revocation, scene.revoked = 200, []
    await scene.somebody_asks(after=TIDY_EVERY)
    assert scene.revoked == secrets_of(grant)


async def test_nobody_tries_for_ever(scene: Scene) -> None:
    """After 30 days the tokens are forgotten."""
    grant = await scene.log_in(ALICE)
    await scene.authorizer.forget(ALICE)
    await scene.somebody_asks(after=timedelta(days=30))
    assert scene.revoked == []
    assert await scene.store.claim_revocations(now=grant.tokens.obtained_at + timedelta(hours=1), until=scene.time) == []


async def test_an_issuer_that_hangs_keeps_nobody_from_logging_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is there for something else is kept for `PATIENCE` seconds, whatever number of logins is to be given back."""
    monkeypatch.setattr(revoking, "PATIENCE", 0.1)
    for number in range(20):
        await scene.log_in(key := GrantKey(f"user-{number}", "files", URL))
        await scene.authorizer.forget(key)
    scene.hangs = True
    with anyio.fail_after(5):
        await scene.somebody_asks(after=timedelta(minutes=1))


async def test_a_database_that_goes_away_keeps_nobody_from_logging_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is open already; tidying up can wait."""

    async def gone(**_: datetime) -> int:
        raise StoreUnavailable("gone")

    for method in ("purge", "claim_revocations"):
        monkeypatch.setattr(scene.store, method, gone)
        scene.restart()
        await scene.somebody_asks(after=timedelta(0))
