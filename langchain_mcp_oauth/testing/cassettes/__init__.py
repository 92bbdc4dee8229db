"""Whole MCP and OAuth conversations in vcrpy's cassettes: recorded once from running servers, replayed without a network.

- `use_cassette`: the one way in; the pytest fixture `mcp_cassette` (`testing.plugin`) calls it
- `recording`, `replaying`: the two transports, and in `conversation` what they have in common
- `scrubbing`: secrets become pseudonyms; `find_secrets` looks for any that did not
- `messages`: JSON-RPC and server-sent events in the text of bodies
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import httpx2

from langchain_mcp_oauth.http import GuardedTransport
from langchain_mcp_oauth.testing.cassettes.conversation import CassetteError, CassetteTransport
from langchain_mcp_oauth.testing.cassettes.recording import Recorder
from langchain_mcp_oauth.testing.cassettes.replaying import Player, no_network
from langchain_mcp_oauth.testing.cassettes.scrubbing import find_secrets

__all__ = ["CassetteError", "CassetteTransport", "Player", "Recorder", "find_secrets", "use_cassette"]

Servers: TypeAlias = Callable[[], AbstractContextManager[Mapping[str, str]]]
"""Starts the servers of a recording; yields their names: `{"https://mcp.example.com": "http://127.0.0.1:8000"}`, origins both."""


def use_cassette(
    path: Path, *, recording: bool = False, servers: Servers = lambda: nullcontext({})
) -> AbstractContextManager[CassetteTransport]:
    """Record the block's conversation into `path`, or replay it from there; see `Recorder` and `Player`.

    All of the library's requests go through it, in every thread. While replaying, no other connection can be opened and no name
    resolved in this process (Unix sockets excepted), and `servers` is not called.

    Raises:
        FileNotFoundError: there is nothing to replay.
        CassetteError: at the request and at the end of the block for a request that was not recorded; at the end for a recorded one
            that was not made, an answer that could not be recorded, or a secret that would have been written.
    """
    return _record(path, servers) if recording else _replay(path)


@contextmanager
def _record(path: Path, servers: Servers) -> Iterator[CassetteTransport]:
    with servers() as names:
        recorder = Recorder(path, names)
        with _installed(recorder):
            yield recorder
        recorder.finish()


@contextmanager
def _replay(path: Path) -> Iterator[CassetteTransport]:
    player = Player(path)
    try:
        with _installed(player), no_network(player):
            yield player
    except BaseException as error:
        for problem in player.problems:
            error.add_note(problem)
        raise
    player.finish()


def _installed(transport: CassetteTransport) -> AbstractContextManager[object]:
    async def instead(_self: GuardedTransport, request: httpx2.Request) -> httpx2.Response:
        return await transport.handle_async_request(request)

    return mock.patch.object(GuardedTransport, "handle_async_request", instead)
