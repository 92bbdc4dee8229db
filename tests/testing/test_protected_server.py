"""The protected server, proved with the MCP SDK's own client: if that can log in, call and refresh, the server is a fair one."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.shared.exceptions import MCPError

from langchain_mcp_oauth.testing import Person, ProtectedServer, ToolCall
from langchain_mcp_oauth.testing.guard import make_mcp_server
from tests.sdk_storage import Memory

pytestmark = pytest.mark.anyio

CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
ERAS = ["2025-11-25", "2026-07-28"]


@asynccontextmanager
async def sdk_client(server: ProtectedServer, person: Person, memory: Memory | None = None) -> AsyncIterator[Client]:
    """The SDK's client; `person` stands at its browser."""
    answers: list[str] = []

    async def open_browser(url: str) -> None:
        answers.append(await person.aapprove(url))

    async def await_callback() -> AuthorizationCodeResult:
        query = {name: values[0] for name, values in parse_qs(urlsplit(answers.pop()).query).items()}
        return AuthorizationCodeResult.model_validate(query)

    metadata = OAuthClientMetadata.model_validate(
        {"client_name": "SDK", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"}
    )
    memory = memory or Memory()
    memory.auth = auth = OAuthClientProvider(server.url, metadata, memory, open_browser, await_callback)
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http, Client(streamable_http_client(server.url, http_client=http)) as client:
        yield client


class Plain:
    """A client that does one OAuth request at a time, so a test can do them wrong."""

    def __init__(self, server: ProtectedServer, http: httpx2.Client) -> None:
        self.server = server
        self.http = http
        registration = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
        self.client_id = self.http.post(f"{server.issuer}/register", json=registration).json()["client_id"]

    def authorization_url(self, **changes: str) -> str:
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "state": "s" * 43,
            "resource": self.server.url,
        } | changes
        return str(httpx2.URL(f"{self.server.issuer}/authorize", params=query))

    def token(self, **form: str) -> httpx2.Response:
        base = {"client_id": self.client_id, "resource": self.server.url}
        return self.http.post(f"{self.server.issuer}/token", data=base | form)

    def redeem(self, callback_url: str, **changes: str) -> httpx2.Response:
        code = query_of(callback_url)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.token(**form | changes)

    def login(self, name: str = "ada", **query: str) -> dict[str, Any]:
        answer = self.redeem(Person(name).approve(self.authorization_url(**query)))
        return dict(answer.json())

    def refresh(self, tokens: dict[str, Any], **changes: str) -> httpx2.Response:
        return self.token(**{"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]} | changes)

    def call(self, tokens: dict[str, Any] | None, tool: str = "whoami") -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": META}}
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28"}
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        if tokens:
            headers["Authorization"] = f"Bearer {tokens['access_token']}"
        return self.http.post(self.server.url, json=body, headers=headers)


META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as server:
        yield server


@pytest.fixture
def plain(server: ProtectedServer) -> Iterator[Plain]:
    with httpx2.Client(trust_env=False) as http:
        yield Plain(server, http)


@pytest.mark.parametrize("one_origin", [False, True], ids=["two origins", "one origin"])
@pytest.mark.parametrize("era", ERAS)
async def test_the_sdks_client_logs_in_and_calls(era: Any, one_origin: bool) -> None:
    """In both eras, with the authorization server beside or at the MCP server: one registration, one login, and the call is ada's."""
    with ProtectedServer(era=era, one_origin=one_origin) as server:
        async with sdk_client(server, Person("ada")) as client:
            assert client.session.protocol_version == era
            assert (await client.call_tool("whoami", {})).structured_content == {"result": "ada"}
        assert server.calls == [ToolCall("whoami", "ada")]
        assert server.count(path="/register") == server.count(path="/consent", method="POST") == 1
        assert (urlsplit(server.url).netloc == urlsplit(server.issuer).netloc) == one_origin
        assert server.allowed_private_hosts == {urlsplit(server.url).netloc, urlsplit(server.issuer).netloc}


@pytest.mark.parametrize("era", ERAS)
async def test_two_persons_two_subjects(era: Any) -> None:
    """The name typed at the consent page is the subject of the token, so each client's calls are its person's."""
    with ProtectedServer(era=era) as server:
        async with sdk_client(server, Person("ada")) as ada, sdk_client(server, Person("bob")) as bob:
            await ada.call_tool("echo", {"text": "a"})
            await bob.call_tool("echo", {"text": "b"})
        assert server.calls == [ToolCall("echo", "ada"), ToolCall("echo", "bob")]


@pytest.mark.parametrize("era", ERAS)
async def test_the_sdks_client_refreshes(era: Any) -> None:
    """A client whose token has expired refreshes it without asking again, twice, and each time the refresh token is another."""
    memory = Memory()
    with ProtectedServer(era=era) as server:
        async with sdk_client(server, Person("ada"), memory) as client:
            seen = [memory.tokens]
            for _ in range(2):
                server.expire_tokens()
                memory.auth.context.token_expiry_time = 1  # 1970
                assert (await client.call_tool("whoami", {})).structured_content == {"result": "ada"}
                seen.append(memory.tokens)
        assert len({tokens.refresh_token for tokens in seen if tokens}) == 3
        assert server.count(grant_type="refresh_token", status=200) == 2
        assert server.count(path="/consent", method="POST") == 1


async def test_every_example_tool(server: ProtectedServer) -> None:
    """Structured output, isError, progress, argument names frameworks take for themselves, an image: each tool shows its own thing."""
    progress: list[float] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async with sdk_client(server, Person("ada")) as client:
        assert (await client.call_tool("echo", {"text": "hi"})).structured_content == {"result": "hi"}
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"total": 3}
        assert (await client.call_tool("fail", {})).is_error
        assert (await client.call_tool("slow", {"steps": 3}, progress_callback=note)).structured_content == {"result": "3 steps"}
        awkward = {"config": "1", "run_manager": "2", "runtime": "3", "self": "4"}
        assert (await client.call_tool("awkward", awkward)).structured_content == {"result": "1 2 3 4"}
        assert (await client.call_tool("picture", {})).content[0].type == "image"
    assert progress == [1, 2, 3]


async def test_tools_can_be_added(server: ProtectedServer) -> None:
    """A tool added to `server.mcp` while it runs is listed and callable."""

    def shout(text: str) -> str:
        return text.upper()

    server.mcp.add_tool(shout)
    async with sdk_client(server, Person("ada")) as client:
        assert (await client.call_tool("shout", {"text": "hi"})).structured_content == {"result": "HI"}


@pytest.mark.parametrize(("era", "mode"), [("2025-11-25", "2026-07-28"), ("2026-07-28", "legacy")])
async def test_a_server_of_one_era_refuses_the_other(era: Any, mode: Any) -> None:
    """The `era` knob is real: a client pinned to the other era does not get through."""
    with ProtectedServer(era=era, anonymous={"initialize", "tools/list"}) as server, pytest.raises((MCPError, ExceptionGroup)):
        async with Client(server.url, mode=mode) as client:
            await client.list_tools()


async def test_anonymous_methods_need_no_token() -> None:
    """What is declared anonymous is answered without a login; the rest is not."""
    with ProtectedServer(anonymous={"server/discover", "tools/list"}) as server:
        async with Client(server.url) as client:
            assert "whoami" in {tool.name for tool in (await client.list_tools()).tools}
            with pytest.raises(MCPError):
                await client.call_tool("whoami", {})
        assert server.calls == []


def test_metadata_names_every_url_exactly(server: ProtectedServer, plain: Plain) -> None:
    """Issuer and resource are published byte for byte as `issuer` and `url`: clients compare raw strings (RFC 8414 §3.3, RFC 8707)."""
    resource = plain.http.get(server.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")).json()
    assert resource["resource"] == server.url
    assert resource["authorization_servers"] == [server.issuer]
    document = plain.http.get(f"{server.issuer}/.well-known/oauth-authorization-server").json()
    assert document["issuer"] == server.issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True


def test_metadata_can_be_changed() -> None:
    """Members can be added, replaced and left out, to play servers that publish less."""
    with ProtectedServer(metadata={"code_challenge_methods_supported": None, "issuer": "https://other.example"}) as server:
        document = httpx2.get(f"{server.issuer}/.well-known/oauth-authorization-server", trust_env=False).json()
    assert "code_challenge_methods_supported" not in document
    assert document["issuer"] == "https://other.example"


def test_the_answer_names_its_issuer(server: ProtectedServer, plain: Plain) -> None:
    """`iss` comes with a code, with a denial and with an error the SDK's endpoint finds itself (RFC 9207 §2)."""
    code = query_of(Person("ada").approve(plain.authorization_url()))
    denied = query_of(Person("ada").deny(plain.authorization_url()))
    wrong = plain.http.get(plain.authorization_url(resource="https://other.example/mcp"))
    assert code["iss"] == denied["iss"] == query_of(wrong.headers["location"])["iss"] == server.issuer
    assert code["state"] == denied["state"] == "s" * 43
    assert denied["error"] == "access_denied"
    assert query_of(wrong.headers["location"])["error"] == "invalid_target"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"redirect_uri": "http://127.0.0.1:9/other"}, "invalid_request"),
        ({"client_id": "nobody"}, "invalid_client"),
    ],
)
def test_the_token_endpoint_is_strict(plain: Plain, changes: dict[str, str], error: str) -> None:
    """Another verifier, resource, redirect URI or client than in the authorization request gets no token."""
    callback_url = Person("ada").approve(plain.authorization_url())
    assert plain.redeem(callback_url, **changes).json()["error"] == error


def test_a_refresh_token_rotates(plain: Plain) -> None:
    """Each refresh gives another refresh token, and the next one works too."""
    tokens = plain.login()
    second = plain.refresh(tokens).json()
    third = plain.refresh(second).json()
    assert len({tokens["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    assert plain.call(third).status_code == 200


def test_reuse_of_a_refresh_token_ends_the_family(server: ProtectedServer, plain: Plain) -> None:
    """A spent refresh token ends every token of its login (RFC 9700 §4.14.2), and nobody else's."""
    tokens, other = plain.login("ada"), plain.login("bob")
    newer = plain.refresh(tokens).json()
    assert plain.call(newer).status_code == 200
    assert plain.refresh(tokens).json()["error"] == "invalid_grant"
    assert server.authorization_server.reuses == 1
    assert plain.call(newer).status_code == 401
    assert plain.refresh(newer).json()["error"] == "invalid_grant"
    assert plain.call(other).status_code == 200


def test_reuse_of_a_code_ends_its_grant(plain: Plain) -> None:
    """A code is good once; its second use takes back what it gave (RFC 6749 §4.1.2)."""
    callback_url = Person("ada").approve(plain.authorization_url())
    tokens = plain.redeem(callback_url).json()
    assert plain.redeem(callback_url).json()["error"] == "invalid_grant"
    assert plain.call(tokens).status_code == 401


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revocation_ends_the_grant(server: ProtectedServer, plain: Plain, which: str) -> None:
    """Revoking either token ends both (RFC 7009 §2.1), also for a public client; unknown tokens are answered alike."""
    tokens = plain.login()
    form = {"client_id": plain.client_id, "token": tokens[which]}
    assert plain.http.post(f"{server.issuer}/revoke", data=form).status_code == 200
    assert plain.call(tokens).status_code == 401
    assert plain.refresh(tokens).json()["error"] == "invalid_grant"
    assert plain.http.post(f"{server.issuer}/revoke", data=form).status_code == 200


def test_a_secret_may_come_by_basic_alone(server: ProtectedServer, plain: Plain) -> None:
    """HTTP Basic without `client_id` in the form is enough to authenticate (RFC 6749 §2.3.1); a wrong secret is not."""
    server.add_client("confidential", redirect_uri=CALLBACK, client_secret="hush", auth_method="client_secret_basic")
    callback_url = Person("ada").approve(plain.authorization_url(client_id="confidential"))
    form = {"grant_type": "authorization_code", "code": query_of(callback_url)["code"], "redirect_uri": CALLBACK}
    form |= {"code_verifier": VERIFIER, "resource": server.url}
    assert plain.http.post(f"{server.issuer}/token", data=form, auth=("confidential", "wrong")).status_code == 401
    assert plain.http.post(f"{server.issuer}/token", data=form, auth=("confidential", "hush")).status_code == 200


def test_the_root_logger_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in a notebook does not change what is logged there."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    make_mcp_server("quiet")
    assert (root.handlers, root.level) == ([], logging.WARNING)


# Challenges -----------------------------------------------------------------------------------------------------------------


def test_challenges(server: ProtectedServer, plain: Plain) -> None:
    """401 names an error only if a token was presented (RFC 6750 §3.1); both name the metadata and the scopes."""
    metadata = server.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert plain.call(None).headers["www-authenticate"] == f'Bearer resource_metadata="{metadata}", scope="tools"'
    expected = f'Bearer error="invalid_token", resource_metadata="{metadata}", scope="tools"'
    assert plain.call({"access_token": "nonsense"}).headers["www-authenticate"] == expected


def test_a_tool_can_need_another_scope(server: ProtectedServer, plain: Plain) -> None:
    """`require_scope`: 403 with every scope that is needed; a login for them gets through; other tools are untouched."""
    server.require_scope("echo", "echo:use")
    tokens = plain.login()
    answer = plain.call(tokens, "echo")
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert answer.headers["www-authenticate"].endswith('scope="tools echo:use"')
    assert plain.call(tokens, "whoami").status_code == 200
    assert plain.call(plain.login(scope="tools echo:use"), "echo").status_code == 200


def test_a_person_may_grant_less(server: ProtectedServer, plain: Plain) -> None:
    """A scope that the person unticks is not granted, and the answer says what is (RFC 6749 §3.3)."""
    server.require_scope("echo", "echo:use")
    callback_url = Person("ada", refuses=["echo:use"]).approve(plain.authorization_url(scope="tools echo:use unheard-of"))
    assert plain.redeem(callback_url).json()["scope"] == "tools"


def test_a_token_lives_as_long_as_it_says() -> None:
    """`expires_in` is the configured lifetime, one second at least, and the token ends exactly then, by the server's clock."""
    now = [time.time()]
    with ProtectedServer(token_lifetime=1, clock=lambda: now[0]) as server, httpx2.Client(trust_env=False) as http:
        plain = Plain(server, http)
        tokens = plain.login()
        assert tokens["expires_in"] == 1
        now[0] += 0.99
        assert plain.call(tokens).status_code == 200
        now[0] += 0.01
        assert plain.call(tokens).status_code == 401
        assert plain.refresh(tokens).status_code == 200


# Trouble --------------------------------------------------------------------------------------------------------------------


def test_expire_tokens(server: ProtectedServer, plain: Plain) -> None:
    """Access tokens end, refresh tokens stay good."""
    tokens = plain.login()
    server.expire_tokens()
    assert plain.call(tokens).status_code == 401
    assert plain.call(plain.refresh(tokens).json()).status_code == 200


def test_revoke_all(server: ProtectedServer, plain: Plain) -> None:
    """Nothing issued before is good any more."""
    tokens = plain.login()
    server.revoke_all()
    assert plain.call(tokens).status_code == 401
    assert plain.refresh(tokens).json()["error"] == "invalid_grant"


def test_forget_clients(server: ProtectedServer, plain: Plain) -> None:
    """`invalid_client` at the token endpoint, and the authorization endpoint does not redirect."""
    tokens = plain.login()
    server.forget_clients()
    answer = plain.refresh(tokens)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert plain.http.get(plain.authorization_url()).status_code == 400


def test_deny_next(server: ProtectedServer, plain: Plain) -> None:
    """One answer is refused though the person said yes; the one after is not."""
    server.deny_next()
    assert query_of(Person("ada").approve(plain.authorization_url()))["error"] == "access_denied"
    assert "code" in query_of(Person("ada").approve(plain.authorization_url()))


def test_fail_token_endpoint(server: ProtectedServer, plain: Plain) -> None:
    """So many token requests fail as told, and spend nothing."""
    tokens = plain.login()
    server.fail_token_endpoint(503, error="temporarily_unavailable", times=2)
    failures = [plain.refresh(tokens) for _ in range(2)]
    assert [(answer.status_code, answer.json()["error"]) for answer in failures] == [(503, "temporarily_unavailable")] * 2
    assert plain.refresh(tokens).status_code == 200


def test_reject_tokens(server: ProtectedServer, plain: Plain) -> None:
    """The MCP server refuses good tokens, until it stops."""
    tokens = plain.login()
    server.reject_tokens()
    assert plain.call(tokens).status_code == 401
    server.reject_tokens(False)
    assert plain.call(tokens).status_code == 200


async def test_a_gate_at_a_tool_proves_overlap(server: ProtectedServer) -> None:
    """Two calls are at the gate at once; neither has run; both run when it opens."""
    async with sdk_client(server, Person("ada")) as client, sdk_client(server, Person("bob")) as other, anyio.create_task_group() as tasks:
        with server.hold_tool("echo") as gate:
            tasks.start_soon(client.call_tool, "echo", {"text": "a"})
            tasks.start_soon(other.call_tool, "echo", {"text": "b"})
            await gate.await_entered(2)
            assert server.calls == []
    assert sorted(call.user or "" for call in server.calls) == ["ada", "bob"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_gate_sees_a_call_cancelled(era: Any) -> None:
    """A call whose client goes away while it is held is noticed, and never runs."""
    with ProtectedServer(era=era) as server:
        async with sdk_client(server, Person("ada")) as client:
            with server.hold_tool("echo") as gate:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.call_tool, "echo", {"text": "a"})
                    await gate.await_entered()
                    tasks.cancel_scope.cancel()
                await gate.await_cancelled()
        assert server.calls == []


def test_a_gate_at_the_token_endpoint(server: ProtectedServer, plain: Plain) -> None:
    """Held before anything is spent: two refreshes with one token are at the gate together, and the second one is the reuse."""
    tokens = plain.login()
    answers: list[int] = []
    gate = server.hold_token_endpoint()

    async def refresh_twice() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(anyio.to_thread.run_sync, lambda: answers.append(plain.refresh(tokens).status_code))
            await gate.await_entered(2)
            assert answers == []
            gate.open()

    anyio.run(refresh_twice)
    assert sorted(answers) == [200, 400]
    assert server.authorization_server.reuses == 1


def test_a_gate_that_nobody_comes_to(server: ProtectedServer) -> None:
    """Waiting in vain ends with an error that says how many came."""
    with pytest.raises(TimeoutError, match="Only 0 of 1"):
        server.hold_tool("echo").wait_entered(timeout=0.01)


async def test_it_stops_with_open_streams_and_held_calls() -> None:
    """Leaving the block ends what is open, at once: an event stream of a session, and a call at a gate."""
    with ProtectedServer(era="2025-11-25") as server:
        async with sdk_client(server, Person("ada")) as client:
            assert client.session.protocol_version == "2025-11-25"
            gate = server.hold_tool("echo")

            async def call() -> None:
                with suppress(MCPError):  # it may learn of the end before this test is done with it
                    await client.call_tool("echo", {"text": "a"})

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await gate.await_entered()
                started = time.monotonic()
                await anyio.to_thread.run_sync(server.__exit__, None, None, None)
                elapsed = time.monotonic() - started
                tasks.cancel_scope.cancel()
        assert elapsed < 4  # a server that waits for its streams to end takes five
