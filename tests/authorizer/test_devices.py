"""When a device's code is looked for, and what each answer comes to (RFC 8628 §3.5); on a real store, with our own clock and wire."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx2
import pytest
from pydantic import SecretStr

from langchain_mcp_oauth import AuthorizationDenied, ConnectionFailed, MCPServer, SQLModelTokenStore
from langchain_mcp_oauth.authorizer.devices import Devices
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Grant, GrantKey, Reason, RequestStatus
from langchain_mcp_oauth.oauth import Flow

pytestmark = pytest.mark.anyio

T = TypeVar("T")

URL, ISSUER = "https://mcp.example.com/mcp", "https://as.example.com"
KEY = GrantKey("alice", "files", URL)
CLIENT = ClientRegistration(issuer=ISSUER, client_id="client-1", kind="dynamic", redirect_uri="")
TOKENS = {"access_token": "new", "token_type": "Bearer"}


def error(code: str) -> httpx2.Response:
    return httpx2.Response(400, json={"error": code})


class Scene:
    """A person with a code, a clock that is moved by hand, and the answers of the authorization server in order."""

    def __init__(self, store: SQLModelTokenStore) -> None:
        self.time = datetime.now(UTC)
        self.answers: list[httpx2.Response] = []
        self.asked: list[str] = []
        self.store = store
        self.world = World(
            servers={"files": MCPServer(URL)},
            store=store,
            drive=self.drive,
            now=lambda: self.time,
            sleep=self.no_sleep,
            random=secrets.token_urlsafe,
        )
        self.devices = Devices(self.world)

    async def no_sleep(self, seconds: float) -> None:
        raise AssertionError("looking never waits")

    async def drive(self, flow: Flow[T], /) -> T:
        try:
            request = next(flow)
            while True:
                self.asked.append(str(request.url))
                request = flow.send(self.answers.pop(0))
        except StopIteration as end:
            return end.value

    async def begin(self) -> AuthorizationRequest:
        request = AuthorizationRequest(
            auth_id="auth-1",
            key=KEY,
            reason=Reason.LOGIN,
            state=SecretStr(secrets.token_urlsafe(32)),
            code_verifier=SecretStr(""),
            authorization_url=SecretStr(f"{ISSUER}/enter"),
            issuer=ISSUER,
            iss_required=False,
            token_endpoint=f"{ISSUER}/token",
            revocation_endpoint=f"{ISSUER}/revoke",
            resource=URL,
            redirect_uri="",
            client=CLIENT,
            device_code=SecretStr("canary-device-code"),
            user_code="WDJB-MJHT",
            interval=5,
            created_at=self.time,
            expires_at=self.time + timedelta(minutes=10),
        )
        await self.devices.began(request)
        return await self.store.open_request(request, now=self.time)

    async def look(self, request: AuthorizationRequest, *answers: httpx2.Response, after: float = 6) -> Grant | None:
        self.time += timedelta(seconds=after)
        self.answers += answers
        grant = await self.devices.look(request)
        assert self.answers == [], "more answers than questions"
        return grant

    async def status(self) -> RequestStatus:
        request = await self.store.load_request("auth-1")
        assert request is not None
        return request.status


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = SQLModelTokenStore("sqlite://", encryption_key="A" * 43 + "=")
    yield Scene(store)
    await store.aclose()


async def test_the_answer_comes(scene: Scene) -> None:
    """The tokens are the user's login, and the request is over; another process that looks then asks nobody for anything."""
    request = await scene.begin()
    grant = await scene.look(request, httpx2.Response(200, json=TOKENS))
    assert grant is not None
    assert await scene.store.load_grant(KEY) == grant
    assert (grant.client, grant.token_endpoint, grant.tokens.access_token) == (CLIENT, f"{ISSUER}/token", SecretStr("new"))
    assert await scene.status() is RequestStatus.GRANTED


async def test_nobody_looks_too_often(scene: Scene) -> None:
    """§3.5: an interval after the code was given, and between any two looks, whoever looks; `slow_down` adds five seconds each time."""
    request = await scene.begin()
    assert await scene.look(request, after=4.9) is None
    assert await scene.look(request, error("authorization_pending"), after=0.2) is None
    assert await Devices(scene.world).look(request) is None
    assert await scene.look(request, error("slow_down"), after=5.1) is None
    assert await scene.look(request, after=9.9) is None
    assert await scene.look(request, error("slow_down"), after=0.2) is None
    assert await scene.look(request, after=14.9) is None
    assert await scene.look(request, error("authorization_pending"), after=0.2) is None
    assert await scene.look(request, after=14.9) is None
    assert await scene.look(request, error("authorization_pending"), after=0.2) is None
    assert len(scene.asked) == 5
    assert await scene.status() is RequestStatus.PENDING


async def test_a_person_who_says_no(scene: Scene) -> None:
    """A typed error, once; the request is over."""
    request = await scene.begin()
    with pytest.raises(AuthorizationDenied) as denied:
        await scene.look(request, error("access_denied"))
    assert denied.value.oauth_error == "access_denied"
    assert await scene.status() is RequestStatus.DENIED


@pytest.mark.parametrize("code", ["expired_token", "invalid_grant", "invalid_client"])
async def test_a_code_that_is_over(scene: Scene, code: str) -> None:
    """Another can be asked for; nobody has done anything wrong."""
    request = await scene.begin()
    assert await scene.look(request, error(code)) is None
    assert await scene.status() is RequestStatus.SUPERSEDED
    assert await scene.store.find_open_request(KEY, now=scene.time) is None


async def test_a_server_in_trouble(scene: Scene) -> None:
    """The code is still good."""
    request = await scene.begin()
    with pytest.raises(ConnectionFailed):
        await scene.look(request, httpx2.Response(503))
    assert await scene.look(request, httpx2.Response(200, json=TOKENS)) is not None


async def test_a_user_who_disconnects_meanwhile(scene: Scene) -> None:
    """What comes then is given back, and not kept."""
    request = await scene.begin()
    await scene.store.disconnect(KEY, now=scene.time)
    assert await scene.look(request, httpx2.Response(200, json=TOKENS), httpx2.Response(200)) is None
    assert scene.asked == [f"{ISSUER}/token", f"{ISSUER}/revoke"]
    assert await scene.store.load_grant(KEY) is None


async def test_a_request_survives_the_store(scene: Scene) -> None:
    """Code, interval and page come back as they went in."""
    request = await scene.begin()
    assert await scene.store.load_request("auth-1") == replace(request, status=RequestStatus.PENDING)
