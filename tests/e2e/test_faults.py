"""Bad input and servers in trouble: a typed error that says what to do, with no secret in it, and nothing lost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import time_machine

from langchain_mcp_oauth import (
    AuthRequired,
    CallbackError,
    ConfigurationError,
    ConnectionFailed,
    DiscoveryError,
    MCPOAuthError,
    MCPOAuthToolkit,
    MCPServer,
    RequestExpiredError,
    ServerPaused,
    ServersFailed,
    StoreUnavailable,
    UnknownServerError,
    UnknownStateError,
    UnsafeURLError,
    UserRequiredError,
)
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import KEY, REDIRECT_URI, MakeToolkit
from .logins import log_in, text_of, tools_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    """One era is enough here: nothing of this depends on it."""
    with ProtectedServer(era="2026-07-28") as running:
        yield running


def toolkit_of(servers: Any, **options: Any) -> MCPOAuthToolkit:
    options = {"store": "sqlite://", "redirect_uri": REDIRECT_URI, "user_id": "alice", **options}
    return MCPOAuthToolkit(servers, **options)


@pytest.mark.parametrize(
    ("servers", "options", "says"),
    [
        ({"a": "ftp://x.example/"}, {}, "url"),
        ({"a": "http://x.example/mcp"}, {}, "url"),
        ({"a": "https://user:pw@x.example/mcp"}, {}, "url"),
        ({"a": {"uri": "https://x.example"}}, {}, "'a'"),
        ({"a": {"url": "https://x.example", "clientId": "x"}}, {}, "clientId"),
        ({"": "https://x.example"}, {}, "name"),
        ({"a": MCPServer}, {}, "'a'"),
        ({"a": {"url": "https://x.example", "client_secret": "s3cret"}}, {}, "client_id"),
        ({"a": {"url": "https://x.example", "client_id": "c", "client_secret": "s3cret"}}, {}, "issuer"),
        ({"a": {"url": "https://x.example", "oauth_headers": {"authorization": "Bearer s3cret"}}}, {}, "Authorization"),
        ({"a": {"url": "https://x.example", "client_metadata_url": "https://x.example"}}, {}, "path"),
        ({}, {"redirect_uri": "http://app.example/cb"}, "redirect_uri"),
        ({}, {"redirect_uri": "app://cb"}, "redirect_uri"),
        ({}, {"redirect_uri": "https://app.example/cb#x"}, "redirect_uri"),
        ({}, {"on_server_error": "ignore"}, "on_server_error"),
        ({}, {"store": "postgresql+psycopg://nowhere/x"}, "LANGCHAIN_MCP_OAUTH_KEY"),
        ({}, {"encryption_key": "s3cret"}, "key"),
    ],
)
def test_what_cannot_work_is_said_at_once(servers: Any, options: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the toolkit is made, by the option's name, without its secret."""
    monkeypatch.delenv("LANGCHAIN_MCP_OAUTH_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=says) as raised:
        toolkit_of(servers, **options)
    assert "s3cret" not in repr(raised.value)


async def test_unknown_servers_and_nobody_are_errors(make_toolkit: MakeToolkit) -> None:
    """An unknown name lists the known ones; without a user nothing is guessed."""
    with pytest.raises(UnknownServerError, match="demo"):
        await make_toolkit().disconnect("other")
    nobody = make_toolkit(user_id=None)
    for call in (
        nobody.aget_tools(),
        nobody.status(),
        nobody.disconnect("demo"),
        nobody.complete_authorization("https://x/?state=s&code=c"),
    ):
        with pytest.raises(UserRequiredError, match="user_id"):
            await call
    for user in ("", "x" * 256, "a\0b"):
        with pytest.raises(ConfigurationError):
            await make_toolkit(user_id=user).aget_tools()


@pytest.mark.parametrize(
    "callback",
    [
        "",
        "not a url",
        "https://app.example/cb",
        "?code=c",
        "?state=s",
        "?code=c&state=a&state=b",
        "?" + "x" * 20_000,
        "?code=c&error=e&state=s",
    ],
)
async def test_malformed_callbacks_change_nothing(callback: str, make_toolkit: MakeToolkit, alice: Person) -> None:
    """A clear error; the open request can still be completed."""
    with pytest.raises(AuthRequired) as asked:
        await make_toolkit().aget_tools()
    with pytest.raises(CallbackError):
        await make_toolkit().complete_authorization(callback)
    await make_toolkit().complete_authorization(await alice.aapprove(asked.value.authorization_url))


async def test_unknown_and_late_answers(make_toolkit: MakeToolkit, alice: Person) -> None:
    """A state that is not ours; and one of ours after its time, which leads to a new URL."""
    with pytest.raises(UnknownStateError):
        await make_toolkit().complete_authorization("https://app.example/cb?code=c&state=" + "x" * 43)
    toolkit = make_toolkit(request_lifetime=timedelta(minutes=1))
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    with time_machine.travel(time.time() + 61, tick=True):
        with pytest.raises(RequestExpiredError):
            await toolkit.complete_authorization(callback_url)
        with pytest.raises(AuthRequired) as again:
            await toolkit.aget_tools()
        assert again.value.auth_id != asked.value.auth_id


async def test_forged_answers_do_not_abort_a_login(make_toolkit: MakeToolkit, alice: Person) -> None:
    """An error with the wrong issuer, or for the right state from another user, leaves the request open."""
    with pytest.raises(AuthRequired) as asked:
        await make_toolkit().aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    state = next(part for part in callback_url.split("?")[1].split("&") if part.startswith("state="))
    for forged, user in ((f"?error=access_denied&{state}&iss=https://evil.example", None), (f"?error=access_denied&{state}", "mallory")):
        with pytest.raises(CallbackError):
            await make_toolkit().complete_authorization(forged, user_id=user)
    await make_toolkit().complete_authorization(callback_url)


async def test_one_server_down_is_named_or_skipped(
    server: ProtectedServer, make_toolkit: MakeToolkit, alice: Person, database: str
) -> None:
    """`raise` names every failure and asks nobody; `skip` goes on with the others' tools."""
    await log_in(make_toolkit(), alice)
    servers = {"demo": server.url, "down": "http://127.0.0.1:9/mcp"}
    options = {"store": database, "encryption_key": KEY, "allowed_private_hosts": server.allowed_private_hosts}
    async with toolkit_of(servers, **options) as strict:
        with pytest.raises(ServersFailed, match="down: ") as failed:
            await strict.aget_tools()
        assert isinstance(failed.value.errors["down"], ConnectionFailed)
        assert failed.value.retryable
    async with toolkit_of(servers, on_server_error="skip", **options) as lenient:
        assert {tool.name.split("__")[0] for tool in await lenient.aget_tools()} == {"demo"}


async def test_a_server_that_fails_again_and_again_is_left_alone(server: ProtectedServer, make_toolkit: MakeToolkit, alice: Person) -> None:
    """Three failed rounds of one user: a typed error, and nothing is sent; other users' calls go on; a new login ends it."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit, alice)
    await log_in(toolkit.for_user("bob"), Person("bob"))
    server.expire_tokens()
    server.fail_token_endpoint(503, times=3)
    for _ in range(3):
        with pytest.raises(ConnectionFailed, match="503"):
            await text_of(tools["whoami"])
    requests = len(server.requests)
    with pytest.raises(ServerPaused) as paused:
        await text_of(tools["whoami"])
    assert paused.value.retry_after == pytest.approx(30, abs=29)
    assert len(server.requests) == requests
    assert await text_of((await tools_of(toolkit.for_user("bob")))["whoami"]) == "bob"
    again = await toolkit.begin_authorization("demo")
    assert again is not None
    await again.complete(await alice.aapprove(again.authorization_url))
    assert await text_of(tools["whoami"]) == "alice"


async def test_nothing_limits_the_time_of_a_person(server: ProtectedServer, make_toolkit: MakeToolkit, alice: Person) -> None:
    """The time limits of calls and exchanges are over when somebody is asked, and begin anew afterwards; nor is any lease held."""
    deadlines: list[float] = []

    async def ask(needed: AuthRequired) -> None:
        deadlines.append(anyio.current_effective_deadline())
        lease = ("authorize", "alice", "demo", server.url)
        assert await make_toolkit().store.acquire_lease(lease, now=datetime.now(UTC), duration=timedelta(seconds=1))
        await needed.complete(await alice.aapprove(needed.authorization_url))

    assert await make_toolkit(on_auth_required=ask).aget_tools()
    assert deadlines == [math.inf]
    assert server.count(path="/register") == 1


async def test_a_failure_is_told_before_anybody_is_asked(server: ProtectedServer, database: str) -> None:
    """One server is down and another wants a login: the error comes first, so that nobody logs in for nothing."""
    servers = {"demo": server.url, "down": "http://127.0.0.1:9/mcp"}
    async with toolkit_of(servers, allowed_private_hosts=server.allowed_private_hosts) as toolkit:
        with pytest.raises(ServersFailed):
            await toolkit.aget_tools()


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"issuer": "https://other.example"}, DiscoveryError),
        ({"token_endpoint": None}, DiscoveryError),
        ({"code_challenge_methods_supported": None}, DiscoveryError),
        ({"code_challenge_methods_supported": ["plain"]}, DiscoveryError),
        ({"authorization_endpoint": "javascript:alert(1)"}, MCPOAuthError),
        ({"token_endpoint": "http://192.168.0.1/token"}, UnsafeURLError),
        ({"registration_endpoint": None}, MCPOAuthError),
    ],
    ids=["another issuer", "no token endpoint", "no PKCE", "plain PKCE", "a script", "a private address", "no registration"],
)
async def test_bad_metadata_is_refused_not_guessed(metadata: dict[str, Any], error: type[Exception], database: str) -> None:
    """Nobody is sent anywhere; the message names the authorization server."""
    with ProtectedServer(era="2026-07-28", metadata=metadata) as server:
        async with toolkit_of({"demo": server.url}, allowed_private_hosts=server.allowed_private_hosts) as toolkit:
            with pytest.raises(ServersFailed) as failed:
                await toolkit.aget_tools()
    assert isinstance(failed.value.errors["demo"], error)
    assert not isinstance(failed.value.errors["demo"], AuthRequired)
    assert server.count(path="/authorize") == 0


async def test_a_private_authorization_server_must_be_allowed(server: ProtectedServer) -> None:
    """The configured server's own loopback address needs no permission; what it names does, and the error says how."""
    async with toolkit_of({"demo": server.url}) as toolkit:
        with pytest.raises(ServersFailed, match="allowed_private_hosts") as failed:
            await toolkit.aget_tools()
    assert isinstance(failed.value.errors["demo"], UnsafeURLError)
    assert server.count(path="/.well-known/oauth-authorization-server") == 0


async def test_no_redirect_uri_is_said_when_it_is_needed(server: ProtectedServer) -> None:
    """A toolkit whose logins all exist needs none."""
    async with toolkit_of({"demo": server.url}, redirect_uri=None, allowed_private_hosts=server.allowed_private_hosts) as toolkit:
        with pytest.raises(ConfigurationError, match="redirect_uri"):
            await toolkit.aget_tools()


async def test_a_registered_client_is_used_as_it_is(
    make_toolkit: MakeToolkit, server: ProtectedServer, alice: Person, database: str
) -> None:
    """Pre-registered: no registration; its secret authenticates at the token endpoint and is not kept in the database."""
    server.add_client("ours", redirect_uri=REDIRECT_URI, client_secret="s3cret-s3cret", auth_method="client_secret_basic")
    entry = MCPServer(server.url, client_id="ours", client_secret="s3cret-s3cret", issuer=server.issuer)
    options = {"store": database, "encryption_key": KEY, "allowed_private_hosts": server.allowed_private_hosts}
    async with toolkit_of({"demo": entry}, **options) as toolkit:
        tools = await log_in(toolkit, alice)
        server.expire_tokens()
        assert await text_of(tools["whoami"]) == "alice"
    assert server.count(path="/register") == 0
    async with toolkit_of({"demo": server.url}, **options) as without_secret:
        server.expire_tokens()
        with pytest.raises(ConfigurationError, match="client_secret"):
            await tools_of(without_secret)


async def test_a_result_is_not_lost_with_the_database(make_toolkit: MakeToolkit, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call has succeeded; that the database cannot be told so is no reason to fail it."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    await toolkit.complete_authorization(await alice.aapprove(asked.value.authorization_url))

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(toolkit.store, "mark_accepted", away)
    assert await text_of((await tools_of(toolkit))["whoami"]) == "alice"


async def test_a_secret_follows_its_issuer_only(server: ProtectedServer, alice: Person, database: str) -> None:
    """The configuration names another issuer now: the secret is not sent to the one of an earlier login."""
    server.add_client("ours", redirect_uri=REDIRECT_URI, client_secret="s3cret-s3cret", auth_method="client_secret_basic")
    entry = {"url": server.url, "client_id": "ours", "client_secret": "s3cret-s3cret"}
    options = {"store": database, "encryption_key": KEY, "allowed_private_hosts": server.allowed_private_hosts}
    async with toolkit_of({"demo": {**entry, "issuer": server.issuer}}, **options) as toolkit:
        await log_in(toolkit, alice)
    server.expire_tokens()
    asked = server.count(path="/token")
    async with toolkit_of({"demo": {**entry, "issuer": "https://other.example"}}, **options) as moved:
        with pytest.raises(ConfigurationError, match="client_secret"):
            await moved.aget_tools()
    assert server.count(path="/token") == asked
