"""Whether a server answers at all: one cheap question, remembered for a moment, and never an error."""

from __future__ import annotations

import httpx2
import pytest

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.http import Reach

pytestmark = pytest.mark.anyio

URL = "https://mcp.example/mcp"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def client(*answers: int | Exception) -> tuple[httpx2.AsyncClient, list[httpx2.Request]]:
    """A client whose server answers like this, in turn; and what it was asked."""
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        outcome = answers[len(asked) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return httpx2.Response(outcome)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer)), asked


@pytest.mark.parametrize(
    ("answer", "up"),
    [
        (200, True),
        (401, True),
        (405, True),
        (500, True),
        (501, True),
        (502, False),
        (503, False),
        (504, False),
        (httpx2.ConnectError("refused"), False),
        (httpx2.ReadTimeout("slow"), False),
        (UnsafeURLError("private"), False),
    ],
)
async def test_whatever_answers_is_up(answer: int | Exception, up: bool) -> None:
    """Whatever it says, somebody has answered; except a proxy, which answers for a server that is away."""
    http, asked = client(answer)
    assert await Reach().look(URL, http) is up
    assert [(request.method, "authorization" in request.headers) for request in asked] == [("HEAD", False)]


async def test_it_is_remembered_for_half_a_minute() -> None:
    """A page that is loaded again does not ask again; later it does."""
    clock = Clock()
    reach = Reach(clock)
    http, asked = client(200, 503)
    assert [await reach.look(URL, http), await reach.look(URL, http)] == [True, True]
    clock.now = 30.0
    assert await reach.look(URL, http) is False
    assert len(asked) == 2
