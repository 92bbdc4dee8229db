"""Ten thousand users' logins: what looking one up costs, and what happens when a thousand of them expire at once.

    python benchmarks/many_users.py                              # SQLite, in a temporary file
    python benchmarks/many_users.py postgresql://…               # an empty database; the tables are made
    python benchmarks/many_users.py --users 1000 --storm 100     # smaller

The authorization server is not what is measured: each token request takes 20 ms, and any number of them go at once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import httpx2
from pydantic import SecretStr

from langchain_mcp_oauth import MCPOAuthError, MCPServer, SQLModelTokenStore
from langchain_mcp_oauth.authorizer.authorizer import Authorizer
from langchain_mcp_oauth.models import ClientRegistration, Grant, GrantKey, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.decisions import JITTER, LEEWAY, is_due
from langchain_mcp_oauth.store import _rows
from langchain_mcp_oauth.store.sealing import generate_key

T = TypeVar("T")

URL, ISSUER = "https://mcp.example/mcp", "https://as.example"
TOKEN_REQUEST = 0.02
TOKEN = {"access_token": "a" * 800, "refresh_token": "r" * 200, "token_type": "Bearer", "expires_in": 3600}
TASKS = 32


def a_grant(user: str, now: datetime) -> Grant:
    """A login with tokens of the usual size, for an hour."""
    tokens = TokenSet(
        access_token=SecretStr("a" * 800),
        refresh_token=SecretStr("r" * 200),
        scopes=("tools",),
        obtained_at=now,
        expires_at=now + timedelta(hours=1),
    )
    client = ClientRegistration(issuer=ISSUER, client_id="client", kind="dynamic", redirect_uri="https://app.example/callback")
    key = GrantKey(user, "files", URL)
    token_endpoint = f"{ISSUER}/token"
    return Grant(key=key, issuer=ISSUER, resource=URL, token_endpoint=token_endpoint, client=client, tokens=tokens, accepted=True)


async def token_endpoint(flow: Flow[T], /) -> T:
    """Answers every refresh."""
    try:
        next(flow)
        while True:
            await asyncio.sleep(TOKEN_REQUEST)
            flow.send(httpx2.Response(200, json=TOKEN))
    except StopIteration as end:
        result: T = end.value
        return result


def an_authorizer(store: SQLModelTokenStore, now: Callable[[], datetime]) -> Authorizer:
    return Authorizer({"files": MCPServer(URL)}, store, token_endpoint, redirect_uri=None, request_lifetime=timedelta(minutes=10), now=now)


async def timed(what: str, work: Callable[[GrantKey], Awaitable[object]], keys: Sequence[GrantKey], tasks: int) -> None:
    """Print what one costs, when so many go at once: on the clock, and of this process's CPU time (which other programs do not change)."""
    waiting, failed = iter(keys), 0

    async def one_after_the_other() -> None:
        nonlocal failed
        for key in waiting:
            while True:
                try:
                    await work(key)
                    break
                except MCPOAuthError as error:
                    if not error.retryable:
                        raise
                    failed += 1

    clock, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_the_other() for _ in range(tasks)))
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    retried = f", {failed} tried again" if failed else ""
    print(f"| {what} | {clock:,.1f} s{retried} | {clock / len(keys) * 1e6:,.0f} µs | {cpu / len(keys) * 1e6:,.0f} µs |")


async def fill(store: SQLModelTokenStore, grants: Sequence[Grant]) -> None:
    rows = [_rows.grant_row(replace(grant, version=number), store._sealer) for number, grant in enumerate(grants, 1)]
    await store._write(lambda session: session.add_all(rows))


def peak(grants: Sequence[Grant], *, jitter: bool) -> int:
    """The most refreshes in one second of the minutes before these tokens expire, if every user calls all the time."""
    end = grants[0].tokens.expires_at - LEEWAY
    if not jitter:
        return len(grants)
    seconds = range(int(JITTER.total_seconds()) + 1)
    due = [sum(is_due(grant, end - JITTER + timedelta(seconds=second)) for grant in grants) for second in seconds]
    return max(later - earlier for earlier, later in pairwise(due))


async def measure(database: str, users: int, storm: int) -> None:
    """Print one table."""
    store = SQLModelTokenStore(database, encryption_key=generate_key(), migrate=True)
    start = datetime.now(UTC)
    grants = [a_grant(f"user-{number}", start) for number in range(users)]
    await store.load_grant(grants[0].key)
    await fill(store, grants)
    keys = [grant.key for grant in grants]
    random.Random(1).shuffle(keys)
    sample = keys[: min(users, 2_000)]

    calm, expired = an_authorizer(store, lambda: start), an_authorizer(store, lambda: start + timedelta(hours=2))
    print(f"{users:,} users on {database.partition(':')[0]}\n\n| | all | each | each, CPU |\n|---|---|---|---|")
    await timed(f"{len(sample):,} logins read from the database, one at a time", store.load_grant, sample, 1)
    await timed(f"{len(sample):,} logins read from the database, {TASKS} at a time", store.load_grant, sample, TASKS)
    await timed(f"{len(sample):,} logins acquired for the first time, {TASKS} at a time", calm.acquire, sample, TASKS)
    await timed(f"{len(sample):,} logins acquired again, one at a time", calm.acquire, sample, 1)
    await timed(f"{storm:,} logins that have expired, all acquired at once", expired.acquire, keys[:storm], storm)
    together = grants[:storm]
    print(f"\nMost refreshes in one second, of {storm:,} users who logged in together and call all the time:", end=" ")
    print(f"{peak(together, jitter=True)} (without early refresh {peak(together, jitter=False):,})")
    await store.aclose()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("database", nargs="?", help="URL of an empty database; default: SQLite in a temporary file")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--storm", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(options.database or f"sqlite:///{Path(directory) / 'tokens.db'}", options.users, options.storm))


if __name__ == "__main__":
    main()
