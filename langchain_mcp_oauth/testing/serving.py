"""ASGI applications on loopback, served from one thread of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp

__all__ = ["ServerThread", "listen"]

START_TIMEOUT = 20.0
"""Seconds; starting takes a few hundredths of one."""

KEEP_ALIVE = 75
"""Seconds, as nginx; with uvicorn's own 5 a connection may end just as a client on a busy machine uses it."""


def listen(port: int = 0) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 takes a free one."""
    # `create_server` leaves the protocol open, and asyncio then sets no TCP_NODELAY: every answer would wait for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listener


def origin(listener: socket.socket) -> str:
    """`http://127.0.0.1:PORT`."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        """It has started, or never will."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # An open event stream would hold the shutdown up; its client sees the connection end instead.
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.close()
        await super().shutdown(sockets)


class ServerThread:
    """Serves from `start()` to `stop()`; one event loop for all applications."""

    def __init__(self, served: Sequence[tuple[ASGIApp, socket.socket]]) -> None:
        self._served = [(_Server(_config(app)), listener) for app, listener in served]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="protected-server", daemon=True)

    def start(self) -> None:
        """Return when every application has started. Raises `RuntimeError` if one could not."""
        self._thread.start()
        for server, _ in self._served:
            server.settled.wait(START_TIMEOUT)
        if not all(server.started for server, _ in self._served):
            raise RuntimeError("The test server did not start; its log says why.")

    def stop(self) -> None:
        """End open connections and return when the thread has ended."""
        for server, _ in self._served:
            server.should_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        try:
            await asyncio.gather(*(server.serve([listener]) for server, listener in self._served))
        finally:
            for server, _ in self._served:
                server.settled.set()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=KEEP_ALIVE,
    )
