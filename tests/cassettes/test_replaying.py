"""What counts as the same request, when answers come, and that nothing else is possible while a cassette is replayed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import yaml

from langchain_mcp_oauth.http import guarded_client
from langchain_mcp_oauth.testing.cassettes import CassetteError, CassetteTransport, Player, replaying, use_cassette

pytestmark = pytest.mark.anyio

URL = "https://mcp.example.com/mcp"
HEADERS = {
    "authorization": "Bearer REDACTED-access_token-1",
    "content-type": "application/json",
    "mcp-session-id": "REDACTED-session-1",
    "mcp-protocol-version": "2025-11-25",
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "a"}}}
RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}


def interaction(answer: str, request: Any = CALL, **more: Any) -> dict[str, Any]:
    return {
        "request": {
            "method": "POST",
            "uri": URL,
            "body": json.dumps(request),
            "headers": {name: [value] for name, value in HEADERS.items()},
        },
        "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": answer}, **more},
    }


def event(message: Any) -> str:
    return f"event: message\ndata: {json.dumps(message)}\n\n"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """A cassette with these interactions."""

    def write(*interactions: dict[str, Any]) -> Path:
        path = tmp_path / "it.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "interactions": list(interactions)}))
        return path

    return write


async def post(client: httpx2.AsyncClient, message: Any = CALL, url: str = URL, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(url, content=json.dumps(message), headers={**HEADERS, **named})


@pytest.mark.parametrize(
    "request_",
    [
        {"message": {**CALL, "id": "another"}},
        {"message": {**CALL, "params": {**CALL["params"], "_meta": {"traceparent": "00-1"}}}},
        {"user_agent": "newer", "accept": "*/*"},
    ],
    ids=["id", "_meta", "other headers"],
)
async def test_the_same_request(written: Callable[..., Path], request_: dict[str, Any]) -> None:
    """An id, `_meta` and the headers that a cassette does not keep make no difference."""
    with use_cassette(written(interaction(json.dumps(RESULT)))) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            assert (await post(client, **request_)).status_code == 200


@pytest.mark.parametrize(
    ("request_", "differs"),
    [
        ({"authorization": "Bearer REDACTED-access_token-2"}, "headers"),
        ({"authorization": "Bearer something-else"}, "headers"),
        ({"mcp_session_id": "REDACTED-session-2"}, "headers"),
        ({"mcp_protocol_version": "2024-11-05"}, "headers"),
        ({"url": "https://mcp.example.com/other"}, "path"),
        ({"url": "http://mcp.example.com/mcp"}, "scheme"),
        ({"url": f"{URL}?a=1"}, "query"),
        ({"message": {**CALL, "params": {"name": "echo", "arguments": {"text": "b"}}}}, "body"),
        ({"message": {"jsonrpc": "2.0", "id": 1, "result": {}}}, "body"),
    ],
)
async def test_another_request(written: Callable[..., Path], request_: dict[str, Any], differs: str) -> None:
    """Another token, session, place or content is refused where it is sent, saying what is different."""
    player = Player(written(interaction(json.dumps(RESULT))))
    async with httpx2.AsyncClient(transport=player) as client:
        with pytest.raises(CassetteError, match=f"was not recorded in (?s:.)* {differs}: "):
            await post(client, **request_)
    with pytest.raises(CassetteError, match=f"Recorded, but not requested: POST {URL}"):
        player.finish()


async def test_a_request_too_many_is_refused_and_remembered(written: Callable[..., Path]) -> None:
    """An answer is given once; who swallows the error has it back at the end of the block."""

    async def ask_twice(conversation: CassetteTransport) -> None:
        async with httpx2.AsyncClient(transport=conversation) as client:
            await post(client)
            with pytest.raises(CassetteError):
                await post(client)

    with pytest.raises(CassetteError, match="has been replayed already"), use_cassette(written(interaction("{}"))) as conversation:
        await ask_twice(conversation)


async def test_a_request_too_few_is_an_error(written: Callable[..., Path]) -> None:
    """What was recorded has to be asked for, even if nothing else is wrong."""
    with pytest.raises(CassetteError, match="Recorded, but not requested: POST"), use_cassette(written(interaction("{}"))):
        pass


async def test_equal_requests_are_answered_in_order(written: Callable[..., Path]) -> None:
    """First the first answer, then the second."""
    with use_cassette(written(interaction('"one"'), interaction('"two"'))) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            assert [(await post(client)).json(), (await post(client)).json()] == ["one", "two"]


async def test_answers_are_addressed_to_the_request_that_was_made(written: Callable[..., Path]) -> None:
    """Ids and progress tokens are those of the replayed request; the ids of the server's own requests stay."""
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    question = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}
    stream = "".join(map(event, [progress, question, RESULT]))
    with use_cassette(written(interaction(stream), interaction(json.dumps(RESULT)))) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            streamed = await post(client, {**CALL, "id": "live"})
            plain = await post(client, {**CALL, "id": 77})
    messages = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert messages[0]["params"]["progressToken"] == "live"
    assert [messages[1]["id"], messages[2]["id"]] == [1, "live"]
    assert plain.json()["id"] == 77


async def test_an_event_waits_for_the_request_that_came_before_it(written: Callable[..., Path]) -> None:
    """The event whose gate is 2 is not shown before the second request is made; that whose gate is 0 is shown at once."""
    seen: list[str] = []
    first_seen = anyio.Event()

    async def listen(client: httpx2.AsyncClient) -> None:
        async with client.stream("POST", URL, content=json.dumps(CALL), headers=HEADERS) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    seen.append(line)
                    first_seen.set()

    first = interaction(event(1) + event(2), gates=[0, 2, 0])
    with use_cassette(written(first, interaction("{}"))) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(listen, client)
            await first_seen.wait()
            await anyio.wait_all_tasks_blocked()
            assert seen == ["data: 1"]
            await post(client)
    assert seen == ["data: 1", "data: 2"]


async def test_a_stream_that_was_left_open_stays_open(written: Callable[..., Path]) -> None:
    """The client hears nothing more until it leaves."""
    with use_cassette(written(interaction(event({"n": 1}), gates=[0, float("inf")]))) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            with anyio.move_on_after(0.1) as waiting:
                await post(client)
    assert waiting.cancelled_caught


async def test_an_event_whose_cause_never_comes_is_an_error(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hang."""
    monkeypatch.setattr(replaying, "PATIENCE", 0.05)
    player = Player(written(interaction(event({}), gates=[9, 0])))
    async with httpx2.AsyncClient(transport=player) as client:
        with pytest.raises(CassetteError, match="waited for request number 9"):
            await post(client)


async def test_the_library_goes_through_the_cassette(written: Callable[..., Path]) -> None:
    """Its guarded client is answered without being told, and no name is resolved."""
    with use_cassette(written(interaction('"hello"'))):
        async with aclosing(guarded_client()) as client:
            assert (await post(client)).json() == "hello"


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.socket().connect(("127.0.0.1", 9)),
        lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("mcp.example.com", 443),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 9)),
        lambda: httpx2.get("http://127.0.0.1:9/"),
    ],
    ids=["TCP", "TCP without exceptions", "DNS", "UDP", "another client"],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_nothing_else_is_reached(written: Callable[..., Path], reach: Callable[[], object]) -> None:
    """No connection, no look-up; and whoever swallows the error fails at the end."""
    with pytest.raises(CassetteError, match="a replay has no network"), use_cassette(written()), pytest.raises(CassetteError):
        reach()


def test_local_sockets_still_work(written: Callable[..., Path], tmp_path: Path) -> None:
    """Databases on Unix sockets and event loops are not the network."""
    with use_cassette(written()), socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def test_the_network_is_back_afterwards(written: Callable[..., Path]) -> None:
    """Also when the block failed."""
    with pytest.raises(ZeroDivisionError), use_cassette(written()):
        raise ZeroDivisionError
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_what_went_wrong_is_told_with_what_failed(written: Callable[..., Path]) -> None:
    """A test that fails for a swallowed mismatch shows the mismatch."""

    def swallow(conversation: CassetteTransport) -> None:
        conversation.problem("it was not recorded")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failure, use_cassette(written()) as conversation:
        swallow(conversation)
    assert failure.value.__notes__ == ["it was not recorded"]


def test_there_has_to_be_a_cassette(tmp_path: Path) -> None:
    """A replay never records by itself."""
    with pytest.raises(FileNotFoundError, match="--record-mcp"), use_cassette(tmp_path / "missing.yaml", servers=nullcontext):
        pass


async def test_a_visit_is_answered_for_this_request(written: Callable[..., Path]) -> None:
    """Nobody is called; the callback has the recorded code and issuer, and the state of the URL at hand. Scopes and client must match."""
    query = "client_id=REDACTED-client_id-1&scope=tools&state="
    visit = interaction("")
    visit["request"] |= {"method": "GET", "uri": f"https://auth.example.com/authorize?{query}REDACTED-state", "body": "", "headers": {}}
    visit["response"]["headers"] = {"location": ["https://app.example/cb?code=REDACTED-code-1&state=REDACTED-state"]}

    async def nobody(url: str) -> str:
        raise AssertionError(url)

    with use_cassette(written(visit)) as conversation:
        callback = await conversation.visit(f"https://auth.example.com/authorize?{query}live", nobody)
    assert callback == "https://app.example/cb?code=REDACTED-code-1&state=live"
    with pytest.raises(CassetteError, match="query"):
        await Player(written(visit)).visit(f"https://auth.example.com/authorize?{query.replace('tools', 'all')}live", nobody)
