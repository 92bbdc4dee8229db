"""What is recorded, and what is refused."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from langchain_mcp_oauth.http import guarded_client
from langchain_mcp_oauth.testing import ProtectedServer
from langchain_mcp_oauth.testing.cassettes import CassetteError, CassetteTransport, use_cassette
from langchain_mcp_oauth.testing.cassettes.messages import split_events
from langchain_mcp_oauth.testing.serving import ServerThread, listen

pytestmark = pytest.mark.anyio

METADATA = "https://auth.example.com/.well-known/oauth-authorization-server"


@pytest.fixture
def recording(tmp_path: Path, on_stage: Any) -> Callable[..., AbstractContextManager[CassetteTransport]]:
    """`with recording(server)`: into `it.yaml`."""

    def start(server: ProtectedServer) -> AbstractContextManager[CassetteTransport]:
        return use_cassette(tmp_path / "it.yaml", recording=True, servers=lambda: on_stage(server))

    return start


def interactions(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load((folder / "it.yaml").read_text())["interactions"])


async def test_servers_are_known_by_their_names(tmp_path: Path, recording: Any) -> None:
    """The client and the cassette see https names only, in URLs, headers and bodies; the server sees its own."""
    server = ProtectedServer()
    with recording(server) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            metadata = (await client.get(METADATA)).json()
            challenge = (await client.post("https://mcp.example.com/mcp", json={})).headers["www-authenticate"]
            form = {"redirect_uri": "https://app.example/cb", "resource": "https://mcp.example.com/mcp"}
            await client.post(metadata["token_endpoint"], data=form)
    assert metadata["issuer"] == "https://auth.example.com"
    assert 'resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"' in challenge
    assert "127.0.0.1" not in (tmp_path / "it.yaml").read_text()
    assert [seen.path for seen in server.requests] == ["/.well-known/oauth-authorization-server", "/mcp", "/token"]


async def test_the_library_is_recorded(tmp_path: Path, recording: Any) -> None:
    """Its guarded client speaks to servers on loopback without being allowed to, because they are known by public names."""
    with recording(ProtectedServer()):
        client = guarded_client()
        assert (await client.get(METADATA)).status_code == 200
        await client.aclose()
    assert [each["request"]["uri"] for each in interactions(tmp_path)] == [METADATA]


async def test_a_failed_test_leaves_the_cassette_as_it_was(tmp_path: Path, recording: Any) -> None:
    """Only a block that ends well is written."""
    (tmp_path / "it.yaml").write_text("as it was")
    with pytest.raises(ZeroDivisionError), recording(ProtectedServer()):
        raise ZeroDivisionError
    assert (tmp_path / "it.yaml").read_text() == "as it was"


async def test_a_request_without_an_answer_cannot_be_recorded(tmp_path: Path, recording: Any) -> None:
    """A cassette has no form for it, so it is refused instead of being forgotten."""
    server = ProtectedServer()

    async def give_up(conversation: CassetteTransport) -> None:
        gate = server.hold_token_endpoint()
        async with httpx2.AsyncClient(transport=conversation) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.post, "https://auth.example.com/token")
            await gate.await_entered()
            tasks.cancel_scope.cancel()

    with pytest.raises(CassetteError, match=r"POST .*/token was not answered"), recording(server) as conversation:
        await give_up(conversation)
    assert not (tmp_path / "it.yaml").exists()


async def test_a_secret_that_was_not_renamed_is_not_written(tmp_path: Path, recording: Any) -> None:
    """The scan is the last word, and its message does not repeat the secret."""
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"

    async def betray(conversation: CassetteTransport) -> None:
        async with httpx2.AsyncClient(transport=conversation) as client:
            await client.post("https://auth.example.com/nowhere", json={"text": secret})

    with (
        pytest.raises(CassetteError, match="not written, it would hold secrets: JWT") as failure,
        recording(ProtectedServer()) as conversation,
    ):
        await betray(conversation)
    assert secret not in str(failure.value)
    assert not (tmp_path / "it.yaml").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_found_wherever_the_network_cuts(size: int) -> None:
    """Both ends of line, comments and any chunks: the same events, each whole."""
    stream = b": ping\r\n\r\nevent: message\r\ndata: 1\r\n\r\n: ping\n\nid: 2\n: x\ndata: \xc3\xa9\n\nrest"
    found: list[bytes] = []
    buffer = b""
    for start in range(0, len(stream), size):
        events, buffer = split_events(buffer + stream[start : start + size])
        found += events
    assert found == [b"event: message\ndata: 1\n\n", b"id: 2\ndata: \xc3\xa9\n\n"]
    assert buffer == b"rest"


async def test_a_call_that_the_client_left_stays_open(tmp_path: Path, recording: Any, sdk_client: Any) -> None:
    """Who cancels a call while it streams can do so in the replay: the stream does not end by itself."""

    async def leave(conversation: CassetteTransport) -> None:
        async with sdk_client(conversation, mode="2026-07-28") as client:
            with anyio.CancelScope() as call:

                async def progress(*_: object) -> None:
                    call.cancel()

                await client.call_tool("slow", {"steps": 2, "seconds": 0.2}, progress_callback=progress)
            assert call.cancelled_caught

    with recording(ProtectedServer()) as conversation:
        await leave(conversation)
    assert interactions(tmp_path)[-1]["response"]["gates"] == [0, math.inf]
    with use_cassette(tmp_path / "it.yaml") as conversation:
        await leave(conversation)


@contextmanager
def streaming_server() -> Iterator[dict[str, str]]:
    """A GET stream that the server ends when a POST comes, and a POST stream that goes on after its answer."""
    posted, over = threading.Event(), threading.Event()

    async def stream(data: str, until: threading.Event) -> AsyncIterator[str]:
        yield f"data: {data}\n\n"
        while not until.is_set():  # noqa: ASYNC110 - set by another thread
            await anyio.sleep(0.005)

    async def get(_: Request) -> Response:
        return StreamingResponse(stream("1", posted), media_type="text/event-stream")

    async def post(_: Request) -> Response:
        posted.set()
        return StreamingResponse(stream('{"jsonrpc": "2.0", "id": 1, "result": {}}', over), media_type="text/event-stream")

    listener = listen()
    server = ServerThread([(Starlette(routes=[Route("/", get), Route("/", post, methods=["POST"])]), listener)])
    server.start()
    yield {"https://mcp.example.com": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    over.set()
    server.stop()


@pytest.mark.parametrize(
    ("streams", "gates"), [(1, [[0, math.inf], None]), (2, [[0, 2], None, [0, math.inf]])], ids=["left alone", "opened again"]
)
async def test_who_ends_a_stream_first_is_left_to_chance(tmp_path: Path, streams: int, gates: list[Any]) -> None:
    """The end of an answered stream, and of a GET stream that is not opened again, is nobody's cause: it is not recorded."""

    async with AsyncExitStack() as stack:
        conversation = stack.enter_context(use_cassette(tmp_path / "it.yaml", recording=True, servers=streaming_server))
        client = await stack.enter_async_context(httpx2.AsyncClient(transport=conversation))
        async with client.stream("GET", "https://mcp.example.com/") as pushed:
            lines = pushed.aiter_lines()
            assert await anext(lines) == "data: 1"
            async with client.stream("POST", "https://mcp.example.com/") as answered:
                assert "result" in await anext(answered.aiter_lines())
            assert [line async for line in lines if line] == []
        for _ in range(streams - 1):
            assert (await client.get("https://mcp.example.com/")).text == "data: 1\n\n"
    assert [each["response"].get("gates") for each in interactions(tmp_path)] == gates
