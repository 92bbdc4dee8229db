"""When a server is left alone, for how long, and what ends it."""

from __future__ import annotations

import pytest

from langchain_mcp_oauth.errors import ConnectionFailed, ServerPaused
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.service.breaker import MAX_SIZE, Breaker, Trouble, after_failure

KEY = GrantKey("alice", "demo", "https://mcp.example.com/mcp")


def pauses_of(*failures: float) -> list[float]:
    """The pause, in seconds, that begins with each of these failures; every round fails at once."""
    trouble, pauses = Trouble(), []
    for now in failures:
        trouble = after_failure(trouble, now, now)
        pauses.append(max(trouble.until - now, 0.0))
    return pauses


@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ((0, 10), [0, 0]),
        ((0, 10, 20), [0, 0, 30]),
        ((0, 60, 120), [0, 0, 30]),
        ((0, 60, 121), [0, 0, 0]),
        ((0, 110, 125, 130), [0, 0, 0, 30]),
        ((0, 1, 2, 32, 92, 212, 452, 752, 1052), [0, 0, 30, 60, 120, 240, 300, 300, 300]),
        ((0, 1, 2, 152), [0, 0, 30, 60]),
        ((0, 1, 2, 153), [0, 0, 30, 0]),
    ],
)
def test_pauses(failures: tuple[float, ...], pauses: list[float]) -> None:
    """Three failed rounds in two minutes: 30 s; each further failure doubles it, to five minutes; two quiet minutes after it end it."""
    assert pauses_of(*failures) == pauses


def test_calls_that_fail_together_are_one_round() -> None:
    """A hundred parallel calls into one outage do not make three rounds."""
    trouble = after_failure(Trouble(), 0, 5)
    assert after_failure(trouble, 4.9, 6) == trouble
    assert after_failure(trouble, 5, 6) != trouble


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_pause_is_typed_and_ends() -> None:
    """A retryable error with what is left of the pause; another user is not affected; then the next round may begin."""
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(3):
        clock.now += 1
        breaker.failed(KEY, breaker.begin(KEY))
    clock.now += 10
    with pytest.raises(ServerPaused, match=r"'demo' .* 20 s") as paused:
        breaker.begin(KEY)
    assert isinstance(paused.value, ConnectionFailed)
    assert (paused.value.retryable, paused.value.retry_after) == (True, 20.0)
    breaker.begin(GrantKey("bob", KEY.server, KEY.url))
    clock.now += 20
    breaker.begin(KEY)


def test_success_or_a_login_clears_it() -> None:
    """Nothing is remembered: the next trouble starts from the beginning."""
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(3):
        breaker.failed(KEY, clock.now)
    breaker.clear(KEY)
    breaker.failed(KEY, breaker.begin(KEY))
    breaker.begin(KEY)


def test_it_is_bounded() -> None:
    """The oldest trouble is forgotten first."""
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(3):
        breaker.failed(KEY, clock.now)
    for number in range(MAX_SIZE):
        breaker.failed(GrantKey(f"user-{number}", KEY.server, KEY.url), clock.now)
    breaker.begin(KEY)
    assert len(breaker._troubles) == MAX_SIZE
