"""The stories of the library, each from the first 401 to the last answer, over real HTTP in both protocol eras."""

from __future__ import annotations

import asyncio
import time

import pytest
import time_machine

from langchain_mcp_oauth import (
    AuthorizationDenied,
    AuthRequired,
    ConnectionFailed,
    RequestUsedError,
    TokenEndpointError,
    WrongUserError,
)
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.testing import Person, ProtectedServer, ToolCall

from .conftest import MakeToolkit
from .logins import log_in, message, text_of, tools_of

pytestmark = pytest.mark.anyio


async def test_listing_asks_for_the_login_once_for_everybody(server: ProtectedServer, make_toolkit: MakeToolkit) -> None:
    """No token: 401, discovery, registration, row, URL. Fifty tasks on two toolkits get the same URL; one registration is made."""
    toolkits = [make_toolkit(), make_toolkit()]
    outcomes = await asyncio.gather(*(toolkits[n % 2].aget_tools() for n in range(50)), return_exceptions=True)
    assert all(isinstance(outcome, AuthRequired) for outcome in outcomes), outcomes
    assert len({outcome.authorization_url for outcome in outcomes}) == 1  # type: ignore[union-attr]
    assert len({outcome.auth_id for outcome in outcomes}) == 1  # type: ignore[union-attr]
    assert server.count(path="/register") == 1


@pytest.mark.server(anonymous={"initialize", "notifications/initialized", "server/discover", "tools/list"})
async def test_a_server_is_asked_anonymously_first_or_a_login_comes_first(server: ProtectedServer, make_toolkit: MakeToolkit) -> None:
    """A server that lists for everybody asks nobody until a tool is called; with `start="login"` it is not even asked before."""
    with pytest.raises(AuthRequired) as asked:
        await make_toolkit(demo={"start": "login"}).aget_tools()
    assert (asked.value.reason, asked.value.stage, server.count(path="/mcp", method="POST")) == ("login", "list_tools", 0)
    tools = await tools_of(make_toolkit())
    with pytest.raises(AuthRequired) as again:
        await text_of(tools["whoami"])
    assert (again.value.stage, again.value.auth_id) == ("call_tool", asked.value.auth_id)


async def test_a_login_given_elsewhere_serves_every_toolkit(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """One toolkit asks, a second redeems, a third calls, as the right user; a further run asks nobody."""
    with pytest.raises(AuthRequired) as asked:
        await make_toolkit().aget_tools()
    completed = await make_toolkit().complete_authorization(await alice.aapprove(asked.value.authorization_url))
    assert (completed.server, completed.scopes, completed.missing_scopes) == ("demo", ("tools",), ())
    tools = await tools_of(make_toolkit())
    assert await text_of(tools["whoami"]) == "alice"
    assert server.calls == [ToolCall("whoami", "alice")]
    assert await text_of((await tools_of(make_toolkit()))["echo"], text="again") == "again"
    assert server.count(path="/register") == 1
    assert server.count(grant_type="authorization_code") == 1


async def test_two_users_never_mix(make_toolkit: MakeToolkit, alice: Person, bob: Person, server: ProtectedServer) -> None:
    """One toolkit, two users at once: each call carries its caller's token only."""
    toolkit = make_toolkit(user_id=None)
    tools = [await log_in(toolkit.for_user(person.name), person) for person in (alice, bob)]
    names = await asyncio.gather(*(text_of(tools[n % 2]["whoami"]) for n in range(20)))
    assert names == ["alice", "bob"] * 10


async def test_a_call_says_whose_it_is(make_toolkit: MakeToolkit, alice: Person) -> None:
    """A tool of an unbound toolkit goes by the run's `configurable`; without, it is refused."""
    toolkit = make_toolkit(user_id=None)
    await log_in(toolkit.for_user("alice"), alice)
    [whoami] = [tool for tool in await toolkit.for_user("alice").aget_tools() if tool.name == "demo__whoami"]
    whoami._caller = toolkit  # as a tool that was listed for a graph
    assert (await whoami.ainvoke({}, {"configurable": {"user_id": "alice"}}))[0]["text"] == "alice"
    with pytest.raises(AuthRequired):
        await whoami.ainvoke({}, {"configurable": {"user_id": "mallory"}})


@pytest.mark.server(token_lifetime=60)
async def test_an_expired_token_is_refreshed_silently(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """A hundred calls at the end of its life: one token request, nobody asked, no call lost; also after a restart."""
    tools = await log_in(make_toolkit(), alice)
    with time_machine.travel(time.time() + 60, tick=True):
        answers = await asyncio.gather(*(text_of(tools["echo"], text=str(n)) for n in range(100)))
        assert answers == [str(n) for n in range(100)]
        assert server.count(grant_type="refresh_token") == 1
    with time_machine.travel(time.time() + 120, tick=True):
        assert await text_of((await tools_of(make_toolkit()))["whoami"]) == "alice"
    assert server.count(grant_type="refresh_token") == 2
    assert server.authorization_server.reuses == 0


async def test_a_token_that_was_refused_is_refreshed(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """401 on a token that should be good: one refresh, the calls go on."""
    toolkits = [make_toolkit(), make_toolkit()]
    tools = [await log_in(toolkits[0], alice), await tools_of(toolkits[1])]
    server.expire_tokens()
    assert await asyncio.gather(*(text_of(tools[n % 2]["whoami"]) for n in range(20))) == ["alice"] * 20
    assert server.count(grant_type="refresh_token", status=200) == 1


async def test_a_login_that_ended_is_asked_for_anew(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """401, and the refresh token is dead as well: `expired`; the same call works after the next login."""
    tools = await log_in(make_toolkit(), alice)
    await text_of(tools["whoami"])
    server.revoke_all()
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["whoami"])
    assert asked.value.reason == "expired"
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    assert await text_of(tools["whoami"]) == "alice"


async def test_a_server_that_refuses_its_own_tokens_is_no_login_loop(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer
) -> None:
    """Refused directly after a new login and a refresh: an error that says so, nobody asked again."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    await toolkit.complete_authorization(await alice.aapprove(asked.value.authorization_url))
    server.reject_tokens()
    with pytest.raises(Exception, match="refuses a token") as refused:
        await toolkit.aget_tools()
    assert not isinstance(refused.value, AuthRequired)
    assert server.count(path="/authorize", method="GET") == 1


async def test_more_scopes_are_asked_for_when_a_tool_needs_them(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """403 `insufficient_scope`: the person sees why; other tools go on meanwhile; afterwards the call works with all scopes."""
    tools = await log_in(make_toolkit(), alice)
    server.require_scope("add", "math")
    with pytest.raises(AuthRequired) as asked:
        await message(tools["add"], a=1, b=2)
    assert (asked.value.reason, set(asked.value.scopes)) == ("step_up", {"tools", "math"})
    assert await text_of(tools["whoami"]) == "alice"
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    assert (await message(tools["add"], a=1, b=2)).artifact["structured_content"] == {"total": 3}
    assert await text_of(tools["whoami"]) == "alice"


async def test_scopes_that_are_never_granted_end_in_an_error(make_toolkit: MakeToolkit, server: ProtectedServer) -> None:
    """After two answers without the scope, over all toolkits, the model gets a failed message; other tools work."""
    stingy = Person("alice", refuses={"math"})
    tools = await log_in(make_toolkit(), stingy)
    server.require_scope("add", "math")
    for _ in range(2):
        with pytest.raises(AuthRequired) as asked:
            await message((await tools_of(make_toolkit()))["add"], a=1, b=2)
        await asked.value.complete(await stingy.aapprove(asked.value.authorization_url))
    failed = await message((await tools_of(make_toolkit()))["add"], a=1, b=2)
    assert failed.status == "error"
    assert "math" in failed.text
    assert await text_of(tools["whoami"]) == "alice"


async def test_a_client_that_was_forgotten_registers_again(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """Refresh answered `invalid_client`: the registration is dropped and made anew, and the person sees why they are asked."""
    tools = await log_in(make_toolkit(), alice)
    await text_of(tools["whoami"])
    server.forget_clients()
    server.expire_tokens()
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["whoami"])
    assert asked.value.reason == "client_rejected"
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    assert await text_of(tools["whoami"]) == "alice"
    assert server.count(path="/register") == 2


async def test_a_refusal_keeps_the_client(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """A denial says nothing about the client: the next login uses the same registration, with a new URL."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as first:
        await toolkit.aget_tools()
    with pytest.raises(AuthorizationDenied) as denied:
        await toolkit.complete_authorization(await alice.adeny(first.value.authorization_url))
    assert denied.value.oauth_error == "access_denied"
    with pytest.raises(AuthRequired) as second:
        await toolkit.aget_tools()
    assert second.value.auth_id != first.value.auth_id
    assert server.count(path="/register") == 1


async def test_disconnecting_forgets_here_and_there(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """Tokens are revoked at the issuer and gone here; the next call asks."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit, alice)
    assert (await toolkit.status())["demo"].connected
    assert await toolkit.disconnect("demo") is True
    assert not (await toolkit.status())["demo"].connected
    assert server.count(path="/revoke") >= 1
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["whoami"])
    assert asked.value.reason == "login"
    assert await toolkit.disconnect("demo") is False


async def test_disconnecting_during_a_callback_keeps_nothing(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """A token that arrives while its server is being disconnected is given back, not kept."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    gate = server.hold_token_endpoint()
    completing = asyncio.create_task(toolkit.complete_authorization(callback_url))
    await gate.await_entered()
    await make_toolkit().disconnect("demo")
    gate.open()
    with pytest.raises(RequestUsedError, match="disconnected"):
        await completing
    assert not (await toolkit.status())["demo"].connected
    assert server.count(path="/revoke") >= 1


async def test_an_answer_is_redeemed_once(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """Twenty simultaneous callbacks on two toolkits: one exchange, and all learn that it worked."""
    toolkits = [make_toolkit(), make_toolkit()]
    with pytest.raises(AuthRequired) as asked:
        await toolkits[0].aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    results = await asyncio.gather(*(toolkits[n % 2].complete_authorization(callback_url) for n in range(20)))
    assert {result.server for result in results} == {"demo"}
    assert server.count(grant_type="authorization_code") == 1


async def test_an_old_tab_leaves_the_current_request_alone(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """The answer to a request that was replaced completes nothing; the newer one still can be."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as old:
        await toolkit.aget_tools()
    old_callback = await alice.aapprove(old.value.authorization_url)
    await toolkit.disconnect("demo")
    with pytest.raises(AuthRequired) as new:
        await toolkit.aget_tools()
    with pytest.raises(RequestUsedError):
        await toolkit.complete_authorization(old_callback)
    await toolkit.complete_authorization(await alice.aapprove(new.value.authorization_url))
    assert await text_of((await tools_of(toolkit))["whoami"]) == "alice"


async def test_nobody_completes_another_users_login(make_toolkit: MakeToolkit, alice: Person) -> None:
    """A typed error before anything happens; the one who asked can still complete it."""
    with pytest.raises(AuthRequired) as asked:
        await make_toolkit().aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    with pytest.raises(WrongUserError):
        await make_toolkit().complete_authorization(callback_url, user_id="mallory")
    await make_toolkit().complete_authorization(callback_url)


async def test_a_token_endpoint_that_is_down_loses_nothing(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """503 on refresh: a retryable error, nobody asked, the login kept."""
    tools = await log_in(make_toolkit(), alice)
    server.expire_tokens()
    server.fail_token_endpoint(503)
    with pytest.raises(ConnectionFailed) as down:
        await text_of(tools["whoami"])
    assert down.value.retryable
    assert await text_of(tools["whoami"]) == "alice"


async def test_calls_do_not_wait_for_one_that_needs_a_login(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """One of several calls is refused; the others, already under way on the same session, finish."""
    tools = await log_in(make_toolkit(), alice)
    server.require_scope("add", "math")
    gate = server.hold_tool("echo")
    held = [asyncio.create_task(text_of(tools["echo"], text=str(n))) for n in range(3)]
    await gate.await_entered(3)
    with pytest.raises(AuthRequired):
        await message(tools["add"], a=1, b=1)
    gate.open()
    assert await asyncio.gather(*held) == ["0", "1", "2"]


async def test_parameters_with_our_names_survive(make_toolkit: MakeToolkit, alice: Person) -> None:
    """A tool whose parameters are called `config`, `run_manager`, `runtime` and `self` gets all four; sync too."""
    tools = await log_in(make_toolkit(), alice)
    arguments = {"config": "c", "run_manager": "m", "runtime": "r", "self": "s"}
    answered = await message(tools["awkward"], **arguments)
    assert all(value in answered.text for value in arguments.values())
    call = {"type": "tool_call", "id": "1", "name": tools["awkward"].name, "args": arguments}
    assert (await asyncio.to_thread(tools["awkward"].invoke, call)).text == answered.text


async def test_a_tools_own_error_is_a_failed_message(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`isError` becomes a `ToolMessage` with status `error`, and the server's words are in it."""
    tools = await log_in(make_toolkit(), alice)
    failed = await message(tools["fail"], message="no such file")
    assert failed.status == "error"
    assert "no such file" in failed.text


async def test_a_sync_program_needs_no_loop(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`get_tools()` and `invoke()`, also from a thread whose loop is running."""
    await log_in(make_toolkit(), alice)
    toolkit = make_toolkit()
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    assert tools["demo__whoami"].invoke({})[0]["text"] == "alice"
    await toolkit.aclose()


async def test_a_login_from_elsewhere_can_be_brought_along(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """A token response is kept like a login of our own: used, refreshed with its client at its endpoint, and revoked at its own."""
    await log_in(make_toolkit(), alice)
    theirs = await make_toolkit().store.load_grant(GrantKey("alice", "demo", server.url))
    assert theirs is not None
    assert theirs.tokens.refresh_token is not None
    assert theirs.client.client_secret is not None
    toolkit = make_toolkit("carol")
    await toolkit.save_token_response(
        "demo",
        {
            "access_token": theirs.tokens.access_token.get_secret_value(),
            "refresh_token": theirs.tokens.refresh_token.get_secret_value(),
            "token_type": "Bearer",
            "expires_in": 0,
        },
        issuer=server.issuer,
        token_endpoint=theirs.token_endpoint,
        client_id=theirs.client.client_id,
        client_secret=theirs.client.client_secret.get_secret_value(),
        revocation_endpoint=theirs.revocation_endpoint,
    )
    assert await text_of((await tools_of(toolkit))["whoami"]) == "alice"
    assert server.count(grant_type="refresh_token", status=200) == 1
    assert theirs.revocation_endpoint is not None
    assert await toolkit.disconnect("demo")
    with pytest.raises(TokenEndpointError):
        await toolkit.save_token_response("demo", {"token": "x"}, issuer="https://i", token_endpoint="https://i/t", client_id="c")
