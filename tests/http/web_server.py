"""A small HTTP server on bare sockets that counts connections: what clients do with connections is seen best from there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

Answer: TypeAlias = Callable[[socket.socket, bytes], None]
"""Is given the connection and the request's head; answers what it likes."""


def ok(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class WebServer:
    """Answers every request (without a body) by `answer`; remembers heads, and connections opened and still open."""

    def __init__(self, answer: Answer = ok, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.opened = 0
        self.peers: list[socket.socket] = []
        self._listener = socket.create_server((host, 0))
        self.entry = f"{host}:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.entry}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections from this side."""
        for peer in list(self.peers):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.opened += 1
                self.peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with suppress(OSError), peer:
            while head := self._read_head(peer):
                self.heads.append(head)
                self.answer(peer, head)
        self.peers.remove(peer)

    def _read_head(self, peer: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            part = peer.recv(65_536)
            if not part:
                return b""
            head += part
        return head
