"""A loopback port that answers GET on one path and nothing else. Just enough HTTP/1.1 for a browser, and strict about it (R29)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from langchain_mcp_oauth.pages import HEADERS, NOT_FOUND, ONLY_GET, UNREADABLE, Page, render

__all__ = ["Listener", "bind", "read_callback"]

HEAD_LIMIT = 64 * 1024
"""Bytes: a callback of 16 KiB, and the cookies that every other program on this host has set (they are not kept apart by port)."""

HEAD_SECONDS = 10.0
"""A browser may open a spare connection and leave it idle; not for longer than this."""

CONNECTIONS = 32
"""At once; more are closed unanswered."""


class Listener:
    """Listens from construction to `aclose()`, in the running event loop.

    Args:
        listening: A listening socket; closed with this.
        redirect_uri: Whose path and authority are answered.
        answer: Given a whole callback URL; returns the page for it.
    """

    def __init__(self, listening: socket.socket, redirect_uri: str, answer: Callable[[str], Awaitable[Page]]) -> None:
        self._redirect_uri = redirect_uri
        self._answer = answer
        self._server = asyncio.ensure_future(asyncio.start_server(self._accept, sock=listening, limit=HEAD_LIMIT))
        self._connections: set[asyncio.Task[None]] = set()
        self._unread: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Close the port. An answer that is being made is finished: it tells the person how it went."""
        (await self._server).close()
        for connection in self._unread:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS:
            writer.close()
            return
        connection = asyncio.create_task(self._serve(reader, writer))
        for group in (self._connections, self._unread):
            group.add(connection)
            connection.add_done_callback(group.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await _read_head(reader)
            self._unread.discard(asyncio.current_task())
            callback = read_callback(head, self._redirect_uri)
            writer.write(_response(callback if isinstance(callback, Page) else await self._answer(callback)))
            await writer.drain()
        except (OSError, EOFError):  # too slow, or gone
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


_REQUEST_LINE = re.compile(r"([A-Z]+) (/[!-~]*) HTTP/1\.[01]")


def read_callback(head: bytes, redirect_uri: str) -> str | Page:
    """The callback URL that a request brings, or the page that refuses it.

    `Host` must be ours exactly: a page under another name that resolves to this machine has no business here (DNS rebinding).
    """
    ours = urlsplit(redirect_uri)
    line, *fields = head.decode("latin-1").split("\r\n")
    request = _REQUEST_LINE.fullmatch(line)
    hosts = [value.strip().lower() for name, _, value in (field.partition(":") for field in fields) if name.lower() == "host"]
    if request is None or hosts != [ours.netloc]:
        return UNREADABLE
    method, target = request.groups()
    path, _, query = target.partition("?")
    if path != ours.path:
        return NOT_FOUND
    return f"{redirect_uri}?{query}" if method == "GET" else ONLY_GET


def bind(address: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` if the port is taken."""
    return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""


def _response(page: Page) -> bytes:
    body = render(page)
    fields = {**HEADERS, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
